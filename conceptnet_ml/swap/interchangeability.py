"""φ and ι: what becomes of the answers when a probe's gate lets in the donor's material, another's, a class-mate's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.swap.probe import LogitsFn, Prober
from conceptnet_ml.swap.views import Donors, Views, open_cells


@dataclass(frozen=True)
class Measured:
    """What a probe found in one representation, per class (or parent).

    Args:
        representation: Its name.
        gate: Its kind of gate, as the representation has it.
        images: Held-out images counted, those answered rightly before the swap.
        flips: φ, the rate at which the donor's swap changes the answer.
        others: The same for other random donors of other classes, in the image's own gate joined with theirs.
        mates: The same for random class-mates as donors.
        price: Mean share of the gate that is open; 1 where there is no gate.
        answered: Share of all held-out images answered rightly before the swap.
        asked: Held-out images per class, right or wrong; none where nobody counted.
        met: Which classes met: host, donor, how many swaps with others were tried, and how many changed the answer.
    """

    representation: str
    gate: str
    images: tuple[int, ...]
    flips: tuple[float, ...]
    others: tuple[float, ...]
    mates: tuple[float, ...]
    price: float
    answered: float = 1.0
    asked: tuple[int, ...] = ()
    met: tuple[tuple[int, int, int, int], ...] = ()

    @property
    def phi(self) -> float:
        """φ, averaged over the classes."""
        return _mean(self.flips)

    @property
    def iotas(self) -> tuple[float, ...]:
        """ι per class: how much more often others of other classes change the answer than class-mates do."""
        return tuple(other - mate for other, mate in zip(self.others, self.mates, strict=True))

    @property
    def iota(self) -> float:
        """ι of all classes together, see :func:`together`."""
        return together(self.iotas)

    @property
    def contrast(self) -> float:
        """φ less what a class-mate's material changes already: the measure for swaps without a place gate."""
        return self.phi - _mean(self.mates)

    def separable(self, imperfection: float) -> float:
        """ι less what the network gets wrong, weighed: the measure for place-gated swaps.

        A shortcut fits the labels perfectly, so a network that rests on one hardly errs; an object is seldom that easy.
        """
        return self.iota - imperfection * (1 - self.answered)

    def within(self, classes: tuple[int, ...], imperfection: float) -> tuple[tuple[float, ...], float]:
        """ι per class and the measure, if these were all classes there are."""
        tried, changed = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
        for host, donor, count, hits in self.met:
            if host in tried and donor in tried:
                tried[host] += count
                changed[host] += hits
        iotas = tuple(changed[c] / max(1, tried[c]) - self.mates[c] for c in classes)
        asked = sum(self.asked[c] for c in classes)
        right = sum(self.images[c] for c in classes) / max(1, asked)
        return iotas, together(iotas) - imperfection * (1 - right)

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        return {**asdict(self), "phi": self.phi, "iotas": self.iotas, "iota": self.iota, "contrast": self.contrast}


DONORS = 3
"""Other donors and class-mates drawn for each image; more make ι less noisy at one forward pass each."""


@dataclass
class _Bank:
    """The images measured, each as one view, and the gate its own probe found.

    Args:
        numbers: (N,) image numbers.
        images: uint8 (N, 3, H, W), one view each.
        right: (N,) the right answers.
        answered: (N,) whether the objective was right before any swap.
        gates: (N, …) soft gates on the CPU, None for a swap without.
        flipped: (N,) whether the probe's own swap changed a right answer.
    """

    numbers: Tensor
    images: Tensor
    right: Tensor
    answered: Tensor
    gates: Tensor | None
    flipped: Tensor

    def floats(self, places: Tensor) -> Tensor:
        """Views at these places, floats in [0, 1]."""
        return self.images[places.to(self.images.device)].float() / 255


def measure_swap(
    prober: Prober,
    views: Views,
    numbers: Tensor,
    parents: Tensor,
    seed: int,
    regions: Callable[[Tensor], Tensor] | None = None,
    hopeless: float = 0.0,
    partners: Tensor | None = None,
    advance: Callable[..., None] = lambda *args: None,
) -> Measured:
    """φ, ι and their parts on held-out images.

    Each image meets a donor of another class, and the probe finds its gate. Then others of other classes, and
    class-mates, take the donor's place as they do in views: my feature out, yours in, so that the region is the image's
    own gate joined with theirs, which their own probes found.

    Args:
        prober: What is probed, and in which representation.
        views: Makes the images' views.
        numbers: (N,) held-out image numbers; donors are drawn among them.
        parents: (all images,) the right answer of each image.
        seed: Fixes views and donors.
        regions: Image numbers to the images' own places, (B, 1, H, W); None for everywhere.
        hopeless: A swap of the whole image that, entire, flips this much more often than a class-mate's at most is not
            looked into any further: no part of it will do more.
        partners: (classes, m) the classes an image of each class may meet, None for all others.
        advance: Called with the number of images done.

    Cost: one probe, and ``2 · DONORS + 2`` forward passes per image; three forward passes where there is no hope.
    """
    right = parents[numbers]
    draw = Donors(right, torch.arange(len(numbers)), int(parents.max()) + 1, partners)
    bank = _look(prober, views, numbers, right, seed)
    if prober.codec.gate != "place":
        entire = _entire(prober, bank, right, draw, seed)
        if entire.contrast < hopeless:
            advance(len(numbers))
            return entire
    _dream(prober, bank, right, draw, seed, regions, advance)
    counts = torch.zeros(4, draw.classes, dtype=torch.float64)
    counts[0].index_add_(0, right, bank.answered.double())
    counts[1].index_add_(0, right, bank.flipped.double())
    met = torch.zeros(2, draw.classes, draw.classes, dtype=torch.int64)
    for part, places in enumerate(torch.arange(len(numbers)).split(prober.settings.batch)):
        generator = seeding.generator(seeding.seed_for(seed, "others", part))
        for _ in range(DONORS):
            foreign = draw.foreign(places, generator)
            for row, who in ((2, foreign), (3, draw.mates(places, generator))):
                changed = _changed(prober, bank, places, who, right, regions)
                counts[row].index_add_(0, right[places], changed.double())
                if row == 2:
                    both = right[places], right[foreign]
                    met[0].index_put_(both, bank.answered[places].long(), accumulate=True)
                    met[1].index_put_(both, changed.long(), accumulate=True)
    return _measured(prober, bank, counts, DONORS, met)


