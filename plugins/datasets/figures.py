"""The two figures, cars and poodles, in units of their own with the ground at y = 0 and the front at +x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from .canvas import BODY, CURL, WHEEL, Canvas, Colour, Points, Pose, oval, rounded, shade
from .scenery import Round

# Both classes wear the same coats, so that colour alone tells nothing.
COATS = ((236, 234, 228), (226, 208, 170), (214, 160, 104), (118, 78, 52), (138, 138, 142), (48, 46, 50))
GLASS = (70, 86, 100)
Placing = Callable[[ArrayLike], Points]


@dataclass(frozen=True)
class Car:
    """Outline from rear to front, windows, and where the two wheels are, in half-lengths of the car."""

    outline: tuple[tuple[float, float], ...]
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, float]


SEDAN = Car(
    (
        (-1, 0.17),
        (-1, 0.44),
        (-0.92, 0.52),
        (-0.62, 0.55),
        (-0.4, 0.86),
        (0.16, 0.87),
        (0.48, 0.56),
        (0.9, 0.47),
        (1, 0.38),
        (1, 0.17),
    ),
    (
        ((-0.54, 0.57), (-0.37, 0.8), (-0.14, 0.81), (-0.14, 0.57)),
        ((-0.08, 0.57), (-0.08, 0.81), (0.14, 0.81), (0.37, 0.57)),
    ),
    (-0.6, 0.62),
)
HATCHBACK = Car(
    (
        (-0.86, 0.17),
        (-0.9, 0.5),
        (-0.78, 0.86),
        (-0.6, 0.93),
        (0.08, 0.93),
        (0.46, 0.58),
        (0.84, 0.5),
        (0.93, 0.38),
        (0.93, 0.17),
    ),
    (
        ((-0.76, 0.59), (-0.68, 0.84), (-0.3, 0.86), (-0.3, 0.59)),
        ((-0.24, 0.59), (-0.24, 0.86), (0.06, 0.86), (0.34, 0.59)),
    ),
    (-0.55, 0.58),
)
VAN = Car(
    ((-1, 0.17), (-1, 1.06), (-0.94, 1.12), (0.5, 1.12), (0.78, 0.66), (0.97, 0.56), (1, 0.42), (1, 0.17)),
    (((0.2, 0.68), (0.2, 1.02), (0.46, 1.02), (0.66, 0.68)), ((-0.8, 0.7), (-0.8, 1.0), (-0.35, 1.0), (-0.35, 0.7))),
    (-0.6, 0.62),
)
CONVERTIBLE = Car(
    (
        (-1, 0.17),
        (-1, 0.42),
        (-0.9, 0.53),
        (-0.5, 0.55),
        (-0.44, 0.5),
        (0.12, 0.5),
        (0.2, 0.55),
        (0.88, 0.45),
        (1, 0.36),
        (1, 0.17),
    ),
    (((0.14, 0.53), (-0.04, 0.82), (0.02, 0.84), (0.24, 0.53)),),
    (-0.6, 0.62),
)
PICKUP = Car(
    (
        (-1, 0.17),
        (-1, 0.58),
        (-0.16, 0.58),
        (-0.12, 1.0),
        (0.28, 1.01),
        (0.52, 0.64),
        (0.92, 0.57),
        (1, 0.44),
        (1, 0.17),
    ),
    (((-0.02, 0.66), (-0.02, 0.93), (0.25, 0.93), (0.42, 0.66)),),
    (-0.6, 0.63),
)
CARS = (SEDAN, HATCHBACK, VAN, CONVERTIBLE, PICKUP)


@dataclass(frozen=True)
class CarShape:
    """A car of a wanted height: its kind, how far its outline is stretched upwards, px per unit, wheels' radius."""

    kind: Car
    tall: float
    scale: float
    radius: float


def car_shape(random: Generator, height: float) -> CarShape:
    """A car ``height`` px high from the ground to its roof, 28 to 62 px long."""
    kind = CARS[int(random.integers(len(CARS)))]
    radius = random.uniform(0.22, 0.3)
    top = max(y for part in (kind.outline, *kind.windows) for _, y in part) - 0.17
    low, high = (min(31.0, max(14.0, height / (0.45 * radius + tall * top))) for tall in (1.5, 0.85))
    scale = random.uniform(low, high)
    return CarShape(kind, (height / scale - 0.45 * radius) / top, scale, radius)


