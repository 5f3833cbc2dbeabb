"""What a measurement counts, image by image: kept to say how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml.swap.sureness import Redraws

Met = tuple[tuple[int, int, int, int], ...]
"""Per pair of classes: host, donor, swaps tried, answers changed."""


@dataclass(frozen=True)
class Hits:
    """What a measurement counts, image by image: who was answered rightly, and what its swaps did.

    Args:
        labels: (N,) the images' classes.
        answered: (N,) whether the answer was right before the swap; only such ones can be hit.
        flips: (N,) whether the donor's swap changes the answer.
        donors, fellows: (N, D) further donors of other classes and class-mates, by their places among the images.
        others, mates: (N, D) whether their swaps do.
    """

    labels: Tensor
    answered: Tensor
    flips: Tensor
    donors: Tensor
    fellows: Tensor
    others: Tensor
    mates: Tensor

    def pairs(self, classes: int) -> Met:
        """How often swaps with ``donors`` were tried and changed the answer, by class."""
        tried, changed = torch.zeros(2, classes, classes, dtype=torch.int64)
        who = self.labels[:, None].expand_as(self.donors), self.labels[self.donors]
        tried.index_put_(who, self.answered[:, None].expand_as(self.donors).long(), accumulate=True)
        changed.index_put_(who, self.others.long(), accumulate=True)
        return tuple((h, d, int(tried[h, d]), int(changed[h, d])) for h, d in tried.nonzero().tolist())

    def pairs_again(self, draws: Redraws, met: Met) -> list[tuple[int, int, list[int], list[int]]]:
        """:meth:`pairs` in every draw, of the classes that met; the image of which nothing is known meets nobody."""
        found = []
        for host in dict.fromkeys(host for host, *_ in met):
            members = draws.members(host)
            times, classes = draws.pairs(members, self.donors), self.labels[self.donors[members]]
            answered, others = self.answered[members, None], self.others[members]
            for donor in (donor for one, donor, *_ in met if one == host):
                tried, changed = ((times * (one & (classes == donor))).sum((1, 2)) for one in (answered, others))
                found.append((host, donor, tried.long().tolist(), changed.long().tolist()))
        return found
