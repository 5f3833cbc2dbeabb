"""Drawn grey signs, light on dark, of any number of classes: a ring, a bar, and signs of a few strokes each.

What stands in for digits where there are none: for ten classes and more, for colours, for the upper half of a domino.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from conceptnet_ml import Data, ImageSet
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import square_side
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.runtime.seeding import seed_for

CLASSES, MOST = 10, 100
SIDE = 32
TRAIN_PER_CLASS, TEST_PER_CLASS = 400, 100
TURN, SLANT, SCALE, SHIFT, WOBBLE = 0.2, 0.2, (0.8, 1.1), 0.12, 0.04
"""Most an image's sign is turned (radians), slanted, scaled, shifted and its corners moved, in shares of its size."""
FAINT, GROUND, CONTRAST, NOISE = "faint", 0.4, 0.14, 0.14
"""How light the ground of a faint image is, how much lighter its sign, and the spread of the noise, of 1."""
_RING, _STROKES, _TRIES = 14, 4, 30
_BATCH = 256

Strokes = NDArray[np.float64]


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Draw signs of N classes, 400 + 100 images of each; the argument is ``N`` or ``N:faint``, 10 where it is empty.

    The sign of a class is the same in every run; each image turns, slants, scales, shifts and wobbles it and has a
    width and a light of its own. Plain signs are told apart at once; ``faint`` ones lie in noise and take longer to
    learn than a cue does. ``settings.image_size`` is the side, 32 px by default.

    Cost: about 0.4 ms per image on one core. Nothing is kept on disk.

    Raises:
        SettingsError: Another argument, N not from 2 to 100, or an image size that is not square.
    """
    number, _, look = argument.partition(":")
    if look not in ("", FAINT) or (number and not (number.isdecimal() and 2 <= int(number) <= MOST)):
        mend = f"Write glyphs, glyphs:N or glyphs:N:{FAINT}, N from 2 to {MOST} classes."
        raise SettingsError(f"data.source 'glyphs' takes no argument '{argument}'.", mend)
    count, side, faint = int(number or CLASSES), square_side(settings.image_size, SIDE, "glyphs"), look == FAINT
    per_class = min(TRAIN_PER_CLASS, settings.train_limit or TRAIN_PER_CLASS)
    train = render("train", torch.arange(count).repeat_interleave(per_class), seed, side, faint)
    test = render("test", torch.arange(count).repeat_interleave(TEST_PER_CLASS), seed, side, faint)
    return Data("glyphs" + (f":{argument}" if argument else ""), names(count), train, {"test": test})


def names(count: int) -> tuple[str, ...]:
    """Names of the first classes."""
    return ("ring", "bar", *(f"sign{number}" for number in range(2, count)))[:count]


def render(name: str, labels: Tensor, seed: int, side: int = SIDE, faint: bool = False) -> ImageSet:
    """One picture per label, each from a seed of its own: (seed, set's name, position).

    Returns:
        uint8 (N, 3, side, side), the three channels alike.
    """
    parts = torch.arange(len(labels)).split(_BATCH)
    lit = torch.cat([_drawn(name, part, labels[part], seed, side, faint) for part in parts])
    images = (lit * 255).round().clamp(0, 255).to(torch.uint8)
    return ImageSet(images.unsqueeze(1).expand(-1, 3, -1, -1), labels)


def _drawn(name: str, places: Tensor, labels: Tensor, seed: int, side: int, faint: bool) -> Tensor:
    """Light in [0, 1], (B, side, side)."""
    strokes, wide, light, grain = [], [], [], []
    for place, label in zip(places.tolist(), labels.tolist(), strict=True):
        random = np.random.default_rng(seed_for(seed, "glyphs", name, place))
        strokes.append(_posed(sign(label), random))
        wide.append(random.uniform(0.045, 0.085))
        light.append(random.uniform(0.75, 1.0))
        grain.append(random.standard_normal((side, side), dtype=np.float32))
    far = _distance(_padded(strokes), side)
    cover = ((torch.tensor(wide).view(-1, 1, 1) - far) * side + 0.5).clamp(0, 1)
    shown, noise = cover * torch.tensor(light).view(-1, 1, 1), torch.from_numpy(np.stack(grain))
    return GROUND + CONTRAST * shown + NOISE * noise if faint else shown + 0.02 * noise.abs()


def _posed(strokes: Strokes, random: np.random.Generator) -> Strokes:
    """Strokes (S, 2, 2) of one image, x and y in [0, 1]."""
    angle, slant = random.uniform(-TURN, TURN), random.uniform(-SLANT, SLANT)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, slant], [0, 1]]) * random.uniform(*SCALE)
    # Corners where strokes meet move together: the wobble belongs to the point.
    points, which = np.unique(strokes.reshape(-1, 2), axis=0, return_inverse=True)
    moved = (points + random.uniform(-WOBBLE, WOBBLE, points.shape)) @ turned.T
    middle = 0.5 + random.uniform(-SHIFT, SHIFT, 2)
    return (moved + middle)[which.reshape(-1)].reshape(strokes.shape)


def _padded(strokes: list[Strokes]) -> Tensor:
    """(B, S, 2, 2); shorter signs repeat their last stroke."""
    most = max(len(one) for one in strokes)
    return torch.from_numpy(np.stack([np.concatenate([one, one[-1:].repeat(most - len(one), 0)]) for one in strokes]))


def _distance(strokes: Tensor, side: int) -> Tensor:
    """How far each pixel's centre is from the nearest stroke, as a share of the side: (B, side, side)."""
    steps = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    pixels = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).view(1, 1, -1, 2)
    start, end = strokes.float()[:, :, 0].unsqueeze(2), strokes.float()[:, :, 1].unsqueeze(2)
    along = end - start
    share = ((pixels - start) * along).sum(-1) / along.square().sum(-1).clamp_min(1e-9)
    gap = pixels - start - share.clamp(0, 1).unsqueeze(-1) * along
    return gap.square().sum(-1).amin(1).sqrt().view(-1, side, side)


