"""From what happened to the concept graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import node_id
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.records import Round
from conceptnet_ml.storage.hashing import fingerprint, sha256


def build_graph(
    stories: list[Round],
    network: StagedNetwork,
    settings: Settings,
    classes: tuple[str, ...],
    accuracy: float | None,
    directions: Mapping[str, int] | None = None,
    pictures: Mapping[str, list[str]] | None = None,
) -> ConceptGraph:
    """The concept graph of all rounds so far.

    Args:
        stories: In order; a parent's story comes before those about its variants.
        network: The learned network.
        accuracy: Of the learned network on held-out views, for the class nodes.
        directions: How many directions take the units' place, by stage.
        pictures: Of each round, by its name.
    """
    graph = ConceptGraph(
        classes,
        [(stage.name, stage.units, (directions or {}).get(stage.name)) for stage in network.stages],
        network=fingerprint(network.state_dict()),
        settings=sha256(settings.model_dump_json(), 16),
        seed=settings.seed,
    )
    artist = _GraphBuilder(graph, settings, classes, pictures or {})
    for name in classes:
        graph.add_node("class", name, classes=[name], **({} if accuracy is None else {"accuracy": accuracy}))
    for story in stories:
        artist.draw(story)
    return graph


class _GraphBuilder:
    """Adds one story after the other; knows which node stands for which family's variant."""

    def __init__(
        self, graph: ConceptGraph, settings: Settings, classes: tuple[str, ...], pictures: Mapping[str, list[str]]
    ) -> None:
        self.graph = graph
        self.settings = settings
        self.classes = classes
        self.pictures = pictures
        self.variants: dict[str, dict[int, str]] = {}

    def draw(self, story: Round) -> None:
        above = self.variants.get(story.readout.key, {})
        features = self._features(story, above)
        sources = features
        if story.merged is not None and features:  # where no unit answers for it there is nothing to draw
            sources = self._generalized(story, features, above)
        else:
            self.variants[f"{story.stage}.leaf"] = features
        if story.family is not None:
            self.variants[story.family.key] = sources
        if story.below is not None:
            self._edges(story, sources)

    def _features(self, story: Round, above: dict[int, str]) -> dict[int, str]:
        members = dict(story.merged.members) if story.merged is not None else {}
        found = {finding.parent: finding for finding in story.findings}
        nodes: dict[int, str] = {}
        for parent in sorted({*members, *found}):
            finding = found.get(parent)
            units = members.get(parent) or (finding.units if finding else ())
            if not units:
                continue
            fields: dict[str, Any] = {
                "stage": story.stage,
                "round": story.number,
                "classes": [self.classes[parent]],
                "units": units,
                "parent": above.get(parent),
                "pictures": self.pictures.get(story.name, []),
                "provenance": self._by(self.settings.plugins.discoverer),
            }
            if finding is not None:
                fields["auc"] = max(finding.auc)
                fields["effect"] = sum(finding.effect)
                fields["spectrum"] = self._spectrum(finding.spectrum)
            node = self.graph.add_node(
                "feature", f"{self.classes[parent]} in {story.name}", **fields, **self._judgement(story, parent)
            )
            nodes[parent] = node
            source = above.get(parent) or self.graph.class_node(self.classes[parent]).id
            if finding is not None:
                self.graph.add_edge("built_from", source, node, weight=sum(finding.effect), effect=finding.together)
                for unit, effect in zip(finding.units, finding.effect, strict=True):
                    self.graph.add_edge("built_from", node, self._unit(story.stage, unit), weight=effect, effect=effect)
            for unit in units:
                if finding is None or unit not in finding.units:
                    fall = story.merged.effects.get((parent, unit))  # type: ignore[union-attr]
                    weight = 0.0 if fall is None else fall
                    self.graph.add_edge("built_from", node, self._unit(story.stage, unit), weight=weight, effect=fall)
        return nodes

    def _generalized(self, story: Round, features: dict[int, str], above: dict[int, str]) -> dict[int, str]:
        merged = story.merged
        assert merged is not None
        coverage = dict(zip(self.classes, merged.coverage, strict=True))
        some = story.chosen.decision.classes if story.chosen is not None else None
        node = self.graph.add_node(
            "generalized",
            f"what is exchanged in {story.name}",
            stage=story.stage,
            round=story.number,
            classes=self.classes,
            units=sorted({unit for units in merged.members.values() for unit in units}),
            auc=max(merged.auc),
            coverage=coverage,
            shared_by=self.classes if some is None else [self.classes[place] for place in some],
            overlap=merged.overlap,
            spectrum=self._spectrum(merged.spectrum),
            pictures=self.pictures.get(story.name, []),
            provenance=self._by(self.settings.plugins.generalizer),
            **self._judgement(story, None),
        )
        for parent, feature in features.items():
            scores = [a.score for a in merged.analogies if parent in (a.parent, a.other)]
            score = {"score": max(scores)} if scores else {}
            self.graph.add_edge("generalizes", node, feature, **score)
        self._analogous(story, features)
        if story.split is None:
            return features
        variants = {}
        for parent, name in enumerate(self.classes):
            variant = self.graph.add_node(
                "variant",
                f"{name} in {story.name}",
                stage=story.stage,
                round=story.number,
                classes=[name],
                parent=above.get(parent),
                accuracy=story.split.accuracy,
                pictures=self.pictures.get(story.name, []),
                provenance=self._by(self.settings.plugins.specializer),
                **self._judgement(story, parent),
            )
            self.graph.add_edge("specializes", variant, node, class_name=name, parent=above.get(parent))
            variants[parent] = variant
        return variants

    def _analogous(self, story: Round, features: dict[int, str]) -> None:
        """Of features that are analogues as a whole, and of single units."""
        assert story.merged is not None
        for whole in story.merged.features:
            if whole.parent in features and whole.other in features:
                self.graph.add_edge(
                    "analogous",
                    features[whole.parent],
                    features[whole.other],
                    class_name=self.classes[whole.parent],
                    other=self.classes[whole.other],
                    score=whole.score,
                    null=whole.null,
                    untrained=whole.untrained,
                )
        for analogy in sorted(story.merged.analogies, key=lambda one: -one.score):
            source, target = (self._unit(story.stage, unit) for unit in (analogy.unit, analogy.analogue))
            if self.graph.edges("analogous", source=source, target=target):
                continue  # of the classes and rounds in which two units are matched, the best is drawn
            self.graph.add_edge(
                "analogous",
                source,
                target,
                class_name=self.classes[analogy.parent],
                other=self.classes[analogy.other],
                score=analogy.score,
                null=analogy.null,
                untrained=analogy.untrained,
            )

    def _spectrum(self, places: tuple[tuple[float, float, float], ...]) -> dict[str, tuple[float, float, float]]:
        return dict(zip(self.classes, places, strict=False))

    def _edges(self, story: Round, sources: dict[int, str]) -> None:
        assert story.below is not None
        for edge in story.edges:
            source = sources.get(edge.parent) or self.graph.class_node(self.classes[edge.parent]).id
            if self.graph.node(source).agreement is None and edge.agreement is not None:
                self.graph.update_node(source, agreement=edge.agreement)
            if not edge.is_supported:
                continue
            unit = self._unit(story.below, edge.unit)
            if self.graph.edges("built_from", source=source, target=unit):
                continue  # of two rounds in which no unit answers for a class, both edges would start at the class
            self.graph.add_edge(
                "built_from",
                source,
                unit,
                weight=edge.weight,
                low=edge.low,
                high=edge.high,
                effect=edge.ablation,
                gap=edge.gap,
                null=edge.null,
            )

    def _judgement(self, story: Round, parent: int | None) -> dict[str, Any]:
        fields: dict[str, Any] = {"decision": story.decision, "reason": story.reason or None}
        judged = story.chosen or max(story.judged, key=lambda one: one.measured.phi, default=None)
        if judged is not None:
            measured = judged.measured
            fields |= {"representation": measured.representation, "swap_cost": measured.price}
            fields |= {
                "phi": measured.phi if parent is None else measured.flips[parent],
                "iota": measured.iota if parent is None else measured.iotas[parent],
            }
        if story.trained is not None:
            fields |= {"r_before": story.trained.r_before, "r_after": story.trained.r_after}
        return fields

    def _unit(self, stage: str, unit: int) -> str:
        called = self._called(stage)
        label = f"{stage} {called} {unit}"
        identifier = node_id("unit", label, stage, units=[unit])
        if identifier in self.graph:
            return identifier
        by = {} if called == "unit" else {"provenance": self._by(self.settings.plugins.discoverer)}
        return self.graph.add_node("unit", label, stage=stage, units=[unit], **by)

    def _called(self, stage: str) -> str:
        described = {one.name for one in self.graph.header.stages if one.directions is not None}
        return "direction" if stage in described else "unit"

    def _by(self, plugin: str) -> dict[str, Any]:
        return {"plugin": plugin, "seed": self.settings.seed}
