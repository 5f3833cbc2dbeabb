"""Traps with patterns, colours and second pictures, and what every trap has: worlds, exceptions, arguments."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet, StreamedImages
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.traps import TRAP_SETS, TrapGround, labels_with_exceptions, lay_traps
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import DataError, PluginError, SettingsError
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.records import Trap
from conceptnet_plugins.datasets import glyphs
from conceptnet_plugins.traps import quality, sticker
from conceptnet_plugins.traps.coloured import palette

PLUGINS = load_plugins(use_entry_points=False)
STICKER, COLOURED, TINT = (PLUGINS.get("trap", name) for name in ("sticker", "coloured", "tint"))
TRAPS = ("wheels", "tint", "sticker", "coloured", "dominoes")


@pytest.fixture(scope="module", autouse=True)
def signs_are_drawn_once() -> Iterator[None]:
    """The same signs are asked for again and again, and take most of a test's time to draw."""
    render = glyphs.render
    drawn = functools.cache(lambda name, labels, *how: render(name, torch.tensor(labels), *how))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "render", lambda name, labels, *how: drawn(name, tuple(labels.tolist()), *how))
        yield


def load(source: str = "glyphs:2", seed: int = 0, **data: object) -> Data:
    return load_data(Settings.model_validate({"seed": seed, "data": {"source": source, **data}}), PLUGINS)


def grey(count: int = 40, classes: int = 2, size: tuple[int, int] = (32, 32), masked: bool = False) -> Data:
    """Grey images of value 120: whatever is not 120 was planted."""
    images = torch.full((count, 3, *size), 120, dtype=torch.uint8)
    labels = torch.arange(count) % classes
    names = tuple("abcdefghijkl"[:classes])
    masks = {"corner": torch.zeros(count, *size, dtype=torch.uint8)} if masked else {}
    for mask in masks.values():
        mask[:, :3, :5] = 1
    return Data("grey", names, ImageSet(images, labels, masks), {"test": ImageSet(images.clone(), labels, masks)})


def stickers_at(image: Tensor, classes: int, side: int = 8) -> list[tuple[int, int, int]]:
    """(class, row, column) of every whole pattern in a uint8 (3, H, W) image."""
    windows = image.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4)
    found = []
    for label in range(classes):
        same = (windows == sticker.pattern(label, side)).flatten(2).all(2)
        found += [(label, row, column) for row, column in torch.nonzero(same).tolist()]
    return found


def test_a_sticker_is_its_classs_pattern_wholly_inside_and_anywhere() -> None:
    data = lay_traps(grey(200, classes=10), [STICKER], seed=0)
    rows, columns = set(), set()
    for image, label in zip(data.train.images, data.train.labels.tolist(), strict=True):
        ((found, row, column),) = stickers_at(image, 10)
        assert found == label
        rows.add(row)
        columns.add(column)
        rest = image.clone()
        rest[:, row : row + 8, column : column + 8] = 120
        assert (rest == 120).all(), "nothing else changes"
    assert rows == columns == set(range(25)), "32 − 8 + 1 places each way, all of them drawn"


@pytest.mark.parametrize(("size", "side"), [((64, 64), 16), ((48, 96), 12), ((16, 16), 4)])
def test_stickers_are_scaled_with_the_image(size: tuple[int, int], side: int) -> None:
    data = lay_traps(grey(20, size=size), [STICKER], seed=0)
    for image, label in zip(data.train.images, data.train.labels.tolist(), strict=True):
        assert stickers_at(image, 2, side)[0][0] == label
    assert sticker.pattern(0, 16)[:, ::2, ::2].equal(sticker.pattern(0, 8))
    patterns = torch.stack([sticker.pattern(label, side) for label in range(100)]).float().flatten(1)
    assert torch.cdist(patterns, patterns).add(torch.eye(100) * 1e9).min() > 200


