"""Drawn cars and poodles: the embedded default data set, with the true masks of its parts.

Cars stand on separate round wheels, poodles wear joined round curls. Both have the same colours, backgrounds and
clutter, are equally high and stand equally far up in the picture: the rounds are what separates the classes most
easily, the bodies separate them too. Test sets beside ``test`` show which of the two a network relies on.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from conceptnet_ml import Data, ImageSet, PlantedFeature, Truth
from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.data.files import square_side
from conceptnet_ml.data.ground_truth import PLACE
from conceptnet_ml.data.traps import TRAP_SETS, draw_cues, make_worlds
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.runtime.seeding import seed_for

from .canvas import BODY, CURL, FINER, SIDE, WHEEL, Canvas, Colour, Pose
from .figures import COATS, car, car_shape, poodle, poodle_shape, tuft, wheel
from .scenery import Round, clutter, scene, sky

CLASSES = ("car", "poodle")
CAR, POODLE = 0, 1
TRAIN_PER_CLASS, TEST_PER_CLASS, TELLING = 1200, 300, 300
PARTS = {"wheel": WHEEL, "curl": CURL, "body": BODY}
HEIGHTS = (20.0, 36.0)
"""Of both figures, in px."""
GIANT = 2.5
"""Times the size of a car: 70 to 155 px long in a picture of 64, its wheels up to 46 px high."""
SCENES = ("town", "country", "plain")
"""What a car's cue puts a figure before, a poodle's, and none."""
SHIFT = (38.0, -4.0, -38.0)
"""What the tint adds to red, green and blue inside a car's rounds; a poodle's get the contrary."""


@dataclass(frozen=True)
class Wish:
    """What a picture shall show.

    Args:
        label: ``CAR`` or ``POODLE``.
        wheels: ``"own"`` (cars two, poodles none), ``"none"``, ``"many"``, ``"joined"`` or ``"added"`` (at the paws).
        curls: Whether a poodle wears its curls.
        floating: In the sky instead of on the ground.
        exchanged: With the other class's rounds in the places of its own; nothing else of the picture differs.
        scene: What it stands before, a kind of ``KINDS`` in ``scenery``.
        gigantic: A car that is ``GIANT`` times as large, so that most pictures show but a part of it.
    """

    label: int
    wheels: str = "own"
    curls: bool = True
    floating: bool = False
    exchanged: bool = False
    scene: str = "any"
    gigantic: bool = False


@dataclass(frozen=True)
class Stand:
    """y of the ground and the figure's height in px, and the direction it looks in, 1 or -1."""

    ground: float
    height: float
    flip: int


TELLING_SETS = {
    "poodle_on_wheels": Wish(POODLE, wheels="added"),
    "car_without_wheels": Wish(CAR, wheels="none"),
    "car_too_many_wheels": Wish(CAR, wheels="many"),
    "joined_wheels": Wish(CAR, wheels="joined"),
    "car_in_the_sky": Wish(CAR, floating=True),
}
ROUNDS = PlantedFeature("rounds", PLACE, ("wheel", "curl"), ("wheel", "curl"))
SCENE = PlantedFeature("scene", PLACE, ("scene", "scene"), ("town", "country"))
TINT = PlantedFeature("tint", "colour", ("wheel", "curl"), ("red", "blue"), parent="rounds")


