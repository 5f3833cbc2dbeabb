"""A run folder as the ranks have it that do not write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from conceptnet_ml.storage.run_folder import Run, T
from conceptnet_ml.storage.tensors import Checkpoint


class FollowerRun(Run):
    """A run that another process writes: it is read as any run, and what is written to it goes nowhere."""

    def lock(self) -> None:
        """The writing process holds it."""

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Steps are computed by the writing process, which tells their values."""
        raise RuntimeError(f"the step '{name}' was asked for in a process that does not write")

    def log(self, **metrics: Any) -> None: ...

    def forget_step(self, name: str) -> None: ...

    def revise(self, settings: Mapping[str, Any], origins: Mapping[str, Any], adapted: bool = False) -> None:
        """The new settings count here, too."""
        self.settings, self.origins = dict(settings), dict(origins)

    def checkpoint(self, name: str) -> Checkpoint:
        return _NoCheckpoint(super().checkpoint(name).path, self.lock)

    def _write(self, relative: str, content: str | bytes) -> None: ...


class _NoCheckpoint(Checkpoint):
    def save(self, tree: Any) -> None: ...

    def clear(self) -> None: ...
