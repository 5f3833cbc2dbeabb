"""What steps are told and what they return: one frozen record a step, and the round that they make up together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.attribution import Attribution
from conceptnet_ml.concepts.evidence import Merged
from conceptnet_ml.concepts.model import Family
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Finding
from conceptnet_ml.network.basis import Network, with_basis
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.sureness import Sureness
from conceptnet_ml.swap.views import Swap


@dataclass(frozen=True)
class Site:
    """Where steps work.

    Args:
        stage: The stage whose units are looked at; the readout's own or one below it.
        readout: Whose answers are looked at, under the readout's own swaps.
        name: Names the steps there and seeds what they draw; a round's is ``stage/readout/number``.
        number: Of the round at this stage for this readout, from 1.
    """

    stage: str
    readout: Readout
    name: str
    number: int = 1

    @classmethod
    def of_round(cls, stage: str, readout: Readout, number: int) -> Site:
        """The site of a round."""
        return cls(stage, readout, f"{stage}/{readout.key}/{number}", number)

    @property
    def at_top(self) -> bool:
        """Whether nothing stands above: below the top, what is exchanged is a part of something found there."""
        return self.readout.elementary is None

    def key_below(self, what: object) -> str:
        """The key of what is found here, as a readout of the stage below: a round's number, or ``leaf``."""
        above = "" if self.readout.key == "classes" else f"{self.readout.key}."
        return f"{above}{self.stage}.{what}"


@dataclass(frozen=True)
class StageBasis:
    """A stage that is described by directions.

    Args:
        stage: Its name.
        basis: Its maps to the directions' coefficients and back.
        count: How many directions.
        explained: Share of the maps' variance they keep, on the images and in the network they were learned from.
    """

    stage: str
    basis: nn.Module
    count: int
    explained: float

    def in_place(self, network: Network) -> Network:
        """A network with this stage described so."""
        return with_basis(network, self.stage, self.basis)


@dataclass(frozen=True)
class ChannelProbe:
    """Which channels of a stage carry the difference between the readout's answers.

    Args:
        measured: φ, ι and their parts when the open channels are swapped inside the network.
        gate: (C,) soft gate, one for all images; of directions, one for each. What these leave out is not exchanged.
        moves: Per representation, AUROC with which "it moves this channel" tells the open channels from the others.
    """

    measured: SwapMeasurement
    gate: Tensor
    moves: dict[str, float]

    @property
    def units(self) -> tuple[int, ...]:
        """The open channels."""
        return tuple(torch.nonzero(self.gate > 0.5).flatten().tolist())


@dataclass(frozen=True)
class ProbeResult:
    """Step 2: one representation's probe, and what follows from it.

    Args:
        measured: φ, ι and their parts.
        decision: Whether to train on its swap: the rule's, or the user's in its place.
        insisted: Whether the user keeps the round with this representation after the rule kept none.
        rival: Another representation that is kept if this one is not; empty for none.
        gives_way: Whether it does so to its rival, of which any donor's serves, unless what lies outside its gates is
            exchanged (docs/decisions/0054-colour-first.md).
        along: Of how pictures were taken, other representations that decide as well: exchanged with the same donor
            (docs/decisions/0081-along.md).
    """

    measured: SwapMeasurement
    decision: Decision
    insisted: bool = False
    rival: str = ""
    gives_way: bool = False
    along: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        decision = self.decision
        found: dict[str, Any] = {
            "keep": decision.keep,
            "reason": decision.reason,
            "classes": decision.classes,
            "evidence": decision.evidence,
        }
        if decision.sureness is not None:
            found["sureness"] = decision.sureness.record()
        return {**self.measured.record(), **found}


@dataclass(frozen=True)
class Closure:
    """What a fresh network, briefly trained on the views of a round, rests on.

    Args:
        probed: Its probe, in the round's representation.
        readout: The fresh network.
        score: ι less errors: high if something in the views can still be exchanged. Of a network that is taught what
            a cue with exceptions says: the share of views, above chance, of which it tells that.
        closed: Whether it is so low that what the network found is taken for the object.
        sureness: How sure that is; None where it is not known.
    """

    probed: ProbeResult
    readout: Readout
    score: float
    closed: bool
    sureness: Sureness | None = None

    @property
    def reason(self) -> str:
        """In words, with the number behind it."""
        what = "no longer finds it" if self.closed else "still finds it, so it is widened"
        score = "ι less errors" if self.readout.told is None else "of what contradicting images show it tells"
        return f"a fresh network {what} ({score} {self.score:.2f})"


@dataclass(frozen=True)
class Trained:
    """A network after a round's views, and whether the round stands.

    Args:
        network: The trained network.
        decision: Whether the round stands.
        r_before: Accuracy of the network before on the views so far.
        r_after: Accuracy of the trained one on the new views.
        r_without: Its accuracy on the views so far, without the new swap.
        left: ι of the places that were opened since a training before this one still read them; None where none were.
        asked: How sure it is that places were opened, or that none were; None where none were asked for.
        hits: (N,) each: which held-out images are behind ``r_before`` and ``r_after``; None where they are not kept.
    """

    network: StagedNetwork
    decision: Decision
    r_before: float
    r_after: float
    r_without: float
    left: float | None = None
    asked: Sureness | None = None
    hits: tuple[Tensor, Tensor] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class RefitVariants:
    """A parent's family after a round below it.

    Args:
        readout: With the family as it answers now.
        decision: Whether enough of it remains.
        before, after: Accuracy on held-out views: before, under the swaps so far; after, with the new one.
        blind: Accuracy of the family as it was on the new views: near chance where it rested on what was swapped.
    """

    readout: Readout
    decision: Decision
    before: float
    after: float
    blind: float


