"""What the learner's figures stand beside: the same network trained as long in another way."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from conceptnet_ml.learner import Learned
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.swaps import Swap, Views
from conceptnet_ml.workbench import Workbench


@dataclass(frozen=True)
class BaselineContext:
    """What a control may use.

    Args:
        plain: The training images without swaps; draws donors.
        classes: How many classes there are.
        share: Mean area of an image that the learner's place swaps exchange; 0.25 where it kept none.
    """

    plain: Views
    classes: int
    share: float


def train_controls(bench: Workbench, learned: Learned) -> dict[str, StagedNetwork]:
    """Each control of the settings, from the ordinary network, for as many epochs as the kept rounds took in all.

    Where no round was kept there is nothing to compare: no control is trained.
    """
    if not learned.epochs:
        return {}
    plain = bench.views(bench.fit, [])
    context = BaselineContext(plain, bench.classes, _share(bench, learned.swaps))
    networks = {}
    for name in bench.settings.plugins.controls:
        views = bench.plugins.get("baseline", name).function("views")(context)
        rate = bench.settings.training.warm_rate
        networks[name] = bench.train(f"control/{name}", learned.ordinary, views, learned.epochs, rate, "controls")
    return networks


def _share(bench: Workbench, swaps: list[Swap]) -> float:
    areas = []
    generator = bench.generator("share")
    for swap in swaps:
        numbers = bench.fit[:512]
        mine = swap.region(numbers, bench.size, torch.device("cpu"))
        if mine is not None and mine.ndim == 4:
            theirs = mine[torch.randperm(len(mine), generator=generator)]
            areas.append(float((mine | theirs).float().mean()))
    return max(areas) if areas else 0.25
