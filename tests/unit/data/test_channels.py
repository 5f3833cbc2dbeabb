"""Images of one channel and of many: how they are read, and what is left out or refused for them."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conceptnet_ml import Codec, Representation, learn, open_run, plan
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.arrays import array_shape, read_array
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import check_files, read_image
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data, unlabelled
from conceptnet_ml.drawing.masks import gate_overlay
from conceptnet_ml.drawing.pictures import to_ground
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.inspect.inspection import inspect_data
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)
SIDE = 24


def load(folder: Path, **data: object) -> Data:
    return load_data(settings_of(folder, **data), PLUGINS)


def settings_of(folder: Path, **data: object) -> Settings:
    return Settings.model_validate({"data": {"source": f"folder:{folder}", **data}})


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of five channels; the fifth has a bright upper half in class a, a bright lower one in class b."""
    folder = tmp_path_factory.mktemp("bands")
    noise = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        for place, name in enumerate("ab"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(60, 120, (SIDE, SIDE, 5)).astype(np.uint8)
                pixels[place * SIDE // 2 : (place + 1) * SIDE // 2, :, 4] += 120
                np.save(folder / part / name / f"{number:02d}.npy", pixels)
    return folder


# ------------------------------------------------------------------------------------------------ arrays


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((20, 24), (3, 20, 24)),
        ((20, 24, 1), (3, 20, 24)),
        ((1, 20, 24), (3, 20, 24)),
        ((20, 24, 5), (5, 20, 24)),
        ((5, 20, 24), (5, 20, 24)),
        ((16, 24, 16), (16, 16, 24)),
    ],
)
def test_the_shortest_axis_has_the_channels(tmp_path: Path, shape: tuple[int, ...], found: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.save(tmp_path / "one.npy", values)
    assert array_shape(tmp_path / "one.npy") == found
    pixels = read_array(tmp_path / "one.npy")
    assert tuple(pixels.shape) == found
    first = values if values.ndim == 2 else values[0] if shape[2] == 24 else values[..., 0]
    assert (pixels[0].numpy() == first).all()


def test_values_of_every_type_mean_the_same(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (12, 12, 4)).astype(np.uint8)
    for number, values in enumerate((levels, levels.astype(np.uint16) * 257, levels / 255, np.float32(levels) / 255)):
        np.save(tmp_path / f"{number}.npy", values)
        assert (read_image(tmp_path / f"{number}.npy", (12, 12)).permute(1, 2, 0).numpy() == levels).all()


def test_an_array_is_brought_to_a_size_as_a_picture_is(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    np.save(tmp_path / "one.npy", levels)
    Image.fromarray(levels).save(tmp_path / "one.png")
    one, other = (read_image(tmp_path / f"one.{ending}", (20, 24)) for ending in ("npy", "png"))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((12, 12), np.int64), "values of the type int64"),
        (np.full((12, 12), 2.0), r"floats outside of \[0, 1\]"),
        (np.full((12, 12), np.nan), r"floats outside of \[0, 1\]"),
        (np.zeros(12), "is no image"),
        (np.zeros((99, 99, 99), np.uint8), "at most 64 channels"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, values: np.ndarray, words: str) -> None:
    path = tmp_path / "one.npy"
    np.save(path, values)
    assert check_files([path])[1].keys() == {0}
    with pytest.raises(DataError, match=words):
        read_image(path, (12, 12))
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"one\.npy"):
        read_image(path, (12, 12))
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.npy", (12, 12))


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 60000, (12, 14, 4)).astype(np.uint16)
    for number, form in enumerate((values, np.asfortranarray(values), values.astype(">u2"), values[:, ::2])):
        path = tmp_path / f"{number}.npy"
        np.save(path, form)
        found = read_array(path).permute(1, 2, 0).numpy()
        assert (found == np.rint(np.load(path) / 257.0).astype(np.uint8)).all()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="it is cut short"):
        read_image(path, (12, 7))
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(DataError, match=r"3\.npy"):
        read_image(path, (12, 7))