def car(canvas: Canvas, random: Generator, pose: Pose, coat: Colour, shape: CarShape, blocks: bool) -> Points:
    """Draw a car's body; returns where its two wheels belong, in px.

    Args:
        canvas: What to draw on.
        random: The image's generator.
        pose: Scale is half the car's length in px.
        coat: Colour of the body.
        shape: What to draw.
        blocks: Whether it stands on blocks where its wheels belong.
    """
    kind, radius, lift = shape.kind, shape.radius, shape.radius * 0.45

    def place(points: ArrayLike) -> Points:
        array = np.array(points, dtype=np.float64)
        array[:, 1] = lift + (array[:, 1] - 0.17) * shape.tall
        return pose(array)

    if blocks:
        _blocks(canvas, random, pose, kind.wheels)
    outline = place(rounded(np.array(kind.outline) + random.uniform(-0.02, 0.02, (len(kind.outline), 2))))
    canvas.polygon(outline, coat, BODY)
    sill = [(-0.97, 0.17), (-0.97, 0.27), (0.97, 0.27), (0.97, 0.17)]
    canvas.polygon(place(rounded(np.array(sill) * (0.96, 1), 1)), shade(coat, 0.6))
    for x in kind.wheels:
        turns = np.linspace(0, np.pi, 9)
        arch = np.stack([x + 1.05 * radius * np.cos(turns), radius + 1.05 * radius * np.sin(turns)], axis=1)
        canvas.polygon(pose([(x + 1.05 * radius, lift), *arch, (x - 1.05 * radius, lift)]), shade(coat, 0.55))
    _windows(canvas, random, place, kind, coat)
    _trim(canvas, place, coat)
    canvas.line(np.concatenate([outline, outline[:2]]), shade(coat, 0.5), 0.6)
    return pose([(x, radius) for x in kind.wheels])


def _windows(canvas: Canvas, random: Generator, place: Placing, kind: Car, coat: Colour) -> None:
    """Windows of dark glass in a light frame, with a reflection."""
    glass, frame = shade(GLASS, random.uniform(0.45, 0.8)), shade(coat, 1.5)
    for window in kind.windows:
        corners = place(window)
        canvas.polygon(corners, glass, BODY)
        canvas.line(np.concatenate([corners, corners[:2]]), frame, 0.7, BODY)
    low, high = kind.windows[0][0], kind.windows[0][1]
    canvas.polygon(place([low, (low[0] + 0.1, low[1]), (high[0] + 0.14, high[1]), high]), shade(glass, 1.4))
    if kind is CONVERTIBLE:
        canvas.polygon(place(rounded([(-0.4, 0.5), (-0.42, 0.68), (-0.3, 0.7), (-0.24, 0.5)])), shade(coat, 0.5), BODY)


def _trim(canvas: Canvas, place: Placing, coat: Colour) -> None:
    """Doors, handles, lights and bumpers."""
    line = shade(coat, 0.5)
    canvas.line(place([(-0.34, 0.26), (-0.34, 0.52)]), line, 0.6)
    canvas.line(place([(-0.06, 0.24), (-0.06, 0.54)]), line, 0.6)
    canvas.line(place([(0.3, 0.26), (0.3, 0.52)]), line, 0.6)
    for x in (-0.26, 0.02):
        canvas.line(place([(x, 0.46), (x + 0.12, 0.46)]), line, 0.8)
    canvas.polygon(place([(0.84, 0.33), (0.84, 0.45), (0.985, 0.39), (0.985, 0.32)]), (250, 240, 190), BODY)
    canvas.polygon(place([(-1.0, 0.33), (-1.0, 0.46), (-0.9, 0.46), (-0.9, 0.33)]), (186, 36, 32), BODY)
    for x in (-1.04, 0.84):
        canvas.polygon(place([(x, 0.16), (x, 0.29), (x + 0.2, 0.29), (x + 0.2, 0.16)]), (66, 66, 70), BODY)
        canvas.line(place([(x, 0.23), (x + 0.2, 0.23)]), (214, 214, 218), 0.7)


