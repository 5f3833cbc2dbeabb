"""Does going down a stage find what one stage misses, and does the concept graph recover what was planted?

    python benchmarks/hierarchy.py --seeds 3 --out runs/hierarchy

Cars and poodles whose rounds carry a tint: the rounds fit the class, and within them the tint does. Each seed learns
one stage and two stages deep, two stages deep with a network that is not trained, and two stages deep on the pictures
without a tint, where nothing is nested. All settings are default, but for the pictures and controls that nothing here
looks at and the learning rate of the untrained network. A finished run is read, not repeated, so an interrupted
measurement goes on where it stopped. Prints Markdown and writes OUT/hierarchy.json. A seed takes about ten minutes on
one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graph_recovery import judge_hierarchy

from conceptnet_ml import LearnedRun, Settings, learn, open_run
from conceptnet_ml.bench.intervals import summarize
from conceptnet_ml.runtime.progress import Progress

TINTED = {"source": "cars-and-poodles:tinted"}
STILL = 1e-9
"""A learning rate that leaves a network as it was drawn."""
UNTRAINED = {"epochs": 1, "least_steps": 0, "above_chance": False, "rate": STILL, "warm_rate": STILL}
CASES: dict[str, dict[str, Any]] = {
    "depth 1": {"depth": 1, "data": TINTED},
    "depth 2": {"depth": 2, "data": TINTED},
    "untrained": {"depth": 2, "data": TINTED, "training": UNTRAINED},
    "no tint": {"depth": 2},
}
SETS = ("aligned", "conflict", "random", "absent")
Reading = Callable[[dict[str, Any]], float | None]
"""One seed's results, by case, to a share, or None where there is none."""


def run(case: str, seed: int, out: Path, progress: Progress) -> dict[str, Any]:
    """What a case and seed came to: accuracies and the judgement of its graph."""
    folder = out / f"{case.replace(' ', '-')}-{seed}"
    if (folder / "DONE").exists():
        opened: LearnedRun = open_run(folder)
    else:
        values = {**CASES[case], "seed": seed, "plugins": {"dreamer": "none", "controls": ()}}
        resume = folder if (folder / "settings.json").exists() else None
        opened = learn(Settings.model_validate(values), out=folder, resume=resume, progress=progress)
    summary = opened.summary()
    sets = {
        name: {method: cell["accuracy"] for method, cell in row.items() if method != "images"}
        for name, row in summary["test_sets"].items()
    }
    rounds = [{key: entry.get(key) for key in ("name", "chosen", "decision", "family")} for entry in summary["rounds"]]
    return {"test_sets": sets, "rounds": rounds, "graph": judge_hierarchy(opened)}


def family_of(result: dict[str, Any], planted: str) -> str | None:
    """Name of the family that is matched with a planted feature."""
    return next((found for found, true in result["graph"]["matches"].items() if true == planted), None)


def accuracy(case: str, test_set: str, method: str) -> Reading:
    """Accuracy of a network of a case."""
    return lambda seed: seed[case]["test_sets"][test_set].get(method)


def of_family(case: str, test_set: str, planted: str, before: bool = False) -> Reading:
    """Accuracy of the family matched with a planted feature, or of what it was before it was taught anew."""

    def read(seed: dict[str, Any]) -> float | None:
        row, name = seed[case]["test_sets"][test_set], f"family {family_of(seed[case], planted)}"
        if before:
            name = next((method for method in row if method.startswith(f"{name} before ")), "")
        return row.get(name)

    return read


def followed(case: str, what: str, planted: str) -> Reading:
    """How often the answers of a network, or of the family matched with ``what``, follow an exchange."""

    def read(seed: dict[str, Any]) -> float | None:
        name = what if what in ("ordinary", "learned") else f"family {family_of(seed[case], what)}"
        return seed[case]["graph"]["follow"].get(name, {}).get(planted)

    return read


