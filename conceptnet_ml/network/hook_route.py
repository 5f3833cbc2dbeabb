"""Running parts of a network by forward hooks, where it cannot be traced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.stages import Cut

PREFIX = "model."
"""Module paths are told from inside the user's network, which the staged network holds under this name."""

POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class _Reached(BaseException):  # not an Exception, so that a network's own `except Exception` lets it through
    def __init__(self, maps: Tensor) -> None:
        self.maps = maps


class HookRoute:
    """Runs parts of a network by forward hooks that live for one call: for networks that cannot be traced.

    Starting from a stage runs the part before it, too, on black images, and puts the given maps in its place.
    """

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        self._before: dict[str, list[str]] = {}

    def cuts(self, root: nn.Module, images: Tensor) -> list[Cut]:
        """See :class:`Route`. At a real cut the maps decide the logits, whatever the image: that is tried."""
        records: list[tuple[str, nn.Module, Any]] = []
        with eval_mode(root), _hooks(root, lambda path, module, output: records.append((path, module, output))):
            logits = root(images)
        calls = Counter(path for path, _, _ in records)
        own = [next(module.parameters(recurse=False), None) is not None for _, module, _ in records]
        found: list[Cut] = []
        for number, (path, module, output) in enumerate(records):
            learned = sum(own[: number + 1])
            usable = isinstance(output, Tensor) and output.ndim == 4 and output.shape[0] == len(images)
            if not usable or calls[path] > 1 or not 0 < learned < sum(own):
                continue
            self._before[path] = [name for name, _, _ in records[:number]]
            with eval_mode(root):
                if not torch.allclose(self.run(root, output, path, None), logits, rtol=1e-3, atol=1e-4):
                    continue
            size = (output.shape[2], output.shape[3])
            found.append(Cut((path,), output.shape[1], size, path.count("."), learned, isinstance(module, POOLS)))
        return found

    def run(self, root: nn.Module, value: Tensor, start: str | None, end: str | None) -> Tensor:
        """See :class:`Route`."""

        def hook(path: str, module: nn.Module, output: Any) -> Any:
            if path == start:
                return value.clone()  # what follows may work in place
            if path == end:
                raise _Reached(output)
            return None

        images = value
        if start is not None:  # maps may be of autocast's type, images are of the weights'
            mean = root.get_buffer("mean")
            images = value.new_zeros(len(value), mean.shape[1], *self.image_size, dtype=mean.dtype)
        idle = [root.get_submodule(PREFIX + path) for path in self._before.get(start or "", ())]
        modes = [module.training for module in idle]
        for module in idle:
            module.training = False  # black images must not move running statistics
        try:
            with _hooks(root, hook, only=(start, end)):
                return root(images)
        except _Reached as reached:
            return reached.maps
        finally:
            for module, mode in zip(idle, modes, strict=True):
                module.training = mode


@contextmanager
def _hooks(
    root: nn.Module, act: Callable[[str, nn.Module, Any], Any], only: tuple[str | None, ...] | None = None
) -> Iterator[None]:
    handles = []
    try:
        for path, module in root.get_submodule(PREFIX[:-1]).named_modules():
            if path and (only is None or path in only):
                handles.append(
                    module.register_forward_hook(lambda module, inputs, output, path=path: act(path, module, output))
                )
        yield
    finally:
        for handle in handles:
            handle.remove()
