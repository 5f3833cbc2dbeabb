"""Data sets of Hugging Face's datasets, made here with the library itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


@pytest.fixture
def hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets", reason="pip install 'conceptnet_ml[hf]'")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


def load(source: object, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": f"hf:{source}", **data}}), PLUGINS)


def rows(hf: Any, count: int, first: int = 0, names: tuple[str, ...] = ("cat", "dog"), label: Any = None) -> Any:
    """Image number n is grey and has the level n; its label is n modulo the classes, or what ``label`` makes of n."""
    levels = range(first, first + count)
    values = [(label or (lambda n: n % len(names)))(n) for n in levels]
    kind = hf.ClassLabel(names=list(names)) if label is None else hf.Value("string")
    pictures = [Image.new("L", (16, 16), n) for n in levels]
    features = hf.Features({"picture": hf.Image(), "kind": kind, "note": hf.Value("string")})
    return hf.Dataset.from_dict({"picture": pictures, "kind": values, "note": ["x"] * count}, features=features)


def split_up(hf: Any) -> Any:
    return hf.DatasetDict(train=rows(hf, 24), validation=rows(hf, 6, 100), test=rows(hf, 8, 200))


def stored(hf: Any, found: Any, folder: Path, how: str) -> Path:
    if how == "saved":
        found.save_to_disk(str(folder))
    else:
        folder.mkdir()
        for name, part in found.items():
            part.to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
    return folder


@pytest.mark.parametrize("how", ["saved", "parquet"])
@pytest.mark.parametrize("memory", [2.0, 1e-9])
def test_splits_are_used_as_such(hf: Any, tmp_path: Path, how: str, memory: float) -> None:
    data = load(stored(hf, split_up(hf), tmp_path / "set", how), memory=memory)
    assert data.classes == ("cat", "dog")
    assert {name: len(one) for name, one in data.tests.items()} == {"test": 8}
    assert data.train.resident == (memory == 2.0)
    fit, held = split_holdout(data.train, 0.125, 0)
    assert sorted(data.train.take(fit)[:, 0, 0, 0].tolist()) == list(range(24))
    assert sorted(data.train.take(held)[:, 0, 0, 0].tolist()) == list(range(100, 106))
    everything = range(len(data.train))
    levels = data.train.take(fit.new_tensor(everything))[:, 1, 3, 3]
    assert (levels % 2 == data.train.labels).all()
    assert data.train.files is not None
    assert data.train.files[0] == "train/0"


def test_one_split_without_a_name_is_for_training(hf: Any, tmp_path: Path) -> None:
    rows(hf, 40).save_to_disk(str(tmp_path / "set"))
    data = load(tmp_path / "set", classes=("dog", "cat"))
    assert (len(data.train), len(data.tests["test"])) == (32, 8)
    assert data.classes == ("dog", "cat")
    assert (data.train.images[:, 0, 0, 0] % 2 == 1 - data.train.labels).all()


def test_labels_may_be_texts_or_numbers_under_a_usual_name(hf: Any, tmp_path: Path) -> None:
    found = rows(hf, 40, label=lambda n: ("wolf", "fox")[n % 2]).rename_column("kind", "label")
    found.save_to_disk(str(tmp_path / "texts"))
    assert load(tmp_path / "texts").classes == ("fox", "wolf")
    numbers = rows(hf, 40).cast_column("kind", hf.Value("int32"))
    numbers.save_to_disk(str(tmp_path / "numbers"))
    with pytest.raises(DataError, match="no column of labels: picture") as caught:
        load(tmp_path / "numbers")
    assert "data.label_column" in caught.value.mend
    assert load(tmp_path / "numbers", label_column="kind").classes == ("0", "1")


def test_columns_of_one_type_need_names(hf: Any, tmp_path: Path) -> None:
    found = rows(hf, 40)
    found = found.add_column("other", found["kind"]).cast_column("other", hf.ClassLabel(names=["a", "b"]))
    found.save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match="several columns of labels: kind, other"):
        load(tmp_path / "set")
    assert load(tmp_path / "set", label_column="other").classes == ("a", "b")
    with pytest.raises(DataError, match="no column 'kinds'") as caught:
        load(tmp_path / "set", label_column="kinds")
    assert "Did you mean 'kind'" in caught.value.mend
    with pytest.raises(DataError, match=r"'note' of .* holds string, not images"):
        load(tmp_path / "set", image_column="note")
    with pytest.raises(DataError, match=r"'picture' of .* not one label"):
        load(tmp_path / "set", label_column="picture")
    found.remove_columns("picture").save_to_disk(str(tmp_path / "none"))
    with pytest.raises(DataError, match="no column of images: kind"):
        load(tmp_path / "none")


def test_rows_without_a_label_are_left_out_and_said(hf: Any, tmp_path: Path) -> None:
    found = split_up(hf)
    hidden = found["test"].map(lambda row: {"kind": -1})
    hf.DatasetDict(train=found["train"], validation=found["validation"], test=hidden).save_to_disk(
        str(tmp_path / "set")
    )
    data = load(tmp_path / "set")
    assert "8 of 8 images of the split 'test' have no label, and are left out" in data.notes


def test_broken_images_are_named_or_left_out(hf: Any, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, format="PNG")
    cells = [{"bytes": file.getvalue() if n != 5 else b"no picture", "path": None} for n in range(40)]
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
    found = hf.Dataset.from_dict({"image": cells, "label": [n % 2 for n in range(40)]}, features=features)
    found.save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match=r"1 of 40 images cannot be read:\s+train/5: not an image"):
        load(tmp_path / "set")
    data = load(tmp_path / "set", skip_bad=True)
    assert data.skipped == 1
    assert set(data.unreadable) == {"train/5"}


def test_what_is_no_data_set_is_refused(hf: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs a data set"):
        load_data(Settings.model_validate({"data": {"source": "hf"}}), PLUGINS)
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be read as a data set") as caught:
        load(tmp_path / "empty")
    assert "folder:PATH" in caught.value.mend


def test_offline_it_says_so_at_once_and_how_to_get_it(hf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(hub.HfApi, "dataset_info", refuse)
    with pytest.raises(DataError, match=r"cannot be reached from here \(Name or service not known\)") as caught:
        load("someone/no-such-set-9182")
    assert "save_to_disk('no-such-set-9182')" in caught.value.mend
    assert "hf:./no-such-set-9182" in caught.value.mend


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError) as caught:
        load("someone/set")
    assert "pip install 'conceptnet_ml[hf]'" in caught.value.mend


def test_colours_and_sizes_are_those_of_files(hf: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 20, 24, 3)).astype(np.uint8)
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
    cells = {"image": [Image.fromarray(one) for one in noise], "label": [n % 2 for n in range(40)]}
    hf.DatasetDict(train=hf.Dataset.from_dict(cells, features=features), test=rows_like(hf, features)).save_to_disk(
        str(tmp_path / "set")
    )
    data = load(tmp_path / "set")
    assert data.shape == (3, 20, 24)
    assert (data.train.images.permute(0, 2, 3, 1).numpy() == noise).all()


def rows_like(hf: Any, features: Any) -> Any:
    pictures = [Image.new("RGB", (24, 20), (n, 0, 0)) for n in range(8)]
    return hf.Dataset.from_dict({"image": pictures, "label": [n % 2 for n in range(8)]}, features=features)
