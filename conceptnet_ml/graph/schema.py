"""What a concept graph is made of: the records of its nodes and edges, checked when made and frozen afterwards.

Imports neither torch nor networkx.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from conceptnet_ml.graph.fields import (
    Count,
    GraphRecord,
    Identifier,
    Number,
    Picture,
    Share,
    Shares,
    Spectrum,
    Text,
    Units,
)
from conceptnet_ml.storage.hashing import sha256

SCHEMA = "conceptnet_ml.graph"

SCHEMA_VERSION = 2

READABLE = (1, 2)
"""Version 2 added what is optional only: a graph of version 1 is one of version 2."""

NodeKind = Literal["class", "variant", "generalized", "feature", "unit"]

EdgeKind = Literal["built_from", "generalizes", "specializes", "analogous", "became"]

Joins = Mapping[NodeKind, frozenset[NodeKind]]
"""For each kind of source the kinds of target."""

NODE_KINDS: tuple[NodeKind, ...] = ("class", "variant", "generalized", "feature", "unit")
"""From what is decided to what it is made of; within one stage ``built_from`` follows this order."""


class StageHeader(GraphRecord):
    """A named stage of the network and how many units it has.

    Args:
        directions: How many directions a discoverer describes its maps by, which then take the units' place.
    """

    name: Text
    units: int = Field(ge=1)
    directions: int | None = Field(None, ge=1)

    @property
    def width(self) -> int:
        """How many units or directions are numbered."""
        return self.units if self.directions is None else self.directions


class Header(GraphRecord):
    """What the graph is about.

    Args:
        classes: Names, in the order of the network's logits.
        stages: The network's stages from the image upwards.
        network: Fingerprint of the learned network's weights.
        settings: Digest of the run's settings.
        seed: The run's seed.
    """

    classes: tuple[Text, ...] = Field(min_length=1)
    stages: tuple[StageHeader, ...] = Field(min_length=1)
    network: Text
    settings: Text
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _unique(self) -> Header:
        for what, names in (("class", self.classes), ("stage", tuple(stage.name for stage in self.stages))):
            if len(set(names)) != len(names):
                raise ValueError(f"two {what} names are the same")
        return self


class Provenance(GraphRecord):
    """Who made a node: the plugin's name and the seed it was given."""

    plugin: Text
    seed: int = Field(ge=0)


class Node(GraphRecord):
    """What all nodes share.

    Args:
        id: Content hash of what the node is, see :func:`node_id`.
        label: Words for people, unique among nodes of the same stage, kind, round, parent and units.
        stage: Name of its stage; only a class has none.
        round: Round within the stage, from 1.
        classes: Names of the classes it speaks for.
        parent: Id of the node above whose margin took the class's place, below the top stage.
        units: Unit numbers within the stage, ascending.
        auc: One-vs-rest AUROC of its score for its class (or parent).
        effect: Mean fall of the margin of its class (or parent) when it is replaced by its mean, in logits.
        accuracy: How well the family (class: the network) tells the classes apart by itself.
        pictures: Dreams and contact sheets, paths relative to the run folder.
        examples: Indices of the training images that show it best, best first.
        name: What the user calls it; shown in place of the label, which is part of what the node is.
        note: What the user wrote about it.
        state: What an edit made of it: ``merged`` or ``split`` (``became`` edges say into what), or ``forgotten``.
        agreement: Spearman's rank correlation of what attribution predicts for its edges down and what ablation found.
        spectrum: Per class, the 10 % quantile, the mean and the 90 % quantile of its score over the class's images, in
            spreads over all images from their mean: where every class lies on it.
    """

    kind: NodeKind
    id: Identifier
    label: Text
    stage: Text | None = None
    round: int | None = Field(None, ge=1)
    classes: tuple[Text, ...] = ()
    parent: Identifier | None = None
    units: Units = ()
    auc: Share | None = None
    effect: Number | None = None
    accuracy: Share | None = None
    pictures: tuple[Picture, ...] = ()
    examples: tuple[Count, ...] = ()
    provenance: Provenance | None = None
    name: Text | None = None
    note: Text | None = None
    state: Literal["merged", "split", "forgotten"] | None = None
    agreement: Annotated[Number, Field(ge=-1, le=1)] | None = None
    spectrum: Spectrum = Field(default_factory=dict, validate_default=True)

    @property
    def title(self) -> str:
        """The user's name for it, else its label."""
        return self.name or self.label

    @model_validator(mode="after")
    def _identified(self) -> Node:
        if (self.kind == "class") != (self.stage is None):
            raise ValueError("a class has no stage" if self.kind == "class" else f"a {self.kind} needs a stage")
        if self.kind == "class" and (self.round is not None or self.units or self.state is not None):
            raise ValueError("a class has no round and no units, and no edit can merge, split or forget it")
        expected = node_id(self.kind, self.label, self.stage, self.round, self.parent, self.units)
        if self.id != expected:
            raise ValueError(f"id {self.id} is not the hash of the node's content, {expected}")
        return self


