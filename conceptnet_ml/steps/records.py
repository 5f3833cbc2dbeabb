"""What happened in one round: everything the graph, the log and the summary are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from conceptnet_ml.swap.interchangeability import Measured
from conceptnet_ml.swap.stop_rule import Decision
from conceptnet_ml.swap.views import Swap


@dataclass
class Round:
    """One round.

    Args:
        name: Of its steps, ``stage/parents/number``.
        stage: Where it worked.
        number: Round at this stage for these parents, from 1.
        readout: Whose answer it was about, as it was before the round.
        findings: Features the answers rest on, at most one per parent.
        judged: The probe and the decision of every representation tried, cheapest first, up to the one kept.
        decision: ``kept``, ``undone`` (after training), or ``leaf`` (nothing to exchange: this is the object).
        reason: Why, in words with numbers.
        channels: Below the top stage, the probe of that stage's channels.
        chosen, swap: The representation used and the swap made with it.
        closures: What fresh networks found in the views, one check after each training.
        merged, trained, split: Results of steps 3 and 4.
        taught: Below the top stage, the parent's family after the round.
        family: The new family, parents of the next stage.
        successor: Parents of the next round at this stage.
        edges, below: Step 5, and the stage it went down to.
    """

    name: str
    stage: str
    number: int
    readout: Readout
    findings: list[Finding]
    judged: list[ProbeResult] = field(default_factory=list)
    decision: str = "leaf"
    reason: str = ""
    channels: ChannelProbe | None = None
    chosen: ProbeResult | None = None
    swap: Swap | None = None
    closures: list[Closure] = field(default_factory=list)
    merged: Merged | None = None
    trained: Trained | None = None
    split: Split | None = None
    taught: RefitVariants | None = None
    family: Readout | None = None
    successor: Readout | None = None
    edges: list[Attribution] = field(default_factory=list)
    below: str | None = None
    pictures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Closure:
    """What a fresh network, briefly trained on the views of a round, rests on.

    Args:
        judged: Its probe, in the round's representation.
        readout: The fresh network.
        score: ι less errors: high if something in the views can still be exchanged.
        closed: Whether it is so low that what the network found is taken for the object.
    """

    judged: ProbeResult
    readout: Readout
    score: float
    closed: bool

    @property
    def reason(self) -> str:
        """In words, with the number behind it."""
        what = "no longer finds it" if self.closed else "still finds it, so it is widened"
        return f"a fresh network {what} (ι less errors {self.score:.2f})"


@dataclass(frozen=True)
class ProbeResult:
    """One representation's probe and what follows from it."""

    measured: Measured
    decision: Decision

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        decision = self.decision
        found = {"keep": decision.keep, "reason": decision.reason, "classes": decision.classes}
        return {**self.measured.record(), **found}


@dataclass(frozen=True)
class Trained:
    """A network after a round's views, and whether the round stands.

    Args:
        network: The trained network.
        decision: Whether the round stands.
        r_before: Accuracy of the network before on the views so far.
        r_after: Accuracy of the trained one on the new views.
        r_without: Its accuracy on the views so far, without the new swap.
    """

    network: StagedNetwork
    decision: Decision
    r_before: float
    r_after: float
    r_without: float


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
    """Which channels of a stage carry the difference between the parents.

    Args:
        measured: φ, ι and their parts when the open channels are swapped inside the network.
        gate: (C,) soft gate, one for all images; of directions, one for each. What these leave out is not exchanged.
        moves: Per representation, AUROC with which "it moves this channel" tells the open channels from the others.
    """

    measured: Measured
    gate: Tensor
    moves: dict[str, float]

    @property
    def units(self) -> tuple[int, ...]:
        """The open channels."""
        return tuple(torch.nonzero(self.gate > 0.5).flatten().tolist())


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
