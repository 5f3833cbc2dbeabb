"""``config show`` and ``config validate``, the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from commands import ROOT, call

from conceptnet_ml.config.sources import known_settings


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return call("config", *words)


def test_show_prints_every_setting_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("depth = 3\n")
    done = run("show", "--config", str(path), "--set", "data.trap=wheels")
    rows = {words[0]: words for line in done.stdout.splitlines() if (words := line.split())}
    assert set(known_settings()) <= set(rows)
    assert rows["depth"][1:3] == ["3", "file"]
    assert rows["data.trap"][1:3] == ["wheels", "--set"]
    assert rows["training.epochs"][1:3] == ["16", "default"]


def test_show_as_json() -> None:
    rows = json.loads(run("show", "--json", "--set", "depth=2").stdout)["settings"]
    assert set(rows) == set(known_settings())
    depth = known_settings()["depth"].description
    assert rows["depth"] == {
        "value": 2,
        "origin": "--set",
        "allowed": "a whole number, at least 1",
        "description": depth,
    }


def test_validate_a_sound_file(tmp_path: Path) -> None:
    path = tmp_path / "sound.toml"
    path.write_text("depth = 2\n[data]\ntrap = 'wheels'\n")
    done = run("validate", str(path))
    assert done.returncode == 0
    assert done.stdout == f"{path}: sound; it sets depth=2, data.trap=wheels\n"
    assert json.loads(run("validate", str(path), "--json").stdout)["settings"] == {"depth": 2, "data.trap": "wheels"}


def test_validate_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[data]\ntrapp = 'wheels'\n")
    done = run("validate", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert str(path) in done.stderr
    assert "Did you mean 'data.trap'?" in done.stderr


def test_show_imports_neither_torch_nor_networkx() -> None:
    code = (
        "import sys\nfrom conceptnet_ml.cli.main import app\n"
        "try: app(['config', 'show'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'networkx'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"
