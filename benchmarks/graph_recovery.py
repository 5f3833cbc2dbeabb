"""Does a run's concept graph recover the hierarchy that was planted in its data?

A concept of the graph stands beside a planted feature in two ways: *where* its detector looks, against the true masks,
and *what* it answers when the planted feature is exchanged in the image, and nothing else. They are matched one to one
(Kuhn, 1955), only above what truths dealt to other images give; nodes and parent edges are then counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from conceptnet_ml.concepts.model import Family
from conceptnet_ml.data.ground_truth import PLACE, PlantedFeature, Truth
from conceptnet_ml.editing.plan import family_of
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation.localization import fit_to_masks, part_cells
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.network.training import predict_set, to_float
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import seeding

FOLLOWS = 0.5
"""A concept that is matched answers a planted feature's exchange more often than not."""

ROOT = "class"


@dataclass(frozen=True)
class Concept:
    """What is compared: a generalized feature or one of its variants, of the graph or planted.

    Args:
        name: For people, unique among those it stands with.
        kind: ``"place"``, or the name of the representation that holds it.
        owner: The generalized feature: a family's name, or a planted feature's.
        variant: The class whose variant it is; None for the feature itself.
        parent: Name of the concept it is made of the inside of; ``ROOT`` for none, a class then.
        level: 1 for what is made of the image itself.
    """

    name: str
    kind: str
    owner: str
    variant: int | None
    parent: str
    level: int = 1


@dataclass(frozen=True)
class Evidence:
    """What one family has to do with one planted feature, image by image.

    Args:
        looks: (N, 1, h, w) its detector's map of images as in training.
        cells: (N, 1, h, w) which cells of the stage belong to the planted feature's part, 0 or 1.
        labels: (N,) classes.
        shown: (N,) whose variant an image shows after the exchange; in part of the images still its own class's.
        before, after: (N,) the family's answers to the images as in training, and after the exchange.
    """

    looks: Tensor
    cells: Tensor
    labels: Tensor
    shown: Tensor
    before: Tensor
    after: Tensor

    def overlaps(self, order: Tensor, classes: int) -> Tensor:
        """(K,) intersection over union of the opened map and the true cells, dealt in this order of the images."""
        return torch.tensor(fit_to_masks(self.looks, self.cells[order], self.labels, classes)["overlaps"])

    def turns(self, order: Tensor, classes: int) -> Tensor:
        """(K, K): how often the answer turns to the column's class where the row's variant came in, less how often it
        does where, so the truth says, nothing was exchanged. Images answered rightly before; 0 where there are none."""
        right, claimed = self.before == self.labels, self.shown[order]
        table = torch.zeros(classes, classes)
        for came in range(classes):
            others = right & (self.labels != came)
            exchanged, left = others & (claimed == came), others & (claimed == self.labels)
            for answer in range(classes):
                turned = ((self.after == answer) & (self.before != answer)).double()
                table[came, answer] = _mean(turned[exchanged]) - _mean(turned[left])
        return table


