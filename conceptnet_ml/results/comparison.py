"""What is said of two runs side by side: data, settings, accuracy, rounds and concepts, and what of it differs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from conceptnet_ml.graph.naming import listed
from conceptnet_ml.results.concept_matches import ConceptMatches
from conceptnet_ml.results.explain import OpenedRun
from conceptnet_ml.results.verdict import capital, percent

LEARNED = "learned"


@dataclass(frozen=True)
class ComparedFact:
    """A fact of both runs, in words; empty where a run has none."""

    name: str
    values: tuple[str, str]

    @property
    def differs(self) -> bool:
        """Whether the two say something else."""
        return self.values[0] != self.values[1]


@dataclass(frozen=True)
class Difference:
    """The second run's accuracy less the first's, with its 95 % interval.

    Args:
        value, low, high: Shares.
        won, lost: Images that only the second, and only the first run's network answers rightly; None where the answers
            are not paired.
    """

    value: float
    low: float
    high: float
    won: int | None = None
    lost: int | None = None

    @property
    def sign(self) -> int:
        """1 where the second run is better, -1 where the first is, 0 where it may be chance."""
        return (self.low > 0) - (self.high < 0)

    @property
    def how(self) -> str:
        """``paired`` or ``unpaired``."""
        return "unpaired" if self.won is None else "paired"


@dataclass(frozen=True)
class ComparedAccuracy:
    """A network of each run on a test set.

    Args:
        test_set, method: Their names; the method is ``ordinary``, ``learned`` or a control.
        images: How many images, 0 in a run that has no such test set.
        shares: The accuracies, None where a run has not measured it.
        intervals: Of 95 % (Wilson), None likewise.
        difference: None where there is none; ``why`` says why it is none, or not paired.
        groups: The names of each run's worst group, where the figures are of these; else None.
    """

    test_set: str
    method: str
    images: tuple[int, int]
    shares: tuple[float | None, float | None]
    intervals: tuple[tuple[float, float] | None, tuple[float, float] | None]
    difference: Difference | None
    why: str
    groups: tuple[str, str] | None = None


@dataclass(frozen=True)
class ComparedRound:
    """A round of each run by its name; None where a run has none of this name.

    Args:
        decisions: kept, undone or leaf.
        words: What was decided, as on the run's page, and of a kept round what is exchanged.
        representations: In which it was exchanged, or None.
    """

    name: str
    title: str
    decisions: tuple[str | None, str | None]
    words: tuple[str, str]
    representations: tuple[str | None, str | None]


@dataclass(frozen=True)
class Comparison:
    """What :meth:`LearnedRun.compare` says of two runs; a pair is of the first and the second.

    Args:
        names: What the runs are called here: as much of their paths as tells them apart.
        runs: The runs.
        same_network: Whether the learned networks are the same, bit for bit.
        facts: What they were made from: data, classes, images, seed, version.
        settings: Settings that differ.
        environment: Versions and machine, where they differ.
        accuracy: Every network on every test set.
        rounds: In the order of the runs.
        concepts: Which concepts the runs have in common.
        states: Where two states of one run are compared, which networks they are, in words; ``names`` are the states'.
    """

    names: tuple[str, str]
    runs: tuple[OpenedRun, OpenedRun]
    same_network: bool
    facts: tuple[ComparedFact, ...]
    settings: tuple[ComparedFact, ...]
    environment: tuple[ComparedFact, ...]
    accuracy: tuple[ComparedAccuracy, ...]
    rounds: tuple[ComparedRound, ...]
    concepts: ConceptMatches
    states: tuple[str, str] | None = None

    @property
    def headline(self) -> str:
        """The comparison in a sentence: on which test sets the second learned network is better, on which worse."""
        one, other = self.states or tuple(f"the learned network of {name}" for name in self.names)
        if self.same_network:
            which = "two networks" if self.states else "two learned networks"
            return f"The {which} are the same, bit for bit."
        rows = [row for row in self.accuracy if row.method == LEARNED and row.groups is None]
        known = [(row.test_set, row.difference) for row in rows if row.difference is not None]
        if not known:
            return "The figures of the two runs cannot be compared: they are not of the same data."
        parts = []
        for sign, word in ((1, "better"), (-1, "worse")):
            found = [f"{name} ({points(one.value)})" for name, one in known if one.sign == sign]
            parts += [f"{word} on {listed(found, 4)}"] if found else []
        rest = sum(one.sign == 0 for _, one in known)
        if not parts:
            sets = "the test set" if rest == 1 else f"all {rest} test sets"
            if self.states:
                return f"{capital(other)} and {one} differ on {sets} by no more than chance."
            return (
                f"The learned networks of {self.names[0]} and {self.names[1]} differ on {sets} by no more than chance."
            )
        chance = f"; on {rest} of {len(known)} test sets it may be chance" if rest else ""
        beside = one if self.states else f"that of {self.names[0]}"
        return f"{capital(other)}, beside {beside}, is {', '.join(parts)}{chance}."

    @property
    def notes(self) -> list[str]:
        """What must be known of the figures."""
        found = list(dict.fromkeys(row.why for row in self.accuracy if row.why))
        if any(row.difference for row in self.accuracy) and not self.same_network:
            found.append(
                "A difference and its interval of 95 % are about which images were asked; of twenty, one leaves zero "
                "out by chance."
                + ("" if self.states else " Another seed of the same run may differ by more: 'bench' makes several.")
            )
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON values."""

        def facts(some: tuple[ComparedFact, ...]) -> dict[str, list[str]]:
            return {one.name: list(one.values) for one in some}

        rows = []
        for row in self.accuracy:
            found = asdict(row)
            if row.difference is not None:
                found["difference"] |= {"how": row.difference.how, "sign": row.difference.sign}
            rows.append(found)
        return {
            "runs": [str(run.folder.path) for run in self.runs],
            "names": list(self.names),
            "states": self.states and list(self.states),
            "headline": self.headline,
            "same_network": self.same_network,
            "about": facts(self.facts),
            "settings": facts(self.settings),
            "environment": facts(self.environment),
            "accuracy": rows,
            "rounds": [asdict(one) for one in self.rounds],
            "concepts": self.concepts.plain(),
            "notes": self.notes,
        }


def points(share: float) -> str:
    """A difference of shares in points, with its sign: ``+12.0``."""
    return f"{100 * share:+.1f}".replace("-", "−")


def share_words(row: ComparedAccuracy, place: int) -> str:
    """``96.3 % (94–98)``; empty where a run has not measured it."""
    share, interval = row.shares[place], row.intervals[place]
    if share is None or interval is None:
        return ""
    return f"{percent(share, 1)} ({100 * interval[0]:.0f}–{100 * interval[1]:.0f})"


def difference_words(one: Difference | None) -> str:
    """``+12.0 [9.1, 14.8]``, in points; empty where there is none."""
    if one is None:
        return ""
    return f"{points(one.value)} [{points(one.low)}, {points(one.high)}]"
