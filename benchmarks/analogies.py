"""Do analogies translate: does exchanging matched units turn one class's images into another's for the network?

    python benchmarks/analogies.py --pictures FOLDER --cifar FOLDER --seeds 3 --out runs/edges

Runs are made or read back as in ``benchmarks/edges.py``. In each, the top stage's analogies under
the swap of pixels, kept or not, and per pair of classes the share of rightly answered images that the network takes for
the other class

- after the matched units changed places (*translated*),
- after as many random pairs of units did (*random*),
- after the matched units did with partners dealt anew (*dealt*): what of it lies in the pairs, and not in the sets.

Prints Markdown, writes OUT/analogies.json. A minute a seed on one core, the runs aside.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edges import run_cases

from conceptnet_ml import LearnedRun
from conceptnet_ml.bench.intervals import summarize
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps.analogies import find_analogies, translate
from conceptnet_ml.steps.gates import probe_representation, swap_of
from conceptnet_ml.steps.records import Site


def measure(run: LearnedRun, seed: int) -> dict[str, Any]:
    """Analogies of the classes at the top stage, and their causal test."""
    ctx, learned = run.reopen()
    try:
        site = Site(ctx.network().stage_names[-1], Readout("classes", learned.ordinary), "analogies")
        swap = swap_of(ctx, site, probe_representation(ctx, site, ctx.codec("pixels")))
        tied, features = find_analogies(ctx, site, swap)
        found = translate(ctx, site, features)
        pairs = ctx.classes * (ctx.classes - 1)
        return {"matches": len(tied), "class pairs": pairs, **({} if found is None else asdict(found))}
    finally:
        ctx.run.close()


def report(results: dict[str, list[dict[str, Any]]]) -> str:
    """The table."""
    columns = ("translated", "random", "dealt")
    lines = ["| case | unit pairs | class pairs matched | " + " | ".join(columns) + " |", "| --- |" + " --- |" * 5]
    for case, seeds in results.items():
        known = [seed for seed in seeds if "classes" in seed]
        cells = [f"{sum(seed['units'] for seed in known) / max(1, len(known)):.1f}"]
        cells.append(", ".join(f"{seed.get('classes', 0)} of {seed['class pairs']}" for seed in seeds))
        for column in columns:
            found = summarize([100 * seed[column] for seed in known]) if known else None
            span = "" if found is None or found["low"] is None else f" [{found['low']:.0f}, {found['high']:.0f}]"
            cells.append("–" if found is None else f"{found['mean']:.0f}{span}")
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_cases(__doc__, measure, report, "analogies.json")
