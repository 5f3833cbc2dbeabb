"""The user's overrides of the rule's decisions: names of rounds, like ``block3/classes/2``, to keep or to undo, and of
places of the image, like ``bottom,right``, to exchange.

They come from the settings ``round.keep``, ``round.undo`` and ``round.exchange``, from the flags ``--keep``, ``--undo``
and ``--exchange``, and from decisions that were changed by hand in a run's graph.json. Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from conceptnet_ml.config.settings import RoundSettings, Settings
from conceptnet_ml.errors import SettingsError, nearest

_EXAMPLE = "Write the round as the summary prints it and its representation, as in block3/classes/2/pixels."
_VERBS = {True: "keep", False: "undo"}
_SIDES = {True: "outside", False: "inside"}

PlaceBox = tuple[float, float, float, float]
"""Left, top, right and bottom, in shares of an image's width and height."""

ROWS = ("top", "top of the middle", "bottom of the middle", "bottom")
COLUMNS = ("left", "left of the middle", "right of the middle", "right")
"""Words for the quarters of an image's height and width; their crossings are its regions."""

BORDER, RIM = "border", 1 / 32
"""The word for the outermost pixels, and how thick they are, as a share of height and width."""

_NAMED: dict[str, tuple[PlaceBox, ...]] = {
    **{row: ((0, y / 4, 1, (y + 1) / 4),) for y, row in enumerate(ROWS)},
    **{column: ((x / 4, 0, (x + 1) / 4, 1),) for x, column in enumerate(COLUMNS)},
    **{
        f"{row},{column}": ((x / 4, y / 4, (x + 1) / 4, (y + 1) / 4),)
        for y, row in enumerate(ROWS)
        for x, column in enumerate(COLUMNS)
    },
    BORDER: ((0, 0, 1, RIM), (0, 1 - RIM, 1, 1), (0, 0, RIM, 1), (1 - RIM, 0, 1, 1)),
}

_PLACE = (
    "Write a place as 'inspect' names it, as in bottom,right, or bottom, or border; or a box LEFT,TOP,RIGHT,BOTTOM in "
    "shares of width and height from 0 to 1, as in 0.7,0.85,1,1."
)


@dataclass(frozen=True)
class Override:
    """One override.

    Args:
        keep: Whether to keep or to undo.
        stage, readout, number: The round: its stage, the answers it is about, and its number there.
        representation: One representation of the round; None for the best when keeping, for all when undoing.
        outside: Which side of the representation's gates is exchanged; None for what the rule finds.
    """

    keep: bool
    stage: str
    readout: str
    number: int
    representation: str | None = None
    outside: bool | None = None

    @property
    def round(self) -> str:
        """The round's name."""
        return f"{self.stage}/{self.readout}/{self.number}"

    @property
    def text(self) -> str:
        """The override as the settings write it."""
        text = self.round if self.representation is None else f"{self.round}/{self.representation}"
        return text if self.outside is None else f"{text}:{_SIDES[self.outside]}"

    def __str__(self) -> str:
        return f"--{_VERBS[self.keep]} {self.text}"

    def contradicts(self, other: Override) -> bool:
        """Whether only one of the two can be carried out."""
        if self.round != other.round:
            return False
        if self.keep and other.keep:
            pairs = ((self.representation, other.representation), (self.outside, other.outside))
            return any(len({*pair} - {None}) > 1 for pair in pairs)
        kept, undone = (self, other) if self.keep else (other, self)
        return kept.keep != undone.keep and undone.representation in (None, kept.representation)


def parse_override(text: str, keep: bool) -> Override:
    """The override that ``block3/classes/2/pixels`` means. Raises SettingsError where a text names no round."""
    named, _, side = text.strip().partition(":")
    outside = next((known for known, word in _SIDES.items() if word == side), None)
    if side and (outside is None or not keep):
        wrong = "this is no side of the gates" if outside is None else "a round that is undone exchanges no side"
        mend = f"Write --keep {named}:outside, or :inside."
        raise SettingsError(f"--{_VERBS[keep]} {text}: {wrong}", mend)
    parts = named.split("/")
    representation = None if parts[-1].isdecimal() else parts.pop()
    if len(parts) < 3 or not all(parts) or not parts[-1].isdecimal() or int(parts[-1]) < 1 or representation == "":
        raise SettingsError(f"--{_VERBS[keep]} {text}: this is not the name of a round", _EXAMPLE)
    return Override(keep, "/".join(parts[:-2]), parts[-2], int(parts[-1]), representation, outside)


