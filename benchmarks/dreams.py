"""How fast dreams are: beside torch-lucent, Horama and the bare forward and backward, and how the price falls.

    pip install "kornia<=0.4.1" ipython decorator einops tqdm && pip install --no-deps torch-lucent Horama
    python benchmarks/dreams.py --pictures FOLDER --cifar FOLDER --out runs/dreams

- *speed*: the package's small network at 64 px and torchvision's ResNet-18 at 224 px (fresh weights), an early and the
  last stage, 1, 16, 64 and 256 dreams at a time. All dream the mean activation of the same channels in fp32 from
  Fourier images with lucent's transforms, none stops early. The contestants take turns, so that a busy machine slows
  all of them; a turn gives one ratio, the tables show medians. Each has a process and one thread of its own;
  seconds are those that the process got.
- *manners*: what lucent does when it is used otherwise.
- *scaling*: 1 to 512 units of one layer.
- *reach*: seconds until the peer's final activation is reached, on plain pictures of 8 bits.
- *pictures* (``dream_pictures.py``; only with ``--pictures``, ``--cifar``): are they what was asked for?

``--pictures`` is an ImageFolder, on which the small network is trained first; without it its weights are fresh. A
contestant whose package is missing is left out. Finished parts in OUT are read, not repeated. Prints Markdown. About
20 minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dream_contestants import Order
from dream_pictures import kept, show_pictures, trained_weights

from conceptnet_ml.runtime import devices

STEPS = 128
"""Steps of the dream whose time is told, from the time of a step and of a call's beginning and end."""

PEERS = ("lucent", "lucent, frozen, one objective", "horama")
EVERYONE = ("floor", "ours", "ours, packed", *PEERS, "floor, bf16", "ours, bf16")
NETWORKS = {"small": (64, ("stem", "block1", "block3")), "resnet18": (224, ("layer1", "layer4"))}
SPARE = 0.7
"""Part of the free memory that a contestant may be expected to need."""


@dataclass(frozen=True)
class Row:
    """One comparison: ``steps`` of each contestant, ``turns`` times."""

    network: str
    side: int
    stage: str
    batch: int
    steps: int
    turns: int

    @property
    def name(self) -> str:
        return f"{self.network}-{self.stage}-{self.batch}"


PLAN = {
    "small": {1: (32, 5), 16: (16, 5), 64: (8, 3), 256: (4, 3)},
    "resnet18": {1: (6, 3), 16: (3, 3), 64: (3, 1), 256: (3, 1)},
}
"""Steps of a turn and turns, by dreams at a time: figures are of a step, so few will do."""


def rows(only: str) -> list[Row]:
    """The comparisons whose name has ``only`` in it, smaller batches of a stage first."""
    found = []
    for network, (side, stages) in NETWORKS.items():
        for stage in stages:
            for batch, (steps, turns) in PLAN[network].items():
                found.append(Row(network, side, stage, batch, steps, turns))
    return [row for row in found if only in row.name]