def _measured(prober: Prober, bank: _Bank, counts: Tensor, draws: int, met: Tensor | None = None) -> Measured:
    """From counts per class, (4, classes): images answered, flips, those by others and by mates in so many draws; and
    per pair of classes, (2, classes, classes): swaps tried, answers changed."""
    pairs = (
        () if met is None else tuple((h, d, int(met[0, h, d]), int(met[1, h, d])) for h, d in met[0].nonzero().tolist())
    )
    seen = counts[0].clamp_min(1)
    flips = (counts[1] / seen).tolist()
    others, mates = ((counts[row] / seen / draws).tolist() for row in (2, 3))
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
        float(counts[0].sum()) / len(bank.numbers),
        tuple(torch.bincount(bank.right, minlength=counts.shape[1]).tolist()),
        pairs,
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


def answer(objective: LogitsFn, images: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The objective's answer per image, (B,) on the CPU."""
    with torch.no_grad(), devices.autocast(images.device, dtype):
        return objective(images).float().argmax(1).cpu()


def _look(prober: Prober, views: Views, numbers: Tensor, right: Tensor, seed: int) -> _Bank:
    """One view of every image, and whether it is answered rightly."""
    images, answered = [], []
    for part, chosen in enumerate(numbers.split(prober.settings.batch)):
        view = views.of(chosen, seeding.generator(seeding.seed_for(seed, "measure", part)))
        images.append((view * 255).round().to(torch.uint8))
    bank = _Bank(numbers, torch.cat(images), right, torch.zeros(0), None, torch.zeros(0))
    for places in torch.arange(len(numbers)).split(prober.settings.batch):
        answered.append(answer(prober.objective, bank.floats(places), prober.dtype) == right[places])
    bank.answered = torch.cat(answered)
    return bank


def _entire(prober: Prober, bank: _Bank, right: Tensor, draw: Donors, seed: int) -> Measured:
    """What swapping everything does, with one donor of another class and one class-mate an image."""
    counts = torch.zeros(3, draw.classes, dtype=torch.float64)
    counts[0].index_add_(0, right, bank.answered.double())
    for part, places in enumerate(torch.arange(len(right)).split(prober.settings.batch)):
        generator = seeding.generator(seeding.seed_for(seed, "entire", part))
        for row, who in ((1, draw.foreign(places, generator)), (2, draw.mates(places, generator))):
            changed = _changed(prober, bank, places, who, right, None)
            counts[row].index_add_(0, right[places], changed.double())
    return _measured(prober, bank, counts[[0, 1, 1, 2]], 1)


def _dream(
    prober: Prober,
    bank: _Bank,
    right: Tensor,
    draw: Donors,
    seed: int,
    regions: Callable[[Tensor], Tensor] | None,
    advance: Callable[..., None],
) -> None:
    """The probe with one donor of another class for each image: its gates and what they flip."""
    flipped, gates = [], []
    for part, places in enumerate(torch.arange(len(right)).split(prober.settings.batch)):
        donors = draw.foreign(places, seeding.generator(seeding.seed_for(seed, "donors", part)))
        pictures, material = bank.floats(places), bank.floats(donors)
        where = None if regions is None else (regions(bank.numbers[places]), regions(bank.numbers[donors]))
        found = prober.gates(pictures, material, right[donors].to(pictures.device), where)
        swapped = exchange(prober, pictures, material, found, 0, where)
        flipped.append(bank.answered[places] & (answer(prober.objective, swapped, prober.dtype) != right[places]))
        if found is not None:
            gates.append(found.cpu())
        advance(len(places))
    bank.flipped = torch.cat(flipped)
    bank.gates = torch.cat(gates) if gates else None


def _changed(
    prober: Prober,
    bank: _Bank,
    places: Tensor,
    who: Tensor,
    right: Tensor,
    regions: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """Which right answers change when these others' material comes in."""
    images, material = bank.floats(places), bank.floats(who)
    gates, where = None, None
    if bank.gates is not None:
        gates = bank.gates[places].to(images.device)
        if prober.codec.joins:
            gates = torch.maximum(gates, bank.gates[who].to(images.device))
    if regions is not None:
        where = (regions(bank.numbers[places]), regions(bank.numbers[who]))
    swapped = exchange(prober, images, material, gates, 0, where)
    return bank.answered[places] & (answer(prober.objective, swapped, prober.dtype) != right[places])


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else 0.0


def together(iotas: tuple[float, ...]) -> float:
    """ι of several classes: the mean over all but the one in which it is highest; of two, the lower.

    A part of an object can often be exchanged one way and not the other (a car hides under a dog's head, a dog does not
    under a car's door); what is no part of it can be exchanged both ways.
    """
    return _mean(tuple(sorted(iotas)[: max(1, len(iotas) - 1)]))
