"""A specializer: every variant is the nearness to a prototype, the mean of its class where the detector looks.

It pays with many classes and few images of each: a mean is known well from a handful of images, where the built-in
``attention`` fits its weights by gradient steps. With two classes both do as well; this takes one equation to solve.
"""

from __future__ import annotations

import torch

from conceptnet_ml import Detector, Specializer, SplitEvidence, Variants, hookimpl

SHRINKAGE = 0.2
"""Share of the covariance that is replaced by equal variances, so that few images give an invertible one."""


def split(evidence: SplitEvidence) -> Variants:
    """Linear discriminant analysis (Fisher 1936; Rao 1948): ``v_c = ⟨Σ⁻¹ m_c, r⟩ − ⟨m_c, Σ⁻¹ m_c⟩ / 2``.

    With r the units read where the detector looks, m_c their mean over class c and Σ the covariance within the classes,
    v_c is half the squared distance to the prototype, negative, less what all variants share.
    Cost: one C × C system.
    """
    maps, detector = evidence.maps, evidence.detector
    mean, scale = maps.mean((0, 2, 3)), maps.std((0, 2, 3)).clamp_min(1e-3)
    if isinstance(detector, Detector):
        mean, scale = detector.mean.flatten(), detector.scale.flatten()
    variants = Variants(mean, scale, evidence.count, evidence.settings.temperature).to(maps.device)
    with torch.no_grad():
        reads = (variants.read(maps, detector(maps)) - variants.mean) / variants.scale
        members = torch.nn.functional.one_hot(evidence.parents, evidence.count).to(reads)
        prototypes = members.T @ reads / members.sum(0).clamp_min(1)[:, None]
        rest = reads - prototypes[evidence.parents]
        covariance = rest.T @ rest / len(rest)
        even = torch.eye(len(covariance), device=maps.device) * covariance.diagonal().mean().clamp_min(1e-6)
        weight = torch.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * even, prototypes.T).T
        variants.weight.weight.copy_(weight)
        variants.weight.bias.copy_(-(weight * prototypes).sum(1) / 2)
    return variants.eval().requires_grad_(False)


@hookimpl
def conceptnet_specializers() -> list[Specializer]:
    """The default ``restore`` serves: what ``split`` returns are the core's own Variants."""
    return [Specializer(name="prototype", api="1", split=split, summary="closed form: nearness to each class's mean")]
