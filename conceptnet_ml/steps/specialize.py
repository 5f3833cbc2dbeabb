"""Step 4, specialize: split a generalized feature into one variant per class."""

from __future__ import annotations

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.family import split
from conceptnet_ml.steps.records import Outcome, Site, Specialized


def specialize(ctx: Context, site: Site, outcome: Outcome) -> Specialized:
    """The variants of a kept round's feature, and the readout that they are for the stage below.

    Args:
        outcome: Of the kept round.
    """
    assert outcome.merged is not None
    assert outcome.swap is not None
    readout, stage = site.readout, site.stage
    found = split(ctx, site, outcome.merged)
    key, cost = site.key_below(site.number), outcome.swap.codec.record.cost
    return Specialized(found, Readout(key, readout.network, stage, found.family, list(readout.swaps), cost))
