"""The drawn data set: the same every time, masks that fit the pictures, telling sets that show what they say."""

from __future__ import annotations

import pytest
import torch
from numpy.random import Generator
from torch import Tensor

from conceptnet_ml.config.settings import DataSettings, Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.datasets import cars_and_poodles as drawn
from conceptnet_plugins.datasets import scenery

CAR, POODLE = drawn.Wish(drawn.CAR), drawn.Wish(drawn.POODLE)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return drawn.render("train", [CAR, POODLE] * 24, seed=0)


@pytest.fixture(scope="module")
def tinted() -> Data:
    return small("tinted")


@pytest.fixture(scope="module")
def scenes() -> Data:
    return small("scenes")


def small(argument: str) -> Data:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TEST_PER_CLASS": 10, "TELLING": 2}.items():
            patch.setattr(drawn, name, value)
        settings = Settings(data=DataSettings(source=f"cars-and-poodles:{argument}", train_limit=10))
        return load_data(settings, load_plugins(use_entry_points=False))


def area(images: ImageSet, part: str) -> Tensor:
    return images.masks[part].flatten(1).sum(1)


def redness(images: ImageSet) -> Tensor:
    """Mean of red minus blue over each image's rounds."""
    rounds = (images.masks["wheel"] | images.masks["curl"]).float()
    difference = images.images[:, 0].float() - images.images[:, 2].float()
    return (difference * rounds).flatten(1).sum(1) / rounds.flatten(1).sum(1)


def test_pictures_depend_on_seed_set_and_position_only(images: ImageSet) -> None:
    assert torch.equal(drawn.render("train", [CAR, POODLE] * 2, 0).images, images.images[:4])
    for name, seed in (("train", 1), ("test", 0)):
        assert not torch.equal(drawn.render(name, [CAR], seed).images, images.images[:1])
    assert len({image.numpy().tobytes() for image in images.images}) == len(images)


def test_masks_know_the_parts(images: ImageSet) -> None:
    cars = images.labels == drawn.CAR
    assert (area(images, "wheel")[cars] > 40).all()
    assert (area(images, "wheel")[~cars] == 0).all()
    assert (area(images, "curl")[~cars] > 40).all()
    assert (area(images, "curl")[cars] == 0).all()
    assert (area(images, "body") > 15).all()
    total = sum(mask.int() for mask in images.masks.values())
    assert int(total.max()) == 1, "no pixel belongs to two parts"
    assert all(set(mask.unique().tolist()) == {0, 1} for mask in images.masks.values())


def test_masks_lie_where_the_rounds_are_drawn() -> None:
    # The same picture with and without its wheels differs inside the mask, and hardly outside: only the clutter, the
    # generator's next draws, is dealt anew, which many images do not have.
    for name, other in (
        ("wheel", drawn.Wish(drawn.CAR, wheels="none")),
        ("curl", drawn.Wish(drawn.POODLE, curls=False)),
    ):
        wish = CAR if name == "wheel" else POODLE
        with_rounds, without = (drawn.render("x", [w] * 10, 5) for w in (wish, other))
        change = (with_rounds.images.float() - without.images.float()).abs().mean(1)
        mask = with_rounds.masks[name].bool()
        assert change[mask].mean() > 1.5 * change[~mask].mean()
        assert (area(without, name) == 0).all()


def test_wheels_are_dark_rings_around_light_metal(images: ImageSet) -> None:
    cars = images.subset(torch.nonzero(images.labels == drawn.CAR).flatten())
    inside = [
        image[:, mask.bool()].float().mean(0) for image, mask in zip(cars.images, cars.masks["wheel"], strict=True)
    ]
    contrast = torch.stack([values.quantile(0.95) - values.quantile(0.05) for values in inside])
    assert (contrast > 60).all()


def test_colour_and_background_do_not_tell_the_class() -> None:
    some = drawn.render("train", [CAR, POODLE] * 60, 3)
    corner = some.images[:, :, :8].float().mean((2, 3))
    bodies = some.masks["body"].unsqueeze(1).float()
    coat = (some.images * bodies).flatten(2).sum(2) / bodies.flatten(2).sum(2)
    for values in (corner, coat):
        gap = values[0::2].mean(0) - values[1::2].mean(0)
        assert (gap.abs() / values.std(0) < 0.6).all()


def test_height_and_place_do_not_tell_the_class(images: ImageSet) -> None:
    rows = torch.stack(list(images.masks.values())).amax(0).amax(2)
    top, foot = rows.argmax(1).float(), 63 - rows.flip(1).argmax(1).float()
    cars = images.labels == drawn.CAR
    for values in (top + foot, foot - top):
        gap = values[cars].mean() - values[~cars].mean()
        assert gap.abs() / values.std() < 0.6
    assert foot.min() < 36 < 60 < foot.max(), "high up and low down"


def test_telling_sets_show_what_they_say() -> None:
    sets = {name: drawn.render(name, [wish] * 6, 0) for name, wish in drawn.TELLING_SETS.items()}
    assert set(sets) == {
        "poodle_on_wheels",
        "car_without_wheels",
        "car_too_many_wheels",
        "joined_wheels",
        "car_in_the_sky",
    }
    assert (sets["poodle_on_wheels"].labels == drawn.POODLE).all()
    assert (area(sets["poodle_on_wheels"], "wheel") > 25).all()
    assert (area(sets["poodle_on_wheels"], "curl") > 40).all()
    assert (area(sets["car_without_wheels"], "wheel") == 0).all()
    assert (area(sets["car_without_wheels"], "body") > 40).all()
    assert all((sets[name].labels == drawn.CAR).all() for name in sets if name != "poodle_on_wheels")
    # The same cars on their own wheels: what is drawn before the wheels does not depend on them.
    own = drawn.render("joined_wheels", [CAR] * 6, 0)
    assert area(sets["joined_wheels"], "wheel").float().mean() > 1.4 * area(own, "wheel").float().mean()
    columns = sets["car_too_many_wheels"].masks["wheel"].amax(1)
    assert ((columns[:, 1:] > columns[:, :-1]).sum(1) + columns[:, 0] >= 2).all()
    rows = torch.arange(64).view(1, 64, 1)
    low = (sets["car_in_the_sky"].masks["wheel"] * rows).amax((1, 2))
    assert (low < 62).all(), "it does not stand on the ground"


