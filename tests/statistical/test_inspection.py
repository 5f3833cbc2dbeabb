"""What is planted in pictures is found by ``inspect``, with its figures; where nothing is planted nothing strong is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptnet_ml import DataError, Inspection, Settings, inspect_data, write_inspection

COUNT, SIDE = 60, 32
EVIL = "dog <b>& 'x'"


def picture(draw: np.random.Generator) -> np.ndarray:
    """Smooth noise, (32, 32, 3): all classes are drawn alike."""
    coarse = Image.fromarray(draw.integers(60, 190, (5, 5, 3), dtype=np.uint8)).resize((SIDE, SIDE), 3)
    return np.clip(np.asarray(coarse, np.float64) + draw.normal(0, 6, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def folder_of(root: Path, parts: tuple[str, ...] = ("",), names: tuple[str, ...] = ("cat", EVIL)) -> Path:
    """Pictures that nothing tells apart: ``root/PART/CLASS/N.png``."""
    draw = np.random.default_rng(0)
    for part in parts:
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(COUNT):
                Image.fromarray(picture(draw)).save(root / part / name / f"{number:03d}.png")
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("plain"))


def levels(found: Inspection) -> dict[str, str]:
    return {one.about.name: one.level for one in found.results}


def test_nothing_planted_is_no_finding(plain: Path) -> None:
    found = inspect_data(plain)
    assert set(levels(found).values()) == {"none"}
    assert found.findings == ()
    assert {one.about.name for one in found.results} >= {"brightness", "border", "place", "bytes per pixel"}
    best = found.results[0]
    assert f"{best.about.name[1:]} comes nearest: alone it names" in found.nothing
    assert f"{best.beyond:.2f}, and 0.25 is asked" in found.nothing
    assert found.plain()["nothing"] == found.nothing


def test_a_tint_says_which_it_is_and_of_which_class(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "photos")
    for name, factors in (("cat", (0.7, 1.0, 1.3)), (EVIL, (1.2, 1.2, 0.8))):
        for path in (tmp_path / "photos" / name).iterdir():
            with Image.open(path) as image:
                Image.fromarray((np.asarray(image) * factors).clip(0, 255).astype(np.uint8)).save(path)
    found = inspect_data(tmp_path / "photos")
    assert found.nothing == ""
    (finding,) = [one for one in found.findings if one.about == "colour cast"]
    assert re.search(r"Beside the mean of the classes .*cat blue by \d\d %", finding.text)
    assert re.search(re.escape(EVIL) + r" (yellow|orange) by \d\d %", finding.text)


@pytest.mark.parametrize(
    ("trap", "name"),
    [
        ("tint", "colour cast"),
        ("border", "border"),
        ("text", "place"),
        ("brightness", "brightness"),
        ("contrast", "contrast"),
        ("blur", "sharpness"),
        ("stripes", "pattern"),
    ],
)
def test_a_planted_cue_is_found_and_is_not_in_the_test_set(plain: Path, trap: str, name: str) -> None:
    found = inspect_data(Settings.model_validate({"data": {"source": f"folder:{plain}", "trap": trap}}))
    assert levels(found)[name] in ("strong", "very strong")
    one = next(one for one in found.results if one.about.name == name)
    assert abs(one.score.shuffled - 0.5) < 0.15
    assert one.tests["test"] < 0.8
    assert [*found.counts] == ["train", "test"]  # the trap's own sets hold the same pictures
    finding = next(one for one in found.findings if one.about == name)
    assert "could be a shortcut" in finding.text
    assert finding.follows


def test_what_resizing_hides_is_found_in_the_files(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    for number, path in enumerate(sorted((root / "cat").iterdir())):
        with Image.open(path) as image:
            image.resize((48 + number % 5, 32)).save(path.with_suffix(".jpg"), quality=30)
        path.unlink()
    for path in sorted((root / EVIL).iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    found = inspect_data(root)
    assert {"width", "aspect", "JPEG quality", "bytes per pixel"} <= {one.about for one in found.findings}
    quality = next(one for one in found.results if one.about.name == "JPEG quality")
    assert quality.differs == f"cat 30, {EVIL} 95 of 100"
    assert not {"format", "height", "mode"} & levels(found).keys()  # the same in all


def test_copies_balance_and_broken_files_are_told_by_name(tmp_path: Path) -> None:
    root = folder_of(tmp_path, ("train", "test"))
    (root / "test" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "007.png").read_bytes())
    with Image.open(root / "train" / EVIL / "003.png") as image:
        image.convert("RGB").save(root / "train" / "cat" / "wrong.jpg", quality=80)
    for number in range(COUNT // 2 - 1, COUNT):
        (root / "train" / EVIL / f"{number:03d}.png").unlink()
    (root / "train" / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = inspect_data(root)
    assert sorted(found.pairs()) == [
        ("train/cat/007.png", "test/cat/copy.png"),
        ("train/cat/wrong.jpg", f"train/{EVIL}/003.png"),
    ]
    told = {one.about: one.text for one in found.findings}
    assert {"duplicates", "balance", "unreadable files"} <= told.keys()
    assert "train/cat/broken.png" in told["unreadable files"]
    assert [*found.data.unreadable] == ["train/cat/broken.png"]
    assert "--skip-bad" in write_inspection(found, tmp_path / "page.html").read_text(encoding="utf-8")
    plain = found.plain()
    assert plain["duplicates"]["in_test"] == {"test": {"images": 1, "other_class": 0}}
    assert plain["duplicates"]["across_classes"] == 2


def test_a_page_needs_nothing_and_escapes_everything(plain: Path, tmp_path: Path) -> None:
    found = inspect_data(Settings.model_validate({"data": {"source": f"folder:{plain}", "trap": "tint"}}))
    page = write_inspection(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert EVIL not in page
    assert "dog &lt;b&gt;" in page
    assert not re.search(r"<script|https?://|<link [^>]*href=\"(?!data:)", page)
    assert page.count("data:image/webp") >= 20
    assert "colour cast" in page
    assert f"conceptnet-ml learn --data &#39;folder:{plain}" in page or f"--data folder:{plain} --trap tint" in page
    with pytest.raises(DataError, match="is a folder"):
        write_inspection(found, tmp_path)


def test_data_from_python_have_no_files(plain: Path) -> None:
    found = inspect_data(inspect_data(plain).data)
    assert not {"bytes per pixel", "format"} & levels(found).keys()


def test_a_repeated_look_says_the_same(plain: Path) -> None:
    one, two = (inspect_data(plain).plain() for _ in range(2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}
