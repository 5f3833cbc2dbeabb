"""Numbers kept from an earlier day: the colour and the Fourier swap, a probe's gate, edges. Inputs and weights are
closed formulas, so that nothing depends on a random generator. ``python tests/golden/test_golden.py`` writes the
numbers anew; do so only for a change that is meant to change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.attribution import attribute
from conceptnet_ml.concepts.scores import FindEvidence
from conceptnet_ml.config.settings import ConceptSettings, ProbeSettings
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import Codec

FILE = Path(__file__).with_name("golden.json")
TOLERANCE = 2e-4
"""Absolute, for values of about one: float32 on another processor or torch version."""


def waves(*shape: int, step: float) -> Tensor:
    """Numbers between -1 and 1, as if at random, without a generator."""
    angles = step * 12.9898 * torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    return (2 * (torch.sin(angles) * 1000).frac().abs() - 1).float().reshape(shape)


def pictures(count: int, step: float) -> Tensor:
    tint = waves(count, 3, 1, 1, step=1.7 * step)
    return 0.5 + 0.12 * tint + 0.15 * waves(count, 3, 8, 8, step=step)


def network() -> nn.Sequential:
    """Two convolutions with fixed weights, three classes."""
    made = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )
    with torch.no_grad():
        for place, parameter in enumerate(made.parameters()):
            parameter.copy_(waves(*parameter.shape, step=0.37 + 0.11 * place) * 2.5 * parameter[0].numel() ** -0.5)
    return made.eval()


def codec(name: str) -> Codec:
    return Codec(load_plugins(use_entry_points=False).get("representation", name))  # type: ignore[arg-type]


def colour_swap() -> list[Any]:
    images, donors = pictures(2, 0.61), pictures(2, 1.13)
    return codec("colour").swap(images, donors)[:, :, ::3, ::3].tolist()


def fourier_swap() -> list[Any]:
    images, donors = pictures(2, 0.61), pictures(2, 1.13)
    gate = torch.linspace(0, 1, 36).repeat(2, 1)
    return codec("fourier").swap(images, donors, gate)[:, :, ::3, ::3].tolist()


def probe_gate() -> list[Any]:
    made = network()
    objective = lambda images: 4 * made(8 * (images - 0.5))  # noqa: E731
    settings = ProbeSettings(steps=6, rate=0.5, price=4.0, cells=4)
    images, donors = pictures(2, 0.61), pictures(2, 1.13)
    with frozen(made):
        gates = Prober(objective, codec("pixels"), settings).gates(images, donors, torch.tensor([2, 2]))
    assert gates is not None
    return gates.tolist()


def edges() -> list[Any]:
    made = network()
    maps, right = 3 * waves(12, 6, 8, 8, step=0.83), torch.arange(12) % 3
    with frozen(made):
        settings = ConceptSettings(edge_points=8, edge_groups=1, edges=2, bootstrap=20)
        found = attribute(FindEvidence([(maps, right)], made[2:], 3, settings), seed=0)
    # The bootstrap's bounds depend on a generator and are left out.
    return [[edge.parent, edge.unit, edge.weight, edge.ablation, edge.gap] for edge in found]


CASES = {"colour swap": colour_swap, "fourier swap": fourier_swap, "probe gate": probe_gate, "edges": edges}


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_before(name: str) -> None:
    kept = json.loads(FILE.read_text())[name]
    torch.testing.assert_close(torch.tensor(CASES[name]()), torch.tensor(kept), atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_kept_say_something(name: str) -> None:
    kept = torch.tensor(json.loads(FILE.read_text())[name])
    assert kept.numel() >= 30
    assert kept.std() > 0.05


if __name__ == "__main__":
    rounded = {
        name: json.loads(json.dumps(make()), parse_float=lambda text: round(float(text), 6))
        for name, make in CASES.items()
    }
    FILE.write_text(json.dumps(rounded) + "\n")
