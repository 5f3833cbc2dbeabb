"""Help, version, usage errors and exit codes of the real command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call

from conceptnet_ml import __version__
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.storage.run_folder import Run

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "learn",
    "evaluate",
    "predict",
    "adapt",
    "bench",
    "inspect",
    "report",
    "compare",
    "dream",
    "graph",
    "config",
    "plugins",
)
RAISING = """
import typer
from conceptnet_ml import Command, hookimpl
from conceptnet_ml.errors import DataError, PluginError

def register(app):
    @app.command("break-down")
    def break_down(how: str):
        "Break down."
        raise {"bug": ZeroDivisionError("[oh]"), "data": DataError("bad [x]", "mend it"),
               "plugin": PluginError("odd"), "interrupt": KeyboardInterrupt()}[how]

    @app.command("learn")
    def learn():
        "Not ours."

@hookimpl
def conceptnet_commands():
    return [Command(name="break-down", api="1", register=register)]
"""


def run(*words: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    found = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"} | environment
    if path is not None:
        found["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "cli.py", *words], cwd=ROOT, env=found, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder on the path with an installed plugin package that adds commands."""
    (tmp_path / "breaking_plugin.py").write_text(RAISING)
    info = tmp_path / "breaking-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: breaking\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[conceptnet_ml]\nbreak = breaking_plugin\n")
    return tmp_path


def test_a_folder_without_its_flag_is_answered_with_the_flag() -> None:
    for words in (["learn", "photos"], ["evaluate", "runs/it", "photos"]):
        done = call(*words)
        assert done.returncode == 2
        assert f"Pictures are given by a flag: {words[0]} --data photos" in " ".join(done.stderr.split())


def test_help_lists_every_command_and_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"│ {command} " in done.stdout for command in COMMANDS)
    assert "conceptnet-ml learn --depth 2" in done.stdout
    assert done.stderr == ""


def test_help_imports_neither_torch_nor_networkx() -> None:
    """Of any command; all in one process, which starts as the program does."""
    commands = ["", *COMMANDS, "plugins list", "config show", "graph show"]
    code = f"""
import contextlib, io, sys
from conceptnet_ml.cli.main import app
for command in {commands}:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        app([*command.split(), "--help"], prog_name="cli.py")
    assert f"cli.py {{command}}".strip() in text.getvalue(), command
    heavy = {{"torch", "networkx", "torchvision", "numpy"}} & set(sys.modules)
    assert not heavy, f"{{command}} --help imports {{heavy}}"
assert "typer" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


SLIPS = {
    "learn --data folder:photo": "Did you mean 'photos'?",
    "learn --data folder:phots/train": "Did you mean 'photos/train'?",
    "learn --data photo": "Did you mean 'photos'?",
    "learn --data photos --dry-run --target fotos": "data.target: fotos: no such folder",
    "learn --data csv:photos/lables.csv": "Did you mean 'photos/labels.csv'?",
    "learn --data photos --backbone resnet18": "Did you mean torchvision:resnet18, or timm:resnet18?",
    "learn --data photos --backbone smal": "Did you mean 'small'?",
    "learn --data photos --set network.weights=photos/net.pt": "'photos/net.pt' does not exist",
    "learn --data photos --trap wheelz": "Did you mean 'wheels'?",
    "learn --data photos --control zzzz": "Known: amplify-ungated, ",
    "learn --data photos --set plugins.dreamer=zzzz": "Known: deepdream, ",
    "learn --data photos --keep block3": "not the name of a round",
    "learn --data photos --exchange cellar": "'cellar' names no place",
    "learn --resume runs/frist": "Did you mean 'runs/first'?",
    "inspect photo": "Did you mean 'photos'?",
    "inspect photos --trap wheelz": "Did you mean 'wheels'?",
    "predict runs/frist photo.jpg": "Did you mean 'runs/first'?",
    "evaluate runs/frist": "Did you mean 'runs/first'?",
    "adapt runs/frist": "Did you mean 'runs/first'?",
    "adapt runs/begun --data folder:photso": "photso: no such folder.\n  Did you mean 'photos'?",
    "adapt runs/begun --data fodler": "Did you mean 'folder'?",
    "evaluate runs/begun --data ./photso": "Did you mean 'photos'?",
    "evaluate runs/begun --device gpu": "--device 'gpu' is unknown\n  Did you mean 'cpu'?",
    "learn --device gpu": "--device 'gpu' is unknown",
    "learn --set device=cuda:one": "--device 'cuda:one' is unknown",
    "learn --resume runs/begun --device gpu": "--device 'gpu' is unknown",
    "bench --device gpu": "--device 'gpu' is unknown",
    "dream runs/frist --out new": "Did you mean 'runs/first'?",
    "dream runs/first --out new": "runs/first",
    "dream runs/begun --out new --device gpu": "--device 'gpu' is unknown",
    "dream nope --out new": "'nope' is neither a run folder nor a network",
    "report runs/frist": "Did you mean 'runs/first'?",
    "compare runs/frist@1 runs/first": "Did you mean 'runs/first'?",
    "graph undo runs/frist": "Did you mean 'runs/first'?",
}
"""Words that are wrong, and what is said of them."""


def test_wrong_names_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    """It takes seconds. All in one process, which starts as the program does."""
    for folder in ("photos/train", "runs/first"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "photos" / "labels.csv").touch()
    Run.create(tmp_path / "runs" / "begun", Settings().model_dump(mode="json"), {}, {}, __version__).close()
    code = f"""