def rated(case: str, *path: str) -> Reading:
    """A share out of the judgement of a case's graph."""

    def read(seed: dict[str, Any]) -> float | None:
        value = seed[case]["graph"]
        for key in path:
            value = value.get(key) if value is not None else None
        return value

    return read


def markdown(head: list[str], rows: dict[str, list[Reading]], seeds: list[dict[str, Any]]) -> list[str]:
    """A table of means over the seeds, per cent, and their ranges or intervals."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --- |" * (len(head) - 1)]
    for name, readings in rows.items():
        cells = [cell([value for seed in seeds if (value := read(seed)) is not None], len(seeds)) for read in readings]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def cell(values: list[float], seeds: int) -> str:
    """``72.8 [63.3, 79.8]``, with the number of seeds where not every one has a value, ``–`` for none."""
    if not values:
        return "–"
    found = summarize([100 * value for value in values])
    text = f"{found['mean']:.1f}" + (f" [{found['low']:.1f}, {found['high']:.1f}]" if len(values) > 1 else "")
    return text + (f" ({len(values)} of {seeds} seeds)" if len(values) < seeds else "")


def report(seeds: list[dict[str, Any]]) -> str:
    """The tables."""
    methods: dict[str, Callable[[str], Reading]] = {
        "ordinary": lambda name: accuracy("depth 2", name, "ordinary"),
        "depth 1": lambda name: accuracy("depth 1", name, "learned"),
        "depth 2": lambda name: accuracy("depth 2", name, "learned"),
        "family of the rounds, before": lambda name: of_family("depth 2", name, "rounds", before=True),
        "and after": lambda name: of_family("depth 2", name, "rounds"),
        "family of the tint": lambda name: of_family("depth 2", name, "tint"),
    }
    lines = ["### Accuracy, tinted rounds", ""]
    lines += markdown(["test set", *methods], {name: [make(name) for make in methods.values()] for name in SETS}, seeds)
    lines += ["### The graph against what was planted", ""]
    parts = [("nodes", "precision"), ("nodes", "recall"), ("edges", "precision"), ("edges", "recall")]
    levels = [("levels", "1"), ("levels", "2")]
    rows = {case: [rated(case, *part) for part in [*parts, *levels]] for case in CASES}
    rows["depth 2, shuffled truth"] = [rated("depth 2", "shuffled", *part) for part in parts]
    rows["depth 2, shuffled truth"] += [lambda _: None, lambda _: None]
    lines += markdown(["run", *(" ".join(part) for part in parts), "recall, level 1", "level 2"], rows, seeds)
    lines += ["### Answers that follow an exchange", ""]
    exchanges = ("rounds", "rounds alone", "tint")
    who = {
        "ordinary": ("depth 2", "ordinary"),
        "depth 1": ("depth 1", "learned"),
        "depth 2": ("depth 2", "learned"),
        "depth 1, family of the rounds": ("depth 1", "rounds"),
        "depth 2, family of the rounds": ("depth 2", "rounds"),
        "depth 2, family of the tint": ("depth 2", "tint"),
    }
    follow = {name: [followed(case, what, planted) for planted in exchanges] for name, (case, what) in who.items()}
    lines += markdown(["whose", "rounds and tint", "rounds alone", "tint alone"], follow, seeds)
    lines += ["### Matches", "", "| seed | run | found | planted |", "| --- | --- | --- | --- |"]
    for number, seed in enumerate(seeds):
        for case, result in seed.items():
            graph = result["graph"]
            names = dict.fromkeys(pair["found"] for pair in graph["pairs"] if " in " not in pair["found"])
            for name in names:
                lines.append(f"| {number} | {case} | {name} | {graph['matches'].get(name, '–')} |")
    return "\n".join(lines)


def main() -> None:
    """Run every case and seed, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/hierarchy"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with Progress() as progress:
        seeds = [{case: run(case, seed, options.out, progress) for case in CASES} for seed in range(options.seeds)]
    print(report(seeds))
    (options.out / "hierarchy.json").write_text(json.dumps(seeds, indent=1))


if __name__ == "__main__":
    main()
