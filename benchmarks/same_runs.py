"""Shows that a change of the code left what runs compute the same, to the byte.

    python benchmarks/same_runs.py OLD NEW --photographs DIR [--only tiny] [--work FOLDER]

OLD and NEW are two checkouts of the project; DIR holds train/CLASS/* and test/CLASS/*. Each checkout is installed into
a throw-away folder, with its plugins and entry points, and is given the same commands: in fp32, on one thread of the
CPU, in a folder where all paths are relative. Then all files they wrote are compared, and the JSON they printed: JSON
by its values in their order (the lines of metrics.jsonl in any), all else by its bytes. A line says "same" or what
differs first; what lies further down is shown only where it differs, and in a way not shown yet. The exit code is 1
where anything differs or fails. Left out are clocks, peak memory, versions (FIELDS, FILES), a run's steps/, which hold
clocks, and what is printed for people.

Finished cases are kept in FOLDER by the content of the code, so that the old half is computed once; other commands,
pictures, torch or memory format make it be computed anew. Without NEW only the old half is. The same code given twice
is run twice: what differs then is not deterministic. CONCEPTNET_MEMORY_FORMAT is channels_last unless it is set.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

FIELDS = "time|seconds|(ordinary|probing|rounds|controls)_seconds|times_ordinary(_per_round)?|peak_memory_gib|package"
"""Fields of JSON, at any depth, that are a clock, memory or a version."""
FILES = ("environment.json", "summary.txt", "DONE", "lock", "lock.owner", "steps", "photos", "FINISHED")
"""Files and folders that hold nothing else, or what went in; summary.txt is summary.json with its clocks for people."""
RESULTS = ("graph.json", "summary.json", "model.json", "model.safetensors")
"""Kept aside after every command, since the next one may replace them."""

LEARN = "learn --json --set training.precision=fp32"
SMALL = f"""{LEARN} --data folder:photos --trap wheels+tint --set data.image_size=32 --set training.epochs=16
    --set training.batch=16 --set probe.steps=4 --set probe.cells=8 --set round.limit=2 --set round.epochs=8
    --set concepts.probe_images=48 --set concepts.merge_images=48 --set concepts.bootstrap=20 --set plugins.controls="""
"""Seconds, in which the tint is found, generalized and kept."""
QUICK = f"{SMALL} --set plugins.dreamer=none"
DREAM = "dream run --precision fp32 --cache dreams/cache --json --steps 16"
CASES = {
    "tiny": f"""{QUICK} --out run
        evaluate run --json
        predict run PICTURE --json
        adapt run --shots 4 --draws 3 --json""",
    "edited": f"""{QUICK} --out run
        learn --resume run --undo block3/classes/1 --json
        learn --resume run --set round.undo= --keep block3/classes/2 --keep block3/classes/2/pixels --json
        graph merge run block3:2 block3:5 --json
        graph split run block3:12 --json
        graph rename run block3:12 brightness --json
        learn --resume run --json
        graph forget run block3:15 --json
        graph undo run --json""",
    "directions": f"""{QUICK} --out nmf --set plugins.discoverer=nmf --set concepts.directions=6
        {QUICK} --out kmeans --set plugins.discoverer=kmeans --set concepts.directions=6
        {QUICK} --out sae --set plugins.discoverer=sae --set concepts.directions=6""",
    "dreams": f"""{SMALL} --out run --set dreams.steps=8 --set dreams.megapixels=0.1
        {DREAM} --out dreams/classes
        {DREAM} --layer block3 --units 0-15 --out dreams/units
        {DREAM} --concept "what is exchanged in block3/classes/1" --out dreams/concept
        {DREAM} --layer block2 --from PICTURE --out dreams/deepdream
        {DREAM} --from PICTURE --toward SECOND --out dreams/toward
        {DREAM} --class FIRST --dreamer maco --out dreams/maco
        {DREAM} --class SECOND --zoom 4 --gif --out dreams/film""",
    "photographs": f"{LEARN} --data folder:photos --trap wheels+tint --out run",
    "embedded": f"{LEARN} --depth 2 --out run",
}
"""One command a line. FIRST and SECOND are classes of the photographs, PICTURE is a training picture of the first."""
COUNTS = {"photographs": (200, 30), "embedded": (0, 0)}
"""Photographs a class for training and for testing, where they are not 100 and 20."""

LAUNCH = """
import os, sys
# An editable install would lend modules that this checkout does not have.
sys.meta_path[:] = [one for one in sys.meta_path if not getattr(one, "__module__", "").startswith("__editable__")]
import conceptnet_ml, conceptnet_plugins
for package in (conceptnet_ml, conceptnet_plugins):
    assert package.__file__.startswith(os.environ["PYTHONPATH"]), package.__file__
