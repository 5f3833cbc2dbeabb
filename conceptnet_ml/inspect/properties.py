"""Each property in words: what it is, what a network might do with it, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from conceptnet_ml.config.overrides import COLUMNS, ROWS
from conceptnet_ml.inspect.pixel_measures import RINGS
from conceptnet_ml.inspect.property_rule import Labels, Numbers

PIXELS, FILES = "pixels", "files"
"""Where a property is: in what the network sees, or in the files themselves."""

TINT = "colour cast"
"""The property of the mean hue."""

PLACE = "place"
"""The property of the one region of the image that tells most."""

_COLOUR = (
    "'learn' exchanges it between the classes by the representation colour, if its network rests on it",
    "or even it out first",
)
_LIGHT = (
    "'learn' exchanges it between the classes by the representations exposure and colour, if its network rests on it",
    "or even it out first",
)
_BLUR = (
    "'learn' exchanges it between the classes by the representation sharpness, if its network rests on it",
    "or bring all pictures to the same sharpness first: from one resolution, or the sharper ones blurred a little",
)
_STORED = (
    "'learn' exchanges it between the classes by the representation blocks, if its network rests on it",
    "or bring all pictures to the same resolution and compression first",
)
_WAVES = (
    "'learn' exchanges it between the classes by the representations fourier and waves, if its network rests on it",
    "or bring all pictures to the same resolution and compression first",
)
_PLACES = (
    "'learn' exchanges it between the classes by the representation pixels, if its network rests on it; look at the "
    "round's picture, and say --keep or --undo",
    "or cut it off, or cover it, in all pictures",
    "or have 'learn' exchange it by your word, whatever its rule says, with --exchange",
)
_SIZE = ("bring all pictures to one size before training: large ones down, never small ones up",)
_SHAPE = (
    "pictures are scaled to cover a square and their centre is kept, which hides this but leaves how sharp they are, "
    "and what was cut off",
    "cut all pictures to the same shape first, or set --set data.image_size to one that all are larger than",
)
_STORE = ("store all pictures anew in the same way; what earlier compression left in the pixels stays",)


LOG = "on a log scale"
"""The unit of what is the logarithm of a ratio."""


@dataclass(frozen=True)
class Property:
    """What is said of a property.

    Args:
        name: As measures and facts name it.
        where: :data:`PIXELS` or :data:`FILES`.
        what: What it is.
        cue: What a network might go by, after "tell CLASS from the others by".
        follows: What may be done, as sentences without a full stop.
        unit: Of its one number, in which medians are told; None where it is several or no number.
    """

    name: str
    where: str
    what: str
    cue: str
    follows: tuple[str, ...]
    unit: str | None = None


PROPERTIES = (
    Property("brightness", PIXELS, "the mean lightness", "how light or dark they are", _LIGHT, "of 255"),
    Property("contrast", PIXELS, "how far light and dark lie apart", "how rich or flat they are", _LIGHT, "of 255"),
    Property(TINT, PIXELS, "the mean hue", "their tint", _COLOUR),
    Property("saturation", PIXELS, "how colourful it is", "how colourful or grey they are", _COLOUR, "of 255"),
    Property("sharpness", PIXELS, "fine against coarse detail", "how sharp or blurred they are", _BLUR, LOG),
    Property("pattern", PIXELS, "peaks of spatial frequencies", "such lines or grid", _WAVES),
    Property("blocks", PIXELS, "steps at blocks of 8 px, as JPEG's", "how they were stored", _STORED, LOG),
    Property("border", PIXELS, "colour and steps of the outer pixels", "their edge or frame", _PLACES),
    Property(PLACE, PIXELS, "one place of the image", "what is there, or is missing there", _PLACES),
    Property("width", FILES, "the width", "how sharp such pictures are once resized", _SIZE, "px"),
    Property("height", FILES, "the height", "how sharp such pictures are once resized", _SIZE, "px"),
    Property("aspect", FILES, "log of width over height", "what is left of such pictures once cut", _SHAPE, LOG),
    Property("format", FILES, "the file format", "what that format leaves in the pixels", _STORE),
    Property("mode", FILES, "grey, colour, palette, transparent", "grey pictures, or what white replaces", _STORE),
    Property("JPEG quality", FILES, "how well it was kept", "what compression leaves in the pixels", _STORE, "of 100"),
    Property("bytes per pixel", FILES, "how much a pixel takes", "how plain or compressed they are", _STORE, "bytes"),
    Property("EXIF", FILES, "what is written beside the picture", "the camera or program they come from", _STORE),
)
CONTROLS = {RINGS[0]: RINGS[1]}
"""Properties that must tell more than another one, which holds as much of the object."""


def place_words(region: str) -> str:
    """``region 3,0`` as ``bottom, left``."""
    row, column = (int(part) for part in region.split()[1].split(","))
    return f"{ROWS[row]}, {COLUMNS[column]}"


def differ_words(one: Property, values: Sequence[object], labels: Labels, classes: Sequence[str]) -> str:
    """How the classes differ in a property of one number or word: medians, or the most frequent word with its share."""
    parts = []
    numeric = one.unit is not None
    show: Callable[[list[object]], str] = _median if numeric else _commonest
    for label, name in enumerate(classes):
        own = [value for value, other in zip(values, labels.tolist(), strict=True) if other == label]
        parts.append((name, show([value for value in own if value is not None])))
    shown = ", ".join(f"{name} {text}" for name, text in parts[:6])
    unit = f" {one.unit}" if numeric and "none" not in [text for _, text in parts] else ""
    return shown + unit + (" …" if len(parts) > 6 else "")


HUES = {"red": 0, "orange": 30, "yellow": 60, "green": 120, "cyan": 180, "blue": 240, "purple": 280, "pink": 320}
"""Names of tints, by their angle in degrees."""

FAINT = 0.02
"""By how much the strongest channel of a tint is above the weakest, at least, as a share."""


def tint_words(values: Numbers, labels: Labels, classes: Sequence[str], first: int) -> str:
    """Which tint each class has beside the mean of the classes: ``deer yellow by 18 %, car blue by 14 %``.

    Args:
        values: (N, 2) log R/G and log B/G of each image's mean colour.
        labels: (N,) of the images.
        classes: Their names.
        first: The class that is named first; at most six are.
    """
    medians = np.stack([np.median(values[labels == label], 0) for label in range(len(classes))])
    order = [first, *(label for label in range(len(classes)) if label != first)]
    words = [f"{classes[label]} {_tint(medians[label] - medians.mean(0))}" for label in order[:6]]
    return ", ".join(words) + (" …" if len(order) > 6 else "")


def _tint(ratios: Numbers) -> str:
    red, green, blue = ratios[0], 0.0, ratios[1]
    share = float(np.exp(max(red, green, blue) - min(red, green, blue))) - 1
    if share < FAINT:
        return "without a tint"
    angle = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    name = min(HUES, key=lambda one: abs((angle - HUES[one] + 180) % 360 - 180))
    return f"{name} by {share:.0%}".replace("%", " %")


def _median(values: list[object]) -> str:
    return f"{np.median(np.asarray(values, np.float64)):.3g}" if values else "none"


def _commonest(values: list[object]) -> str:
    if not values:
        return "none"
    names = [str(value) for value in values]
    first = max(sorted(set(names)), key=names.count)
    return f"{first} {names.count(first) / len(names):.0%}"


def number_columns(values: Sequence[float | str | None]) -> Numbers:
    """(N, 1) of facts: numbers stay, words become numbers, None becomes less than all."""
    words = sorted({value for value in values if isinstance(value, str)})
    place = {word: float(number) for number, word in enumerate(words)}
    numbers = [place[value] if isinstance(value, str) else value for value in values]
    least = min((value for value in numbers if value is not None), default=0.0)
    return np.array([[least - 1 if value is None else value] for value in numbers], np.float64)