import contextlib, io, sys
from conceptnet_ml.cli.main import app
for command, said in {SLIPS}.items():
    with contextlib.redirect_stderr(io.StringIO()) as text, contextlib.suppress(SystemExit):
        app(command.split(), prog_name="cli.py")
    assert said in text.getvalue(), (command, text.getvalue())
    heavy = {{"torch", "torchvision"}} & set(sys.modules)
    assert not heavy, f"{{command}} imports {{heavy}}"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_every_flag_of_learn_is_explained() -> None:
    text = call("learn", "--help").stdout
    flags = (
        "depth data trap root download skip-bad memory backbone control config set seed device dry-run json out resume"
    )
    for flag in [*flags.split(), "plugins-dir", "no-plugins"]:
        assert f"--{flag} " in text, flag
    said = " ".join(text.replace("│", " ").split())
    assert "[default: cars-and-poodles]" in said
    keep, undo = said[said.index("--keep") :].split("--undo")[:2]
    assert re.findall(r"block3/\S+[\w]", keep) == ["block3/classes/2/pixels", "block3/classes/2/pixels:outside"]
    assert re.findall(r"block3/\S+[\w]", undo) == ["block3/classes/2", "block3/classes/2/pixels"]


def test_at_80_columns_switches_take_no_value_and_what_is_needed_comes_first() -> None:
    graph = ("show", "export", "check", "query", "path", "diff", "merge", "split", "forget", "undo", "log")
    lines = {}
    for words in ("", *COMMANDS, *(f"graph {word}" for word in graph), "plugins show", "config show"):
        text = call(*words.split(), "--help", COLUMNS="80").stdout
        assert not {"<bool>", "<float>"} & {*text.split()}, words
        lines[words] = text.splitlines()
        prose = lines[words][: next(n for n, line in enumerate(lines[words]) if line.startswith("╭"))]
        assert not [line for line in prose if 0 < len(line.split()) < 3 and not line.rstrip().endswith(".")], words
    panels = [line.split("─ ")[1].split(" ─")[0] for line in lines["learn"] if line.startswith("╭")]
    assert panels[:4] == ["Options", "Images", "Learning", "Decide rounds yourself"]
    needed = next(n for n, line in enumerate(lines["dream"]) if "--out " in line)
    assert needed < next(n for n, line in enumerate(lines["dream"]) if "What to dream of" in line)


def test_version() -> None:
    assert run("--version").stdout == f"conceptnet-ml {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["lern"], 2, "Did you mean 'learn'?"),
        (["learn", "--depht", "2"], 2, "--depth"),
        (["learn", "--epochs", "3"], 2, "--set training.epochs=3 or --set"),
        (["learn", "--train-limit=9"], 2, "--set data.train_limit=9"),
        (["learn", "--depth", "0"], 2, "--depth: '0' is not allowed"),
        (["learn", "--set", "trap=x"], 2, "Did you mean 'data.trap'?"),
        (["learn", "--plugins-dir", "nowhere", "--dry-run"], 2, "--plugins-dir: 'nowhere' does not exist"),
        (["learn", "--plugins-dir", "x", "--no-plugins", "--dry-run"], 2, "contradict"),
        (["learn", "--out", "a", "--resume", "b"], 2, "--out and --resume contradict"),
        (["learn", "--resume", "nowhere"], 3, "nowhere"),
        (["evaluate"], 2, "Missing argument"),
        (["evaluate", "nowhere"], 3, "nowhere"),
        (["predict", "nowhere", "photo.png"], 3, "nowhere"),
        (["adapt", "nowhere"], 3, "nowhere"),
        (["adapt", "nowhere", "--shots", "0"], 2, "--shots"),
    ],
)
def test_mistakes_are_named_and_coded(words: list[str], code: int, message: str) -> None:
    done = call(*words)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [["lern"], ["learn", "--depth", "0"], ["learn", "--resume", "nowhere"]])
