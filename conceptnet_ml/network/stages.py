"""Where a network can be cut into stages, and the interface of the two ways to run its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor, nn

LEAST_REACH = 0.1
"""Which share of a network's operations with weights leads up to its last stage, at the least, where stages are found:
the first layers of a transformer, whose tokens are no maps, are none."""


@dataclass(frozen=True)
class Stage:
    """A named place in the network that everything passes through.

    Args:
        name: Path of the module whose output it is.
        units: Number of channels.
        size: Height and width of the maps in cells.
        channels_last: The module gives them as (B, h, w, C), as a Swin's do; the stage's maps are (B, C, h, w) all
            the same.
    """

    name: str
    units: int
    size: tuple[int, int]
    channels_last: bool = False


@dataclass(frozen=True)
class Cut:
    """A place where the network could be cut.

    Args:
        names: All its names, the innermost module's first.
        shape: Of its value, (C, h, w) or (h, w, C).
        level: How many modules it lies inside of.
        learned: Which share of the operations with weights leads up to it.
        final: The convolutional part ends here: an adaptive pooling.
    """

    names: tuple[str, ...]
    shape: tuple[int, int, int]
    level: int
    learned: float
    final: bool

    def stage(self, name: str, image_size: tuple[int, int]) -> Stage | None:
        """The stage that a cut here makes; None where its value is no map: height and width of maps shrink alike."""
        height, width = image_size
        for channels_last in (False, True):
            units, rows, columns = (*self.shape[2:], *self.shape[:2]) if channels_last else self.shape
            if abs(rows * width / height - columns) <= max(1.0, columns / 4):
                return Stage(name, units, (rows, columns), channels_last)
        return None


class Route(Protocol):
    """A way to run parts of a network.

    It is given the network with every call and keeps no weights, so it stays right for copies, after moves to another
    device and after loading.
    """

    def cuts(self, root: nn.Module, images: Tensor) -> list[Cut]:
        """The places where the network can be cut, from input to output."""

    def run(self, root: nn.Module, value: Tensor, start: str | None, end: str | None) -> Tensor:
        """From the maps at ``start`` (None: the images) to those at ``end`` (None: the logits)."""


def choose_stages(cuts: Sequence[Cut], image_size: tuple[int, int]) -> list[Stage]:
    """The last cut of each resolution, as long as maps only shrink and have at least 2 × 2 cells.

    The end of a block goes before places inside the next one, which may be of the same resolution. A resolution that
    only a pooling made, without weights of its own, is no stage: its units are those of the stage before. Nor is what
    grew without weights, as by a layer that only pads.
    """
    last: list[tuple[Cut, Stage]] = []
    learned = 0.0
    for cut in cuts:
        stage = cut.stage(cut.names[0], image_size)
        rows, columns = stage.size if stage else cut.shape[1:]
        if stage is None and min(rows, columns) >= 2:
            continue  # another tensor
        grown = bool(last) and (rows > last[-1][1].size[0] or columns > last[-1][1].size[1])
        if grown and cut.learned == learned:
            continue
        learned = cut.learned
        if stage is None or cut.final or min(rows, columns) < 2 or grown:
            break
        if not last or last[-1][1].size != stage.size:
            last.append((cut, stage))
        elif cut.level <= last[-1][0].level:
            last[-1] = cut, stage
    shares = [cut.learned for cut, _ in last]
    last = [one for one, own, before in zip(last, shares, [0.0, *shares], strict=False) if own > before]
    innermost = [cut.names[0] for cut, _ in last]
    return [replace(stage, name=_name(cut, innermost)) for cut, stage in last]


def reach(cuts: Sequence[Cut], stage: Stage) -> float:
    """Which share of the operations with weights leads up to a stage."""
    return next(cut.learned for cut in cuts if stage.name in cut.names)


def _name(cut: Cut, innermost: Sequence[str]) -> str:
    """The outermost module that ends here and does not contain another stage: ``layer1``, not ``layer1.1.relu``."""
    others = [name for name in innermost if name != cut.names[0]]
    fitting = [name for name in cut.names if not any(other.startswith(f"{name}.") for other in others)]
    return min(fitting or cut.names, key=len)
