"""What happened in one round: everything the graph, the log and the summary are written from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conceptnet_ml.attribution import Edge
from conceptnet_ml.concepts import Merged
from conceptnet_ml.finding import Finding

if TYPE_CHECKING:
    from conceptnet_ml.lower import Channels, Taught
    from conceptnet_ml.steps.close import Closure
    from conceptnet_ml.steps.generalize import Trained
    from conceptnet_ml.steps.probe import Judged
    from conceptnet_ml.steps.specialize import Split
    from conceptnet_ml.swaps import Swap
    from conceptnet_ml.workbench import Parents


@dataclass
class Story:
    """One round.

    Args:
        name: Of its steps, ``stage/parents/number``.
        stage: Where it worked.
        number: Round at this stage for these parents, from 1.
        parents: Whose answer it was about, as it was before the round.
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
    parents: Parents
    findings: list[Finding]
    judged: list[Judged] = field(default_factory=list)
    decision: str = "leaf"
    reason: str = ""
    channels: Channels | None = None
    chosen: Judged | None = None
    swap: Swap | None = None
    closures: list[Closure] = field(default_factory=list)
    merged: Merged | None = None
    trained: Trained | None = None
    split: Split | None = None
    taught: Taught | None = None
    family: Parents | None = None
    successor: Parents | None = None
    edges: list[Edge] = field(default_factory=list)
    below: str | None = None
    pictures: list[str] = field(default_factory=list)