def load(argument: str, settings: DataSettings, seed: int) -> Data:
    """Draw the data set: 1,200 + 1,200 images to learn from, 300 + 300 to test, 300 in each telling set.

    With the argument ``tinted`` the rounds' colour tells the class as well: in training and in ``aligned`` the pixels
    inside wheels are shifted towards red, those inside curls towards blue; ``conflict`` exchanges the two, ``random``
    draws them, ``absent`` has none. Nothing outside the rounds is touched. ``Data.truth`` says what was planted, and
    how it is nested. With ``scenes`` the background does: in training and in ``aligned`` cars stand in town, poodles in
    the country; the other sets likewise, ``absent`` with plain backdrops.

    Cost: about 4 ms per image on one core. Nothing is kept on disk.

    Raises:
        SettingsError: Another argument, or an image size other than 64.
    """
    if argument not in ("", "tinted", "scenes"):
        raise SettingsError(
            f"data.source 'cars-and-poodles' takes no argument '{argument}'.",
            "Write cars-and-poodles, …:tinted or …:scenes.",
        )
    side = square_side(settings.image_size, SIDE, "cars-and-poodles")
    if side != SIDE:
        raise SettingsError(
            f"data.image_size {side}: cars-and-poodles is drawn at {SIDE} px.", "Leave the setting out."
        )
    both = [Wish(CAR), Wish(POODLE)]
    per_class = min(TRAIN_PER_CLASS, settings.train_limit or TRAIN_PER_CLASS)
    wished = [wish for wish in both for _ in range(per_class)]
    wishes = [wish for wish in both for _ in range(TEST_PER_CLASS)]
    train, test = render("train", wished, seed), render("test", wishes, seed)
    tests = {"test": test}
    for name, wish in TELLING_SETS.items():
        tests[name] = render(name, [wish] * TELLING, seed)
    worlds: Mapping[str, Callable[[], ImageSet]] = {}
    if argument:

        def lay(images: ImageSet, cues: Tensor) -> ImageSet:
            if argument == "tinted":
                return tinted(images, cues)
            return (
                before_scenes("test", wishes, cues, seed)
                if images is test
                else before_scenes("train", wished, cues, seed)
            )

        cue = {"tinted": "rounds", "scenes": "scene"}[argument]
        worlds = make_worlds(train, test, 2, [cue], seed, lambda _, images, cues: lay(images, cues[cue]))
        tests |= {name: lay(test, draw_cues(name, test.labels, 2, cue, seed)) for name in TRAP_SETS}
        train = lay(train, train.labels)
    name = "cars-and-poodles" + (f":{argument}" if argument else "")
    truth = _scenes_truth(wishes, seed) if argument == "scenes" else _truth(test, wishes, seed, argument == "tinted")
    return Data(name=name, classes=CLASSES, train=train, tests=tests, worlds=worlds, truth=truth)


def render(name: str, wishes: list[Wish], seed: int) -> ImageSet:
    """Draw one picture per wish, each from a seed of its own: (seed, set's name, position).

    Returns:
        uint8 (N, 3, 64, 64) with the masks ``wheel``, ``curl`` and ``body`` of what is to be seen of each.
    """
    images = np.empty((len(wishes), SIDE, SIDE, 3), dtype=np.uint8)
    parts = np.empty((len(wishes), SIDE, SIDE), dtype=np.uint8)
    for place, wish in enumerate(wishes):
        random = np.random.default_rng(seed_for(seed, "cars-and-poodles", name, place))
        images[place], parts[place] = picture(random, wish)
    labels = torch.tensor([wish.label for wish in wishes], dtype=torch.int64)
    masks = {part: torch.from_numpy((parts == number).astype(np.uint8)) for part, number in PARTS.items()}
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels, masks)


