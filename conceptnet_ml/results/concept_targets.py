"""What a node of the concept graph is dreamed of by: an objective, and the network it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.model import Family, GeneralizedModel
from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.dreams.objectives import Objective
from conceptnet_ml.editing.plan import family_of
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.basis import BasisNetwork, Network, without_basis
from conceptnet_ml.network.staged_network import StagedNetwork

LEARNED = "the learned network"


@dataclass(frozen=True, eq=False)
class ConceptTarget:
    """An objective in a network.

    Args:
        objective: What to maximize.
        network: Where: the network the concept was found in, or the learned one.
        layer: Whose maps show where a concept is active; None for a class.
        round: The name of the round that started from this network; None for the learned one.
        lost: The run does not keep the network the concept was found in, so this is the learned one.
    """

    objective: Objective
    network: Network
    layer: str | None = None
    round: str | None = None
    lost: bool = False

    @property
    def where(self) -> str:
        """Which network it is, in words."""
        return LEARNED if self.round is None else f"the network before round {self.round}"


class ConceptTargets:
    """The targets of a run's nodes.

    A class is its logit, a unit the mean of its map, a feature the mean of its units' maps, a generalized feature its
    detector's score, a variant its response. A class is sought in the learned network, all else in the network as it
    was when it was found: the learned one was trained to do without what was exchanged, and its units mean other
    things.

    Args:
        before: The network that each round started from, by the round's name.
        learned: Seek units and features in the learned network all the same. Families keep their trunk.
    """

    def __init__(
        self,
        graph: ConceptGraph,
        model: GeneralizedModel,
        before: Mapping[str, StagedNetwork] = MappingProxyType({}),
        learned: bool = False,
    ) -> None:
        self.graph, self.model, self.before, self.learned = graph, model, before, learned
        self._families = dict(model.named_families())
        self._described: dict[tuple[int, str], BasisNetwork] = {}
        self._of_before = not any(node.found_in for node in graph.nodes())

    def target(self, node: Node) -> ConceptTarget:
        """The target of a node.

        Raises:
            DataError: The run keeps no such family, or no directions of its stage.
        """
        if node.kind == "class":
            objective = Objective.logit(self.graph.classes.index(node.label), node.title)
            return ConceptTarget(objective, self.model.network)
        assert node.stage is not None
        round = self.found_in(node)
        if node.kind in ("unit", "feature"):
            found = self.model.network if round is None or self.learned else self.before.get(round)
            if found is None or found is self.model.network:
                return self.in_network(node, self.model.network, None, lost=found is None)
            return self.in_network(node, found, round)
        family = self._family(node)
        network = cast(Network, family.trunk.network)
        if node.kind == "generalized":
            module, column = DetectorScore(family, network, node.stage), 0
        else:
            module = VariantResponses(family, network, node.stage)
            column = self.graph.classes.index(node.classes[0])
        return ConceptTarget(Objective.module(node.stage, module, column, node.title), network, node.stage, round)

    def target_after(self, node: Node) -> ConceptTarget | None:
        """Of a feature of a kept round, the same objective in the learned network, which was trained to do without it;
        None for all else, and where :meth:`target` is of the learned network already."""
        if node.kind != "feature" or getattr(node, "decision", None) != "kept":
            return None
        if without_basis(self.target(node).network) is self.model.network:
            return None
        return self.in_network(node, self.model.network, None)

    def found_in(self, node: Node) -> str | None:
        """The name of the round that found a node, None for what an edit made. In a graph of before it is in the label,
        and a unit's is that of the first feature that is built from it."""
        if not self._of_before or node.found_in or self.graph.edges("became", target=node.id):
            return node.found_in
        if node.kind == "unit":
            features = [self.graph.node(edge.source) for edge in self.graph.edges("built_from", target=node.id)]
            found = [self.found_in(one) for one in features if one.kind not in ("class", "unit")]
            return next((one for one in found if one is not None), None)
        name = node.label.rpartition(" in ")[2]
        return name if name.count("/") == 2 else None

    def in_network(
        self, node: Node, network: StagedNetwork, round: str | None = None, lost: bool = False
    ) -> ConceptTarget:
        """A unit or a feature in any network of the run, in the stage's directions where the graph's units are
        directions. Raises DataError where the run does not keep these."""
        assert node.stage is not None
        described = self._described_at(network, node.stage)
        if node.kind == "unit":
            objective = Objective.unit(node.stage, node.units[0], node.title)
        else:
            channels = network.stage(node.stage).units
            if isinstance(described, BasisNetwork):  # directions come first, then what they leave out of the units
                channels += described.widths[node.stage]
            objective = Objective.feature(node.stage, dict.fromkeys(node.units, 1), channels, node.title)
        return ConceptTarget(objective, described, node.stage, round, lost)

    def _described_at(self, network: StagedNetwork, stage: str) -> Network:
        if next(one for one in self.graph.header.stages if one.name == stage).directions is None:
            return network
        for family in self._families.values():
            trunk = family.trunk.network
            if isinstance(trunk, BasisNetwork) and stage in trunk.bases:
                key = (id(network), stage)
                return self._described.setdefault(key, BasisNetwork(network, {stage: trunk.bases[stage]}))
        raise DataError(
            f"the run keeps no directions of stage {stage}: no family was found there",
            f"Dream of its units instead: --layer {stage} --units 0.",
        )

    def _family(self, node: Node) -> Family:
        owner = node
        if node.kind == "variant":
            edges = [edge for edge in self.graph.edges("specializes") if edge.source == node.id]
            owner = self.graph.node(edges[0].target) if edges else node
        name = family_of(owner)
        if name is None or name not in self._families:
            raise DataError(
                f"{node.kind} '{node.title}' has no family in the run's model",
                "It was made or forgotten by an edit; dream of its members instead.",
            )
        return self._families[name]