def judge_hierarchy(run: LearnedRun, shuffles: int = 200) -> dict[str, Any]:
    """How much of the planted hierarchy a run's graph recovers, and how much by chance.

    The similarity of a concept and a planted feature of its kind is ``√(where · what)``: the overlap of the detector's
    map with the true masks, and how often the family's answer follows the exchange of the feature with all that is
    nested in it; between kinds it is 0. Variants are compared likewise, on the images of their class. A match counts if
    the two measures each exceed the 95 % quantile of what shuffled truths give this pair, and the answers follow more
    often than not. In a shuffled truth each image has the masks and the exchange of another image of its class.

    Args:
        run: A finished run on data with a truth.
        shuffles: Shuffled truths; one half sets the bounds, the other half is the control.

    Returns:
        Plain values: ``matches``, ``nodes`` and ``edges`` (counts, precision, recall), ``levels`` (recall by level),
        ``pairs`` (where, what, what chance stays under, and similarity of each concept and planted feature),
        ``shuffled`` (means over the control's truths), ``follow`` (of networks and families, each feature exchanged
        with what is nested in it and alone). A precision is None where there is nothing to be right.

    Raises:
        DataError: The data has no truth, or the graph speaks of a family the model does not have.

    Cost: each family over the test images once per planted feature, and ``shuffles`` comparisons of small tables.
    """
    data = run.images()
    if data.truth is None:
        raise DataError(
            f"{data.name} has no planted truth to judge a graph by.",
            "Use data whose maker planted its features, such as cars-and-poodles:tinted.",
        )
    truth, classes = data.truth, data.classes
    kinds = {name: _kind(run, name) for name in run.settings.plugins.representations}
    found, planted = concepts_of(run.graph, kinds), planted_concepts(truth, classes)
    seen = _Seen(truth, run)
    families = {name: family.to(run.device) for name, family in run.model.named_families()}
    missing = sorted({concept.owner for concept in found} - set(families))
    if missing:
        raise DataError(f"the model of {run.path} has no family '{missing[0]}'", "Run 'learn' again.")
    owners = list(dict.fromkeys(concept.owner for concept in found))
    evidence = {
        (owner, feature.name): seen.evidence(families[owner], feature) for owner in owners for feature in truth.features
    }
    judged = compare(found, planted, evidence, seen.labels, run.settings.seed, shuffles)
    networks: dict[str, nn.Module] = {"ordinary": run.ordinary.to(run.device), "learned": run.model.network}
    networks |= {f"family {name}": family for name, family in families.items()}
    return {**judged, "follow": {name: seen.follow(network) for name, network in networks.items()}}


def concepts_of(graph: ConceptGraph, kinds: Mapping[str, str]) -> list[Concept]:
    """The graph's generalized features, from the top, each followed by its variants.

    Args:
        graph: Of a run.
        kinds: ``"place"`` or its own name for every representation.
    """
    variants: dict[str, list[Any]] = {}
    for edge in graph.edges("specializes"):
        variants.setdefault(edge.target, []).append(graph.node(edge.source))
    whose = {variant.id: owner for owner, mine in variants.items() for variant in mine}
    # What an edit made has no round and no family to be judged by; what it made forgotten has none any more.
    still = [node for node in graph.nodes("generalized") if node.round is not None and node.state is None]
    ordered = sorted(still, key=lambda node: (-graph.rank(node), node.round or 0, node.id))
    found: list[Concept] = []
    names: dict[str, str] = {}
    levels: dict[str, int] = {}
    for node in ordered:
        mine = sorted(variants.get(node.id, ()), key=lambda variant: graph.classes.index(variant.classes[0]))
        above = next((variant.parent for variant in mine if variant.parent), None)
        parent, prefix, level = ROOT, "", 1
        if above in whose:
            parent, level = names[whose[above]], levels[whose[above]] + 1
            prefix = f"{parent}."
        elif above is not None:
            # Below a stage that found nothing but the object: as its family is named by the learner.
            parent, level = graph.node(above).label, 2
            prefix = f"{graph.node(above).stage}.leaf."
        name, kind = (
            family_of(node) or f"{prefix}{node.stage}.{node.round}",
            kinds.get(getattr(node, "representation", "") or "", ""),
        )
        names[node.id], levels[node.id] = name, level
        found.append(Concept(name, kind, name, None, parent, level))
        for variant in mine:
            class_ = variant.classes[0]
            if variant.parent in whose:
                over = graph.node(variant.parent)
                upper = f"{names[whose[variant.parent]]} in {over.classes[0]}"
            else:
                upper = f"{ROOT} {class_}" if variant.parent is None else graph.node(variant.parent).label
            found.append(Concept(f"{name} in {class_}", kind, name, graph.classes.index(class_), upper, level))
    return found


def planted_concepts(truth: Truth, classes: Sequence[str]) -> list[Concept]:
    """The planted features, each followed by its variants."""
    planted = []
    for feature in truth.features:
        level = truth.level(feature.name)
        planted.append(Concept(feature.name, feature.kind, feature.name, None, feature.parent or ROOT, level))
        for place, class_ in enumerate(classes):
            above = f"{feature.parent} in {class_}" if feature.parent else f"{ROOT} {class_}"
            name = f"{feature.name} in {class_}"
            planted.append(Concept(name, feature.kind, feature.name, place, above, level))
    return planted


