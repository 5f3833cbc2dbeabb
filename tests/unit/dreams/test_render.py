"""The dream engine: what it computes, what it refuses, and that a dream depends on nothing but itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.dreams.activations import Layers, RedirectedReLU
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.objectives import LOGITS, Objective, ObjectiveBatch
from conceptnet_ml.dreams.parametrizations import (
    DreamRow,
    Fourier,
    Gate,
    Phases,
    Pixels,
    coloured,
    magnitudes,
    uncoloured,
)
from conceptnet_ml.dreams.recipe import Recipe, recipe_of
from conceptnet_ml.dreams.render import RenderSession, RenderSettings, dream, octave_sizes, rows_for, scores
from conceptnet_ml.dreams.request import DreamRequest
from conceptnet_ml.dreams.transforms import Transforms, grid_of, moved
from conceptnet_ml.dreams.zoom import ZoomSettings, zoom
from conceptnet_ml.errors import Interrupted, PluginError, SettingsError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.records import Dreamer
from conceptnet_ml.runtime import ranks
from conceptnet_ml.runtime.seeding import generator
from conceptnet_ml.runtime.signals import Stopper

CPU = torch.device("cpu")


class Net(nn.Module):
    """Two convolutions with batch norms whose statistics are not those of a fresh one, and a linear layer."""

    def __init__(self, channels: int = 3, width: int = 6) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images)).mean((2, 3)))


def staged(channels: int = 3, side: int = 24, seed: int = 0) -> StagedNetwork:
    torch.manual_seed(seed)
    model = Net(channels)
    for norm in (model.first[1], model.second[1]):
        assert isinstance(norm, nn.BatchNorm2d)
        norm.running_mean = torch.randn(norm.num_features) * 0.1
        norm.running_var = torch.rand(norm.num_features) + 0.5
        norm.weight.data = torch.rand(norm.num_features) + 0.5
        norm.bias.data = torch.rand(norm.num_features) * 0.3
    return StagedNetwork(model, (side, side)).eval()


NETWORK = staged()
QUICK = Recipe(steps=12, stall=0.0)
FOUR_EXACTLY = RenderSettings(rows=4, exact=True)


def pictures(count: int, channels: int = 3, side: int = 24) -> Tensor:
    return (torch.rand(count, channels, side, side, generator=generator(5)) * 255).to(torch.uint8)


# Objectives


def test_objectives_are_what_they_say() -> None:
    images = pictures(4)
    floats = images.float() / 255
    maps = NETWORK.run_until(floats, "first")
    vector = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0, 0.0])
    guide = pictures(5)[4]
    guiding = NETWORK.run_until(guide[None].float() / 255, "first")[0].flatten(1)
    doubled = nn.Conv2d(6, 2, 1)
    objectives = [
        Objective.unit("first", 4),
        Objective.direction("first", vector),
        Objective.logit(2, "c"),
        Objective.layer("first"),
        Objective.unit("first", 1).at("centre"),
        Objective.unit("first", 1).at((0, 3)),
        Objective.mix([(Objective.unit("first", 0), 2.0), (Objective.logit(1, "b"), -0.5)]),
        Objective.guide("first", guide),
        Objective.module("first", nn.Sequential(doubled, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1, "probe"),
    ]
    best = (guiding.T @ maps.flatten(2)).amax(1).mean(1)
    expected = [
        maps[:, 4].mean((1, 2)),
        (maps.mean((2, 3)) * (vector / vector.norm())).sum(1),
        NETWORK(floats)[:, 2],
        maps.square().mean((1, 2, 3)) / 2,
        maps[:, 1, 6, 6],
        maps[:, 1, 0, 3],
        2 * maps[:, 0].mean((1, 2)) - 0.5 * NETWORK(floats)[:, 1],
        best,
        doubled(maps)[:, 1].mean((1, 2)),
    ]
    torch.testing.assert_close(
        scores(NETWORK, objectives, images), torch.stack(expected, 1).detach(), rtol=1e-4, atol=1e-4
    )


def test_objectives_of_one_batch_do_not_mix() -> None:
    """Packed together they give what each gives alone."""
    maps = {"first": torch.randn(3, 6, 5, 5), LOGITS: torch.randn(3, 3)}
    objectives = [Objective.unit("first", 2), Objective.layer("first"), Objective.turn(0, 2, "abc")]
    packed = ObjectiveBatch(objectives, {}, CPU)(maps)
    for row, objective in enumerate(objectives):
        alone = ObjectiveBatch([objective], {}, CPU)({name: values[row : row + 1] for name, values in maps.items()})
        torch.testing.assert_close(packed[row], alone[0])


def test_keys_tell_what_is_sought_not_what_it_is_called() -> None:
    unit = Objective.unit("first", 2)
    assert unit.key == replace(unit, name="wheels").key
    assert (
        len({one.key for one in (unit, Objective.unit("first", 3), Objective.unit("second", 2), unit.at("centre"))})
        == 4
    )
    assert Objective.mix([(unit, 1.0)]).key != Objective.mix([(unit, 2.0)]).key
    assert Objective.guide("first", pictures(2)[0]).key != Objective.guide("first", pictures(2)[1]).key


# Layers


def test_layers_give_what_the_network_gives_with_batch_norms_folded() -> None:
    images = torch.rand(2, 3, 24, 24)
    every = ("first", "second", LOGITS)
    folded = Layers(NETWORK, every)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, RedirectedReLU) for module in folded.modules())
    found = folded(images)
    torch.testing.assert_close(found["first"], NETWORK.run_until(images, "first"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["second"], NETWORK.run_until(images, "second"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[LOGITS], NETWORK(images), rtol=1e-4, atol=1e-5)
    assert any(isinstance(module, nn.BatchNorm2d) for module in NETWORK.modules()), "the user's network is left alone"


def test_a_layer_inside_a_block_is_what_the_module_gives() -> None:
    images = torch.rand(2, 3, 24, 24)
    seen: list[Tensor] = []
    handle = NETWORK.model.second[0].register_forward_hook(lambda _, __, output: seen.append(output))
    NETWORK(images)
    handle.remove()
    found = Layers(NETWORK, {"second.0"})(images)
    assert list(found) == ["second.0"], "and nothing beyond it"
    torch.testing.assert_close(found["second.0"], seen[0], rtol=1e-4, atol=1e-5)


def test_nothing_beyond_the_layer_is_run() -> None:
    network = staged()

    def fail(*_: object) -> None:
        raise AssertionError("run too far")

    network.model.second.register_forward_pre_hook(fail)
    assert Layers(network, {"first.0"})(torch.rand(1, 3, 24, 24))["first.0"].shape == (1, 6, 12, 12)


# Transforms


def test_maps_move_as_told() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 1, 3] = 1
    still = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(moved(image, still), image)
    right = torch.tensor([[1.0, 0.0, 1.0, 0.0]])  # each pixel is taken from its right neighbour
    assert moved(image, right)[0, 0, 1, 2] == pytest.approx(1, abs=1e-5)
    quarter = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    turned = moved(image, quarter)
    assert turned.amax() == pytest.approx(1, abs=1e-5)
    assert turned[0, 0].argmax() in (1 * 5 + 1, 3 * 5 + 3)
    assert grid_of(still, 2, 4)[0, 0, :, 0].tolist() == pytest.approx([-0.75, -0.25, 0.25, 0.75])


@pytest.mark.parametrize(("edges", "least"), [("grey", 0.99), ("reflect", 0.85)])
def test_the_quick_slope_of_a_view_is_nearly_the_exact_one(edges: str, least: float) -> None:
    """Away from the rim it is the same; at the rim what is reflected counts once in place of twice."""
    images = torch.rand(16, 3, 40, 40)
    weights = torch.randn(16, 3, 40, 40)
    slopes = []
    for exact in (True, False):
        transforms = Transforms(shift=4, scale=(0.9, 1.1), rotate=6, edges=edges, exact=exact)
        leaf, drawn = images.clone().requires_grad_(True), transforms.draw(16, 3, generator(1))
        (transforms.view(leaf, drawn) * weights).sum().backward()
        assert leaf.grad is not None
        slopes.append(leaf.grad)
    assert functional.cosine_similarity(*(slope.flatten(1) for slope in slopes)).min() > least
    inner = [slope[..., 9:-9, 9:-9].flatten(1) for slope in slopes]
    assert functional.cosine_similarity(*inner).min() > 0.99


def test_the_exact_slope_is_exact() -> None:
    transforms = Transforms(shift=2, scale=(0.8, 1.2), rotate=20, edges="grey", colour=0.2, exact=True)
    drawn = transforms.draw(2, 1, generator(3))
    leaf = torch.rand(2, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: transforms.view(x, drawn.double()), leaf)


def test_each_image_is_moved_by_its_own_numbers() -> None:
    transforms = Transforms(shift=3, rotate=10, noise=0.1, colour=0.1)
    images = torch.rand(1, 3, 16, 16).repeat(3, 1, 1, 1)
    drawn = torch.cat([transforms.draw(1, 3, generator(n)) for n in range(3)])
    views = transforms.view(images, drawn, [generator(n) for n in range(3)])
    assert not torch.allclose(views[0], views[1])
    again = transforms.view(images[2:], drawn[2:], [generator(2)])
    torch.testing.assert_close(views[2:], again)


# Parametrizations


def test_the_picture_of_a_class_is_made_in_crops_where_there_are_pixels_for_it() -> None:
    recipe, large = Recipe(), (224, 256)
    plain = replace(recipe, transforms=Transforms(shift=14, scale=(0.9, 1.1), rotate=10.0), rate=0.05)
    crops = recipe.filled(large, ("logits",))
    assert crops.transforms is not None
    assert crops.transforms.scale[1] > 3
    assert crops.transforms.noise > 0
    assert (crops.rate, crops.stall) == (3 * recipe.parametrization.rate, 0)
    assert replace(recipe, rate=0.01).filled(large, ("logits",)) == replace(crops, rate=0.01)
    assert recipe.filled(large, ("logits", "block1")) == plain, "a unit's texture"
    small = recipe.filled((64, 64), ("logits",))
    assert small.transforms is not None
    assert (small.transforms.noise, small.stall) == (0, recipe.stall), "few pixels"
    assert replace(recipe, transforms=plain.transforms).filled(large, ("logits",)) == plain
    for other in (replace(recipe, start="image"), replace(recipe, natural=0.7), Recipe(parametrization=Pixels())):
        assert other.filled(large, ("logits",)).transforms == plain.transforms


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("made", [Pixels(), Pixels(decay=1.0), Fourier(), Phases()])
def test_parametrizations_begin_where_they_are_told(made: Pixels | Fourier | Phases, channels: int) -> None:
    start = torch.rand(channels, 12, 10) * 0.8 + 0.1
    numbers, constants = made.begin(DreamRow((12, 10), channels, start, None, 1.0, generator(0)))
    image = made.images(numbers[None], [one[None] for one in constants], (12, 10))
    assert image.shape == (1, channels, 12, 10)
    if not isinstance(made, Phases):  # which keeps the start's phases, not its magnitudes
        torch.testing.assert_close(image[0], start, atol=1e-3, rtol=1e-3)
    free, constants = made.begin(DreamRow((12, 10), channels, None, None, 1.0, generator(0)))
    image = made.images(free[None], [one[None] for one in constants], (12, 10))
    assert image.std() > 0.005
    assert 0 <= image.min() <= image.max() <= 1


def test_the_slope_of_fourier_points_where_autograd_points() -> None:
    """Number by number the same but for a positive factor, which Adam does not see."""
    made = Fourier()
    numbers, (base,) = made.begin(DreamRow((8, 8), 3, None, None, 1.0, generator(0)))
    numbers, base, slope = numbers[None], (base[None],), torch.randn(1, 3, 8, 8)
    quick = made.gradient(numbers, base, made.images(numbers, base, (8, 8)), slope)
    free = numbers.clone().requires_grad_(True)
    (exact,) = torch.autograd.grad(made.images(free, base, (8, 8)), free, slope)
    felt = exact.abs() > 1e-6  # what the inverse transform of a real image ignores has no slope
    ratio = (quick / exact)[felt]
    assert ratio.min() > 0
    torch.testing.assert_close(quick.sign()[felt], exact.sign()[felt])


def test_phases_hold_the_magnitudes_of_real_images() -> None:
    real = pictures(8, side=16)
    held, mean = magnitudes(real)
    made = Phases(held, mean)
    numbers, constants = made.begin(DreamRow((16, 16), 3, None, None, 1.0, generator(0)))
    image = constants[1] + coloured(
        torch.fft.irfft2(torch.polar(constants[0], numbers), s=(16, 16), norm="ortho")[None], unit=True
    )
    found = torch.fft.rfft2(uncoloured(image - mean[:, None, None]), norm="ortho").abs()[0]
    inner = (slice(None), slice(None), slice(1, -1))  # the ends of the half spectrum are their own mirror images
    torch.testing.assert_close(found[inner], held[inner], rtol=1e-3, atol=1e-3)


def test_a_gate_lets_in_what_is_the_donors() -> None:
    gate = Gate(cells=4)
    start, donor = torch.zeros(3, 8, 8), torch.ones(3, 8, 8)
    numbers, constants = gate.begin(DreamRow((8, 8), 3, start, donor, 1.0, generator(0)))
    assert torch.allclose(gate.images(numbers[None], [one[None] for one in constants], (8, 8)), torch.tensor(0.5))
    price = gate.price(torch.full((2, 1, 4, 4), 100.0))
    assert price is not None
    assert price.tolist() == pytest.approx([1.0, 1.0])


# The engine


def test_objectives_rise_and_images_are_pictures() -> None:
    requests = [
        *(Objective.unit("second", unit) for unit in range(8)),
        Objective.logit(0, "a"),
        Objective.layer("first"),
    ]
    made = dream(NETWORK, requests, Recipe(steps=40))
    assert [one.objective.name for one in made] == [one.name for one in requests]
    assert all(one.image.dtype == torch.uint8 and one.image.shape == (3, 24, 24) for one in made)
    assert sum(one.rose for one in made) >= 9
    measured = scores(NETWORK, requests, torch.stack([one.image for one in made])).diagonal()
    torch.testing.assert_close(measured, torch.tensor([one.reached for one in made]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, parametrization=Pixels(), ascent="gradient", octaves=2)])
def test_a_dream_is_the_same_bit_for_bit_whoever_shares_its_batch(recipe: Recipe) -> None:
    """With the batch's length kept; with noise, colour and restarts of others going on beside it."""
    recipe = replace(recipe, transforms=Transforms(shift=2, rotate=5, noise=0.05, colour=0.1))
    mine = DreamRequest(Objective.unit("second", 3), seed=11)
    others = [DreamRequest(Objective.unit("second", n % 8), seed=n) for n in range(7)]
    others[2:5] = [replace(request, start=image) for request, image in zip(others[2:5], pictures(3), strict=True)]
    alone = dream(NETWORK, [mine], recipe, FOUR_EXACTLY)[0]
    for requests in ([mine, *others], [*others[:2], mine, *others[2:]], [*others[2:], mine]):
        among = dream(NETWORK, requests, recipe, FOUR_EXACTLY)[requests.index(mine)]
        assert torch.equal(among.image, alone.image)
        assert among.reached == alone.reached
    other = dream(NETWORK, [replace(mine, seed=12)], recipe, FOUR_EXACTLY)[0]
    assert not torch.equal(other.image, alone.image)


