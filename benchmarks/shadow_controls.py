"""What the dreams of the baseline ``shadow`` are compared with, as a file of plugins:

    conceptnet-ml bench benchmarks/other_systems.toml --cifar FOLDER --plugins-dir benchmarks/shadow_controls.py

``shadow-noise`` has in each dream's place its image with noise of the dream's distance from it, ``shadow-block`` dreams
from one stage further up, ``anew`` has the images alone, from fresh weights for as long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import Baseline, BaselineContext, StagedNetwork, hookimpl
from conceptnet_plugins.baselines import shadow


def anew(context: BaselineContext) -> StagedNetwork:
    """The images alone."""
    return context.train("train", context.fresh(), context.plain, context.ordinary_epochs + context.epochs)


def noise(context: BaselineContext) -> StagedNetwork:
    """As ``shadow``, by noise of the same size."""
    return shadow.train_on_dreams(context, shadow.POSITION, noisy)


def block(context: BaselineContext) -> StagedNetwork:
    """As ``shadow``, from the stage above."""
    return shadow.train_on_dreams(context, shadow.POSITION + 1, shadow.shadowing)


def noisy(shadowed: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the images and of them with noise as far away as their dreams are."""
    assert isinstance(shadowed, shadow.Shadowed)
    generator = shadowed.generator()
    away = shadow.dream(shadowed.network, images, shadowed.stage, generator) - images
    drawn = torch.randn(images.shape, generator=generator).to(images)
    noised = (images + shadow.matched(drawn, away)).clamp(0, 1)
    return functional.cross_entropy(shadowed.network(torch.cat([images, noised])).float(), labels.repeat(2))


@hookimpl
def conceptnet_baselines() -> list[Baseline]:
    """Beside the built-in one."""
    return [
        Baseline(name="anew", api="1", fit=anew, summary="as shadow, without a dream"),
        Baseline(name="shadow-noise", api="1", fit=noise, summary="as shadow, by noise of the dreams' size"),
        Baseline(name="shadow-block", api="1", fit=block, summary="as shadow, dreamed from one stage further up"),
    ]
