"""``inspect``, the real command: table, JSON, page, mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import call, noise_pictures
from PIL import Image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright and a dark class."""
    root = tmp_path_factory.mktemp("photos")
    noise_pictures(root, {"bright": 170.0, "dark": 80.0}, 30, np.random.default_rng(0), side=20)
    return root


def test_the_table_names_what_could_be_a_shortcut(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call("inspect", photos, "--out", page)
    assert done.returncode == 0, done.stderr
    assert "brightness" in done.stdout
    assert "could be a shortcut" in done.stdout
    assert "is a shortcut" not in done.stdout
    text = " ".join(done.stdout.split())
    assert text.startswith("Brightness could be a shortcut")
    assert ": alone, brightness names 100 % of held-out images rightly, where chance names 50 %." in text
    assert "could be a shortcut (very strong): Brightness alone names 100 %" in text
    assert re.search(r"Medians: bright \d+, dark [\d.]+ of 255", text)
    assert "The test set has it, too (the rule names 100 %)" in text
    assert "note: no test folder:" in text
    assert "python cli.py learn --data folder:" in text
    assert page.exists()


def test_the_columns_are_explained_and_each_property_has_a_word(photos: Path) -> None:
    done = call("inspect", photos)
    text = " ".join(done.stdout.split())
    for column in ("held-out %", "shuffled", "test", "strength, tells", "control", "could be"):
        assert f" {column}: " in text, column
    assert "chance is 50" in text
    assert "some from 0.25, strong from 0.5, very strong from 0.75" in text
    (place,) = [line for line in done.stdout.splitlines() if line.strip().startswith("place ")]
    assert " no" in place, "what stands everywhere is told by its control, too"
    (bright,) = [line for line in done.stdout.splitlines() if line.strip().startswith("brightness ")]
    assert " very strong " in bright


def test_where_there_is_nothing_it_says_what_comes_nearest(tmp_path: Path) -> None:
    noise_pictures(tmp_path, {"one": 120.0, "other": 120.0}, 30, np.random.default_rng(0), side=20)
    page = tmp_path / "page.html"
    said = " ".join(call("inspect", tmp_path, "--out", page).stdout.split())
    assert said.startswith("Nothing that was measured tells the classes far enough to be a shortcut by itself. ")
    assert " comes nearest: alone it names " in said
    assert "and 0.25 is asked" in said
    assert " comes nearest: alone it names " in page.read_text(encoding="utf-8")


def test_where_a_place_tells_the_classes_the_command_that_exchanges_it_is_printed(tmp_path: Path) -> None:
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    noise_pictures(photos, {"bare": 120.0, "stamped": 120.0}, 30, np.random.default_rng(0), side=32)
    for path in (photos / "stamped").iterdir():
        with Image.open(path) as image:
            image.paste((250, 250, 250), (25, 25, 31, 31))
            image.save(path)
    said = call("inspect", photos, "--out", page).stdout
    ready = f"learn --data folder:{photos} --exchange 0.75,0.75,1,1"
    assert f"    python cli.py {ready}\n" in said
    assert f"<pre>conceptnet-ml {ready}</pre>" in page.read_text(encoding="utf-8")
    found = json.loads(call("inspect", photos, "--json").stdout)["findings"]
    commands = {one["about"]: one.get("command") for one in found}
    assert commands["place"] == f"conceptnet-ml {ready}"
    assert commands.pop("border", None) in (None, commands["place"]), "the mark lies near the edge, it is no frame"
    del commands["place"]
    assert not any(commands.values()), "what stands in no place has none"
    done = call(*ready.split(), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["exchanged first"].startswith("0.75,0.75,1,1 (x 24 to 32, y 24 to 32 px)")


def test_json_alone(photos: Path) -> None:
    done = call("inspect", f"folder:{photos}", "--json", "--set", "data.train_limit=20", "--trap", "tint")
    found = json.loads(done.stdout)
    assert found["images"]["train"] == {"bright": 20, "dark": 20}
    assert found["properties"][0]["level"] == "very strong"
    assert found["chance"] == 0.5
    assert found["page"] is None


def test_a_broken_file_is_listed(photos: Path) -> None:
    broken = photos / "dark" / "x.png"
    broken.write_text("nothing")
    try:
        done = call("inspect", photos)
        assert done.returncode == 0
        assert "dark/x.png" in " ".join(done.stdout.split())
    finally:
        broken.unlink()


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        ((), 3, "is empty"),
        (("a.png",), 3, "holds images but no folders of classes"),
        (("one/a.png",), 3, "one class only"),
        (("one/a.png", "two/a.png"), 3, "cannot be read"),
        (("one/a.txt", "two/a.txt"), 3, "too few training images"),
    ],
)
def test_what_cannot_be_looked_at_is_said(tmp_path: Path, make: tuple[str, ...], code: int, message: str) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for name in make:
        for copy in range(4):
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.with_stem(f"{path.stem}{copy}").write_text("broken")
    done = call("inspect", root)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["inspect"], 2, "Missing argument"),
        (["inspect", "folder:nowhere"], 3, "no such folder"),
        (["inspect", "nowhere"], 2, "nowhere"),
        (["inspect", "/no/where"], 3, "/no/where: no such folder"),
        (["inspect", "cars-and-poodles", "--set", "data.clases=a,b"], 2, "Did you mean 'data.classes'?"),
        (["inspect", "cars-and-poodles", "--trap", "wheel"], 2, "Did you mean 'wheels'?"),
    ],
)
def test_mistakes(words: list[str], code: int, message: str) -> None:
    done = call(*words)
    assert done.returncode == code
    assert message in done.stderr
    assert "after folder:" not in done.stderr, "which may not have been typed"
