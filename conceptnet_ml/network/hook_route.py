"""Running parts of a network by forward hooks, where it cannot be traced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.network.modes import eval_mode
from conceptnet_ml.network.stages import Cut

PREFIX = "model."
"""The staged network holds the user's network under this name; names of stages leave it out."""

POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class _EndReached(BaseException):  # not an Exception, so that a network's own `except Exception` lets it through
    def __init__(self, maps: Tensor) -> None:
        self.maps = maps


class HookRoute:
    """Runs parts of a network by forward hooks that exist during one call.

    Starting from a stage also runs the part before it, on black images, and puts the given maps in place of its output.
    """

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.image_size = image_size
        self._before: dict[str, list[str]] = {}  # the modules that run before each cut

    def cuts(self, root: nn.Module, images: Tensor) -> list[Cut]:
        """See :class:`Route`. At a real cut the maps decide the logits, whatever the image: that is tried."""
        calls: list[tuple[str, nn.Module, Any]] = []
        with eval_mode(root), hooked(root, lambda path, module, output: calls.append((path, module, output))):
            logits = root(images)
        counts = Counter(path for path, _, _ in calls)
        has_weights = [next(module.parameters(recurse=False), None) is not None for _, module, _ in calls]
        found: list[Cut] = []
        for number, (path, module, output) in enumerate(calls):
            learned = sum(has_weights[: number + 1])
            is_map = isinstance(output, Tensor) and output.ndim == 4 and output.shape[0] == len(images)
            if not is_map or counts[path] > 1 or not 0 < learned < sum(has_weights):
                continue
            self._before[path] = [name for name, _, _ in calls[:number]]
            with eval_mode(root):
                if not torch.allclose(self.run(root, output, path, None), logits, rtol=1e-3, atol=1e-4):
                    continue
            shape = (output.shape[1], output.shape[2], output.shape[3])
            share = learned / sum(has_weights)
            found.append(Cut((path,), shape, path.count("."), share, isinstance(module, POOLS)))
        return found

    def run(self, root: nn.Module, value: Tensor, start: str | None, end: str | None) -> Tensor:
        """See :class:`Route`."""

        def hook(path: str, module: nn.Module, output: Any) -> Any:
            if path == start:
                return value.clone()  # what follows may work in place
            if path == end:
                raise _EndReached(output)
            return None

        images = value
        if start is not None:  # maps may be of autocast's type, images are of the weights'
            mean = root.get_buffer("mean")
            images = value.new_zeros(len(value), mean.shape[1], *self.image_size, dtype=mean.dtype)
        skipped = [root.get_submodule(PREFIX + path) for path in self._before.get(start or "", ())]
        modes = [module.training for module in skipped]
        for module in skipped:
            module.training = False  # black images must not move running statistics
        try:
            with hooked(root, hook, only=(start, end)):
                return root(images)
        except _EndReached as reached:
            return reached.maps
        finally:
            for module, mode in zip(skipped, modes, strict=True):
                module.training = mode


@contextmanager
def hooked(
    root: nn.Module, act: Callable[[str, nn.Module, Any], Any], only: Container[str | None] | None = None
) -> Iterator[None]:
    """Call ``act(path, module, output)`` after every module, or after those of these paths."""
    with ExitStack() as handles:
        for path, module in root.get_submodule(PREFIX[:-1]).named_modules():
            if path and (only is None or path in only):
                hook = module.register_forward_hook(lambda module, _, output, path=path: act(path, module, output))
                handles.enter_context(hook)
        yield
