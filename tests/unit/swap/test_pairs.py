"""Hosts and donors: who meets whom, and in which order chance is drawn."""

from __future__ import annotations

import pytest
import torch

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.runtime import seeding
from conceptnet_ml.swap.pairs import Donors, hosts_and_donors, pairs
from conceptnet_ml.swap.views import Views

LABELS = torch.arange(30) % 3
POOL = torch.arange(2, 28)


def grey_views() -> Views:
    """Image number n is grey of level n."""
    images = torch.arange(30, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return Views(ImageSet(images, LABELS), POOL, [], 3, torch.device("cpu"))


def generator_for(batch: int) -> torch.Generator:
    return seeding.generator(batch)


def test_every_host_meets_a_donor_of_another_class_from_the_pool() -> None:
    met = list(pairs(grey_views(), POOL, 10, generator_for))
    assert [len(one.hosts) for one in met] == [10, 10, 6]
    assert torch.equal(torch.cat([one.hosts for one in met]), POOL)
    for one in met:
        assert torch.isin(one.donors, POOL).all()
        assert (LABELS[one.donors] != LABELS[one.hosts]).all()
        assert torch.equal(one.targets, LABELS[one.donors])
        assert torch.equal((255 * one.images[:, 0, 0, 0]).round().long(), one.hosts)
        assert torch.equal((255 * one.material[:, 0, 0, 0]).round().long(), one.donors)


def test_a_batchs_generator_draws_donors_first_in_the_order_of_their_kinds() -> None:
    views = grey_views()
    kinds = ("foreign", "mates", "foreign")
    for number, (hosts, images, met) in enumerate(hosts_and_donors(views, POOL, 10, generator_for, kinds)):
        assert torch.equal((255 * images[:, 0, 0, 0]).round().long(), hosts)
        generator = generator_for(number)
        for kind, (donors, material) in zip(kinds, met, strict=True):
            assert torch.equal(donors, getattr(views.donors, kind)(hosts, generator))
            assert torch.equal((255 * material[:, 0, 0, 0]).round().long(), donors)


def test_batches_do_not_depend_on_each_other() -> None:
    last = list(pairs(grey_views(), POOL, 10, generator_for))[-1]
    (alone,) = pairs(grey_views(), POOL[20:], 10, lambda batch: generator_for(batch + 2))
    assert torch.equal(alone.donors, last.donors)


def test_donors_are_drawn_as_class_by_class() -> None:
    """By the definition: the k-th image of its class in the pool's order, k the draw times how many there are."""
    pool, classes = POOL.flip(0), torch.tensor([2, 0, 1, 1, 2, 0])
    found = Donors(LABELS, pool, 3).of(classes, generator_for(0))
    drawn = torch.rand(len(classes), generator=generator_for(0), dtype=torch.float64)
    members = [pool[LABELS[pool] == c] for c in range(3)]
    assert found.tolist() == [
        int(members[c][int(draw * len(members[c]))]) for c, draw in zip(classes.tolist(), drawn.tolist(), strict=True)
    ]
    with pytest.raises(IndexError, match="without images"):
        Donors(LABELS, pool[LABELS[pool] != 1], 3).of(classes, generator_for(0))
