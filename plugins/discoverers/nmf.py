"""Directions by non-negative matrix factorization of a stage's activations."""

from __future__ import annotations

import warnings

import torch

from conceptnet_ml import BasisEvidence, Directions, SettingsError

try:
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning
except ImportError as error:
    raise SettingsError(
        "plugins.discoverer 'nmf' needs scikit-learn, which is not installed",
        "Install it: pip install scikit-learn, or choose units or sae.",
    ) from error

PLACES = 16_384
"""Activations that are factorized; more cost time and change little."""
ITERATIONS = 200


def basis(evidence: BasisEvidence) -> Directions:
    """The rows of W in ``activations ≈ H W``, H and W non-negative (Lee & Seung, Nature 1999), as directions.

    By default half as many as the stage has units: as many could each be a unit and nothing would be learned. A stage
    with negative activations is split into positive and negative parts first, as Hoyer (JMLR 2004) does with images;
    the directions are then the differences of their parts.

    Cost: seconds, for ``PLACES`` activations of 64 units.
    """
    rows = evidence.places(PLACES).cpu().double()
    units = evidence.units
    wanted = min(evidence.settings.directions or max(2, units // 2), len(rows))
    split = torch.cat([rows.clamp_min(0), (-rows).clamp_min(0)], 1) if bool((rows < 0).any()) else rows
    start = "nndsvda" if wanted <= min(split.shape) else "random"
    model = NMF(wanted, init=start, max_iter=ITERATIONS, random_state=evidence.seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(split.numpy())
    parts = torch.from_numpy(model.components_)
    found = parts[:, :units] - parts[:, units:] if parts.shape[1] > units else parts
    there = found.norm(dim=1) > 1e-9 * found.norm(dim=1).amax()
    return Directions(found[there].float().to(evidence.maps[0].device)).eval()
