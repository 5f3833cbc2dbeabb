"""Dreams that were made before, stored under digests of everything that decides about them."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from torch import Tensor

from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.storage.files import MALFORMED, write_atomic
from conceptnet_ml.storage.hashing import digest

FIELDS = ("before", "reached", "steps", "outcome")

LONG_AGO = 3600.0
"""Seconds after which a half-written dream is nobody's any more."""


class DreamCache:
    """A folder of dreams, each under a digest of network, objective, recipe, start and seed.

    A damaged file, or one of another key, counts as missing and is replaced. Several programs may share the folder.

    Args:
        path: The folder; made when the first dream is stored.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self, key: str, request: DreamRequest) -> Dream | None:
        """The stored dream of a request; None where there is none."""
        from safetensors import SafetensorError, safe_open

        path = self._file(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                fields, image = json.loads(file.metadata()["dream"]), file.get_tensor("image")
                if file.metadata()["sha256"] != _checksum(key, fields, image) or not _is_dream(fields, image):
                    return None
                return Dream(request.objective, request.seed, image, **fields, cached=True)
        except (SafetensorError, OSError, *MALFORMED):
            return None

    def save(self, key: str, dream: Dream) -> None:
        """Store a dream.

        Raises:
            DataError: The folder cannot be written.
        """
        from safetensors.torch import save

        fields = json.loads(json.dumps({name: getattr(dream, name) for name in FIELDS}))
        image = dream.image.contiguous()
        about = {"dream": json.dumps(fields), "sha256": _checksum(key, fields, image)}
        write_atomic(self._file(key), save({"image": image}, about))
        self._sweep(self._file(key).parent)

    def _sweep(self, folder: Path) -> None:
        """Remove what a killed program left half-written long ago; what is newer another one may be writing."""
        for path in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > LONG_AGO:
                    path.unlink()

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key[2:]}.safetensors"


def _is_dream(fields: object, image: Tensor) -> bool:
    kinds = {"before": float, "reached": float, "steps": int, "outcome": str}
    if not isinstance(fields, dict) or fields.keys() != kinds.keys():
        return False
    return image.dim() == 3 and all(type(fields[name]) is kind for name, kind in kinds.items())


def _checksum(key: str, fields: object, image: Tensor) -> str:
    return digest(key, json.dumps(fields), image)
