"""Which folder names an image's class, and held-out images that lie in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet, StreamedImages
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import limit_per_class, split_holdout
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def load(folder: Path, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": f"folder:{folder}", **data}}), PLUGINS)


def pictures(folder: Path, count: int, grey: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (16, 16), (grey, grey, number)).save(folder / f"{number:02d}.png")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Images two and three folders deep, and some beside a folder."""
    for part, count in (("train", 10), ("test", 3)):
        pictures(tmp_path / part / "animals" / "dogs" / "poodle", count, 10)
        pictures(tmp_path / part / "animals" / "cats", count, 20)
        pictures(tmp_path / part / "things", count, 30)
        pictures(tmp_path / part / "things" / "cars", count, 40)
    return tmp_path


# ------------------------------------------------------------------------------------------------ labels


def greys(data: Data) -> dict[str, set[int]]:
    """The grey levels of each class's training and test images: by them the fixture tells its folders apart."""
    found: dict[str, set[int]] = {name: set() for name in data.classes}
    for images in (data.train, data.tests["test"]):
        for level, label in zip(images.images[:, 0, 0, 0].tolist(), images.labels.tolist(), strict=True):
            found[data.classes[label]].add(level)
    return found


def test_the_first_folder_names_the_class_unless_told_otherwise(animals: Path) -> None:
    data = load(animals)
    assert greys(data) == {"animals": {10, 20}, "things": {30, 40}}
    assert any("animals/cats" in note and "data.labels=deepest" in note for note in data.notes)


def test_the_deepest_folder_or_the_whole_path_may_name_it(animals: Path) -> None:
    data = load(animals, labels="deepest")
    assert greys(data) == {"cars": {40}, "cats": {20}, "poodle": {10}, "things": {30}}
    assert not any("data.labels" in note for note in data.notes)
    data = load(animals, labels="path", classes=("things", "animals/dogs/poodle"))
    assert greys(data) == {"things": {30}, "animals/dogs/poodle": {10}}
    assert len(data.train) == 20


def test_folders_of_one_name_are_refused_but_by_their_paths(animals: Path) -> None:
    for part in ("train", "test"):
        pictures(animals / part / "things" / "cats", 10, 50)
    with pytest.raises(DataError, match=r"called the same: .*animals/cats, .*things/cats") as caught:
        load(animals, labels="deepest")
    assert "data.labels=path" in caught.value.mend
    assert len(load(animals, labels="path").classes) == 5


def test_one_class_at_the_top_says_what_lies_deeper(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        pictures(tmp_path / "train" / "animals" / name, 10, 10)
    with pytest.raises(DataError, match=r"one class only \(animals\).*animals/cats, animals/dogs") as caught:
        load(tmp_path)
    assert "data.labels=deepest" in caught.value.mend
    assert load(tmp_path, labels="deepest").classes == ("cats", "dogs")


def test_groups_by_folders_need_folders_below_a_class(animals: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.groups=folders"):
        load(animals, labels="deepest", groups="folders")


# ------------------------------------------------------------------------------------------------ held out


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for part, count, grey in (("train", 10, 10), ("val", 3, 20), ("test", 4, 30)):
        for name in ("cat", "dog"):
            pictures(tmp_path / part / name, count, grey)
    return tmp_path


@pytest.mark.parametrize("memory", [2.0, 1e-9])
@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_part_beside_training_and_test_is_held_out(parts: Path, name: str, memory: float) -> None:
    if name != "val":
        (parts / "val").rename(parts / name)
    data = load(parts, memory=memory)
    assert list(data.tests) == ["test"]
    assert len(data.train) == 26
    assert f"held out for the decisions: the 6 images of {name}" in data.notes
    fit, held = split_holdout(data.train, 0.125, 3)
    for places, grey, count in ((fit, 10, 20), (held, 20, 6)):
        assert len(places) == count
        assert set(data.train.take(places)[:, 0, 0, 0].tolist()) == {grey}
    assert data.train.files is not None
    assert {data.train.files[place].split("/")[0] for place in held.tolist()} == {name}


def test_it_is_the_test_set_where_there_is_no_other(parts: Path) -> None:
    for name in ("cat", "dog"):
        for file in (parts / "test" / name).iterdir():
            file.unlink()
        (parts / "test" / name).rmdir()
    (parts / "test").rmdir()
    data = load(parts)
    assert data.train.held is None
    assert len(data.tests["test"]) == 6


def test_it_is_limited_selected_and_planted_as_the_training_images_are(parts: Path) -> None:
    data = load(parts, train_limit=8, classes=("dog", "cat"), trap="border")
    assert data.train.held is not None
    assert [int((data.train.labels[~data.train.held] == label).sum()) for label in (0, 1)] == [8, 8]
    assert [int((data.train.labels[data.train.held] == label).sum()) for label in (0, 1)] == [3, 3]
    assert data.worlds["unbiased"]().held is not None


def test_the_same_images_held_out_otherwise_are_other_data(parts: Path) -> None:
    data = load(parts)
    before = data.digests()
    data.train.held = None
    assert data.digests()["labels"] != before["labels"]


def test_too_few_held_out_are_refused_and_broken_ones_named(parts: Path) -> None:
    for file in sorted((parts / "val" / "cat").iterdir())[:2]:
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match="2 of 34 images cannot be read"):
        load(parts)
    with pytest.raises(DataError, match=r"too few held-out images: 'cat' has 1; each class needs at least 2"):
        load(parts, skip_bad=True)


def test_held_out_copies_of_training_images_are_noted(parts: Path) -> None:
    copy = parts / "val" / "cat" / "00.png"
    copy.write_bytes((parts / "train" / "cat" / "00.png").read_bytes())
    assert any(note.startswith("1 of the 6 pictures of the held-out part are among") for note in load(parts).notes)


def test_for_evaluation_a_part_is_left_alone(parts: Path) -> None:
    data = load(parts, minimum=0)
    assert list(data.tests) == ["test"]
    assert "folders left unused: val" in data.notes


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_held_out_follows_the_images(streamed: bool) -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    images: ImageSet = ImageSet(pixels, labels)
    if streamed:
        images = StreamedImages(lambda item: pixels[item], torch.arange(6), labels, (2, 2))
    held = torch.tensor([False, True, False, True, False, False])
    images = images.with_held(held).with_files([str(number) for number in range(6)]).with_groups(None)
    for same in (images, images.to("cpu"), images.with_labels(1 - labels)):
        assert same.held is not None
        assert same.held.tolist() == held.tolist()
    part = images.subset(torch.tensor([3, 0]))
    assert part.held is not None
    assert part.held.tolist() == [True, False]
    assert len(limit_per_class(images, 1, 0)) == 4
    with pytest.raises(ValueError, match="held must be bool"):
        images.with_held(held[:2])
