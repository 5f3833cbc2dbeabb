"""What runs on an NVIDIA card: whether it computes what a CPU does, how fast it is, and what ``learn`` finds there.

    python benchmarks/gpu.py --pictures FOLDER --bar FOLDER --weights resnet50.safetensors --out runs/gpu
    python benchmarks/gpu.py --device cpu --quick --out runs/quick        # does it all run? a minute on one core

FOLDER is one that ``folder:`` takes. On a machine without internet a checkout is installed by ``pip install --no-deps
--no-build-isolation -e .``. The parts run by themselves, in the order of :data:`PARTS`, the most valuable first: one
that fails leaves the figures it had, its error and its traceback, the others go on, and the exit code is 1. Writes
OUT/gpu.json and, made from it, OUT/gpu.md, again after every part. Loops that are compared take turns; a figure is the
median of the turns or the mean of the seeds, beside the least and the greatest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gpu_parts
import torch
from dream_contestants import Order
from gpu_parts import Bench, Row, Scale

from conceptnet_ml import load_plugins
from conceptnet_ml.bench.origin import commit, sources
from conceptnet_ml.errors import ConceptNetError
from conceptnet_ml.runtime import devices
from conceptnet_ml.storage.files import disk_errors, write_atomic
from conceptnet_ml.storage.run_folder import Run

FULL = Scale(
    turns=5,
    seeds=3,
    loops=(("small", 64, 128, 100), ("torchvision:resnet50", 224, 128, 20)),
    dreams=(Order("", "small", 64, "block3", 256), Order("", "resnet50", 224, "layer4", 64)),
    dream_steps=16,
    signs=("glyphs:10:faint", 400, 8, "small:16", 256),  # as wide as it takes to keep a card busy
    scarce=512,
    learn="",
    pretrained="""data.image_size=224 data.train_limit=400 training.epochs=3 round.limit=1 round.epochs=3
        plugins.controls= dreams.witness=false""",
)
TINY = """data.image_size=32 data.train_limit=24 training.epochs=2 training.batch=16 training.least_steps=0
    training.above_chance=false probe.steps=2 probe.cells=4 round.limit=1 round.epochs=1 round.purify=0 round.closures=0
    concepts.probe_images=32 concepts.merge_images=32 concepts.confirm=2 concepts.bootstrap=10 concepts.edges=2
    concepts.edge_groups=1 plugins.representations=pixels plugins.controls= plugins.dreamer=none dreams.witness=false
    dreams.megapixels=0"""
QUICK = Scale(
    turns=1,
    seeds=1,
    loops=(("small", 32, 16, 2), ("torchvision:resnet18", 32, 4, 1)),
    dreams=(Order("", "small", 32, "block3", 2),),
    dream_steps=3,
    signs=("glyphs:2", 32, 1, "small", 16),
    scarce=32,
    learn=TINY,
    pretrained=TINY,
)

PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "agreement": gpu_parts.agreement,
    "learn": gpu_parts.learn,
    "throughput": gpu_parts.throughput,
    "dreams": gpu_parts.dreams,
    "pretrained": gpu_parts.pretrained,
    "amp": gpu_parts.amp,
    "oom": gpu_parts.oom,
}
"""In the order in which they are run."""
DONE, LATE = "done", "not run: out of time"


def run_part(bench: Bench, name: str) -> dict[str, Any]:
    """What became of a part, its seconds and its rows, those that it had before it failed, too."""
    if bench.left <= 0:
        print(f"{name}: {LATE}", flush=True)
        return {"part": name, "outcome": LATE, "seconds": 0.0, "rows": []}
    print(f"{name} …", flush=True)
    rows: list[Row] = []
    found: dict[str, Any] = {"part": name}
    began = time.monotonic()
    try:
        for row in PARTS[name](bench):
            rows.append(row)
        beyond = [row.what for row in rows if not row.fits]
        found["outcome"] = f"beyond its limit: {', '.join(beyond)}" if beyond else DONE
    except Exception as error:
        found |= {"outcome": f"failed: {type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    found |= {"seconds": time.monotonic() - began, "rows": [row.plain() for row in rows]}
    print(f"{name}: {in_short(found['outcome'])}, {found['seconds']:.1f} s", flush=True)
    return found


def environment(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the state of the code."""
    found = {**devices.environment(device, torch.bfloat16), "commit": commit(), "sources": sources()}
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            found["driver"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        found |= {"cudnn": torch.backends.cudnn.version(), "TF32 convolutions": torch.backends.cudnn.allow_tf32}
    return found


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = [", ".join(f"{name} {value}" for name, value in report["environment"].items()), ""]
    lines += ["| part | figure | value | least to greatest | at most | unit |", "| --- " * 6 + "|"]
    for part in report["parts"]:
        said = in_short(part["outcome"]).replace("|", "\\|")
        lines.append(f"| **{part['part']}** | {said}, {part['seconds']:.1f} s | | | | |")
        for row in part["rows"]:
            cells = {name: digits(row[name]) for name in ("value", "low", "high", "limit") if name in row}
            spread = f"{cells['low']} to {cells['high']}" if "low" in cells else ""
            shown = (cells.get("value", row.get("note", "")), spread, cells.get("limit", ""), row.get("unit", ""))
            lines.append(f"| | {row['what']} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def in_short(outcome: str) -> str:
    """At most 200 characters, on one line; the JSON has them all."""
    return textwrap.shorten(outcome, 200, placeholder=" …")


def digits(value: float | None) -> str:
    """Four of them."""
    return "not finite" if value is None else f"{value:.4g}"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True, help="a new or an empty folder")
    parser.add_argument("--quick", action="store_true", help="everything tiny: whether it runs, not how fast")
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="this part; may be repeated")
    parser.add_argument("--budget", type=float, default=420, help="seconds after which no part is begun any more")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures for learn; default: drawings")
    parser.add_argument("--bar", type=Path, help="a folder of pictures for a ResNet-50 at 224 px")
    parser.add_argument("--weights", type=Path, help="a ResNet-50's state dict, .safetensors or .pt; default: fresh")
    options = parser.parse_args(words)
    for name in ("pictures", "bar", "weights"):
        if (path := getattr(options, name)) is not None and not path.exists():
            parser.error(f"--{name}: {path} does not exist")
        setattr(options, name, path and path.resolve())
    if options.weights and not options.bar:
        parser.error("--weights are for the pictures of --bar: give both")
    options.out = options.out.resolve()
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts; the exit code is 1 where one failed, 2 or more where none was begun."""
    options = arguments(words)
    try:
        device, _ = devices.prepare(options.device, "bf16")
        Run.check_free(options.out)
        with disk_errors(options.out, "write"):
            options.out.mkdir(parents=True, exist_ok=True)
        bench = Bench(options, device, QUICK if options.quick else FULL, load_plugins())
    except ConceptNetError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    report: dict[str, Any] = {"environment": environment(device), "quick": options.quick, "parts": []}
    for name in [name for name in PARTS if not options.only or name in options.only]:
        report["parts"].append(run_part(bench, name))
        write_atomic(options.out / "gpu.json", json.dumps(report, indent=1))
        write_atomic(options.out / "gpu.md", table(report))
    print(f"\n{table(report)}\nThe figures are in {options.out}.")
    return int(any(part["outcome"] not in (DONE, LATE) for part in report["parts"]))


if __name__ == "__main__":
    sys.exit(main())
