"""Are the intervals of a probe's figures honest? Two halves of the held-out images, probed each by itself, many times.

    python benchmarks/sureness.py --splits 20 --set data.source=cars-and-poodles data.train_limit=800

Both halves are measured with donors and gates of their own, by the ordinary network. Were the intervals right, the
figure of one half would lie within the other's, made wider by √2 since both halves are drawn, in 95 of 100 splits.
Printed is the share that does, the standard error that the redraws say, and the one that was
(docs/decisions/0045-how-sure.md).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from contexts import passing_context

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import train_ordinary
from conceptnet_ml.swap.interchangeability import SwapMeasurement, measure_swap
from conceptnet_ml.swap.sureness import sureness

FIGURES: dict[str, Callable[[SwapMeasurement], float]] = {
    "φ": lambda one: one.phi,
    "ι": lambda one: one.iota,
    "contrast": lambda one: one.contrast,
    "right": lambda one: one.answered,
    "ι less errors": lambda one: one.iota_less_errors(10.0),
}


def main() -> None:
    """Train once, split often, print a row for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--representations", default="pixels")
    parser.add_argument("--set", nargs="+", default=[])
    options = parser.parse_args()
    with passing_context(options.set) as ctx:
        readout = Readout("classes", train_ordinary(ctx))
        for name in options.representations.split(","):
            rows = split_often(ctx, readout, name, options.splits)
            print(f"{name}, {len(ctx.held)} held-out images, {options.splits} splits")
            print("| figure | mean | 95 % cover | standard error | as it was |\n| --- | --- | --- | --- | --- |")
            for figure, pairs in rows.items():
                print(row(figure, pairs), flush=True)


Halves = list[tuple[float, float, float, float, float]]
"""Of each split the figure of both halves, the bounds of the first, and the standard error it says."""


def split_often(ctx: Context, readout: Readout, name: str, splits: int) -> dict[str, Halves]:
    """Both halves of every split, by figure."""
    found: dict[str, Halves] = {figure: [] for figure in FIGURES}
    for turn in range(splits):
        order, labels = torch.randperm(len(ctx.held), generator=ctx.generator("split", turn)), ctx.labels[ctx.held]
        ranks = torch.zeros(len(order), dtype=torch.int64)
        for c in range(ctx.classes):  # each class in equal parts, as images are held out
            members = order[labels[order] == c]
            ranks[members] = torch.arange(len(members))
        halves = []
        for half in (0, 1):
            pool = ctx.held[ranks % 2 == half]
            with frozen(*readout.modules()):
                prober = ctx.prober(readout, ctx.codec(name))
                halves.append(measure_swap(prober, ctx.views(pool, []), ctx.seed("split", turn, half)))
        again = list(halves[0].redrawn())
        for figure, of in FIGURES.items():
            values, (one, other) = [of(each) for each in again], map(of, halves)
            sure = sureness(figure, 0.0, one, values, [None] * len(values), len(pool))
            found[figure].append((one, other, sure.low, sure.high, float(torch.tensor(values).std())))
    return found


def row(figure: str, pairs: Halves) -> str:
    """A line of the table."""
    covered = 0
    for one, other, low, high, _ in pairs:
        covered += one - math.sqrt(2) * (one - low) <= other <= one + math.sqrt(2) * (high - one)
    mean = sum(one + other for one, other, *_ in pairs) / 2 / len(pairs)
    said = math.sqrt(sum(error**2 for *_, error in pairs) / len(pairs))
    seen = math.sqrt(sum((one - other) ** 2 / 2 for one, other, *_ in pairs) / len(pairs))
    return f"| {figure} | {mean:.3f} | {covered} of {len(pairs)} | {said:.3f} | {seen:.3f} |"


if __name__ == "__main__":
    main()
