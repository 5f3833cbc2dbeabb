"""The plugin manager on real files and real installed distributions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conceptnet_ml.errors import PluginError, SettingsError
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.records import KINDS, Generalizer, Representation

GOOD = """
from conceptnet_ml import Trap, hookimpl

@hookimpl
def conceptnet_traps():
    return [Trap(name="{name}", api="{api}", summary="a cue", plant=lambda images, cues, seeds: images)]
"""


def write(folder: Path, file: str, text: str = GOOD, name: str = "dots", api: str = "1") -> Path:
    path = folder / file
    path.write_text(text.replace("{name}", name).replace("{api}", api))
    return path


def load(path: Path | None, use_entry_points: bool = True) -> tuple[Plugins, list[str]]:
    warnings: list[str] = []
    return load_plugins(path, use_entry_points, warn=warnings.append), warnings


def traps(plugins: Plugins) -> list[str]:
    return [record.name for record in plugins.all("trap")]


def test_built_ins_come_through_entry_points_and_all_work() -> None:
    plugins, warnings = load(None, use_entry_points=False)
    assert warnings == []
    assert plugins.broken == []
    for kind in KINDS:
        assert kind == "command" or plugins.all(kind), kind
    assert {plugins.origin(record) for kind in KINDS for record in plugins.all(kind)} == {"built-in"}
    assert callable(plugins.get("trap", "wheels").function("plant"))


def test_a_file_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, "my plugin.py")
    before = list(sys.path)
    plugins, warnings = load(path)
    record = plugins.get("trap", "dots")
    assert record.summary == "a cue"
    assert plugins.origin(record) == str(path)
    assert warnings == []
    assert sys.path == before


def test_a_folder_is_loaded_in_order_and_without_private_files(tmp_path: Path) -> None:
    order = "import pathlib; pathlib.Path(__file__).with_name('order').open('a').write('{name} ')\n"
    for file, name in (("b.py", "second"), ("a.py", "first"), ("_c.py", "hidden"), ("notes.txt", "text")):
        write(tmp_path, file, order + GOOD, name)
    plugins, _ = load(tmp_path)
    assert (tmp_path / "order").read_text() == "first second "
    assert {"first", "second"} < set(traps(plugins))
    assert "hidden" not in traps(plugins)


def test_two_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder, "same.py", name=folder)
        plugins, _ = load(path)
        module = sys.modules[plugins.get("trap", folder).plant.__module__]  # type: ignore[attr-defined]
        assert module.__file__ == str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise BaseException('x')", "x"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("raise SystemExit(1)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("x = 1", "registers nothing"),
        (GOOD.replace("conceptnet_traps", "conceptnet_trap"), "Did you mean 'conceptnet_traps'?"),
        (GOOD.replace("conceptnet_traps()", "conceptnet_traps(extra=1)"), "no arguments"),
        (GOOD.replace("conceptnet_traps()", "conceptnet_traps(extra)"), "extra"),
        (GOOD.replace("@hookimpl", "@hookimpl(wrapper=True)").replace("return [", "yield\n    return ["), "not wrap"),
        (GOOD.replace("return [", "return (").replace("images)]", "images))"), "a list of Trap, not Trap"),
        (GOOD.replace("return [", "x = ["), "a list of Trap, not NoneType"),
        (GOOD.replace("return [", "return ['dots'] #"), "Trap records, not str"),
        (
            GOOD.replace("Trap(name", "Exporter(suffix='x', write=print, name").replace("Trap,", "Exporter,"),
            "TypeError",
        ),
        (GOOD.replace("lambda images, cues, seeds: images", "'nowhere'"), "plant must be a function"),
        (GOOD.replace("lambda images, cues, seeds: images", "3"), "plant must be a function"),
        (GOOD.replace("{name}", "a+b"), "is no name"),
        (GOOD.replace('"{name}"', "[]"), "is no name"),
        (GOOD.replace('api="{api}"', 'api="2.1"'), "written for plugin interface 2.1, this program offers 1"),
        (GOOD.replace("images)]", "images)] * 2"), "two records for trap 'dots'"),
        (GOOD.replace("return [", "raise KeyError('oh')\n    return ["), "KeyError"),
    ],
)
def test_a_bad_plugin_is_skipped_warned_about_and_listed(tmp_path: Path, text: str, reason: str) -> None:
    bad = write(tmp_path, "bad.py", text)
    write(tmp_path, "good.py", name="good")
    plugins, warnings = load(tmp_path)
    assert "good" in traps(plugins)
    assert "wheels" in traps(plugins)
    assert "dots" not in traps(plugins)
    [(source, error)] = plugins.broken
    assert source == str(bad)
    assert reason in error
    assert len(warnings) == 1
    assert str(bad) in warnings[0]
    assert reason in warnings[0]


def test_a_file_that_cannot_be_imported_leaves_no_module(tmp_path: Path) -> None:
    before = set(sys.modules)
    load(write(tmp_path, "bad.py", "import no_such_module_anywhere"))
    assert not [name for name in set(sys.modules) - before if name.startswith("conceptnet_plugin_bad")]


def test_unknown_name_says_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'wheels'"):
        load(None)[0].get("trap", "wheelz")


def test_a_name_that_is_like_none_says_where_the_names_are_listed() -> None:
    with pytest.raises(SettingsError, match=r"'plugins list --kind baseline' lists all \d+\.$"):
        load(None)[0].get("baseline", "zzzz")


def test_a_data_set_that_is_no_name_may_have_been_meant_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is none named photoz here"):
        load(None)[0].get("dataset", "photoz")


def test_unknown_name_says_which_plugin_could_not_be_loaded(tmp_path: Path) -> None:
    plugins, _ = load(write(tmp_path, "bad.py", "import no_such_module_anywhere"))
    with pytest.raises(SettingsError, match=r"bad\.py.*no_such_module_anywhere"):
        plugins.get("trap", "dots")


def test_a_setting_that_names_a_broken_plugin_is_a_plugin_error(tmp_path: Path) -> None:
    plugins, _ = load(write(tmp_path, "new.py", api="2"))
    with pytest.raises(PluginError, match=r"new\.py.*interface 2") as caught:
        plugins.get("trap", "dots")
    assert caught.value.exit_code == 4


def test_two_sources_of_one_name_are_an_error_when_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", name="wheels")
    plugins, warnings = load(path)
    assert "wheels" not in traps(plugins)
    assert "tint" in traps(plugins)
    assert len(plugins.broken) == len(warnings) == 1
    with pytest.raises(PluginError, match="'wheels' is registered by") as caught:
        plugins.get("trap", "wheels")
    assert str(path) in str(caught.value)
    assert "conceptnet_plugins.traps" in str(caught.value)


def test_minor_versions_of_the_interface_are_accepted(tmp_path: Path) -> None:
    assert "dots" in traps(load(write(tmp_path, "new.py", api="1.7"))[0])


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "plugins"
    if make:
        folder.mkdir()
    with pytest.raises(SettingsError, match="--plugins-dir"):
        load(folder)


def test_installed_plugins_come_by_entry_point_and_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "dotted_plugin.py")
    info = tmp_path / "dotted-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dotted\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[conceptnet_ml]\ndots = dotted_plugin\nlost = dotted_elsewhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins, warnings = load(None)
    assert plugins.origin(plugins.get("trap", "dots")) == "dotted 1.2 (dotted_plugin)"
    assert len(warnings) == 1
    assert "dotted 1.2 (dotted_elsewhere)" in warnings[0]
    plugins, warnings = load(None, use_entry_points=False)
    assert "dots" not in traps(plugins)
    assert "wheels" in traps(plugins)
    assert warnings == []


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        ("images + None", r"trap 'dots': plant failed: TypeError: .* \(own\.py, line 6\)"),
        ("__import__('json').loads('{')", r"trap 'dots': plant failed: JSONDecodeError: .* \(own\.py, line 6\)"),
    ],
)
def test_what_a_plugins_function_raises_bears_its_name(tmp_path: Path, plant: str, words: str) -> None:
    text = GOOD.replace("seeds: images", f"seeds: {plant}")
    record = load(write(tmp_path, "own.py", text))[0].get("trap", "dots")
    with pytest.raises(PluginError, match=words) as caught:
        record.function("plant")(1, None, None)
    assert caught.value.__cause__ is not None
    with pytest.raises(PluginError, match=r"plant failed: TypeError: .*3 required.* \(own\.py\)"):
        record.function("plant")()


def test_an_error_in_a_built_in_plugin_is_a_bug_of_ours() -> None:
    with pytest.raises(TypeError):
        load(None)[0].get("trap", "wheels").function("plant")()


def test_an_unknown_kind_is_a_mistake_in_the_code() -> None:
    with pytest.raises(ValueError, match="trap"):
        Plugins().all("traps")


def test_loading_imports_neither_torch_nor_networkx() -> None:
    code = (
        "import sys; from conceptnet_ml.plugins import load_plugins; load_plugins(None, False);"
        "print(sorted({'torch', 'networkx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_folder_of_built_ins_is_in_the_wheel_and_the_entry_points() -> None:
    root = Path(__file__).parents[2]
    text = (root / "pyproject.toml").read_text()
    for folder in sorted(path.name for path in (root / "plugins").iterdir() if (path / "__init__.py").exists()):
        assert f'"conceptnet_plugins.{folder}",' in text
        assert f'{folder} = "conceptnet_plugins.{folder}"' in text
    for folder in sorted(path.name for path in (root / "conceptnet_ml").iterdir() if (path / "__init__.py").exists()):
        assert f'"conceptnet_ml.{folder}",' in text


def test_what_a_plugins_function_returned_is_its_own_too() -> None:
    class Detector:
        def __call__(self, maps: object) -> object:
            raise RuntimeError("expected 12 channels")

    record = Generalizer(name="mine", api="1", merge=lambda evidence: Detector())
    with pytest.raises(PluginError, match=r"generalizer 'mine': merge failed: RuntimeError: expected 12 channels"):
        record.guard("merge", Detector())(None)
    with pytest.raises(PluginError, match=r"generalizer 'mine': merge: logits must be \(2, 1\), not \(2, 3\)"):
        record.must_return("merge", "logits", SimpleNamespace(shape=(2, 3)), (2, 1))
    with pytest.raises(PluginError, match="not NoneType"):
        record.must_return("merge", "logits", None, (2, 1))


@pytest.mark.parametrize("gate", ["places", "", "Place"])
def test_a_gate_that_is_none_is_refused_when_the_plugin_is_loaded(gate: str) -> None:
    with pytest.raises(PluginError, match="is none of place, channel, whole"):
        Representation(name="mine", api="1", encode=str, decode=str, gate=gate)


DISTURBING = """
import os, sys, torch
print("printed by a plugin")
os.chdir("/")
sys.stdout = None
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)
torch.set_default_device("meta")
torch.autograd.set_detect_anomaly(True)
torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = True
"""


def test_a_plugin_does_not_change_what_holds_for_the_whole_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "disturbing.py", DISTURBING + GOOD)
    here, out = Path.cwd(), sys.stdout
    plugins, warnings = load(tmp_path)
    assert "dots" in traps(plugins)
    assert (Path.cwd(), sys.stdout) == (here, out)
    assert torch.tensor([1.0], requires_grad=True).sum().requires_grad
    assert torch.tensor(1.0).dtype == torch.float32
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_anomaly_enabled()
    assert not torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert torch.tensor(1.0).device.type == "cpu"
    calls = ("set_grad_enabled", "set_default_dtype", "use_deterministic_algorithms", "set_default_device")
    more = ("autograd.set_detect_anomaly", "backends.cudnn.deterministic", "backends.cudnn.benchmark")
    changed = ("the working directory", *(f"torch.{name}" for name in (*calls, *more)))
    said = [f"plugin {tmp_path / 'disturbing.py'} changes {what}, which is set back" for what in changed]
    assert warnings == said
    assert capsys.readouterr().out == ""


def test_what_the_caller_asks_of_torch_stays(tmp_path: Path) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        write(tmp_path, "dots.py")
        assert load(tmp_path)[1] == []
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        write(tmp_path, "disturbing.py", "import torch\ntorch.use_deterministic_algorithms(False)\n" + GOOD)
        assert any("torch.use_deterministic_algorithms, which is set back" in warning for warning in load(tmp_path)[1])
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_among_plugins_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    write(tmp_path, "dots.py")
    assert "dots" in traps(load(tmp_path)[0])
    with pytest.raises(SettingsError, match="there is no plugin"):
        load(tmp_path / "pipe.py")
