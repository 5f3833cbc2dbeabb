"""Commands on a disk that can only be read: those that write there say so, all others work, and nothing changes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import call, noise_runs
from torture import CHANGES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CASES = '[cases.mine]\ndata = { source = "folder:{mine}", trap = "tint" }\n'

READ = {
    "evaluate": ("evaluate", "RUN"),
    "predict": ("predict", "RUN", "PHOTOS/dark/0.png"),
    "show": ("graph", "show", "RUN"),
    "check": ("graph", "check", "RUN"),
    "query": ("graph", "query", "RUN", "--json"),
    "log": ("graph", "log", "RUN"),
    "export": ("graph", "export", "RUN", "--out", "OUT/graph.graphml"),
    "page elsewhere": ("report", "RUN", "--out", "OUT/page.html"),
    "card elsewhere": ("report", "RUN", "--card", "OUT/card.md"),
    "compare": ("compare", "RUN", "EDITED"),
    "dream elsewhere": ("dream", "RUN", "--class", "dark", "--steps", "2", "--no-cache", "--out", "OUT/dreams"),
    "inspect": ("inspect", "PHOTOS"),
    "plan": ("learn", "--data", "folder:PHOTOS", "--dry-run"),
}
WRITE = {
    "page": ("report", "RUN"),
    "rename": ("graph", "rename", "RUN", "dark", "x"),
    "annotate": ("graph", "annotate", "RUN", "dark", "x"),
    "forget": ("graph", "forget", "RUN", "block3:1"),
    "undo": ("graph", "undo", "EDITED"),
    "adapt": ("adapt", "RUN", "--data", "folder:PHOTOS", "--shots", "2", "--out", "x"),
    "dream": ("dream", "RUN", "--class", "dark", "--steps", "2", "--no-cache", "--out", "ROOT/dreams"),
    "learn": ("learn", "--data", "folder:PHOTOS", "--out", "ROOT/new"),
    "resume": ("learn", "--resume", "RUN", "--undo", "block3/classes/1"),
    "bench": ("bench", "ROOT/cases.toml", "--folder", "mine=PHOTOS", "--out", "ROOT/bench"),
    "export there": ("graph", "export", "RUN", "--out", "ROOT/graph.graphml"),
    "new plugin": ("plugins", "new", "mine", "--kind", "trap", "--out", "ROOT/plugin"),
}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a run, and one that was edited."""
    root = tmp_path_factory.mktemp("disk")
    noise_runs(root, "run", "edited")
    (root / "cases.toml").write_text(CASES)
    assert call("graph", "rename", root / "edited", "dark", "x").returncode == 0
    return root


def on_a_read_only_disk(disk: Path, out: Path, words: tuple[str, ...]) -> tuple[int, str]:
    """Carry a command out in a child process to which nothing below the folder can be changed."""
    names = {"PHOTOS": disk / "photos", "RUN": disk / "run", "EDITED": disk / "edited", "ROOT": disk, "OUT": out}
    for name, path in names.items():
        words = tuple(word.replace(name, str(path)) for word in words)
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return tuple(json.loads(said))
    found: tuple[int, str] = (-1, "nothing came back")
    try:
        _refuse_writes(os.path.realpath(disk) + os.sep)
        done = call(*words)
        found = done.returncode, " ".join(done.stderr.split())
    except BaseException as error:
        found = -1, repr(error)
    finally:
        os.write(write, json.dumps(found).encode()[:60_000])
        os._exit(0)


def _refuse_writes(below: str) -> None:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & 3)
        if writes and isinstance(args[0], (str, bytes, os.PathLike)):
            path = os.path.abspath(os.fsdecode(args[0]))
            there = event == "os.mkdir" and os.path.isdir(path)  # which the system says first
            if path.startswith(below) and not there:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    sys.addaudithook(hook)


def content(disk: Path) -> dict[str, str]:
    found = [path for path in sorted(disk.rglob("*")) if path.is_file() and path.name not in ("lock", "lock.owner")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.parametrize("name", READ)
def test_what_only_reads_works(disk: Path, tmp_path: Path, name: str) -> None:
    before = content(disk)
    code, said = on_a_read_only_disk(disk, tmp_path, READ[name])
    assert code == 0, said
    assert content(disk) == before


@pytest.mark.parametrize("name", WRITE)
def test_what_writes_there_says_that_it_cannot(disk: Path, tmp_path: Path, name: str) -> None:
    before = content(disk)
    code, said = on_a_read_only_disk(disk, tmp_path, WRITE[name])
    assert code == 3, said
    assert "read-only file system" in said
    assert "error: cannot write " in said
    assert content(disk) == before


def test_an_edit_that_was_cut_short_and_cannot_be_taken_back_is_said(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conceptnet_ml.editing.history.PATIENCE", 0.1)
    log = disk / "edited" / "edits" / "log.json"
    entries = log.read_text()
    log.write_text("[]")
    try:
        code, said = on_a_read_only_disk(disk, tmp_path, ("graph", "show", "EDITED"))
    finally:
        log.write_text(entries)
    assert code == 3, said
    assert "is in the middle of an edit: cannot write" in said
    assert "open the run where it can be written" in said
