"""Hosts and donors: which image meets which, and both as views, batch by batch.

A *host* is the image that takes something over, a *donor* the image it is taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        self.labels = labels
        self.partners = partners
        self.classes = classes
        self._members = [pool[labels[pool] == c] for c in range(classes)]

    def of(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """One random image of each of the given classes, (B,) image numbers."""
        drawn = torch.rand(len(classes), generator=generator, dtype=torch.float64)
        picked = torch.empty_like(classes)
        for c, members in enumerate(self._members):
            mine = classes == c
            picked[mine] = members[(drawn[mine] * len(members)).long()]
        return picked

    def uniform(self, count: int, generator: torch.Generator) -> Tensor:
        """Images of classes drawn uniformly from all. A host's own class is among them: otherwise the donor's cue
        would say which class the host is not of."""
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
    """Images by number, as :class:`~conceptnet_ml.swap.views.Views` are."""

    donors: Donors

    def of(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """One view of each of these images, floats in [0, 1] (B, 3, H, W)."""


Donations = Iterator[tuple[Tensor, Tensor]]
"""Donors' numbers (B,) and views (B, 3, H, W), one donor for each host at a time."""


class Pairs(NamedTuple):
    """A batch of hosts, each with one donor of another class."""

    hosts: Tensor
    """(B,) image numbers."""
    donors: Tensor
    """(B,) image numbers."""
    images: Tensor
    """The hosts' views, floats in [0, 1] (B, 3, H, W)."""
    material: Tensor
    """The donors' views."""
    targets: Tensor
    """(B,) the donors' classes, on the device of the views."""


def pairs(
    views: ViewSource, numbers: Tensor, batch: int, generator_for: Callable[[int], torch.Generator]
) -> Iterator[Pairs]:
    """The host-meets-donor loop: each image with one random donor of another class, both as views.

    Args:
        views: Makes the views, and draws the donors from its pool.
        numbers: (N,) the hosts.
        batch: Hosts at a time.
        generator_for: The generator of a batch, by its number from 0. It draws the donors first, then the hosts'
            views, then the donors'.
    """
    for hosts, images, met in hosts_and_donors(views, numbers, batch, generator_for):
        for donors, material in met:
            yield Pairs(hosts, donors, images, material, views.donors.labels[donors].to(images.device))


def hosts_and_donors(
    views: ViewSource,
    numbers: Tensor,
    batch: int,
    generator_for: Callable[[int], torch.Generator],
    kinds: Sequence[str] = ("foreign",),
) -> Iterator[tuple[Tensor, Tensor, Donations]]:
    """:func:`pairs` with several donors for each host.

    Args:
        views, numbers, batch, generator_for: As in :func:`pairs`.
        kinds: The donors each host meets, in the order they are drawn: ``foreign`` or ``mates``, see :class:`Donors`.

    Yields:
        The hosts' numbers and views, and their donors'. The donors' views are made as the iterator goes on: use it up
        before the next batch.
    """
    for place, hosts in enumerate(numbers.split(batch)):
        generator = generator_for(place)
        drawn = [getattr(views.donors, kind)(hosts, generator) for kind in kinds]
        images = views.of(hosts, generator)
        yield hosts, images, ((donors, views.of(donors, generator)) for donors in drawn)
