"""Gates predicted by a small network from a dream's first step and the stages' maps, learned from dreamt gates.

A dreamt gate depends on chance: two dreams of an image with two donors agree in half of their open cells. What a
network learns from many of them is what they have in common, at a fifth of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.swap.probe import Prober

LEAST = 64
"""Fewer dreamt gates teach nothing; then all are dreamt."""

MOST = 4096
"""More dreamt gates teach little more, however many classes there are, and what is seen of each is kept in memory."""

DIRECTIONS = 32
"""Of each stage at most so many principal directions of its channels are looked at."""

HIDDEN, STEPS, BATCH, RATE, DECAY = 32, 240, 16, 0.01, 0.1
"""The small network and its training with AdamW on a one-cycle schedule."""


@dataclass
class GateFeatures:
    """What the predictor sees of images and their donors, batch by batch.

    Args:
        network: Its stages' maps are looked at, of the image and of the donor.
        prober: Its dream's first step: the slope of the loss at a gate that is half open everywhere.
        turns: Per stage (C, d), the principal directions of its channels; empty before :meth:`learn`.
    """

    network: StagedNetwork
    prober: Prober
    turns: dict[str, Tensor]

    @classmethod
    def learn(cls, network: StagedNetwork, prober: Prober, images: Tensor) -> GateFeatures:
        """With the directions that explain most of the stages' maps on these images, (B, 3, H, W)."""
        look = cls(network, prober, {})
        for stage, maps in look._maps(images).items():
            _, axes = torch.linalg.eigh(maps.transpose(0, 1).flatten(1).cov())
            look.turns[stage] = axes[:, -DIRECTIONS:].T[:, :, None, None].contiguous()
        return look

    def __call__(self, images: Tensor, donors: Tensor, targets: Tensor) -> Tensor:
        """(B, F, h, w) on the gates' grid. Arguments as in :meth:`Prober.gates`.

        Cost: two forward passes, and one forward and backward.
        """
        slope = self.prober.slope(images, donors, targets)
        size = (slope.shape[-2], slope.shape[-1])
        seen = [slope.contiguous(memory_format=torch.channels_last)]
        for pictures in (images, donors):
            for stage, maps in self._maps(pictures).items():
                if maps.shape[-2] > size[0]:
                    maps = functional.adaptive_avg_pool2d(maps, size)
                turned = functional.conv2d(maps, self.turns[stage])
                if turned.shape[-2:] != size:
                    turned = functional.interpolate(turned, size, mode="bilinear", align_corners=False)
                seen.append(turned)
        return torch.cat(seen, 1)

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), devices.autocast(images.device, self.prober.dtype):
            maps, _ = self.network.run_all(images)
        return {stage: found.float().contiguous(memory_format=torch.channels_last) for stage, found in maps.items()}


class GatePredictor:
    """Learned from dreamt gates; says what a dream would have opened.

    Args:
        looks: What :class:`GateFeatures` saw, (K, F, h, w).
        gates: The soft gates dreamt there, (K, 1, h, w).
        threshold: Gate value from which a cell counts as open; as many cells are open in predictions as in dreams.
        seed: Of the small network's weights and batches.

    Cost: 240 batches of 16 images; well under a second on one core for 16 × 16 cells and four stages.
    """

    def __init__(self, looks: Tensor, gates: Tensor, threshold: float, seed: int) -> None:
        mean, scale = looks.mean((0, 2, 3)), 1 / (looks.std((0, 2, 3)) + 1e-3)
        gates = gates.to(looks.device)
        generator = seeding.generator(seed)
        layers = _small_network(looks.shape[1], generator).to(looks.device)
        optimizer = torch.optim.AdamW(layers.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(len(looks), (BATCH,), generator=generator).to(looks.device)
            standard = (looks[chosen] - mean[:, None, None]) * scale[:, None, None]
            answers = layers(standard.contiguous(memory_format=torch.channels_last))
            loss = functional.binary_cross_entropy_with_logits(answers, gates[chosen])
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
        # From here on the first layer takes looks as they are, and the last one's offset opens as much as dreams do.
        first.weight *= scale[:, None, None]
        first.bias -= first.weight.sum((2, 3)) @ mean
        found = torch.cat([layers(part) for part in looks.split(256)]).flatten()
        closed = round(float((gates <= threshold).double().mean()) * found.numel())
        last.bias += (
            torch.logit(torch.tensor(threshold)).to(found.device) - found.sort().values[min(closed, len(found) - 1)]
        )

    def __call__(self, looks: Tensor) -> Tensor:
        """Soft gates (B, 1, h, w) for what :class:`GateFeatures` saw, (B, F, h, w)."""
        found: Tensor = self._layers(looks)
        return found.sigmoid()


def _small_network(channels: int, generator: torch.Generator) -> nn.Sequential:
    """A layer cell by cell and one over neighbouring cells; weights drawn by the generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        layers = nn.Sequential(nn.Conv2d(channels, HIDDEN, 1), nn.ReLU(), nn.Conv2d(HIDDEN, 1, 3, padding=1))
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
