"""Sizes of pictures: one size that all have is kept, square or not; what is asked for is cut out of the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import DataSettings, Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import check_files, common_size, fit_to_size, read_image, square_side
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import too_large
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def load(source: str, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": source, **data}}), PLUGINS)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two classes of 12 pictures, 24 px high and 16 px wide, the upper half of each white."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(12):
            image = Image.new("RGB", (16, 24), (index, 0, 0))
            image.paste((255, 255, 255), (0, 0, 16, 12))
            image.save(tmp_path / name / f"{index:02d}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32)] * 3, (32, 32)),
        ([(48, 20), None, (48, 20)], (48, 20)),
        ([(48, 20), (20, 48)], (64, 64)),
        ([(8, 1024)], (8, 1024)),
        ([(7, 20)], (64, 64)),
        ([(20, 1025)], (64, 64)),
        ([], (64, 64)),
    ],
)
def test_the_common_size(sizes: list[tuple[int, int] | None], expected: tuple[int, int]) -> None:
    assert common_size(sizes) == expected


def test_a_picture_covers_the_size_and_keeps_its_centre(tmp_path: Path) -> None:
    bands = np.zeros((20, 60, 3), dtype=np.uint8)
    bands[:, 20:40] = 200
    image = Image.fromarray(bands)
    assert fit_to_size(image, (20, 60)).equal(torch.from_numpy(bands).permute(2, 0, 1))
    low = fit_to_size(image, (10, 30))  # the same shape: the whole picture
    assert low.shape == (3, 10, 30)
    assert [int(low[0, 5, x]) for x in (2, 15, 27)] == [0, 200, 0]
    high = fit_to_size(image, (20, 10))  # the middle alone
    assert high.shape == (3, 20, 10)
    assert high.min() >= 195
    image.resize((600, 200)).save(tmp_path / "large.jpg")  # decoded at a fraction of its size
    assert read_image(tmp_path / "large.jpg", (10, 30)).shape == (3, 10, 30)


def test_sizes_of_files_are_those_of_upright_pictures(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    files = [tmp_path / name for name in ("plain.png", "turned.png", "turned.jpg", "turned.tif")]
    for file in files:
        kept = {} if file.stem == "plain" else {"exif": exif}
        Image.new("RGB", (40, 20)).save(file, **kept)
    sizes, bad = check_files(files)
    assert (sizes, bad) == ([(20, 40), (40, 20), (40, 20), (40, 20)], {})
    for file, size in zip(files, sizes, strict=True):
        assert size is not None
        assert read_image(file, size).shape == (3, *size)


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_pictures_of_one_size_keep_it(wide: Path, memory: float) -> None:
    data = load(f"folder:{wide}", memory=memory)
    assert data.shape == (3, 24, 16)
    assert data.train.resident == (memory == 2.0)
    assert not any("resized" in note for note in data.notes)
    first = data.train.take(torch.tensor([0]))[0, 1]
    assert first[:12].min() == 255
    assert first[12:].max() == 0


def test_a_size_is_a_side_or_height_and_width(wide: Path) -> None:
    assert load(f"folder:{wide}", image_size=16).shape == (3, 16, 16)
    data = load(f"folder:{wide}", image_size=(12, 8))
    assert data.shape == (3, 12, 8)
    assert any("24 images resized to 8 × 12 px: scaled to cover it" in note for note in data.notes)


def test_a_trap_may_change_the_size_and_the_size_before_is_known(wide: Path) -> None:
    data = load(f"folder:{wide}", trap="dominoes")
    assert (data.shape, data.read_size) == ((3, 48, 16), (24, 16))
    plain = load(f"folder:{wide}")
    assert (plain.shape, plain.read_size) == ((3, 24, 16), (24, 16))


def test_drawn_pictures_are_square() -> None:
    assert load("glyphs:2", image_size=(16, 16), train_limit=8).shape == (3, 16, 16)
    for source in ("glyphs:2", "cars-and-poodles"):
        with pytest.raises(SettingsError, match=r"data.image_size 64,32: .* draws square images") as caught:
            load(source, image_size=(64, 32))
        assert "one side" in caught.value.mend
    assert [square_side(size, 64, "it") for size in (None, 32, (32, 32))] == [64, 32, 32]


def test_torchvision_sets_are_square_unless_a_shape_is_named(tmp_path: Path) -> None:
    for name in ("Forest", "River"):
        (tmp_path / "eurosat" / "2750" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (16, 24)).save(tmp_path / "eurosat" / "2750" / name / f"{index}.jpg")
    assert load("torchvision:EuroSAT", root=str(tmp_path)).shape == (3, 64, 64)
    named = load("torchvision:EuroSAT", root=str(tmp_path), image_size=(24, 16))
    assert named.shape == (3, 24, 16)
    assert not any("resized" in note for note in named.notes)


def test_memory_counts_every_pixel_and_every_set() -> None:
    settings = DataSettings(memory=100 * 3 * 64 * 32 / 2**30)
    assert not too_large(60, 40, (64, 32), settings)
    assert too_large(60, 41, (64, 32), settings)
    assert too_large(60, 40, (64, 33), settings)
    assert too_large(60, 40, (64, 32), settings, others=1)
    trapped = settings.model_copy(update={"trap": "tint"})
    assert not too_large(20, 10, (64, 32), trapped, others=10)
    assert too_large(20, 10, (64, 32), trapped, others=11)
