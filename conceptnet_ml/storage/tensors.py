"""Trees of plain values and tensors as files, checked when they are read: JSON for the structure, safetensors for the
numbers, no pickle.

A tree is made of dict, list, tuple, str, int, float, bool, None and ``torch.Tensor``. It comes back as it was: types,
order of dict entries, keys that are not strings (an optimizer's state has them), every bit of every tensor. Device,
strides and autograd history of a tensor are dropped, and an ``OrderedDict`` becomes a ``dict``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptnet_ml.errors import DataError
from conceptnet_ml.storage.files import MALFORMED, disk_errors, read_file, write_atomic
from conceptnet_ml.storage.hashing import sha256

if TYPE_CHECKING:
    import torch

TREE_VERSION = 1

Tree = Any
"""dict | list | tuple | str | int | float | bool | None | torch.Tensor, nested."""


class Checkpoint:
    """A state that every save replaces as a whole. ``lock`` is called before each write and takes the lock of the
    folder.
    """

    def __init__(self, path: Path, lock: Callable[[], None]) -> None:
        self.path = path
        self._lock = lock

    def save(self, tree: Tree) -> None:
        """Replace the saved state. Same values and errors as :func:`save_tree`."""
        self._lock()
        save_tree(self.path, tree)

    def load(self) -> Tree | None:
        """The saved state, or None. Raises DataError where it is damaged."""
        return load_tree(self.path) if self.path.exists() else None

    def clear(self) -> None:
        """Remove the saved state."""
        self._lock()
        with disk_errors(self.path, "write"):
            self.path.unlink(missing_ok=True)
            _remove_tensors(self.path)


def save_tree(path: Path, tree: Tree) -> Tree:
    """Write a tree to ``path`` (.json) and, if it has tensors, to a .safetensors file beside it.

    The name of the tensor file holds its checksum. So one rename replaces an old tree by a new one: until the JSON file
    is replaced it refers to the old tensors, which are removed afterwards. Raises TypeError where the tree holds
    something else than plain values and tensors, and says where; DataError where it cannot be written. Returns the tree
    as :func:`load_tree` would, tensors on the CPU: a run and its resumption see the same values.
    """
    found: dict[str, torch.Tensor] = {}
    structure = _encode(tree, "value", found)
    tensors = own_copies(found)
    reference = None
    if tensors:
        data = pack(tensors)
        checksum = sha256(data)
        reference = {"file": f"{path.stem}-{checksum[:12]}.safetensors", "sha256": checksum}
        write_atomic(path.with_name(reference["file"]), data)
        del data
    checksum = sha256(json.dumps(structure))
    record = {"version": TREE_VERSION, "sha256": checksum, "tensors": reference, "tree": structure}
    write_atomic(path, json.dumps(record) + "\n")
    _remove_tensors(path, keep=reference["file"] if reference else "")
    return _decode(structure, tensors)


def load_tree(path: Path) -> Tree:
    """Read what :func:`save_tree` wrote, bit for bit. Raises DataError where a file is missing, damaged or of another
    version; it names the file and says how to go on.
    """
    culprit = path
    text = read_file(path)
    try:
        record = json.loads(text)
        if record["version"] != TREE_VERSION:
            raise ValueError(f"version {record['version']}, expected {TREE_VERSION}")
        structure, reference = record["tree"], record["tensors"]
        _check(json.dumps(structure), record["sha256"])
        tensors: dict[str, torch.Tensor] = {}
        if reference:
            culprit = path.with_name(reference["file"])
            if culprit.parent != path.parent:
                raise ValueError(f"'{reference['file']}' lies elsewhere")
            data = culprit.read_bytes()
            _check(data, reference["sha256"])
            tensors, culprit = unpack(data), path
        return _decode(structure, tensors)
    except (OSError, *MALFORMED) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else str(error)
        mend = f"Delete {path} and resume the run: what it held is computed anew."
        raise DataError(f"{culprit} is damaged: {reason}", mend) from error


def _remove_tensors(path: Path, keep: str = "") -> None:
    """Remove the tensor files of a tree, except one."""
    pattern = re.compile(re.escape(path.stem) + r"-[0-9a-f]{12}\.safetensors")
    if path.parent.is_dir():
        for file in path.parent.iterdir():
            if pattern.fullmatch(file.name) and file.name != keep:
                file.unlink(missing_ok=True)


def own_copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors on the CPU, real and contiguous, sharing no memory with the originals or with each other.

    The caller goes on writing into its tensors, and safetensors refuses two that share memory.
    """
    import torch

    found: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, value in tensors.items():
        plain = value.detach().resolve_conj().resolve_neg()
        plain = (torch.view_as_real(plain) if plain.is_complex() else plain).cpu().contiguous()
        if plain.data_ptr() == value.data_ptr() or plain.untyped_storage().data_ptr() in storages:
            plain = plain.clone(memory_format=torch.contiguous_format)
        storages.add(plain.untyped_storage().data_ptr())
        found[name] = plain
    return found


