"""From the rounds of a run to its concept graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conceptnet_ml.concepts.evidence import Analogy, FeatureAnalogy, Merged
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import node_id
from conceptnet_ml.results.report import round_record
from conceptnet_ml.steps.records import Learned, Round
from conceptnet_ml.storage.hashing import fingerprint, sha256


def build_graph(
    learned: Learned, settings: Settings, classes: tuple[str, ...], pictures: Mapping[str, list[str]] | None = None
) -> ConceptGraph:
    """The concept graph of a run.

    Args:
        learned: Its rounds in order; a parent's round comes before those about its variants.
        settings: The run's.
        classes: Names of the classes.
        pictures: Of each round, by its name.
    """
    counts = {stage: basis.count for stage, basis in learned.directions.items()}
    graph = ConceptGraph(
        classes,
        [(stage.name, stage.units, counts.get(stage.name)) for stage in learned.network.stages],
        network=fingerprint(learned.network.state_dict()),
        settings=sha256(settings.model_dump_json(), 16),
        seed=settings.seed,
    )
    r_after = [round.trained.r_after for round in learned.rounds if round.trained and round.decision == "kept"]
    accuracy = {"accuracy": r_after[-1]} if r_after else {}
    for name in classes:
        graph.add_node("class", name, classes=[name], **accuracy)
    builder = _GraphBuilder(graph, settings, classes, pictures or {})
    for round in learned.rounds:
        builder.add(round)
    return graph


@dataclass
class _GraphBuilder:
    """Adds one round after the other; knows which node stands for which family's variant."""

    graph: ConceptGraph
    settings: Settings
    classes: tuple[str, ...]
    pictures: Mapping[str, list[str]]
    variants: dict[str, dict[int, str]] = field(default_factory=dict)

    def add(self, round: Round) -> None:
        above = self.variants.get(round.readout.key, {})
        sources = features = self._add_features(round, above)
        if round.merged is not None and features:  # without a feature there is no member of what is generalized
            sources = self._add_generalized(round, round.merged, features, above)
        else:
            self.variants[round.site.key_below("leaf")] = features
        if round.family is not None:
            self.variants[round.family.key] = sources
        if round.below is not None:
            self._add_edges_below(round, round.below, sources)

    def _add_features(self, round: Round, above: dict[int, str]) -> dict[int, str]:
        """A node for each parent's feature: the units found, and those that analogies brought in."""
        members = {} if round.merged is None else round.merged.members
        brought_in = {} if round.merged is None else round.merged.effects
        findings = {finding.parent: finding for finding in round.findings}
        nodes: dict[int, str] = {}
        for parent in sorted({*members, *findings}):
            finding = findings.get(parent)
            units = members.get(parent) or (finding.units if finding else ())
            if not units:
                continue
            fields = self._round_fields(round, self.settings.plugins.discoverer, parent)
            if finding is not None:
                fields |= {"auc": max(finding.auc), "effect": sum(finding.effect)}
                fields["spectrum"] = self._by_class(finding.spectrum)
            name, source = self.classes[parent], above.get(parent)
            node = self.graph.add_node(
                "feature", f"{name} in {round.name}", classes=[name], units=units, parent=source, **fields
            )
            nodes[parent] = node
            effects: dict[int, float | None] = {}
            if finding is not None:
                source = source or self.graph.class_node(name).id
                self.graph.add_edge("built_from", source, node, weight=sum(finding.effect), effect=finding.together)
                effects |= dict(zip(finding.units, finding.effect, strict=True))
            for unit in units:
                effects.setdefault(unit, brought_in.get((parent, unit)))
            for unit, effect in effects.items():
                target, weight = self._unit(round, round.stage, unit), 0.0 if effect is None else effect
                self.graph.add_edge("built_from", node, target, weight=weight, effect=effect)
        return nodes

    def _add_generalized(
        self, round: Round, merged: Merged, features: dict[int, str], above: dict[int, str]
    ) -> dict[int, str]:
        """The node of what is exchanged, and its variants; returns what the stage below is built from, by parent."""
        sharing = None if round.chosen is None else round.chosen.decision.classes
        node = self.graph.add_node(
            "generalized",
            f"what is exchanged in {round.name}",
            classes=self.classes,
            units=sorted({unit for units in merged.members.values() for unit in units}),
            auc=max(merged.auc),
            coverage=dict(zip(self.classes, merged.coverage, strict=True)),
            shared_by=self.classes if sharing is None else [self.classes[place] for place in sharing],
            overlap=merged.overlap,
            spectrum=self._by_class(merged.spectrum),
            **self._round_fields(round, self.settings.plugins.generalizer),
        )
        for parent, feature in features.items():
            scores = [analogy.score for analogy in merged.analogies if parent in (analogy.parent, analogy.other)]
            self.graph.add_edge("generalizes", node, feature, **({"score": max(scores)} if scores else {}))
        self._add_analogies(round, merged, features)
        if round.split is None:
            return features
        variants = {}
        for parent, name in enumerate(self.classes):
            variants[parent] = self.graph.add_node(
                "variant",
                f"{name} in {round.name}",
                classes=[name],
                parent=above.get(parent),
                accuracy=round.split.accuracy,
                **self._round_fields(round, self.settings.plugins.specializer, parent),
            )
            self.graph.add_edge("specializes", variants[parent], node, class_name=name, parent=above.get(parent))
        return variants

    def _add_analogies(self, round: Round, merged: Merged, features: dict[int, str]) -> None:
        """Edges between features that are analogues as a whole, and between single units."""
        for whole in merged.features:
            if whole.parent in features and whole.other in features:
                self._add_analogy(features[whole.parent], features[whole.other], whole)
        for analogy in sorted(merged.analogies, key=lambda analogy: -analogy.score):
            source, target = (self._unit(round, round.stage, unit) for unit in (analogy.unit, analogy.analogue))
            # Of the classes and rounds in which two units are matched, the best is drawn.
            if not self.graph.edges("analogous", source=source, target=target):
                self._add_analogy(source, target, analogy)

    def _add_analogy(self, source: str, target: str, analogy: Analogy | FeatureAnalogy) -> None:
        fields = {name: getattr(analogy, name) for name in ("score", "null", "untrained")}
        classes = {"class_name": self.classes[analogy.parent], "other": self.classes[analogy.other]}
        self.graph.add_edge("analogous", source, target, **classes, **fields)

    def _add_edges_below(self, round: Round, below: str, sources: dict[int, str]) -> None:
        """Edges from what a round found to the units of the stage below that it is built from."""
        for edge in round.edges:
            source = sources.get(edge.parent) or self.graph.class_node(self.classes[edge.parent]).id
            if self.graph.node(source).agreement is None and edge.agreement is not None:
                self.graph.update_node(source, agreement=edge.agreement)
            if not edge.is_supported:
                continue
            unit = self._unit(round, below, edge.unit)
            if self.graph.edges("built_from", source=source, target=unit):
                continue  # of two rounds in which no unit answers for a class, both edges would start at the class
            fields = {name: getattr(edge, name) for name in ("weight", "low", "high", "gap", "null")}
            self.graph.add_edge("built_from", source, unit, effect=edge.ablation, **fields)

    def _round_fields(self, round: Round, plugin: str, parent: int | None = None) -> dict[str, Any]:
        """What every node of a round says of it; φ and ι are one parent's, or of all together."""
        record = round_record(round)
        fields: dict[str, Any] = {
            "stage": round.stage,
            "round": round.number,
            "pictures": self.pictures.get(round.name, []),
            "provenance": self._provenance(plugin),
            "found_in": round.name,
            "decision": record["decision"],
            "reason": record["reason"] or None,
        }
        if "sureness" in record:
            fields["sureness"] = record["sureness"]["agree"]
        probes = record["representations"]
        if probes:
            best = max(probes, key=lambda probe: (probe["representation"] == record["chosen"], probe["phi"]))
            fields |= {"representation": best["representation"], "swap_cost": best["price"]}
            fields["phi"] = best["phi"] if parent is None else best["flips"][parent]
            fields["iota"] = best["iota"] if parent is None else best["iotas"][parent]
        return fields | {name: record[name] for name in ("r_before", "r_after") if name in record}

    def _unit(self, round: Round, stage: str, unit: int) -> str:
        """The node of a unit, or of a direction where directions take the units' place; added where there is none, as
        found in this round."""
        directions = {described.name for described in self.graph.header.stages if described.directions is not None}
        label = f"{stage} {'direction' if stage in directions else 'unit'} {unit}"
        identifier = node_id("unit", label, stage, units=[unit])
        if identifier in self.graph:
            return identifier
        made_by = {"provenance": self._provenance(self.settings.plugins.discoverer)} if stage in directions else {}
        return self.graph.add_node("unit", label, stage=stage, units=[unit], found_in=round.name, **made_by)

    def _by_class(self, values: Sequence[tuple[float, float, float]]) -> dict[str, tuple[float, float, float]]:
        return dict(zip(self.classes, values, strict=False))

    def _provenance(self, plugin: str) -> dict[str, Any]:
        return {"plugin": plugin, "seed": self.settings.seed}
