"""What units of a stage do: their scores, how well each tells a class, and what is lost without it.

The find step itself is a plugin (a *discoverer*); :class:`FindEvidence` is what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.data.sampling import by_class
from conceptnet_ml.network.basis import Network, direction_count
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.runtime import seeding
from conceptnet_ml.swap.probe import margin_over_runner_up

Head = Callable[[Tensor], Tensor]
"""A stage's maps (B, C, h, w) to responses (B, K): the class logits at the top, parents' variants below."""

Batches = list[tuple[Tensor, Tensor]]
"""Images (B, 3, H, W), or a stage's maps of them, and the right parent (B,) of each."""


@dataclass(frozen=True)
class Finding:
    """A feature: the units of one stage that together carry a class (or a parent variant).

    Args:
        parent: Number of the class or parent.
        units: The members, strongest effect first.
        auc: One-vs-rest AUROC of each member's score.
        effect: Mean fall of the parent's margin when the member is replaced by its mean, each.
        share: Share of all units' summed positive effect that the members cover.
        together: Mean fall of the parent's margin when all members are replaced at once; None until it is measured.
        spectrum: Per class, 10 % quantile, mean and 90 % quantile of the mean of the members' scores, see
            :func:`spectrum`.
    """

    parent: int
    units: tuple[int, ...]
    auc: tuple[float, ...]
    effect: tuple[float, ...]
    share: float
    together: float | None = None
    spectrum: tuple[tuple[float, float, float], ...] = ()


@dataclass
class FindEvidence:
    """A probe set at one stage and the responses to its maps, with what a discoverer may compute from them.

    Args:
        batches: The stage's maps, fp32, and the right parent of the probe images.
        head: From the maps on to the responses.
        parents: How many classes or parents there are.
        settings: Thresholds.
        width: How many of the C channels, the first, may be found; the rest is what directions leave out of the maps.
            None for all.
    """

    batches: Batches
    head: Head
    parents: int
    settings: ConceptSettings = field(default_factory=ConceptSettings)
    width: int | None = None

    @property
    def mean(self) -> Tensor:
        """(C, h, w): the maps' mean over the probe set."""
        total = sum(maps.double().sum(0) for maps, _ in self.batches)
        return (total / sum(len(maps) for maps, _ in self.batches)).float()  # type: ignore[union-attr, operator]

    def scores(self) -> tuple[Tensor, Tensor]:
        """Scores (N, width) of what may be found and the right parents (N,), on the CPU."""
        return (
            torch.cat([unit_scores(maps[:, : self.width]).cpu() for maps, _ in self.batches]),
            torch.cat([parents.cpu() for _, parents in self.batches]),
        )

    @torch.no_grad()
    def answers(self) -> tuple[Tensor, Tensor]:
        """The responses (N, K) and the right parents (N,), where the maps are."""
        return torch.cat([self.head(maps) for maps, _ in self.batches]), torch.cat([right for _, right in self.batches])

    def estimated_effects(self) -> Tensor:
        """(K, width): gradient × (activation − mean), summed over places, averaged over each parent's own images.

        A first-order estimate of :meth:`ablation_effects` for all units at once. Cost: one forward and backward pass.
        """
        mean = self.mean
        sums = torch.zeros(self.parents, mean.shape[0], device=mean.device)
        counts = torch.zeros(self.parents, device=mean.device)
        for maps, parents in self.batches:
            free = maps.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(margin_over_runner_up(self.head(free), parents).sum(), free)
            with torch.no_grad():
                sums.index_add_(0, parents, (gradient * (maps - mean)).flatten(2).sum(2))
                counts.index_add_(0, parents, torch.ones_like(parents, dtype=counts.dtype))
        return (sums / counts.clamp_min(1)[:, None])[:, : self.width].cpu()

    def ablation_effects(self, units: Tensor) -> Tensor:
        """(K, len(units)): real mean fall of each parent's margin when a unit is replaced by its mean map.

        Cost: one pass from this stage on per unit.
        """
        return self.falls([[unit] for unit in units.tolist()])

    @torch.no_grad()
    def falls(self, sets: Sequence[Sequence[int]], mean: Tensor | None = None) -> Tensor:
        """(K, len(sets)): real mean fall of each parent's margin when a set of units is replaced by its mean maps.

        The means are those of ``mean``, (C, h, w), where the evidence itself is too little to have any. Cost: one pass
        from this stage on per set.
        """
        mean = self.mean if mean is None else mean
        falls = torch.zeros(self.parents, len(sets), device=mean.device)
        counts = torch.zeros(self.parents, device=mean.device)
        for maps, parents in self.batches:
            counts.index_add_(0, parents, torch.ones_like(parents, dtype=counts.dtype))
            before = margin_over_runner_up(self.head(maps), parents)
            for column, units in enumerate(sets):
                without = maps.clone()
                without[:, list(units)] = mean[list(units)]
                falls[:, column].index_add_(0, parents, before - margin_over_runner_up(self.head(without), parents))
        return (falls / counts.clamp_min(1)[:, None]).cpu()


