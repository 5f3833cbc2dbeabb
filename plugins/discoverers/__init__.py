"""The find step."""

from __future__ import annotations

from conceptnet_ml.hookspecs import hookimpl
from conceptnet_ml.records import Discoverer

HERE = "conceptnet_plugins.discoverers"


@hookimpl
def conceptnet_discoverers() -> list[Discoverer]:
    """Features made of single units, or of directions of a stage's maps."""
    find = f"{HERE}.units:find"
    return [
        Discoverer(
            name="units",
            api="1",
            find=find,
            summary="smallest set of class-specific units that carries the margin",
        ),
        Discoverer(
            name="nmf",
            api="1",
            find=find,
            basis=f"{HERE}.nmf:basis",
            summary="the same among directions of a non-negative factorization (scikit-learn)",
        ),
        Discoverer(
            name="kmeans",
            api="1",
            find=find,
            basis=f"{HERE}.kmeans:basis",
            summary="the same among the mean directions of clusters of activations (scikit-learn)",
        ),
        Discoverer(
            name="sae",
            api="1",
            find=find,
            basis=f"{HERE}.sae:basis",
            restore=f"{HERE}.sae:restore",
            summary="the same among the directions of a top-k sparse autoencoder",
        ),
    ]
