"""Gates predicted by a small network from a dream's first gradient and the stages' maps, learned from dreamt gates.

A dreamt gate depends on chance: two dreams of an image with two donors agree in half of their open cells. A network
trained on many of them learns what they have in common, at a fifth of the cost of dreaming all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices, layout, seeding
from conceptnet_ml.swap.probe import Prober

LEAST = 64
"""With fewer dreamt gates nothing can be learned; then all gates are dreamt."""

MOST = 4096
"""More dreamt gates add little, with any number of classes, and the features of each are kept in memory."""

DIRECTIONS = 32
"""Principal directions kept of each stage's channels, at most."""

HIDDEN, STEPS, BATCH, RATE, DECAY = 32, 240, 16, 0.01, 0.1
"""The small network and its training with AdamW on a one-cycle schedule."""


@dataclass(frozen=True)
class GateFeatures:
    """What the predictor sees of images and their donors, batch by batch.

    Args:
        network: Whose stages' maps are read, of the image and of the donor.
        prober: Gives the dream's first gradient.
        directions: Per stage (d, C, 1, 1), the principal directions of its channels.
    """

    network: StagedNetwork
    prober: Prober
    directions: dict[str, Tensor]

    @classmethod
    def fit(cls, network: StagedNetwork, prober: Prober, images: Tensor) -> GateFeatures:
        """With the directions that explain most of the stages' maps of these images, (B, 3, H, W)."""
        features = cls(network, prober, {})
        for stage, maps in features._maps(images).items():
            values = maps.transpose(0, 1).flatten(1)
            covariance = values.cov()
            if values.shape[1] <= len(values) or not covariance.diagonal().all():
                covariance = covariance.double()  # singular: in single precision its eigenvalues may not be found
            axes = torch.linalg.eigh(covariance).eigenvectors[:, -DIRECTIONS:]
            features.directions[stage] = axes.T[:, :, None, None].to(maps).contiguous()
        return features

    def __call__(self, images: Tensor, donors: Tensor, targets: Tensor) -> Tensor:
        """(B, F, h, w) on the gates' grid. Arguments as in :meth:`Prober.gates`.

        Cost: two forward passes, and one forward and backward.
        """
        gradient = self.prober.first_gradient(images, donors, targets)
        size = (gradient.shape[-2], gradient.shape[-1])
        parts = [layout.arranged(gradient)]
        for pictures in (images, donors):
            for stage, maps in self._maps(pictures).items():
                if maps.shape[-2] > size[0]:
                    maps = functional.adaptive_avg_pool2d(maps, size)
                weight = self.directions[stage]
                projected = functional.conv2d(layout.for_convolution(maps, weight), weight)
                if projected.shape[-2:] != size:
                    projected = functional.interpolate(projected, size, mode="bilinear", align_corners=False)
                parts.append(projected)
        return torch.cat(parts, 1)

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), devices.autocast(images.device, self.prober.dtype):
            stages, _ = self.network.run_all(images)
        return {name: layout.arranged(maps.float()) for name, maps in stages.items()}


class GatePredictor:
    """Learned from dreamt gates; predicts what a dream would open.

    Args:
        features: Of the dreamt images, (K, F, h, w), see :class:`GateFeatures`.
        gates: The soft gates dreamt there, (K, 1, h, w).
        threshold: Gate value from which a cell counts as open; as many cells are open in predictions as in dreams.
        seed: Of the small network's weights and batches.

    Cost: 240 batches of 16 images; well under a second on one core for 16 × 16 cells and four stages.
    """

    def __init__(self, features: Tensor, gates: Tensor, threshold: float, seed: int) -> None:
        mean, scale = features.mean((0, 2, 3)), 1 / (features.std((0, 2, 3)) + 1e-3)
        gates = gates.to(features.device)
        generator = seeding.generator(seed)
        layers = layout.to_device(_small_network(features.shape[1], generator), features.device)
        optimizer = torch.optim.AdamW(layers.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(len(features), (BATCH,), generator=generator).to(features.device)
            standard = (features[chosen] - mean[:, None, None]) * scale[:, None, None]
            logits = layers(layout.arranged(standard, narrow=True))
            loss = functional.binary_cross_entropy_with_logits(logits, gates[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self._layers = layers.requires_grad_(False)
        first, last = layers[0], layers[-1]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        assert first.bias is not None
        assert last.bias is not None
        # From here on the first layer takes features as they are, and the last bias opens as many cells as dreams do.
        first.weight *= scale[:, None, None]
        first.bias -= first.weight.sum((2, 3)) @ mean
        logits = torch.cat([self._logits(part) for part in features.split(256)]).flatten()
        closed = round(float((gates <= threshold).double().mean()) * logits.numel())
        boundary = logits.sort().values[min(closed, len(logits) - 1)]
        last.bias += torch.logit(torch.tensor(threshold)).to(logits.device) - boundary

    def __call__(self, features: Tensor) -> Tensor:
        """Soft gates (B, 1, h, w) for :class:`GateFeatures` (B, F, h, w)."""
        return self._logits(features).sigmoid()

    def _logits(self, features: Tensor) -> Tensor:
        answers: Tensor = self._layers(layout.for_convolution(features, self._layers[-1].get_parameter("weight")))
        return answers


def _small_network(channels: int, generator: torch.Generator) -> nn.Sequential:
    """A layer cell by cell and one over neighbouring cells; weights drawn by the generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        layers = nn.Sequential(nn.Conv2d(channels, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, 1, 3, padding=1))
    return layers
