"""The two figures, cars and poodles, in units of their own with the ground at y = 0 and the front at +x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from .canvas import BODY, CURL, WHEEL, Canvas, Colour, Points, Pose, oval, rounded, shade
from .scenery import Round

# Both classes wear the same coats, so that colour alone tells nothing.
COATS = ((236, 234, 228), (226, 208, 170), (214, 160, 104), (118, 78, 52), (138, 138, 142), (48, 46, 50))
GLASS = (70, 86, 100)


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


def car(canvas: Canvas, random: Generator, pose: Pose, coat: Colour, radius: float) -> tuple[Points, Car]:
    """Draw a car's body; returns where its two wheels belong, in px, and its kind.

    Args:
        canvas: What to draw on.
        random: The image's generator.
        pose: Scale is half the car's length in px.
        coat: Colour of the body.
        radius: Radius of the wheels in units.
    """
    kind = CARS[int(random.integers(len(CARS)))]
    tall, lift = random.uniform(0.88, 1.18), radius * 0.45

    def place(points: ArrayLike) -> Points:
        array = np.array(points, dtype=np.float64)
        array[:, 1] = lift + (array[:, 1] - 0.17) * tall
        return pose(array)

    outline = np.array(kind.outline) + random.uniform(-0.025, 0.025, (len(kind.outline), 2))
    canvas.polygon(place(rounded(outline)), coat, BODY)
    sill = [(-0.97, 0.17), (-0.97, 0.28), (0.97, 0.28), (0.97, 0.17)]
    canvas.polygon(place(rounded(np.array(sill) * (0.96, 1), 1)), shade(coat, 0.72))
    glass = shade(GLASS, random.uniform(0.6, 1.5))
    for window in kind.windows:
        canvas.polygon(place(window), glass, BODY)
    low, high = window[0], window[1]
    shine = [low, (low[0] + 0.08, low[1]), (high[0] + 0.12, high[1]), high]
    canvas.polygon(place(shine), shade(glass, 1.35))
    if kind is CONVERTIBLE:
        canvas.polygon(place(rounded([(-0.4, 0.5), (-0.42, 0.68), (-0.3, 0.7), (-0.24, 0.5)])), shade(coat, 0.5), BODY)
    line = shade(coat, 0.62)
    for x in (-0.11, 0.3):
        canvas.line(place([(x, 0.24), (x, 0.54)]), line, 0.5)
    canvas.line(place([(-0.02, 0.47), (0.07, 0.47)]), line, 0.7)
    canvas.polygon(place([(0.88, 0.34), (0.88, 0.43), (0.985, 0.38), (0.985, 0.33)]), (246, 236, 190))
    canvas.polygon(place([(-0.99, 0.36), (-0.99, 0.46), (-0.93, 0.46), (-0.93, 0.36)]), (168, 40, 36))
    for x in (-1.0, 0.9):
        canvas.polygon(place([(x, 0.18), (x, 0.26), (x + 0.1, 0.26), (x + 0.1, 0.18)]), shade(coat, 0.45))
    return pose([(x, radius) for x in kind.wheels]), kind


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


def poodle(canvas: Canvas, random: Generator, pose: Pose, coat: Colour) -> tuple[list[Round], Points]:
    """Draw a shorn poodle's body; returns where its tufts belong (px) and its two outer paws (px)."""
    sitting = random.random() < 0.25
    hip = np.array([-0.42, 0.62] if sitting else [-0.55, 1.02]) + random.uniform(-0.05, 0.05, 2)
    chest = np.array([0.2, 1.12] if sitting else [0.42, 1.08]) + random.uniform(-0.05, 0.05, 2)
    neck = _by(chest, (0.06, 0.12))
    head = chest + np.array([random.uniform(0.22, 0.38), random.uniform(0.52, 0.66)])
    fronts = [chest[0] + random.uniform(-0.16, 0.0), chest[0] + random.uniform(0.06, 0.3)]
    rears = [-0.2, 0.0] if sitting else [hip[0] + random.uniform(-0.26, -0.1), hip[0] + random.uniform(0.0, 0.22)]
    paws = [np.array([x, 0.1]) for x in (*rears, *fronts)]
    thin = random.uniform(0.85, 1.2)
    dark = shade(coat, 0.78)

    tail = [_by(hip, (-0.14, 0.08)), _by(hip, (-0.3, 0.28)), _by(hip, (-0.36 + random.uniform(-0.1, 0.1), 0.56))]
    canvas.line(pose(tail), coat, 0.09 * thin * pose.scale, BODY)
    for start, paw, tone in zip((hip, chest) * 2, paws[1::2] + paws[::2], (dark, dark, coat, coat), strict=True):
        knee = _by((start + paw) / 2, (-0.06 if start is hip else 0.02, 0.0))
        canvas.line(pose([start, knee, paw]), tone, 0.14 * thin * pose.scale, BODY)
    middle, along = (hip + chest) / 2, chest - hip
    length, turn = float(np.hypot(*along)) / 2, float(np.arctan2(along[1], along[0]))
    canvas.polygon(pose(oval(middle, length + 0.2, 0.23 * thin, turn)), coat, BODY)
    canvas.polygon(pose(oval(_by(middle, (0, -0.1)), length, 0.09 * thin, turn)), dark)
    canvas.line(pose([neck, head]), coat, 0.2 * thin * pose.scale, BODY)
    _head(canvas, random, pose, head, coat)

    tufts = [(hip, 0.3), (_by(chest, (0.02, -0.02)), 0.34), (_by(head, (-0.06, 0.17)), 0.25), (tail[-1], 0.17)]
    tufts += [(_by(paw, (0, 0.06)), 0.15) for paw in paws]
    rounds = [(*pose(where)[0].tolist(), size * pose.scale) for where, size in tufts]
    return rounds, pose([paws[0], paws[3]])