class DetectorScore(nn.Module):
    """A family's detector's score, the mean over its strongest tenth of places: maps (B, C, h, w) to (B, 1)."""

    dream_key = "<class 'conceptnet_ml.dreams.nodes.Looks'>"  # the class's first name: dreams are stored under it

    def __init__(self, family: Family, network: Network, stage: str) -> None:
        super().__init__()
        self.detector = family.detector
        self.width = network.widths.get(stage) if isinstance(network, BasisNetwork) else None

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the stage, or their description by directions."""
        return unit_scores(self.detector_map(maps))

    def detector_map(self, maps: Tensor) -> Tensor:
        """The detector's logits, (B, 1, h, w)."""
        return self.detector(maps[:, : self.width].float())


class VariantResponses(DetectorScore):
    """The responses of a family's variants: maps (B, C, h, w) to (B, parents)."""

    dream_key = "<class 'conceptnet_ml.dreams.nodes.Responses'>"

    def __init__(self, family: Family, network: Network, stage: str) -> None:
        super().__init__(family, network, stage)
        self.variants = family.variants

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the stage, or their description by directions."""
        maps = maps[:, : self.width].float()
        return self.variants(maps, self.detector(maps))


@torch.no_grad()
def activation_maps(target: ConceptTarget, maps: Tensor) -> Tensor:
    """Where a concept is active: (N, h, w) from its layer's maps (N, C, h, w), or a class's (N,) from logits (N, K).

    A unit's map, a feature's weighted sum of maps, a detector's logits; of a variant, its family's detector's.
    """
    (term,) = target.objective.terms
    if isinstance(term.module, DetectorScore):
        return term.module.detector_map(maps)[:, 0]
    if isinstance(term.vector, int):
        return maps[:, term.vector]
    assert term.vector is not None
    return torch.einsum("bchw,c->bhw", maps, term.vector.to(maps))


@torch.no_grad()
def own_answers(target: ConceptTarget, maps: Tensor) -> tuple[Tensor, Tensor] | None:
    """Of a variant its response to each image (N,), and whether it is the family's answer (N,), from its layer's maps:
    the family's detector is the same for all variants, and does not say which is meant. None for all else.
    """
    (term,) = target.objective.terms
    if not isinstance(term.module, VariantResponses):
        return None
    responses = term.module(maps)
    return responses[:, term.column], responses.argmax(1) == term.column
