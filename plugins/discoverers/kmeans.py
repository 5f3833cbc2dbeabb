"""Directions by k-means: the mean directions of clusters of a stage's activations."""

from __future__ import annotations

from torch.nn import functional

from conceptnet_ml import BasisEvidence, Directions, SettingsError

try:
    from sklearn.cluster import KMeans
except ImportError as error:
    raise SettingsError(
        "plugins.discoverer 'kmeans' needs scikit-learn, which is not installed",
        "Install it: pip install scikit-learn, or choose units or sae.",
    ) from error

import torch

PLACES = 16_384
"""Activations that are clustered."""
STARTS, ITERATIONS = 2, 60
FAINT = 0.05
"""Activations shorter than this share of the mean length have no direction worth counting."""


def basis(evidence: BasisEvidence) -> Directions:
    """The centres of clusters of activations scaled to length one (Dhillon & Modha, Machine Learning 2001).

    By default half as many as the stage has units. The centres are a dictionary only (Coates & Ng, ICML 2011): what an
    activation is made of is found by non-negative least squares, as for a factorization, not by the nearest centre, so
    that several directions can be there at one place.

    Cost: seconds, for ``PLACES`` activations of 64 units.
    """
    rows = evidence.places(PLACES).cpu().double()
    length = rows.norm(dim=1)
    rows = functional.normalize(rows[length > FAINT * length.mean()], dim=1)
    if not len(rows):
        rows = torch.eye(evidence.units, dtype=torch.float64)  # nothing ever fires here
    wanted = min(evidence.settings.directions or max(2, evidence.units // 2), len(rows.unique(dim=0)))
    model = KMeans(wanted, n_init=STARTS, max_iter=ITERATIONS, random_state=evidence.seed % 2**32)
    centres = torch.from_numpy(model.fit(rows.numpy()).cluster_centers_)
    return Directions(centres.float().to(evidence.maps[0].device)).eval()
