"""Statistics of real images' activations in a network, and the distance of a picture from them.

Every stage is described by two numbers per principal direction of its local features: the mean over places, and the
logarithm of the variance over places. The second is texture, in which dreams and noise differ most from photographs.
The image itself is a stage too, by its patches of 3 × 3 px: a network's later stages may map white noise to an
ordinary point between its classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.runtime import devices

Pictures = Tensor | ImageSet
"""uint8 (N, C, H, W), or a set of images that are read when needed."""

PIXELS = 2**19
"""Pixels of three channels in a batch."""

IMAGE = "image"
"""The first stage, the image itself."""

AXES, FEWEST = 512, 5
"""Most principal directions of a stage; images per class from which each class has a mean of its own."""

RIDGE, FLOOR = 1e-3, 1e-6
"""Least variance of a direction, as a share of the mean one; and over places, where that of all real images is one."""


@dataclass(frozen=True)
class StageStatistics:
    """Statistics of real images at one stage of C channels, along A ≤ C principal directions.

    Args:
        centre: (C,) mean of the local features, over places and images.
        axes: (C, A) principal directions of the local features, each divided by its standard deviation.
        means: (M, 2A) float64, mean descriptions of the classes, or one of all images.
        whitening: (2A, 2A) float64; the Mahalanobis distance is the Euclidean one of descriptions times this.
        median, spread: Of the distances of real images, and how far their 95 % quantile is above the median.
    """

    centre: Tensor
    axes: Tensor
    means: Tensor
    whitening: Tensor
    median: float = 0.0
    spread: float = 1.0

    def describe(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) to descriptions (B, 2A), float64, on the CPU."""
        local = (maps.float().flatten(2).transpose(1, 2) - self.centre.to(maps.device)) @ self.axes.to(maps.device)
        variance = local.var(1, unbiased=False).clamp_min(FLOOR).log()
        return torch.cat([local.mean(1), variance], 1).double().cpu()

    def mahalanobis(self, descriptions: Tensor) -> Tensor:
        """Descriptions (B, 2A) to distances (B,) from the nearest mean; infinite where one is not finite."""
        finite = descriptions.isfinite().all(1)
        white = torch.where(finite[:, None], descriptions, self.means[:1]) @ self.whitening
        apart = torch.cdist(white, self.means @ self.whitening, compute_mode="donot_use_mm_for_euclid_dist")
        return apart.amin(1).where(finite, torch.inf)

    def distance(self, descriptions: Tensor) -> Tensor:
        """The same scaled by real images: 0 is their median, 1 their 95 % quantile."""
        return (self.mahalanobis(descriptions) - self.median) / self.spread


ActivationStatistics = Mapping[str, StageStatistics]
"""Statistics of real images at every stage of a network."""


def furthest(statistics: ActivationStatistics, descriptions: Mapping[str, Tensor]) -> tuple[Tensor, list[str]]:
    """Distance (B,) at the stage where a picture is furthest from real images, float64; and which stage that is."""
    found = torch.stack([stage.distance(descriptions[name]) for name, stage in statistics.items()]).max(0)
    names = list(statistics)
    return found.values, [names[place] for place in found.indices.tolist()]


