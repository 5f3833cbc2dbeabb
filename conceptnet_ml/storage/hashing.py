"""The one place that hashes: what is stored, and what dreams and nodes are made of."""

from __future__ import annotations

import hashlib
from typing import Any


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest(*parts: Any) -> str:
    """SHA-256 over texts, numbers and tensors (type, shape, content)."""
    import torch

    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            values = part.detach().cpu().contiguous()
            found.update(f"{values.dtype}{tuple(values.shape)}".encode())
            found.update(values.flatten().view(torch.uint8).numpy().data)
        else:
            found.update(repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()