def _blocks(canvas: Canvas, random: Generator, pose: Pose, places: tuple[float, float]) -> None:
    tone = np.array([150, 120, 96]) * random.uniform(0.7, 1.3)
    for x in places:
        half = random.uniform(0.07, 0.14)
        for k in range(2):
            low, high = 0.09 * k, 0.09 * (k + 1)
            corners = [(x - half, low), (x - half, high), (x + half, high), (x + half, low)]
            canvas.polygon(pose(corners), tone * (1 - 0.15 * k))


def wheel(canvas: Canvas, random: Generator, x: float, y: float, radius: float, look: tuple[float, int, float]) -> None:
    """Draw a wheel in px: dark tyre, light rim, spokes, hub. ``look``: the metal's tone, spokes, the rim's share."""
    metal, spokes, share = (look[0], look[0], look[0] + 4), look[1], look[2]
    tyre = random.uniform(18, 34)
    canvas.disc(x, y, radius, (tyre, tyre, tyre + 2), WHEEL)
    rim = radius * share
    canvas.disc(x, y, rim, metal)
    canvas.disc(x, y, rim * 0.8, (62, 62, 66))
    start = random.uniform(0, np.pi)
    for angle in start + 2 * np.pi * np.arange(spokes) / spokes:
        end = [x + 0.9 * rim * np.cos(angle), y + 0.9 * rim * np.sin(angle)]
        canvas.line(np.array([[x, y], end]), metal, max(0.5, 0.13 * radius))
    canvas.disc(x, y, rim * 0.3, metal)


@dataclass(frozen=True)
class PoodleShape:
    """A poodle of a wanted height: whether it sits, hip, chest and head, px per unit."""

    sitting: bool
    hip: Points
    chest: Points
    head: Points
    scale: float


def poodle_shape(random: Generator, height: float) -> PoodleShape:
    """A poodle ``height`` px high from the ground to its topknot, in a third of the pictures sitting."""
    sitting = random.random() < 0.35
    hip = np.array([-0.38, 0.42] if sitting else [-0.55, 0.86]) + random.uniform(-0.05, 0.05, 2)
    chest = np.array([0.18, 0.82] if sitting else [0.42, 0.9]) + random.uniform(-0.05, 0.05, 2)
    head = chest + np.array([random.uniform(0.22, 0.36), random.uniform(0.42, 0.54)])
    return PoodleShape(sitting, hip, chest, head, height / (head[1] + 0.3))


def poodle(
    canvas: Canvas, random: Generator, pose: Pose, coat: Colour, shape: PoodleShape
) -> tuple[list[Round], Points]:
    """Draw a shorn poodle's body; returns where its tufts belong (px) and its two outer paws (px)."""
    hip, chest, head = shape.hip, shape.chest, shape.head
    fronts = [chest[0] + random.uniform(-0.16, 0.0), chest[0] + random.uniform(0.08, 0.3)]
    rears = [hip[0] + (0.2 if shape.sitting else random.uniform(-0.26, -0.1)), 0.0]
    rears[1] = rears[0] + random.uniform(0.2, 0.32)
    paws = [np.array([x, 0.1]) for x in (*rears, *fronts)]
    thin = random.uniform(0.95, 1.25)
    dark, line = shade(coat, 0.82), shade(coat, 0.62)

    tail = [_by(hip, (-0.14, 0.08)), _by(hip, (-0.32, 0.28)), _by(hip, (-0.38 + random.uniform(-0.1, 0.1), 0.58))]
    _limb(canvas, pose, tail, coat, line, 0.12 * thin)
    for start, paw, tone in zip((hip, chest) * 2, paws[1::2] + paws[::2], (dark, dark, coat, coat), strict=True):
        knee = _by((start + paw) / 2, (-0.06 if start is hip else 0.02, 0.0))
        _limb(canvas, pose, [start, knee, paw], tone, line, 0.17 * thin)
        foot = oval(_by(paw, (0.06, -0.03)), 0.14, 0.08)
        canvas.polygon(pose(foot), tone, BODY)
    middle, along = (hip + chest) / 2, chest - hip
    length, turn = float(np.hypot(*along)) / 2, float(np.arctan2(along[1], along[0]))
    trunk = pose(oval(middle, length + 0.22, 0.25 * thin, turn))
    canvas.polygon(trunk, coat, BODY)
    canvas.line(np.concatenate([trunk, trunk[:2]]), line, 0.6)
    canvas.polygon(pose(oval(_by(middle, (0, -0.1)), length, 0.09 * thin, turn)), dark)
    _limb(canvas, pose, [_by(chest, (0.06, 0.12)), head], coat, line, 0.24 * thin)
    _head(canvas, random, pose, head, coat)

    tufts = [(hip, 0.31), (_by(chest, (0.02, -0.02)), 0.36), (_by(head, (-0.06, 0.17)), 0.27), (tail[-1], 0.2)]
    tufts += [(_by(paw, (0, 0.08)), 0.18) for paw in paws]
    rounds = [(*pose(where)[0].tolist(), size * pose.scale) for where, size in tufts]
    return rounds, pose([paws[0], paws[3]])