class DecidedNode(Node):
    """A node that a round was about.

    Args:
        phi: φ, flip rate: how often the swapped image is taken for the donor's class.
        iota: ι, interchangeability: about 1 for a thing among others, about 0 for a part of the object itself.
        decision: ``kept``, ``undone``, or ``leaf`` (the object itself, or nothing decided).
        reason: Why, in a sentence.
        representation: Name of the representation in which it was swapped.
        r_before, r_after: Residual accuracy before and after the round.
        swap_cost: Mean of the gate.
        coverage: Per class, the share of its images' gates the detector finds.
        overlap: Intersection over union of the detector's map and the gates.
    """

    phi: Share | None = None
    iota: Number | None = None
    decision: Literal["kept", "undone", "leaf"] | None = None
    reason: Text | None = None
    representation: Text | None = None
    r_before: Share | None = None
    r_after: Share | None = None
    swap_cost: Share | None = None
    coverage: Shares = Field(default_factory=dict, validate_default=True)
    overlap: Share | None = None


class ClassNode(Node):
    """A class of the data; its label is the class's name."""

    kind: Literal["class"] = "class"


class UnitNode(Node):
    """One channel of a stage."""

    kind: Literal["unit"] = "unit"
    units: Annotated[Units, Field(min_length=1, max_length=1)]


class FeatureNode(DecidedNode):
    """A set of units of one stage that together carry a class or a parent variant."""

    kind: Literal["feature"] = "feature"
    units: Annotated[Units, Field(min_length=1)]


class GeneralizedNode(DecidedNode):
    """The features of several classes merged into one, with a detector that ignores the class.

    Args:
        shared_by: Names of the classes whose images exchange it in views; those of the others keep what they have.
            Empty in graphs of versions that did not say.
    """

    kind: Literal["generalized"] = "generalized"
    shared_by: tuple[Text, ...] = ()


class VariantNode(DecidedNode):
    """What a generalized feature looks like in one class (or for one parent)."""

    kind: Literal["variant"] = "variant"


class Edge(GraphRecord):
    """What all edges share: from what is explained to what explains it."""

    allowed: ClassVar[Joins]
    kind: EdgeKind
    source: Identifier
    target: Identifier

    @property
    def key(self) -> str:
        """What tells it from other edges between the same two nodes: its kind."""
        return self.kind

    @property
    def strength(self) -> float | None:
        """The number that says how much there is to it, None where it just holds."""
        return None


class BuiltFrom(Edge):
    """Higher → lower: what a node is made of.

    Args:
        weight: Integrated gradients, mean over images.
        low, high: Bootstrap interval of the weight.
        effect: Fall of the source's response when the target is ablated.
        gap: Completeness gap: what the source's weights leave unexplained, as a share of its response.
        null: The largest weight of such an edge in networks whose weights were shuffled.
    """

    allowed: ClassVar[Joins] = {
        "class": frozenset({"variant", "generalized", "feature", "unit"}),
        "variant": frozenset({"variant", "generalized", "feature", "unit"}),
        "generalized": frozenset({"variant", "generalized", "feature", "unit"}),
        "feature": frozenset({"variant", "generalized", "feature", "unit"}),
        "unit": frozenset({"unit"}),
    }
    kind: Literal["built_from"] = "built_from"
    weight: Number
    low: Number | None = None
    high: Number | None = None
    effect: Number | None = None
    gap: Number | None = None
    null: Number | None = None

    @property
    def strength(self) -> float:
        """Its weight."""
        return self.weight

    @model_validator(mode="after")
    def _interval(self) -> BuiltFrom:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval is upside down: low {self.low} > high {self.high}")
        return self