def test_heads_are_not_parsed_as_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that do so at a time fail now and then on CPython 3.11: "AST constructor recursion depth mismatch"."""
    np.save(tmp_path / "one.npy", np.zeros((8, 8, 4), np.uint8))
    monkeypatch.setattr(ast, "parse", lambda *_, **__: pytest.fail("parsed"))
    assert check_files([tmp_path / "one.npy"]) == ([(8, 8)], {})
    assert read_image(tmp_path / "one.npy", (8, 8)).shape == (4, 8, 8)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"one\.npy"):
        read_image(tmp_path / "one.npy", (12, 12))


# ------------------------------------------------------------------------------------------------ many channels


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_channels_are_kept_and_what_takes_three_is_said(bands: Path, memory: float) -> None:
    data = load(bands, memory=memory)
    assert data.shape == (5, SIDE, SIDE)
    assert data.train.take(torch.arange(3)).shape == (3, 5, SIDE, SIDE)
    assert "images of 5 channels" in data.notes
    rows = dict(plan(settings_of(bands).model_copy(update={"plugins": chosen()}), PLUGINS))
    assert rows["representations"] == "exposure, sharpness, fourier, waves, pixels"
    assert rows["note"] == "left out, as they take three channels: the representations colour, blocks"


def chosen(**more: object) -> object:
    return Settings.model_validate({"plugins": {"controls": (), **more}}).plugins


def test_what_takes_three_channels_is_refused_before_any_work(bands: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="traps plant cues in images of three channels"):
        load(bands, trap="border")
    with pytest.raises(DataError, match="inspect looks at images of three channels"):
        inspect_data(f"folder:{bands}", plugins=PLUGINS)
    for plugins, words in (
        (chosen(controls=("colour-jitter",)), "'colour-jitter' takes images of 3 channels"),
        (chosen(representations=("colour",)), "none of colour takes images of 5 channels"),
    ):
        settings = settings_of(bands).model_copy(update={"plugins": plugins})
        with pytest.raises(SettingsError, match=words):
            plan(settings, PLUGINS)
    for network, words in (
        ({"backbone": "published:mlp"}, "cannot be built for images of 5 channels"),
        ({"backbone": "small", "pretrained": True}, "trained weights are for images of three"),
    ):
        found = Settings.model_validate({**settings_of(bands).model_dump(), "network": network})
        with pytest.raises(SettingsError, match=words):
            plan(found, PLUGINS)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for number in range(12):
        np.save(tmp_path / "a" / f"{number}.npy", np.zeros((SIDE, SIDE, 5), np.uint8))
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "b" / f"{number}.png")
    with pytest.raises(DataError, match=r"differ in their channels: .*\.npy has 5, .*\.png has 3"):
        load(tmp_path)


def test_pictures_of_the_new_world_have_the_same_channels(bands: Path, tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"data\.target: .* its pictures have 3 channels, not 5"):
        plan(settings_of(bands, target=str(tmp_path)).model_copy(update={"plugins": chosen()}), PLUGINS)
    assert unlabelled(bands / "test", (SIDE, SIDE)).take(torch.arange(2)).shape == (2, 5, SIDE, SIDE)


def test_backbones_take_other_channels(bands: Path) -> None:
    data = load(bands)
    for backbone in ("small", "torchvision:resnet18"):
        values = {"data": {"source": f"folder:{bands}"}, "network": {"backbone": backbone}}
        network = build_network(Settings.model_validate(values), data.classes, (SIDE, SIDE), PLUGINS, channels=5)
        assert network.channels == 5
        assert network.eval()(torch.rand(2, 5, SIDE, SIDE)).shape == (2, 2)


def test_a_mask_lies_on_one_picture_of_many_channels() -> None:
    pixels = np.stack([np.full((8, 8), level, np.uint8) for level in (0, 10, 20, 90)])
    assert to_ground(pixels).size == (8, 8)
    assert to_ground(pixels).getpixel((3, 3)) == (30, 30, 30)
    assert to_ground(torch.from_numpy(pixels[:3])).getpixel((3, 3)) == (0, 10, 20)
    assert to_ground(pixels[:1]).getpixel((3, 3)) == (0, 0, 0)
    overlay = gate_overlay(pixels, np.pad(np.ones((4, 4), np.float32), 2))
    assert overlay.width == overlay.height
    middle, corner = (np.asarray(overlay)[place, place].sum() for place in (overlay.width // 2, 1))
    assert middle != corner


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_a_whole_run_on_five_channels(bands: Path, tmp_path: Path) -> None:
    values = settings_of(bands).model_dump()
    values["training"] |= {"epochs": 6}
    values["dreams"] |= {"steps": 4, "megapixels": 0.02}
    values["plugins"] |= {"controls": ("random-box",), "dreamer": "fourier"}
    run = learn(Settings.model_validate(values), out=tmp_path / "run", plugins=PLUGINS)
    run = open_run(run.path, plugins=PLUGINS)
    assert run.ordinary.channels == 5
    assert run.evaluate()["test_sets"]["test"]["ordinary"]["accuracy"] > 0.9
    file = next((bands / "test" / "a").iterdir())
    assert run.predict([file])[0]
    picture = tmp_path / "one.png"
    Image.new("RGB", (SIDE, SIDE)).save(picture)
    with pytest.raises(DataError, match="has 3 channels, the network learned 5"):
        run.predict([picture])
    tried = {one["representation"] for entry in run.folder.summary()["rounds"] for one in entry["representations"]}
    assert tried
    assert not tried & {"colour", "blocks"}
    run.save_alone(tmp_path / "alone.pt2")
    images = torch.rand(2, 5, SIDE, SIDE)
    found = torch.export.load(tmp_path / "alone.pt2").module()(images)
    torch.testing.assert_close(found, run.model.network.cpu()(images), atol=1e-3, rtol=1e-3)


# ------------------------------------------------------------------------------------------------ one channel


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_grey_pictures_are_three_equal_channels_of_the_same_values(tmp_path: Path, mode: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    Image.fromarray(levels if mode == "L" else levels.astype(np.uint16) * 257).save(tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == mode
    pixels = read_image(tmp_path / "one.png", (16, 16))
    assert (pixels.numpy() == levels).all()
    network = StagedNetwork(grey_network(), (16, 16)).for_images(3).eval()
    coloured = pixels[None].float() / 255
    torch.testing.assert_close(network(coloured), network.model(coloured[:, :1]), atol=1e-5, rtol=1e-4)


def grey_network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(8, 2)).eval()


@pytest.mark.parametrize("record", PLUGINS.all("representation"), ids=lambda record: record.name)
def test_swaps_of_grey_images_stay_grey(record: Representation) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(8, 1, 6, 6, generator=generator), (24, 24), mode="bicubic")
    images = (smooth + 0.1 * torch.rand(8, 1, 24, 24, generator=generator)).clamp(0, 1).expand(-1, 3, -1, -1)
    codec = Codec(record)
    for swapped in (codec.swap(images, images.roll(1, 0)), codec.measured(images, images.roll(1, 0))):
        assert float((swapped - swapped.mean(1, keepdim=True)).abs().max()) < 1.5 / 255
        assert float((swapped - images).abs().max()) > 0.05


def test_an_image_set_of_one_channel_is_kept(tmp_path: Path) -> None:
    images = ImageSet(torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    assert images.shape == images.subset(torch.tensor([1, 2])).shape == (1, 16, 16)
