"""Which concepts of two runs are the same: those that the same images bring up, at the same places.

Ids are made of units, and units of two trainings have nothing to do with one another, so ids tell concepts apart only
within one network. Here each feature and each generalized feature is looked at in the network it was found in, over the
held-out images that the runs keep. Two concepts of one kind, of the same classes and as far from the top are compared
by two correlations, both *within* the classes, for all that is about a class goes with it from one class to another:

- ``images``: of their scores, the mean of the strongest tenth of a map. It says nothing of a cue that is the same in
  every image of a class: what is left of the scores then is noise.
- ``places``: of their maps over all places of all images. It says little where both look at the object all over.

They are alike by the mean of the two, each at least 0. Each has one counterpart at most: those pairs whose sum is
highest are taken, of at least :data:`ALIKE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import ConceptNetError, DataError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.training import to_float
from conceptnet_ml.results.concept_targets import ConceptTargets, activation_maps
from conceptnet_ml.results.explain import OpenedRun
from conceptnet_ml.storage.hashing import digest

ALIKE = 0.4
"""How alike two concepts must be, of 1, to count as one (docs/decisions/0057)."""

GRID = 14
"""Places a side to which maps are pooled_maps before they are compared, at most."""

KINDS = ("generalized", "feature")

IN_STATES = (
    "alike: over {images} held-out images, how far a concept's units answer to the same images, at the same places, as "
    f"in the network it was found in (1 for the same); from {ALIKE:g} on a state has it. owed: by how much the lead of "
    "the right answer falls, in logits, where these units are replaced by their mean, on images of the concept's "
    "class. A generalized feature keeps the network it was found in, whatever the state."
)
"""The legend below concepts in two states of one run."""


class Likeness(NamedTuple):
    """How alike two concepts are: the two correlations, each in [-1, 1], as the head of this module says."""

    images: float
    places: float

    @property
    def mean(self) -> float:
        """In [0, 1]."""
        return (max(0.0, self.images) + max(0.0, self.places)) / 2


@dataclass(frozen=True)
class ConceptMatch:
    """A concept that both runs have.

    Args:
        nodes: In the first and in the second run's graph.
        likeness: None where they were matched by their id.
    """

    nodes: tuple[Node, Node]
    likeness: Likeness | None

    @property
    def words(self) -> str:
        """``0.87 (images 0.83, places 0.91)``."""
        if self.likeness is None:
            return "the same units"
        return f"{self.likeness.mean:.2f} (images {self.likeness.images:.2f}, places {self.likeness.places:.2f})"


@dataclass(frozen=True)
class ConceptInStates:
    """A concept of a run in two of its states.

    Args:
        has: Whether each has it.
        alike: How alike what its units answer to is to what they answered to where it was found; None for a generalized
            feature, which keeps its own network.
        effects: By how much, in logits, the lead of the right answer falls in each without it, on images of its class;
            None where it is not about the network's own answer.
    """

    node: Node
    has: tuple[bool, bool]
    alike: tuple[Likeness, Likeness] | None = None
    effects: tuple[float, float] | None = None

    @property
    def words(self) -> str:
        """``alike to what was found: A 1.00, B 0.08; without these units the right answer's lead falls by …``."""
        if self.alike is None:
            return "keeps the network it was found in"
        a, b = (one.mean for one in self.alike)
        says = f"alike to what was found: A {a:.2f}, B {b:.2f}"
        if self.effects is not None:
            a, b = self.effects
            says += f"; without these units the right answer's lead falls by A {a:.1f}, B {b:.1f} logits"
        return says.replace("-", "−")


