"""The figures of docs/results.md: every case with several seeds, defaults only, each beside its controls.

    python benchmarks/claims.py --pictures FOLDER --out runs/claims --seeds 3

``FOLDER`` is an ImageFolder (train/ and test/, two classes). A finished run is read, not repeated, so an interrupted
measurement goes on where it stopped. Prints Markdown and writes OUT/claims.json.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

from conceptnet_ml import Settings, learn
from conceptnet_ml.progress import Progress


def cases(pictures: str) -> dict[str, dict[str, Any]]:
    """Settings that define each case; everything else is default."""
    photos = f"folder:{pictures}"
    return {
        "wheels": {"data": {"source": photos, "trap": "wheels"}},
        "wheels+tint": {"data": {"source": photos, "trap": "wheels+tint"}},
        "no trap": {"data": {"source": photos}, "round": {"show_refused": True}},
        "cars-and-poodles, depth 2": {"depth": 2},
        "cars-and-poodles:tinted, depth 2": {"data": {"source": "cars-and-poodles:tinted"}, "depth": 2},
    }


def run(name: str, values: dict[str, Any], seed: int, out: Path, progress: Progress) -> dict[str, Any]:
    """The summary of one case and seed, from its run folder where it is finished."""
    folder = out / f"{name.replace(' ', '-').replace(',', '').replace(':', '-')}-{seed}"
    if (folder / "DONE").exists():
        return json.loads((folder / "summary.json").read_text())
    settings = Settings.model_validate({**values, "seed": seed})
    resume = folder if (folder / "settings.json").exists() else None
    return learn(settings, out=folder, resume=resume, progress=progress).summary()


def interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds."""
    generator = random.Random(0)
    means = sorted(statistics.fmean(generator.choices(values, k=len(values))) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def table(name: str, summaries: list[dict[str, Any]]) -> list[str]:
    """Markdown: a row per test set, a column per method, mean and interval over seeds."""
    sets = summaries[0]["test_sets"]
    methods = [m for m in next(iter(sets.values())) if m != "images"]
    lines = [f"### {name}", "", "| test set | " + " | ".join(methods) + " |", "| --- |" + " --- |" * len(methods)]
    for test in sets:
        cells = []
        for method in methods:
            values = [
                100 * s["test_sets"][test][method]["accuracy"] for s in summaries if method in s["test_sets"][test]
            ]
            low, high = interval(values)
            cells.append(f"{statistics.fmean(values):.1f} [{low:.1f}, {high:.1f}]")
        lines.append(f"| {test} | " + " | ".join(cells) + " |")
    lines += ["", "| seed | round | chosen | φ | ι | r | decision |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for summary in summaries:
        for entry in summary["rounds"]:
            one = next((r for r in entry["representations"] if r["representation"] == entry["chosen"]), None)
            one = one or max(entry["representations"], key=lambda r: r["phi"], default=None)
            if one is None:
                continue
            iota = "–" if one["iota"] is None else f"{one['iota']:.2f}"
            residual = f"{entry['r_before']:.2f} → {entry['r_after']:.2f}" if "r_after" in entry else "–"
            lines.append(
                f"| {summary['seed']} | {entry['name']} | {one['representation']} | {one['phi']:.2f} | {iota} "
                f"| {residual} | {entry['decision']} |"
            )
    costs = [summary["cost"]["times_ordinary_per_round"] for summary in summaries]
    lines += ["", f"Cost per trained round: {statistics.fmean(costs):.1f} × ordinary training in the same run.", ""]
    return lines


def main() -> None:
    """Run every case and seed, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", required=True, help="ImageFolder of two classes")
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="one case by name")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with Progress() as progress:
        for name, values in cases(options.pictures).items():
            if options.only in (None, name):
                results[name] = [run(name, values, seed, options.out, progress) for seed in range(options.seeds)]
    for name, summaries in results.items():
        print("\n".join(table(name, summaries)))
    (options.out / "claims.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
