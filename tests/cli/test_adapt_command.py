"""``adapt``, and ``evaluate`` and ``predict`` with what it saved: the real command on small pictures with a trap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import COARSE, call, noise_pictures

SMALL = f"""
[data]
trap = "tint"
holdout = 0.4
[training]
least_steps = 0
epochs = 3
batch = 16
[round]
limit = 1
epochs = 1
[probe]
steps = 2
[plugins]
controls = []
dreamer = "none"
{COARSE}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright pictures and dark ones, 50 each; a folder of the same classes; one of others; pictures without labels."""
    root = tmp_path_factory.mktemp("adapt")
    noise = np.random.default_rng(0)
    for place, names, count in (
        ("photos", ("bright", "dark"), 50),
        ("new", ("bright", "dark"), 4),
        ("other", ("bright", "dim"), 12),
    ):
        noise_pictures(root / place, dict(zip(names, (150, 100), strict=True)), count, noise)
    (root / "small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def learned(folder: Path) -> Path:
    words = ["learn", "--config", folder / "small.toml", "--data", f"folder:{folder / 'photos'}"]
    done = call(*words, "--out", folder / "run", "--json")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_adapt_to_random_cues_and_to_the_world_turned_round(learned: Path) -> None:
    for words, world, name in (((), "random cues", "random-4"), (("--turned",), "turned round", "turned-4")):
        done = call("adapt", learned, "--shots", "4", "--draws", "3", *words, "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["world"], found["saved"]["name"]) == (world, name)
        assert {"test", "aligned", "conflict", "random", "absent"} <= set(found["test_sets"])
        assert ("turned test" in found["test_sets"]) == (world == "turned round")
        row = found["test_sets"]["aligned"]
        for method in ("learned", "ordinary"):
            assert row[method]["lowest"] <= row[method]["after"] <= row[method]["highest"]
            assert found["forgotten"][method] == pytest.approx(row[method]["before"] - row[method]["after"])
        judged = json.loads(call("evaluate", learned, "--adapted", name, "--json").stdout)["test_sets"]
        for test, accuracy in found["saved"]["accuracy"].items():
            if test in judged:
                assert judged[test][f"adapted {name}"]["accuracy"] == pytest.approx(accuracy, abs=0.06)


def test_adapt_to_other_pictures_and_ask_the_adapted_model(folder: Path, learned: Path) -> None:
    words = ("adapt", learned, "--data", f"folder:{folder / 'new'}", "--shots", "2", "--draws", "2", "--out", "my new")
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert "new test" in done.stdout
    assert "Saved as 'my new'" in done.stdout
    judged = json.loads(call("evaluate", learned, "--data", f"folder:{folder / 'new'}", "--json").stdout)
    assert judged["test_sets"]["test"]["images"] == 8, "a folder without a test part is all test"
    picture = folder / "new" / "dark" / "0.png"
    rows = json.loads(call("predict", learned, picture, "--adapted", "my new", "--json").stdout)
    assert rows["images"][0]["class"] in ("bright", "dark")


def test_evaluate_compares_the_networks_on_unlabelled_pictures(folder: Path, learned: Path) -> None:
    found = json.loads(call("evaluate", learned, "--target", folder / "other", "--json").stdout)["target"]
    assert found["images"] == 24
    low, high = found["interval"]
    assert low <= found["disagreement"] <= high
    assert "disagree in" in call("evaluate", learned, "--target", folder / "other").stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--shots", "500"], 3, "500 examples per class are asked for, 'bright' has"),
        (["--data", "folder:{}/other"], 3, "the run learned bright, dark"),
        (["--data", "folder:{}/absent"], 3, "no such folder"),
        (["--data", "folder:{}/new", "--turned"], 2, "contradict"),
        (["--out", "a/b"], 2, "cannot name an adapted model"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(
    folder: Path, learned: Path, words: list[str], code: int, message: str
) -> None:
    before = sorted((learned / "adapted").glob("*"))
    done = call("adapt", learned, *(word.format(folder) for word in words))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted((learned / "adapted").glob("*")) == before


def test_an_adapted_model_that_is_not_there_is_named(learned: Path) -> None:
    done = call("evaluate", learned, "--adapted", "nothing")
    assert done.returncode == 3
    assert "no adapted model 'nothing'" in done.stderr
