"""Test sets in folders by name: what they are called, what they may lack, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def load(source: Path, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": f"folder:{source}", **data}}), PLUGINS)


def pictures(folder: Path, start: int, count: int = 3, size: tuple[int, int] = (16, 16)) -> None:
    """Pictures whose red is ``start`` and the numbers after it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", size, (start + index, 0, 0)).save(folder / f"{index:02d}.png")


def shown(data: Data, name: str) -> list[int]:
    images = data.tests[name]
    return images.take(torch.arange(len(images)))[:, 0, 0, 0].tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training images of two classes, a plain test set, another in ``test-snow``, one of dogs in ``tests/sand``."""
    for label, name in enumerate(("cat", "dog")):
        pictures(tmp_path / "train" / name, 20 * label, 12)
        pictures(tmp_path / "test" / name, 50 + 10 * label)
        pictures(tmp_path / "test-snow" / name, 70 + 10 * label)
    pictures(tmp_path / "tests" / "sand" / "dog" / "deep", 90)
    return tmp_path


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_sets_bear_the_names_of_their_folders(folder: Path, memory: float) -> None:
    data = load(folder, memory=memory)
    assert list(data.tests) == ["test", "snow", "sand"]
    assert shown(data, "test") == [50, 51, 52, 60, 61, 62]
    assert shown(data, "snow") == [70, 71, 72, 80, 81, 82]
    assert shown(data, "sand") == [90, 91, 92]
    assert data.tests["sand"].labels.tolist() == [1, 1, 1], "a class that is missing keeps its number"
    assert len(data.train) == 24
    assert not any("unused" in note for note in data.notes)
    assert all(images.resident == (memory == 2.0) for images in (data.train, *data.tests.values()))


def test_the_plain_test_set_may_lie_among_the_others(folder: Path) -> None:
    (folder / "test").rename(folder / "tests" / "test")
    data = load(folder)
    assert next(iter(data.tests)) == "test"
    assert shown(data, "test") == [50, 51, 52, 60, 61, 62]
    (folder / "tests" / "test").rename(folder / "test-test")
    assert shown(load(folder), "test") == [50, 51, 52, 60, 61, 62]
    pictures(folder / "val" / "cat", 200)
    data = load(folder)
    assert shown(data, "test") == [50, 51, 52, 60, 61, 62]
    assert "folders left unused: val" in data.notes


def test_without_a_plain_test_set_it_is_split_off(folder: Path) -> None:
    (folder / "test").rename(folder / "spare")
    data = load(folder, test_share=0.25)
    assert (len(data.train), len(data.tests["test"]), len(data.tests["snow"])) == (18, 6, 6)
    assert "no test folder: 6 of 24 images split off for testing" in data.notes
    assert "folders left unused: spare" in data.notes


def test_every_set_counts_for_sizes_memory_and_broken_files(folder: Path) -> None:
    assert load(folder, memory=3 * 16 * 16 * 39 / 2**30).train.resident
    assert not load(folder, memory=3 * 16 * 16 * 38 / 2**30).train.resident
    pictures(folder / "tests" / "sand" / "cat", 95, 1, (40, 30))
    data = load(folder)
    assert data.shape == (3, 64, 64), "one picture of another size"
    assert "40 images resized to 64 × 64 px: shorter side scaled, centre kept" in data.notes
    (folder / "tests" / "sand" / "cat" / "00.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 40 images cannot be read"):
        load(folder)
    data = load(folder, skip_bad=True)
    assert (data.skipped, data.shape, len(data.tests["sand"])) == (1, (3, 16, 16), 3)
    for file in (folder / "tests" / "sand" / "dog" / "deep").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="sand: none of its images can be read"):
        load(folder, skip_bad=True)


def test_chosen_classes_are_chosen_in_every_set(folder: Path) -> None:
    for part in ("train", "test", "test-snow"):
        pictures(folder / part / "ant", 120, 9)
    data = load(folder, classes=("dog", "ant"))
    assert data.tests["snow"].labels.tolist() == [0] * 3 + [1] * 9
    assert data.tests["sand"].labels.tolist() == [0] * 3
    assert set(load(folder, classes=("ant", "cat")).tests) == {"test", "snow"}, "a set of none of them is left out"


def refused(folder: Path, words: str, place: Path | None = None, **data: object) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load(folder, **data)
    assert str(place or folder) in str(caught.value)
    assert caught.value.mend


def test_sets_that_cannot_be_used_are_named(folder: Path) -> None:
    empty = folder / "tests" / "fog"
    (empty / "cat").mkdir(parents=True)
    refused(folder, "fog holds no images", empty)
    refused(folder, "fog holds no images", empty, classes=("cat", "dog"))
    (empty / "cat").rmdir()
    refused(folder, "fog holds no class folders", empty)
    pictures(empty / "cart", 0)
    refused(folder, "fog has folders of unknown classes: 'cart'", empty)
    (empty / "cart").rename(empty / "Cat")
    refused(folder, "unknown classes: 'Cat'", empty)
    (empty / "Cat").rename(empty / "cat")
    assert len(load(folder).tests["fog"]) == 3
    empty.rename(folder / "tests" / "Snow")
    refused(folder, "two test sets are called 'Snow'", folder / "test-snow")
    for bad in ("..", "a;b", "train"):
        place = folder / f"test-{bad}"
        (folder / "tests" / "Snow").rename(place)
        refused(folder, "cannot name a test set", place)
        place.rename(folder / "tests" / "Snow")
    (folder / "tests" / "Snow").rename(folder / "tests" / "test")
    refused(folder, "two test sets are called 'test'", folder / "tests" / "test")


@pytest.mark.parametrize("empty", ["test", "val"])
def test_an_empty_part_is_as_good_as_none(tmp_path: Path, empty: str) -> None:
    pictures(tmp_path / "train" / "cat", 20, 12)
    pictures(tmp_path / "train" / "dog", 60, 12)
    (tmp_path / empty).mkdir()
    data = load(tmp_path)
    assert f"{empty} is empty, and as good as not there" in data.notes
    assert any(note.startswith("no test folder") for note in data.notes)
    (tmp_path / "train" / "dog").rename(tmp_path / "dog")
    pictures(tmp_path / "train" / "dog", 60, 1)
    refused(tmp_path, "'dog' has 1; each class needs at least 8")


def test_a_folder_for_many_sets_must_have_one(folder: Path) -> None:
    for path in sorted((folder / "tests").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    refused(folder, "tests holds no test sets", folder / "tests")


def test_a_trap_refuses_a_set_of_its_own_name(folder: Path) -> None:
    assert {"snow", "sand", "aligned"} <= set(load(folder, trap="tint").tests)
    (folder / "test-snow").rename(folder / "test-random")
    with pytest.raises(SettingsError, match="test sets of a trap \\(random\\)"):
        load(folder, trap="tint")


def test_where_nothing_is_trained_test_sets_are_enough(folder: Path) -> None:
    for path in (folder / "train").rglob("*.png"):
        path.unlink()
    for name in ("cat", "dog", ""):
        (folder / "train" / name).rmdir()
    refused(folder, "but no 'train' folder")
    data = load(folder, minimum=0, train_limit=8)
    assert list(data.tests) == ["test", "snow", "sand"]
    assert (data.classes, len(data.tests["test"])) == (("cat", "dog"), 6)
    assert {"aligned", "sand"} <= set(load(folder, minimum=0, trap="tint").tests)
    (folder / "test").rename(folder / "spare")
    (folder / "spare").rename(folder.parent / f"{folder.name}-spare")
    refused(folder, "but no 'train' folder")
    data = load(folder, minimum=0)
    assert (list(data.tests), data.classes) == (["snow", "sand"], ("cat", "dog"))
    refused(folder, "no plain test set", minimum=0, trap="tint")


def test_a_class_may_be_called_like_a_test_set(tmp_path: Path) -> None:
    for label, name in enumerate(("test-drive/day", "test-drive/night", "parking")):
        pictures(tmp_path / name, 20 * label, 10)
    data = load(tmp_path)
    assert data.classes == ("parking", "test-drive")
    pictures(tmp_path / "test-drive" / "parking", 0)
    assert load(tmp_path).classes == ("parking", "test-drive"), "not all folders within are classes"
    pictures(tmp_path / "test-snow" / "parking", 0)
    refused(tmp_path, "has 'test-snow' but no 'train' folder")
