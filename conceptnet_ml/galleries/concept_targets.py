"""What a node of the concept graph is dreamed of by: an objective, and the network it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class ConceptTarget:
    """An objective in a network.

    Args:
        objective: What to maximize.
        network: Where: the learned network, or a family's trunk.
        layer: Whose maps show where a concept is active; None for a class.
    """

    objective: Objective
    network: Network
    layer: str | None = None


class ConceptTargets:
    """The targets of a run's nodes.

    A class is its logit, a unit the mean of its map, a feature the mean of its units' maps; these are sought in the
    learned network. A generalized feature is its detector's score, a variant its response; these are sought in the
    network as it was when the family was found.
    """

    def __init__(self, graph: ConceptGraph, model: GeneralizedModel) -> None:
        self.graph, self.model = graph, model
        self._families = dict(model.named_families())

    def target(self, node: Node) -> ConceptTarget:
        """The target of a node.

        Raises:
            DataError: The run keeps no such family, or no directions of its stage.
        """
        if node.kind == "class":
            objective = Objective.logit(self.graph.classes.index(node.label), node.title)
            return ConceptTarget(objective, self.model.network)
        assert node.stage is not None
        if node.kind in ("unit", "feature"):
            network = self._network_at(node.stage)
            if node.kind == "unit":
                objective = Objective.unit(node.stage, node.units[0], node.title)
            else:
                channels = without_basis(network).stage(node.stage).units
                if isinstance(network, BasisNetwork):  # directions come first, then what they leave out of the units
                    channels += network.widths[node.stage]
                objective = Objective.feature(node.stage, dict.fromkeys(node.units, 1), channels, node.title)
            return ConceptTarget(objective, network, node.stage)
        family = self._family(node)
        network = cast(Network, family.trunk.network)
        if node.kind == "generalized":
            module, column = DetectorScore(family, network, node.stage), 0
        else:
            module = VariantResponses(family, network, node.stage)
            column = self.graph.classes.index(node.classes[0])
        return ConceptTarget(Objective.module(node.stage, module, column, node.title), network, node.stage)

    def _network_at(self, stage: str) -> Network:
        """The learned network, in the stage's directions where the graph's units are directions."""
        if next(one for one in self.graph.header.stages if one.name == stage).directions is None:
            return self.model.network
        for family in self._families.values():
            network = family.trunk.network
            if isinstance(network, BasisNetwork) and stage in network.bases:
                return BasisNetwork(self.model.network, {stage: network.bases[stage]})
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
