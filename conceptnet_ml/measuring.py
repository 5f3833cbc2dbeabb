"""φ and ι: what becomes of the answers when a probe's gate lets in the donor's material, another's, a class-mate's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml import runtime
from conceptnet_ml.decisions import Measured
from conceptnet_ml.probing import Objective, Prober
from conceptnet_ml.swaps import Donors, Views, open_cells
from conceptnet_ml.training import moved

DONORS = 3
"""Other donors and class-mates drawn for each image; more make ι less noisy at one forward pass each."""
MATES_GROW = 0.032
"""How far the gate is grown for a class-mate, as a share of the side: a context he could give away counts."""
REACH = 0.25
"""How far another donor's feature may be brought under the gate, as a share of the side."""


@dataclass
class _Bank:
    """The images measured, each as one view, and the gate its own probe found.

    Args:
        numbers: (N,) image numbers.
        images: uint8 (N, 3, H, W), one view each.
        answered: (N,) whether the objective was right before any swap.
        gates: (N, …) soft gates on the CPU, None for a swap without.
        flipped: (N,) whether the probe's own swap changed a right answer.
    """

    numbers: Tensor
    images: Tensor
    answered: Tensor
    gates: Tensor | None
    flipped: Tensor

    def floats(self, places: Tensor) -> Tensor:
        """Views at these places, floats in [0, 1]."""
        return self.images[places.to(self.images.device)].float() / 255


def measure(
    prober: Prober,
    views: Views,
    numbers: Tensor,
    parents: Tensor,
    seed: int,
    regions: Callable[[Tensor], Tensor] | None = None,
    advance: Callable[..., None] = lambda *args: None,
) -> Measured:
    """φ, ι and their parts on held-out images.

    Each image meets a donor of another class; the gate its probe finds is then used on other donors and on class-mates.
    A feature may sit elsewhere in them, so under a place gate they are first moved, by at most a quarter of the side,
    to where their own gate lies best on the image's.

    Args:
        prober: What is probed, and in which representation.
        views: Makes the images' views.
        numbers: (N,) held-out image numbers; donors are drawn among them.
        parents: (all images,) the right answer of each image.
        seed: Fixes views and donors.
        regions: Image numbers to the images' own places, (B, 1, H, W); None for everywhere.
        advance: Called with the number of images done.

    Cost: one probe, and ``2 · DONORS + 2`` forward passes per image.
    """
    right = parents[numbers]
    draw = Donors(right, torch.arange(len(numbers)), int(parents.max()) + 1)
    bank = _probe(prober, views, numbers, right, draw, seed, regions, advance)
    grow = max(1, round(MATES_GROW * max(bank.images.shape[-2:])))
    counts = torch.zeros(4, draw.classes, dtype=torch.float64)
    counts[0].index_add_(0, right, bank.answered.double())
    counts[1].index_add_(0, right, bank.flipped.double())
    for part, places in enumerate(torch.arange(len(numbers)).split(prober.settings.batch)):
        generator = runtime.generator(runtime.seed_for(seed, "others", part))
        for _ in range(DONORS):
            for row, who, wider in ((2, draw.foreign(places, generator), 0), (3, draw.mates(places, generator), grow)):
                changed = _changed(prober, bank, places, who, right, wider, regions)
                counts[row].index_add_(0, right[places], changed.double())
    seen = counts[0].clamp_min(1)
    flips, others, mates = ((counts[row] / seen / share).tolist() for row, share in ((1, 1), (2, DONORS), (3, DONORS)))
    price = 1.0
    if bank.gates is not None:
        price = float((bank.gates > prober.settings.threshold).float().mean())
    return Measured(
        prober.codec.name,
        prober.codec.record.gate,
        tuple(int(n) for n in counts[0]),
        tuple(flips),
        tuple(others),
        tuple(mates),
        price,
        float(counts[0].sum()) / len(numbers),
    )