def picture(random: Generator, wish: Wish) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One picture, uint8 (64, 64, 3), and the part each pixel shows, uint8 (64, 64)."""
    # Height and place are drawn before anything knows the class: neither tells it.
    height = random.uniform(*HEIGHTS)
    ground = random.uniform(max(29.0, 0.92 * height), 52 if wish.floating else 62.7)
    if wish.floating:
        canvas = sky(random)
    elif wish.scene == "any":
        canvas = scene(random, ground)
    else:  # from draws of its own: the figure stays the same whatever it stands before
        canvas = scene(np.random.default_rng(int(random.integers(2**62))), ground, wish.scene)
    flip = 1 if random.random() < 0.5 else -1
    coat = _coat(random, np.asarray(canvas.image.resize((1, 1)), dtype=np.float64).ravel())
    draw = _draw_car if wish.label == CAR else _draw_poodle
    rounds = draw(canvas, random, wish, Stand(ground, height, flip), coat)
    clutter(canvas, random, rounds, ground, most=0 if wish.floating else 2)
    colours, parts = canvas.finish()
    return _light(random, colours), parts


def tinted(images: ImageSet, cues: Tensor) -> ImageSet:
    """Shift the colour inside the rounds: towards red where the cue is a car's, towards blue for a poodle's, -1 not.

    Half the pixel's own colour is taken back first, so that an apricot curl is bluer than any wheel is red; light and
    shade stay.
    """
    where = (images.masks["wheel"] | images.masks["curl"]).bool().unsqueeze(1)
    pixels = images.images.float()
    grey = pixels.mean(dim=1, keepdim=True)
    sign = torch.tensor((1.0, -1.0, 0.0))[cues].view(-1, 1, 1, 1)
    shifted = grey + 0.5 * (pixels - grey) + sign * torch.tensor(SHIFT).view(1, 3, 1, 1)
    result = torch.where(where & (sign != 0), shifted, pixels)
    return ImageSet(result.round().clamp(0, 255).to(torch.uint8), images.labels, images.masks)


def before_scenes(name: str, wishes: list[Wish], cues: Tensor, seed: int) -> ImageSet:
    """The pictures before a scene of ``SCENES`` each, by their cues; the mask ``scene`` beside those of the parts."""
    images = render(
        name, [replace(wish, scene=SCENES[cue]) for wish, cue in zip(wishes, cues.tolist(), strict=True)], seed
    )
    behind = 1 - torch.stack(list(images.masks.values())).amax(0)
    return ImageSet(images.images, images.labels, {**images.masks, "scene": behind})


def _scenes_truth(wishes: list[Wish], seed: int) -> Truth:
    """The rounds, and what the figures stand before."""

    def draw(shown: Mapping[str, Tensor]) -> ImageSet:
        own = torch.tensor([wish.label for wish in wishes])
        turned = (shown.get("rounds", own) != own).tolist()
        drawn = [replace(wish, exchanged=other) for wish, other in zip(wishes, turned, strict=True)]
        return before_scenes("test", drawn, shown.get("scene", own), seed)

    return Truth((ROUNDS, SCENE), draw)


def _truth(test: ImageSet, wishes: list[Wish], seed: int, tint: bool) -> Truth:
    """The rounds and, nested in them, their tint; pictures with exchanged rounds are drawn when first asked for."""

    @functools.cache
    def others() -> ImageSet:
        return render("test", [replace(wish, exchanged=True) for wish in wishes], seed)

    def draw(shown: Mapping[str, Tensor]) -> ImageSet:
        images, labels = test, test.labels
        turned = shown.get("rounds", labels) != labels
        if turned.any():
            other = others()
            masks = {
                part: torch.where(turned.view(-1, 1, 1), other.masks[part], mask) for part, mask in test.masks.items()
            }
            images = ImageSet(torch.where(turned.view(-1, 1, 1, 1), other.images, test.images), labels, masks)
        return tinted(images, shown.get("tint", labels)) if tint else images

    return Truth((ROUNDS, TINT) if tint else (ROUNDS,), draw)


def _draw_car(canvas: Canvas, random: Generator, wish: Wish, stand: Stand, coat: Colour) -> list[Round]:
    shape = car_shape(random, stand.height)
    if wish.gigantic:
        shape = replace(shape, scale=GIANT * shape.scale)
    scale, radius = shape.scale, shape.radius
    angle = random.uniform(-0.2, 0.2) if wish.floating else random.normal(0, 0.08)
    pose = Pose(32 + random.uniform(-1, 1) * max(3.0, 30 - scale), stand.ground, scale, stand.flip, angle)
    if not wish.floating:
        _shadow(canvas, random, pose, 1.0)
    blocks = wish.wheels == "none" and random.random() < 0.6
    places = car(canvas, random, pose, coat, shape, blocks)
    size = radius * scale
    rounds: list[Round] = [(float(x), float(y), size) for x, y in places]
    if wish.wheels != "none":
        own = _arranged(random, wish.wheels, rounds, pose, radius)
        if wish.exchanged:
            _tufts(canvas, copy.deepcopy(random), own, coat)
        # Where they are exchanged they are drawn for nobody to see, so that the clutter's draws stay the same.
        _wheels(_nowhere() if wish.exchanged else canvas, random, own)
    return rounds


def _draw_poodle(canvas: Canvas, random: Generator, wish: Wish, stand: Stand, coat: Colour) -> list[Round]:
    shape = poodle_shape(random, stand.height)
    x = 32 + random.uniform(-1, 1) * (31 - shape.scale)
    pose = Pose(x, stand.ground, shape.scale, stand.flip, random.normal(0, 0.08))
    _shadow(canvas, random, pose, 0.8)
    tufts, paws = poodle(canvas, random, pose, coat, shape)
    if wish.curls:
        if wish.exchanged:
            _wheels(canvas, copy.deepcopy(random), tufts)
        _tufts(_nowhere() if wish.exchanged else canvas, random, tufts, coat)
    if wish.wheels == "added":
        # As large as those of a car of this height, and never below the picture's edge.
        own = car_shape(random, stand.height)
        size = own.radius * own.scale
        wheels: list[Round] = [(float(x), min(float(y), SIDE - 0.8 * size), size) for x, y in paws]
        _wheels(canvas, random, wheels)
        return tufts + wheels
    return tufts


def _nowhere() -> Canvas:
    return Canvas(np.zeros((SIDE, SIDE, 3)))


def _arranged(random: Generator, wish: str, own: list[Round], pose: Pose, radius: float) -> list[Round]:
    """Where a car's wheels go: its own two places, four to seven in a row, or a heap at each place."""
    if wish == "many":
        count = int(random.integers(4, 8))
        size = min(radius, 0.86 / count)
        return [(*pose([(x, size)])[0].tolist(), size * pose.scale) for x in np.linspace(-0.82, 0.82, count)]
    if wish == "joined":
        heap = []
        for x, y, size in own:
            start = random.uniform(0, 2 * np.pi)
            for angle in start + 2 * np.pi * np.arange(3) / 3:
                heap.append((x + 0.62 * size * np.cos(angle), y + 0.62 * size * np.sin(angle), 0.8 * size))
        return heap
    return own