class Generalizes(Edge):
    """Generalized → member feature, with the analogy score that tied it in."""

    allowed: ClassVar[Joins] = {"generalized": frozenset({"feature"})}
    kind: Literal["generalizes"] = "generalizes"
    score: Number | None = None

    @property
    def strength(self) -> float | None:
        """Its score."""
        return self.score


class Specializes(Edge):
    """Variant → generalized, for one class or, below the top stage, one parent."""

    allowed: ClassVar[Joins] = {"variant": frozenset({"generalized"})}
    kind: Literal["specializes"] = "specializes"
    class_name: Text | None = None
    parent: Identifier | None = None

    @model_validator(mode="after")
    def _owned(self) -> Specializes:
        if self.class_name is None and self.parent is None:
            raise ValueError("a variant stands for a class or for a parent: give class_name or parent")
        return self


class Analogous(Edge):
    """Unit → unit of the same stage, or feature → feature: what plays the source's part in another class.

    Args:
        class_name, other: Whose part the source plays, and whose the target.
        score: How closely, over image pairs, what leaves through the source goes with what comes through the target:
            their correlation times the geometric mean of their spreads, in logits.
        null: What 95 % of matches in shuffles within the classes stay under.
        untrained: What 95 % of matches in networks with untrained or shuffled weights stay under.
    """

    allowed: ClassVar[Joins] = {"unit": frozenset({"unit"}), "feature": frozenset({"feature"})}
    kind: Literal["analogous"] = "analogous"
    class_name: Text
    other: Text
    score: Number
    null: Number | None = None
    untrained: Number | None = None

    @property
    def key(self) -> str:
        """Two units can play the same part for several pairs of classes: an edge for each."""
        return f"analogous {self.class_name} {self.other}"

    @property
    def strength(self) -> float:
        """Its score."""
        return self.score

    @model_validator(mode="after")
    def _of_two_classes(self) -> Analogous:
        if self.class_name == self.other:
            raise ValueError(f"an analogy is between two classes, not within {self.other}")
        return self


class Became(Edge):
    """What an edit merged or split → what it became, both at the same stage.

    Args:
        edit: Number of the edit in the run's log, from 1.
    """

    allowed: ClassVar[Joins] = {"unit": frozenset({"unit"}), "feature": frozenset({"feature", "generalized"})}
    kind: Literal["became"] = "became"
    edit: int = Field(ge=1)


NODES: dict[str, type[Node]] = {
    "class": ClassNode,
    "variant": VariantNode,
    "generalized": GeneralizedNode,
    "feature": FeatureNode,
    "unit": UnitNode,
}

EDGES: dict[str, type[Edge]] = {
    "built_from": BuiltFrom,
    "generalizes": Generalizes,
    "specializes": Specializes,
    "analogous": Analogous,
    "became": Became,
}

_COMPACT = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def node_id(
    kind: str,
    label: str,
    stage: str | None = None,
    round: int | None = None,
    parent: str | None = None,
    units: Iterable[int] = (),
) -> str:
    """The id of a node: the first 12 hex digits of the SHA-256 of what identifies it, as canonical JSON.

    The same run gives the same ids on every machine; the order of ``units`` does not matter.
    """
    content = [kind, label.strip(), stage, round, parent, sorted(int(unit) for unit in units)]
    return sha256(_COMPACT.encode(content), 12)


def title(node: Node) -> str:
    """A node's name in messages: ``feature 'car 1' (3fa94b7c0e12)``."""
    return f"{node.kind} '{node.label}' ({node.id})"


def speaks_for(node: Node, class_name: str) -> bool:
    """Whether a node is a class's own or one of those that speak for it."""
    return class_name in node.classes or (node.kind == "class" and node.label == class_name)
