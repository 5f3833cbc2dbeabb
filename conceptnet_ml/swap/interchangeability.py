"""φ and ι: how often a swap changes the answer, and whether any donor's material serves as well as another's.

:func:`measure_swap`, on held-out images:

1. One view of every image is drawn and answered. From here on only images that are answered rightly count.
2. A swap without a place gate is first made whole, with a donor of another class and with a class-mate. Where that
   changes little more with the first than with the second, no part of it will do more, and the rest is left out.
3. Each image meets one donor of another class, and the dream probe finds its gate. φ of a class is the rate at which
   the swap through this gate changes the right answer of its images.
4. Each image meets ``DONORS`` further donors of other classes and as many class-mates, under the gate of views: its
   own joined with the donor's, which the donor's own probe found in step 3.
5. ι of a class is the rate at which the donors of other classes change the answer in step 4, less the rate at which
   class-mates do: high for one thing among others, low for a part that fits only its own object.
   :func:`pooled_iota` puts the classes together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.runtime import ranks, seeding
from conceptnet_ml.swap.hits import Hits
from conceptnet_ml.swap.pairs import Donations, Donors, Pairs, hosts_and_donors, pairs
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import Regions
from conceptnet_ml.swap.sureness import Redraws
from conceptnet_ml.swap.views import Views

DONORS = 3
"""Donors of other classes, and class-mates, drawn for each image in step 4; more make ι less noisy at one forward pass
each."""


@dataclass(frozen=True)
class SwapMeasurement:
    """What a probe found in one representation, per class (or parent).

    Args:
        representation: Its name.
        gate: The representation's kind of gate.
        images: Held-out images counted, those answered rightly before the swap.
        flips: φ, the rate at which the donor's swap changes the answer.
        others: The same for other random donors of other classes, in the image's own gate joined with theirs.
        mates: The same for random class-mates as donors.
        price: Mean share of the gate that is open; 1 where there is no gate.
        answered: Share of all held-out images answered rightly before the swap.
        asked: Held-out images per class, right or wrong; empty where they were not counted.
        met: Per pair of classes: host, donor, how many swaps with ``others`` were tried, and how many changed the
            answer.
        entire: Whether the representation's channels hold the image as a whole.
        in_part: Whether a swap of the whole image may be kept where it decides in part: where the representation has a
            ``measure``, by which what nature gives two classes rises little, or little anyway.
        nature: The most contrast that nature gives two classes, where what is exchanged says how a picture was taken,
            not what is on it; else None.
        later: Whether anything was exchanged before at the top stage: what is left is the object sooner than a cue.
        told: Of a network that was trained to read a cue with exceptions alone: the share of held-out images, above
            chance, whose class it tells. None of any other network.
        hits: The same image by image; None in runs of before, and where it is not kept.
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
    entire: bool = False
    in_part: bool = True
    nature: float | None = None
    later: bool = False
    told: float | None = None
    hits: Hits | None = field(default=None, compare=False, repr=False)

    @property
    def phi(self) -> float:
        """φ, averaged over the classes."""
        return _mean(self.flips)

    @property
    def iotas(self) -> tuple[float, ...]:
        """ι per class: how much more often donors of other classes change the answer than class-mates do."""
        return tuple(other - mate for other, mate in zip(self.others, self.mates, strict=True))

    @property
    def iota(self) -> float:
        """ι of all classes together, see :func:`pooled_iota`."""
        return pooled_iota(self.iotas)

    @property
    def contrast(self) -> float:
        """φ less what a class-mate's material changes already: the score of swaps without a place gate."""
        return self.phi - _mean(self.mates)

    def iota_less_errors(self, weight: float) -> float:
        """ι less ``weight`` times the share of wrong answers: the score of place-gated swaps.

        A shortcut fits the labels perfectly, so a network that rests on one hardly errs; an object is seldom that easy.
        """
        return self.iota - weight * (1 - self.answered)

    def within(self, classes: tuple[int, ...], weight: float) -> tuple[tuple[float, ...], float]:
        """ι per class and :meth:`iota_less_errors`, as if these were the only classes."""
        tried, changed = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
        for host, donor, count, hits in self.met:
            if host in tried and donor in tried:
                tried[host] += count
                changed[host] += hits
        iotas = tuple(changed[c] / max(1, tried[c]) - self.mates[c] for c in classes)
        asked = sum(self.asked[c] for c in classes)
        right = sum(self.images[c] for c in classes) / max(1, asked)
        return iotas, pooled_iota(iotas) - weight * (1 - right)

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        figures = {name: value for name, value in vars(self).items() if name != "hits"}
        return {**figures, "phi": self.phi, "iotas": self.iotas, "iota": self.iota, "contrast": self.contrast}

    def stored(self) -> dict[str, Any]:
        """As plain values and tensors, for a step of the run."""
        return {**vars(self), "hits": None if self.hits is None else dict(vars(self.hits))}

    @classmethod
    def restored(cls, stored: dict[str, Any]) -> SwapMeasurement:
        """From what :meth:`stored` gave; steps of before have no ``hits``, or what is no longer counted."""
        hits = stored.get("hits")
        return cls(**_own(cls, {**stored, "hits": None if hits is None else Hits(**_own(Hits, hits))}))

    def redrawn(self) -> Iterator[SwapMeasurement]:
        """What would have been found, had other images been held out: see :mod:`conceptnet_ml.swap.sureness`.

        None without ``hits``. Price and asked images stay as they are.
        """
        hits, classes = self.hits, len(self.images)
        if hits is None:
            return
        draws = Redraws(hits.labels, classes)
        images, flips = draws.totals(torch.stack([hits.answered, hits.flips], 1), nested=True).unbind(2)
        rates = [
            (flips / images.clamp_min(1)).tolist(),
            *(
                draws.pair_rates(hits.answered, met, changed).tolist()
                for met, changed in ((hits.donors, hits.others), (hits.fellows, hits.mates))
            ),
        ]
        right = (images.sum(1) / len(hits.labels)).tolist()
        met = hits.pairs_again(draws, self.met)
        for draw, counted in enumerate(images.long().tolist()):
            flipped, others, mates = (tuple(one[draw]) for one in rates)
            yield replace(
                self,
                images=tuple(counted),
                flips=flipped,
                others=others,
                mates=mates,
                answered=right[draw],
                met=tuple((host, donor, tried[draw], hit[draw]) for host, donor, tried, hit in met),
                hits=None,
            )


