"""Accuracy of several networks on every test set, in one pass over the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from conceptnet_ml.data import ImageSet
from conceptnet_ml.training import predict_set


def accuracies(
    methods: Mapping[str, nn.Module],
    tests: Mapping[str, ImageSet],
    device: torch.device,
    dtype: torch.dtype | None,
) -> dict[str, Any]:
    """``{test set: {"images": n, method: {"accuracy": share}}}``.

    Args:
        methods: By name; each takes float images in [0, 1] to logits.
        tests: Labelled images by name.
        device, dtype: Where and how to run them.
    """
    table: dict[str, Any] = {}
    for name, images in tests.items():
        row: dict[str, Any] = {"images": len(images)}
        for method, network in methods.items():
            answers = predict_set(network, images, device, dtype).argmax(1)
            row[method] = {"accuracy": float((answers == images.labels).double().mean())}
        table[name] = row
    return table
