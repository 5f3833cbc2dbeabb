"""The built-in representations: colour statistics, Fourier amplitude and pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.swap.representation import Codec
from conceptnet_plugins.representations import blocks, colour, exposure, fourier, pixels, sharpness
from conceptnet_plugins.traps import quality

PLUGINS = load_plugins(use_entry_points=False)
FOURIER = Codec(PLUGINS.get("representation", "fourier"))  # type: ignore[arg-type]
BLOCKS = Codec(PLUGINS.get("representation", "blocks"))  # type: ignore[arg-type]
SHARPNESS = Codec(PLUGINS.get("representation", "sharpness"))  # type: ignore[arg-type]
EXPOSURE = Codec(PLUGINS.get("representation", "exposure"))  # type: ignore[arg-type]


@pytest.fixture
def codec() -> Codec:
    return Codec(PLUGINS.get("representation", "colour"))  # type: ignore[arg-type]


def pictures(count: int = 5, side: int = 16, seed: int = 0) -> Tensor:
    """Soft noise, each image with its own tint and correlated channels, far from black and white; light and dark vary
    more than hues do, as they do in photographs."""
    draw = torch.Generator().manual_seed(seed)
    mixing = 0.4 * torch.eye(3) + 0.2 * torch.rand(count, 3, 3, generator=draw)
    mixing[:, :, 0] += 0.6
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


def test_statistics_are_the_mean_and_the_principal_axes_and_what_is_kept_is_white() -> None:
    images = pictures()
    numbers, whitened = colour.encode(images)
    mean, covariance = statistics(images)
    torch.testing.assert_close(numbers[:, :3], mean, atol=1e-6, rtol=0)
    axes = numbers[:, 3:].reshape(-1, 3, 3)
    ridge = colour.RIDGE * torch.diag(torch.tensor([1.0, 1.01, 1.02]))
    torch.testing.assert_close(axes @ axes.transpose(1, 2), covariance + ridge, atol=1e-6, rtol=0)
    lengths = axes.norm(dim=1)
    assert (lengths.sort(1).values == lengths).all()
    upright = (axes / lengths[:, None]).transpose(1, 2) @ (axes / lengths[:, None])
    torch.testing.assert_close(upright, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    middle, spread = statistics(whitened)
    assert middle.abs().max() < 1e-5
    # One along each axis, but for the ridge's share of it; and nothing between two axes.
    expected = torch.diag_embed(1 - colour.RIDGE * 1.01 / lengths**2)
    torch.testing.assert_close(spread, expected, atol=1e-2, rtol=0)


def test_axes_point_to_the_light_and_to_red_and_make_a_right_hand() -> None:
    axes = colour.encode(pictures(40))[0][:, 3:].reshape(-1, 3, 3)
    assert (axes[:, :, 2].sum(1) > 0).all()
    assert (axes[:, 0, 1] >= axes[:, 2, 1]).all()
    assert (torch.linalg.det(axes) > 0).all()


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
        assert likeness[0] > 0.97
        assert abs(likeness[1]) < 0.4


def test_a_measured_swap_gives_the_donors_distribution(codec: Codec) -> None:
    """A donor whose light is clipped has a skewed one, which mean and spread do not hold."""
    images = pictures(side=64)
    donors = pictures(side=64, seed=1).mul(1.6).clamp(0, 1).mul(255).round().div(255)
    measured, exchanged, wanted = (
        one.flatten(2).sort(2).values for one in (codec.measured(images, donors), codec.swap(images, donors), donors)
    )
    assert (measured - wanted).abs().mean() < 0.002
    assert (exchanged - wanted).abs().mean() > 2 * (measured - wanted).abs().mean()
    told = torch.corrcoef(torch.stack([codec.measured(images, donors).flatten(), codec.swap(images, donors).flatten()]))
    assert told[0, 1] > 0.98
    assert torch.equal(codec.measured(donors, donors), donors)


def test_a_measured_swap_leaves_a_drawings_ground_alone(codec: Codec) -> None:
    """Few inked points under the values of many: equal values stay equal, so no point of the ground is lit."""
    thin = torch.zeros(1, 3, 16, 16)
    thin[:, 0, 2:14, 7] = 1
    thick = torch.zeros(1, 3, 16, 16)
    thick[:, 1, 3:13, 3:13] = 1
    swapped = codec.measured(thin, thick)
    inked = (swapped.amax(1) > 0.5)[0]
    assert inked[2:14, 7].all()
    assert int(inked.sum()) == 12
    assert swapped[:, 0].max() < 0.02


def test_swapping_with_itself_changes_nothing(codec: Codec) -> None:
    images = pictures()
    torch.testing.assert_close(codec.swap(images, images), images, atol=1e-5, rtol=0)


HUES = {"red": (1.0, 0.0, 0.0), "green": (0.0, 0.8, 0.0), "sky": (0.2, 0.6, 0.9), "grey": (0.7, 0.7, 0.7)}


def drawing(hue: str, seed: int = 0, side: int = 16) -> Tensor:
    """A drawing in one hue on black, (1, 3, side, side): a box with soft edges, somewhere."""
    draw = torch.Generator().manual_seed(seed)
    ink = torch.zeros(side, side)
    top, left = torch.randint(1, side // 2, (2,), generator=draw).tolist()
    ink[top : top + side // 2 - 1, left : left + side // 3] = 1
    ink = torch.nn.functional.avg_pool2d(ink[None, None], 3, 1, 1)[0]
    return (torch.tensor(HUES[hue]).view(3, 1, 1) * ink)[None]


@pytest.mark.parametrize("theirs", HUES)
@pytest.mark.parametrize("mine", HUES)
def test_a_drawing_in_one_hue_takes_the_donors_at_full_contrast(mine: str, theirs: str, codec: Codec) -> None:
    """As if it had been drawn in the donor's ink: nothing of its own hue is left, nothing of its contrast is lost."""
    swapped = codec.swap(drawing(mine), drawing(theirs, seed=1))
    expected = drawing(theirs)
    # Another drawing covers another share of the image, which makes ground and ink a little lighter or darker.
    hue = torch.tensor(HUES[theirs])
    along = torch.einsum("bchw,c->bhw", swapped, hue) / hue.norm()
    beside = swapped - along[:, None] * (hue / hue.norm()).view(1, 3, 1, 1)
    assert beside.abs().max() < 0.02
    contrast = along.amax((1, 2)) - along.amin((1, 2))
    assert float(contrast) > 0.8 * float(hue.norm())
    told = torch.corrcoef(torch.stack([along.flatten(), expected.mean(1).flatten()]))[0, 1]
    assert told > 0.99


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