def test_a_process_ends_as_the_program_says(words: list[str]) -> None:
    """What the other tests of mistakes rest on."""
    real, same = run(*words), call(*words)
    assert (real.returncode, real.stdout, real.stderr) == (same.returncode, same.stdout, same.stderr)


def test_commands_of_plugins_are_listed_and_run(installed: Path) -> None:
    assert "break-down" in run("--help", path=installed).stdout
    assert run("break-down", "--help", path=installed).returncode == 0
    assert "--depth" in run("learn", "--help", path=installed).stdout


def test_a_broken_plugin_does_not_stop_the_help(installed: Path) -> None:
    (installed / "breaking_plugin.py").write_text("import no_such_module_anywhere")
    done = run("--help", path=installed)
    assert done.returncode == 0
    assert "warning: plugin skipped: breaking 0.1" in done.stderr


WHERE = (
    "bug: ZeroDivisionError: [oh] (breaking_plugin.py, line LINE)\n"
    "  To see where: python cli.py --debug break-down bug\n"
)


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("bug", 1, WHERE),
        ("data", 3, "error: bad [x]\n  mend it\n"),
        ("plugin", 4, "error: odd\n"),
        ("interrupt", 130, ""),
    ],
)
def test_errors_become_exit_codes(installed: Path, how: str, code: int, words: str) -> None:
    done = run("break-down", how, path=installed)
    assert (done.returncode, re.sub(r"line \d+", "line LINE", done.stderr)) == (code, words)


def test_debug_shows_where(installed: Path) -> None:
    done = run("--debug", "break-down", "bug", path=installed)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "breaking_plugin.py" in done.stderr


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ["--set", "data.train_limit=40", "--out", str(out), "--dry-run"]
    done = run("learn", "--depth", "2", *small, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "car, poodle" in done.stdout
    assert "depth=2" in done.stdout
    assert not out.exists()
    done = run("learn", *small, "--json", OMP_NUM_THREADS="1")
    assert json.loads(done.stdout)["settings"]["data"]["train_limit"] == 40


def test_a_dry_run_refuses_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    done = call("learn", "--out", tmp_path, "--dry-run")
    assert done.returncode == 3
    assert "holds a run already" in done.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    # as in `cli.py bench --help | head -1`
    process = subprocess.Popen(
        [sys.executable, "cli.py", "bench", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 1


def test_examples_fit_a_window_of_80_columns() -> None:
    """A command that is broken in two cannot be copied; and what it does stands above it where there is no room."""
    import typer
    from rich.text import Text

    from conceptnet_ml.cli import options
    from conceptnet_ml.cli.main import app

    one = Text.from_markup(options.examples(("learn --depth 2", "two stages deep"))).plain
    assert one == "Examples\nconceptnet-ml learn --depth 2  two stages deep"
    two = Text.from_markup(options.examples((f"learn --data folder:{'photos' * 5}", "a folder of your own"))).plain
    assert two == f"Examples\n# a folder of your own\nconceptnet-ml learn --data folder:{'photos' * 5}"
    commands = [typer.main.get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        lines = Text.from_markup(command.epilog or "").plain.splitlines()
        assert max(map(len, lines), default=0) <= options.HELP_WIDTH, command.name
    assert len(commands) > 20


def test_hints_name_the_program_as_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from conceptnet_ml.cli.options import program

    script = tmp_path / "bin" / "conceptnet-ml"
    script.parent.mkdir()
    script.write_text("")
    script.chmod(0o755)
    for typed, path, told in (
        ("cli.py", "", "python cli.py"),
        ("/far/my code/cli.py", "", "python '/far/my code/cli.py'"),
        (str(script), str(script.parent), "conceptnet-ml"),
        (str(script), "/nowhere", str(script)),
        ("pytest", "", "conceptnet-ml"),
    ):
        monkeypatch.setattr("sys.argv", [typed])
        monkeypatch.setenv("PATH", path)
        assert program() == told
