"""What is said of one picture: both networks' answers, the concepts in it, what an exchange does to the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from conceptnet_ml.drawing.masks import active
from conceptnet_ml.graph.naming import called, listed
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.results.familiarity import UNKNOWN, Familiarity
from conceptnet_ml.results.verdict import percent

NETWORKS = ("ordinary", "learned")

TYPICAL = 0.05
"""A score with at most this share of a class's images below it, or above it, is unusual for the class."""

PARTLY, MOST = 0.2, 0.75
"""How often other classes' material must change an answer, and by how much more often than its own class's does, for it
to be said; from how often on not only at times."""

FAILED, LARGE = 0.25, 0.2
"""From how often on the control, material of the answer's own class, changes it, too; from which share of the picture
on material may cover the object."""


APART = 0.2
"""The least part of the places where a concept is strongest that is told of by itself."""


@dataclass(frozen=True, eq=False)
class ConceptAnswer:
    """How a concept answers in a picture.

    Args:
        node: The concept.
        network: In which network, in words; below a feature also whose answer it is about there.
        score: Mean of the strongest tenth of its map.
        percentile: Share of all held-out images with a lower score.
        by_class: The same among those of each class.
        contribution: By how many logits the lead of ``answer`` falls without it; None where the run does not keep whose
            answer it is about.
        answer: What that network, or the family, says.
        excess: By how much its map's mean over all places exceeds that over the held-out images, to which its units are
            set for ``contribution``.
        says: What the variants of a generalized feature say; None of all else.
        unit_map: (h, w), of which the strongest tenth lies above ``cutoff``.
        size: (H, W) of the picture.
    """

    node: Node
    network: str
    score: float
    percentile: float
    by_class: Mapping[str, float]
    contribution: float | None
    answer: str
    excess: float
    says: str | None
    unit_map: Tensor
    size: tuple[int, int]

    @property
    def cutoff(self) -> float:
        """Between the places of the strongest tenth of its map, as :func:`unit_scores` counts them, and the others."""
        values = self.unit_map.flatten().sort(descending=True).values
        last = max(1, round(0.1 * len(values))) - 1
        return float(values[last : last + 2].mean())

    @property
    def strength(self) -> str:
        """``as in car``, ``stronger than in car and poodle``: the classes in which such a score is usual, or how it
        lies to all."""
        usual = [name for name, share in self.by_class.items() if TYPICAL <= share <= 1 - TYPICAL]
        if usual:
            return f"as in {listed(usual, 4)}"
        above = [name for name, share in self.by_class.items() if share > 0.5]
        below = [name for name in self.by_class if name not in above]
        parts = (("stronger than usual in", above), ("weaker than usual in", below))
        return ", ".join(f"{words} {listed(names, 4)}" for words, names in parts if names)

    @property
    def ranks(self) -> str:
        """``above 61 % of car, 100 % of poodle``; of many classes the highest and the lowest."""
        rows = sorted(self.by_class.items(), key=lambda row: -row[1])
        rows = rows if len(rows) <= 4 else [*rows[:2], *rows[-2:]]
        return "above " + ", ".join(f"{percent(share)} of {name}" for name, share in rows)

    @property
    def effect(self) -> str:
        """``+5.9 for car``, in logits; of a feature also whether it is stronger here or weaker than the mean that
        it is set to: a weak one can speak for another class."""
        if self.contribution is None:
            return "not known"
        how = (
            f", being {'stronger' if self.excess > 0 else 'weaker'} than on average"
            if self.node.kind == "feature"
            else ""
        )
        return f"{self.logits} for {self.answer}{how}"

    @property
    def logits(self) -> str:
        """``+5.9``: what it lends."""
        return f"{self.contribution or 0.0:+.1f}".replace("-", "−")

    @property
    def places(self) -> list[str]:
        """Where its strongest tenth lies, as it is outlined: ``["bottom left", "middle"]``, the middle of each region
        that has a part of it, the largest first. Empty where no place is stronger than others."""
        from scipy.ndimage import label  # takes a while to load

        regions, count = label(active(self.unit_map, self.cutoff, self.size))
        found = [(regions == number).nonzero() for number in range(1, count + 1)]
        least = APART * sum(len(rows) for rows, _ in found)
        large = sorted((one for one in found if len(one[0]) >= least), key=lambda one: -len(one[0]))
        return list(dict.fromkeys(_third(one, self.size) for one in large))

    @property
    def place(self) -> str:
        """The same in words, ``bottom left and middle``; where that is unusually weak for its own classes, that it
        is."""
        place = listed(self.places) or "nowhere more than elsewhere"
        weak = self.places and all(self.by_class.get(name, 1.0) < TYPICAL for name in self.node.classes)
        return f"weak here; most {place}" if weak else place

    def record(self) -> dict[str, Any]:
        """As plain values."""
        node = {"id": self.node.id, "kind": self.node.kind, "title": called(self.node), "stage": self.node.stage}
        strength = {"score": self.score, "percentile": self.percentile, "by_class": dict(self.by_class)}
        words = {"words": self.strength, "network": self.network, "place": self.place}
        answers = {"contribution": self.contribution, "excess": self.excess, "answer": self.answer, "says": self.says}
        return {**node, **strength, **words, **answers}


