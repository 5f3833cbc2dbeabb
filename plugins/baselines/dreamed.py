"""What methods that learn from dreams share: dreams of all training images, and views of them beside the images."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import (
    BaselineContext,
    DreamRequest,
    Gate,
    Objective,
    Recipe,
    RenderSettings,
    StagedNetwork,
    ViewMaker,
    Views,
    dream,
)


def dreamed(
    context: BaselineContext,
    name: str,
    network: StagedNetwork,
    views: Views,
    targets: Tensor,
    recipe: Recipe,
    donors: Tensor | None = None,
) -> Tensor:
    """uint8 (N, C, H, W): every image of the views dreamed toward a class; one that is of that class stays as it is.

    Args:
        name: Unique within the baseline.
        network: Whose logits rise.
        views: Numbered as ``context.plain`` is.
        targets: (N,) class numbers.
        recipe: How.
        donors: uint8 (N, C, H, W), what a swap takes in comes from; default: a random image of the target class each.

    Cost: ``recipe.steps`` passes forward and back for each image and octave; remembered batch by batch.
    """
    numbers = donated(context, name, views, targets) if isinstance(recipe.parametrization, Gate) else None

    def make(places: Tensor) -> Tensor:
        images, labels = as_bytes(views.raw(views.pool[places])), views.images.labels[views.pool[places]]
        given = None if donors is None else donors[places]
        if given is None and numbers is not None:
            given = as_bytes(views.raw(numbers[places]))
        chosen = torch.nonzero(labels != targets[places]).flatten().tolist()
        requests = [
            DreamRequest(
                Objective.logit(int(targets[places[one]]), context.class_names[int(targets[places[one]])]),
                seed=context.seed(name, int(places[one])),
                start=images[one],
                donor=None if given is None else given[one],
            )
            for one in chosen
        ]
        if requests:
            found = dream(network, requests, recipe, RenderSettings(device=context.device, dtype=context.dtype))
            images[chosen] = torch.stack([one.image for one in found])
        return images

    return context.batched(name, make)


def donated(context: BaselineContext, name: str, views: Views, targets: Tensor) -> Tensor:
    """(N,) numbers of random images of the targets' classes."""
    generator = torch.Generator().manual_seed(context.seed(name, "donors"))
    labels, draws = views.images.labels[views.pool], torch.rand(len(views), generator=generator)
    donors = torch.empty(len(views), dtype=torch.int64)
    for label in range(context.classes):
        mine, theirs = targets == label, views.pool[labels == label]
        donors[mine] = theirs[(draws[mine] * len(theirs)).long()]
    return donors


def as_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8, on the CPU."""
    return (images * 255).round().to(torch.uint8).cpu()


def beside(views: ViewMaker, others: ViewMaker) -> ViewMaker:
    """Each image either as the one or as the other has it, as likely; both numbered alike, with the same labels."""

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = views(indices, generator)
        other, _ = others(indices, generator)
        first = torch.rand(len(images), generator=generator) < 0.5
        return torch.where(first.to(images.device)[:, None, None, None], images, other), labels

    return make
