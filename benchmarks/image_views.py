"""Views of images as they are, to train networks on that no learner has to do with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.training import to_float


@dataclass(frozen=True)
class ImageViews:
    """The images themselves, each with its own label: a :class:`~conceptnet_ml.network.training.ViewMaker`."""

    images: ImageSet
    device: torch.device

    def __call__(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return to_float(self.images.take(indices), self.device), self.images.labels[indices].to(self.device)