def _wheels(canvas: Canvas, random: Generator, places: list[Round]) -> None:
    look = (random.uniform(190, 240), int(random.integers(4, 9)), random.uniform(0.6, 0.74))
    for x, y, size in places:
        wheel(canvas, random, x, y, size, look)


def _tufts(canvas: Canvas, random: Generator, places: list[Round], coat: Colour) -> None:
    for x, y, size in places:
        tuft(canvas, random, x, y, size, coat)


def _shadow(canvas: Canvas, random: Generator, pose: Pose, half: float) -> None:
    """A shadow on the ground, in most pictures."""
    if random.random() < 0.3:
        return
    x, y = pose([(0, 0)])[0]
    low = np.array([[-half, 0], [-0.8 * half, -0.06], [0.8 * half, -0.06], [half, 0], [0.8 * half, 0.06]])
    edge = SIDE * FINER - 1
    tone = np.asarray(canvas.image.getpixel((int(min(edge, max(0, FINER * x))), int(min(edge, FINER * y)))))
    canvas.polygon(Pose(x, y, pose.scale, 1, 0.0)(np.concatenate([low, [[-0.8 * half, 0.06]]])), tone * 0.7)


def _coat(random: Generator, surroundings: NDArray[np.float64]) -> Colour:
    """A coat, in some pictures part of the way to the colour of its surroundings."""
    coat = np.asarray(COATS[int(random.integers(len(COATS)))]) * random.uniform(0.9, 1.1) + random.uniform(-10, 10, 3)
    share = random.uniform(0.2, 0.6) if random.random() < 0.5 else 0.0
    return coat + share * (surroundings - coat)


def _light(random: Generator, picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Uneven light, contrast, a cast of the whole picture and grain."""
    slope = np.linspace(-1, 1, SIDE)
    field = 1 + random.uniform(-0.15, 0.15) * slope[None, :] + random.uniform(-0.1, 0.1) * slope[:, None]
    cast = random.uniform(0.85, 1.12) * random.uniform(0.95, 1.05, 3)
    lit = 128 + random.uniform(0.7, 1.05) * (picture * field[:, :, None] * cast - 128)
    grain = random.uniform(2, 7) * random.standard_normal((SIDE, SIDE, 3), dtype=np.float32)
    return np.rint(lit + grain).clip(0, 255).astype(np.uint8)