def test_without_a_kept_length_it_is_the_same_up_to_rounding() -> None:
    requests = [DreamRequest(Objective.unit("second", n % 8), seed=n) for n in range(9)]
    together = dream(NETWORK, requests, QUICK, RenderSettings(rows=4))
    apart = [dream(NETWORK, [request], QUICK)[0] for request in requests]
    for one, other in zip(together, apart, strict=True):
        assert (one.image.int() - other.image.int()).abs().float().mean() < 0.5


def test_dreams_that_stall_end_early_and_others_go_on() -> None:
    made = dream(NETWORK, [Objective.logit(0, "a"), Objective.logit(1, "b")], Recipe(steps=600, patience=10, stall=0.2))
    assert all(one.outcome == "stalled" and one.steps < 600 for one in made)


def test_a_dead_unit_is_reported_and_sleeping_ones_are_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = staged()
    norm = network.model.second[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.bias.data[:] = -0.5  # noise does not open them
    norm.weight.data[2], norm.bias.data[2] = 0.0, -1.0  # nothing does
    requests = [Objective.unit("second", unit) for unit in range(8)]
    made = dream(network, requests, Recipe(steps=96))
    assert made[2].outcome == "no gradient"
    assert not made[2].rose
    monkeypatch.setattr("conceptnet_ml.dreams.ascent.LEAK", 0.0)
    plain = dream(network, requests, Recipe(steps=96))
    assert made[0].rose
    assert not plain[0].rose
    assert sum(one.rose for one in made) > sum(one.rose for one in plain)


def test_an_objective_that_cannot_rise_is_reported() -> None:
    network = staged()
    start = torch.full((3, 24, 24), 255, dtype=torch.uint8)
    made = dream(
        network,
        [DreamRequest(Objective.mix([(Objective.layer("first"), 0.0), (Objective.unit("first", 0), 0.0)]), 0, start)],
        Recipe(steps=8, parametrization=Pixels()),
    )[0]
    assert made.outcome in ("no gradient", "never rose")
    assert torch.isfinite(torch.tensor(made.reached))


def test_a_flat_image_gives_a_picture_and_no_nan() -> None:
    for value in (0, 128, 255):
        start = torch.full((3, 24, 24), value, dtype=torch.uint8)
        for recipe in (QUICK, replace(QUICK, parametrization=Pixels()), replace(QUICK, parametrization=Phases())):
            made = dream(NETWORK, [DreamRequest(Objective.logit(1, "b"), 0, start)], recipe)[0]
            assert torch.isfinite(torch.tensor([made.before, made.reached])).all()


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(channels: int) -> None:
    network = staged(channels)
    assert network.mean.shape[1] == channels
    requests = [
        DreamRequest(Objective.logit(0, "a")),
        DreamRequest(Objective.layer("first"), 1, pictures(1, channels)[0]),
    ]
    for recipe in (QUICK, replace(QUICK, parametrization=Phases()), replace(QUICK, natural=0.5, smooth=0.2, near=0.2)):
        assert all(one.image.shape == (channels, 24, 24) for one in dream(network, requests, recipe))


def test_prices_do_what_they_are_for() -> None:
    start = pictures(1)[0]
    request = DreamRequest(Objective.logit(1, "b"), 0, start)
    free = replace(QUICK, parametrization=Pixels(), steps=40)

    def rough(image: Tensor) -> float:
        return float(image.float().diff(dim=1).abs().mean() + image.float().diff(dim=2).abs().mean())

    def far(image: Tensor) -> float:
        return float((image.float() - start.float()).square().mean())

    plain = dream(NETWORK, [request], free)[0].image
    assert rough(dream(NETWORK, [request], replace(free, smooth=1.0))[0].image) < 0.8 * rough(plain)
    assert far(dream(NETWORK, [request], replace(free, near=1.0))[0].image) < 0.5 * far(plain)


def test_statistics_of_batch_norms_come_nearer() -> None:
    def unlike(image: Tensor) -> float:
        model = NETWORK.model
        maps = model.first[0]((image[None].float() / 255 - NETWORK.mean) / NETWORK.std)
        norm = model.first[1]
        return float(((maps.detach().mean((2, 3)) - norm.running_mean).square() / norm.running_var).mean())

    plain, held = (
        dream(NETWORK, [Objective.unit("second", 3)], replace(QUICK, steps=60, natural=n))[0] for n in (0, 2)
    )
    assert unlike(held.image) < 0.7 * unlike(plain.image)


def test_octaves_carry_detail_over() -> None:
    assert octave_sizes((64, 64), Recipe(octaves=3, octave_scale=2.0)) == [(16, 16), (32, 32), (64, 64)]
    assert octave_sizes((20, 40), Recipe(octaves=4, octave_scale=2.0)) == [(10, 20), (20, 40)]
    start = pictures(1)[0]
    recipe = Recipe(parametrization=Pixels(), ascent="gradient", steps=6, stall=0.0, octave_scale=1.5)
    one, two = (
        dream(NETWORK, [DreamRequest(Objective.layer("first"), 0, start)], replace(recipe, octaves=n))[0]
        for n in (1, 2)
    )
    assert two.steps == 2 * one.steps

    def coarse(image: Tensor) -> float:
        small = functional.avg_pool2d(image.float() - start.float(), 6)
        return float(small.square().mean())

    assert coarse(two.image) > coarse(one.image)


# The cache


def test_the_cache_serves_what_was_dreamt_and_nothing_else(tmp_path: Path) -> None:
    cache = DreamCache(tmp_path / "dreams")
    requests = [DreamRequest(Objective.unit("second", n)) for n in range(3)]
    first = dream(NETWORK, requests, QUICK, session=RenderSession(cache))
    again = dream(NETWORK, requests, QUICK, session=RenderSession(cache))
    assert not any(one.cached for one in first)
    assert all(one.cached for one in again)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.image, other.image)
        assert (one.before, one.reached, one.steps, one.outcome) == (
            other.before,
            other.reached,
            other.steps,
            other.outcome,
        )
    changed = staged()
    changed.model.head.bias.data[0] += 1e-3
    others = (
        {"network": changed},
        {"recipe": replace(QUICK, steps=13)},
        {"recipe": replace(QUICK, parametrization=Fourier(decay=1.3))},
        {"settings": RenderSettings(size=(32, 24))},
        {"requests": [DreamRequest(Objective.unit("second", 0), 1)]},
        {"requests": [DreamRequest(Objective.unit("second", 0), 0, pictures(1)[0])]},
    )
    for other in others:
        given = {"network": NETWORK, "requests": requests[:1], "recipe": QUICK, **other}
        assert not any(one.cached for one in dream(**given, session=RenderSession(cache))), other  # type: ignore[arg-type]