def _limb(canvas: Canvas, pose: Pose, points: list[Points], coat: Colour, line: Colour, width: float) -> None:
    """A line with a dark edge."""
    canvas.line(pose(points), line, width * pose.scale + 0.8, BODY)
    canvas.line(pose(points), coat, width * pose.scale)


def _by(point: Points, step: tuple[float, float]) -> Points:
    return point + np.asarray(step)


def _head(canvas: Canvas, random: Generator, pose: Pose, head: Points, coat: Colour) -> None:
    """Skull, long snout, nose, eye, hanging ear, sometimes a collar."""
    nod, line = random.uniform(-0.12, 0.06), shade(coat, 0.62)
    snout = pose(rounded(head + np.array([(0.02, 0.14), (0.5, 0.04 + nod), (0.53, -0.09 + nod), (0.04, -0.17)])))
    for outline in (pose(oval(head, 0.23, 0.2)), snout):
        canvas.polygon(outline, coat, BODY)
        canvas.line(np.concatenate([outline, outline[:2]]), line, 0.6, BODY)
    canvas.polygon(pose(oval(_by(head, (0.51, 0.02 + nod)), 0.07, 0.06)), shade(coat, 0.3), BODY)
    canvas.line(pose(head + np.array([(0.24, -0.09 + nod / 2), (0.46, -0.07 + nod)])), line, 0.5)
    canvas.polygon(pose(oval(_by(head, (0.14, 0.07)), 0.04, 0.04)), shade(coat, 0.3))
    ear = head + np.array([(-0.14, 0.16), (0.02, 0.12), (0.0, -0.28), (-0.12, -0.4), (-0.25, -0.28)])
    canvas.polygon(pose(rounded(ear)), shade(coat, 0.66), BODY)
    if random.random() < 0.4:
        collar = head + np.array([(-0.2, -0.2), (-0.02, -0.3)])
        canvas.line(pose(collar), random.uniform(40, 220, 3), 0.07 * pose.scale)


def tuft(canvas: Canvas, random: Generator, x: float, y: float, radius: float, coat: Colour) -> None:
    """Draw joined curls in px: discs about 3.5 px wide in rings, each with a dark rim and a bright middle."""
    rings = ((3, 0.55),) if radius < 3 else ((6, 0.62), (1, 0.0)) if radius < 5 else ((11, 0.8), (6, 0.42), (1, 0.0))
    size = radius * (0.6 if radius < 3 else 0.44 if radius < 5 else 0.32)
    rim, middle = shade(coat, 0.26), shade(coat, 1.5)
    start = random.uniform(0, 2 * np.pi)
    for count, far in rings:
        for angle in start + 2 * np.pi * np.arange(count) / count:
            u = x + far * radius * np.cos(angle) + random.uniform(-0.04, 0.04) * radius
            v = y + far * radius * np.sin(angle) + random.uniform(-0.04, 0.04) * radius
            canvas.disc(u, v, size, rim, CURL)
            canvas.disc(u - 0.08 * size, v - 0.1 * size, 0.72 * size, middle)