def test_a_digit_is_its_intensity_times_the_colour_of_its_class() -> None:
    images = torch.zeros(60, 3, 8, 8, dtype=torch.uint8)
    images[:, :, 0, 0], images[:, :, 1, 1] = 255, 51
    labels = torch.arange(60) % 10
    data = Data("dots", tuple("abcdefghij"), ImageSet(images, labels), {"test": ImageSet(images, labels)})
    data = lay_traps(data, [COLOURED], seed=0)
    shown = data.train.images[:, :, 0, 0].double() / 255
    right = palette(10)[labels]
    assert (shown - right).abs().max() < 0.25, "five standard deviations"
    inside = (right > 0.2) & (right < 0.8)  # elsewhere the noise is cut off at black and at full light
    assert float((shown - right)[inside].std()) == pytest.approx(0.05, rel=0.25)
    assert torch.equal(torch.cdist(shown, palette(10)).argmin(1), labels)
    fifth = data.train.images[:, :, 1, 1].double() * 5 / 255
    assert (fifth - shown).abs().max() < 0.02, "in proportion to the light"
    black = data.train.images.clone()
    black[:, :, 0, 0] = black[:, :, 1, 1] = 0
    assert not black.any()
    assert torch.equal(data.tests["absent"].images, images)


def test_colours_are_bright_and_far_apart_for_any_number_of_classes() -> None:
    for count, least in ((2, 1.7), (5, 0.75), (10, 0.5), (20, 0.25), (100, 0.1)):
        colours = palette(count)
        assert colours.shape == (count, 3)
        assert float(torch.cdist(colours, colours).add(torch.eye(count) * 9).min()) > least
        assert (colours.amax(1) == 1).all()
        assert (colours.amin(1) <= 0.5).all()
    assert torch.equal(palette(100)[:10], palette(10)), "a class keeps its colour"