@dataclass(frozen=True)
class ConceptMatches:
    """The concepts of two runs.

    Args:
        both: Those that both have, the most alike first.
        only: Those of the first run alone, and those of the second.
        images: Over how many images they were compared; 0 where they were not.
        notes: What could not be compared, and why.
        states: Where two states of one run are compared, every concept in both; those in neither are only here.
    """

    both: tuple[ConceptMatch, ...] = ()
    only: tuple[tuple[Node, ...], tuple[Node, ...]] = ((), ())
    images: int = 0
    notes: tuple[str, ...] = ()
    states: tuple[ConceptInStates, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether any two were: else ``only`` is what each run has, and says nothing of the other."""
        return bool(self.images or self.both)

    def words(self, node: Node) -> str:
        """What is known of a concept in two states of one run; empty where two runs are compared."""
        return next((one.words for one in self.states if one.node.id == node.id), "")

    def plain(self) -> dict[str, Any]:
        """As JSON values."""

        def node(one: Node) -> dict[str, Any]:
            return {
                "id": one.id,
                "kind": one.kind,
                "called": called(one),
                "classes": [*one.classes],
                "stage": one.stage,
            }

        both = []
        for each in self.both:
            alike = None if each.likeness is None else {**each.likeness._asdict(), "mean": each.likeness.mean}
            both.append({"nodes": [node(one) for one in each.nodes], "likeness": alike})
        only = [[node(one) for one in some] for some in self.only]
        found = {"compared": self.compared, "both": both, "only": only, "images": self.images, "notes": [*self.notes]}
        if self.states:
            found["states"] = [
                {
                    "node": node(one.node),
                    "has": [*one.has],
                    "alike": one.alike and [{**each._asdict(), "mean": each.mean} for each in one.alike],
                    "effects": one.effects and [*one.effects],
                }
                for one in self.states
            ]
        return found


def match_concepts(first: OpenedRun, second: OpenedRun, read: bool = False) -> ConceptMatches:
    """The concepts of two runs with the same classes; the rule is at the head of this module.

    What cannot be looked at (no held-out images, images of another size, a network that was not kept) is matched by its
    id, as in ``graph diff``. Without a graph there are none, and a note says so. Cost: some hundred images through each
    network in which concepts were found.

    Args:
        read: Read the data of a run that keeps no held-out images.
    """
    try:
        graphs = first.graph, second.graph
    except ConceptNetError as error:
        return ConceptMatches(notes=(f"{error.message}.",))
    nodes = [concept_nodes(graph) for graph in graphs]
    held, notes = _images(first, second, read)
    maps = [_maps(run, graph, held, notes) for run, graph in zip((first, second), graphs, strict=True)]
    gone = {node.id for node in graphs[0].diff(graphs[1]).nodes.removed}
    alike: dict[tuple[int, int], Likeness | None] = {}
    for (i, one), (j, other) in product(enumerate(nodes[0]), enumerate(nodes[1])):
        if not _comparable(graphs, one, other):
            continue
        if held is not None and one.id in maps[0] and other.id in maps[1]:
            alike[i, j] = likeness(maps[0][one.id], maps[1][other.id], held.labels)
        elif one.id == other.id and one.id not in gone:
            alike[i, j] = None
    sums = torch.zeros(len(nodes[0]), len(nodes[1]), dtype=torch.float64)
    for place, how in alike.items():
        sums[place] = 1.0 if how is None else how.mean
    found = zip(*linear_sum_assignment(-sums.numpy()), strict=True)
    pairs = [(int(i), int(j)) for i, j in found if sums[i, j] >= ALIKE]
    pairs.sort(key=lambda pair: -float(sums[pair]))
    both = [ConceptMatch((nodes[0][i], nodes[1][j]), alike[i, j]) for i, j in pairs]
    only = [
        tuple(node for place, node in enumerate(some) if place not in {pair[side] for pair in pairs})
        for side, some in enumerate(nodes)
    ]
    count = 0 if held is None else len(held)
    return ConceptMatches(tuple(both), (only[0], only[1]), count, tuple(dict.fromkeys(notes)))


def likeness(one: Tensor, other: Tensor, labels: Tensor) -> Likeness:
    """How alike two concepts are by their maps (N, h, w) of the same images, on grids of any two sizes."""
    scores = [unit_scores(maps[:, None])[:, 0] for maps in (one, other)]
    size = min(one.shape[1], other.shape[1]), min(one.shape[2], other.shape[2])
    small = [pooled_maps(maps, size) for maps in (one, other)]
    return Likeness(_within_classes(scores[0], scores[1], labels), _within_classes(small[0], small[1], labels))


def pooled_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, h, w) with at most so many places."""
    return adaptive_avg_pool2d(maps[:, None], (min(size[0], maps.shape[1]), min(size[1], maps.shape[2])))[:, 0]


def _within_classes(one: Tensor, other: Tensor, labels: Tensor) -> float:
    """The correlation of two tensors (N, …) after each class's mean is taken out; 0 where one is constant then."""
    rest = []
    for values in (one.double(), other.double()):
        left = torch.zeros_like(values)
        for number in labels.unique():
            left[labels == number] = values[labels == number] - values[labels == number].mean()
        rest.append(left.flatten())
    size = float(rest[0].norm() * rest[1].norm())
    return float(rest[0] @ rest[1]) / size if size > 1e-12 else 0.0


def concept_nodes(graph: ConceptGraph) -> list[Node]:
    """Those that stand, the strongest kinds first, in the order of their rounds."""
    nodes = [node for node in graph.nodes() if node.kind in KINDS and node.state not in ("merged", "forgotten")]
    return sorted(nodes, key=lambda node: (KINDS.index(node.kind), -graph.rank(node), node.round or 0, node.classes))


def _comparable(graphs: Sequence[ConceptGraph], one: Node, other: Node) -> bool:
    def place(graph: ConceptGraph, node: Node) -> tuple[Any, ...]:
        down = None if node.stage is None else len(graph.stages) - graph.stages.index(node.stage)
        return node.kind, {*node.classes}, down

    return place(graphs[0], one) == place(graphs[1], other)


def _images(first: OpenedRun, second: OpenedRun, read: bool) -> tuple[ImageSet | None, list[str]]:
    """The held-out images that the runs keep, once where they are the same; those of the first, read, where neither
    keeps any; None, and why, where there are none."""
    if tuple(first.classes) != tuple(second.classes):
        return None, ["The classes are in another order: concepts were compared by their ids alone."]
    some: list[ImageSet] = []
    why = ""
    for run in (first, second):
        try:
            some.append(run.held_out(read and not some))
        except ConceptNetError as error:
            why = why or f"{error.message}{'' if read else '; --answer reads its data'}"
    if not some:
        return None, [f"Concepts were compared by their ids alone: {why}."]
    if some[0].shape != some[-1].shape:
        return None, ["The images have another size: concepts were compared by their ids alone."]
    images = [(one.take(torch.arange(len(one))).cpu(), one.labels.cpu()) for one in some]
    if digest(*images[0]) == digest(*images[-1]):
        images = images[:1]
    return ImageSet(torch.cat([one for one, _ in images]), torch.cat([one for _, one in images])), []


def _maps(run: OpenedRun, graph: ConceptGraph, held: ImageSet | None, notes: list[str]) -> Mapping[str, Tensor]:
    """(N, h, w) of every concept that can be looked at, by its id; of others ``notes`` says why not."""
    if held is None:
        return {}
    targets, found = ConceptTargets(graph, run.model, run.networks_before()), {}
    parts = torch.arange(len(held)).split(run.settings.probe.batch)
    for node in concept_nodes(graph):
        try:
            target = targets.target(node)
        except DataError as error:
            notes.append(f"{run.folder.path.name}: {called(node)}: {error.message}.")
            continue
        if target.lost:
            notes.append(f"{run.folder.path.name}: {called(node)}: the run does not keep the network it was found in.")
            continue
        network = target.network.to(run.device)
        maps = []
        with torch.no_grad(), frozen(network):
            for part in parts:
                whole = network.run_until(to_float(held.take(part), run.device), str(target.layer)).float()
                maps.append(pooled_maps(activation_maps(target, whole), (GRID, GRID)).cpu())
        found[node.id] = torch.cat(maps)
    return found