SIZES = [(16, 16), (15, 17), (17, 15), (32, 16), (9, 28)]


def lively(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
    """Noise with a share of coarse and of fine detail of its own in each image, far from black and white."""
    draw = torch.Generator().manual_seed(seed)
    fine = torch.randn(count, 3, height, width, generator=draw)
    coarse = torch.nn.functional.interpolate(torch.randn(count, 3, 4, 4, generator=draw), (height, width))
    shares = 0.02 + 0.06 * torch.rand(2, count, 1, 1, 1, generator=draw)
    tint = 0.45 + 0.1 * torch.rand(count, 3, 1, 1, generator=draw)
    return tint + shares[0] * fine + shares[1] * coarse


def wave(cycles: int, height: float, width: int = 32) -> Tensor:
    """(1, 3, width, width), ``0.5 + height · cos`` with so many cycles from left to right."""
    line = height * torch.cos(2 * math.pi * cycles * torch.arange(width) / width)
    return (0.5 + line).expand(1, 3, width, width).clone()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_fourier_round_trip_is_exact(height: int, width: int) -> None:
    images = lively(4, height, width)
    torch.testing.assert_close(fourier.decode(fourier.encode(images)), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(FOURIER.swap(images, images), images, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_frequency_but_the_mean_is_in_one_cell(height: int, width: int) -> None:
    cells = fourier.masks(fourier.encode(lively(1, height, width)))
    assert cells.shape == (36, 1, height, width // 2 + 1)
    once = torch.ones(1, height, width // 2 + 1)
    once[0, 0, 0] = 0
    assert torch.equal(cells.sum(0), once)


def test_a_wave_is_in_the_cell_of_its_fineness_and_direction() -> None:
    """Six rings between 1 and 16 cycles of 32 px, on a log scale; lying lines in sector 0, upright ones in sector 3."""
    for cycles, ring in ((1, 0), (2, 1), (3, 2), (5, 3), (7, 4), (11, 5)):
        for image, donor, sector in (
            (wave(cycles, 0.1), wave(cycles, 0.2), 3),
            (wave(cycles, 0.1).mT, wave(cycles, 0.2).mT, 0),
        ):
            gate = torch.zeros(1, 36)
            gate[0, 6 * ring + sector] = 1
            torch.testing.assert_close(FOURIER.swap(image, donor, gate), donor, atol=1e-4, rtol=0)
            torch.testing.assert_close(FOURIER.swap(image, donor, 1 - gate), image, atol=1e-4, rtol=0)
    # A donor with nothing there takes it away; where the image has nothing there is nothing to amplify.
    flat = torch.full_like(wave(3, 0.4), 0.5)
    torch.testing.assert_close(FOURIER.swap(wave(3, 0.4), wave(11, 0.2)), flat, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_fourier_swap_brings_the_donors_amplitudes_and_leaves_phases_and_the_mean_colour(
    height: int, width: int
) -> None:
    images, donors = lively(4, height, width), lively(4, height, width, seed=1)
    gate = torch.zeros(4, 36)
    gate[:, 18:] = 1
    for chosen in (None, gate, gate.bool()):
        swapped = FOURIER.swap(images, donors, chosen)
        torch.testing.assert_close(swapped.mean((2, 3)), images.mean((2, 3)), atol=1e-5, rtol=0)
        (before, kept), (wanted, _), (found, _) = (fourier.encode(these) for these in (images, donors, swapped))
        cells = fourier.masks((before, kept))[0 if chosen is None else 18 :].sum(0).bool()
        heard = before > 20 * fourier.FLOOR  # what is nearer to the floor is amplified less than asked
        torch.testing.assert_close(found[heard], torch.where(cells, wanted, before)[heard], atol=1e-3, rtol=0.06)
        spectra = torch.fft.rfft2(images), torch.fft.rfft2(swapped)
        factor = spectra[1] / spectra[0]
        assert factor.imag.abs().max() < 1e-2
        assert factor.real.min() > -1e-2


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 17)])
def test_the_slope_of_a_fourier_gate_is_that_of_finite_differences(height: int, width: int) -> None:
    images, donors = lively(2, height, width), lively(2, height, width, seed=1)
    weight = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))
    mixer = FOURIER.mixer(images, donors)
    gate = torch.linspace(0.2, 0.8, 72).view(2, 36).requires_grad_(True)
    (slope,) = torch.autograd.grad((mixer(gate) * weight).sum(), gate)
    step = 0.02
    for image in range(2):
        for cell in range(36):
            nudge = torch.zeros(2, 36)
            nudge[image, cell] = step
            up, down = ((mixer(gate.detach() + way * nudge).double() * weight).sum() for way in (1, -1))
            assert float(slope[image, cell]) == pytest.approx(float(up - down) / 2 / step, abs=5e-3, rel=1e-2)
    assert (slope.abs().amax(0) > 0).sum() > 24  # a small image has cells without a frequency


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_image_stays_finite(level: float) -> None:
    flat = torch.full((2, 3, 8, 8), level)
    torch.testing.assert_close(FOURIER.swap(flat, lively(2, 8, 8)), flat, atol=1e-5, rtol=0)
    gate = torch.full((2, 36), 0.5, requires_grad=True)
    for images, donors in ((flat, lively(2, 8, 8)), (lively(2, 8, 8), flat), (flat, flat)):
        free = images.clone().requires_grad_(True)
        swapped = FOURIER.swap(free, donors, gate)
        slopes = torch.autograd.grad(swapped.square().sum(), (free, gate))
        assert all(torch.isfinite(one).all() for one in (swapped, *slopes))


def test_waves_of_a_cell_take_over_a_grating_with_its_phase() -> None:
    codec = Codec(PLUGINS.get("representation", "waves"))  # type: ignore[arg-type]
    assert codec.record.entire
    host, plain = pictures(2, 32), pictures(2, 32, seed=1)
    columns = torch.arange(32)
    donor = plain + 0.1 * torch.cos(2 * math.pi * 8 / 32 * columns + 0.7)
    torch.testing.assert_close(codec.swap(host, host), host, atol=1e-6, rtol=0)
    whole = codec.swap(host, donor)
    torch.testing.assert_close(whole - whole.mean((2, 3), keepdim=True), donor - donor.mean((2, 3), keepdim=True))
    torch.testing.assert_close(whole.mean((2, 3)), host.mean((2, 3)))
    gate = torch.zeros(2, 36)
    gate[:, 4 * 6 + 3] = 1  # eight cycles that stand upright
    swapped = codec.swap(host, donor, gate)
    spectra = [torch.fft.rfft2(images)[:, :, 0] for images in (host, donor, swapped)]
    torch.testing.assert_close(spectra[2][..., 8], spectra[1][..., 8], atol=1e-3, rtol=0)
    torch.testing.assert_close(spectra[2][..., 3], spectra[0][..., 3], atol=1e-3, rtol=0)


def test_waves_are_judged_by_donors_that_are_moved() -> None:
    codec = Codec(PLUGINS.get("representation", "waves"))  # type: ignore[arg-type]
    host, donor = pictures(2, 32), pictures(2, 32, seed=1)
    judged = codec.measured(host, donor)
    moved = donor.roll((16, 16), (2, 3))
    torch.testing.assert_close(judged - judged.mean((2, 3), keepdim=True), moved - moved.mean((2, 3), keepdim=True))
    torch.testing.assert_close(judged.mean((2, 3)), host.mean((2, 3)))
    whole = codec.swap(host, donor)
    torch.testing.assert_close(torch.fft.rfft2(judged).abs(), torch.fft.rfft2(whole).abs(), atol=1e-3, rtol=0)


def shapes(count: int = 6, side: int = 32) -> Tensor:
    """Soft shades of grey, another square in another place on each: clean pictures with edges."""
    draw = torch.Generator().manual_seed(3)
    line = torch.linspace(0.35, 0.5, side)
    images = (line[:, None] + line).div(2).expand(count, 3, side, side).clone()
    for image, (top, left) in zip(
        images, torch.randint(2, side - 14, (count, 2), generator=draw).tolist(), strict=True
    ):
        image[:, top : top + 12, left : left + 12] += 0.25
    return images


def planted(trap: str, images: Tensor, cue: int) -> Tensor:
    """The images with this class's cue of a trap of the camera."""
    whole = (images * 255).round().to(torch.uint8)
    count = len(images)
    return getattr(quality, trap)(whole, torch.full((count,), cue), torch.arange(count) + 100 * cue).float() / 255


def noise_of(images: Tensor) -> Tensor:
    """The deviation of noise, (B,): from the finest differences, of which edges are few (Donoho, Johnstone 1994)."""
    fine = images[..., 1:, 1:] - images[..., 1:, :-1] - images[..., :-1, 1:] + images[..., :-1, :-1]
    return fine.abs().flatten(1).median(1).values / 0.6745 / 2


def test_blocks_bring_the_donors_grain_both_ways_and_leave_the_picture() -> None:
    clean = shapes()
    grainy, fine = planted("grain", clean, 0), planted("grain", clean.flip(0), 1)
    assert (noise_of(grainy) > 0.04).all()
    assert (noise_of(fine) < 0.01).all()
    now_fine, now_grainy = BLOCKS.swap(grainy, fine), BLOCKS.swap(fine, grainy)
    assert (noise_of(now_fine) < 0.015).all()
    assert (noise_of(now_grainy) > 0.035).all()
    # The square is where it was, and not where the donor's is.
    for swapped, own in ((now_fine, clean), (now_grainy, clean.flip(0))):
        like = [
            torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(swapped, own, strict=True)
        ]
        assert min(like) > 0.8


def edges_of_blocks(images: Tensor) -> Tensor:
    """How much larger steps are between JPEG's blocks than within them, in the mean."""
    steps = (images[..., 1:] - images[..., :-1]).abs().mean((0, 1, 2))
    between = torch.arange(1, images.shape[-1]) % 8 == 0
    return steps[between].mean() / steps[~between].mean()


def nought(images: Tensor) -> Tensor:
    """The share of the fine waves of light in JPEG's blocks that are as good as not there."""
    return (blocks._coefficients(images, 0)[:, 0, 9:].abs() < 0.004).float().mean()


def test_blocks_bring_compression_and_take_it_away() -> None:
    """Fine waves come and go wholly, the edges of blocks go in part."""
    draw = torch.Generator().manual_seed(0)
    soft = torch.randn(40, 1, 20, 20, generator=draw).repeat(1, 3, 1, 1)
    soft = 0.5 + 0.15 * torch.nn.functional.interpolate(soft, (64, 64), mode="bicubic") + 0.02 * pictures(40, 64)
    strong, weak = planted("compression", soft[:20], 0), planted("compression", soft[20:], 1)
    assert edges_of_blocks(strong) > 1.3
    assert edges_of_blocks(weak) < 1.05
    assert nought(strong) > nought(weak) + 0.1
    now_strong, now_weak = BLOCKS.swap(weak, strong), BLOCKS.swap(strong, weak)
    torch.testing.assert_close(nought(now_strong), nought(strong), atol=0.02, rtol=0)
    torch.testing.assert_close(nought(now_weak), nought(weak), atol=0.02, rtol=0)
    assert edges_of_blocks(now_strong) > 1.3
    assert edges_of_blocks(now_weak) < edges_of_blocks(strong) - 0.1


def test_blocks_know_neither_directions_nor_places() -> None:
    """So a grating, a frame's place and an object's outline stay with the image."""
    side = torch.arange(32)
    line = 0.5 + 0.1 * torch.sin(2 * math.pi * side / 4 + 0.7)
    upright, lying = line.expand(1, 3, 32, 32), line[:, None].expand(1, 3, 32, 32)
    torch.testing.assert_close(BLOCKS.swap(upright, lying), upright, atol=1e-4, rtol=0)
    moved = pictures(3, 32)
    torch.testing.assert_close(BLOCKS.swap(moved, moved.transpose(2, 3)), moved, atol=1e-4, rtol=0)
    torch.testing.assert_close(BLOCKS.swap(moved, moved.roll((8, 16), (2, 3))), moved, atol=1e-4, rtol=0)


def test_blocks_leave_an_even_ground_even() -> None:
    drawing = torch.zeros(2, 3, 32, 32)
    drawing[:, :, 9:15, 9:15] = 0.8
    swapped = BLOCKS.swap(drawing, pictures(2, 32))
    assert torch.equal(swapped[..., 24:, 24:], drawing[..., 24:, 24:])
    assert (swapped[..., 8:16, 8:16] - drawing[..., 8:16, 8:16]).abs().max() > 0.02


@pytest.mark.parametrize(("height", "width"), [(32, 32), (21, 50), (5, 3)])
def test_a_round_trip_of_blocks_is_exact(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    encoding = blocks.encode(images)
    assert encoding[0].shape[2:4] == (3, 36)
    torch.testing.assert_close(blocks.decode(encoding), images, atol=1e-5, rtol=0)


def exposed(factor: float, count: int = 6, seed: int = 0) -> Tensor:
    """Pictures that reach from black to white, brighter or darker by a factor, as 8 bits hold them."""
    images = pictures(count, 32, seed)
    least, most = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (factor * (images - least) / (most - least)).clamp(0, 1).mul(255).round().div(255)


def cut_off(images: Tensor) -> Tensor:
    """The share of an image's values at its lightest."""
    return (images >= images.amax((1, 2, 3), keepdim=True) - exposure.STEP).float().mean((1, 2, 3))


def test_exposure_reaches_as_far_as_the_donors_and_is_cut_off_as_often() -> None:
    dark, bright = exposed(0.7), exposed(1.5, seed=1)
    brightened, darkened = EXPOSURE.swap(dark, bright), EXPOSURE.swap(bright, dark)
    torch.testing.assert_close(brightened.amax((1, 2, 3)), bright.amax((1, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(cut_off(brightened), cut_off(bright), atol=0.02, rtol=0)  # stretched, more come near
    torch.testing.assert_close(darkened.amax((1, 2, 3)), dark.amax((1, 2, 3)), atol=1e-6, rtol=0)
    assert (cut_off(bright) > 0.02).all(), "else there is nothing to take over"
    assert torch.equal(EXPOSURE.swap(bright, bright), bright)


def test_exposure_leaves_what_is_lighter_than_what() -> None:
    dark, bright = exposed(0.7), exposed(1.5, seed=1)
    swapped = EXPOSURE.swap(dark, bright)
    for before, after in zip(dark.flatten(1), swapped.flatten(1), strict=True):
        assert (after[before.argsort()].diff() >= -1e-6).all()


def test_a_picture_of_one_tone_is_not_stretched_by_exposure() -> None:
    even = torch.full((1, 3, 16, 16), 0.4)
    even[..., 0] += 1 / 255
    swapped = EXPOSURE.swap(even, exposed(1.0, 1))
    assert float(swapped.amax() - swapped.amin()) < 0.1


def test_blocks_are_judged_by_donors_of_as_much_contrast() -> None:
    """Softer ones of the same pictures give nothing; of noise is as much told as in views."""
    images, donors = pictures(6, 32), pictures(6, 32, seed=1)
    donors = donors - donors.mean((1, 2, 3), keepdim=True) + 0.5
    faint = 0.5 + 0.5 * (donors - 0.5)
    torch.testing.assert_close(BLOCKS.measured(images, faint), BLOCKS.measured(images, donors), atol=1e-4, rtol=0)
    assert (BLOCKS.swap(images, faint) - BLOCKS.swap(images, donors)).abs().mean() > 0.01
    even = torch.full_like(images, 0.5)
    assert torch.isfinite(BLOCKS.measured(images, even)).all()


def textured(count: int = 6, seed: int = 0) -> Tensor:
    """Pictures with as much that is fine as photographs have: amplitudes that fall as one over the frequency."""
    draw = torch.Generator().manual_seed(seed)
    waves = torch.fft.rfft2(torch.randn(count, 3, 32, 32, generator=draw))
    radius = (torch.fft.fftfreq(32)[:, None].square() + torch.fft.rfftfreq(32).square()).sqrt().clamp_min(1 / 32)
    images = torch.fft.irfft2(waves / radius, s=(32, 32))
    return (0.5 + 0.12 * images / images.std((1, 2, 3), keepdim=True)).clamp(0, 1)


def blurred(images: Tensor) -> Tensor:
    return (
        quality.blur((images * 255).round().to(torch.uint8), torch.zeros(len(images)), torch.arange(len(images))) / 255
    )


def test_sharpness_exchanges_blur_and_leaves_how_strong_what_is_coarse_is() -> None:
    images, donors = textured(), textured(seed=1)
    soft = SHARPNESS.swap(images, blurred(donors))
    again = SHARPNESS.swap(blurred(images), donors)
    falls = [sharpness.encode(one)[0][:, -1].mean() for one in (images, blurred(images), soft, again)]
    assert falls[1] < falls[0] - 1, "else nothing is blurred"
    torch.testing.assert_close(falls[2], falls[1], atol=0.3, rtol=0)
    assert falls[3] > falls[1] + 0.7 * (falls[0] - falls[1]), "but for the greatest factor"


def test_sharpness_knows_no_contrast_light_or_hue() -> None:
    images, donors = textured(), textured(seed=1)
    fainter = 0.4 + 0.5 * (donors - 0.5)
    torch.testing.assert_close(SHARPNESS.swap(images, fainter), SHARPNESS.swap(images, donors), atol=0.02, rtol=0)
    swapped = SHARPNESS.swap(images, blurred(donors))
    torch.testing.assert_close(swapped.mean((2, 3)), images.mean((2, 3)), atol=0.01, rtol=0)
    assert torch.isfinite(SHARPNESS.swap(torch.full_like(images, 0.5), donors)).all()


def test_made_sharper_in_views_an_image_has_no_lines_of_its_opposite_edges() -> None:
    """Which it has as it is judged: half of it dark and half light, its edges do not fit each other."""
    step = torch.full((1, 3, 32, 32), 0.3)
    step[..., 16:] = 0.7
    soft, sharp = blurred(step), textured(1)
    seen, judged = SHARPNESS.swap(soft, sharp), SHARPNESS.measured(soft, sharp)
    assert (seen[..., :4] - 0.3).abs().max() < 0.1
    assert (judged[..., :4] - 0.3).abs().max() > 0.2
