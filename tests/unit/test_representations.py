"""The built-in representations: colour statistics and pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.swaps import Codec
from conceptnet_plugins.representations import colour, pixels


@pytest.fixture
def codec() -> Codec:
    return Codec(load_plugins(use_entry_points=False).get("representation", "colour"))  # type: ignore[arg-type]


def pictures(count: int = 5, side: int = 16, seed: int = 0) -> Tensor:
    """Soft noise, each image with its own tint and correlated channels, far from black and white."""
    draw = torch.Generator().manual_seed(seed)
    mixing = 0.6 * torch.eye(3) + 0.4 * torch.rand(count, 3, 3, generator=draw)
    noise = 0.05 * torch.randn(count, 3, side * side, generator=draw)
    tint = 0.4 + 0.2 * torch.rand(count, 3, 1, generator=draw)
    return (tint + mixing @ noise).reshape(count, 3, side, side)


def statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    flat = images.flatten(2)
    centred = flat - flat.mean(2, keepdim=True)
    return flat.mean(2), centred @ centred.transpose(1, 2) / flat.shape[2]


def test_decoding_undoes_encoding() -> None:
    images = pictures()
    torch.testing.assert_close(colour.decode(colour.encode(images)), images, atol=1e-5, rtol=0)
    assert torch.equal(pixels.decode(pixels.encode(images)), images)


def test_what_is_kept_is_white() -> None:
    _, whitened = colour.encode(pictures())
    mean, covariance = statistics(whitened)
    assert mean.abs().max() < 1e-5
    # Shrunk a little by the ridge.
    torch.testing.assert_close(covariance, torch.eye(3).expand(5, 3, 3), atol=0.25, rtol=0)


def test_a_swap_gives_the_donors_mean_and_covariance(codec: Codec) -> None:
    images, donors = pictures(), pictures(seed=1)
    mean, covariance = statistics(codec.swap(images, donors))
    torch.testing.assert_close(mean, statistics(donors)[0], atol=1e-5, rtol=0)
    before = (statistics(images)[1] - statistics(donors)[1]).flatten(1).norm(dim=1)
    after = (covariance - statistics(donors)[1]).flatten(1).norm(dim=1)
    assert (after < 0.1 * statistics(donors)[1].flatten(1).norm(dim=1)).all()
    assert (after < 0.5 * before).all()


def test_a_swap_keeps_the_images_own_structure(codec: Codec) -> None:
    images, donors = pictures(), pictures(seed=1)
    swapped = codec.swap(images, donors)
    for image, donor, result in zip(images, donors, swapped, strict=True):
        likeness = [
            float(torch.corrcoef(torch.stack([one.mean(0).flatten(), result.mean(0).flatten()]))[0, 1])
            for one in (image, donor)
        ]
        assert likeness[0] > 0.9
        assert abs(likeness[1]) < 0.4


def test_swapping_with_itself_changes_nothing(codec: Codec) -> None:
    images = pictures()
    torch.testing.assert_close(codec.swap(images, images), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_one_coloured_image_stays_finite(level: float, codec: Codec) -> None:
    flat = torch.full((2, 3, 8, 8), level)
    torch.testing.assert_close(colour.decode(colour.encode(flat)), flat, atol=1e-5, rtol=0)
    for images, donors in ((flat, pictures(2, 8)), (pictures(2, 8), flat)):
        swapped = codec.swap(images, donors)
        assert torch.isfinite(swapped).all()
        assert swapped.min() >= 0
        assert swapped.max() <= 1


def test_statistics_are_taken_where_it_is_told_to_look() -> None:
    images = pictures()
    changed = images.clone()
    changed[:, :, :, 8:] = 0.9
    where = torch.zeros(5, 1, 16, 16)
    where[..., :8] = 1
    there, changed_there = colour.encode(images, where)[0], colour.encode(changed, where)[0]
    torch.testing.assert_close(there, changed_there, atol=1e-4, rtol=0)
    torch.testing.assert_close(there, colour.encode(images[..., :8])[0], atol=1e-4, rtol=0)
    assert (colour.encode(images)[0] - colour.encode(changed)[0]).abs().max() > 0.05
    torch.testing.assert_close(colour.encode(images, torch.ones(5, 1, 16, 16))[0], colour.encode(images)[0])


def test_weights_weigh() -> None:
    images = torch.zeros(1, 3, 1, 2)
    images[..., 1] = 1
    where = torch.tensor([3.0, 1.0]).view(1, 1, 1, 2) / 4
    assert colour.encode(images, where)[0][0, :3].tolist() == pytest.approx([0.25] * 3, abs=1e-5)


def test_looking_nowhere_is_finite() -> None:
    statistics_, whitened = colour.encode(pictures(), torch.zeros(5, 1, 16, 16))
    assert torch.isfinite(statistics_).all()
    assert torch.isfinite(whitened).all()


def test_images_do_not_influence_each_other() -> None:
    images = pictures()
    together, alone = colour.encode(images), colour.encode(images[2:3])
    torch.testing.assert_close(alone[0], together[0][2:3], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone[1], together[1][2:3], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["tinted", "grey", "one-coloured"])
def test_gradients_are_finite(kind: str, codec: Codec) -> None:
    """Also where the covariance has equal eigenvalues, as that of a grey image has."""
    images = pictures(2, 8)
    if kind == "grey":
        images = images.mean(1, keepdim=True).expand(2, 3, 8, 8).clone()
    elif kind == "one-coloured":
        images = torch.full((2, 3, 8, 8), 0.5)
    images.requires_grad_(True)
    donors = pictures(2, 8, seed=1).requires_grad_(True)
    weight = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    (codec.swap(images, donors) * weight).sum().backward()
    for one in (images, donors):
        assert one.grad is not None
        assert torch.isfinite(one.grad).all()
    assert donors.grad is not None
    assert donors.grad.abs().max() > 0
