"""Groups of test images: from folders, from a CSV file, from the cues of traps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import Groups, ImageSet, StreamedImages
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.traps import cue_groups, draw_cues
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def load(source: str | Path, **data: object) -> Data:
    text = f"folder:{source}" if isinstance(source, Path) else source
    return load_data(Settings.model_validate({"data": {"source": text, **data}}), PLUGINS)


def names_of(images: ImageSet) -> list[str | None]:
    """The name of each image's group."""
    assert images.groups is not None
    return [None if number < 0 else images.groups.names[number] for number in images.groups.numbers.tolist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; test images in and out of sub-folders; a further set of dogs."""
    files = [f"train/{name}/{index:02d}" for name in ("cat", "dog") for index in range(10)]
    files += ["test/cat/in/a", "test/cat/in/deep/b", "test/cat/out/c", "test/cat/z", "test/dog/out/a", "test/dog/z"]
    files += ["test-snow/dog/out/a", "test-snow/dog/in/b", "tests/sand/cat/x"]
    for file in files:
        path = tmp_path / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(path)
    return tmp_path


# ------------------------------------------------------------------------------------------------ sets keep them


def images_of(numbers: Sequence[int], streamed: bool) -> ImageSet:
    """Image number n is filled with n."""
    labels = torch.zeros(len(numbers))
    pixels = torch.tensor(numbers, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    if not streamed:
        return ImageSet(pixels, labels)
    return StreamedImages(lambda item: pixels[item], torch.arange(len(numbers)), labels, (2, 2))


@pytest.mark.parametrize("streamed", [False, True])
def test_groups_follow_the_images(streamed: bool) -> None:
    groups = Groups(("red", "blue"), torch.tensor([1, -1, 0, 1]))
    whole = images_of([10, 11, 12, 13], streamed)
    assert whole.groups is None
    grouped = whole.with_groups(groups)
    assert whole.groups is None, "the set itself stays as it is"
    part = grouped.subset(torch.tensor([3, 2, 1]))
    assert part.take(torch.arange(3))[:, 0, 0, 0].tolist() == [13, 12, 11]
    assert names_of(part) == ["blue", "red", None]
    same = ["blue", None, "red", "blue"]
    assert names_of(grouped.with_labels(torch.ones(4))) == names_of(grouped.to("cpu")) == same
    if isinstance(grouped, StreamedImages):
        changed = grouped.with_change(lambda images, items: images + 1, (2, 2))
        assert names_of(changed) == same
        assert names_of(changed.subset(torch.tensor([2]))) == ["red"]
    assert grouped.with_groups(None).groups is None
    with pytest.raises(ValueError, match="groups of 4 images for a set of 3"):
        part.with_groups(groups)


def test_numbers_of_groups_are_places_of_names() -> None:
    for numbers in (torch.tensor([0, 2]), torch.tensor([-2]), torch.tensor([0.0]), torch.tensor([[0]])):
        with pytest.raises(ValueError, match="groups"):
            Groups(("red", "blue"), numbers)


# ------------------------------------------------------------------------------------------------ traps


def test_groups_of_cues_by_hand() -> None:
    labels = torch.tensor([1, 0, 1, 0, 1])
    cues = {"wheels": torch.tensor([0, 0, 1, 0, 0]), "tint": torch.tensor([1, 0, 1, 1, 1])}
    groups = cue_groups(labels, cues, ("car", "dog"))
    assert groups.names == (
        "car, wheels of car, tint of car",
        "car, wheels of car, tint of dog",
        "dog, wheels of car, tint of dog",
        "dog, wheels of dog, tint of dog",
    )
    assert groups.numbers.tolist() == [2, 0, 3, 1, 2]


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_traps_group_their_test_sets_and_nothing_else(folder: Path, memory: float) -> None:
    data = load(folder, trap="tint", memory=memory)
    labels = data.tests["test"].labels
    assert names_of(data.tests["aligned"]) == ["cat, tint of cat"] * 4 + ["dog, tint of dog"] * 2
    assert names_of(data.tests["conflict"]) == ["cat, tint of dog"] * 4 + ["dog, tint of cat"] * 2
    drawn = draw_cues("random", labels, 2, "tint", 0).tolist()
    wanted = [f"{('cat', 'dog')[own]}, tint of {('cat', 'dog')[cue]}" for own, cue in zip(labels, drawn, strict=True)]
    assert names_of(data.tests["random"]) == wanted
    assert all(data.tests[name].groups is None for name in ("test", "absent", "snow", "sand"))
    assert data.train.groups is None
    assert all(world().groups is None for world in data.worlds.values())


def test_groups_of_the_data_stay_where_a_trap_has_none_of_its_own(folder: Path) -> None:
    for trap in ("tint", "dominoes"):
        data = load(folder, trap=trap, groups="folders")
        plain = ["cat, in", "cat, in", "cat, out", None, "dog, out", None]
        assert names_of(data.tests["test"]) == names_of(data.tests["absent"]) == plain
        assert names_of(data.tests["snow"]) == ["dog, in", "dog, out"]
        assert names_of(data.tests["aligned"])[0] == f"cat, {trap} of cat"
        assert data.train.groups is None
        assert all(world().groups is None for world in data.worlds.values())


# ------------------------------------------------------------------------------------------------ folders


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_folders_within_a_class_are_groups(folder: Path, memory: float) -> None:
    data = load(folder, groups="folders", memory=memory)
    assert names_of(data.tests["test"]) == ["cat, in", "cat, in", "cat, out", None, "dog, out", None]
    assert data.tests["test"].groups.names == ("cat, in", "cat, out", "dog, out")  # type: ignore[union-attr]
    assert names_of(data.tests["snow"]) == ["dog, in", "dog, out"]
    assert data.tests["sand"].groups is None
    assert data.train.groups is None
    assert "3 test images are in no group of data.groups" in data.notes
    assert load(folder).tests["test"].groups is None


def test_no_folders_within_classes(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no test image of .* lies in a folder below") as caught:
        load(folder / "train", groups="folders")
    assert "test/CLASS/GROUP" in caught.value.mend


# ------------------------------------------------------------------------------------------------ a CSV file


def written(folder: Path, *lines: str) -> str:
    path = folder / "groups.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_a_file_names_images_as_they_lie_in_the_data_folder_or_a_test_set(folder: Path) -> None:
    lines = ("Group, file ,class", "wet,test/cat/z.png,cat", "wet,cat/in/a.png,cat", "dry,./dog/z.png,dog")
    lines += ("", "dry,test-snow/dog/in/b.png,dog", "wet,x/../cat/x.png,cat", "wet,train/cat/00.png,cat")
    data = load(folder, groups=written(folder, *lines))
    assert names_of(data.tests["test"]) == ["cat, wet", None, None, "cat, wet", None, "dog, dry"]
    assert names_of(data.tests["snow"]) == ["dog, dry", None]
    assert names_of(data.tests["sand"]) == ["cat, wet"]
    assert data.train.groups is None
    assert "4 test images are in no group of data.groups" in data.notes


def test_images_split_off_for_testing_may_be_named(folder: Path) -> None:
    lines = [f"{name}/{index:02d}.png,all" for name in ("cat", "dog") for index in range(10)]
    data = load(folder / "train", groups=written(folder, "file,group", *lines))
    assert names_of(data.tests["test"]) == ["cat, all"] * 2 + ["dog, all"] * 2
    assert data.train.groups is None
    assert not any("no group" in note for note in data.notes)


def test_images_of_classes_that_are_not_used_may_be_named(folder: Path) -> None:
    for part, count in (("train", 10), ("test", 1)):
        for index in range(count):
            (folder / part / "ant").mkdir(exist_ok=True)
            Image.new("RGB", (16, 16)).save(folder / part / "ant" / f"{index}.png")
    lines = ("file,group,class", "test/ant/0.png,wet,ant", "test/cat/z.png,wet,cat")
    data = load(folder, classes=("cat", "dog"), groups=written(folder, *lines))
    assert data.tests["test"].groups.names == ("cat, wet",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,place", "test/cat/z.png,wet"], "has no column 'group'"),
        ([], "has no column 'file' and no column 'group'"),
        (["file,group", "test/cat/z.png"], "line 2 has not 2 cells"),
        (["file,group", *(f"cat/{n}.png,wet" for n in range(7))], "'cat/4.png' (line 6) and 2 more"),
        (["file,group", "test/cat/z.png,wet", "cat/z.png,dry"], "twice: 'cat/z.png' (lines 2 and 3)"),
        (["file,group", "dog/out/a.png,wet"], "line 2: 'dog/out/a.png' is an image of several test sets"),
        (["file,group,class", "test/cat/z.png,wet,cow"], "line 2: there is no class 'cow'"),
        (["file,group,class", "test/cat/z.png,wet,dog"], "lies in the folder of 'cat', not of 'dog'"),
        (["file,group", "train/cat/00.png,wet"], "puts no test image into a group"),
        (["file,group", "test/cat/z.png,"], "puts no test image into a group"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_an_image_is_read(
    folder: Path, lines: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "conceptnet_plugins.datasets.picture_files.check_files", lambda _: pytest.fail("images were read")
    )
    with pytest.raises(DataError) as caught:
        load(folder, groups=written(folder, *lines))
    assert words in str(caught.value)
    assert "data.groups" in str(caught.value)
    assert caught.value.mend


def test_there_must_be_such_a_file(folder: Path) -> None:
    with pytest.raises(DataError, match=r"absent.csv: no such file") as caught:
        load(folder, groups="absent.csv")
    assert "folders" in caught.value.mend
    (folder / "table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        load(folder, groups=str(folder / "table.csv"))


def test_only_folders_take_groups() -> None:
    with pytest.raises(SettingsError, match="'glyphs' takes no groups"):
        load("glyphs:2", groups="folders")


def test_a_trap_may_take_pictures_from_a_source_without_groups(folder: Path) -> None:
    assert load(folder, groups="folders", trap="dominoes:glyphs:2").tests["test"].groups is not None
