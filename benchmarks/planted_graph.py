"""Precision and recall of the graph of a network whose weights are set by hand, and of the same weights shuffled.

    python benchmarks/planted_graph.py --seeds 3

See ``handcrafted.py``. Nodes, merges and splits come from a run whose round is kept, edges from one
whose round is undone, so that they start at the classes' own features. A seed takes half a minute on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import handcrafted as handmade
import torch
from handcrafted import Rates
from safetensors.torch import save_file

from conceptnet_ml import Settings, learn

KEPT = ("nodes", "merges", "splits")


def shuffled(seed: int, path: Path) -> Path:
    """The weights, shuffled within each tensor, as a file."""
    draw = torch.Generator().manual_seed(1000 + seed)
    weights = {
        name: value.flatten()[torch.randperm(value.numel(), generator=draw)].view_as(value).clone()
        for name, value in handmade.Handmade().state_dict().items()
    }
    save_file(weights, path)
    return path


def judge(seed: int, folder: Path, weights: Path | None) -> dict[str, Rates]:
    """Rates of one seed."""
    rates = {}
    for keep in (True, False):
        settings = Settings.model_validate(handmade.settings(seed, keep, None if weights is None else str(weights)))
        run = learn(handmade.data(seed=seed), settings=settings, out=folder / f"{seed}-{keep}-{weights is None}")
        judged = handmade.judge_graph(run.graph)
        rates |= {kind: rate for kind, rate in judged.items() if (kind in KEPT) == keep}
        if not keep:
            continue
        rates["edges of the variants"] = judged["edges"]
    return rates


def main() -> None:
    """Run every seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| weights | seed | what | right | found | planted |", "| --- | --- | --- | --- | --- | --- |", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("by hand", "shuffled"):
            for seed in range(options.seeds):
                weights = shuffled(seed, Path(folder) / f"{seed}.safetensors") if name == "shuffled" else None
                for kind, rate in judge(seed, Path(folder), weights).items():
                    print(f"| {name} | {seed} | {kind} | {rate.right} | {rate.found} | {rate.planted} |", flush=True)


if __name__ == "__main__":
    main()
