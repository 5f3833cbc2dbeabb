"""Which image meets which, batch by batch: a *host* takes something over from a *donor*."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Donors:
    """Draws donors among the images of a pool, by class.

    Args:
        labels: Class of every image.
        pool: Numbers of the images drawn from.
        classes: How many classes there are.
        partners: (classes, m) the classes that count as another for each class; None for all others.
    """

    def __init__(self, labels: Tensor, pool: Tensor, classes: int, partners: Tensor | None = None) -> None:
        self.labels, self.classes, self.partners = labels, classes, partners
        own = labels[pool]
        self._by_class = pool[own.argsort(stable=True)]  # once for all: a pass over the images for each class is slow
        self._counts = torch.bincount(own, minlength=classes)
        self._begins = self._counts.cumsum(0) - self._counts

    def of(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of each of the given classes, (B,) image numbers."""
        drawn = torch.rand(len(classes), generator=generator, dtype=torch.float64)
        counts = self._counts[classes]
        if not counts.all():
            raise IndexError("a class without images in the pool gives no donor")
        return self._by_class[self._begins[classes] + (drawn * counts).long()]

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Images of classes drawn uniformly from all. The host's own class is among them: otherwise what the donor
        shows would say which class the host is not of."""
        return self.of(torch.randint(self.classes, (count,), generator=generator), generator)

    def foreign(self, hosts: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of another class for each host."""
        if self.partners is not None:
            chosen = torch.randint(self.partners.shape[1], (len(hosts),), generator=generator)
            return self.of(self.partners[self.labels[hosts], chosen], generator)
        shift = torch.randint(1, self.classes, (len(hosts),), generator=generator)
        return self.of((self.labels[hosts] + shift) % self.classes, generator)

    def mates(self, hosts: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of the same class for each host."""
        return self.of(self.labels[hosts], generator)


class ViewSource(Protocol):
    """What draws donors and makes views (B, 3, H, W), floats in [0, 1], of images by their numbers; as ``Views`` do."""

    donors: Donors

    def of(self, numbers: Tensor, generator: torch.Generator) -> Tensor: ...


class Pairs(NamedTuple):
    """A batch of hosts, each with one donor of another class: the numbers of both (B,), their views (B, 3, H, W), and
    the donors' classes (B,), on the views' device."""

    hosts: Tensor
    donors: Tensor
    images: Tensor
    material: Tensor
    targets: Tensor


Donations = Iterator[tuple[Tensor, Tensor]]
"""Donors' numbers (B,) and views (B, 3, H, W), one donor for each host at a time."""


def pairs(
    views: ViewSource,
    numbers: Tensor,
    batch: int,
    generator_for: Callable[[int], torch.Generator],
    places: Container[int] | None = None,
) -> Iterator[Pairs]:
    """The host-meets-donor loop: each image with one random donor of another class.

    Args:
        views: Makes the views, and draws the donors.
        numbers: (N,) the hosts.
        batch: Hosts at a time.
        generator_for: The generator of a batch, by its number from 0. It draws the donors first, then the hosts'
            views, then the donors'.
        places: The numbers of the batches that are wanted; None for all.
    """
    for hosts, images, met in hosts_and_donors(views, numbers, batch, generator_for, places=places):
        for donors, material in met:
            yield Pairs(hosts, donors, images, material, views.donors.labels[donors].to(images.device))


def hosts_and_donors(
    views: ViewSource,
    numbers: Tensor,
    batch: int,
    generator_for: Callable[[int], torch.Generator],
    kinds: Sequence[str] = ("foreign",),
    places: Container[int] | None = None,
) -> Iterator[tuple[Tensor, Tensor, Donations]]:
    """:func:`pairs` with several donors for each host, ``foreign`` ones or ``mates`` in the order of ``kinds``.

    Yields:
        The hosts' numbers and views, and their donors'. The donors' views are made as the iterator goes on: use it up
        before the next batch.
    """
    for place, hosts in enumerate(numbers.split(batch)):
        if places is not None and place not in places:
            continue
        generator = generator_for(place)
        drawn = [getattr(views.donors, kind)(hosts, generator) for kind in kinds]
        images = views.of(hosts, generator)
        yield hosts, images, ((donors, views.of(donors, generator)) for donors in drawn)
