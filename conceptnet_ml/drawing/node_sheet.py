"""One picture per node of the concept graph: what a person puts on a slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from conceptnet_ml.drawing.layout import FAINT, Box, Caption, below, beside, draw, framed, grid, placed, text
from conceptnet_ml.drawing.masks import masked
from conceptnet_ml.drawing.pictures import ImageLike, enlarge, scaled, to_ground, to_image
from conceptnet_ml.drawing.sheets import Card, caption_lines, small_start
from conceptnet_ml.drawing.text import font, text_width, wrap

FREE = "Free dream"
"""Above a dream from noise that has no name of its own."""

BEFORE, AFTER = "Before: the network that it was found in", "After: the same dream, learned network"
"""Above the dreams of a feature of a kept round in both networks."""

MEANS = "Mean over real images:"
"""Below each of them, before its lines on real images."""

_TITLE, _KIND, _HEAD, _TEXT = 28, 16, 15, 14

_GAP, _BLOCK, _TILE, _ACROSS = 14, 26, 160, 6


@dataclass(frozen=True)
class Example:
    """A real image that answers strongly, uint8 (C, H, W), with its class, as a rule, and activations (h, w) on it."""

    caption: str | Caption
    image: ImageLike
    unit_map: ImageLike | None = None


def node_strip(
    label: str,
    kind: str = "",
    *,
    free: Card | None = None,
    from_real: Sequence[Card] = (),
    examples: Sequence[Example] = (),
    cutoff: float | None = None,
    notes: Sequence[str | Caption] = (),
) -> Image.Image:
    """All pictures of one node: the free dream large, dreams from real images, the best real examples with masks.

    Args:
        label: The node's label.
        kind: Smaller words beside it: kind, stage, class.
        free: The dream from noise, with what is to stand below it, and beside it the same in another network, if there
            is one; their names stand above them.
        from_real: Dreams that began at a real image of each class, named by it.
        examples: Real images that answer most, best first.
        cutoff: The masks' threshold (:func:`conceptnet_ml.drawing.masks.threshold`); None shows no masks.
        notes: Lines at the foot, as on how honest the dreams are.

    Raises:
        ValueError: Nothing to show.
    """
    if free is None and not from_real and not examples:
        raise ValueError(f"node '{label}' has no pictures")
    across = min(_ACROSS, max(len(from_real), len(examples), 1))
    answering = "Real images that answer most" + (", and where" if cutoff is not None else "")
    groups = below(
        [
            _group("Dreamed on a real image of each class", _from_real(from_real, across), across),
            _group(answering, [(one.caption, _example(one, cutoff)) for one in examples], across),
        ],
        _BLOCK,
    )
    dreams = [one for one in (free, free and free.after) if one is not None]
    body = beside([*(_free(one, groups.height) for one in dreams), groups], _BLOCK)
    width = max(body.width, min(600, text_width(label, _TITLE)))
    foot = caption_lines(notes, _TEXT, width)
    return draw(below([below([_head(label, kind, width), body], gap=10), foot], _GAP))


def _head(label: str, kind: str, width: int) -> Box:
    """The label, and the kind beside its last line on one base line, or below it where there is no room."""
    *lines, last = wrap(label, _TITLE, width)
    title, words = text(last, _TITLE), text(kind, _KIND, FAINT, width)
    if title.width + _GAP + words.width > width:
        return below([text(label, _TITLE, room=width), words])
    drop = font(_TITLE).getmetrics()[0] - font(_KIND).getmetrics()[0]
    return below([*(text(line, _TITLE) for line in lines), beside([title, below([Box(0, drop), words])], _GAP)])


def _from_real(dreams: Sequence[Card], across: int) -> list[tuple[str | Caption | Box, Image.Image]]:
    """Each start beside its dream where a row has room for all, else small below it."""
    pairs = [(one.name, enlarge(to_image(one.start), _TILE), enlarge(to_image(one.image), _TILE)) for one in dreams]
    if 2 * len(dreams) > across:
        return [
            (beside([small_start(start, dream), text(name, _TEXT, room=2 * dream.width // 3)], gap=8), dream)
            for name, start, dream in pairs
        ]
    return [tile for name, start, dream in pairs for tile in ((name, start), ("dreamed on", dream))]


def _example(one: Example, cutoff: float | None) -> Image.Image:
    if one.unit_map is None or cutoff is None:
        return enlarge(to_image(one.image), _TILE)
    return masked(enlarge(to_ground(one.image), _TILE), one.unit_map, cutoff)


def _free(free: Card, height: int) -> Box:
    """The free dream as large as its neighbours are high, by a whole number where it is enlarged."""
    image = to_image(free.image)
    side = min(image.size)
    name = free.name or FREE
    beyond = below([text(name, _HEAD), *(text("one line", _TEXT) for _ in free.lines)]).height
    room = max(2 * _TILE, height - beyond - 16)
    image = scaled(image, room // side or room / side)
    return _panel(name, below([framed(image), caption_lines(free.lines, _TEXT, image.width)], gap=8))


def _group(heading: str, images: Sequence[tuple[str | Caption | Box, Image.Image]], across: int) -> Box:
    """Pictures in rows of ``across``, each with its caption; nothing where there are none."""
    if not images:
        return Box(0, 0)
    width, height = max(image.width for _, image in images), max(image.height for _, image in images)
    tiles = []
    for caption, image in images:
        words = caption if isinstance(caption, Box) else text(caption, _TEXT, room=width)
        tiles.append(below([placed(framed(image), width, height, 0.5, 0.5), words], gap=6))
    return _panel(heading, grid([tiles[at : at + across] for at in range(0, len(tiles), across)], _GAP))


def _panel(heading: str, content: Box) -> Box:
    return below([text(heading, _HEAD, FAINT), content], gap=6)
