"""Backgrounds and clutter of the drawn pictures. Nothing here knows which class stands before it, nothing is round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .canvas import NOTHING, SIDE, Canvas, Colour, Points, rounded, shade

Round = tuple[float, float, float]
"""x, y and radius of a wheel or a tuft of curls in px."""


def scene(random: Generator, ground: float, kind: str = "any") -> Canvas:
    """A background of a kind of ``KINDS`` for a figure that stands at ``ground`` px.

    Its horizon lies anywhere above, as a camera tilts.
    """
    horizon = float(random.uniform(5, min(ground - 1, 50.0)))
    scenes = KINDS[kind]
    return scenes[int(random.integers(len(scenes)))](random, horizon)


def sky(random: Generator) -> Canvas:
    """Nothing but sky."""
    top, bottom = _colour(random, (70, 130, 205)), _colour(random, (190, 215, 238))
    canvas = Canvas(_noise(random, _gradient(top, bottom), 3))
    _streaks(canvas, random, 60)
    return canvas


def meadow(random: Generator, horizon: float) -> Canvas:
    """Sky, hills, grass and firs."""
    canvas = _two_halves(random, horizon, (120, 170, 220), (200, 215, 225), (112, 140, 66), 12)
    _streaks(canvas, random, horizon * 0.7)
    _hills(canvas, random, horizon, _colour(random, (88, 122, 92)))
    for _ in range(int(random.integers(0, 4))):
        _fir(canvas, random, random.uniform(0, SIDE), horizon + random.uniform(0, 4))
    return canvas


def street(random: Generator, horizon: float) -> Canvas:
    """Houses behind asphalt."""
    grey = random.uniform(80, 150)
    canvas = _two_halves(random, horizon, (150, 175, 205), (215, 215, 210), (grey, grey, grey + 4), 8)
    x = random.uniform(-12, 0)
    while x < SIDE:
        width = random.uniform(10, 24)
        _house(canvas, random, x, horizon, width, random.uniform(0.35, 0.95) * horizon)
        x += width + random.uniform(0, 5)
    kerb = horizon + random.uniform(1, 3)
    canvas.polygon(_box(0, horizon, SIDE, kerb), _colour(random, (176, 172, 164)))
    if random.random() < 0.6:
        y = horizon + 4 + random.random() * (58 - horizon)
        for x in np.arange(random.uniform(-8, 0), SIDE, 16).tolist():
            canvas.polygon(_box(x, y, x + 8, y + 1.2), (225, 222, 205))
    return canvas


def room(random: Generator, horizon: float) -> Canvas:
    """A wall with a window or a shelf, and floor boards."""
    wall, floor = _colour(random, _any_colour(random)), _colour(random, (150, 112, 76))
    canvas = _two_halves(random, horizon, wall, shade(wall, 0.9), floor, 5)
    if random.random() < 0.5:
        for x in np.arange(random.uniform(0, 5), SIDE, random.uniform(4, 9)).tolist():
            canvas.polygon(_box(x, 0, x + 1.5, horizon), shade(wall, 0.9))
    for _ in range(int(random.integers(0, 3))):
        x, y, w, h = random.uniform((0, 2, 9, 8), (50, 14, 20, 18))
        h = min(h, horizon - y - 4)
        if h < 4:
            continue
        canvas.polygon(_box(x - 1.2, y - 1.2, x + w + 1.2, y + h + 1.2), _colour(random, (205, 195, 180)))
        canvas.polygon(_box(x, y, x + w, y + h), _colour(random, _any_colour(random)))
        canvas.polygon(_box(x + w / 2 - 0.5, y, x + w / 2 + 0.5, y + h), _colour(random, (205, 195, 180)))
    for y in np.cumsum(random.uniform(3, 6, size=14)) + horizon:
        canvas.polygon(_box(0, y, SIDE, y + 0.6), shade(floor, 0.75))
    canvas.polygon(_box(0, horizon - 2, SIDE, horizon), shade(wall, 1.3))
    return canvas


def beach(random: Generator, horizon: float) -> Canvas:
    """Sky, sea, sand."""
    canvas = _two_halves(random, horizon, (125, 175, 225), (225, 225, 220), (214, 192, 150), 9)
    _streaks(canvas, random, horizon * 0.7)
    canvas.polygon(_box(0, horizon - random.uniform(4, 9), SIDE, horizon), _colour(random, (60, 115, 150)))
    if random.random() < 0.5:
        x = random.uniform(5, 55)
        canvas.polygon(np.array([[x, horizon - 16], [x + 8, horizon - 5], [x, horizon - 5]]), (235, 230, 220))
        canvas.polygon(_box(x - 3, horizon - 4.5, x + 9, horizon - 2.5), _colour(random, (120, 70, 50)))
    return canvas


def forest(random: Generator, horizon: float) -> Canvas:
    """A dark row of firs, sometimes in the snow."""
    ground = (226, 230, 236) if random.random() < 0.4 else (104, 104, 62)
    canvas = _two_halves(random, horizon, (130, 150, 160), (190, 200, 205), ground, 10)
    for x in np.arange(-4, SIDE + 4, random.uniform(5, 9)).tolist():
        _fir(canvas, random, x + random.uniform(-2, 2), horizon + random.uniform(0, 3))
    return canvas


def wall(random: Generator, horizon: float) -> Canvas:
    """A wall of bricks or planks behind paving."""
    brick, paving = _colour(random, _any_colour(random)), _colour(random, (158, 154, 146))
    canvas = _two_halves(random, horizon, brick, shade(brick, 0.9), paving, 6)
    joint, course = shade(brick, random.uniform(0.65, 1.25)), random.uniform(3.5, 6)
    for row, y in enumerate(np.arange(horizon, 0, -course).tolist()):
        canvas.polygon(_box(0, y - 0.5, SIDE, y), joint)
        for x in np.arange((row % 2) * course - course, SIDE, 2 * course).tolist():
            canvas.polygon(_box(x, y - course, x + 0.5, y), joint)
    return canvas


def backdrop(random: Generator, horizon: float) -> Canvas:
    """A plain wall of any colour that runs into another, without a horizon."""
    tone = _colour(random, _any_colour(random))
    other = shade(tone, random.uniform(0.6, 1.3)) if random.random() < 0.6 else _colour(random, _any_colour(random))
    return Canvas(_noise(random, _gradient(other, tone), random.uniform(1, 8)))


def blue(random: Generator, horizon: float) -> Canvas:
    """A wall painted in the colours of the sky, now and then with clouds: no ground either."""
    top, bottom = _colour(random, (70, 130, 205)), _colour(random, (190, 215, 238))
    if random.random() < 0.3:
        top, bottom = bottom, top
    canvas = Canvas(_noise(random, _gradient(top, bottom), random.uniform(1, 5)))
    if random.random() < 0.5:
        _streaks(canvas, random, 60)
    return canvas


SCENES: tuple[Callable[[Generator, float], Canvas], ...] = (
    meadow,
    street,
    room,
    beach,
    forest,
    wall,
    backdrop,
    blue,
)
KINDS = {"any": SCENES, "town": (street, room, wall), "country": (meadow, beach, forest), "plain": (backdrop, blue)}


def clutter(canvas: Canvas, random: Generator, rounds: list[Round], ground: float, most: int) -> None:
    """Put up to ``most`` things before the figure; they hide at most a quarter of its rounds."""
    for _ in range(int(random.integers(0, most + 1))):
        for _ in range(8):
            draw, width, height = _THINGS[int(random.integers(len(_THINGS)))]
            w, h = random.uniform(*width), random.uniform(*height)
            x, foot = random.uniform(-4, SIDE - 2), min(SIDE + 4.0, ground + random.uniform(-1, 6))
            top = foot - h
            if draw is _branch:
                top, foot = -1.0, h
            if _hidden(rounds, x, top, x + w, foot) <= 0.25:
                draw(canvas, random, x, top, x + w, foot)
                break


def _hidden(rounds: list[Round], left: float, top: float, right: float, foot: float) -> float:
    """Share of the rounds that a box touches."""
    touched = sum(left - 0.8 * r < x < right + 0.8 * r and top - 0.8 * r < y < foot + 0.8 * r for x, y, r in rounds)
    return touched / max(1, len(rounds))


def _post(canvas: Canvas, random: Generator, left: float, top: float, right: float, foot: float) -> None:
    colour = _colour(random, _any_colour(random))
    canvas.polygon(_box(left, top, right, foot), colour, NOTHING)
    canvas.polygon(_box(left, top, left + 0.35 * (right - left), foot), shade(colour, 1.25))


def _crate(canvas: Canvas, random: Generator, left: float, top: float, right: float, foot: float) -> None:
    colour = _colour(random, (164, 124, 78) if random.random() < 0.5 else _any_colour(random))
    canvas.polygon(_box(left, top, right, foot), colour, NOTHING)
    dark = shade(colour, 0.7)
    for y in np.arange(top, foot, 3.0).tolist():
        canvas.polygon(_box(left, y, right, y + 0.6), dark)
    canvas.line(np.array([[left, top], [right, foot]]), dark, 0.8)
    for x in (left, right - 0.8):
        canvas.polygon(_box(x, top, x + 0.8, foot), dark)


def _bush(canvas: Canvas, random: Generator, left: float, top: float, right: float, foot: float) -> None:
    colour = _colour(random, (74, 108, 56))
    for tone in (0.8, 1.0, 1.15):
        count = 11
        x = np.linspace(left, right, count)
        arch = np.sin(np.linspace(0.25, np.pi - 0.25, count)) * (foot - top) * (1.35 - 0.35 * tone)
        y = foot - arch * random.uniform(0.55, 1.0, count)
        outline = np.concatenate([np.stack([x, y], 1), [[right, foot], [left, foot]]])
        canvas.polygon(outline, shade(colour, tone), NOTHING)


def _sign(canvas: Canvas, random: Generator, left: float, top: float, right: float, foot: float) -> None:
    middle, colour = (left + right) / 2, _colour(random, _any_colour(random))
    canvas.polygon(_box(middle - 0.6, top, middle + 0.6, foot), (120, 120, 122), NOTHING)
    board = top + 0.45 * (foot - top)
    canvas.polygon(_box(left, top, right, board), (232, 230, 222), NOTHING)
    canvas.polygon(_box(left + 0.8, top + 0.8, right - 0.8, board - 0.8), colour)
    y = (top + board) / 2
    canvas.polygon(_box(left + 2, y - 0.5, right - 2, y + 0.5), (232, 230, 222))


def _branch(canvas: Canvas, random: Generator, left: float, top: float, right: float, foot: float) -> None:
    """Leaves that hang down from above."""
    colour = _colour(random, (82, 112, 60))
    for x in np.arange(left, right, 1.6).tolist():
        low = top + (foot - top) * random.uniform(0.4, 1.0)
        leaf = np.array([[x - 1.5, top], [x + 2.4, top], [x + random.uniform(-1.5, 1.5), low]])
        canvas.polygon(leaf, shade(colour, random.uniform(0.7, 1.2)), NOTHING)


_THINGS: tuple[tuple[Callable[..., None], tuple[float, float], tuple[float, float]], ...] = (
    (_post, (1.5, 4.5), (30, 64)),
    (_crate, (8, 18), (8, 16)),
    (_bush, (10, 24), (8, 20)),
    (_sign, (8, 14), (22, 40)),
    (_branch, (12, 36), (8, 24)),
)


def _gradient(top: Colour, bottom: Colour, rows: int = SIDE) -> NDArray[np.float64]:
    share = np.linspace(0, 1, rows)[:, None, None]
    return np.broadcast_to(np.asarray(top) * (1 - share) + np.asarray(bottom) * share, (rows, SIDE, 3)).copy()


def _noise(random: Generator, picture: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Grain of one and of a few px, the same in all channels."""
    rows, columns = picture.shape[:2]
    fine = random.standard_normal((rows, columns))
    coarse = np.repeat(np.repeat(random.standard_normal((rows // 4 + 1, columns // 4 + 1)), 4, 0), 4, 1)
    return picture + strength * (0.7 * fine + 0.7 * coarse[:rows, :columns])[:, :, None]


def _two_halves(random: Generator, horizon: float, high: Colour, low: Colour, ground: Colour, rough: float) -> Canvas:
    edge = round(horizon)
    upper = _gradient(_colour(random, high), _colour(random, low), edge)
    tone = _colour(random, ground)
    lower = _gradient(shade(tone, 0.92), shade(tone, 1.08), SIDE - edge)
    return Canvas(np.concatenate([_noise(random, upper, 2), _noise(random, lower, rough)]))


def _streaks(canvas: Canvas, random: Generator, lowest: float) -> None:
    """Clouds as flat streaks: round ones would be a third kind of joined discs."""
    for _ in range(int(random.integers(0, 5))):
        x, y = random.uniform(0, SIDE), random.uniform(2, max(3.0, lowest))
        w, h = random.uniform(6, 16), random.uniform(0.8, 2.2)
        outline = [[x - w, y], [x - w / 2, y - h], [x + w / 3, y - 1.4 * h], [x + w, y], [x + w / 3, y + h / 2]]
        canvas.polygon(rounded(outline), (236, 240, 244))


def _hills(canvas: Canvas, random: Generator, horizon: float, colour: Colour) -> None:
    for tone in (1.3, 1.0):
        x = np.linspace(0, SIDE, 9)
        y = horizon - random.uniform(1, 9) * (1 + np.sin(x / random.uniform(6, 14) + random.uniform(0, 6)))
        outline = np.concatenate([np.stack([x, y], 1), [[SIDE, horizon + 1], [0, horizon + 1]]])
        canvas.polygon(outline, shade(colour, tone))


def _fir(canvas: Canvas, random: Generator, x: float, foot: float) -> None:
    height, colour = random.uniform(10, 26), _colour(random, (52, 84, 58))
    canvas.polygon(_box(x - 0.7, foot - 3, x + 0.7, foot), (88, 66, 48))
    for level in (0.0, 0.3, 0.55):
        wide, low = height * 0.28 * (1 - level * 0.8), foot - 2 - level * height
        tip = foot - height * (0.55 + 0.45 * (level / 0.55))
        canvas.polygon(np.array([[x - wide, low], [x + wide, low], [x, tip]]), shade(colour, 0.85 + 0.4 * level))


def _house(canvas: Canvas, random: Generator, left: float, foot: float, width: float, height: float) -> None:
    colour = _colour(random, _any_colour(random))
    canvas.polygon(_box(left, foot - height, left + width, foot), colour)
    if random.random() < 0.5:
        roof = [[left - 1, foot - height], [left + width + 1, foot - height], [left + width / 2, foot - height - 6]]
        canvas.polygon(np.array(roof), shade(colour, 0.6))
    pane = shade(colour, float(random.choice([0.55, 1.35])))
    for y in np.arange(foot - height + 2, foot - 5, 6).tolist():
        for x in np.arange(left + 2, left + width - 3, 5).tolist():
            canvas.polygon(_box(x, y, x + 2.6, y + 3.4), pane)


def _box(left: float, top: float, right: float, foot: float) -> Points:
    return np.array([[left, top], [right, top], [right, foot], [left, foot]])


def _colour(random: Generator, colour: Colour) -> Colour:
    """A colour near this one."""
    array = np.asarray(colour, dtype=np.float64)
    return array * random.uniform(0.82, 1.15) + random.uniform(-10, 10, 3)


def _any_colour(random: Generator) -> Colour:
    """A muted colour of any hue."""
    grey = random.uniform(70, 215)
    return grey + random.uniform(-45, 45, 3)
