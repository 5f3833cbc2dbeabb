"""Starts the command line: ``python -m conceptnet_ml learn --depth 2``."""

from __future__ import annotations

from conceptnet_ml.cli.main import app

if __name__ == "__main__":
    app()
