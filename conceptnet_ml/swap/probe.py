"""The dream probe: gradient ascent on a gate that makes a network see a donor's feature in an image, at least cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.config.settings import ProbeSettings
from conceptnet_ml.runtime import devices
from conceptnet_ml.swap.representation import Codec

LogitsFn = Callable[[Tensor], Tensor]
"""Images in [0, 1] (B, 3, H, W) to logits (B, K): the class margins at the top stage, parents' variants below."""


@dataclass(frozen=True)
class Prober:
    """Dreams donors' features into images.

    Args:
        objective: Whose answer is to change.
        codec: The representation swapped in.
        settings: Steps, rate, price and grid.
        dtype: Autocast type of the objective.
    """

    objective: LogitsFn
    codec: Codec
    settings: ProbeSettings
    dtype: torch.dtype | None = None

    def gates(
        self, images: Tensor, donors: Tensor, targets: Tensor, where: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """The cheapest gate per image that makes the objective answer ``targets``.

        Minimises ``CE(f(swap_T(x, d; g)), target) + λ · mean(g)`` over the gate's logits with Adam, from g = 0.5.
        Images do not influence each other. Cost: ``steps`` forward and backward passes.

        Args:
            images, donors: Floats in [0, 1] (B, 3, H, W).
            targets: int64 (B,), the answer wanted.
            where: Own places of the images and of the donors, for a regional swap.

        Returns:
            Soft gates: (B, 1, cells, cells) for a place gate, (B, C) for a channel gate, None where there is no gate.
        """
        return self._descend(
            images,
            donors,
            lambda answers: functional.cross_entropy(answers, targets, reduction="sum"),
            self.settings.price,
            where,
        )

    def slope(self, images: Tensor, donors: Tensor, targets: Tensor) -> Tensor:
        """Where a dream would go first: the loss's slope at a gate half open everywhere, its mean size one per image.

        Arguments as in :meth:`gates`, for a place gate. Returns (B, 1, cells, cells). Cost: one pass forward and back.
        """
        logits = self._start(images)
        assert logits is not None
        logits.requires_grad_(True)
        with devices.autocast(images.device, self.dtype):
            answers = self.objective(self.codec.mixer(images, donors)(logits.sigmoid()))
        loss = functional.cross_entropy(answers.float(), targets, reduction="sum")
        (slope,) = torch.autograd.grad(loss, logits)
        return slope / slope.flatten(1).abs().mean(1).clamp_min(1e-12).view(-1, 1, 1, 1)

    def _descend(
        self,
        images: Tensor,
        donors: Tensor,
        wrong: Callable[[Tensor], Tensor],
        price: float,
        where: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | None:
        """Adam on the gate's logits, from g = 0.5: ``wrong(answers) + price · mean(gate)``, summed over the images."""
        logits = self._start(images)
        if logits is None:
            return None
        swap = self.codec.mixer(images, donors, where)
        first, second = torch.zeros_like(logits), torch.zeros_like(logits)
        for step in range(1, self.settings.steps + 1):
            logits.requires_grad_(True)
            gate = logits.sigmoid()
            swapped = swap(gate)
            with devices.autocast(images.device, self.dtype):
                answers = self.objective(swapped)
            loss = wrong(answers.float()) + price * gate.flatten(1).mean(1).sum()
            (slope,) = torch.autograd.grad(loss, logits)
            with torch.no_grad():
                first.lerp_(slope, 0.1)
                second.lerp_(slope * slope, 0.001)
                scaled = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                logits = logits.detach() - self.settings.rate * (first / (1 - 0.9**step)) / scaled
        return logits.detach().sigmoid()

    def own(self, images: Tensor, right: Tensor, price: float) -> Tensor:
        """Where an image's own feature is: the cheapest place gate under which its blurred self loses the answer.

        As :meth:`gates`, with the image's own blurred version as the donor and the margin of the right answer to bring
        down in place of a donor's class to bring up. A blurred image has no feature of anyone's, so the gate marks what
        leaves and nothing that comes.

        Args:
            right: int64 (B,), the images' own answers.
            price: λ, against a margin in logits.

        Returns:
            Soft gates (B, 1, cells, cells).
        """
        neutral = blurred(images)

        def fall(answers: Tensor) -> Tensor:
            return margin_over_runner_up(answers, right).sum()

        found = self._descend(images, neutral, fall, price)
        assert found is not None
        return found

    def _start(self, images: Tensor) -> Tensor | None:
        cells = self.settings.cells
        if self.codec.gate == "place":
            height, width = images.shape[-2:]
            side = max(height, width)
            grid = (max(2, round(cells * height / side)), max(2, round(cells * width / side)))
            return images.new_zeros(len(images), 1, *grid)
        if self.codec.gate == "channel":
            encoding = self.codec.encode(images[:1])
            channels = (encoding[0] if isinstance(encoding, tuple) else encoding).shape[1]
            return images.new_zeros(len(images), channels)
        return None


def blurred(images: Tensor, share: float = 0.125) -> Tensor:
    """Images (B, 3, H, W) blurred by a Gaussian whose spread is ``share`` of the longer side, edges reflected."""
    spread = share * max(images.shape[-2:])
    for axis in (2, 3):
        reach = min(round(2 * spread), images.shape[axis] - 1)
        places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        weights = torch.exp(-((places / spread) ** 2) / 2)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        kernel = (weights / weights.sum()).reshape(shape).expand(images.shape[1], 1, *shape[2:])
        edges = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(images, edges, mode="reflect")
        images = functional.conv2d(padded, kernel, groups=images.shape[1])
    return images


def margin_over_runner_up(responses: Tensor, parents: Tensor) -> Tensor:
    """The right response less the strongest other one, (B,)."""
    own = responses.gather(1, parents[:, None])[:, 0]
    others = responses.scatter(1, parents[:, None], float("-inf"))
    return own - others.amax(1)
