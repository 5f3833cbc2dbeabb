"""What the filter of ``filtered-dreams`` refuses, and what dreams are worth as augmentation with it and without.

    python benchmarks/dream_filter.py --seeds 0 1 2 --set data.source=folder:FOLDER data.classes=automobile,deer \\
        data.train_limit=300 data.holdout=0.45

For each seed, first how many the filter refuses, question by question: real test images, which set none of its bounds,
dreams of training images without a bound, and pictures dreamed from noise. Then accuracy on every test set, trained
from fresh weights for equally long on the images, cropped and flipped (`plain`); on them beside all dreams
(`unfiltered`); beside what the filter passes (`filtered`); and beside the images with noise as far away as what passed
(`noise`). Last, what the method itself makes of it.
"""

from __future__ import annotations

import argparse

import torch
from contexts import passing_context
from torch import Tensor

from conceptnet_ml import DreamRequest, Objective, RenderSettings, dream
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of
from conceptnet_ml.network.training import ViewMaker
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import train_ordinary
from conceptnet_plugins.baselines import filtered_dreams as filtered
from conceptnet_plugins.baselines.dreamed import beside
from conceptnet_plugins.dreamers import pixels

SHOWN = 600
"""Test images, and a sixth as many dreams from noise."""
LITERAL = 0.15
"""The bounds as they were first put: each refuses 5 % of held-out real images."""


def main() -> None:
    """Print all figures, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--refusals-only", action="store_true")
    parser.add_argument("--set", nargs="+", default=[])
    options = parser.parse_args()
    for seed in options.seeds:
        with passing_context([*options.set, f"seed={seed}"]) as ctx:
            record, _ = baseline_of("filtered-dreams", ctx.plugins)
            context = BaselineContext(ctx, record, train_ordinary(ctx), ctx.epochs(ctx.settings.round.epochs))
            print(f"seed {seed}: {len(context.plain)} images, {len(context.held)} held out", flush=True)
            refusals(ctx, context)
            if not options.refusals_only:
                compare(ctx, context)


def refusals(ctx: Context, context: BaselineContext) -> None:
    """Print the share of each kind of picture that is refused, by each question and in all, also by literal bounds."""
    dreams = filtered.dreams_of(context)
    sieve = filtered.Filter.of(context, dreams)
    tests = ctx.data.tests["aligned" if "aligned" in ctx.data.tests else "test"]
    some = torch.randperm(len(tests), generator=torch.Generator().manual_seed(0))[:SHOWN]
    labels = context.plain.images.labels[context.plain.pool]
    wanted = torch.arange(SHOWN // 6) % context.classes
    kinds = {
        "real test images": (tests.take(some), tests.labels[some], some % 2),
        "dreams of training images": (dreams, labels, 1 - torch.arange(len(labels)) % 2),
        "dreams from noise": (from_noise(context, wanted), wanted, wanted * 0),
    }
    for kind, (pictures, shown, halves) in kinds.items():
        for sieve.tail in (LITERAL, filtered.TAIL):
            found = sieve.refused(pictures, shown, halves)
            bounds = torch.stack([found[name] for name in filtered.QUESTIONS[1:]]).any(0)
            shares = {**found, "three bounds": bounds, "all": bounds | found["label"]}
            told = ", ".join(f"{name} {100 * float(one.double().mean()):.1f}" for name, one in shares.items())
            print(f"  refused at {sieve.tail:.2f}, {kind}: {told}", flush=True)


def from_noise(context: BaselineContext, wanted: Tensor) -> Tensor:
    """Pictures of these classes (B,), dreamed by the ordinary network with free pixels, uint8."""
    requests = [
        DreamRequest(Objective.logit(label, context.class_names[label]), seed=place)
        for place, label in enumerate(wanted.tolist())
    ]
    settings = RenderSettings(device=context.device, dtype=context.dtype)
    return torch.stack([one.image for one in dream(context.ordinary, requests, pixels.recipe(), settings)])


def compare(ctx: Context, context: BaselineContext) -> None:
    """Train on each kind of augmentation and print accuracies."""
    epochs = context.ordinary_epochs + context.epochs
    kept = filtered.passed(context)
    plain = context.plain
    views: dict[str, ViewMaker] = {
        "plain": plain,
        "unfiltered": beside(plain, context.views(filtered.dreams_of(context))),
        "train": beside(plain, context.views(kept)),
        "noise": beside(plain, noised(context, kept)),
    }
    networks = {name: context.train(name, context.fresh(), one, epochs) for name, one in views.items()}
    chosen = filtered.fit(context)
    table = accuracies(
        networks | {"ordinary": context.ordinary, "method": chosen}, ctx.data.tests, ctx.device, ctx.dtype
    )
    for name in ("ordinary", *networks, "method"):
        right = ", ".join(f"{tests} {100 * row[name]['accuracy']:.1f}" for tests, row in table.items())
        print(f"  {name.replace('train', 'filtered')}: {right}", flush=True)
    for line in ctx.run.metrics():
        if line["event"] == "noted":
            told = {name: value for name, value in line.items() if name not in ("event", "method", "time")}
            print(f"  noted: {told}", flush=True)


def noised(context: BaselineContext, kept: Tensor) -> ViewMaker:
    """Images with fresh noise as far away as the pictures (N, C, H, W) that passed; those without stay."""
    images = context.plain.images.take(context.plain.pool).cpu()
    away = ((kept.float() - images.float()) / 255).square().mean((1, 2, 3)).sqrt()

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shown, labels = context.plain(indices, generator)
        noise = torch.randn(shown.shape, generator=generator) * away[indices, None, None, None]
        return (shown + noise.to(shown)).clamp(0, 1), labels

    return make


if __name__ == "__main__":
    main()