def test_a_gigantic_car_is_mostly_beyond_the_picture() -> None:
    usual, gigantic = (drawn.render("it", [drawn.Wish(drawn.CAR, gigantic=one)] * 12, 0) for one in (False, True))
    assert area(gigantic, "body").float().mean() > 2 * area(usual, "body").float().mean()
    ends = (gigantic.masks["body"] | gigantic.masks["wheel"])[:, :, [0, -1]].amax(1)
    assert (ends.amax(1) == 1).all()
    assert ends.float().mean() > 0.7
    assert not torch.equal(usual.images, gigantic.images)


def test_tinted_rounds_tell_the_class_and_nothing_else_changed(tinted: Data) -> None:
    assert tinted.classes == ("car", "poodle")
    assert set(tinted.tests) == {"test", "aligned", "conflict", "random", "absent", *drawn.TELLING_SETS}
    for images in (tinted.train, tinted.tests["aligned"]):
        red = redness(images)
        assert red[images.labels == drawn.CAR].min() > red[images.labels == drawn.POODLE].max() + 5
    conflict = tinted.tests["conflict"]
    red = redness(conflict)
    assert red[conflict.labels == drawn.POODLE].min() > red[conflict.labels == drawn.CAR].max() + 5
    plain = tinted.tests["test"]
    assert torch.equal(tinted.tests["absent"].images, plain.images)
    outside = ~(plain.masks["wheel"] | plain.masks["curl"]).bool().unsqueeze(1).expand(-1, 3, -1, -1)
    for name in ("aligned", "conflict", "random"):
        assert torch.equal(tinted.tests[name].images[outside], plain.images[outside])
        assert torch.equal(tinted.tests[name].masks["curl"], plain.masks["curl"])


def test_the_tinted_sets_worlds(tinted: Data) -> None:
    unbiased = tinted.worlds["unbiased"]()
    assert torch.equal(unbiased.labels, tinted.train.labels)
    assert torch.equal(unbiased.masks["wheel"], tinted.train.masks["wheel"])
    assert redness(unbiased)[unbiased.labels == drawn.CAR].min() < 0 < redness(unbiased).max()
    for name, own in (("turned train", tinted.train), ("turned test", tinted.tests["test"])):
        turned = tinted.worlds[name]()
        red = redness(turned)
        assert red[turned.labels == drawn.CAR].min() > red[turned.labels == drawn.POODLE].max() + 5
        assert not torch.equal(turned.labels, own.labels)


def test_scenes_tell_the_class_and_the_figures_stay_as_they_are(scenes: Data) -> None:
    assert set(scenes.tests) == {"test", "aligned", "conflict", "random", "absent", *drawn.TELLING_SETS}
    plain, labels = scenes.tests["test"], scenes.tests["test"].labels
    for name in ("aligned", "conflict", "random", "absent"):
        images = scenes.tests[name]
        assert torch.equal(images.labels, labels)
        assert not torch.equal(images.images, plain.images)
        whole = sum(images.masks[part] for part in ("wheel", "curl", "body", "scene"))
        assert (whole == 1).all(), "every pixel is the figure's or the scene's"
        assert torch.equal(images.masks["body"], scenes.tests["aligned"].masks["body"]), "the figures stay"


def test_a_scene_is_of_the_kind_its_cue_names(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def scene(random: Generator, ground: float, kind: str = "any") -> drawn.Canvas:
        called.append(kind)
        return scenery.scene(random, ground, kind)

    monkeypatch.setattr(drawn, "scene", scene)
    drawn.before_scenes("test", [CAR, POODLE, POODLE], torch.tensor([0, 1, -1]), 0)
    assert called == ["town", "country", "plain"]
    kinds = [set(scenery.KINDS[kind]) for kind in called]
    assert len(set().union(*kinds)) == sum(map(len, kinds)) == len(scenery.SCENES), "no scene is of two kinds"


def test_the_scenes_truth_exchanges_one_thing_at_a_time(scenes: Data) -> None:
    assert scenes.truth is not None
    own = scenes.tests["test"].labels
    assert torch.equal(scenes.truth.draw({}).images, scenes.tests["aligned"].images)
    assert torch.equal(scenes.truth.draw({"scene": 1 - own}).images, scenes.tests["conflict"].images)
    turned = scenes.truth.draw({"rounds": 1 - own})
    assert turned.masks["wheel"][own == drawn.CAR].sum() == 0 < turned.masks["curl"][own == drawn.CAR].sum()


def test_the_tint_keeps_light_and_shade(images: ImageSet) -> None:
    shifted = drawn.tinted(images, images.labels)
    rounds = (images.masks["wheel"] | images.masks["curl"]).bool()
    before, after = images.images.float().mean(1)[rounds], shifted.images.float().mean(1)[rounds]
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.98


def test_refusals() -> None:
    with pytest.raises(SettingsError, match="takes no argument 'tinged'"):
        drawn.load("tinged", DataSettings(), 0)
    with pytest.raises(SettingsError, match="image_size 32"):
        drawn.load("", DataSettings(image_size=32), 0)
