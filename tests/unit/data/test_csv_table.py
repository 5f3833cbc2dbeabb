"""Images that a CSV file names."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import source_of
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty pictures of cats and of dogs; number n has the grey level n, dogs begin at 100."""
    for name, first in (("cat", 0), ("dog", 100)):
        (tmp_path / "all").mkdir(exist_ok=True)
        for number in range(20):
            Image.new("L", (16, 16), first + number).save(tmp_path / "all" / f"{name} {number:02d}.png")
    return tmp_path


def lines(count: int = 20, part: str = "") -> list[str]:
    ending = f",{part}" if part else ""
    return [f"all/{name} {n:02d}.png,{name}{ending}" for n in range(count) for name in ("dog", "cat")]


def written(folder: Path, head: str, *rows: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text("\n".join((head, *rows)) + "\n", encoding=encoding)
    return folder / name


def load(table: Path, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": f"csv:{table}", **data}}), PLUGINS)


def test_a_table_of_paths_and_labels(pictures: Path) -> None:
    data = load(written(pictures, "path,label", *lines()), test_share=0.25)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.tests["test"])) == (30, 10)
    assert data.train.shape == (3, 16, 16)
    assert ((data.train.images[:, 0, 0, 0] >= 100) == (data.train.labels == 1)).all()
    assert data.train.files is not None
    assert data.train.files[0] == "all/dog 00.png"


@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_a_column_says_which_part_an_image_is_in(pictures: Path, memory: float) -> None:
    parts = ["", "Train"] * 10 + ["validation"] * 4 + ["test"] * 6 + ["snow"] * 4
    rows = [f"{row},{part}" for row, part in zip(lines()[: len(parts)], parts, strict=True)]
    data = load(written(pictures, "path,label,split", *rows), memory=memory)
    assert {name: len(one) for name, one in data.tests.items()} == {"test": 6, "snow": 4}
    assert len(data.train) == 24
    assert data.train.held is not None
    assert data.train.held.tolist() == [False] * 20 + [True] * 4
    assert "held out for the decisions: the 4 images of val" in data.notes


def test_validation_is_the_test_set_where_there_is_no_other(pictures: Path) -> None:
    rows = lines(16, "train") + [row.replace(" 0", " 1") + ",val" for row in lines(10)[12:]]
    data = load(written(pictures, "path,label,split", *rows))
    assert data.train.held is None
    assert len(data.tests["test"]) == 8


def test_columns_by_other_names_separators_and_absolute_paths(pictures: Path) -> None:
    rows = [f"x;{pictures / row.split(',')[0]};{row.split(',')[1]}" for row in lines()]
    head = "\N{BYTE ORDER MARK}Id;Filename;Class"
    assert len(load(written(pictures, head, *rows)).train) == 32
    rows = [row.replace(";", "\t") for row in rows]
    table = written(pictures, "id\twhere\tspecies", *rows)
    data = load(table, image_column="where", label_column="Species", classes=("dog", "cat"))
    assert data.classes == ("dog", "cat")
    assert len(data.train) == 32


def test_names_with_the_separator_stand_in_quotes(pictures: Path) -> None:
    for number in range(10):
        Image.new("L", (16, 16)).save(pictures / f"a, b {number}.png")
    rows = [f'"a, b {number}.png",sheep' for number in range(10)]
    assert load(written(pictures, "path,label", *lines(), *rows)).classes == ("cat", "dog", "sheep")


def test_tables_for_evaluation_may_hold_tests_alone(pictures: Path) -> None:
    data = load(written(pictures, "path,label,split", *lines(4, "val")), minimum=0)
    assert {name: len(one) for name, one in data.tests.items()} == {"test": 8}
    data = load(written(pictures, "path,label", *lines(4)), minimum=0)
    assert len(data.tests["test"]) == 8


@pytest.mark.parametrize(
    ("head", "row", "words"),
    [
        ("where,label", "all/cat 00.png,cat", r"first line \(where, label\) is called path, file, filename"),
        ("path,kind", "all/cat 00.png,cat", r"data\.label_column=NAME"),
        ("path,label,label", "all/cat 00.png,cat,cat", "two columns are called 'label'"),
        ("path,label", "all/cat 00.png", "line 42 has 1 cells, the first line has 2"),
        ("path,label", "all/cat 00.png,", "line 42 has no label"),
        ("path,label", ",cat", "line 42 has no path"),
        ("path,label", "all/cow.png,cat", r"not there: '.*all/cow\.png' \(line 42\)"),
        ("path,label", f"{'x' * 5000}.png,cat", r"not there: .*x\.png' \(line 42\)"),
        ("path,label", "a\0b.png,cat", r"not there: .* \(line 42\)"),
        ("path,label", "table.csv,cat", r"line 42: 'table\.csv' does not end like an image"),
        ("path,label", "all/../all/cat 00.png,cat", r"twice, in lines 3 and 42"),
        ("path,label", '"all/cat 00.png,cat', "line 42: "),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    pictures: Path, head: str, row: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = "conceptnet_plugins.datasets.picture_files.check_files"
    monkeypatch.setattr(read, lambda *_: pytest.fail("images were read"))
    cells = len(head.split(",")) - 2
    with pytest.raises(DataError, match=words) as caught:
        load(written(pictures, head, *(line + ",cat" * cells for line in lines()), row))
    assert "table.csv" in caught.value.message
    assert caught.value.mend


def test_files_that_cannot_be_read_as_tables(pictures: Path) -> None:
    with pytest.raises(SettingsError, match="needs a file"):
        load_data(Settings.model_validate({"data": {"source": "csv"}}), PLUGINS)
    with pytest.raises(DataError, match="no such file"):
        load(pictures / "none.csv")
    with pytest.raises(DataError, match="is a folder") as caught:
        load(pictures)
    assert "folder:PATH" in caught.value.mend
    with pytest.raises(DataError, match="line 2 is not UTF-8"):
        load(written(pictures, "path,label", "all/café.png,cat", encoding="latin-1"))
    with pytest.raises(DataError, match="names no images"):
        load(written(pictures, "path,label"))
    with pytest.raises(DataError, match="no training images"):
        load(written(pictures, "path,label,split", *lines(20, "0")))
    with pytest.raises(DataError, match="'a/b' cannot name a part"):
        load(written(pictures, "path,label,split", *lines(20, "a/b")))
    with pytest.raises(DataError, match="no column 'kind'"):
        load(written(pictures, "path,label", *lines()), label_column="kind")
    rows = [*lines(18, "train"), "all/cat 18.png,cat,val", "all/cat 19.png,cat,val", "all/dog 18.png,dog,test"]
    with pytest.raises(DataError, match="too few held-out images: 'dog' has 0"):
        load(written(pictures, "path,label,split", *rows))


def test_broken_images_are_named_or_left_out(pictures: Path) -> None:
    (pictures / "all" / "cat 03.png").write_bytes(b"no picture")
    table = written(pictures, "path,label", *lines())
    with pytest.raises(DataError, match=r"1 of 40 images cannot be read:\s+.*cat 03\.png"):
        load(table)
    data = load(table, skip_bad=True)
    assert data.skipped == 1
    assert set(data.unreadable) == {"all/cat 03.png"}


def test_a_table_is_known_by_its_ending(pictures: Path) -> None:
    table = written(pictures, "path,label", *lines())
    assert source_of(table) == f"csv:{table}"
    assert source_of(pictures) == f"folder:{pictures}"
    with pytest.raises(SettingsError) as caught:
        load_data(Settings.model_validate({"data": {"source": str(table)}}), PLUGINS)
    assert f"write csv:{table}" in caught.value.mend
