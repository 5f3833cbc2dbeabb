"""Classic DeepDream: free pixels climb an objective. It makes pictures to look at, it does not train."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

STEPS = 96
RATE = 0.05
SMOOTH = 0.15
"""Weight of total variation, against the checkerboards that strided convolutions reward."""


def dream(objective: Callable[[Tensor], Tensor], start: Tensor, generator: torch.Generator) -> Tensor:
    """Images that drive the objective up.

    Adam on the image's Fourier coefficients, scaled so that all frequencies move alike (Olah et al., *Feature
    Visualization*, Distill 2017), with a random jitter each step and a penalty on total variation.

    Args:
        objective: (B, 3, H, W) floats in [0, 1] to what is to grow, (B,); images must not influence each other.
        start: (B, 3, H, W) floats in [0, 1] to start from.
        generator: For the jitter.

    Returns:
        (B, 3, H, W) floats in [0, 1].
    """
    height, width = start.shape[-2:]
    frequencies = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width)[None] ** 2).sqrt()
    scale = (1 / frequencies.clamp_min(1 / max(height, width))).to(start.device)
    scale = scale / scale.mean()
    base = torch.logit(start.float().clamp(0.02, 0.98))
    spectrum = torch.zeros(*start.shape[:2], height, width // 2 + 1, 2, device=start.device, requires_grad=True)
    optimizer = torch.optim.Adam([spectrum], lr=RATE)
    reach = max(1, min(height, width) // 16)
    for _ in range(STEPS):
        image = (base + _to_space(spectrum, scale, height, width)).sigmoid()
        down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        moved = functional.pad(image, (reach,) * 4, mode="reflect")
        moved = moved[:, :, reach + down : reach + down + height, reach + right : reach + right + width]
        rough = (image.diff(dim=2).abs().mean((1, 2, 3)) + image.diff(dim=3).abs().mean((1, 2, 3))).sum()
        loss = -objective(moved).sum() + SMOOTH * height * rough
        (spectrum.grad,) = torch.autograd.grad(loss, spectrum)
        optimizer.step()
    return (base + _to_space(spectrum, scale, height, width)).sigmoid().detach()


def _to_space(spectrum: Tensor, scale: Tensor, height: int, width: int) -> Tensor:
    waves = torch.view_as_complex(spectrum) * scale
    return torch.fft.irfft2(waves, s=(height, width), norm="ortho")
