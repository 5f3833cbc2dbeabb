"""Trees of plain values and tensors as text and bytes: JSON for the structure, safetensors for the numbers.
No pickle.

A tree is made of dict, list, tuple, str, int, float, bool, None and ``torch.Tensor``. It comes back as it went in:
types, order of dict entries, keys that are not strings (an optimizer's state has them), every bit of every tensor. What
does not come back is where a tensor lived: device, strides and autograd history are dropped, and an ``OrderedDict``
becomes a ``dict``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Tree = Any
"""dict | list | tuple | str | int | float | bool | None | torch.Tensor, nested."""


def encode(tree: Tree) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split a tree into a structure for JSON and the tensors it refers to.

    Returns:
        The structure, in which ``{"$tensor": "t0"}`` stands for a tensor, and the tensors by that name: on the CPU,
        contiguous, sharing no memory with each other.

    Raises:
        TypeError: Something in the tree is of another type; the message says where.
    """
    tensors: dict[str, torch.Tensor] = {}
    return _encode(tree, "value", tensors, set()), tensors


def decode(structure: Any, tensors: dict[str, torch.Tensor]) -> Tree:
    """The tree that :func:`encode` was given.

    Raises:
        ValueError: The structure is not one that :func:`encode` makes, or names a tensor that is not there.
    """
    if structure is None or isinstance(structure, (bool, int, float, str)):
        return structure
    if isinstance(structure, list):
        return [decode(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        raise ValueError(f"unexpected {type(structure).__name__}")
    tag = next(iter(structure), "")
    if not tag.startswith("$"):
        return {key: decode(item, tensors) for key, item in structure.items()}
    content = structure[tag]
    if tag == "$tuple":
        return tuple(decode(item, tensors) for item in content)
    if tag == "$dict":
        return {decode(key, tensors): decode(item, tensors) for key, item in content}
    if tag == "$float":
        return float(content)
    if tag in ("$tensor", "$complex") and content in tensors:
        return _as_complex(tensors[content]) if tag == "$complex" else tensors[content]
    raise ValueError(f"unknown reference {tag}: {content!r}")


def pack(tensors: dict[str, torch.Tensor]) -> bytes:
    """The tensors as one safetensors file. Costs one copy in memory."""
    from safetensors.torch import save

    return save(tensors)


def unpack(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, each with memory of its own.

    Raises:
        ValueError: The bytes are not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {name: tensor.clone() for name, tensor in load(data).items()}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _encode(tree: Tree, where: str, tensors: dict[str, torch.Tensor], storages: set[int]) -> Any:
    kind = type(tree)
    if tree is None or kind in (bool, int, str):
        return tree
    if kind is float:
        return tree if math.isfinite(tree) else {"$float": repr(tree)}
    if kind is list:
        return [_encode(item, f"{where}[{index}]", tensors, storages) for index, item in enumerate(tree)]
    if kind is tuple:
        return {"$tuple": [_encode(item, f"{where}[{index}]", tensors, storages) for index, item in enumerate(tree)]}
    if isinstance(tree, dict):
        if all(type(key) is str and not key.startswith("$") for key in tree):
            return {key: _encode(item, f"{where}[{key!r}]", tensors, storages) for key, item in tree.items()}
        return {
            "$dict": [
                [_key(key, where), _encode(item, f"{where}[{key!r}]", tensors, storages)] for key, item in tree.items()
            ]
        }
    return _encode_tensor(tree, where, tensors, storages)


def _key(key: Any, where: str) -> Any:
    if key is None or type(key) in (bool, int, str, float, tuple):
        tensors: dict[str, torch.Tensor] = {}
        structure = _encode(key, where, tensors, set())
        if not tensors:
            return structure
    raise TypeError(f"{where}: a key of type {type(key).__name__} cannot be saved")


def _encode_tensor(value: Any, where: str, tensors: dict[str, torch.Tensor], storages: set[int]) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{where}: a {type(value).__name__} cannot be saved; use plain Python values and tensors")
    if value.layout is not torch.strided or value.is_quantized:
        raise TypeError(f"{where}: only dense tensors can be saved, this one is {value.layout}")
    tag = "$tensor"
    plain = value.detach().resolve_conj().resolve_neg()
    if plain.is_complex():
        tag, plain = "$complex", torch.view_as_real(plain)
    plain = plain.cpu().contiguous()
    if plain.data_ptr() == value.data_ptr() or plain.untyped_storage().data_ptr() in storages:
        # the caller goes on writing into its tensors, and safetensors refuses two that share memory
        plain = plain.clone(memory_format=torch.contiguous_format)
    storages.add(plain.untyped_storage().data_ptr())
    name = f"t{len(tensors)}"
    tensors[name] = plain
    return {tag: name}


def _as_complex(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.view_as_complex(tensor)