def test_stored_dreams_keep_their_addresses() -> None:
    """Digests of the first version, whose modules and classes had other names."""
    assert Recipe().key.startswith("592536789b59f02d")
    assert Recipe(start="image", parametrization=Gate(), transforms=Transforms()).key.startswith("3d50d0353760fa6f")
    assert Objective.turn(0, 1, "ab").key.startswith("86cff67da4a5e2cd")


def test_every_dream_is_reported_once_with_its_place(tmp_path: Path) -> None:
    """Those found in the cache first, whatever their places."""
    reported: list[tuple[int, bool]] = []
    session = RenderSession(DreamCache(tmp_path), on_done=lambda place, one: reported.append((place, one.cached)))
    requests = [Objective.unit("second", 1), Objective.logit(0, "a"), Objective.unit("second", 2)]
    dream(NETWORK, requests[2:], QUICK, session=RenderSession(session.cache))
    made = dream(NETWORK, requests, QUICK, session=session)
    assert sorted(reported) == [(0, False), (1, False), (2, True)]
    assert reported[0] == (2, True)
    assert [one.objective for one in made] == requests


def test_a_damaged_file_is_dreamt_anew(tmp_path: Path) -> None:
    cache = DreamCache(tmp_path)
    first = dream(NETWORK, [Objective.unit("second", 3)], QUICK, session=RenderSession(cache))[0]
    (path,) = tmp_path.glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    again = dream(NETWORK, [Objective.unit("second", 3)], QUICK, session=RenderSession(cache))[0]
    assert not again.cached
    assert torch.equal(first.image, again.image)
    assert dream(NETWORK, [Objective.unit("second", 3)], QUICK, session=RenderSession(cache))[0].cached