def _own(kind: type, stored: dict[str, Any]) -> dict[str, Any]:
    """What is stored of this data class's fields."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}


def above_chance(right: float, classes: int) -> float:
    """A share of right answers as one above chance: 0 is guessing, 1 all."""
    return (right - 1 / classes) / (1 - 1 / classes)


def pooled_iota(iotas: tuple[float, ...]) -> float:
    """ι of several classes: the mean over all but the one in which it is highest; of two, the lower.

    A part of an object can often be exchanged one way and not the other (a car hides under a dog's head, a dog does not
    under a car's door); what is no part of it can be exchanged both ways.
    """
    return _mean(tuple(sorted(iotas)[: max(1, len(iotas) - 1)]))


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else 0.0


def measure_swap(
    prober: Prober,
    views: Views,
    seed: int,
    regions: Callable[[Tensor], Tensor] | None = None,
    hopeless: float = 0.0,
    advance: Callable[[int], None] = lambda count: None,
) -> SwapMeasurement:
    """φ, ι and their parts; the algorithm is at the head of this module.

    Args:
        prober: What is probed, and in which representation.
        views: Of the held-out images, which are its pool; its ``partners`` say which classes count as other ones.
        seed: Fixes views and donors.
        regions: Image numbers to the images' own places, (B, 1, H, W), where the codec needs them.
        hopeless: A swap made whole (step 2) with a lower contrast than this is not examined further.
        advance: Called with the number of images done.

    Cost: one probe, and ``2 · DONORS + 2`` forward passes per image; three forward passes where step 2 ends it.
    """
    held = _HeldImages(prober, views, seed, regions)  # step 1
    if prober.codec.gate != "place":
        whole = _swap_whole(held)  # step 2
        if whole.contrast < hopeless:
            advance(len(held.labels))
            return whole
    flips = _probe(held, advance)  # step 3
    return _exchange(held, flips)  # steps 4 and 5


class _HeldImages:
    """The held-out images as measured: one fixed view each, numbered by place, and what is known of them.

    Attributes:
        labels: (N,) the right answers.
        donors: Draws among the images.
        answered: (N,) whether the answer was right before any swap.
        gates: (N, …) the soft gates found by each image's own probe, on the CPU; None before, and for a swap without.
    """

    def __init__(self, prober: Prober, views: Views, seed: int, regions: Callable[[Tensor], Tensor] | None) -> None:
        self.prober, self.seed, self.classes = prober, seed, views.donors.classes
        self.labels = views.images.labels[views.pool]
        self.places = torch.arange(len(self.labels))
        self.donors = Donors(self.labels, self.places, self.classes, views.donors.partners)
        self.gates: Tensor | None = None
        self._numbers, self._regions = views.pool, regions
        batches = enumerate(views.pool.split(prober.settings.batch))
        drawn = (views.of(numbers, self.generator("measure", number)) for number, numbers in batches)
        self._images = torch.cat([(view * 255).round().to(torch.uint8) for view in drawn])
        parts = self.places.split(prober.settings.batch)
        self.answered = torch.cat([prober.answers(self.of(part)) == self.labels[part] for part in parts])

    def of(self, places: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The views at these places, floats in [0, 1]."""
        return self._images[places.to(self._images.device)].float() / 255

    def generator(self, purpose: str, part: int) -> torch.Generator:
        """The generator of a batch."""
        return seeding.generator(seeding.seed_for(self.seed, purpose, part))

    @property
    def batches(self) -> int:
        """How many batches they are worked through in; several ranks share them."""
        return len(self.places.split(self.prober.settings.batch))

    def meet(self, purpose: str, draws: int, batches: range) -> Iterator[tuple[Tensor, Tensor, Donations]]:
        """The images of these batches with this many donors of other classes and class-mates, in turns."""
        kinds, batch = ("foreign", "mates") * draws, self.prober.settings.batch
        return hosts_and_donors(self, self.places, batch, partial(self.generator, purpose), kinds, batches)

    def where(self, hosts: Tensor, donors: Tensor) -> Regions | None:
        """Own places of both, for a codec that needs them."""
        if self._regions is None:
            return None
        return self._regions(self._numbers[hosts]), self._regions(self._numbers[donors])

    def changed(self, hosts: Tensor, swapped: Tensor) -> Tensor:
        """(B,) which right answers a swap changes."""
        return self.answered[hosts] & (self.prober.answers(swapped) != self.labels[hosts])

    def per_class(self, hosts: Tensor, hits: Tensor) -> Tensor:
        """(classes,) how many of these hosts are hit."""
        return torch.bincount(self.labels[hosts], hits.double(), self.classes)

    def measurement(self, flips: Tensor, met: _Met, pairs: bool = True) -> SwapMeasurement:
        """From which answers were changed: by the probe's own swap, (N,), and by those of :func:`_meet`.

        Args:
            pairs: Whether the pairs of classes are counted, too.
        """
        hits, record = Hits(self.labels, self.answered, flips, *met), self.prober.codec.record
        images = self.per_class(self.places, self.answered)
        seen, draws = images.clamp_min(1), hits.others.shape[1]
        others, mates = (self.per_class(self.places, one.sum(1)) / seen / draws for one in (hits.others, hits.mates))
        opened = None if self.gates is None else (self.gates > self.prober.settings.threshold).float()
        return SwapMeasurement(
            record.name,
            record.gate,
            tuple(int(n) for n in images),
            tuple((self.per_class(self.places, flips) / seen).tolist()),
            tuple(others.tolist()),
            tuple(mates.tolist()),
            1.0 if opened is None else float(opened.mean()),
            float(images.sum()) / len(self.labels),
            tuple(torch.bincount(self.labels, minlength=self.classes).tolist()),
            hits.pairs(self.classes) if pairs else (),
            entire=record.entire,
            in_part=record.measure is not None or record.nature is not None,
            nature=record.nature,
            hits=hits,
        )


def _swap_whole(held: _HeldImages) -> SwapMeasurement:
    """Step 2: what swapping everything does, with one donor of another class and one class-mate per image."""
    met = _meet(
        held, "entire", 1, lambda hosts, donors, images, material: held.prober.hard_swap(images, material, None)
    )
    return held.measurement(met[2][:, 0], met, pairs=False)


def _probe(held: _HeldImages, advance: Callable[[int], None]) -> Tensor:
    """Step 3: every image's gate, found with one donor of another class; (N,) which answers it flips.

    A gate on channels is found on the first batch, for all.
    """
    shared: Tensor | None = None
    prober = held.prober

    def meetings(batches: range) -> Iterator[Pairs]:
        return pairs(held, held.places, prober.settings.batch, partial(held.generator, "donors"), batches)

    def work(batches: range) -> Iterator[tuple[Tensor, Tensor | None]]:
        nonlocal shared
        for hosts, donors, images, material, targets in meetings(batches):
            where = held.where(hosts, donors)
            if shared is None:
                found = prober.gates(images, material, targets, where)
                shared = found[:1] if found is not None and prober.codec.gate == "channel" else None
            else:
                found = shared.expand(len(hosts), -1)
            flips = held.changed(hosts, prober.hard_swap(images, material, found, where))
            yield flips, None if found is None else found.cpu()
            advance(len(hosts))

    if prober.codec.gate == "channel" and ranks.size() > 1:
        met = next(meetings(range(1)))
        found = ranks.first(lambda: prober.gates(met.images, met.material, met.targets))
        shared = None if found is None else found[:1].to(met.images.device)
    flips, gates = zip(*ranks.deal(held.batches, work), strict=True)
    kept = [gate for gate in gates if gate is not None]
    held.gates = torch.cat(kept) if kept else None
    return torch.cat(flips)


def _exchange(held: _HeldImages, flips: Tensor) -> SwapMeasurement:
    """Steps 4 and 5: further donors of other classes and class-mates, under the joined gates."""

    def swap(hosts: Tensor, donors: Tensor, images: Tensor, material: Tensor) -> Tensor:
        gates = None
        if held.gates is not None:
            gates = held.gates[hosts].to(images.device)
            if held.prober.codec.joins:
                gates = torch.maximum(gates, held.gates[donors].to(images.device))
        return held.prober.hard_swap(images, material, gates, held.where(hosts, donors))

    return held.measurement(flips, _meet(held, "others", DONORS, swap))


_Met = tuple[Tensor, Tensor, Tensor, Tensor]
"""(N, draws) each: donors of other classes and class-mates, and which of their swaps change the answer."""


def _meet(
    held: _HeldImages, purpose: str, draws: int, swap: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
) -> _Met:
    """Every image with so many donors of other classes and as many class-mates.

    Args:
        swap: Hosts, donors, both their images to the hosts' images after it.
    """
    who = torch.zeros(2, len(held.labels), draws, dtype=torch.int64)
    changed = torch.zeros(2, len(held.labels), draws, dtype=torch.bool)

    def work(batches: range) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
        for hosts, images, met in held.meet(purpose, draws, batches):
            yield [
                (hosts, donors, held.changed(hosts, swap(hosts, donors, images, material))) for donors, material in met
            ]

    for turns in ranks.deal(held.batches, work):
        for turn, (hosts, donors, hits) in enumerate(turns):
            draw, kind = divmod(turn, 2)
            who[kind, hosts, draw] = donors
            changed[kind, hosts, draw] = hits
    return who[0], who[1], changed[0], changed[1]
