"""Trees of plain values and tensors as files, checked when read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from conceptnet_ml.errors import DataError
from conceptnet_ml.storage import trees
from conceptnet_ml.storage.files import plainly, write_atomic
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.storage.trees import Tree

if TYPE_CHECKING:
    import torch

TREE_VERSION = 1


class Checkpoint:
    """A state that is replaced as a whole by every save.

    Args:
        path: The .json file it is kept in.
        hold: Called before each write: takes the lock of the folder.
    """

    def __init__(self, path: Path, hold: Callable[[], None]) -> None:
        self.path = path
        self._hold = hold

    def save(self, tree: Tree) -> None:
        """Replace the saved state. Same values and errors as :func:`save_tree`."""
        self._hold()
        save_tree(self.path, tree)

    def load(self) -> Tree | None:
        """The saved state, or None. Raises DataError where it is damaged."""
        return load_tree(self.path) if self.path.exists() else None

    def clear(self) -> None:
        """Remove the saved state."""
        self._hold()
        with plainly(self.path, "write"):
            self.path.unlink(missing_ok=True)
            remove_tensors(self.path)


def save_tree(path: Path, tree: Tree) -> Tree:
    """Write a tree of values and tensors to ``path`` (.json) and, if it has tensors, a .safetensors file beside it.

    The tensor file's name carries its own checksum, so that overwriting is one rename as well: until the JSON file is
    replaced it refers to the old tensors, which are removed only afterwards.

    Returns:
        The tree as :func:`load_tree` would return it, tensors on the CPU: a run and its resumption see the same values.

    Raises:
        TypeError: The tree holds something else than plain values and tensors.
        DataError: It cannot be written.
    """
    structure, tensors = trees.encode(tree)
    reference = None
    if tensors:
        data = trees.pack(tensors)
        checksum = sha256(data)
        reference = {"file": f"{path.stem}-{checksum[:12]}.safetensors", "sha256": checksum}
        write_atomic(path.with_name(reference["file"]), data)
        del data
    checksum = sha256(json.dumps(structure).encode())
    record = {"version": TREE_VERSION, "sha256": checksum, "tensors": reference, "tree": structure}
    write_atomic(path, json.dumps(record) + "\n")
    remove_tensors(path, keep=reference["file"] if reference else "")
    return trees.decode(structure, tensors)


def load_tree(path: Path) -> Tree:
    """Read back what :func:`save_tree` wrote, bit for bit.

    Raises:
        DataError: A file is missing, damaged or of another version; names it and says how to go on.
    """
    culprit = path
    with plainly(path, "read"):
        text = path.read_bytes()
    try:
        record = json.loads(text)
        if record["version"] != TREE_VERSION:
            raise ValueError(f"version {record['version']}, expected {TREE_VERSION}")
        structure, reference = record["tree"], record["tensors"]
        if sha256(json.dumps(structure).encode()) != record["sha256"]:
            raise ValueError("checksum does not match")
        tensors: dict[str, torch.Tensor] = {}
        if reference:
            culprit = path.with_name(reference["file"])
            data = culprit.read_bytes()
            if sha256(data) != reference["sha256"]:
                raise ValueError("checksum does not match")
            tensors = trees.unpack(data)
        return trees.decode(structure, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        mend = f"Delete {path} and resume the run: what it held is computed anew."
        raise DataError(f"{culprit} is damaged: {reason}", mend) from error


def remove_tensors(path: Path, keep: str = "") -> None:
    pattern = re.compile(re.escape(path.stem) + r"-[0-9a-f]{12}\.safetensors")
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if pattern.fullmatch(file.name) and file.name != keep:
                file.unlink(missing_ok=True)