def test_what_was_finished_before_a_stop_is_kept(tmp_path: Path) -> None:
    class Impatient(Stopper):
        def check(self) -> None:
            if len(list(tmp_path.glob("*/*"))) >= 2:
                self.request()
            super().check()

    requests = [DreamRequest(Objective.unit("second", n)) for n in range(6)]
    cache, two = DreamCache(tmp_path), RenderSettings(rows=2)
    with pytest.raises(Interrupted):
        dream(NETWORK, requests, QUICK, two, RenderSession(cache, stopper=Impatient()))
    made = dream(NETWORK, requests, QUICK, two, RenderSession(cache))
    assert [one.cached for one in made] == [True, True, False, False, False, False]


# The zoom


def test_the_zoom_goes_on_from_its_own_frames(tmp_path: Path) -> None:
    cache = DreamCache(tmp_path)
    start = pictures(1)[0]
    motion, session = ZoomSettings(frames=6, turn=3), RenderSession(cache)
    frames = list(zoom(NETWORK, Objective.layer("first"), start, motion, session=session))
    assert torch.equal(frames[0].image, start)
    assert frames[0].steps == 0
    assert all(frame.reached > frame.before for frame in frames[1:]), "each frame is dreamt on, not only enlarged"
    pixels = torch.stack([frame.image.flatten() for frame in frames]).float()
    values = torch.corrcoef(pixels)[0].tolist()
    assert values[0] == pytest.approx(1)
    assert values[-1] < values[1] < 1
    assert all(frame.cached for frame in zoom(NETWORK, Objective.layer("first"), start, motion, session=session))