def compare(
    found: Sequence[Concept],
    planted: Sequence[Concept],
    evidence: Mapping[tuple[str, str], Evidence],
    labels: Tensor,
    seed: int,
    shuffles: int,
) -> dict[str, Any]:
    """Match, count, and count again under shuffled truths; see :func:`judge_hierarchy`.

    Args:
        found, planted: Concepts of the graph and of the truth.
        evidence: For each owner of ``found`` and each owner of ``planted``.
        labels: (N,) classes of the images of the evidence.
        seed: Of the shuffles.
        shuffles: How many.
    """
    count = int(labels.max()) + 1
    true = _tables(found, planted, evidence, torch.arange(len(labels)), count)
    dealt = [
        _tables(found, planted, evidence, _within_classes(labels, seeding.seed_for(seed, "shuffled truth", n)), count)
        for n in range(shuffles)
    ]
    chance = torch.stack(dealt[::2]).quantile(0.95, dim=0) if dealt and found else torch.zeros_like(true)
    same = torch.zeros(len(found), len(planted), dtype=torch.bool)
    for i, mine in enumerate(found):
        same[i] = torch.tensor([mine.kind == other.kind for other in planted])
    matches = assign(true, chance, same)
    control = [score(found, planted, assign(table, chance, same)) for table in dealt[1::2]]
    return {
        "matches": {found[i].name: planted[j].name for i, j in sorted(matches.items())},
        **score(found, planted, matches),
        "pairs": [
            {
                "found": mine.name,
                "planted": other.name,
                "same_kind": bool(same[i, j]),
                "where": float(true[0, i, j]),
                "what": float(true[1, i, j]),
                "where_chance": float(chance[0, i, j]),
                "what_chance": float(chance[1, i, j]),
                "similarity": float(similarity(true, same)[i, j]),
            }
            for i, mine in enumerate(found)
            for j, other in enumerate(planted)
            if (mine.variant is None) == (other.variant is None)
        ],
        "shuffled": {
            part: {rate: _mean_known([one[part][rate] for one in control]) for rate in ("precision", "recall")}
            for part in ("nodes", "edges")
        },
    }


def similarity(table: Tensor, same: Tensor) -> Tensor:
    """``√(where · what)`` of (2, found, planted), 0 where the kinds are not the ``same`` (found, planted)."""
    return same * table.clamp_min(0).prod(0).sqrt()


def assign(table: Tensor, chance: Tensor, same: Tensor) -> dict[int, int]:
    """One-to-one matches with the greatest summed similarity; only those that count: rows to columns.

    Args:
        table: (2, found, planted): where, and what.
        chance: The same shape: what a match must exceed in both.
        same: (found, planted), whether the kinds are the same.
    """
    rows, columns = linear_sum_assignment(similarity(table, same).numpy(), maximize=True)
    counts = same & (table > chance).all(0) & (table[1] >= FOLLOWS)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if counts[i, j]}


def score(found: Sequence[Concept], planted: Sequence[Concept], matches: Mapping[int, int]) -> dict[str, Any]:
    """Precision and recall of nodes and of parent edges, and recall by level.

    Every concept has one edge, to its parent or its class. It is right if the concept is matched and its parent is what
    the planted parent is matched with, or both have the same class for a parent.
    """
    true = {found[i].name: planted[j].name for i, j in matches.items()}
    edges = 0
    for i, j in matches.items():
        mine, wanted = found[i].parent, planted[j].parent
        edges += mine == wanted if wanted.split(" ")[0] == ROOT else true.get(mine) == wanted
    levels = {}
    for level in sorted({concept.level for concept in planted}):
        members = [j for j, concept in enumerate(planted) if concept.level == level]
        levels[str(level)] = sum(j in matches.values() for j in members) / len(members)
    return {
        "nodes": _rates(len(matches), len(found), len(planted)),
        "edges": _rates(edges, len(found), len(planted)),
        "levels": levels,
    }


