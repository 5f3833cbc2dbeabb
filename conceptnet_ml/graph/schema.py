"""Records of the concept graph's nodes and edges, checked when they are made and frozen afterwards.

Imports neither torch nor networkx.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from conceptnet_ml.graph.fields import (
    GraphRecord,
    Identifier,
    Number,
    PicturePath,
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
"""Version 2 only added optional fields: a graph of version 1 is one of version 2."""

NodeKind = Literal["class", "variant", "generalized", "feature", "unit"]

EdgeKind = Literal["built_from", "generalizes", "specializes", "analogous", "became"]

Joins = Mapping[NodeKind, tuple[NodeKind, ...]]
"""For each kind of source the kinds of target."""

NODE_KINDS: tuple[NodeKind, ...] = get_args(NodeKind)
"""From classes down to units; within one stage ``built_from`` follows this order."""


class StageHeader(GraphRecord):
    """A named stage of the network and how many units it has. Where a discoverer describes its maps by ``directions``,
    so many of these take the units' place.
    """

    name: Text
    units: int = Field(ge=1)
    directions: int | None = Field(None, ge=1)

    @property
    def width(self) -> int:
        """How many units, or directions in their place."""
        return self.units if self.directions is None else self.directions


class Header(GraphRecord):
    """Which run and network the graph describes.

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
    """Fields of all nodes.

    Args:
        id: Content hash of what the node is, see :func:`node_id`.
        label: A name in words, unique among nodes of the same stage, kind, round, parent and units.
        stage: Name of its stage; only a class has none.
        round: Round within the stage, from 1.
        classes: Names of the classes it belongs to.
        parent: Below the top stage, id of the node above whose margin took the place of the class's.
        units: Unit numbers within the stage, ascending.
        auc: One-vs-rest AUROC of its score for its class (or parent).
        effect: Mean fall of the margin of its class (or parent) when it is replaced by its mean, in logits.
        accuracy: How well the family (class: the network) tells the classes apart by itself.
        pictures: Dreams and contact sheets, paths relative to the run folder.
        examples: The held-out images that show it best, best first: their files, as the data set names them, or
            ``train:NUMBER`` among the run's training images where it has none.
        found_in: Name of the round that found it, of a unit the first: what is measured of it holds in the network as
            it was before that round. None for a class, for what an edit made, and in graphs of before.
        name: The user's name for it, shown in place of the label, which is part of the id.
        note: A note of the user.
        state: ``merged`` or ``split`` (``became`` edges say into what) or ``forgotten`` by an edit.
        agreement: Spearman's rank correlation of attribution and ablation over its edges down.
        spectrum: Per class, the 10 % quantile, the mean and the 90 % quantile of its score over the class's images, in
            standard deviations over all images from their mean.
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
    pictures: tuple[PicturePath, ...] = ()
    examples: tuple[Text, ...] = ()
    provenance: Provenance | None = None
    found_in: Text | None = None
    name: Text | None = None
    note: Text | None = None
    state: Literal["merged", "split", "forgotten"] | None = None
    agreement: Annotated[Number, Field(ge=-1, le=1)] | None = None
    spectrum: Spectrum = Field(default_factory=dict, validate_default=True)

    @property
    def title(self) -> str:
        """The user's name for it, else its label."""
        return self.name or self.label

    def belongs_to(self, class_name: str) -> bool:
        """Whether it is a class's own node or one of those of that class."""
        return class_name in self.classes or (self.kind == "class" and self.label == class_name)

    def __str__(self) -> str:
        """The node in messages: ``feature 'car 1' (3fa94b7c0e12)``."""
        return f"{self.kind} '{self.label}' ({self.id})"

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
    """A node with the result of a round.

    Args:
        phi: φ, flip rate: how often the swapped image is classified as the donor's class.
        iota: ι, interchangeability: about 1 for a thing among others, about 0 for a part of the object itself.
        decision: ``kept``, ``undone``, or ``leaf`` (the object itself, or nothing decided).
        reason: Why, in a sentence.
        sureness: Share of other draws of the held-out images that decide the same, by the least sure of the decisions
            that the round hung on. None where that is not known, as in graphs of before.
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
    sureness: Share | None = None
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
    """A set of units of one stage on which a class or a parent variant rests."""

    kind: Literal["feature"] = "feature"
    units: Annotated[Units, Field(min_length=1)]


class GeneralizedNode(DecidedNode):
    """The features of several classes merged into one, with a detector that ignores the class. ``shared_by`` names the
    classes whose images exchange it in views, the images of others keep theirs; empty in graphs of format 1.
    """

    kind: Literal["generalized"] = "generalized"
    shared_by: tuple[Text, ...] = ()


class VariantNode(DecidedNode):
    """A generalized feature as it looks in one class (or for one parent)."""

    kind: Literal["variant"] = "variant"


class Edge(GraphRecord):
    """Fields of all edges, which lead from what is explained to what explains it."""

    allowed: ClassVar[Joins]
    kind: EdgeKind
    source: Identifier
    target: Identifier

    @property
    def key(self) -> str:
        """Tells it from other edges between the same two nodes: its kind."""
        return self.kind

    @property
    def strength(self) -> float | None:
        """Its weight or score, None where it has neither."""
        number: float | None = getattr(self, "weight", getattr(self, "score", None))
        return number


class BuiltFrom(Edge):
    """Higher → lower: what a node is made of.

    Args:
        weight: Integrated gradients, mean over images.
        low, high: Bootstrap interval of the weight.
        effect: Fall of the source's response when the target is ablated.
        gap: Completeness gap: what the source's weights leave unexplained, as a share of its response.
        null: The largest weight of such an edge in networks whose weights were shuffled.
    """

    allowed: ClassVar[Joins] = {**dict.fromkeys(NODE_KINDS[:-1], NODE_KINDS[1:]), "unit": ("unit",)}
    kind: Literal["built_from"] = "built_from"
    weight: Number
    low: Number | None = None
    high: Number | None = None
    effect: Number | None = None
    gap: Number | None = None
    null: Number | None = None

    @model_validator(mode="after")
    def _interval(self) -> BuiltFrom:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval needs low and high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval is upside down: low {self.low} > high {self.high}")
        return self


class Generalizes(Edge):
    """Generalized → member feature, with the analogy score that made it a member."""

    allowed: ClassVar[Joins] = {"generalized": ("feature",)}
    kind: Literal["generalizes"] = "generalizes"
    score: Number | None = None


class Specializes(Edge):
    """Variant → generalized, for one class or, below the top stage, one parent."""

    allowed: ClassVar[Joins] = {"variant": ("generalized",)}
    kind: Literal["specializes"] = "specializes"
    class_name: Text | None = None
    parent: Identifier | None = None

    @model_validator(mode="after")
    def _owned(self) -> Specializes:
        if self.class_name is None and self.parent is None:
            raise ValueError("a variant stands for a class or for a parent: give class_name or parent")
        return self


class Analogous(Edge):
    """Unit → unit of the same stage, or feature → feature: the target plays the source's part in another class.

    Args:
        class_name, other: The class of the source, and that of the target.
        score: Over image pairs, how closely the activity that leaves through the source follows the one that enters
            through the target: their correlation times the geometric mean of their spreads, in logits.
        null: 95 % of matches in shuffles within the classes have a lower score.
        untrained: 95 % of matches in networks with untrained or shuffled weights have a lower score.
    """

    allowed: ClassVar[Joins] = {"unit": ("unit",), "feature": ("feature",)}
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

    @model_validator(mode="after")
    def _of_two_classes(self) -> Analogous:
        if self.class_name == self.other:
            raise ValueError(f"an analogy is between two classes, not within {self.other}")
        return self


class Became(Edge):
    """A node that an edit merged or split → a node that it became, both at the same stage. ``edit`` is the edit's
    number in the run's log, from 1.
    """

    allowed: ClassVar[Joins] = {"unit": ("unit",), "feature": ("feature", "generalized")}
    kind: Literal["became"] = "became"
    edit: int = Field(ge=1)


NODES: dict[str, type[Node]] = {
    model.model_fields["kind"].default: model
    for model in (ClassNode, VariantNode, GeneralizedNode, FeatureNode, UnitNode)
}

EDGES: dict[str, type[Edge]] = {
    model.model_fields["kind"].default: model for model in (BuiltFrom, Generalizes, Specializes, Analogous, Became)
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
