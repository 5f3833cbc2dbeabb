"""The dream probe: gradient descent on a gate that makes a network see a donor's feature in an image, at least cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.config.settings import ProbeSettings
from conceptnet_ml.runtime import devices, layout
from conceptnet_ml.swap.representation import Codec, Regions, gate_grid, open_cells

ENOUGH = 0.9
"""Of the answers that the whole swap changes, the share that a gate on channels must change."""

PRICES = 6
"""How many prices are tried for it, each half of the one before."""

LEAD, LOUD = 10.0, 14.0
"""Of the first answer's logit over the second's, in the median: what a sure network from fresh weights has, and from
where one is only louder. The loudest of some hundred from fresh weights, a reader of digits, has 12.8."""

LogitsFn = Callable[[Tensor], Tensor]
"""Images in [0, 1] (B, 3, H, W) to logits (B, K): the class logits at the top stage, parents' variants below."""


LossOf = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and the classes wanted or had, (B,), to a loss summed over the images."""


@dataclass(frozen=True)
class Prober:
    """Dreams donors' features into images.

    Args:
        logits: Whose answer is to change.
        codec: The representation swapped in.
        settings: Steps, rate, price, grid and threshold.
        dtype: Autocast type of ``logits``.
    """

    logits: LogitsFn
    codec: Codec
    settings: ProbeSettings
    dtype: torch.dtype | None = None

    def gates(self, images: Tensor, donors: Tensor, targets: Tensor, where: Regions | None = None) -> Tensor | None:
        """The cheapest gate that makes the answer ``targets``: of places one for each image, of channels one for all.

        Minimises ``CE(f(swap_T(x, d; g)), target) + λ · mean(g)`` over the gate's logits with Adam, from g = 0.5. With
        gates on places, images do not influence each other. A channel means the same in every image: gates of single
        images leave one shut wherever another happens to do, and what is exchanged in one image still tells the class
        in the next. So they share a gate, and λ is halved until it changes ``ENOUGH`` of the answers that the whole
        swap changes. Cost: ``steps`` forward and backward passes, for channels at most ``PRICES`` times as many.

        Args:
            images, donors: Floats in [0, 1] (B, 3, H, W).
            targets: int64 (B,), the answer wanted.
            where: Own places of the images and of the donors, for a regional swap.

        Returns:
            Soft gates: (B, 1, cells, cells) for a place gate; (B, C) for a channel gate, the same for all images; None
            where there is no gate; the codec's own where it has one.
        """
        if self.codec.given is not None:
            return self.codec.given.to(images.device).expand(len(images), -1, -1, -1)
        loss = partial(functional.cross_entropy, reduction="sum")
        price = self.settings.price
        gates = self._minimise(images, donors, targets, loss, price, where)
        if gates is None or self.codec.gate != "channel":
            return gates
        enough = ENOUGH * self._agreement(images, donors, targets, None)
        for halved in range(1, PRICES):
            if self._agreement(images, donors, targets, gates) >= enough:
                break
            lower = self._minimise(images, donors, targets, loss, price / 2**halved, where)
            assert lower is not None
            gates = lower
        return gates.expand(len(images), -1)

    def _agreement(self, images: Tensor, donors: Tensor, targets: Tensor, gate: Tensor | None) -> float:
        """The share of swaps that are answered as wanted."""
        return float((self.answers(self.hard_swap(images, donors, gate)) == targets.cpu()).double().mean())

    def own_gates(self, images: Tensor, labels: Tensor, price: float) -> Tensor:
        """Where an image's own feature is: the cheapest place gate under which its blurred version loses the answer.

        As :meth:`gates`, with the image's own blurred version as the donor, and with the margin of the right answer to
        bring down instead of a donor's class to bring up. A blurred image has no feature of any class, so the gate
        marks what leaves and nothing that comes in.

        Args:
            labels: int64 (B,), the images' own answers.
            price: λ, against a margin in logits.

        Returns:
            Soft gates (B, 1, cells, cells).
        """

        def loss(answers: Tensor, labels: Tensor) -> Tensor:
            return margin_over_runner_up(answers, labels).sum()

        gates = self._minimise(images, _blur(images), labels, loss, price)
        assert gates is not None
        return gates

    def first_gradient(self, images: Tensor, donors: Tensor, targets: Tensor) -> Tensor:
        """The loss's gradient at a gate half open everywhere, scaled to a mean size of one per image.

        Arguments as in :meth:`gates`, for a place gate. Returns (B, 1, cells, cells). Cost: one pass forward and back.
        """
        gate_logits = self._initial_logits(images)
        assert gate_logits is not None
        gate_logits.requires_grad_(True)
        with devices.autocast(images.device, self.dtype):
            answers = self.logits(self.codec.mixer(images, donors)(gate_logits.sigmoid()))
        loss = functional.cross_entropy(answers.float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, gate_logits)
        return gradient / gradient.flatten(1).abs().mean(1).clamp_min(1e-12).view(-1, 1, 1, 1)

    @torch.no_grad()
    def hard_swap(self, images: Tensor, donors: Tensor, gates: Tensor | None, where: Regions | None = None) -> Tensor:
        """The swap with soft gates made hard, as it is counted and shown; arguments as in :meth:`gates`."""
        if gates is not None and self.codec.gate == "place":
            gates = open_cells(gates, (images.shape[-2], images.shape[-1]), self.settings.threshold, 0)
        elif gates is not None:
            gates = (gates > self.settings.threshold).float()
        if gates is None and where is None:
            return self.codec.measured(images, donors)
        return self.codec.swap(images, donors, gates, where)

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """The answer to each image, (B,) on the CPU."""
        with devices.autocast(images.device, self.dtype):
            return self.logits(images).float().argmax(1).cpu()

    def _minimise(
        self,
        images: Tensor,
        donors: Tensor,
        wanted: Tensor,
        loss_of: LossOf,
        price: float,
        where: Regions | None = None,
    ) -> Tensor | None:
        """Adam on the gate's logits, from g = 0.5, of ``loss_of(answers, wanted) + price · mean(gate)``, summed over
        images: of places as many at a time as memory allows; a gate on channels is one for all.
        """
        if self.codec.gate != "place" or len(images) == 0:
            return self._descend(images, donors, wanted, loss_of, price, where)

        def gates(at_a_time: int) -> Tensor:
            found = []
            for begin in range(0, len(images), at_a_time):
                part = slice(begin, begin + at_a_time)
                region = None if where is None else (where[0][part], where[1][part])
                found.append(self._descend(images[part], donors[part], wanted[part], loss_of, price, region))
            return torch.cat([one for one in found if one is not None])

        return devices.within_memory(gates, len(images))[0]

    def _descend(
        self,
        images: Tensor,
        donors: Tensor,
        wanted: Tensor,
        loss_of: LossOf,
        price: float,
        where: Regions | None,
    ) -> Tensor | None:
        """:meth:`_minimise` for all of these images at once; None where there is no gate."""
        gate_logits = self._initial_logits(images)
        if gate_logits is None:
            return None
        swap = self.codec.mixer(images, donors, where)
        mean, square = torch.zeros_like(gate_logits), torch.zeros_like(gate_logits)
        for step in range(1, self.settings.steps + 1):
            gate_logits.requires_grad_(True)
            gate = gate_logits.sigmoid()
            swapped = swap(gate)
            with devices.autocast(images.device, self.dtype):
                answers = self.logits(swapped)
            loss = loss_of(answers.float(), wanted) + price * gate.flatten(1).mean(1).sum() * (len(images) / len(gate))
            (gradient,) = torch.autograd.grad(loss, gate_logits)
            with torch.no_grad():
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient * gradient, 0.001)
                scale = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
                gate_logits = gate_logits.detach() - self.settings.rate * (mean / (1 - 0.9**step)) / scale
        return gate_logits.detach().sigmoid()

    def _initial_logits(self, images: Tensor) -> Tensor | None:
        cells = self.settings.cells
        if self.codec.gate == "place":
            return images.new_zeros(len(images), 1, *gate_grid((images.shape[-2], images.shape[-1]), cells))
        if self.codec.gate == "channel":
            return images.new_zeros(1, self.codec.channels(images))
        return None


def loudness(logits: LogitsFn, images: Tensor, dtype: torch.dtype | None) -> float:
    """What logits are to be divided by before a price is weighed against them: as much as brings the median lead of the
    first answer to these images, floats in [0, 1] (B, 3, H, W), to ``LEAD``; 1 where it is not above ``LOUD``.

    So a price is weighed against what a network decides, not against how loudly (docs/decisions/0080-softened.md).
    """
    with torch.no_grad(), devices.autocast(images.device, dtype):
        answers = torch.cat([logits(part).float() for part in images.split(64)])
    first, second = answers.topk(2).values.unbind(1)
    lead = float((first - second).median())
    return lead / LEAD if lead > LOUD else 1.0


def softened(logits: LogitsFn, loud: float) -> LogitsFn:
    """The logits, divided by what :func:`loudness` says."""
    return logits if loud == 1 else lambda images: logits(images) / loud


def _blur(images: Tensor, share: float = 0.125) -> Tensor:
    """Images (B, 3, H, W) blurred by a Gaussian whose spread is ``share`` of the longer side, edges reflected.

    One axis after the other: torchvision's ``gaussian_blur`` convolves with the whole square kernel, which costs more
    by as many times as the kernel is wide and rounds otherwise.
    """
    spread = share * max(images.shape[-2:])
    for axis in (2, 3):
        reach = min(round(2 * spread), images.shape[axis] - 1)
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        weights = torch.exp(-((offsets / spread) ** 2) / 2)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        kernel = (weights / weights.sum()).reshape(shape).expand(images.shape[1], 1, *shape[2:])
        edges = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(images, edges, mode="reflect")
        images = functional.conv2d(layout.for_convolution(padded, kernel), kernel, groups=images.shape[1])
    return images


def margin_over_runner_up(responses: Tensor, parents: Tensor) -> Tensor:
    """The right response less the strongest other one, (B,)."""
    own = responses.gather(1, parents[:, None])[:, 0]
    others = responses.scatter(1, parents[:, None], float("-inf"))
    return own - others.amax(1)
