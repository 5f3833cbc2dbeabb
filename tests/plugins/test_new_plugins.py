"""``plugins new``: of every kind a plugin that loads, keeps its contract and is clean; ``check_plugin`` finds what is
not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, call

from conceptnet_ml import PluginError, SettingsError, load_plugins
from conceptnet_ml.cli.plugins import show_plugin
from conceptnet_ml.records import KINDS
from conceptnet_ml.scaffold.plugin_files import USES, new_plugin, usage
from conceptnet_ml.testing import CHECKS, PROMISES, check_plugin

NAMES = ("one", "a-rather-long-name-with-30-signs")


def cleans(*paths: Path) -> None:
    if shutil.which("ruff") is None:
        pytest.skip("ruff is not installed")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            ["ruff", *words, "--config", str(ROOT / "pyproject.toml"), *map(str, paths)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_every_kind_has_checks_and_a_use() -> None:
    assert set(CHECKS) == set(PROMISES) == set(USES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_loads_and_keeps_its_contract(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = new_plugin("mine-1", kind, tmp_path)
    assert made.written == (tmp_path / "mine_1.py",)
    plugins = load_plugins(made.plugin, use_entry_points=False)
    assert plugins.broken == []
    assert plugins.origin(plugins.get(kind, "mine-1")) == str(made.plugin)
    assert [record.name for record in check_plugin(made.plugin)] == ["mine-1"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{kind} 'mine-1' keeps its contract (")
    assert line.endswith(f"): {PROMISES[kind]}.")


def test_new_plugins_are_clean_whatever_their_name(tmp_path: Path) -> None:
    for kind in KINDS:
        for name in NAMES:
            new_plugin(name, kind, tmp_path / kind)
        new_plugin("pack", kind, tmp_path / kind, package=True)
    cleans(tmp_path)


def test_a_package_has_an_entry_point_and_a_test_that_passes(tmp_path: Path) -> None:
    made = new_plugin("soft-dots", "trap", tmp_path, package=True)
    root = tmp_path / "soft-dots"
    assert {path.relative_to(root).as_posix() for path in made.written} == {
        "soft_dots.py",
        "pyproject.toml",
        "tests/test_soft_dots.py",
    }
    assert '[project.entry-points.conceptnet_ml]\nsoft_dots = "soft_dots"' in (root / "pyproject.toml").read_text()
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests")]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_installed_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_plugin("soft-dots", "trap", tmp_path, package=True)
    monkeypatch.syspath_prepend(tmp_path / "soft-dots")
    info = tmp_path / "soft-dots" / "conceptnet_soft_dots-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: conceptnet-soft-dots\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[conceptnet_ml]\nsoft_dots = soft_dots\n")
    assert [record.name for record in check_plugin("conceptnet-soft-dots")] == ["soft-dots"]
    with pytest.raises(PluginError, match="conceptnet-other: no plugin was found"):
        check_plugin("conceptnet-other")


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "said"),
    [
        ("trap", "planted = images.clone()", "planted = images.float()", r"planted.dtype == torch.uint8"),
        ("trap", "(230, 25)", "(230, 230)", "assert not torch.equal"),
        ("representation", "encoding.square()", "encoding", "not close"),
        ("stop_rule", "keep = ", "keep = True or ", "assert not decide"),
        ("dataset", "(400, 200)", "(1, 200)", "a class without training images"),
        ("exporter", "node.title", "node.nothing", "no attribute 'nothing'"),
        ("dreamer", 'summary="64 steps of smooth pixels"', 'summary=""', "summary must be one line"),
        ("generalizer", "api=", "apis=", "apis"),
    ],
)
def test_a_broken_promise_is_named(kind: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    plugin = new_plugin("it", kind, tmp_path).plugin
    text = plugin.read_text(encoding="utf-8")
    assert right in text
    plugin.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(PluginError, match=f"(?s)it.*{said}"):
        check_plugin(plugin)


@pytest.mark.parametrize("name", ["", "1st", "a b", "A", "ü", "class", "../x", "a:b"])
def test_what_cannot_be_a_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot name a plugin"):
        new_plugin(name, "trap", tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    new_plugin("mine", "trap", tmp_path)
    with pytest.raises(SettingsError, match="is there already"):
        new_plugin("mine", "dreamer", tmp_path)


def test_how_a_plugin_is_chosen() -> None:
    assert usage("trap", "dots", "--plugins-dir dots.py") == "learn --plugins-dir dots.py --trap dots"
    assert usage("exporter", "my-csv") == "graph export RUN --format my-csv --out graph.my_csv"
    usual = "learn --set plugins.representations=colour,exposure,sharpness,fourier,blocks,waves,pixels"
    assert usage("representation", "mine") == f"{usual},mine", "the default ones stay"
    assert usage("representation", "colour") == usual


# ------------------------------------------------------------------------------------------------ the real commands


def test_the_command_says_what_was_written_and_how_to_go_on(tmp_path: Path) -> None:
    done = call("plugins", "new", "dots", "--kind", "stop-rule", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'dots.py'}" in done.stdout
    assert "check_plugin" in done.stdout
    assert f"--plugins-dir {tmp_path / 'dots.py'} --set plugins.stop_rule=dots" in done.stdout
    made = json.loads(call("plugins", "new", "dot", "--kind", "trap", "--package", "--out", tmp_path, "--json").stdout)
    assert len(made["written"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["new", "x"], "Missing option"),
        (["new", "x", "--kind", "trip"], "Did you mean 'trap'?"),
        (["new", "x", "--kind", "repr"], "Did you mean 'representation'?"),
        (["new", "tint", "--kind", "trap"], "There is a trap 'tint' already (built-in)"),
        (["show", "tintt"], "Did you mean 'tint'?"),
        (["show", "tint", "--kind", "dreamer"], "There is no plugin named 'tint'"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    done = call("plugins", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_show_says_what_a_plugin_is() -> None:
    done = call("plugins", "show", "tint")
    assert "trap tint (built-in)" in done.stdout
    assert "learn --trap tint" in done.stdout
    assert "plant(images: Tensor, cues" in done.stdout
    assert "Multiply the channels" in done.stdout
    both = json.loads(call("plugins", "show", "pixels", "--json").stdout)["plugins"]
    assert [one["kind"] for one in both] == ["representation", "dreamer"]
    assert both[0]["fields"]["gate"] == "place"


def test_a_plugin_that_is_in_a_file_here_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new_plugin("mine", "representation", tmp_path)
    with pytest.raises(SettingsError) as caught:
        show_plugin("mine")
    assert caught.value.mend == "Is it in mine.py? Then give --plugins-dir mine.py."
    with pytest.raises(SettingsError) as caught:
        show_plugin("min")
    assert not {"Did", "dominoes"} & set(caught.value.mend.replace(",", "").split())


def test_a_run_without_its_plugin_file_says_which(tmp_path: Path) -> None:
    plugins = load_plugins()
    plugins.expect(["some where/mine.py"])
    with pytest.raises(SettingsError, match="'mine'") as caught:
        plugins.get("representation", "mine")
    assert "The run was made with the plugin file some where/mine.py: give --plugins-dir PATH." in str(caught.value)
    plugins = load_plugins(new_plugin("mine", "representation", tmp_path).plugin)
    plugins.expect(["some where/mine.py"])
    with pytest.raises(SettingsError) as caught:
        plugins.get("representation", "other")
    assert "was made with" not in str(caught.value)
