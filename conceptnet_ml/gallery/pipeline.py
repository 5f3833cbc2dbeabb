"""Dreams beside real images: what the same targets reach there."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from conceptnet_ml.dreams.judgement import Standing, standing
from conceptnet_ml.dreams.render import scores
from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.network.basis import Network


def standings(
    dreams: Mapping[int, tuple[Network, Dream]], real: Tensor, device: torch.device, dtype: torch.dtype | None
) -> dict[int, Standing]:
    """How each dream stands against real images, by the number it is given under.

    Args:
        dreams: Each with the network that dreamt it; dreams of one network share its passes.
        real: uint8 (N, C, H, W).
        device, dtype: As for :func:`conceptnet_ml.dream`.

    Returns:
        Without those whose target is finite on no real image.
    """
    networks: dict[int, tuple[Network, list[int]]] = {}
    for number, (network, _) in dreams.items():
        networks.setdefault(id(network), (network, []))[1].append(number)
    found: dict[int, Standing] = {}
    for network, numbers in networks.values():
        targets = {dreams[number][1].objective.key: dreams[number][1].objective for number in numbers}
        table = scores(network, list(targets.values()), real, device=device, dtype=dtype)
        columns = dict(zip(targets, table.T, strict=True))
        for number in numbers:
            one = dreams[number][1]
            if bool(columns[one.objective.key].isfinite().any()):
                found[number] = standing(one.reached, columns[one.objective.key])
    return found
