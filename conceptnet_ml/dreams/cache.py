"""Dreams that were dreamt before, by what they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.storage.files import write_atomic

KEPT = ("before", "reached", "steps", "outcome")


class DreamCache:
    """A folder of dreams, each under the digest of network, target, settings, start and seed.

    What is asked for again is read; a changed network, or anything else that decides, is another address. A file that
    is damaged counts as missing and is written anew. Several programs may share the folder.

    Args:
        path: The folder; made when the first dream is kept.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self, key: str) -> dict[str, Any] | None:
        """What is known of a dream, or None."""
        from safetensors import SafetensorError, safe_open

        path = self._file(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                return {"image": file.get_tensor("image"), **json.loads(file.metadata()["dream"])}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None

    def save(self, key: str, dream: Dream) -> None:
        """Keep a dream.

        Raises:
            DataError: The folder cannot be written.
        """
        from safetensors.torch import save

        words = json.dumps({name: getattr(dream, name) for name in KEPT})
        write_atomic(self._file(key), save({"image": dream.image.contiguous()}, {"dream": words}))

    def clear(self) -> int:
        """Forget all; how many there were."""
        files = list(self.path.glob("*/*.safetensors"))
        for path in files:
            path.unlink()
        return len(files)

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key[2:]}.safetensors"
