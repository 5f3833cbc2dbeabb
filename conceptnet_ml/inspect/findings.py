"""What of an inspection could be a shortcut, or spoils the figures of a run, in words, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from conceptnet_ml.config.overrides import BORDER
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.inspect.near_duplicates import NearDuplicates
from conceptnet_ml.inspect.properties import PLACE, TINT
from conceptnet_ml.inspect.property_results import LEVELS, TRAIN, PropertyResult

UNEVEN = 2.0
"""How many times as many training images one class has, from which on balance is a finding."""

FEW = 8
"""Fewer training images of a class than 'learn' takes by itself."""


@dataclass(frozen=True)
class ShortcutFinding:
    """One finding.

    Args:
        about: The property's name, or ``balance``, ``duplicates``, ``unreadable files``.
        level: One of ``LEVELS``.
        text: What was measured and what it could do.
        follows: What may be done, as sentences.
        result: The property; None for what is none.
    """

    about: str
    level: str
    text: str
    follows: tuple[str, ...]
    result: PropertyResult | None = None

    @property
    def places(self) -> str:
        """Where it stands, as ``round.exchange`` names it; empty for what stands in no place of its own."""
        return "" if self.result is None else self.result.places


NOTHING = "Nothing that was measured tells the classes far enough to be a shortcut by itself"


def verdict_sentence(findings: Sequence[ShortcutFinding], classes: Sequence[str]) -> str:
    """All of it in a sentence: which property could be a shortcut first of all, and how far it gets; what else is to be
    looked at.

    Args:
        findings: The strongest first.
        classes: Their names.
    """
    properties = [one for one in findings if one.result is not None]
    others = list(dict.fromkeys(one.about for one in findings if one.result is None))
    said = f"{NOTHING}."
    if properties and (first := properties[0].result) is not None:
        name, count = first.about.name, len(properties)
        more = "" if count == 1 else f", and {count - 1} more propert{'ies' if count > 2 else 'y'}"
        share, chance = _percent(first.score.accuracy), _percent(1 / len(classes))
        said = f"{name[0].upper()}{name[1:]} could be a shortcut{more}: alone, {name} names {share} % of held-out "
        said += f"images rightly, where chance names {chance} %.{_turned(first, 1 / len(classes))}"
    return said + (f" Look also at: {', '.join(others)}." if others else "")


def why_no_property(results: Sequence[PropertyResult], classes: Sequence[str]) -> str:
    """Where no property could be a shortcut: which comes nearest, how far it gets, and what is asked. Else empty.

    Args:
        results: Every property, the strongest first.
        classes: Their names.
    """
    if any(one.level != "none" for one in results):
        return ""
    if not results:
        return f"{NOTHING}: all of it is the same in all images."
    best, asked = results[0], min(LEVELS.values())
    name, score, control = best.about.name, best.score, "" if best.control is None else ", above its control"
    return (
        f"{NOTHING}. {name[0].upper()}{name[1:]} comes nearest: alone it names {_percent(score.accuracy)} % of "
        f"held-out images rightly ({_percent(score.low)}–{_percent(score.high)}; chance {_percent(1 / len(classes))}). "
        f"It tells {classes[score.told]} with strength {score.strength:.2f}, at the lower end of its interval{control} "
        f"{best.beyond:.2f}, and {asked:.2f} is asked (0 is chance, 1 is always)."
    )


def list_findings(
    data: Data, results: Sequence[PropertyResult], duplicates: NearDuplicates, counts: Mapping[str, Mapping[str, int]]
) -> list[ShortcutFinding]:
    """Strong ones first.

    Args:
        data: The images.
        results: Every property, the strongest first.
        duplicates: Copies across classes and sets.
        counts: For each set how many images each class has.
    """
    found = [_of_property(one, data.classes) for one in results if one.level != "none"]
    found += _of_duplicates(duplicates, counts) + _of_balance(counts[TRAIN]) + _of_files(data)
    return sorted(found, key=lambda one: [*LEVELS].index(one.level))


def _of_property(one: PropertyResult, classes: Sequence[str]) -> ShortcutFinding:
    score, about = one.score, one.about
    told, chance = classes[score.told], 1 / len(classes)
    name = f"one place, {one.differs}," if about.name == PLACE else about.name
    text = f"{name[0].upper()}{name[1:]} alone names {_percent(score.accuracy)} % of held-out images rightly "
    text += f"({_percent(score.low)}–{_percent(score.high)}; chance {_percent(chance)}, shuffled labels "
    text += f"{_percent(score.shuffled)})"
    if one.control is not None:
        text += f"; it tells {told} with strength {score.strength:.2f}, {_CONTROL[about.name]} with {one.control:.2f}"
    if about.name == TINT:
        text += f". Beside the mean of the classes {one.differs}"
    elif about.name not in (PLACE, BORDER) and one.differs:
        text += f". Medians: {one.differs}" if about.unit else f". Most often: {one.differs}"
    others = classes[1 - score.told] if len(classes) == 2 else "the others"
    text += f". It could be a shortcut: a network might tell {told} from {others} by {about.cue}."
    if about.name == BORDER and one.places != BORDER:
        text += f" It may be no frame: {one.differs} reaches the edge, and nothing else there tells as much."
    text += _in_test(one, chance) + _turned(one, chance)
    return ShortcutFinding(about.name, one.level, text, _sentences(about.follows), one)


_CONTROL = {"border": "a ring further in", PLACE: "the middle one of all places"}


def _in_test(one: PropertyResult, chance: float) -> str:
    share = one.tests.get("test")
    if share is None:
        return ""
    if share - chance >= (one.score.accuracy - chance) / 2:
        return f" The test set has it, too (the rule names {_percent(share)} %): accuracy there would not show that."
    return (
        f" The test set has little of it or nothing (the rule names {_percent(share)} %): a network that rests on it "
        "fails there, so accuracy there would show that."
    )


def _turned(one: PropertyResult, chance: float) -> str:
    """The test set on which the rule is right far less often than by chance, after a full stop; else empty."""
    name = min(one.tests, key=one.tests.__getitem__, default="")
    if not name or one.tests[name] > chance / 2:
        return ""
    return (
        f" On '{name}' the same rule names {_percent(one.tests[name])} %, far below chance: there it goes with other "
        "classes, and a network that goes by it fails."
    )


def _of_duplicates(found: NearDuplicates, counts: Mapping[str, Mapping[str, int]]) -> list[ShortcutFinding]:
    findings = []
    if found.across:
        text = f"{found.across} training images have a near-duplicate under another class: one of the labels is wrong."
        findings.append(ShortcutFinding("duplicates", "some", text, ("Take them out, or correct their labels.",)))
    for name, (images, other) in found.leaked.items():
        if not images:
            continue
        of_all = sum(counts[name].values())
        text = f"{images} of {of_all} pictures of the test set '{name}' have a near-duplicate among the training images"
        text += f", {other} of them under another class" if other else ""
        text += ": accuracy there says less."
        level = "strong" if images >= 0.05 * of_all else "some"
        findings.append(ShortcutFinding("duplicates", level, text, ("Take them out of one of the two.",)))
    return findings


def _of_balance(counts: Mapping[str, int]) -> list[ShortcutFinding]:
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    findings = []
    if counts[most] >= UNEVEN * counts[least]:
        text = f"{most} has {counts[most]} training images, {least} {counts[least]}: a network that is in doubt "
        text += f"might answer {most}. Accuracy by class tells ('worst class' in 'evaluate')."
        follows = (
            f"Use as many of each: --set data.train_limit={max(FEW, counts[least])}.",
            f"Or add images of {least}.",
        )
        findings.append(ShortcutFinding("balance", "some", text, follows))
    if counts[least] < FEW:
        text = f"{least} has {counts[least]} training images: 'learn' takes no fewer than {FEW} by itself."
        findings.append(ShortcutFinding("balance", "some", text, (f"Add images of {least}, or leave the class out.",)))
    return findings


def _of_files(data: Data) -> list[ShortcutFinding]:
    if not data.unreadable:
        return []
    first = ", ".join(list(data.unreadable)[:3]) + (", …" if len(data.unreadable) > 3 else "")
    count = len(data.unreadable)
    text = f"{count} file{'s' * (count != 1)} cannot be read ({first}), and {'were' if count != 1 else 'was'} left out."
    follows = ("Replace them, or take them out; 'learn' leaves them out with --skip-bad.",)
    return [ShortcutFinding("unreadable files", "some", text, follows)]


def _sentences(follows: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{one[0].upper()}{one[1:]}." for one in follows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def class_counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """How many images each class has."""
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