def parse_overrides(keep: Sequence[str], undo: Sequence[str]) -> list[Override]:
    """All overrides. Raises SettingsError where one is not the name of a round, or two contradict each other."""
    found = [parse_override(text, True) for text in keep] + [parse_override(text, False) for text in undo]
    for place, one in enumerate(found):
        for other in found[:place]:
            if one.contradicts(other):
                raise SettingsError(f"{other} and {one} contradict each other", "Leave one of them out.")
    return found


def add_overrides(
    stored: RoundSettings, keep: Sequence[str], undo: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A run's overrides and new ones, as (keep, undo); a new one replaces those it contradicts and those that keep the
    same round. Raises SettingsError as :func:`parse_overrides`, for the new ones.
    """
    new = parse_overrides(keep, undo)
    old = [
        one
        for one in parse_overrides(stored.keep, stored.undo)
        if one in new
        or not any(one.contradicts(other) or (one.keep and other.keep and one.round == other.round) for other in new)
    ]
    both = list(dict.fromkeys([*old, *new]))
    return tuple(one.text for one in both if one.keep), tuple(one.text for one in both if not one.keep)


def check_overrides(settings: Settings, stages: Sequence[str], places: Sequence[str]) -> None:
    """Raise SettingsError at an override of a round that this run cannot have: at another stage or in another
    representation, beyond the depth or the limit, or contradicting another.

    Args:
        stages: From the image upwards.
        places: The representations whose gates are of places: those have sides.
    """
    order = [*reversed(stages)]
    for one in parse_overrides(settings.round.keep, settings.round.undo):
        if one.stage not in stages:
            raise SettingsError(f"{one}: the network has no stage '{one.stage}'", nearest(one.stage, stages))
        place = order.index(one.stage)
        if place >= settings.depth:
            mend = f"Go deeper with --depth {place + 1}."
            raise SettingsError(f"{one}: depth {settings.depth} does not reach stage {one.stage}", mend)
        if one.outside is not None and place:
            raise SettingsError(f"{one}: sides are told apart at {order[0]} only", f"Write {one.round}.")
        if one.number > settings.round.limit:
            limit = settings.round.limit
            raise SettingsError(f"{one}: there are at most {limit} rounds at a stage", "Raise round.limit.")
        _check_readout(one, order, place)
        known = settings.plugins.representations
        if one.representation is not None and one.representation not in known:
            mend = nearest(one.representation, known)
            raise SettingsError(f"{one}: this run tries no representation '{one.representation}'", mend)
        if one.outside is not None and one.representation not in places:
            mend = f"Name one whose gates are of places: {', '.join(places)}."
            raise SettingsError(f"{one}: only a representation with gates of places has sides", mend)


def _check_readout(one: Override, order: list[str], place: int) -> None:
    if place == 0:
        if one.readout != "classes":
            mend = f"Write {order[0]}/classes/{one.number}."
            raise SettingsError(f"{one}: at the top stage {order[0]} rounds are about the classes", mend)
        return
    above = order[place - 1]
    if not re.search(rf"(^|\.){re.escape(above)}\.(\d+|leaf)$", one.readout):
        mend = f"Write {one.stage}/{above}.1/{one.number}, or {above}.leaf where nothing was kept there."
        raise SettingsError(f"{one}: at stage {one.stage} rounds are about what was found at {above}", mend)


def parse_places(text: str | None) -> dict[str, tuple[PlaceBox, ...]]:
    """What ``round.exchange`` names: for each place its boxes. Raises SettingsError where one is no place, is empty or
    reaches beyond the image.
    """
    return {} if text is None else {name: _boxes(name) for name in map(_tidy, text.split("+"))}


def _tidy(place: str) -> str:
    return ",".join(" ".join(part.split()) for part in place.casefold().split(","))


def _boxes(name: str) -> tuple[PlaceBox, ...]:
    if name in _NAMED:
        return _NAMED[name]
    try:
        left, top, right, bottom = map(float, name.split(","))
    except ValueError as error:
        raise SettingsError(f"round.exchange: '{name}' names no place", _PLACE) from error
    if not all(0 <= end <= 1 for end in (left, top, right, bottom)):
        mend = f"{_PLACE} Pixels become shares when they are divided by the image's width and height."
        raise SettingsError(f"round.exchange: {name} reaches beyond the image", mend)
    if not (left < right and top < bottom):
        raise SettingsError(
            f"round.exchange: {name} is empty: left is not below right, or top not below bottom", _PLACE
        )
    return ((left, top, right, bottom),)
