"""Where a network can be cut into stages, and the interface of the two ways to run its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """A named place in the network that everything passes through.

    Args:
        name: Path of the module whose output it is.
        units: Number of channels.
        size: Height and width of the maps in cells.
    """

    name: str
    units: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """A place where the network could be cut.

    Args:
        names: All its names, the innermost module's first.
        units, size: As in :class:`Stage`.
        level: How many modules it lies inside of.
        learned: How many operations with weights lead up to it.
        final: The convolutional part ends here: an adaptive pooling.
    """

    names: tuple[str, ...]
    units: int
    size: tuple[int, int]
    level: int
    learned: int
    final: bool


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
    last: list[Cut] = []
    learned = 0
    for cut in cuts:
        (rows, columns), (height, width) = cut.size, image_size
        grown = bool(last) and (rows > last[-1].size[0] or columns > last[-1].size[1])
        if grown and cut.learned == learned:
            continue
        learned = cut.learned
        if cut.final or min(rows, columns) < 2 or grown:
            break
        if abs(rows * width / height - columns) > max(1.0, columns / 4):
            continue  # height and width of maps shrink alike; other tensors are no maps, as in channels-last networks
        if not last or last[-1].size != cut.size:
            last.append(cut)
        elif cut.level <= last[-1].level:
            last[-1] = cut
    last = [cut for cut, before in zip(last, [None, *last], strict=False) if not before or cut.learned > before.learned]
    innermost = [cut.names[0] for cut in last]
    return [Stage(_name(cut, innermost), cut.units, cut.size) for cut in last]


def _name(cut: Cut, innermost: Sequence[str]) -> str:
    """The outermost module that ends here and does not contain another stage: ``layer1``, not ``layer1.1.relu``."""
    others = [name for name in innermost if name != cut.names[0]]
    fitting = [name for name in cut.names if not any(other.startswith(f"{name}.") for other in others)]
    return min(fitting or cut.names, key=len)