def gather_evidence(
    network: Network, stage: str, head: Head, images: Batches, parents: int, settings: ConceptSettings
) -> FindEvidence:
    """Evidence at a stage: the maps of the probe images, in fp32. The images are floats, with their right parents; the
    network, in evaluation mode, is only read.
    """
    with torch.no_grad(), frozen(network):
        batches = [(network.run_until(part, stage).float(), right) for part, right in images]
    return FindEvidence(batches, head, parents, settings, direction_count(network, stage))


def unit_scores(maps: Tensor) -> Tensor:
    """``s_u``: the mean of a unit's strongest 10 % of places, (B, C) from (B, C, h, w)."""
    flat = maps.flatten(2)
    return flat.topk(max(1, round(0.1 * flat.shape[2])), dim=2).values.mean(2)


def spectrum(scores: Tensor, parents: Tensor, count: int) -> tuple[tuple[float, float, float], ...]:
    """Where every class lies on a score: 10 % quantile, mean and 90 % quantile over its images.

    Args:
        scores: (N,).
        parents: (N,) classes; each of ``count`` must have an image.

    Returns:
        One triple per class, in spreads over all images from the mean of all images.
    """
    scores, parents = scores.double().cpu(), parents.cpu()
    standard = (scores - scores.mean()) / scores.std().clamp_min(1e-9)
    classes = [standard[parents == parent] for parent in range(count)]
    return tuple((float(own.quantile(0.1)), float(own.mean()), float(own.quantile(0.9))) for own in classes)


def mean_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 within each column of (N, C), in fp64; equal values share the mean of theirs, a NaN makes all NaN.

    As ``scipy.stats.rankdata``, whose import alone takes half as long as torch's. Cost: one sort per column.
    """
    columns = values.T.contiguous()
    ordered = columns.sort(1).values
    first, last = (torch.searchsorted(ordered, columns, side=side) for side in ("left", "right"))
    ranks = (first + last + 1).double() / 2
    return ranks.masked_fill(columns.isnan().any(1, keepdim=True), torch.nan).T


def auroc(scores: Tensor, positive: Tensor) -> Tensor:
    """Area under the ROC curve of each column, (C,) from scores (N, C) and a mask (N,); ties count one half.

    The Mann–Whitney U statistic over ranks. Cost: one sort per column, on the CPU.
    """
    ranks = mean_ranks(scores.detach().double().cpu()).to(scores.device)
    hits = positive.double()[:, None]
    yes = hits.sum()
    no = len(hits) - yes
    return ((ranks * hits).sum(0) - yes * (yes + 1) / 2) / (yes * no).clamp_min(1)


def balanced_sample(labels: Tensor, pool: Tensor, most: int, seed: int) -> Tensor:
    """At most ``most`` image numbers of a pool, the same number of every class, shuffled by the seed."""
    order = pool[torch.randperm(len(pool), generator=seeding.generator(seed))]
    groups = by_class(order, labels)
    count = min(min(len(group) for group in groups), max(1, most // len(groups)))
    return torch.stack([group[:count] for group in groups], 1).flatten()


def open_shares(gates: Tensor, size: tuple[int, int]) -> Tensor:
    """Gates (N, 1, H, W) at a stage's resolution: the share of each cell that is open."""
    return functional.adaptive_avg_pool2d(gates.float(), size)


def map_quality(logits: Tensor, targets: Tensor, parents: Tensor, count: int) -> dict[str, Any]:
    """How well a detector's map fits the gates: class AUC, coverage per class, overlap.

    Args:
        logits: (N, 1, h, w), any score map.
        targets: (N, 1, h, w) in [0, 1], the gates' open share of each cell.
        parents: (N,).
        count: Number of parents.
    """
    scores = unit_scores(logits).cpu()
    opened = open_as_much(logits, targets)
    both, masks = opened * targets, [parents == parent for parent in range(count)]
    overlap = torch.minimum(opened, targets).sum() / torch.maximum(opened, targets).sum().clamp_min(1e-9)
    return {
        "auc": [float(auroc(scores, own.cpu())[0]) for own in masks],
        "coverage": [float(both[own].sum() / targets[own].sum().clamp_min(1e-9)) for own in masks],
        "overlap": float(overlap),
    }


def open_as_much(scores: Tensor, targets: Tensor) -> Tensor:
    """The highest-scoring places of all images together, as many as the targets have open area; 0 or 1."""
    count = max(1, min(scores.numel(), round(float(targets.sum()))))
    # Exactly this many: a unit that is silent almost everywhere must not be credited with all its zeros.
    opened = torch.zeros(scores.numel(), device=scores.device)
    opened[scores.flatten().topk(count).indices] = 1
    return opened.view(scores.shape)
