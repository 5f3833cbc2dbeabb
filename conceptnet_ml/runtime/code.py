"""A checksum of the program."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from conceptnet_ml.storage.hashing import sha256


def sources(files: Iterable[str] = ()) -> str:
    """First 12 hex digits of the SHA-256 of the package and its built-in plugins: they tell an edited checkout.

    The command line, report and plots are left out: they do not change a figure.

    Args:
        files: Further files that belong to the program, such as plugins; those that are none are left out.
    """
    parts = []
    for name in ("conceptnet_ml", "conceptnet_plugins"):
        spec = importlib.util.find_spec(name)
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                inner = file.relative_to(folder).as_posix()
                if not inner.startswith("cli/") and inner not in ("bench/report.py", "bench/plots.py"):
                    parts += [f"{name}/{inner}\n".encode(), file.read_bytes()]
    for path in files:
        with suppress(OSError):
            parts.append(Path(path).read_bytes())
    return sha256(b"".join(parts), 12)
