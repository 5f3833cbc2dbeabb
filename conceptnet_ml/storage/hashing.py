"""The one place that hashes. Every digest is a SHA-256 in hexadecimal, and part of the run format."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def sha256(content: str | bytes, digits: int = 64) -> str:
    """The first digits of the SHA-256 of bytes, or of a text in UTF-8, in which halves of pairs may stand."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:digits]


def seed_of(text: str) -> int:
    """63 bits of the SHA-256 of a text: its first 8 bytes, big-endian, without the last bit."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def digest(*parts: Any) -> str:
    """SHA-256 over texts, numbers and tensors (type, shape, content): the key of a stored dream."""
    import torch

    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            found.update(f"{part.dtype}{tuple(part.shape)}".encode())
            found.update(_content(part))
        else:
            found.update(repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values, without type and shape."""
    return hashlib.sha256(_content(tensor)).hexdigest()


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Fingerprint of a network: first 16 digits of the SHA-256 of its weights, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(_content(state[name]))
    return found.hexdigest()[:16]


def _content(tensor: Tensor) -> memoryview:
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
