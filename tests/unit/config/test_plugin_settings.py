"""Settings that plugins declare: given in every way, checked, stored, and kept by resumed runs and benches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import call

from conceptnet_ml import PluginError, Settings, SettingsError, learn, load_plugins, open_run
from conceptnet_ml.bench.cases import read_suite
from conceptnet_ml.bench.cells import CellGroup, CellStore
from conceptnet_ml.bench.runner import check_suite
from conceptnet_ml.checks import Session, with_own_settings
from conceptnet_ml.config.sources import command, fixed_digest, flatten, resolve_settings, resume_settings
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.testing import check_plugin

SHADES = '''
from pydantic import BaseModel, Field
from typing import Literal
from conceptnet_ml import Logger, Trap, hookimpl

class Shade(BaseModel):
    """How dark."""

    level: int = Field(40, ge=0, le=255, description="grey level of the first class")
    names: tuple[str, ...] = Field((), description="words")
    word: str | None = Field(None, description="one of them")
    side: Literal["left", "right"] = Field("left", description="where")
    whole: bool = Field(False, description="all of it")

class Lines(BaseModel):
    """Of a logger."""

    every: int = Field(1, ge=1, description="which")

def plant(images, cues, seeds, own):
    planted = images.clone()
    half = slice(None) if own.whole else slice(0, images.shape[3] // 4)
    planted[cues == 0, :, :, half], planted[cues == 1, :, :, half] = own.level, own.level + 1
    return planted

class Log:
    def __init__(self, folder, own):
        (folder / "own.txt").write_text(str(own.every))
    def scalars(self, figures, step): ...
    def text(self, name, words, step): ...
    def picture(self, name, path, step): ...
    def close(self): ...

@hookimpl
def conceptnet_traps():
    return [Trap(name="shade.1", api="1", plant=plant, settings=Shade, classes=2, summary="grey")]

@hookimpl
def conceptnet_loggers():
    return [Logger(name="lines", api="1", open=lambda folder, name, settings, own: Log(folder, own),
                   settings=Lines, summary="lines")]
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shades.py"
    path.write_text(SHADES)
    return path


@pytest.fixture
def plugins(file: Path) -> Plugins:
    return load_plugins(file, use_entry_points=False)


def shaded(**values: Any) -> Settings:
    return Settings.model_validate({"data": {"trap": "shade.1"}, "plugin": {"shade.1": values}})


# ------------------------------------------------------------------------------------------------ given


def test_they_are_given_by_set_by_a_file_and_from_python(plugins: Plugins, tmp_path: Path) -> None:
    toml = tmp_path / "it.toml"
    toml.write_text('[data]\ntrap = "shade.1"\n[plugin."shade.1"]\nlevel = 90\nnames = ["a", "b"]\nside = "right"\n')
    found = resolve_settings(toml, ["plugin.shade.1.level=7", "plugin.shade.1.word=none"], models=plugins.models)
    assert found.settings.plugin == {"shade.1": {"level": 7, "names": ("a", "b"), "side": "right", "word": None}}
    assert found.origins["plugin.shade.1.level"] == "--set"
    assert found.origins["plugin.shade.1.side"] == f"file {toml}"
    whole, session = with_own_settings(found.settings, Session(plugins))
    assert flatten(whole)["plugin.shade.1.whole"] is False, "what is not given has the plugin's default"
    assert session.plugins.get("trap", "shade.1").own.level == 7
    assert plugins.get("trap", "shade.1").own is None, "the plugins that were given stay as they are"
    typed = resolve_settings(None, ["plugin.shade.1.names=a, b", "plugin.shade.1.whole=true"], models=plugins.models)
    assert typed.settings.plugin == {"shade.1": {"names": ("a", "b"), "whole": True}}
    assert "plugin.shade.1.names=a,b" in command(typed.settings)


def test_settings_without_any_are_stored_as_before() -> None:
    assert "plugin" not in Settings().model_dump()
    assert "plugin" not in json.loads(Settings().model_dump_json())
    assert Settings.model_validate_json(shaded(names=["a"]).model_dump_json()) == shaded(names=("a",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("plugin.shade.1.levle=3", "shade.1 has no setting 'levle'.*Did you mean 'level'.*names, side, whole, word"),
        ("plugin.shades.1.level=3", "no plugin 'shades.1' with settings of its own is loaded.*Did you mean 'shade.1'"),
        ("plugin.wheels.level=3", "no plugin 'wheels' with settings.*--plugins-dir"),
        ("plugin.level=3", "names no plugin.*plugin.NAME.level"),
        ("plugin.shade.1=3", "no plugin 'shade'|is a group"),
        ("plugin.shade.1.level=300", "'300' is not allowed; it takes a whole number, at least 0, at most 255"),
        ("plugin.shade.1.side=up", "one of left, right"),
        ("plugin.shade.1.whole=perhaps", "true or false"),
    ],
)
def test_mistakes_say_what_there_is(plugins: Plugins, given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        resolve_settings(None, [given], models=plugins.models)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (shaded(level=300), r"plugin.shade.1.level: '300' is not allowed"),
        (shaded(level=True), r"plugin.shade.1.level: 'true' is not allowed"),
        (shaded(deep=3), r"shade.1 has no setting 'deep'"),
        (Settings.model_validate({"plugin": {"shade.1": {"level": 3}}}), "nothing that is chosen here is called"),
        (Settings.model_validate({"plugin": {"lines": {"every": 3}}}), "nothing that is chosen here is called"),
        (Settings.model_validate({"plugin": {"other": {"every": 3}}}), "no plugin 'other' with settings"),
    ],
)
def test_from_python_they_are_checked_before_anything_is_trained(
    plugins: Plugins, settings: Settings, said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said):
        learn(settings=settings, plugins=plugins, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------ declared


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("class Shade(BaseModel)", "class Shade", "must be a class of pydantic.BaseModel"),
        ("Field(40, ", "Field(", "'level' has no default"),
        (', description="words"', "", "'names' has no description"),
        ("tuple[str, ...]", "dict[str, str]", "'names' must be a number, text"),
        ("level: int", "Level: int", "'Level' is no name"),
    ],
)
def test_what_cannot_be_settings_is_a_broken_plugin(file: Path, right: str, wrong: str, said: str) -> None:
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong))
    plugins = load_plugins(file, use_entry_points=False, warn=lambda words: None)
    assert said in plugins.broken[0][1]
    assert not plugins.models


def test_two_records_of_one_name_share_their_settings_or_have_none(file: Path) -> None:
    text = file.read_text().replace('name="lines"', 'name="shade.1"')
    file.write_text(text)
    warnings: list[str] = []
    plugins = load_plugins(file, use_entry_points=False, warn=warnings.append)
    assert plugins.models == {}
    assert "two records named 'shade.1' declare different settings" in plugins.broken[0][1]
    file.write_text(text.replace("settings=Lines", "settings=Shade"))
    assert set(load_plugins(file, use_entry_points=False).models) == {"shade.1"}


def test_the_contract_holds_at_the_defaults_and_at_what_is_given(file: Path) -> None:
    assert {record.name for record in check_plugin(file)} == {"shade.1", "lines"}
    [record, _] = check_plugin(file, settings={"shade.1": {"level": 90}})
    assert record.own.level == 90
    with pytest.raises(SettingsError, match="'300' is not allowed"):
        check_plugin(file, settings={"shade.1": {"level": 300}})
    with pytest.raises(SettingsError, match="no plugin 'shade' declares any"):
        check_plugin(file, settings={"shade": {"level": 30}})
    with pytest.raises(PluginError, match="plant failed"):
        check_plugin(file, settings={"shade.1": {"level": 255}})  # 256 is 0 of 255
    file.write_text(file.read_text().replace("folder, name, settings, own: Log(folder, own)", "*a: Log(a[0], a[0])"))
    with pytest.raises(PluginError, match="'lines' declares settings, but none of its functions takes them"):
        check_plugin(file)


def test_show_has_them(file: Path) -> None:
    shown = call("plugins", "show", "shade.1", "--plugins-dir", file).stdout
    assert "--set plugin.shade.1.level=40" in shown
    assert "grey level of the first class: a whole number, at least 0, at most 255" in shown
    plain = json.loads(call("plugins", "show", "shade.1", "--plugins-dir", file, "--json").stdout)
    assert plain["plugins"][0]["settings"]["side"]["allowed"] == "one of left, right"
    listed = json.loads(call("config", "show", "--plugins-dir", file, "--json").stdout)["settings"]
    assert listed["plugin.lines.every"] == {
        "value": 1,
        "origin": "default",
        "allowed": "a whole number, at least 1",
        "description": "which",
    }


# ------------------------------------------------------------------------------------------------ kept


def test_a_resumed_run_keeps_its_own(plugins: Plugins) -> None:
    stored, _ = with_own_settings(shaded(level=7), Session(plugins))
    models = plugins.models
    same = resume_settings(stored, {}, None, ["plugin.shade.1.level=7"], models=models)
    assert same.settings == stored
    with pytest.raises(SettingsError, match=r"plugin.shade.1.level: the run has 7, --set says 8"):
        resume_settings(stored, {}, None, ["plugin.shade.1.level=8"], models=models)
    logged = ["plugins.loggers=lines", "plugin.lines.every=3"]
    more = resume_settings(stored, {}, None, logged, models=models)
    assert more.settings.plugin["lines"] == {"every": 3}, "loggers may change, and so may what is theirs"
    with pytest.raises(SettingsError, match=r"plugin.lines.every: the run has none"):
        resume_settings(stored, {}, None, ["plugin.lines.every=3"], models=models)


def test_steps_rest_on_them(plugins: Plugins) -> None:
    def digest(**changes: Any) -> str:
        whole, _ = with_own_settings(Settings.model_validate(changes), Session(plugins))
        return fixed_digest(whole.model_dump(mode="json"))

    trap, logs = {"data": {"trap": "shade.1"}}, {"plugins": {"loggers": ["lines"]}}
    assert digest(**trap) == digest(**trap, plugin={"shade.1": {"level": 40}})
    assert digest(**trap) != digest(**trap, plugin={"shade.1": {"level": 41}})
    assert digest(**logs) == digest(**logs, plugin={"lines": {"every": 4}})


def test_a_bench_keeps_them_with_its_cases(plugins: Plugins, tmp_path: Path) -> None:
    def suite(level: int) -> Any:
        (tmp_path / "it.toml").write_text(
            f'methods = ["ordinary"]\n[cases.a]\ndata.trap = "shade.1"\nplugin."shade.1".level = {level}\n'
        )
        return read_suite(tmp_path / "it.toml", models=plugins.models)

    [case] = suite(7).cases
    assert case.settings.plugin == {"shade.1": {"level": 7}}
    assert case.marks == ("plugin.shade.1.level=7",)
    check_suite(suite(7), plugins)
    store = CellStore(tmp_path / "out")
    store.begin(CellGroup(case, 0, ("ordinary",)))
    store.check(suite(7))
    with pytest.raises(SettingsError, match=r"plugin.shade.1.level was 7, is now 8"):
        store.check(suite(8))
    unset = read_suite(tmp_path / "it.toml", models=plugins.models)
    object.__setattr__(unset.cases[0].settings, "plugin", {})
    unset.cases[0].changes.pop("plugin.shade.1.level")  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=r"plugin.shade.1.level was 7, is now none"):
        store.check(unset)
    (tmp_path / "it.toml").write_text("[cases.a]\nplugin.lines.every = 2\n")
    with pytest.raises(SettingsError, match=r"case 'a': plugin.lines.every: nothing that is chosen"):
        check_suite(read_suite(tmp_path / "it.toml", models=plugins.models), plugins)


def test_a_run_has_them_from_its_command_to_its_page(file: Path, plugins: Plugins, tmp_path: Path, hasty: None) -> None:
    run = tmp_path / "run"
    small = ["data.train_limit=40", "training.epochs=1", "training.least_steps=0", "round.limit=0"]
    more = ["plugins.controls=", "plugins.dreamer=none", "plugins.loggers=lines", "plugin.lines.every=5"]
    words = [word for one in (*small, *more, "plugin.shade.1.level=9") for word in ("--set", one)]
    above = ["--set", "training.above_chance=false"]
    done = call("learn", "--out", run, "--plugins-dir", file, "--trap", "shade.1", *words, *above)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "settings.json").read_text())["settings"]["plugin"]["shade.1"]["level"] == 9
    assert (run / "logs" / "lines" / "own.txt").read_text() == "5"
    opened = open_run(run, plugins)
    assert opened.settings.plugin["shade.1"]["level"] == 9
    aligned = opened.images().tests["aligned"].take(torch.arange(4))
    assert set(aligned[:, 0, 0, 0].tolist()) <= {9, 10}, "the run's own images have them"
    page = (run / "report.html").read_text()
    assert "plugin.shade.1.level" in page
    assert "--set plugin.shade.1.level=9" in page
    assert "the plugin&#39;s default" in page
    again = call("learn", "--resume", run, "--plugins-dir", file, "--set", "plugin.shade.1.level=8")
    assert again.returncode == 2
    assert "the run has 9, --set says 8" in again.stderr