def exchange(
    prober: Prober,
    images: Tensor,
    donors: Tensor,
    gates: Tensor | None,
    grow: int,
    where: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The swap with a hardened gate, as it is counted and shown."""
    with torch.no_grad():
        if gates is None or prober.codec.gate != "place":
            hard = None if gates is None else (gates > prober.settings.threshold).float()
            return prober.codec.swap(images, donors, hard, where)
        hard = open_cells(gates, (images.shape[-2], images.shape[-1]), prober.settings.threshold, grow)
        return prober.codec.swap(images, donors, hard, where)


def answer(objective: Objective, images: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The objective's answer per image, (B,) on the CPU."""
    with torch.no_grad(), runtime.autocast(images.device, dtype):
        return objective(images).float().argmax(1).cpu()


def _probe(
    prober: Prober,
    views: Views,
    numbers: Tensor,
    right: Tensor,
    draw: Donors,
    seed: int,
    regions: Callable[[Tensor], Tensor] | None,
    advance: Callable[..., None],
) -> _Bank:
    """One view of every image, and the probe with one donor of another class each."""
    batch = prober.settings.batch
    images = []
    for part, chosen in enumerate(numbers.split(batch)):
        view = views.of(chosen, runtime.generator(runtime.seed_for(seed, "measure", part)))
        images.append((view * 255).round().to(torch.uint8))
    bank = _Bank(numbers, torch.cat(images), torch.zeros(0), None, torch.zeros(0))
    answered, flipped, gates = [], [], []
    for part, places in enumerate(torch.arange(len(numbers)).split(batch)):
        donors = draw.foreign(places, runtime.generator(runtime.seed_for(seed, "donors", part)))
        pictures, material = bank.floats(places), bank.floats(donors)
        was_right = answer(prober.objective, pictures, prober.dtype) == right[places]
        where = None if regions is None else (regions(numbers[places]), regions(numbers[donors]))
        found = prober.gates(pictures, material, right[donors].to(pictures.device), where)
        swapped = exchange(prober, pictures, material, found, 0, where)
        answered.append(was_right)
        flipped.append(was_right & (answer(prober.objective, swapped, prober.dtype) != right[places]))
        if found is not None:
            gates.append(found.cpu())
        advance(len(places))
    bank.answered, bank.flipped = torch.cat(answered), torch.cat(flipped)
    bank.gates = torch.cat(gates) if gates else None
    return bank


def _changed(
    prober: Prober,
    bank: _Bank,
    places: Tensor,
    who: Tensor,
    right: Tensor,
    grow: int,
    regions: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Which right answers change when these others' material comes in under the images' own gates."""
    images, material = bank.floats(places), bank.floats(who)
    gates, where = None, None
    if bank.gates is not None:
        gates = bank.gates[places].to(images.device)
        if prober.codec.gate == "place" and prober.codec.joins:
            open_ = bank.gates > prober.settings.threshold
            down, across = best_move(open_[places].float(), open_[who].float())
            cell = images.shape[-2] / bank.gates.shape[-2], images.shape[-1] / bank.gates.shape[-1]
            material = moved(material, (down * cell[0]).round().long(), (across * cell[1]).round().long())
    if regions is not None:
        where = (regions(bank.numbers[places]), regions(bank.numbers[who]))
    swapped = exchange(prober, images, material, gates, grow, where)
    return bank.answered[places] & (answer(prober.objective, swapped, prober.dtype) != right[places])


def best_move(gates: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """How many cells each of the others must move down and to the right to lie best on its gate; the shortest such way.

    Args:
        gates, others: (B, 1, h, w), 0 or 1.

    Returns:
        Two (B,) integers. Cost: one product of the grids per move within reach.
    """
    height, width = gates.shape[-2:]
    tall, wide = max(1, round(REACH * height)), max(1, round(REACH * width))
    padded = functional.pad(others, (wide, wide, tall, tall))
    best = torch.full((len(gates),), float("-inf"))
    found = torch.zeros(2, len(gates), dtype=torch.int64)
    for down in range(-tall, tall + 1):
        for across in range(-wide, wide + 1):
            there = padded[:, :, tall - down : tall - down + height, wide - across : wide - across + width]
            fit = (gates * there).flatten(1).sum(1) - 1e-3 * (abs(down) + abs(across))
            better = fit > best
            best = torch.where(better, fit, best)
            found[0][better], found[1][better] = down, across
    return found[0], found[1]