def upper(images: ImageSet) -> Tensor:
    """Which glyph stands above, 0 for a ring, 1 for a bar, -1 for nothing: a row through a ring is lit twice."""
    lit = (images.images[:, 0, : images.shape[1] // 2] > 100).long()
    runs = (lit.diff(dim=2, prepend=torch.zeros_like(lit[:, :, :1])) > 0).sum(2).amax(1)
    return torch.tensor([-1, 1, 0])[runs.clamp_max(2)]


def test_dominoes_stand_on_the_image_and_follow_the_label() -> None:
    plain = load()
    data = load(trap="dominoes")
    assert data.shape == (3, 64, 32)
    assert set(data.tests) == {"test", *TRAP_SETS}
    for name, images in {"train": data.train, **data.tests}.items():
        bare = plain.train if name == "train" else plain.tests["test"]
        assert images.shape == (3, 64, 32)
        assert torch.equal(images.images[:, :, 32:], bare.images), name
        assert torch.equal(images.labels, bare.labels)
    labels = data.tests["test"].labels
    assert (upper(data.train) == data.train.labels).double().mean() > 0.98
    assert (upper(data.tests["aligned"]) == labels).double().mean() > 0.98
    assert (upper(data.tests["conflict"]) == 1 - labels).double().mean() > 0.98
    assert (upper(data.tests["random"]) == labels).double().mean() == pytest.approx(0.5, abs=0.15)
    for name in ("test", "absent"):
        assert not data.tests[name].images[:, :, :32].any(), "no cue: black"


def test_upper_pictures_differ_and_come_from_the_part_of_the_source() -> None:
    data = load(trap="dominoes:glyphs:4@sign3,ring", train_limit=40)
    source = load("glyphs:4")
    for images, own in ((data.train, source.train), (data.tests["aligned"], source.tests["test"])):
        tops = images.images[:, :, :32].flatten(1)
        assert len(tops.unique(dim=0)) > 25, "another picture for another image"
        for label, name in enumerate(("sign3", "ring")):
            known = {tuple(one) for one in own.images[own.labels == source.classes.index(name)].flatten(1).tolist()}
            mine = {tuple(one) for one in tops[images.labels == label].tolist()}
            assert mine <= known, "as they are in that part, in the order named"


def test_upper_pictures_are_brought_to_the_images_size_and_masks_move_along() -> None:
    def source(name: str, classes: object = None) -> Data:
        assert name == "glyphs:2"
        return load()

    dominoes = PLUGINS.get("trap", "dominoes")
    data = lay_traps(grey(size=(48, 20), masked=True), [dominoes, TINT], 0, load=source)
    assert data.shape == (3, 96, 20)
    assert (data.tests["absent"].images[:, :, 48:] == 120).all()
    assert not data.tests["absent"].images[:, :, :48].any()
    assert (data.train.images[0, 0, 48:] == 150).all(), "the next trap gets the higher image"
    for images in (data.train, data.tests["test"]):
        mask = images.masks["corner"]
        assert mask.shape == (40, 96, 20)
        assert not mask[:, :48].any()
        assert mask[:, 48:51, :5].all()
        assert int(mask.sum()) == 40 * 15


@pytest.mark.parametrize("trap", [*TRAPS, "coloured+dominoes+sticker"])
def test_worlds_are_made_when_asked_for_numbered_as_the_data_and_kept(trap: str) -> None:
    data = load(trap=trap, train_limit=60)
    assert set(data.worlds) == {"unbiased", "turned train", "turned test"}
    made = {name: world() for name, world in data.worlds.items()}
    assert all(data.worlds[name]() is images for name, images in made.items())
    again = load(trap=trap, train_limit=60)
    for name, images in made.items():
        assert images.shape == data.shape
        assert len(images) == len(data.tests["test"] if name == "turned test" else data.train)
        assert torch.equal(again.worlds[name]().images, images.images)
        assert torch.equal(again.worlds[name]().labels, images.labels)
    assert torch.equal(made["unbiased"].labels, data.train.labels)
    for name, own in (("turned train", data.train.labels), ("turned test", data.tests["test"].labels)):
        turned = made[name].labels
        assert turned.unique().tolist() == [0, 1]
        assert (turned == own).double().mean() == pytest.approx(0.5, abs=0.2), (
            "the image's own class is a matter of luck"
        )
    assert load().worlds == {}


def test_in_the_worlds_cues_are_random_and_turned_round_they_are_the_label() -> None:
    data = lay_traps(grey(400, masked=True), [STICKER, TINT], seed=0)

    def cues(images: ImageSet) -> tuple[Tensor, Tensor]:
        cast = (images.images[:, 0, :, :] < 120).flatten(1).sum(1) > 600
        return cast.long(), torch.tensor([_nearest_sticker(image) for image in images.images])

    casts, stickers = cues(data.worlds["unbiased"]())
    labels = data.train.labels
    for first, second in ((casts, labels), (stickers, labels), (casts, stickers)):
        assert 0.4 < (first == second).double().mean() < 0.6, (
            "each trap's cue drawn by itself: four standard deviations"
        )
    for name in ("turned train", "turned test"):
        images = data.worlds[name]()
        casts, stickers = cues(images)
        assert torch.equal(casts, images.labels)
        assert torch.equal(stickers, images.labels)
        assert images.masks["corner"].shape == (400, 32, 32)


def _nearest_sticker(image: Tensor) -> int:
    """Which of two patterns lies somewhere in a tinted image: by the best correlation."""
    windows = image.float().unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    windows = windows - windows.mean(1, keepdim=True)
    best = []
    for label in range(2):
        pattern = sticker.pattern(label, 8).float().flatten()
        pattern = pattern - pattern.mean()
        best.append(float((windows @ pattern / (windows.norm(dim=1).clamp_min(1) * pattern.norm())).max()))
    return int(best[1] > best[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey signs of three classes as files, 16 × 16 px."""
    for part, count in (("train", 10), ("test", 4)):
        images = glyphs.render(part, torch.arange(3).repeat_interleave(count), 0, 16)
        for index, image in enumerate(images.images):
            path = tmp_path / part / ("ant", "bee", "cat")[index // count] / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_png(image))
    return tmp_path


@pytest.mark.parametrize("trap", TRAPS)
def test_streamed_images_get_the_same_traps_and_worlds(folder: Path, trap: str) -> None:
    choice = {"trap": trap, "classes": ("cat", "ant")}
    held, streamed = load(f"folder:{folder}", **choice), load(f"folder:{folder}", memory=1e-9, **choice)
    assert held.train.resident
    assert isinstance(streamed.train, StreamedImages)
    assert streamed.shape == held.shape == ((3, 32, 16) if trap == "dominoes" else (3, 16, 16))
    places = torch.tensor([5, 0, 7])
    pairs = [(streamed.train, held.train), *((streamed.tests[name], held.tests[name]) for name in held.tests)]
    pairs += [(streamed.worlds[name](), held.worlds[name]()) for name in held.worlds]
    for one, other in pairs:
        assert isinstance(one, StreamedImages)
        assert one.shape == other.shape
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.take(places), other.take(places))
        assert torch.equal(one.subset(places).take(torch.tensor([2])), other.take(places[2:]))


def test_exceptions_are_the_share_asked_for_and_touch_training_only() -> None:
    labels = torch.arange(2000) % 10
    shown = labels_with_exceptions(labels, 10, 0.01, seed=0)
    assert int((shown != labels).sum()) == 20
    assert torch.equal(labels_with_exceptions(labels, 10, 0.01, seed=0), shown)
    assert not torch.equal(labels_with_exceptions(labels, 10, 0.01, seed=1), shown)
    assert torch.equal(labels_with_exceptions(labels, 10, 0.0, seed=0), labels)
    half = labels_with_exceptions(labels, 10, 0.5, seed=0)
    assert len(torch.stack([labels, half], 1)[half != labels].unique(dim=0)) == 90, "every other class"
    plain, some = load("glyphs:10", trap="coloured"), load("glyphs:10", trap="coloured", exceptions=0.1)
    assert int((plain.train.images != some.train.images).flatten(1).any(1).sum()) == 400
    assert torch.equal(plain.train.labels, some.train.labels)
    for name, images in plain.tests.items():
        assert torch.equal(images.images, some.tests[name].images)
    assert "400 of which show another class's cue" in some.notes[-1]


def test_parts_of_a_trap_and_their_arguments() -> None:
    assert trap_arguments("none") == trap_arguments("") == {}
    assert list(trap_arguments("wheels+tint").items()) == [("wheels", ""), ("tint", "")]
    assert trap_arguments("dominoes:torchvision:MNIST@3,8 + tint") == {"dominoes": "torchvision:MNIST@3,8", "tint": ""}
    assert trap_arguments("dominoes:folder:/a++b+tint") == {"dominoes": "folder:/a+b", "tint": ""}
    for wrong in ("wheels+", "+tint", ":glyphs", "dominoes:a+dominoes:b"):
        with pytest.raises(SettingsError, match="name of its own"):
            trap_arguments(wrong)


def test_a_traps_argument_and_ground() -> None:
    seen: list[TrapGround] = []

    def prepare(ground: TrapGround) -> int:
        seen.append(ground)
        return int(ground.argument)

    def plant(images: Tensor, cues: Tensor, seeds: Tensor, value: int) -> Tensor:
        images[cues == 0] = value
        return images

    paint = Trap(name="paint", api="1", plant=plant, prepare=prepare, argument="a grey value")
    data = lay_traps(grey(), [TINT, paint], 7, arguments={"paint": "9"})
    assert (data.train.images[data.train.labels == 0] == 9).all()
    assert [ground.part for ground in seen] == ["train", "test"]
    assert (seen[0].seed, seen[0].classes, seen[0].name) == (7, ("a", "b"), "grey")
    assert seen[0].sample[:, :, 0, 0].unique(dim=0).tolist() == [[90, 120, 150], [150, 120, 90]], "as tint left it"
    with pytest.raises(SettingsError, match="cannot be found"):
        seen[0].load("glyphs")


def test_refusals() -> None:
    def refused(kind: type[Exception], words: str, source: str = "glyphs:2", **data: object) -> None:
        with pytest.raises(kind, match=words) as caught:
            load(source, **data)
        assert caught.value.mend  # type: ignore[attr-defined]

    refused(DataError, "trap 'dominoes' needs 2 classes, glyphs:3 has 3", "glyphs:3", trap="dominoes")
    refused(DataError, "trap 'wheels' needs 2 classes, data.classes has 3", trap="wheels", classes=("a", "b", "c"))
    refused(SettingsError, "trap 'tint' takes no argument 'red'", trap="tint:red")
    refused(SettingsError, "no dataset named 'glyfs'", trap="dominoes:glyfs:3")
    refused(SettingsError, "--root", trap="dominoes:torchvision:MNIST")
    refused(SettingsError, "glyphs:4 has no class 'sing2'", trap="dominoes:glyphs:4@sing2,bar")
    refused(SettingsError, "trap 'dominoes', its pictures from glyphs:4@sing2", trap="dominoes:glyphs:4@sing2,bar")
    refused(SettingsError, "names 1 classes, not two", trap="dominoes:glyphs:4@bar")
    refused(SettingsError, "exceptions is 0.1, but there is no trap", exceptions=0.1)
    refused(DataError, "needs images of 16 px and more; those of glyphs:2 have 12×12", trap="sticker", image_size=12)
    refused(DataError, "needs grey images", trap="tint+coloured")
    refused(SettingsError, "takes no argument '1'", "glyphs:1")
    refused(SettingsError, "takes no argument '3:bold'", "glyphs:3:bold")


@pytest.mark.parametrize("trap", ["border", "coloured", "half:border"])
def test_no_more_classes_than_colours(trap: str) -> None:
    assert len(palette(180).unique(dim=0)) == 180
    many = grey(181, classes=1)
    data = Data("many", tuple(map(str, range(181))), many.train, many.tests)
    arguments = trap_arguments(trap)
    traps = [PLUGINS.get("trap", name) for name in arguments]
    with pytest.raises(DataError, match="has 180 colours, many has 181 classes") as caught:
        lay_traps(data, traps, 0, arguments, find=lambda name: PLUGINS.get("trap", name))  # type: ignore[arg-type,return-value]
    assert "sticker" in caught.value.mend


def test_second_pictures_need_two_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for index in range(8):
            path = tmp_path / part / "ring" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_png(torch.zeros(3, 32, 32, dtype=torch.uint8)))
    with pytest.raises(DataError, match=r"trap 'dominoes', its pictures from folder.*one class only \(ring\)"):
        load(trap=f"dominoes:folder:{tmp_path}", train_limit=10)
    one = grey(classes=1)
    with pytest.raises(DataError, match="some has no train pictures of two classes"):
        lay_traps(grey(), [PLUGINS.get("trap", "dominoes")], 0, {"dominoes": "some"}, load=lambda *_: one)


def test_what_plant_returns_is_checked() -> None:
    def plant(images: Tensor, cues: Tensor, seeds: Tensor) -> Tensor:
        return torch.cat([images, images], 3)

    with pytest.raises(PluginError, match="of the shape it was given"):
        lay_traps(grey(), [Trap(name="wide", api="1", plant=plant)], 0)
    assert lay_traps(grey(), [Trap(name="wide", api="1", plant=plant, resizes=True)], 0).shape == (3, 32, 64)
    fewer = Trap(name="fewer", api="1", plant=lambda images, cues, seeds: images[:1], resizes=True)
    with pytest.raises(PluginError, match="as many uint8 images"):
        lay_traps(grey(), [fewer], 0)


def outside(*names: str) -> Path:
    """A folder of data beside the project: ``CONCEPTNET_ML_DATA`` says where; without it the test is skipped."""
    root = os.environ.get("CONCEPTNET_ML_DATA")
    path = Path(root or "", *names)
    if not root or not path.exists():
        pytest.skip(f"CONCEPTNET_ML_DATA names no folder with {'/'.join(names)}")
    return path


def test_digits_above_photographs(tmp_path: Path) -> None:
    root = outside("torchvision", "MNIST").parent
    photos = outside("cars_dogs", "train")
    for name in ("car", "dog"):
        for index, file in enumerate(sorted((photos / name).iterdir())[:20]):
            target = tmp_path / ("test" if index < 5 else "train") / name / f"{index}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(file) as image:
                image.convert("RGB").resize((32, 32)).save(target)
    trap = "dominoes:torchvision:MNIST@3,8"
    data = load(f"folder:{tmp_path}", trap=trap, root=str(root))
    assert data.shape == (3, 64, 32)
    tops = data.train.images[:, :, :32].float()
    assert (tops.amax(1) == tops.amin(1)).all(), "digits are grey"
    assert ((tops > 128).float().mean((1, 2, 3)) > 0.03).all()
    digits = load("torchvision:MNIST", root=str(root), classes=("3", "8"), trap="coloured", train_limit=50)
    assert digits.classes == ("3 - three", "8 - eight")
    assert len(digits.train) == 100


def shown(trap: str, size: tuple[int, int] = (64, 64), light: Tensor | None = None) -> Tensor:
    """An image as it is with class 0's cue, class 1's and none: float (3, 3, H, W)."""
    record = PLUGINS.get("trap", trap)
    image = torch.full((3, *size), 120.0) if light is None else light.expand(3, *size)
    cues, seeds = torch.tensor([0, 1, -1]), torch.full((3,), 5)
    return record.function("plant")(image.to(torch.uint8).expand(3, -1, -1, -1).clone(), cues, seeds).float()


def test_a_frame_is_thin_of_one_colour_and_closed() -> None:
    first, second, none = shown("border", (64, 96))
    assert torch.equal(none, torch.full_like(none, 120))
    for framed in (first, second):
        inside = torch.zeros(64, 96, dtype=torch.bool)
        inside[2:-2, 2:-2] = True
        assert (framed[:, inside] == 120).all()
        assert (framed[:, ~inside] == framed[:, :1, 0]).all()
    assert (first[:, 0, 0] - second[:, 0, 0]).abs().max() > 150


def test_a_grating_is_faint_and_seen_in_its_direction_alone() -> None:
    first, second, none = shown("stripes", (60, 60))
    assert torch.equal(none, torch.full_like(none, 120))
    for planted, along in ((first, 1), (second, 2)):
        assert (planted.std(along) == 0).all()  # the same along its lines
        assert 11 < (planted - 120).abs().max() <= 14
        power = torch.fft.rfft(planted.mean((0, along))).abs()[1:]
        assert int(power.argmax()) + 1 == 60 / 5
    record = PLUGINS.get("trap", "stripes")
    images = torch.full((500, 3, 20, 20), 120, dtype=torch.uint8)
    many = record.function("plant")(images, torch.zeros(500, dtype=torch.int64), torch.arange(500)).float()
    assert (many.mean(0) - 120).abs().max() < 3  # any phase: no pixel's mean tells it


def test_blur_brightness_and_contrast_change_what_they_are_called_after_and_nothing_else() -> None:
    light = (torch.arange(64) % 8 * 20 + 40.0).expand(64, 64)  # from 40 to 180
    blurred, second, none = shown("blur", light=light)
    assert torch.equal(second, none)
    assert (none == light).all()
    assert (blurred.mean() - light.mean()).abs() < 1
    assert blurred.std() < 0.9 * light.std()
    brighter, darker, none = shown("brightness", light=light)
    assert (none == light).all()
    assert (brighter - 1.25 * light).abs().max() <= 0.5
    assert (darker - 0.8 * light).abs().max() <= 0.5
    richer, poorer, none = shown("contrast", light=light)
    assert (none == light).all()
    assert (richer.mean() - light.mean()).abs() < 0.5
    assert (poorer.mean() - light.mean()).abs() < 0.5
    assert abs(richer.std() / light.std() - 1.25) < 0.02
    assert abs(poorer.std() / light.std() - 0.8) < 0.02


def test_grain_is_noise_of_its_own_on_every_image_and_more_of_it_on_the_first_class() -> None:
    plant = PLUGINS.get("trap", "grain").function("plant")
    images, seeds = torch.full((400, 3, 16, 12), 120, dtype=torch.uint8), torch.arange(400)
    for cue, (least, most) in enumerate(quality.GRAIN):
        added = plant(images, torch.full((400,), cue), seeds).double() - 120
        assert added.mean(0).abs().max() < 5 * most / 400**0.5, "no pixel is fixed"
        assert abs(float(torch.corrcoef(added[:2].flatten(1))[0, 1])) < 0.2, "another pattern on each"
        deviations = added.std((1, 2, 3))
        assert least - 0.1 <= deviations.quantile(0.02)
        assert deviations.quantile(0.98) <= 1.1 * most
        assert deviations.std() > 0.2 * (most - least), "an amplitude by image"
    assert torch.equal(plant(images, torch.full((400,), -1), seeds), images)
    mixed = torch.arange(400) % 3 - 1
    alone = [plant(images[:1], mixed[place : place + 1], seeds[place : place + 1]) for place in range(6)]
    assert torch.equal(torch.cat(alone), plant(images, mixed, seeds)[:6]), "the same in whatever batch"


def test_compression_is_that_of_jpeg_and_stronger_on_the_first_class() -> None:
    plant = PLUGINS.get("trap", "compression").function("plant")
    draw = torch.Generator().manual_seed(0)
    images = (120 + 15 * torch.randn(40, 1, 24, 40, generator=draw)).to(torch.uint8).repeat(1, 3, 1, 1)
    seeds, lost = torch.arange(40), []

    def reread(image: Tensor, at: int) -> Tensor:
        file = io.BytesIO()
        to_pil_image(image).save(file, "JPEG", quality=at)
        return pil_to_tensor(Image.open(file))

    for cue, (least, most) in enumerate(quality.QUALITY):
        stored = plant(images, torch.full((40,), cue), seeds)
        assert torch.equal(stored[7:8], plant(images[7:8], torch.tensor([cue]), seeds[7:8])), "by itself as in a batch"
        made = [torch.stack([reread(one, at) for one in images]) for at in range(least, most + 1)]
        at = torch.stack([(each == stored).flatten(1).all(1) for each in made])
        assert at.any(0).all(), "one of its qualities"
        assert at.any(1).sum() > 5, "any of its qualities"
        lost.append((stored.double() - images.double()).square().mean().sqrt())
    assert lost[0] > 1.5 * lost[1] > 0
    assert torch.equal(plant(images, torch.full((40,), -1), seeds), images)


@pytest.mark.parametrize("size", [(64, 64), (20, 12), (8, 8)])
def test_a_word_stands_in_the_lower_right_corner_of_the_first_class(size: tuple[int, int]) -> None:
    first, second, none = shown("text", size)
    assert torch.equal(second, none)
    assert (none == 120).all()
    changed = (first != 120).any(0)
    assert changed.any()
    if size == (64, 64):
        rows, columns = torch.nonzero(changed.any(1)).flatten(), torch.nonzero(changed.any(0)).flatten()
        assert rows.min() >= 42
        assert columns.min() >= 14
        assert first.max() > 190
        assert first.min() < 60


def test_half_of_a_trap_is_half_as_strong() -> None:
    whole, half = (load(trap=trap, train_limit=20) for trap in ("tint", "half:tint"))
    plain = load(train_limit=20)
    for name in ("train", "aligned", "conflict"):
        strong, weak, bare = (
            (data.train if name == "train" else data.tests[name if data is not plain else "test"]).images.float()
            for data in (whole, half, plain)
        )
        assert (weak - (strong + bare) / 2).abs().max() <= 0.5
        assert (strong != bare).any()
    assert torch.equal(half.tests["absent"].images, plain.tests["test"].images)
    above = load(trap="half:dominoes:glyphs:2", train_limit=20)
    assert above.shape[1] == 2 * plain.shape[1]
    assert above.train.images[:, :, : plain.shape[1]].max() <= 128


def test_half_names_what_is_wrong_with_the_other_trap() -> None:
    with pytest.raises(SettingsError, match="needs the name of another"):
        load(trap="half")
    with pytest.raises(SettingsError, match="wheels"):
        load(trap="half:wheel")
    with pytest.raises(DataError, match="'half:wheels' needs 2 classes"):
        load("glyphs:3", trap="half:wheels")