from conceptnet_ml.cli.main import app
app(prog_name="conceptnet-ml")
"""


def install(checkout: Path, code: Path) -> str:
    """Install a checkout as it lies there into the folder ``code``; the digest of what can be imported from it."""
    git = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(git, cwd=checkout, capture_output=True, text=True, check=True).stdout.split("\0")
    with tempfile.TemporaryDirectory() as copied:  # where an earlier build is, pip would take modules from it
        for name in (name for name in names if (checkout / name).is_file()):
            (Path(copied) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, Path(copied) / name)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
        done = subprocess.run([*pip, str(code), copied], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout} cannot be installed:\n{done.stderr[-2000:]}")
    digest = hashlib.sha256()
    for path in sorted(code.rglob("*")):
        if path.suffix in (".py", ".toml") or path.name == "entry_points.txt":
            digest.update(f"{path.relative_to(code).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def task(name: str, source: Path) -> tuple[list[list[str]], dict[str, Path]]:
    """The words of a case's commands, and its photographs by the paths under which the commands know them."""
    found: dict[str, Path] = {}
    classes = sorted(path.name for path in (source / "train").iterdir() if path.is_dir())[:2]
    for part, count in zip(("train", "test"), COUNTS.get(name, (100, 20)), strict=True):
        for kind in classes:
            for number, path in enumerate(sorted((source / part / kind).iterdir())[:count]):
                found[f"photos/{part}/{kind}/{number:03}{path.suffix}"] = path.resolve()
    words = {"PICTURE": next(iter(found), ""), "FIRST": classes[0], "SECOND": classes[1]}
    lines = map(shlex.split, re.sub(r"\n\s+--", " --", CASES[name]).splitlines())
    return [[words.get(word, word) for word in line] for line in lines], found


def half(label: str, code: Path, kept: Path, name: str, source: Path) -> Path:
    """The folder of everything that a case's commands wrote with this code, kept from before or computed."""
    commands, pictures = task(name, source)
    around = {"CONCEPTNET_MEMORY_FORMAT": "channels_last", **os.environ, "PYTHONPATH": str(code), "NO_COLOR": "1"}
    around |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    rest = repr((commands, torch.__version__, around["CONCEPTNET_MEMORY_FORMAT"])).encode()
    digest = hashlib.sha256(b"".join([rest, *(path.read_bytes() for path in pictures.values())]))
    folder = kept / f"{name}-{digest.hexdigest()[:8]}"
    if (folder / "FINISHED").exists() and not kept.name.endswith("again"):
        print(f"{name}: {label}: kept from before", flush=True)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for link, path in pictures.items():
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(path)
    for number, command in enumerate(commands, 1):
        after, shown, began = folder / f"after/{number}", " ".join(command[1:]), time.monotonic()
        after.mkdir(parents=True)
        print(f"{name}: {label}: {number}/{len(commands)} {command[0]} {shown[-48:]}", end=" ", flush=True)
        python = [sys.executable, "-c", LAUNCH]
        done = subprocess.run([*python, *command], cwd=folder, env=around, capture_output=True, text=True)
        print(f"{time.monotonic() - began:.1f} s", flush=True)
        if done.returncode == 130:  # the user's
            raise KeyboardInterrupt
        if done.returncode:
            raise SystemExit(f"{label}: '{command[0]} {shown}' ended with {done.returncode}:\n{done.stderr[-2000:]}")
        (after / "printed.json").write_text(done.stdout)
        for path in (path for result in RESULTS for path in folder.glob(f"*/{result}")):
            shutil.copy2(path, after / f"{path.parent.name}-{path.name}")
    (folder / "FINISHED").touch()
    return folder


