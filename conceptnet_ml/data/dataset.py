"""A data set: training images, test sets, and what its maker planted in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from conceptnet_ml.data.ground_truth import Truth
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.storage.hashing import digest

LOOKED_AT = 32
"""Images of each set by whose pixels data are known again."""


@dataclass(frozen=True)
class Data:
    """The images that a run learns from and is judged by.

    Args:
        name: As the settings name it.
        classes: Names, in the order of the labels.
        train: The training images, with the cues of a trap if there is one.
        tests: ``test`` is the plain test set; others may be beside it, such as a trap's.
        notes: Sentences for the summary: what was converted, split or left out.
        skipped: How many unreadable images were left out.
        unreadable: Why, for each of their files, where the data set says.
        worlds: Where there is a trap, other worlds with the same images, each made when it is first used and then
            kept: ``unbiased``, the training images with a random cue for each trap; ``turned train`` and
            ``turned test``, numbered as ``train`` and ``test``, with one random cue for all traps that is the label.
        truth: The features that the maker planted, where known. Only for judging, no step looks at it.
        unchanged: (H, W) of the images before a trap that changed their size; None where none did.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    tests: dict[str, ImageSet]
    notes: tuple[str, ...] = ()
    skipped: int = 0
    worlds: Mapping[str, Callable[[], ImageSet]] = field(default_factory=dict)
    truth: Truth | None = None
    unchanged: tuple[int, int] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, C three but for data of other channels."""
        return self.train.shape

    @property
    def read_size(self) -> tuple[int, int]:
        """(H, W) at which pictures of the same kind are read that have no trap."""
        return self.unchanged or self.shape[1:]

    def digests(self) -> dict[str, str]:
        """Fingerprints by which the same images are known again, wherever they lie: of ``labels`` (classes, sizes, the
        labels of all sets) and of ``pixels`` (of some images of every set, evenly spaced). Cost: a hundred images read.
        """
        sets = {"": self.train, **self.tests}
        labels = [(name, tuple(one.shape), one.labels) for name, one in sorted(sets.items())]
        if self.train.held is not None:
            labels.append(("held", (), self.train.held))
        some = [one.take(torch.linspace(0, len(one) - 1, min(len(one), LOOKED_AT)).long()) for one in sets.values()]
        return {
            "labels": digest(self.classes, *(part for parts in labels for part in parts))[:16],
            "pixels": digest(*some)[:16],
        }

    def to(self, device: torch.device) -> Data:
        """The training images on a device, and the test sets too unless the training images are streamed."""
        tests = self.tests if self.train.resident else {name: images.to(device) for name, images in self.tests.items()}
        return replace(self, train=self.train.to(device), tests=tests)