def _third(places: Sequence[Any], size: tuple[int, int]) -> str:
    """In which third of the picture, across and down, the middle of these places (rows, columns) lies."""
    thirds = [int(3 * (place.mean() + 0.5) / side) for place, side in zip(places, size, strict=True)]
    words = (("top", "", "bottom")[thirds[0]], ("left", "", "right")[thirds[1]])
    return " ".join(filter(None, words)) or "middle"


@dataclass(frozen=True, eq=False)
class DonorTrial:
    """What both networks say when material of some images of a class comes in.

    Args:
        name: The class; ``donors`` how many images.
        opened: Mean share of the picture that comes from them.
        answers: By network, how often it gives which answer.
        donor, swapped: The first of them, and the picture with its material, uint8 (3, H, W).
        gate: (1, h, w) the soft gate there, the picture's own joined with the donor's; None for the whole picture.
        seen: What each network sees in it.
    """

    name: str
    donors: int
    opened: float
    answers: Mapping[str, Mapping[str, int]]
    donor: Tensor
    swapped: Tensor
    gate: Tensor | None
    seen: Mapping[str, str]

    def said(self, network: str) -> str:
        """``poodle in 8 of 8``."""
        parts = [f"{name} in {count}" for name, count in self.answers[network].items()]
        return f"{listed(parts)} of {self.donors}"