@dataclass(frozen=True)
class Outcome:
    """Step 3: what became of one representation of a round.

    Args:
        probed: Its probe. Where its decision is not to keep it, there is nothing else.
        keep: Whether the round is kept with this representation.
        reason: Why, in words with numbers.
        swap: The swap, widened by what fresh networks found.
        closures: What fresh networks found in the views.
        trained: The network after training on the views.
        refit: Below the top stage, the readout's family after the round.
        merged: The generalized feature of a kept round.
        next_readout: Whose answer the next round at this stage is about, after a kept round.
        waits: Whether it is judged only once another network was asked, in the next round.
    """

    probed: ProbeResult
    keep: bool
    reason: str
    swap: Swap | None = None
    closures: tuple[Closure, ...] = ()
    trained: Trained | None = None
    refit: RefitVariants | None = None
    merged: Merged | None = None
    next_readout: Readout | None = None
    waits: bool = False


@dataclass(frozen=True)
class Split:
    """A family: detector, variants, and how well the variants alone tell the classes apart.

    Args:
        family: Answers like a network, (B, 3, H, W) to (B, classes).
        accuracy: On held-out training images.
    """

    family: Family
    accuracy: float


@dataclass(frozen=True)
class Specialized:
    """Step 4: the variants of a generalized feature, and the readout they are for the stage below."""

    split: Split
    readout: Readout


@dataclass(frozen=True)
class Descent:
    """Step 5: what a readout is built from, one stage down.

    Args:
        below: The stage below; None where there is none, or where nothing goes down.
        edges: From the readout's answers to units of that stage.
        readouts: The readout as the stage below takes it up, one or none.
    """

    below: str | None = None
    edges: tuple[Attribution, ...] = ()
    readouts: tuple[Readout, ...] = ()


@dataclass(frozen=True)
class Round:
    """One round, put together when it has ended: what the graph, the log and the summary are written from.

    Args:
        name, stage, number, readout: As in :class:`Site`.
        findings: Step 1: features the answers rest on, at most one per class or variant.
        channels: Below the top stage, the probe of that stage's channels.
        probed: Step 2: the probe and decision of every representation tried, cheapest first, up to the one kept.
        decision: ``kept``, ``undone`` (after training), or ``leaf`` (nothing to exchange: this is the object).
        reason: Why, in words with numbers.
        waits: Whether nothing is decided of what was probed last until another network was asked, in the next round.
        chosen, swap, trained: Step 3: the representation trained last, its swap, and the network after it.
        closures: What fresh networks found in the views, one check after each training.
        refit: Below the top stage, the readout's family after the round.
        merged: The generalized feature.
        split, family: Step 4: its variants, and the readout that they are for the stage below.
        edges, below: Step 5, and the stage it went down to.
    """

    name: str
    stage: str
    number: int
    readout: Readout
    findings: list[Finding]
    probed: list[ProbeResult] = field(default_factory=list)
    decision: str = "leaf"
    reason: str = ""
    waits: bool = False
    channels: ChannelProbe | None = None
    chosen: ProbeResult | None = None
    swap: Swap | None = None
    closures: tuple[Closure, ...] = ()
    trained: Trained | None = None
    refit: RefitVariants | None = None
    merged: Merged | None = None
    split: Split | None = None
    family: Readout | None = None
    edges: tuple[Attribution, ...] = ()
    below: str | None = None

    @property
    def site(self) -> Site:
        """Where it worked."""
        return Site(self.stage, self.readout, self.name, self.number)


@dataclass
class Learned:
    """What a run ends with.

    Args:
        ordinary: The network after ordinary training.
        network: The network after the last kept round.
        swaps: The swaps of all kept rounds.
        rounds: Every round, in order, kept or not.
        families: Every family by its name, as it answers after all rounds; a round's own is as it was found.
        refused: The network of the first refused round, where the settings ask for it.
        epochs: Passes over the views of all kept rounds together.
        directions: By stage, the directions that take the units' place there; empty where units are looked at.
        says: Of each cue with exceptions that was exchanged, what it says of every image, (N,).
    """

    ordinary: StagedNetwork
    network: StagedNetwork
    swaps: list[Swap] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    families: dict[str, Readout] = field(default_factory=dict)
    refused: StagedNetwork | None = None
    epochs: int = 0
    directions: dict[str, StageBasis] = field(default_factory=dict)
    says: list[Tensor] = field(default_factory=list)

    def add(self, ended: Round, epochs: int) -> None:
        """Take up a round; a kept one's network, swap and family count from now on.

        Args:
            epochs: Passes over the views that a kept round took.
        """
        self.rounds.append(ended)
        if ended.decision != "kept":
            return
        assert ended.trained is not None
        assert ended.swap is not None
        assert ended.family is not None
        self.network = ended.trained.network
        self.swaps = [*self.swaps, ended.swap]
        self.epochs += epochs
        self.says += [] if ended.readout.says is None else [ended.readout.says]
        if ended.refit is not None:
            parent = ended.refit.readout
            self.families[parent.key] = replace(parent, swaps=[*ended.readout.swaps, ended.swap])
        self.families[ended.family.key] = ended.family
