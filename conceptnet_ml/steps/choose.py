"""Between probe and generalize: which representation, where more than one could be kept."""

from __future__ import annotations

from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.steps.generalize import train_views
from conceptnet_ml.steps.probe import Judged, swap_of
from conceptnet_ml.swaps import Swap
from conceptnet_ml.workbench import Parents, Workbench


def choose(
    bench: Workbench, name: str, parents: Parents, network: StagedNetwork, swaps: list[Swap], candidates: list[Judged]
) -> tuple[Judged, dict[str, float]]:
    """The swap that moves the decision most at the least loss of what else there is to learn.

    One candidate is taken as it is. Of several, each gets a short training on its views; the score is φ times the
    residual accuracy above chance. r alone would reward a swap that removes nothing, φ alone one that removes all.

    Returns:
        The winner, and the score of each candidate by name (empty where there was one only).
    """
    if len(candidates) == 1:
        return candidates[0], {}
    epochs = max(1, round(bench.settings.round.trial * bench.settings.round.epochs))
    chance = 1 / bench.classes
    scores = {}
    for judged in candidates:
        kind = judged.measured.representation
        swap = swap_of(bench, name, parents, parents.swaps, kind)
        trial = train_views(bench, name, network, swaps, swap, epochs)
        scores[kind] = judged.measured.phi * max(0.0, trial.r_after - chance) / (1 - chance)
    bench.run.log(event="choice", name=name, scores=scores)
    return max(candidates, key=lambda judged: scores[judged.measured.representation]), scores