@dataclass(frozen=True, eq=False)
class Exchange:
    """A picture through the exchange of a kept round.

    Args:
        round: The round's name; ``number`` its place in the run, from 1.
        what: What the round exchanges, in words.
        outside: Whether all but what the gate covers comes from the donors.
        answers: Each network's answer to the picture as it is.
        trials: One for each class of donors.
    """

    round: str
    number: int
    what: str
    outside: bool
    answers: Mapping[str, str]
    trials: Sequence[DonorTrial]

    def counted(self, network: str, own: bool) -> tuple[int, int, float]:
        """How often material of the network's own answer, or of other classes, changes it; of how many images; in what
        share of the picture."""
        trials = self._trials(network, own)
        donors = sum(one.donors for one in trials)
        stays = sum(one.answers[network].get(self.answers[network], 0) for one in trials)
        return donors - stays, donors, sum(one.donors * one.opened for one in trials) / max(1, donors)

    def _trials(self, network: str, own: bool) -> list[DonorTrial]:
        return [one for one in self.trials if (one.name == self.answers[network]) == own]

    def changed(self, network: str) -> tuple[float, float]:
        """How often other classes' material changes the network's answer, and how often its own class's does."""
        others, mates = ((count := self.counted(network, own))[0] / max(1, count[1]) for own in (False, True))
        return others, mates

    def turns(self, network: str) -> str:
        """``in 8 of 8``; where the control fails, how often that turns it, too."""
        (turned, donors, _), (left, kin, _) = (self.counted(network, which) for which in (False, True))
        fails = f" (with its own class's material in {left} of {kin})" if self.changed(network)[1] >= FAILED else ""
        return f"in {turned} of {donors}{fails}"

    def says(self, trials: Sequence[DonorTrial]) -> str:
        """What the material of images of some classes does to both answers, the same for each of these classes."""
        first, names, each = trials[0], listed([one.name for one in trials], 4), " each" if len(trials) > 1 else ""
        where = f"held-out images{each} of {names} in {percent(first.opened)} of the picture"
        one, two = (first.said(network) for network in NETWORKS)
        say = f"both networks say {one}" if one == two else f"the ordinary network says {one}, the learned one {two}"
        return f"With material of {first.donors} {where} {say}{each and ', each time'}."

    @property
    def conclusion(self) -> str:
        """What becomes of each network's answer, with how often, in how much of the picture, and the control."""
        words, before = list[str](), ("", "")
        for network in NETWORKS:
            names, opened = [one.name for one in self._trials(network, False)], self.counted(network, False)[2]
            where = f" in {percent(opened)} of the picture" if self.placed else ""
            material = f"With material of {listed(names, 4)}{where}, as round {self.number} exchanges it, "
            said = f"network {self._outcome(network)}"
            if (material, said) == before:
                words[-1] = f"{words[-1].removesuffix('.')}; the {network} network likewise."
                continue
            head = "The " if material == before[0] else f"{material}the "
            words.append(f"{head}{network} {said}.")
            before = material, said
        return " ".join(words)

    @property
    def placed(self) -> bool:
        """Whether material comes in through gates on places, and not into the whole picture."""
        return any(trial.gate is not None for trial in self.trials)

    def _outcome(self, network: str) -> str:
        own, (others, mates) = self.answers[network], self.changed(network)
        (turned, donors, opened), (left, kin, theirs) = (self.counted(network, which) for which in (False, True))
        if others < PARTLY:
            return f"says {own} all the same, in {donors - turned} of {donors}"
        if others - mates < PARTLY:
            said = f"leaves its {own} with any material, that of {own} too, which says little"
            return f"{said}: in {turned} of {donors}, and in {left} of {kin}"
        answers = sum((Counter(trial.answers[network]) for trial in self._trials(network, False)), Counter[str]())
        del answers[own]
        said = f"leaves its {own} at times, in {turned} of {donors}"
        if others >= MOST:
            said = f"says {answers.most_common(1)[0][0]} in place of {own} in {turned} of {donors}"
        if mates >= FAILED:
            needs = "what comes in there covers what it needs, which need not be a cue"
            return f"{said}, but material of its own class changes it, too, in {left} of {kin}: {needs}"
        control = f"material of {own}{f' in {percent(theirs)}' if self.placed else ''} changes it in {left} of {kin}"
        control = control if kin else f"no material of {own} was tried beside it"
        much = "; so much material may cover the object, too" if self.placed and opened >= LARGE else ""
        return f"{said}; {control}{much}"

    @property
    def sentences(self) -> list[str]:
        """What each class's material does, those together that do the same, and the conclusion; where no material
        changes any answer, that alone."""
        if not any(one.answers[name].keys() - {self.answers[name]} for one in self.trials for name in NETWORKS):
            names, count = listed([one.name for one in self.trials], 4), sum(one.donors for one in self.trials)
            before = listed(list(dict.fromkeys(self.answers.values())))
            stay = f"both networks answer {before} as before, in {count} of {count}"
            return [f"Material of {names} changes no answer: {stay}."]
        groups: dict[tuple[str, ...], list[DonorTrial]] = {}
        for one in self.trials:
            groups.setdefault((str(one.donors), percent(one.opened), *map(one.said, NETWORKS)), []).append(one)
        return [*map(self.says, groups.values()), self.conclusion]

    def record(self) -> dict[str, Any]:
        """As plain values."""
        trials = [
            {"class": one.name, "donors": one.donors, "open": one.opened, "answers": {**one.answers}}
            for one in self.trials
        ]
        head = {"round": self.round, "exchanges": self.what, "outside": self.outside}
        changed = {name: dict(zip(("others", "mates"), self.changed(name), strict=True)) for name in NETWORKS}
        return {**head, "trials": trials, "changed": changed, "conclusion": self.conclusion}


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a picture is answered as it is.

    Args:
        file: The picture's file.
        image: uint8 (3, H, W), as the networks see it.
        probabilities: By network, of every class, the most probable first.
        concepts: Those of the ordinary network first, by the size of what they contribute.
        exchanges: Of each kept round about the classes' own answers.
        left_out: What could not be computed from what the run keeps, and why.
        held_out: With how many held-out images it is compared.
        likeness: How like them it is; None where they are too few to tell by.
        is_one: Whether the learned network is the ordinary one, since nothing was kept.
    """

    file: str
    image: Tensor
    probabilities: Mapping[str, Mapping[str, float]]
    concepts: Sequence[ConceptAnswer]
    exchanges: Sequence[Exchange]
    left_out: Sequence[str]
    held_out: int
    likeness: Familiarity | None = None
    is_one: bool = False

    @property
    def networks(self) -> tuple[str, ...]:
        """Those that differ: ``ordinary`` alone where the learned one is the same."""
        return NETWORKS[:1] if self.is_one else NETWORKS

    @property
    def familiar(self) -> str:
        """How like the pictures that the network learned from it is, or that this is not known."""
        return UNKNOWN if self.likeness is None else self.likeness.words

    def answer(self, network: str) -> str:
        """The network's answer."""
        return next(iter(self.probabilities[network]))

    @property
    def lending(self) -> list[ConceptAnswer]:
        """The concepts of which it is known what they lend, by the size of it; last those that lend to what a family
        says, and not to a network's answer: their logits are others."""
        known = [one for one in self.concepts if one.contribution is not None]
        return sorted(known, key=lambda one: (", about family" in one.network, -abs(one.contribution or 0.0)))

    @property
    def why(self) -> list[str]:
        """For each network, on what its answer leans most, and what becomes of it where that is exchanged."""
        return [self._leans(network) for network in self.networks]

    def _leans(self, network: str) -> str:
        answer = self.answer(network)
        about = [one for one in self.lending if (one.network, one.answer) == (f"the {network} network", answer)]
        whose, most = (
            f"The {network} network's {answer}",
            max(about, key=lambda one: one.contribution or 0.0, default=None),
        )
        if most is None:
            return f"{whose}: no concept that was found in this network could be looked at."
        title = f"\u201c{called(most.node)}\u201d"
        if (most.contribution or 0.0) <= 0:
            return f"{whose} leans on none of the concepts found for it: each speaks against it, or lends nothing."
        if most.node.kind == "feature" and most.excess <= 0:
            words = f"{whose} leans most on {title} being weaker than on average ({most.logits})"
        else:
            where = listed([f"{'in' if one == 'middle' else 'at'} the {one}" for one in most.places])
            lies = f", which is strongest {where}" if where else ""
            words = f"{whose} leans most on {title} ({most.logits}){lies}"
        exchange = next((one for one in self.exchanges if one.round == most.node.found_in), None)
        if most.node.kind == "generalized" and exchange is not None:
            one, two = (exchange.turns(name) for name in NETWORKS)
            words += "; with other material, as its round exchanges it, "
            words += f"the ordinary network turns {one}, the learned one {two}"
        return f"{words}."

    @property
    def headline(self) -> str:
        """Both answers in one line."""
        one, two = ((name := self.answer(which), percent(self.probabilities[which][name])) for which in NETWORKS)
        if self.is_one:
            return f"Nothing was kept, so there is one network; it says {one[0]} with {one[1]}."
        if one[0] == two[0]:
            return f"Both networks say {one[0]}: the ordinary one with {one[1]}, the learned one with {two[1]}."
        return f"The ordinary network says {one[0]} ({one[1]}), the learned one {two[0]} ({two[1]})."

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "file": self.file,
            "probabilities": {name: dict(shares) for name, shares in self.probabilities.items()},
            "why": self.why,
            "concepts": [one.record() for one in self.concepts],
            "exchanges": [one.record() for one in self.exchanges],
            "left_out": list(self.left_out),
            "held_out": self.held_out,
            "likeness": None if self.likeness is None else self.likeness.record(),
        }