def judge(name: str, halves: list[tuple[str, Path, Path]], source: Path) -> bool:
    """Print what there is to say of a case's files; whether all of them are the same."""
    try:
        roots = [half(*one, name, source) for one in halves]
    except SystemExit as failure:
        print(f"  {name}: FAILED: {failure}", flush=True)
        return False
    if len(roots) < 2:
        return True
    files = {path.relative_to(root) for root in roots for path in root.rglob("*") if path.is_file()}
    shown = sorted(path for path in files if set(FILES).isdisjoint(path.parts))
    told = {path: difference(roots[0] / path, roots[-1] / path) for path in shown}
    firsts = {found: path for path, found in reversed(told.items())}
    for path, found in told.items():
        if firsts[found] == path if found else len(path.parts) < 3:
            print(f"  {name}: {path.as_posix()}: {f'DIFFERS: {found}' if found else 'same'}")
    print(f"  {name}: {len(told)} files, {sum(map(bool, told.values()))} differ", flush=True)
    return not any(told.values())


def difference(old: Path, new: Path) -> str | None:
    """What differs first between two files; None where they are the same but for FIELDS."""
    if not old.exists() or not new.exists():
        return f"only {'old' if old.exists() else 'new'} wrote it"
    if old.read_bytes() == new.read_bytes():
        return None
    if old.suffix in (".json", ".jsonl"):
        texts = [path.read_text() for path in (old, new)]
        if old.suffix == ".jsonl":
            texts = [f"[{','.join(sorted(text.splitlines(), key=_without_clock))}]" for text in texts]
        leaves = itertools.zip_longest(*(_leaves(json.loads(text)) for text in texts))
        return next((f"{one}, {other}" for one, other in leaves if one != other), None)
    if old.suffix == ".safetensors":
        return next(_tensors(_named(old), _named(new)), "order or metadata")
    if old.suffix not in (".png", ".jpg", ".gif", ".webp"):
        return "bytes"
    mine, theirs = (np.asarray(Image.open(path).convert("RGB"), int) for path in (old, new))
    most = np.abs(mine - theirs).max() if mine.shape == theirs.shape else 255
    return f"bytes; pixels, of a film's first frame, by {most} of 255 at most"


def _without_clock(line: str) -> str:
    return json.dumps({key: one for key, one in json.loads(line).items() if not re.fullmatch(FIELDS, key)})


def _leaves(value: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """Every value below one, with its path, in order; how many there are comes last."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        kept = [(f"{path}.{key}", one) for key, one in items if not re.fullmatch(FIELDS, str(key))]
        for place, one in kept:
            yield from _leaves(one, place)
        yield path, f"{len(kept)} items"
    else:
        yield path, repr(value)


def _named(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors; networks, whose names are digests of their weights, by their parts in the run."""
    about = path.with_name(path.name.replace("model.safetensors", "model.json"))
    parts = {key: part for part, key in json.loads(about.read_text())["networks"].items()} if about != path else {}
    return {".".join(parts.get(word, word) for word in name.split(".")): one for name, one in load_file(path).items()}


def _tensors(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> Iterator[str]:
    for name in (name for name in old if name in new):
        one, other = old[name], new[name]
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            yield f"{name}: {one.dtype} {tuple(one.shape)}, {other.dtype} {tuple(other.shape)}"
        elif not torch.equal(*(value.flatten().view(torch.uint8) for value in (one, other))):
            yield f"{name}: by {float((one.double() - other.double()).abs().max()):.3g} at most"
    if odd := sorted(old.keys() ^ new.keys()):
        yield f"tensors of one alone: {', '.join(odd[:3])}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW", nargs="?")
    parser.add_argument("--photographs", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--work", type=Path, default=Path("runs/same"), metavar="FOLDER")
    asked = parser.parse_args()
    print(f"left out: the fields {FIELDS}; the files {', '.join(FILES)}", flush=True)
    halves: list[tuple[str, Path, Path]] = []
    with tempfile.TemporaryDirectory() as installed:
        for label, checkout in zip(("old", "new"), filter(None, (asked.old, asked.new)), strict=False):
            code = Path(installed) / label
            digest = install(checkout, code)
            again = "-again" if halves and halves[0][2].name == digest else ""
            halves.append((label, code, asked.work.resolve() / (digest + again)))
            print(f"{label}: {checkout}, {digest}{again}", flush=True)
        same = [judge(name, halves, asked.photographs) for name in asked.only]
    print("everything is the same" if all(same) and len(halves) > 1 else "finished" if all(same) else "NOT the same")
    return 0 if all(same) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped; finished cases are kept", flush=True)
        sys.exit(130)
