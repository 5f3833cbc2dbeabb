"""``plugins list``, the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from commands import ROOT, call

MINE = """
from conceptnet_ml import Trap, hookimpl

@hookimpl
def conceptnet_traps():
    return [Trap(name="dots", api="1", summary="[red] dots", plant=lambda images, cues, seeds: images)]
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return call("plugins", "list", *words)


def test_lists_the_built_ins() -> None:
    done = run("--no-plugins", "--json")
    found = json.loads(done.stdout)
    names = {(row["kind"], row["name"], row["origin"]) for row in found["plugins"]}
    assert ("dataset", "cars-and-poodles", "built-in") in names
    assert ("representation", "pixels", "built-in") in names
    assert ("exporter", "graphml", "built-in") in names
    assert all(row["summary"] for row in found["plugins"])
    assert found["broken"] == []
    assert done.stderr == ""


def test_lists_ones_own_and_broken_files_without_failing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "wrong.py").write_text(MINE.replace("conceptnet_traps", "conceptnet_trap"))
    done = run("--plugins-dir", str(tmp_path))
    assert done.returncode == 0
    assert "[red] dots" in done.stdout
    assert "broken" in done.stdout
    assert "wrong.py" in done.stdout
    found = json.loads(run("--plugins-dir", str(tmp_path), "--json").stdout)
    mine = {"kind": "trap", "name": "dots", "origin": str(tmp_path / "mine.py"), "summary": "[red] dots"}
    assert mine in found["plugins"]
    assert [entry["source"] for entry in found["broken"]] == [str(tmp_path / "wrong.py")]


def test_what_is_shown_of_a_plugin_has_no_empty_fields() -> None:
    done = call("plugins", "show", "random-box")
    assert done.returncode == 0
    assert "chosen by" in done.stdout
    assert "needs" not in done.stdout, "it needs nothing"
    assert "needs       unlabelled\n" in call("plugins", "show", "divdis").stdout
    assert "'plugins list --kind baseline' lists all" in call("plugins", "show", "zz", "--kind", "baseline").stderr


def test_imports_neither_torch_nor_networkx() -> None:
    code = (
        "import sys\nfrom conceptnet_ml.cli.main import app\n"
        "try: app(['plugins', 'list', '--no-plugins'])\nexcept SystemExit: pass\n"
        "wanted = {'torch', 'networkx', 'conceptnet_plugins.traps'}\n"
        "print(sorted(wanted & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "['conceptnet_plugins.traps']"