def _by(point: Points, step: tuple[float, float]) -> Points:
    return point + np.asarray(step)


def _head(canvas: Canvas, random: Generator, pose: Pose, head: Points, coat: Colour) -> None:
    """Skull, long snout, nose, eye, hanging ear, sometimes a collar."""
    nod = random.uniform(-0.12, 0.06)
    canvas.polygon(pose(oval(head, 0.2, 0.17)), coat, BODY)
    snout = head + np.array([(0.04, 0.12), (0.44, 0.02 + nod), (0.46, -0.07 + nod), (0.04, -0.14)])
    canvas.polygon(pose(rounded(snout)), coat, BODY)
    canvas.polygon(pose(oval(_by(head, (0.45, 0.0 + nod)), 0.05, 0.045)), (30, 26, 28), BODY)
    canvas.line(pose(head + np.array([(0.22, -0.07 + nod / 2), (0.42, -0.06 + nod)])), shade(coat, 0.6), 0.5)
    canvas.polygon(pose(oval(_by(head, (0.12, 0.06)), 0.035, 0.035)), (24, 20, 22))
    ear = head + np.array([(-0.12, 0.14), (0.0, 0.1), (-0.02, -0.24), (-0.12, -0.32), (-0.2, -0.22)])
    canvas.polygon(pose(rounded(ear)), shade(coat, 0.7), BODY)
    if random.random() < 0.4:
        collar = head + np.array([(-0.2, -0.2), (-0.02, -0.3)])
        canvas.line(pose(collar), random.uniform(40, 220, 3), 0.07 * pose.scale)


def tuft(canvas: Canvas, random: Generator, x: float, y: float, radius: float, coat: Colour) -> None:
    """Draw joined curls in px: discs that overlap in a ring and one on top, each with a dark rim and a light swirl."""
    count = 5 if radius < 5 else 7
    small = 0.5 * radius
    start = random.uniform(0, 2 * np.pi)
    places = [(0.62 * radius, start + 2 * np.pi * k / count) for k in range(count)] + [(0.0, 0.0)]
    for far, angle in places:
        u = x + far * np.cos(angle) + random.uniform(-0.06, 0.06) * radius
        v = y + far * np.sin(angle) + random.uniform(-0.06, 0.06) * radius
        size = small * random.uniform(0.88, 1.12)
        tone = shade(coat, random.uniform(0.94, 1.12))
        canvas.disc(u, v, size, shade(tone, 0.66), CURL)
        canvas.disc(u - 0.1 * size, v - 0.12 * size, 0.82 * size, tone)
        turn = random.uniform(0, 360)
        canvas.arc(u, v, 0.5 * size, (turn, turn + 250), shade(tone, 0.76), 0.25)