class _Seen:
    """The test images as in training and under exchanges, and what networks answer to them."""

    def __init__(self, truth: Truth, run: LearnedRun) -> None:
        self.truth, self.device, self.dtype, self.seed = truth, run.device, run.dtype, run.settings.seed
        self.images = truth.draw({})
        self.labels = self.images.labels

    def evidence(self, family: Family, feature: PlantedFeature) -> Evidence:
        """With the feature exchanged, and all that is nested in it, in about half of the images."""
        draw = seeding.generator(seeding.seed_for(self.seed, "exchanged", feature.name))
        chosen = torch.rand(len(self.labels), generator=draw) < 0.5
        shown = torch.where(chosen, self._others(feature.name), self.labels)
        looks = self._looks(family)
        numbers, size = torch.arange(len(self.labels)), (looks.shape[2], looks.shape[3])
        cells = part_cells(self.images.masks, feature.parts, numbers, self.labels, size)
        after = self._answers(family, dict.fromkeys(self.truth.nested(feature.name), shown))
        return Evidence(looks, cells, self.labels, shown, self._answers(family, {}), after)

    def follow(self, network: nn.Module) -> dict[str, float]:
        """Per feature, how often a right answer turns to the class whose variant comes in, with what is nested in it
        and, where there is such, alone."""
        before = self._answers(network, {})
        right, found = before == self.labels, {}
        for feature in self.truth.features:
            shown, nested = self._others(feature.name), self.truth.nested(feature.name)
            for name, parts in ((feature.name, nested), (f"{feature.name} alone", [feature.name])):
                if name == feature.name or len(nested) > 1:
                    after = self._answers(network, dict.fromkeys(parts, shown))
                    found[name] = _mean((after == shown)[right].double())
        return found

    def _others(self, feature: str) -> Tensor:
        """(N,) another class for each image, drawn uniformly."""
        draw = seeding.generator(seeding.seed_for(self.seed, "another class", feature))
        count = self.truth.classes
        return (self.labels + torch.randint(1, count, (len(self.labels),), generator=draw)) % count

    def _answers(self, network: nn.Module, shown: Mapping[str, Tensor]) -> Tensor:
        return predict_set(network, self.truth.draw(shown), self.device, self.dtype).argmax(1)

    @torch.no_grad()
    def _looks(self, family: Family) -> Tensor:
        parts = torch.arange(len(self.labels)).split(256)
        maps = (family.trunk(to_float(self.images.take(part), self.device)).float() for part in parts)
        return torch.cat([family.detector(each).cpu() for each in maps])


def _tables(
    found: Sequence[Concept],
    planted: Sequence[Concept],
    evidence: Mapping[tuple[str, str], Evidence],
    order: Tensor,
    classes: int,
) -> Tensor:
    """(2, found, planted): where, and what; 0 between a feature and a variant."""
    known = {pair: (one.overlaps(order, classes), one.turns(order, classes)) for pair, one in evidence.items()}
    table = torch.zeros(2, len(found), len(planted))
    for i, mine in enumerate(found):
        for j, true in enumerate(planted):
            if (mine.variant is None) != (true.variant is None):
                continue
            overlaps, turns = known[mine.owner, true.owner]
            if mine.variant is None or true.variant is None:
                table[0, i, j], table[1, i, j] = overlaps.mean(), turns.diagonal().mean()
            else:
                table[0, i, j], table[1, i, j] = overlaps[true.variant], turns[true.variant, mine.variant]
    return table


def _within_classes(labels: Tensor, seed: int) -> Tensor:
    """(N,) a random order of the images in which each place goes to an image of the same class."""
    generator, order = seeding.generator(seed), torch.arange(len(labels))
    for c in labels.unique():
        mine = torch.nonzero(labels == c).flatten()
        order[mine] = mine[torch.randperm(len(mine), generator=generator)]
    return order


def _kind(run: LearnedRun, representation: str) -> str:
    record = run.plugins.get("representation", representation)
    return PLACE if getattr(record, "gate", "") == "place" else representation


def _rates(right: int, found: int, planted: int) -> dict[str, Any]:
    return {
        "right": right,
        "found": found,
        "planted": planted,
        "precision": right / found if found else None,
        "recall": right / planted if planted else None,
    }


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
