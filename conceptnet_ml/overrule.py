"""What the user decides about a round, whatever the rule says: words like ``block3/classes/2`` to keep or to undo.

Words come from the settings ``round.keep`` and ``round.undo``, from the flags ``--keep`` and ``--undo``, and from a
run's graph.json whose decisions were changed by hand. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError, nearest
from conceptnet_ml.settings import RoundSettings, Settings

if TYPE_CHECKING:
    from conceptnet_ml.decisions import Decision
    from conceptnet_ml.graph_records import Judged as JudgedNode
    from conceptnet_ml.lower import Taught
    from conceptnet_ml.runs import Run
    from conceptnet_ml.steps.generalize import Trained
    from conceptnet_ml.steps.probe import Judged
    from conceptnet_ml.stories import Story

    Trial = TypeVar("Trial", Trained, Taught)

EXAMPLE = "Write STAGE/PARENTS/NUMBER as the summary prints it, as in block3/classes/2 or block3/classes/2/pixels."
_VERBS = {True: "keep", False: "undo"}


@dataclass(frozen=True)
class Word:
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

    def contradicts(self, other: Word) -> bool:
        """Whether both cannot be done."""
        if self.round != other.round:
            return False
        if self.keep and other.keep:
            named = {self.representation, other.representation} - {None}
            return len(named) > 1
        kept, undone = (self, other) if self.keep else (other, self)
        return kept.keep != undone.keep and undone.representation in (None, kept.representation)


# ---------------------------------------------------------------------------------------------- what was given


def parse(text: str, keep: bool) -> Word:
    """``"block3/classes/2/pixels"`` as a word.

    Raises:
        SettingsError: It is not the name of a round.
    """
    parts = text.strip().split("/")
    representation = None if parts[-1].isdecimal() else parts.pop()
    if len(parts) < 3 or not all(parts) or not parts[-1].isdecimal() or int(parts[-1]) < 1 or representation == "":
        raise SettingsError(f"--{_VERBS[keep]} {text}: this is not the name of a round", EXAMPLE)
    return Word(keep, "/".join(parts[:-2]), parts[-2], int(parts[-1]), representation)


def words(keep: Sequence[str], undo: Sequence[str]) -> list[Word]:
    """All words, checked against each other.

    Raises:
        SettingsError: One is not the name of a round, or two contradict each other.
    """
    found = [parse(text, True) for text in keep] + [parse(text, False) for text in undo]
    for place, one in enumerate(found):
        for other in found[:place]:
            if one.contradicts(other):
                raise SettingsError(f"{other} and {one} contradict each other", "Leave one of them out.")
    return found


def check(settings: Settings, stages: Sequence[str]) -> None:
    """Refuse words about rounds that this run cannot have.

    Args:
        settings: Depth, round limit and representations decide which rounds there can be.
        stages: Names of the network's stages, from the image upwards.

    Raises:
        SettingsError: No such stage or representation, a stage or round beyond the depth or the limit, or a
            contradiction.
    """
    order = [*reversed(stages)]
    for word in words(settings.round.keep, settings.round.undo):
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


def _check_parents(word: Word, order: list[str], place: int) -> None:
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
        SettingsError: As :func:`words`, for the new ones.
    """
    new = words(keep, undo)
    old = [
        word
        for word in words(stored.keep, stored.undo)
        if not any(word.contradicts(one) or (one.keep and word.keep and one.round == word.round) for one in new)
        or word in new
    ]
    said = list(dict.fromkeys([*old, *new]))
    return tuple(word.text for word in said if word.keep), tuple(word.text for word in said if not word.keep)


def edits(run: Run) -> tuple[list[str], list[str]]:
    """What was changed by hand in the decisions of a run's graph.json, as words to keep and to undo.

    A feature, generalized feature or variant whose decision is now ``kept`` and was not: its round is to be kept, in
    the representation that stands at the node; one that was kept and is no longer: its round is to be undone. One
    changed node speaks for its whole round. The run's summary says what was decided.

    Raises:
        DataError: The graph cannot be read.
        GraphError: It breaks an invariant.
        SettingsError: Two nodes of a round were changed to different representations.
    """
    if not (run.path / "graph.json").exists() or not (run.path / "summary.json").exists():
        return [], []
    from conceptnet_ml.graph import GraphError

    path = run.path / "graph.json"
    try:
        graph = run.graph()
        if problems := graph.check():
            raise GraphError(f"{path}: {problems[0]}")
    except ConceptNetError as error:
        mend = f"Mend it; or delete it, and learn --resume {run.path} writes it anew."
        raise type(error)(error.message, mend) from error
    decided = {entry["name"]: entry["decision"] for entry in run.summary()["rounds"]}
    labels = {f"{who} in {name}": name for name in decided for who in (*graph.classes, "what is exchanged")}
    found: set[Word] = set()
    for node in graph.nodes():
        name = labels.get(node.label)
        if name is None or node.kind not in ("feature", "generalized", "variant"):
            continue
        word = _edited(node, name, decided[name], str(path))  # type: ignore[arg-type]
        found |= {word} if word is not None else set()
    keep = sorted(word.text for word in found if word.keep)
    undo = sorted(word.text for word in found if not word.keep)
    words(keep, undo)
    return keep, undo


