"""What the user decides about a round, whatever the rule says: words like ``block3/classes/2`` to keep or to undo.

Words come from the settings ``round.keep`` and ``round.undo``, from the flags ``--keep`` and ``--undo``, and from a
run's graph.json whose decisions were changed by hand. Nothing here needs torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from conceptnet_ml.config.settings import RoundSettings, Settings
from conceptnet_ml.errors import SettingsError, nearest

EXAMPLE = "Write STAGE/READOUT/NUMBER as the summary prints it, as in block3/classes/2 or block3/classes/2/pixels."

_VERBS = {True: "keep", False: "undo"}


@dataclass(frozen=True)
class Override:
    """One thing the user decided.

    Args:
        keep: Whether to keep or to undo.
        stage, parents, number: Which round: where, about whose answers, and its number there.
        representation: Which of its representations; None for the best when keeping, for all when undoing.
    """

    keep: bool
    stage: str
    parents: str
    number: int
    representation: str | None = None

    @property
    def round(self) -> str:
        """The round's name, as its story has it."""
        return f"{self.stage}/{self.parents}/{self.number}"

    @property
    def text(self) -> str:
        """As the settings have it."""
        return self.round if self.representation is None else f"{self.round}/{self.representation}"

    def __str__(self) -> str:
        return f"--{_VERBS[self.keep]} {self.text}"

    def contradicts(self, other: Override) -> bool:
        """Whether both cannot be done."""
        if self.round != other.round:
            return False
        if self.keep and other.keep:
            named = {self.representation, other.representation} - {None}
            return len(named) > 1
        kept, undone = (self, other) if self.keep else (other, self)
        return kept.keep != undone.keep and undone.representation in (None, kept.representation)


def parse_override(text: str, keep: bool) -> Override:
    """``"block3/classes/2/pixels"`` as a word.

    Raises:
        SettingsError: It is not the name of a round.
    """
    parts = text.strip().split("/")
    representation = None if parts[-1].isdecimal() else parts.pop()
    if len(parts) < 3 or not all(parts) or not parts[-1].isdecimal() or int(parts[-1]) < 1 or representation == "":
        raise SettingsError(f"--{_VERBS[keep]} {text}: this is not the name of a round", EXAMPLE)
    return Override(keep, "/".join(parts[:-2]), parts[-2], int(parts[-1]), representation)


def parse_overrides(keep: Sequence[str], undo: Sequence[str]) -> list[Override]:
    """All words, checked against each other.

    Raises:
        SettingsError: One is not the name of a round, or two contradict each other.
    """
    found = [parse_override(text, True) for text in keep] + [parse_override(text, False) for text in undo]
    for place, one in enumerate(found):
        for other in found[:place]:
            if one.contradicts(other):
                raise SettingsError(f"{other} and {one} contradict each other", "Leave one of them out.")
    return found


def check_overrides(settings: Settings, stages: Sequence[str]) -> None:
    """Refuse words about rounds that this run cannot have.

    Args:
        settings: Depth, round limit and representations decide which rounds there can be.
        stages: Names of the network's stages, from the image upwards.

    Raises:
        SettingsError: No such stage or representation, a stage or round beyond the depth or the limit, or a
            contradiction.
    """
    order = [*reversed(stages)]
    for word in parse_overrides(settings.round.keep, settings.round.undo):
        if word.stage not in stages:
            raise SettingsError(f"{word}: the network has no stage '{word.stage}'", nearest(word.stage, stages))
        place = order.index(word.stage)
        if place >= settings.depth:
            mend = f"Go deeper with --depth {place + 1}."
            raise SettingsError(f"{word}: depth {settings.depth} does not reach stage {word.stage}", mend)
        if word.number > settings.round.limit:
            limit = settings.round.limit
            raise SettingsError(f"{word}: there are at most {limit} rounds at a stage", "Raise round.limit.")
        _check_parents(word, order, place)
        known = settings.plugins.representations
        if word.representation is not None and word.representation not in known:
            mend = nearest(word.representation, known)
            raise SettingsError(f"{word}: this run tries no representation '{word.representation}'", mend)


def _check_parents(word: Override, order: list[str], place: int) -> None:
    if place == 0:
        if word.parents != "classes":
            mend = f"Write {order[0]}/classes/{word.number}."
            raise SettingsError(f"{word}: at the top stage {order[0]} rounds are about the classes", mend)
        return
    above = order[place - 1]
    if not re.search(rf"(^|\.){re.escape(above)}\.(\d+|leaf)$", word.parents):
        mend = f"Write {word.stage}/{above}.1/{word.number}, or {above}.leaf where nothing was kept there."
        raise SettingsError(f"{word}: at stage {word.stage} rounds are about what was found at {above}", mend)


def amended(stored: RoundSettings, keep: Sequence[str], undo: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a run and new ones; a new word silences what was said before about the same thing.

    Returns:
        (keep, undo) as the settings have them.

    Raises:
        SettingsError: As :func:`parse_overrides`, for the new ones.
    """
    new = parse_overrides(keep, undo)
    old = [
        word
        for word in parse_overrides(stored.keep, stored.undo)
        if not any(word.contradicts(one) or (one.keep and word.keep and one.round == word.round) for one in new)
        or word in new
    ]
    said = list(dict.fromkeys([*old, *new]))
    return tuple(word.text for word in said if word.keep), tuple(word.text for word in said if not word.keep)