class Process:
    """A contestant at work.

    Raises:
        RuntimeError: It cannot start, or ended; the message is the last line it left.
    """

    def __init__(self, order: Order) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(Path(__file__).with_name("dream_contestants.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.ask(asdict(order))

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Its answer to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        last = "it ended without a word"
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
            last = line.strip() or last
        raise RuntimeError(last)

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def whole(answer: dict[str, Any], steps: int, calls: int = 1) -> float:
    """Seconds of ``calls`` dreams of :data:`STEPS` steps: the beginning and end of what was run, and its steps."""
    return calls * (max(0.0, answer["seconds"] - steps * answer["step"]) + STEPS * answer["step"])


def speed(row: Row, weights: str | None, smaller: dict[str, Any] | None) -> dict[str, Any]:
    """Seconds of a whole dream of everyone by turns, and memory.

    Args:
        smaller: The same with fewer dreams at a time, from which the memory is foreseen.
    """
    found: dict[str, Any] = {"row": asdict(row), "seconds": {}, "steps": {}, "memory": {}, "out": {}}
    processes: dict[str, Process] = {}
    for who in EVERYONE:
        if who == "ours, packed" and row.batch < 64:
            continue
        needed = foreseen(smaller, who, row.batch)
        free = SPARE * devices.free_memory()
        if needed > free or (smaller and who in smaller["out"]):
            found["out"][who] = f"would need {needed:.0f} GiB" if needed > free else smaller["out"][who]  # type: ignore[index]
            continue
        batch = 1 if who == "horama" else row.batch
        order = Order(who, row.network, row.side, row.stage, batch, weights if row.network == "small" else None)
        try:
            process = Process(order)
            if row.batch * row.side**2 <= 64 * 64**2:
                process.ask({"steps": 2})
            processes[who] = process
        except RuntimeError as error:
            found["out"][who] = str(error)
    for _ in range(row.turns):
        for who, process in processes.items():
            answer = process.ask({"steps": row.steps})
            calls = row.batch if who == "horama" else 1
            found["seconds"].setdefault(who, []).append(whole(answer, row.steps, calls))
            found["steps"].setdefault(who, []).append(calls * answer["step"])
            found["memory"][who] = answer["memory"]
    for process in processes.values():
        process.close()
    return found


def foreseen(smaller: dict[str, Any] | None, who: str, batch: int) -> float:
    """GiB that a contestant should need, by the memory it needed for a smaller batch."""
    if smaller is None or who not in smaller["memory"] or who == "horama":
        return 0.0
    return smaller["memory"][who] * batch / smaller["row"]["batch"]


def measure_speed(only: str, folder: Path, weights: str | None) -> list[dict[str, Any]]:
    """All rows, those of before read back."""
    found: list[dict[str, Any]] = []
    for row in rows(only):
        before = found[-1] if found and found[-1]["row"]["stage"] == row.stage and row.batch > 1 else None
        found.append(kept(folder / f"speed-{row.name}.json", functools.partial(speed, row, weights, before)))
        print(f"{row.name} done", file=sys.stderr, flush=True)
    return found


def manners(weights: str | None) -> dict[str, Any]:
    """What lucent does unless told otherwise: small images enlarged, hooks left behind. Sixteen dreams and one at a
    time; milliseconds of a step."""
    found: dict[str, Any] = {"enlarged": {}, "piled": {}}
    for stage in NETWORKS["small"][1]:
        processes = {who: Process(Order(who, "small", 64, stage, 16, weights)) for who in ("lucent", "lucent, 224 px")}
        times: dict[str, list[float]] = {who: [] for who in processes}
        for _ in range(5):
            for who, process in processes.items():
                times[who].append(process.ask({"steps": 4})["step"])
        found["enlarged"][stage] = {who: statistics.median(values) for who, values in times.items()}
        for process in processes.values():
            process.close()
    process = Process(Order("lucent, same model", "small", 64, "block1", 1, weights))
    answers = [process.ask({"steps": 4}) for _ in range(512)]
    process.close()
    for call in (1, 16, 64, 256, 512):
        around = answers[max(1, call - 8) : call + 8]
        found["piled"][call] = [statistics.median(answer["step"] for answer in around), answers[call - 1]["memory"]]
    return found


GRID = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def reach(network: str, stage: str, weights: str | None) -> dict[str, Any]:
    """How long a peer takes for its dreams, and how long ours takes to reach the activation of each."""
    side, steps, batch = NETWORKS[network][0], *((STEPS, 16) if network == "small" else (16, 4))
    order = Order("ours", network, side, stage, batch, weights if network == "small" else None)
    theirs: dict[str, Any] = {}
    for who in ("lucent", "lucent, frozen, one objective", "horama"):
        try:
            process = Process(replace(order, who=who))
            process.ask({"steps": 1})
            theirs[who] = process.ask({"steps": steps, "activations": True})
            process.close()
        except RuntimeError as error:
            theirs[who] = {"error": str(error)}
    found: dict[str, Any] = {"network": network, "stage": stage, "steps": steps, "batch": batch, "peers": []}
    for mine in ("ours", "ours, rate .2"):
        process = Process(replace(order, who=mine))
        process.ask({"steps": 1})
        runs = [(n, process.ask({"steps": n, "activations": True})) for n in GRID if n <= 2 * steps]
        process.close()
        for who, answer in theirs.items():
            row: dict[str, Any] = {"who": who, "mine": mine, "ratios": [], "never": 0, "error": answer.get("error")}
            for unit, wanted in enumerate(answer.get("activations", ())):
                first = next(((n, run) for n, run in runs if run["activations"][unit] >= wanted), None)
                if first is None:
                    row["never"] += 1
                else:
                    row["ratios"].append([answer["seconds"] / first[1]["seconds"], first[0]])
            found["peers"].append(row)
    return found


def scaling() -> dict[str, Any]:
    """Seconds of a whole dream of 1 to 512 units of ResNet-18's last stage at 64 px, two turns."""
    counts = [2**power for power in range(10)]
    processes = {count: Process(Order("ours", "resnet18", 64, "layer4", count)) for count in counts}
    times: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(3):
        for count, process in processes.items():
            answer = process.ask({"steps": 8})
            if turn:
                times[count].append(whole(answer, 8))
    for process in processes.values():
        process.close()
    return {"seconds": {count: statistics.median(values) for count, values in times.items()}}


def show_speed(found: list[dict[str, Any]]) -> None:
    """A table per network and stage."""
    for (network, stage), group in itertools.groupby(found, lambda one: (one["row"]["network"], one["row"]["stage"])):
        print(f"\n### {network}, {NETWORKS[network][0]} px, {stage}\n")
        print("| at once | who | ms per image and step | dreams per second | ours is × as fast | × the floor | GiB |")
        print("| --- " * 7 + "|")
        for one in group:
            for who in [who for who in EVERYONE if who in one["seconds"] or who in one["out"]]:
                print(f"| {one['row']['batch']} | {who} | {speed_cells(one, who)} |")


def speed_cells(one: dict[str, Any], who: str) -> str:
    """What a row says of one contestant."""
    if who not in one["seconds"]:
        return f"{one['out'].get(who, '')[:60]} | – | – | – | –"
    seconds, batch = one["seconds"][who], one["row"]["batch"]
    cells = [f"{1000 * statistics.median(one['steps'][who]) / batch:.2f}", f"{batch / statistics.median(seconds):.2f}"]
    ours = "ours, bf16" if who == "floor, bf16" else "ours"
    cells.append("" if who.startswith("floor") or who == "ours" else ratio(seconds, one["seconds"].get(ours)))
    floor = "floor, bf16" if who.endswith("bf16") else "floor"
    cells.append("" if who.startswith("floor") else ratio(seconds, one["seconds"].get(floor)))
    return " | ".join([*cells, f"{one['memory'][who]:.2f}"])


def ratio(ours: list[float], theirs: list[float] | None) -> str:
    """Median of the turns' ratios, the least and the greatest."""
    if not theirs:
        return "–"
    values = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def show_manners(found: dict[str, Any]) -> None:
    """Two lines."""
    print("\n### What lucent does unless told otherwise\n")
    for stage, times in found["enlarged"].items():
        small, large = times["lucent"], times["lucent, 224 px"]
        print(
            f"- small network, {stage}, 16 at once: {1000 * small:.0f} ms a step at 64 px, {1000 * large:.0f} enlarged."
        )
    calls = ", ".join(f"{call}: {1000 * step:.1f}" for call, (step, _) in found["piled"].items())
    grown = [memory for _, memory in found["piled"].values()]
    print(
        f"- One model for all calls, block1, one at a time, ms a step at call {calls}; "
        f"{grown[-1] - grown[0]:.2f} GiB more."
    )


def show_reach(found: list[dict[str, Any]]) -> None:
    """Seconds of the peer over ours."""
    print(
        "\n### Until the peer's final activation\n\n| network, stage | peer | its steps, dreams | ours | units reached "
        "| × as fast, median (least–greatest) | our steps | never |"
    )
    print("| --- " * 8 + "|")
    for one in found:
        for peer in one["peers"]:
            start = (
                f"| {one['network']}, {one['stage']} | {peer['who']} | {one['steps']}, {one['batch']} | {peer['mine']} "
            )
            ratios, taken = [r for r, _ in peer["ratios"]], [n for _, n in peer["ratios"]]
            if not ratios:
                print(f"{start}| {peer['error'] or ''} | – | – | {peer['never']} |")
                continue
            spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
            print(f"{start}| {len(ratios)} | {spread} | {statistics.median(taken):.0f} | {peer['never']} |")


def show_scaling(found: dict[str, Any]) -> None:
    """Units, seconds, price."""
    print(f"\n### 1 to 512 units of ResNet-18's last stage, 64 px, {STEPS} steps\n")
    seconds = {int(count): value for count, value in found["seconds"].items()}
    print("| units | " + " | ".join(str(count) for count in seconds) + " |\n" + "| --- " * (len(seconds) + 1) + "|")
    print("| dreams per second | " + " | ".join(f"{count / value:.2f}" for count, value in seconds.items()) + " |")
    print("| ms per dream | " + " | ".join(f"{1000 * value / count:.0f}" for count, value in seconds.items()) + " |")
    slope, base = statistics.linear_regression(list(seconds), list(seconds.values()))
    fit = statistics.correlation(list(seconds), list(seconds.values())) ** 2
    print(f"\nSeconds = {base:.2f} + {slope:.3f} × units, R² {fit:.4f}.")


def main() -> None:
    """Every part, read or measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures")
    parser.add_argument("--cifar")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows of speed whose name has this in it")
    parser.add_argument("--parts", default="speed,manners,scaling,reach,pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/dreams"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")
    weights = trained_weights(options.pictures, 0, options.out) if options.pictures else None
    if "speed" in parts:
        show_speed(measure_speed(options.only, options.out, weights))
    if "manners" in parts:
        show_manners(kept(options.out / "manners.json", lambda: manners(weights)))
    if "scaling" in parts:
        show_scaling(kept(options.out / "scaling.json", scaling))
    if "reach" in parts:
        both = [(network, stage) for network, (_, stages) in NETWORKS.items() for stage in stages]
        show_reach([kept(options.out / f"reach-{n}-{s}.json", lambda n=n, s=s: reach(n, s, weights)) for n, s in both])
    if "pictures" in parts:
        show_pictures(options.pictures, options.cifar, options.seeds, options.out)


if __name__ == "__main__":
    main()
