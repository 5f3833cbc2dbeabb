"""What a figure was measured with: commit, version, machine. Reads .git as files, so that git need not be there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import conceptnet_ml
from conceptnet_ml.storage.hashing import sha256

UNKNOWN = "unknown"


def commit(root: Path | None = None) -> str:
    """The checked-out commit, 40 hex digits; ``unknown`` where the package does not lie in a checkout of its own.

    Args:
        root: The checkout; default: the folder that holds the package.
    """
    root = Path(conceptnet_ml.__file__).parents[1] if root is None else root
    try:
        folder = _git_folder(root)
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head or UNKNOWN
        reference = head.removeprefix("ref: ")
        for place in (folder, _common(folder)):
            if (place / reference).is_file():
                return (place / reference).read_text().strip() or UNKNOWN
        for line in (_common(folder) / "packed-refs").read_text().splitlines():
            if line.endswith(f" {reference}"):
                return line.split()[0]
    except (OSError, UnicodeDecodeError):
        pass
    return UNKNOWN


def sources() -> str:
    """First 12 hex digits of the SHA-256 of the package and its built-in plugins: they tell an edited checkout.

    The command line, tables and plots are left out: they do not change a figure.
    """
    parts = []
    for name in ("conceptnet_ml", "conceptnet_plugins"):
        spec = importlib.util.find_spec(name)
        for folder in sorted(spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                inner = file.relative_to(folder).as_posix()
                if not inner.startswith("cli/") and inner not in ("bench/tables.py", "bench/plots.py"):
                    parts += [f"{name}/{inner}\n".encode(), file.read_bytes()]
    return sha256(b"".join(parts), 12)


def _git_folder(root: Path) -> Path:
    """``.git``, or where that file of a worktree points."""
    found = root / ".git"
    if found.is_file():
        found = root / found.read_text().strip().removeprefix("gitdir: ")
    return found


def _common(folder: Path) -> Path:
    """Where the references lie that all worktrees share."""
    pointer = folder / "commondir"
    return folder / pointer.read_text().strip() if pointer.is_file() else folder
