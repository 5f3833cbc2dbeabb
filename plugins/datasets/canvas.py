"""Something to draw on: colours and, beside them, which part each pixel belongs to. Lengths are px of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

SIDE = 64
FINER = 4  # drawn this many times finer and averaged down: that is the antialiasing

NOTHING, WHEEL, CURL, BODY = 0, 1, 2, 3
Points = NDArray[np.float64]
Colour = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Where a figure stands: its own units (y upwards from the ground) to px (y downwards).

    Args:
        x, y: px of the figure's origin.
        scale: px per unit.
        flip: 1 looks to the right, -1 to the left.
        angle: Turn in radians.
    """

    x: float
    y: float
    scale: float
    flip: int
    angle: float

    def __call__(self, points: ArrayLike) -> Points:
        array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        across = self.flip * (array[:, 0] * cos - array[:, 1] * sin)
        upward = array[:, 0] * sin + array[:, 1] * cos
        return np.stack([self.x + self.scale * across, self.y - self.scale * upward], axis=1)


class Canvas:
    """A picture and its map of parts, from a background float (64, 64, 3) in [0, 255]."""

    def __init__(self, background: NDArray[np.float64]) -> None:
        small = Image.fromarray(background.clip(0, 255).astype(np.uint8))
        self.image = small.resize((SIDE * FINER, SIDE * FINER), Image.Resampling.NEAREST)
        self.parts = Image.new("L", self.image.size, NOTHING)
        self._brush, self._marker = ImageDraw.Draw(self.image), ImageDraw.Draw(self.parts)

    def polygon(self, points: Points, colour: Colour, part: int | None = None) -> None:
        """Fill a polygon; ``part`` None leaves the map of parts as it is."""
        corners = (points * FINER).ravel().tolist()
        self._brush.polygon(corners, fill=_paint(colour))
        if part is not None:
            self._marker.polygon(corners, fill=part)

    def line(self, points: Points, colour: Colour, width: float, part: int | None = None) -> None:
        """Draw a line ``width`` px wide with round bends."""
        corners, thick = (points * FINER).ravel().tolist(), max(1, round(width * FINER))
        self._brush.line(corners, fill=_paint(colour), width=thick, joint="curve")
        if part is not None:
            self._marker.line(corners, fill=part, width=thick, joint="curve")

    def disc(self, x: float, y: float, radius: float, colour: Colour, part: int | None = None) -> None:
        """Fill a disc."""
        box = [(x - radius) * FINER, (y - radius) * FINER, (x + radius) * FINER, (y + radius) * FINER]
        self._brush.ellipse(box, fill=_paint(colour))
        if part is not None:
            self._marker.ellipse(box, fill=part)

    def arc(self, x: float, y: float, radius: float, turns: tuple[float, float], colour: Colour, width: float) -> None:
        """Draw an arc between two angles in degrees."""
        box = [(x - radius) * FINER, (y - radius) * FINER, (x + radius) * FINER, (y + radius) * FINER]
        self._brush.arc(box, turns[0], turns[1], fill=_paint(colour), width=max(1, round(width * FINER)))

    def finish(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """The picture, float (64, 64, 3), and the part most central in each pixel, uint8 (64, 64)."""
        picture = np.asarray(self.image.reduce(FINER), dtype=np.float64)
        return picture, np.asarray(self.parts)[FINER // 2 :: FINER, FINER // 2 :: FINER].copy()


def rounded(points: ArrayLike, times: int = 2) -> Points:
    """A closed outline with its corners cut ``times`` times (Chaikin 1974): smooth after two or three."""
    array = np.asarray(points, dtype=np.float64)
    for _ in range(times):
        following = np.roll(array, -1, axis=0)
        array = np.stack([0.78 * array + 0.22 * following, 0.22 * array + 0.78 * following], axis=1).reshape(-1, 2)
    return array


def oval(centre: Points, across: float, upward: float, turn: float = 0.0) -> Points:
    """The outline of an ellipse with these half-axes, turned by ``turn`` radians."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x, y = centre
    a, b = across * np.cos(angles), upward * np.sin(angles)
    return np.stack([x + a * np.cos(turn) - b * np.sin(turn), y + a * np.sin(turn) + b * np.cos(turn)], axis=1)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker under 1; over 1 lighter, towards white."""
    red, green, blue = colour
    if factor <= 1:
        return red * factor, green * factor, blue * factor
    share = factor - 1
    return red + (255 - red) * share, green + (255 - green) * share, blue + (255 - blue) * share


def _paint(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = colour
    return min(255, max(0, int(red))), min(255, max(0, int(green))), min(255, max(0, int(blue)))