def pack(tensors: dict[str, torch.Tensor]) -> bytes:
    """The tensors as one safetensors file. Costs one copy in memory."""
    from safetensors.torch import save

    return save(tensors)


def unpack(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, each with memory of its own. Raises ValueError where it is not one."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {name: tensor.clone() for name, tensor in load(data).items()}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _check(content: str | bytes, checksum: str) -> None:
    if sha256(content) != checksum:
        raise ValueError("checksum does not match")


def _encode(tree: Tree, where: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The tree's structure for JSON, in which ``{"$tensor": "t0"}`` is a tensor; the tensors are added by that name."""
    kind = type(tree)
    if tree is None or kind in (bool, int, str):
        return tree
    if kind is float:
        return tree if math.isfinite(tree) else {"$float": repr(tree)}
    if kind in (list, tuple):
        items = [_encode(item, f"{where}[{index}]", tensors) for index, item in enumerate(tree)]
        return items if kind is list else {"$tuple": items}
    if isinstance(tree, dict):
        entries = {key: _encode(item, f"{where}[{key!r}]", tensors) for key, item in tree.items()}
        if all(type(key) is str and not key.startswith("$") for key in tree):
            return entries
        return {"$dict": [[_encode_key(key, where), entry] for key, entry in entries.items()]}
    return _encode_tensor(tree, where, tensors)


def _encode_key(key: Any, where: str) -> Any:
    if key is None or type(key) in (bool, int, str, float, tuple):
        tensors: dict[str, torch.Tensor] = {}
        structure = _encode(key, where, tensors)
        if not tensors:
            return structure
    raise TypeError(f"{where}: a key of type {type(key).__name__} cannot be saved")


def _encode_tensor(value: Any, where: str, tensors: dict[str, torch.Tensor]) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{where}: a {type(value).__name__} cannot be saved; use plain Python values and tensors")
    if value.layout is not torch.strided or value.is_quantized:
        raise TypeError(f"{where}: only dense tensors can be saved, this one is {value.layout}")
    name = f"t{len(tensors)}"
    tensors[name] = value
    return {"$complex" if value.is_complex() else "$tensor": name}


def _decode(structure: Any, tensors: dict[str, torch.Tensor]) -> Tree:
    """The tree of a structure. Raises ValueError where it is none of :func:`_encode`, or a tensor is missing."""
    if structure is None or isinstance(structure, (bool, int, float, str)):
        return structure
    if isinstance(structure, list):
        return [_decode(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        raise ValueError(f"unexpected {type(structure).__name__}")
    tag = next(iter(structure), "")
    if not tag.startswith("$"):
        return {key: _decode(item, tensors) for key, item in structure.items()}
    content = structure[tag]
    if tag == "$tuple":
        return tuple(_decode(item, tensors) for item in content)
    if tag == "$dict":
        return {_decode(key, {}): _decode(item, tensors) for key, item in content}  # no key is a tensor
    if tag == "$float":
        return float(content)
    if tag == "$tensor" and content in tensors:
        return tensors[content]
    if tag == "$complex" and content in tensors:
        import torch

        parts = tensors[content]
        if parts.shape[-1:] == (2,) and parts.dtype in (torch.float16, torch.float32, torch.float64):
            return torch.view_as_complex(parts)
    raise ValueError(f"unknown reference {tag}: {content!r}")
