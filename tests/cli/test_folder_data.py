"""Pictures that are not square in folders, with test sets by name and groups: the real commands, learn to predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, call
from PIL import Image

from conceptnet_ml import open_run

pytestmark = pytest.mark.usefixtures("hasty")

SMALL = f"""
[data]
trap = "tint"
holdout = 0.4
[training]
least_steps = 0
epochs = 2
batch = 16
[round]
limit = 1
epochs = 1
purify = 0
closures = 0
[probe]
steps = 2
[dreams]
witness = false
[plugins]
controls = []
dreamer = "none"
{COARSE}"""
LEVELS = {"bright": 150, "dark": 100}


def pictures(folder: Path, names: list[str], count: int, size: tuple[int, int] = (64, 32)) -> None:
    """``count`` pictures of (H, W) px for each class: noise around a brightness."""
    noise = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.clip(noise.normal(LEVELS[name], 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 64 × 32 px with two test sets and their groups; and folders of other shapes."""
    root = tmp_path_factory.mktemp("folders")
    both = [*LEVELS]
    pictures(root / "photos" / "train", both, 30)
    pictures(root / "photos" / "test", both, 12)
    pictures(root / "photos" / "tests" / "night", ["dark"], 5)
    pictures(root / "new" / "test", both, 4, (50, 60))
    pictures(root / "new" / "test-dusk", ["dark"], 3, (40, 20))
    lines = [f"test/{name}/{index:02d}.png,{('in', 'out')[index % 2]}" for name in both for index in range(11)]
    (root / "groups.csv").write_text("\n".join(["file,group", *lines]))
    (root / "small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def learned(folder: Path) -> Path:
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}"]
    words += ["--out", folder / "run", "--keep", "block3/classes/1"]
    words += ["--set", f"data.groups={folder / 'groups.csv'}", "--target", folder / "new"]
    done = call(*words, "--json")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_learn_keeps_the_shape_and_measures_every_set_and_group(learned: Path) -> None:
    summary = json.loads((learned / "summary.json").read_text())
    sets = summary["test_sets"]
    assert {name: row["images"] for name, row in sets.items() if name in ("test", "night")} == {"test": 24, "night": 5}
    assert "groups" not in sets["night"]["learned"]
    for name, groups in (
        ("test", ["bright, in", "bright, out", "dark, in", "dark, out"]),
        ("conflict", ["bright, tint of dark", "dark, tint of bright"]),
    ):
        found = sets[name]["learned"]["groups"]
        assert list(found) == groups
        assert sets[name]["learned"]["worst_group"]["accuracy"] == min(one["accuracy"] for one in found.values())
    assert [one["images"] for one in sets["test"]["learned"]["groups"].values()] == [6, 5, 6, 5]
    assert any("7 test images are in no group" in note for note in summary["notes"])
    assert summary["target"]["images"] == 11
    model = json.loads((learned / "model.json").read_text())
    assert model["image_size"] == model["read_size"] == [64, 32]
    lines = (learned / "summary.txt").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("│ random"))
    worst = sets["random"]["learned"]["worst_group"]["accuracy"]
    assert "… worst group" in lines[place + 1]
    assert f"{100 * worst:.1f}" in lines[place + 1]
    assert "worst" not in lines[next(number for number, line in enumerate(lines) if line.startswith("│ aligned")) + 1]


def test_evaluate_shows_the_worst_group_and_with_a_flag_all(learned: Path) -> None:
    rows = json.loads(call("evaluate", learned, "--json").stdout)["test_sets"]
    assert list(rows["random"]["ordinary"]["groups"])
    short, long = (call("evaluate", learned, *words).stdout.splitlines() for words in ((), ("--groups",)))
    assert sum("… worst group" in line for line in short) == 5, "all but night, which no group is in"
    assert not any("… dark, in" in line for line in short)
    line = next(line for line in long if "… dark, in" in line)
    assert line.split()[3] == "6"
    assert f"{100 * rows['test']['learned']['groups']['dark, in']['accuracy']:.1f}" in line


def test_evaluate_takes_a_folder_of_test_sets_alone(folder: Path, learned: Path) -> None:
    words = ["evaluate", learned, "--data", f"folder:{folder / 'new'}", "--target", folder / "new", "--json"]
    done = call(*words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: row["images"] for name, row in found["test_sets"].items()} == {"test": 8, "dusk": 3}
    assert found["target"]["images"] == 11
    assert open_run(learned).images(folder / "new", minimum=0).shape == (3, 64, 32)
    refused = call("adapt", learned, "--data", f"folder:{folder / 'new'}", "--shots", "2")
    assert refused.returncode == 3
    assert "no 'train' folder" in refused.stderr


def test_predict_and_dream_in_that_shape(folder: Path, learned: Path) -> None:
    picture = folder / "new" / "test" / "dark" / "00.png"
    row = json.loads(call("predict", learned, picture, "--json").stdout)["images"][0]
    assert row["class"] in LEVELS
    words = ["dream", learned, "--class", "dark", "--from", picture, "--steps", "1", "--out", folder / "dreams"]
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert Image.open(next((folder / "dreams").glob("*from*.png"))).size == (32, 64)


def test_mistakes_in_groups_are_named_before_anything_is_written(folder: Path) -> None:
    words = ["learn", "--data", f"folder:{folder / 'photos'}", "--out", folder / "none", "--set"]
    done = call(*words, "data.groups=folder")
    assert done.returncode == 3
    assert "data.groups: folder: no such file" in done.stderr
    assert "Give none, folders, or the path of a CSV file" in done.stderr
    assert not (folder / "none").exists()


def test_a_run_whose_trap_changes_the_size_reads_pictures_as_before_it(folder: Path) -> None:
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}", "--trap", "dominoes"]
    done = call(*words, "--set", "round.limit=0", "--out", folder / "high", "--json")
    assert done.returncode == 0, done.stderr
    model = json.loads((folder / "high" / "model.json").read_text())
    assert (model["image_size"], model["read_size"]) == ([128, 32], [64, 32])
    new = folder / "new"
    done = call("evaluate", folder / "high", "--data", f"folder:{new}", "--target", new, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test_sets"]["test"]["images"] == 8
    assert open_run(folder / "high").images(new, minimum=0).shape == (3, 64, 32)
    assert call("predict", folder / "high", new / "test" / "dark" / "00.png").returncode == 0
