"""Directions by a top-k sparse autoencoder (Gao et al., arXiv 2406.04093)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import BasisEvidence

PLACES = 65_536
"""Activations it is trained on."""
BATCH, RATE = 512, 3e-3
STEPS, FEWEST, PASSES = 2_000, 500, 100
"""Most and fewest steps; between these, passes over the activations."""
EASE, EASED = 4, 0.5
"""How many times as many latents may be used at a place in the beginning, and the share of the steps in which that
falls: latents that start out alike then separate, where otherwise one would keep two directions and the other none."""
IDLE = 100
"""A latent that no activation of this many batches has used is dead."""
AUXILIARY = 1 / 32
"""Weight of the dead latents' own reconstruction of what the living leave out."""


class SparseAutoencoder(nn.Module):
    """``a = TopK(relu(W (h − b) / s + c)) · s`` place by place, and back ``h ≈ Σ_k a_k · d_k + b``, ``‖d_k‖ = 1``.

    Args:
        units: C.
        latents: D, more than C as a rule.
        active: How many latents may be used at one place.
    """

    offset: Tensor
    scale: Tensor
    active: Tensor

    def __init__(self, units: int, latents: int, active: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("active", torch.tensor(min(active, latents)))
        self.offset = nn.Parameter(torch.zeros(units))
        self.encoder = nn.Linear(units, latents)
        self.directions = nn.Parameter(torch.zeros(latents, units))

    def encode(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to (B, D, h, w), not negative, at most ``active`` of them at a place."""
        rows = maps.permute(0, 2, 3, 1)
        return (self.strongest(self.drives(rows)) * self.scale).permute(0, 3, 1, 2)

    def decode(self, coefficients: Tensor) -> Tensor:
        """(B, D, h, w) to (B, C, h, w)."""
        return (coefficients.permute(0, 2, 3, 1) @ self.directions + self.offset).permute(0, 3, 1, 2)

    def drives(self, rows: Tensor) -> Tensor:
        """What drives each latent, (…, D) from activations (…, C)."""
        return self.encoder((rows - self.offset) / self.scale)

    def strongest(self, drives: Tensor, most: int | None = None) -> Tensor:
        """The strongest positive drives, zero for all others."""
        values, places = drives.topk(int(self.active) if most is None else most, dim=-1)
        return torch.zeros_like(drives).scatter(-1, places, values.clamp_min(0))


def basis(evidence: BasisEvidence) -> SparseAutoencoder:
    """A sparse autoencoder of a stage's activations; by default with twice as many latents as there are units, of which
    ``concepts.active`` may be used at a place.

    Loss: the squared error over the activations' variance, and, with weight ``AUXILIARY``, that of the dead latents'
    strongest against what the living leave out, which brings them back. Adam; the decoder's directions are kept at
    length one and the part of their gradient along themselves is taken out; the encoder starts as the decoder
    transposed, the offset as the geometric median. Unlike in the paper, sparsity sets in gradually. Latents that are
    dead at the end describe nothing and are removed.

    Cost: at most ``STEPS`` steps of ``BATCH`` activations: seconds for 64 units.
    """
    settings, units = evidence.settings, evidence.units
    rows = evidence.places(PLACES)
    generator = torch.Generator().manual_seed(evidence.seed)
    model = SparseAutoencoder(units, settings.directions or 2 * units, settings.active)
    _begin(model, rows, generator)
    model.to(rows.device)
    with torch.enable_grad():
        _train(model, rows, generator)
    return _living(model, rows).eval().requires_grad_(False)


def restore(state: Mapping[str, Tensor]) -> SparseAutoencoder:
    """A :class:`SparseAutoencoder` from its state dict."""
    latents, units = state["directions"].shape
    model = SparseAutoencoder(units, latents, int(state["active"]))
    model.load_state_dict(state)
    return model


@torch.no_grad()
def _begin(model: SparseAutoencoder, rows: Tensor, generator: torch.Generator) -> None:
    """Directions of random activations off the median, half noise; a scale of an activation's typical number."""
    middle = _median(rows)
    off = (rows - middle).cpu()
    model.offset.copy_(middle)
    model.scale.fill_(max(float(off.square().sum(1).mean().sqrt()) / math.sqrt(rows.shape[1]), 1e-6))
    latents, units = model.directions.shape
    drawn = off[torch.randint(len(off), (latents,), generator=generator)]
    noise = torch.randn(latents, units, generator=generator)
    drawn = functional.normalize(drawn, dim=1) + functional.normalize(noise, dim=1)
    model.directions.copy_(functional.normalize(drawn, dim=1))
    model.encoder.weight.copy_(model.directions)
    model.encoder.bias.zero_()


def _median(rows: Tensor) -> Tensor:
    """The geometric median, from which the distances sum to the least (Weiszfeld's algorithm)."""
    middle = rows.mean(0)
    least = 1e-3 * (rows - middle).norm(dim=1).mean().clamp_min(1e-12)
    for _ in range(30):
        weights = 1 / (rows - middle).norm(dim=1, keepdim=True).clamp_min(least)
        middle = (rows * weights).sum(0) / weights.sum()
    return middle


def _train(model: SparseAutoencoder, rows: Tensor, generator: torch.Generator) -> None:
    steps = min(STEPS, max(FEWEST, PASSES * len(rows) // BATCH))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 5 * (1 - step / steps)))
    variance = (rows - rows.mean(0)).square().sum(1).mean().clamp_min(1e-12)
    idle = torch.zeros(len(model.directions), device=rows.device)
    active = int(model.active)
    most = max(active, min(EASE * active, len(model.directions) // 2))
    for step in range(steps):
        eased = max(0.0, 1 - step / (EASED * steps))
        batch = rows[torch.randint(len(rows), (min(BATCH, len(rows)),), generator=generator).to(rows.device)]
        drives = model.drives(batch)
        used = model.strongest(drives, active + round(eased * (most - active)))
        left = batch - used @ model.directions * model.scale - model.offset
        loss = left.square().sum(1).mean() / variance
        idle = torch.where((used > 0).any(0), 0, idle + 1)
        loss = loss + AUXILIARY * _revival(model, drives, left.detach(), idle >= IDLE)
        optimizer.zero_grad()
        loss.backward()
        _along_the_sphere(model.directions)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.directions.copy_(functional.normalize(model.directions, dim=1))


def _revival(model: SparseAutoencoder, drives: Tensor, left: Tensor, dead: Tensor) -> Tensor:
    """How badly the dead latents' strongest reconstruct what is left out, as a share of its size."""
    count = int(dead.sum())
    if count == 0:
        return drives.new_zeros(())
    most = max(1, min(count, drives.shape[1] // 4))
    chosen = model.strongest(drives.masked_fill(~dead, float("-inf")), most)
    error = (left - chosen @ model.directions * model.scale).square().sum(1).mean()
    return error / left.square().sum(1).mean().clamp_min(1e-12)


@torch.no_grad()
def _along_the_sphere(directions: nn.Parameter) -> None:
    """Remove the part of the gradient that would only lengthen a direction: Adam would count it."""
    gradient = directions.grad
    assert gradient is not None
    gradient -= (gradient * directions).sum(1, keepdim=True) * directions


@torch.no_grad()
def _living(model: SparseAutoencoder, rows: Tensor) -> SparseAutoencoder:
    """The model without latents that no activation uses."""
    used = torch.zeros(len(model.directions), dtype=torch.bool, device=rows.device)
    for part in rows.split(8192):
        used |= (model.strongest(model.drives(part)) > 0).any(0)
    if not used.any():
        used[:] = True  # activations that never change use nothing
    kept = SparseAutoencoder(rows.shape[1], int(used.sum()), int(model.active))
    kept.scale.copy_(model.scale)
    kept.offset.copy_(model.offset)
    kept.encoder.weight.copy_(model.encoder.weight[used])
    kept.encoder.bias.copy_(model.encoder.bias[used])
    kept.directions.copy_(model.directions[used])
    return kept.to(rows.device)