# What is refused


class Blind(nn.Module):
    """No gradient leads back from its second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(self.first(images).detach().round())
        return self.head(maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: dream(NETWORK, [Objective.unit("secnd", 0)]), "no layer 'secnd'.*second"),
        (lambda: dream(NETWORK, [Objective.unit("second", 8)]), "no unit 8.*0 to 7"),
        (lambda: dream(NETWORK, [Objective.logit(3, "d")]), "no unit 3.*3 classes"),
        (lambda: dream(NETWORK, [Objective.direction("second", torch.ones(5))]), "5 numbers.*8"),
        (lambda: dream(NETWORK, [Objective.unit("second", 1).at((9, 9))]), "no cell.*6 × 6"),
        (lambda: Objective.direction("second", torch.zeros(8)), "length 0"),
        (lambda: Objective.unit("second", -1), "counted from 0"),
        (lambda: dream(NETWORK, [Objective.unit("first", 1)], Recipe(start="image")), "image to start from"),
        (
            lambda: dream(NETWORK, [DreamRequest(Objective.unit("first", 1), 0, pictures(1, 1)[0])]),
            r"uint8 \(3, H, W\)",
        ),
        (lambda: dream(NETWORK, [Objective.unit("first", 1)], Recipe(parametrization=Gate())), "needs a donor"),
        (lambda: dream(StagedNetwork(Blind(), (16, 16)), [Objective.unit("second", 0)]), "no gradient leads"),
        (
            lambda: dream(
                StagedNetwork(Blind(), (16, 16)), [Objective.unit("second", 0)], settings=RenderSettings((3, 3))
            ),
            "cannot see.*takes",
        ),
        (lambda: Recipe(steps=0), "steps 0"),
        (lambda: Recipe(ascent="up"), "'up' is unknown"),
        (lambda: Recipe(smooth=-1), "negative"),
        (lambda: ZoomSettings(frames=0), "no zoom"),
    ],
)
def test_mistakes_are_told_before_anything_is_dreamt(what: object, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        what()  # type: ignore[operator]
    import re

    assert re.search(words, f"{caught.value.message} {caught.value.mend}", re.S), str(caught.value)


def test_rows_fit_the_memory() -> None:
    layers = Layers(NETWORK, {"second"})
    assert rows_for(layers, (24, 24), CPU, None) == 32
    assert rows_for(layers, (512, 512), CPU, None) == 8
    assert rows_for(layers, (24, 24), CPU, None, share=1e-9) == 1


def test_a_dreamer_that_returns_something_else_is_told() -> None:
    def broken(real: Tensor | None) -> Recipe:
        raise RuntimeError("no")

    for given, words in ((lambda real: 3, "returned int"), (broken, "failed: RuntimeError: no")):
        with pytest.raises(PluginError, match=words):
            recipe_of(Dreamer(name="mine", api="1", recipe=given))


@pytest.mark.parametrize("waiting", [1, 2, 9])
def test_ranks_that_wait_make_their_part_of_the_dreams(monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    """What would be another rank's work is done here, from what it would be sent."""
    network, settings, asked = staged(), RenderSettings((16, 16), exact=True), list[int]()

    def with_help(function, arguments, own):  # type: ignore[no-untyped-def]
        assert len(arguments) == waiting
        own()
        asked.extend(len(one[-1]) for one in arguments)
        return [function(*one) for one in arguments]

    requests = [DreamRequest(Objective.unit("second", unit), seed) for unit in (0, 1) for seed in (0, 1)]
    alone = dream(network, requests, Recipe(steps=3), settings)
    monkeypatch.setattr(ranks, "helpers", lambda: waiting)
    monkeypatch.setattr(ranks, "with_help", with_help)
    together = dream(network, requests, Recipe(steps=3), settings)
    assert asked == {1: [2], 2: [1, 1], 9: [1, 1, 1, *[0] * 6]}[waiting]
    for mine, other in zip(together, alone, strict=True):
        assert torch.equal(mine.image, other.image)
        assert (mine.seed, mine.reached, mine.steps, mine.outcome) == (
            other.seed,
            other.reached,
            other.steps,
            other.outcome,
        )