def _edited(node: JudgedNode, name: str, decided: str, path: str) -> Word | None:
    if node.decision is None:
        raise DataError(f"{path}: {node.kind} '{node.label}' has no decision", "Write kept, undone or leaf.")
    if (node.decision == "kept") == (decided == "kept"):
        return None
    if node.decision == "kept" and node.representation is not None:
        return parse(f"{name}/{node.representation}", True)
    return parse(name, node.decision == "kept")


# ---------------------------------------------------------------------------------------------- during a run


@dataclass
class Overruler:
    """The user's words at work: asked by the learner wherever the rule decides.

    Args:
        settings: With the words, and the weight of errors by which representations are compared.

    Attributes:
        said: By round, every decision that was overruled: who decided what, and what the rule would have said.

    Raises:
        SettingsError: As :func:`words`.
    """

    settings: RoundSettings
    said: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._words = words(self.settings.keep, self.settings.undo)
        self._insisted: set[tuple[str, str]] = set()
        self._overruled: list[tuple[str, str, str, bool]] = []

    @property
    def basis(self) -> str:
        """Fingerprint of the decisions overruled so far, empty where there are none.

        All else that a step rests on follows from the run's settings and the rule. So a step that was recorded on
        another basis is computed anew, and one recorded on the same basis is not.
        """
        if not self._overruled:
            return ""
        return hashlib.sha256(json.dumps(self._overruled).encode()).hexdigest()[:16]

    def before(self, name: str, judged: Judged, tried: Sequence[str]) -> Judged:
        """A representation's probe, with the user's decision in place of the rule's before training.

        Args:
            name: The round.
            judged: The probe and what the rule says.
            tried: The representations of this round: one that the user names and that is not among them says nothing.
        """
        representation = judged.measured.representation
        named = [word.representation for word in self._about(name, True) if word.representation in tried]
        if any(word.representation in (None, representation) for word in self._about(name, False)):
            decision = self._decide(name, representation, judged.decision, False, "undo it")
        elif representation in named:
            decision = self._decide(name, representation, judged.decision, True, "keep it")
        elif named and judged.decision.keep:
            decision = self._decide(name, representation, judged.decision, False, f"take {named[0]}")
        elif judged.decision.keep and any(word.representation is None for word in self._about(name, True)):
            decision = self._decide(name, representation, judged.decision, True, "keep it")
        else:
            decision = judged.decision
        return replace(judged, decision=decision)

    def insisted(self, name: str, judged: list[Judged]) -> Judged | None:
        """Where the rule kept nothing in a round that the user keeps: its best representation, place-gated if one is.

        The best is the one that came nearest to being kept. It takes its old place in ``judged`` with the user's
        decision. None where the user said nothing, or named a representation.
        """
        asked = {word.representation for word in self._about(name, True)}
        if asked != {None}:
            return None
        undone = {word.representation for word in self._about(name, False)}
        able = [one for one in judged if one.measured.representation not in undone]
        if not able:
            return None
        best = max(able, key=self._nearness)
        representation = best.measured.representation
        self._insisted.add((name, representation))
        if best.decision.keep:
            return best  # the rule undid it after training
        decision = self._decide(name, representation, best.decision, True, "keep it")
        place = judged.index(best)
        judged[place] = replace(best, decision=decision)
        return judged[place]

    def refused(self, name: str, judged: list[Judged]) -> Judged | None:
        """The first representation of a round that the rule would have trained and the user undid."""
        undone = [representation for round_, representation, _, kept in self._overruled if round_ == name and not kept]
        return next((one for one in judged if one.measured.representation in undone), None)

    def after(self, name: str, representation: str, trial: Trial) -> Trial:
        """A trained round, or a family taught anew, with the user's decision in place of the rule's."""
        asked = any(word.representation == representation for word in self._about(name, True))
        if trial.decision.keep or not (asked or (name, representation) in self._insisted):
            return trial
        decision = self._decide(name, representation, trial.decision, True, "keep it", type(trial).__name__)
        return replace(trial, decision=decision)

    def notes(self, stories: Sequence[Story]) -> list[str]:
        """Sentences for the summary: words that had nothing to do."""
        tried = {story.name: [one.measured.representation for one in story.judged] for story in stories}
        found = []
        for word in self._words:
            if word.round not in tried:
                found.append(f"{word}: there was no such round")
            elif word.representation is not None and word.representation not in tried[word.round]:
                found.append(f"{word}: {word.representation} was not tried in this round")
        return found

    def _about(self, name: str, keep: bool) -> list[Word]:
        return [word for word in self._words if word.round == name and word.keep == keep]

    def _nearness(self, judged: Judged) -> tuple[bool, float]:
        measured = judged.measured
        if measured.gate == "place":
            return True, measured.separable(self.settings.imperfection)
        return False, measured.contrast

    def _decide(
        self, name: str, representation: str, rule: Decision, keep: bool, what: str, when: str = ""
    ) -> Decision:
        if rule.keep == keep:
            return replace(rule, reason=f"{rule.reason}; the user says so too")
        would = "keep it" if rule.keep else "undo it" if when else "refuse it"
        reason = f"the user decided to {what}; the rule would {would}: {rule.reason}"
        self._overruled.append((name, representation, when, keep))
        self.said.setdefault(name, []).append(f"{representation}: {reason}")
        return replace(rule, keep=keep, reason=reason)