@functools.cache
def sign(label: int) -> Strokes:
    """Strokes (S, 2, 2) of a class around the origin, within 0.3 of it: start and end, x and y (downwards).

    Ring and bar are the first two; the others join dots of a 3 × 4 grid by four strokes, of ``_TRIES`` seeded tries the
    one least like the signs before it.
    """
    if label == 0:
        angles = np.linspace(0, 2 * np.pi, _RING + 1)
        corners = np.round(0.26 * np.stack([0.8 * np.cos(angles), np.sin(angles)], 1), 6)
        return np.stack([corners[:-1], corners[1:]], 1)
    if label == 1:
        return np.array([[[0.0, -0.28], [0.0, 0.28]]])
    random = np.random.default_rng(seed_for(0, "glyph", label))
    tries = [_walk(random) for _ in range(_TRIES)]
    shown = torch.stack([_ink(one) for one in tries])
    before = torch.stack([_ink(sign(other)) for other in range(label)])
    least = torch.cdist(shown, before).amin(1)
    return tries[int(least.argmax())]


def _walk(random: np.random.Generator) -> Strokes:
    """Strokes between dots that follow each other, none drawn twice."""
    dots = [np.array([0.2 * (x - 1), 0.18 * (y - 1.5)]) for x in range(3) for y in range(4)]
    way, drawn = [int(random.integers(12))], set[frozenset[int]]()
    while len(drawn) < _STROKES:
        following = int(random.integers(12))
        if following != way[-1] and frozenset((way[-1], following)) not in drawn:
            drawn.add(frozenset((way[-1], following)))
            way.append(following)
    return np.array([[dots[a], dots[b]] for a, b in itertools.pairwise(way)])


def _ink(strokes: Strokes) -> Tensor:
    """What a sign covers, softly, (256,): what likeness is measured by."""
    return torch.exp(-((_distance(torch.from_numpy(strokes + 0.5)[None], 16) / 0.08) ** 2)).flatten()
