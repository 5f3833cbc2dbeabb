"""What a figure was measured with: the commit, and a checksum of the sources."""

from __future__ import annotations

from pathlib import Path

import conceptnet_ml
from conceptnet_ml.runtime.code import sources

__all__ = ["commit", "sources"]

UNKNOWN = "unknown"


def commit(root: Path | None = None) -> str:
    """The checked-out commit, 40 hex digits; ``unknown`` where the package does not lie in a checkout of its own.

    Reads ``.git`` as files, so that git need not be installed. ``root`` is the checkout, by default the folder that
    holds the package.
    """
    root = Path(conceptnet_ml.__file__).parents[1] if root is None else root
    try:
        git = root / ".git"
        if git.is_file():  # a worktree's points elsewhere
            git = root / git.read_text().strip().removeprefix("gitdir: ")
        pointer = git / "commondir"
        shared = git / pointer.read_text().strip() if pointer.is_file() else git
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head or UNKNOWN
        reference = head.removeprefix("ref: ")
        for folder in (git, shared):
            if (folder / reference).is_file():
                return (folder / reference).read_text().strip() or UNKNOWN
        for line in (shared / "packed-refs").read_text().splitlines():
            if line.endswith(f" {reference}"):
                return line.split()[0]
    except (OSError, UnicodeDecodeError):
        pass
    return UNKNOWN
