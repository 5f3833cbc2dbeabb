"""The files a bench leaves: results.json, results.md, and the plot as PNG and SVG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conceptnet_ml.bench.tables import to_markdown
from conceptnet_ml.storage.files import write_atomic

NAME = "results"


def write_report(results: dict[str, Any], out: Path, plot: bool = True) -> dict[str, Path]:
    """Write the report into a folder; returns the files by their ending.

    Args:
        results: As :func:`conceptnet_ml.bench.run_bench` returns them, or a ``results.json`` holds them.
        out: The folder; files of a former report are replaced.
        plot: Draw the picture too.

    Raises:
        SettingsError: The picture is wanted and matplotlib is missing.
        DataError: The folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    if plot:
        from conceptnet_ml.bench.plots import draw_results

        pictures = draw_results(results)
    contents: dict[str, str | bytes] = {
        "md": to_markdown(results, f"{NAME}.svg" if pictures else None),
        "json": json.dumps(results, indent=1, ensure_ascii=False) + "\n",
        **pictures,
    }
    files = {ending: out / f"{NAME}.{ending}" for ending in contents}
    for ending, content in contents.items():
        write_atomic(files[ending], content)
    return files
