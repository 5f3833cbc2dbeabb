"""The box in which the classes differ, where a place could be a shortcut: a date or a stamp seldom ends where a region
does, and may lie across two.

1. Score each cell of a grid as fine as that of the gates of ``learn`` for the class that the place tells best.
2. The strongest cell, and those near it that tell at least half as much, span the box.
3. It is taken where it alone tells as much as the best region, within its interval; else the regions stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from conceptnet_ml.config.overrides import BORDER
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.inspect.pixel_measures import PixelBox, box_measures, grid_lines
from conceptnet_ml.inspect.properties import PLACE
from conceptnet_ml.inspect.property_results import LEVELS, TRAIN, PropertyResult, ScoredSets, property_result
from conceptnet_ml.inspect.property_rule import Labels, Numbers
from conceptnet_ml.inspect.property_score import above, score_places

CELLS, SEARCHED = 16, 2000
"""Cells along each side, none narrower than 2 px, and the most images by which they are scored."""

_BATCH = 256
_NEAR = np.ones((3, 3), bool)


@dataclass(frozen=True)
class CellBox:
    """A box of whole cells.

    Args:
        rows, columns: The first cell, and the first beyond it.
        is_edge: Whether it reaches the image's edge, and no cell there that is not its own tells half as much as its
            strongest one.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    is_edge: bool


def with_box(
    results: Sequence[PropertyResult], images: Mapping[str, ImageSet], sets: ScoredSets
) -> list[PropertyResult]:
    """The results; where the place could be a shortcut and a box is found in it, with the box in place of its regions,
    and as the place of a border that is no frame, but what of the box lies at the edge.

    Args:
        images: Of the sets that ``results`` are about.

    Cost: where a place could be a shortcut, five fits to :data:`SEARCHED` images for each cell, some seconds.
    """
    place = next((one for one in results if one.about.name == PLACE and one.level != "none"), None)
    if place is None:
        return [*results]
    height, width = images[TRAIN].shape[1:]
    lines = grid_lines(height, min(CELLS, height // 2)), grid_lines(width, min(CELLS, width // 2))
    box = box_of(_cell_strengths(images[TRAIN], lines, place.score.told, sets))
    if box is None:
        return [*results]
    (down, across), (rows, columns) = lines, (box.rows, box.columns)
    pixels = across[columns[0]], down[rows[0]], across[columns[1]], down[rows[1]]
    values = {name: _measured(of_set, [pixels])[0] for name, of_set in images.items()}
    words = f"the box x {pixels[0]} to {pixels[2]}, y {pixels[1]} to {pixels[3]} px of {width} × {height}"
    found = property_result(place.about, values, sets, None, words)
    found = replace(found, control=place.control)
    if found.score.told != place.score.told or found.score.strength < place.score.strength_low:
        return [*results]
    ends = zip((columns[0], rows[0], columns[1], rows[1]), (len(across), len(down)) * 2, strict=True)
    shares = ",".join(f"{end / (count - 1):.4g}" for end, count in ends)
    placed = {PLACE: replace(found, places=shares)}

    def changed(one: PropertyResult) -> PropertyResult:
        if one.about.name == BORDER and box.is_edge and one.score.told == place.score.told:
            return replace(one, places=shares, differs=words)
        return placed.get(one.about.name, one)

    return [changed(one) for one in results]


def box_of(strengths: Numbers) -> CellBox | None:
    """The box around the strongest cell and those that hang together with it, a gap of one cell counting for none.

    Args:
        strengths: (rows, columns) with which each cell tells the class. What counts is how far they are above the
            middle one of all, which the object has.

    Returns:
        None where no cell tells *some*, and where the box is more than half of the image, which is no place.
    """
    from scipy.ndimage import binary_dilation, label  # takes a while to load

    beyond = np.vectorize(above)(strengths, np.median(strengths))
    best = np.unravel_index(int(beyond.argmax()), beyond.shape)
    least = max(min(LEVELS.values()), float(beyond[best]) / 2)
    tells = beyond >= least
    if not tells.any():
        return None
    parts, _ = label(binary_dilation(tells, _NEAR), _NEAR)
    own = tells & (parts == parts[best])
    rows, columns = (np.flatnonzero(own.any(axis)) for axis in (1, 0))
    spans = [(int(line[0]), int(line[-1]) + 1) for line in (rows, columns)]
    inside = np.zeros_like(tells)
    inside[slice(*spans[0]), slice(*spans[1])] = True
    edge = np.ones_like(tells)
    edge[1:-1, 1:-1] = False
    if inside.mean() > 0.5:
        return None
    return CellBox(spans[0], spans[1], bool((edge & inside).any() and not (edge & tells & ~inside).any()))


def _cell_strengths(images: ImageSet, lines: tuple[list[int], list[int]], told: int, sets: ScoredSets) -> Numbers:
    """(rows, columns) with which each cell tells this class."""
    down, across = lines
    boxes = [(left, top, right, bottom) for top, bottom in pairwise(down) for left, right in pairwise(across)]
    some = sets.fitted[:: -(-len(sets.fitted) // SEARCHED)]
    cells = {str(place): values for place, values in enumerate(_measured(images, boxes, some))}
    found = score_places(cells, sets.labels[TRAIN][some], len(sets.classes), sets.seed)
    return np.array([one[told] for one in found.values()]).reshape(len(down) - 1, len(across) - 1)


def _measured(images: ImageSet, boxes: Sequence[PixelBox], places: Labels | None = None) -> npt.NDArray[np.float64]:
    """(boxes, N, 6) of the images at these places; default: of all."""
    numbers = torch.arange(len(images)) if places is None else torch.from_numpy(places)
    parts = [box_measures(images.take(part), boxes).double().cpu() for part in numbers.split(_BATCH)]
    return np.asarray(torch.cat(parts, 1).numpy() if parts else np.zeros((len(boxes), 0, 6)))