class ActivationReader:
    """Runs a network on pictures, on a device and in an autocast type, and describes its activations."""

    def __init__(self, network: StagedNetwork, device: torch.device, dtype: torch.dtype | None) -> None:
        self.network = network.to(device).eval()
        self.device, self.dtype = device, dtype

    def fit(self, images: Pictures, labels: Tensor | None = None) -> ActivationStatistics:
        """Statistics of real images. Cost: two forward passes, eigendecompositions of C and 2A squared.

        Args:
            images: N ≥ 2 of them.
            labels: (N,) class numbers: each class with a mean of its own and all with one covariance (Lee et al., arXiv
                1807.03888), where there are at least :data:`FEWEST` images per class; else one mean.

        Raises:
            DataError: The network's logits or maps are not finite.
        """
        empty = torch.empty(0, 0, dtype=torch.float64)
        stages = {name: StageStatistics(*axes, empty, empty) for name, axes in self._principal_axes(images).items()}
        descriptions, _ = self.describe(images, stages)
        groups = _groups(len(images), labels)
        return {name: _fitted(one, descriptions[name], groups) for name, one in stages.items()}

    def describe(self, images: Pictures, statistics: ActivationStatistics) -> tuple[dict[str, Tensor], Tensor]:
        """Descriptions (N, 2A) at each stage, float64, and logits (N, K), fp32, on the CPU. Cost: one forward pass."""
        found: dict[str, list[Tensor]] = {name: [] for name in statistics}
        logits = []
        for maps, outputs in self._maps(images):
            for name, stage in statistics.items():
                found[name].append(stage.describe(maps[name]))
            logits.append(outputs)
        return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(logits)

    def _principal_axes(self, images: Pictures) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean (C,) of every stage's local features and their scaled principal directions (C, A)."""
        shift: dict[str, Tensor] = {}
        sums: dict[str, tuple[int, Tensor, Tensor]] = {}
        for maps, logits in self._maps(images):
            if not all(bool(found.isfinite().all()) for found in (logits, *maps.values())):
                raise DataError(
                    "the witness answers real images with what is no number", "Train it anew, at a lower training.rate."
                )
            for name, here in maps.items():
                local = here.float().transpose(0, 1).flatten(1)
                first = shift.setdefault(name, local.mean(1, keepdim=True))  # sums of what is centred lose no digits
                local = local - first
                count, total, square = sums.get(name, (0, torch.zeros(()), torch.zeros(())))
                squares = (local @ local.T).double().cpu()
                sums[name] = (count + local.shape[1], total + local.sum(1).double().cpu(), square + squares)
        axes = {}
        for name, (count, total, square) in sums.items():
            mean = total / count
            values, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
            least = max(RIDGE * float(values.clamp_min(0).mean()), 1e-12)
            scaled = vectors * (values.clamp_min(0) + least).rsqrt()
            axes[name] = ((mean + shift[name].flatten().double().cpu()).float(), scaled[:, -AXES:].float().contiguous())
        return axes

    @torch.no_grad()
    def _maps(self, images: Pictures) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        height, width = self.network.image_size
        batch = PIXELS * 3 // (height * width * max(3, self.network.mean.numel()))
        for part in torch.arange(len(images)).split(max(1, batch)):
            pixels = self._to_input(images.take(part) if isinstance(images, ImageSet) else images[part])
            with devices.autocast(self.device, self.dtype):
                maps, logits = self.network.run_all(pixels)
            yield {IMAGE: _patches(pixels), **maps}, logits.float().cpu()

    def _to_input(self, images: Tensor) -> Tensor:
        """uint8 (B, C, h, w) to floats (B, C, H, W) of the network's size."""
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise ValueError(f"pictures must be uint8 (B, C, H, W), not {images.dtype} {tuple(images.shape)}")
        channels = self.network.mean.numel()
        if channels not in (1, images.shape[1]):
            raise DataError(
                f"pictures of {images.shape[1]} channels cannot be shown to a network that takes {channels}",
                "Give a witness for such pictures, or convert them.",
            )
        pixels = to_float(images, self.device)
        if tuple(pixels.shape[2:]) != self.network.image_size:
            pixels = functional.interpolate(pixels, self.network.image_size, mode="bilinear", antialias=True)
        return pixels.clamp(0, 1)


def ledoit_wolf(centred: Tensor) -> tuple[Tensor, float]:
    """Covariance (D, D) of centred rows (N, D), shrunk towards a multiple of the identity, and by which share (Ledoit
    and Wolf, *J. Multivariate Analysis* 88, 2004)."""
    rows, columns = centred.shape
    sample = centred.T @ centred / rows
    target = sample.diagonal().mean() * torch.eye(columns, dtype=sample.dtype, device=sample.device)
    apart = float((sample - target).square().sum())
    noise = float(centred.square().sum(1).square().sum() / rows - sample.square().sum()) / rows
    share = min(1.0, max(0.0, noise / apart)) if apart > 0 else 1.0
    return (1 - share) * sample + share * target, share


def _patches(images: Tensor) -> Tensor:
    """Images (B, C, H, W) to (B, 9C, H−2, W−2): at every place the 3 × 3 px around it."""
    height, width = images.shape[2] - 2, images.shape[3] - 2
    shifts = [(down, right) for down in range(3) for right in range(3)]
    return torch.cat([images[:, :, down : down + height, right : right + width] for down, right in shifts], 1)


def _fitted(axes: StageStatistics, descriptions: Tensor, groups: Tensor) -> StageStatistics:
    """The same axes with the means, covariance and distances of these descriptions."""
    counts = torch.bincount(groups)
    sums = torch.zeros(len(counts), descriptions.shape[1], dtype=torch.float64).index_add_(0, groups, descriptions)
    means = sums / counts[:, None]
    covariance, _ = ledoit_wolf(descriptions - means[groups])
    values, vectors = torch.linalg.eigh(covariance)
    # Descriptions are of the order of one: what varies by less than that varies by rounding.
    whitening = vectors * values.clamp_min(FLOOR).rsqrt()
    fitted = replace(axes, means=means, whitening=whitening)
    median, far = fitted.mahalanobis(descriptions).quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
    return replace(fitted, median=median, spread=max(far - median, 1e-2))


def _groups(count: int, labels: Tensor | None) -> Tensor:
    """The mean that each image belongs to, (N,)."""
    if labels is None:
        return torch.zeros(count, dtype=torch.int64)
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels for {count} images")
    classes, found = labels.cpu().unique(return_inverse=True)
    return found if count >= FEWEST * len(classes) else torch.zeros(count, dtype=torch.int64)
