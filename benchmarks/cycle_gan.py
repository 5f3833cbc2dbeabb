"""Is a translation by the baseline ``cycle-gan`` a dream that stays among images? And what is it worth for exchanges?

    python benchmarks/cycle_gan.py --set data.source=folder:FOLDER data.classes=automobile,deer data.train_limit=400

Printed, on test images: how often the run's witness, which had no part in it, reads the class an image was translated
into; how much the error of the way there and back rises by noise of 8/255 on the translation; the Fréchet distance of
translations from test images of that class, in what the witness's last stage tells its head, beside that of pixel
dreams drawn back toward their image until as many are read, and of images of the class among themselves. Then how often
an exchange with a translation, and with a random image of the other class, turns the ordinary network's answer, and
through how large a gate. With --hide there is no noise in training, the control. With --train networks are trained on
such exchanges and accuracies printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from contexts import passing_context
from torch import Tensor, nn

from conceptnet_ml import DreamRequest, ImageSet, Objective, Recipe, RenderSettings, StagedNetwork, Witness, dream
from conceptnet_ml.drawing.pictures import enlarge, to_image
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.baselines import BaselineContext, baseline_of
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import train_ordinary
from conceptnet_plugins.baselines import cycle_gan, dream_datasets
from conceptnet_plugins.baselines.dreamed import as_bytes
from conceptnet_plugins.dreamers import deepdream, pixels, swap, turn

PULLED = tuple(step / 16 for step in range(16, 0, -1))
"""Strengths of a pixel dream."""


def main() -> None:
    """Train the translator, or read it from a file, and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hide", action="store_true", help="no noise before the way back")
    parser.add_argument("--brief", action="store_true", help="no pixel dreams, no exchanges")
    parser.add_argument("--shown", type=int, default=256, help="test images")
    parser.add_argument("--dreams", nargs="+", choices=DREAMS, default=list(DREAMS), help="which pixel dreams")
    parser.add_argument("--weights", type=Path, help="where the translator is kept, and read from if it is there")
    parser.add_argument("--picture", type=Path, help="PNG of images and translations")
    parser.add_argument("--train", nargs="*", default=[], help="methods to train beside it")
    parser.add_argument("--set", nargs="+", default=[])
    options = parser.parse_args()
    noise = cycle_gan.NOISE
    if options.hide:
        cycle_gan.NOISE = 0.0
    with passing_context(options.set) as ctx:
        record, _ = baseline_of("cycle-gan", ctx.plugins)
        context = BaselineContext(ctx, record, train_ordinary(ctx), ctx.epochs(ctx.settings.round.epochs))
        print(f"{len(context.plain)} images, {context.ordinary_epochs + context.epochs} epochs", flush=True)
        if options.weights and options.weights.exists():
            translator = cycle_gan.untrained(context, 1)
            translator.load_state_dict(torch.load(options.weights))
        else:
            translator = cycle_gan.translator_of(context)
        if options.weights:
            torch.save(translator.state_dict(), options.weights)
        print(f"translator: {sum(s for n, (_, s) in ctx.timings.items() if 'translator' in n):.0f} s", flush=True)
        known, unseen = shown_and_rest(ctx, options.shown)
        fakes = judge(context, known, translator, noise)
        if not options.brief:
            beside_dreams(context, (known, unseen), fakes, options.dreams, options.picture)
        networks = {"ordinary": context.ordinary}
        for method in options.train:
            own = BaselineContext(ctx, baseline_of(method, ctx.plugins)[0], context.ordinary, context.epochs)
            networks[method] = FITS[method](own, translator)
            rows = accuracies(networks, ctx.data.tests, ctx.device, ctx.dtype)
            for tests, row in rows.items():
                right = ", ".join(f"{name} {100 * row[name]['accuracy']:.1f}" for name in networks)
                print(f"  accuracy, {tests}: {right}", flush=True)


def shown_and_rest(ctx: Context, count: int) -> tuple[ImageSet, ImageSet]:
    """Test images to translate, and the others."""
    tests = ctx.data.tests["aligned" if "aligned" in ctx.data.tests else "test"]
    order = torch.randperm(len(tests), generator=torch.Generator().manual_seed(0))
    return tests.subset(order[:count]), tests.subset(order[count:])


def judge(context: BaselineContext, images: ImageSet, translator: nn.Module, noise: float) -> Tensor:
    """Print how translations are read, and what comes back; return them, uint8."""
    witness = context.witness()
    targets = (images.labels + 1) % context.classes
    floats = images.take(torch.arange(len(images))).to(context.device).float() / 255
    with torch.no_grad():
        there = translator(floats, images.labels, targets)
        drawn = noise * torch.randn(there.shape, generator=torch.Generator().manual_seed(1))
        errors = [
            float((translator(one, targets, images.labels) - floats).abs().mean()) for one in (there, there + drawn)
        ]
    fakes, more = as_bytes(there), 100 * (errors[1] / errors[0] - 1)
    read, kept = reads(witness, fakes, targets), reads(witness, as_bytes(floats), images.labels)
    print(f"  witness reads the target in {100 * read:.1f} %, images' own class in {100 * kept:.1f}", flush=True)
    print(f"  there and back: {errors[0]:.4f}, with noise {errors[1]:.4f}, {more:.1f} % more", flush=True)
    return fakes


def beside_dreams(
    context: BaselineContext,
    tests: tuple[ImageSet, ImageSet],
    fakes: Tensor,
    names: Sequence[str],
    picture: Path | None,
) -> None:
    """Print Fréchet distances of translations and of pixel dreams read as often, and what exchanges do."""
    known, unseen = tests
    images, labels, witness = known.take(torch.arange(len(known))).cpu(), known.labels, context.witness()
    targets = (labels + 1) % context.classes
    others = unseen.take(torch.arange(len(unseen)))
    real = {label: features(witness.network, others[unseen.labels == label]) for label in range(context.classes)}
    rows, read = {"translations": fakes, "images among themselves": images}, reads(witness, fakes, targets)
    for name in names:
        pulled = whole = dreams(context, images, targets, DREAMS[name]())
        for far in PULLED:
            nearer = as_bytes((images.float() / 255).lerp(whole.float() / 255, far))
            if reads(witness, nearer, targets) < read:
                break
            pulled = nearer
        rows[f"{name}, the target read in {100 * reads(witness, pulled, targets):.1f} %"] = pulled
    for name, pictures in rows.items():
        classes = labels if name.startswith("images") else targets
        found = [frechet(features(witness.network, pictures[classes == label]), real[label]) for label in real]
        print(f"  Fréchet distance of {name}: {sum(found) / len(found):.2f}", flush=True)
    exchange(context, images, labels, targets, fakes)
    if picture:
        show(picture, images, fakes, rows)


def reads(witness: Witness, pictures: Tensor, classes: Tensor) -> float:
    """How often the witness reads these classes."""
    return sum(bool(one.recognised) for one in witness.judge(pictures, classes.tolist())) / len(pictures)


def free() -> Recipe:
    """Free pixels, from the image."""
    return replace(pixels.recipe(), start="image", steps=64)


def dreams(
    context: BaselineContext, images: Tensor, targets: Tensor, recipe: Recipe, donors: Tensor | None = None
) -> Tensor:
    """uint8: each image dreamed toward a class by the ordinary network."""
    requests = [
        DreamRequest(
            Objective.logit(label, context.class_names[label]),
            seed=place,
            start=images[place],
            donor=None if donors is None else donors[place],
        )
        for place, label in enumerate(targets.tolist())
    ]
    settings = RenderSettings(device=context.device, dtype=context.dtype)
    return torch.stack([one.image for one in dream(context.ordinary, requests, recipe, settings)])


@torch.no_grad()
def features(network: StagedNetwork, pictures: Tensor) -> Tensor:
    """(N, C) float64 means over places of the last stage's maps."""
    floats = pictures.to(next(network.parameters()).device).float() / 255
    return network.run_until(floats, network.stage_names[-1]).float().mean((2, 3)).double().cpu()


def frechet(some: Tensor, others: Tensor) -> float:
    """Of two sets of features (N, C): distance of two normal distributions, squared (Heusel et al., 1706.08500)."""
    means = (some.mean(0) - others.mean(0)).square().sum()
    one, other = some.T.cov(), others.T.cov()
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    return float(means + one.trace() + other.trace() - 2 * shared)


def exchange(context: BaselineContext, images: Tensor, labels: Tensor, targets: Tensor, fakes: Tensor) -> None:
    """Print how often exchanges turn the ordinary network's answer, and how much of the image they change."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
    donors = torch.empty_like(order)
    for label in range(context.classes):
        theirs, mine = order[labels[order] == label], torch.nonzero(targets == label).flatten()
        donors[mine] = theirs[torch.arange(len(mine)) % len(theirs)]
    for name, given in {"its translation": fakes, "a random image of the class": images[donors]}.items():
        found = dreams(context, images, targets, swap.recipe(), given)
        with torch.no_grad():
            shown = [one.to(context.device).float() / 255 for one in (images, given, found)]
            whole, gated = (context.answers(context.ordinary, one).argmax(1).cpu() for one in shown[1:])
        away = ((found.float() - images.float()).abs().mean() / (given.float() - images.float()).abs().mean()).item()
        flips = [f"{100 * float((one == targets).double().mean()):.1f} %" for one in (whole, gated)]
        print(
            f"  exchange with {name}: whole turns {flips[0]}, through a gate {flips[1]}, {away:.2f} of it", flush=True
        )


def beside_exchanges(context: BaselineContext, translator: cycle_gan.Translator) -> StagedNetwork:
    """The baseline, with this translator."""
    cycle_gan.translator_of = lambda context: translator
    return cycle_gan.fit(context)


def beside_translations(context: BaselineContext, translator: cycle_gan.Translator) -> StagedNetwork:
    """Its literal form."""
    cycle_gan.translator_of = lambda context: translator
    return cycle_gan.literal(context)


DREAMS = {"deepdream": deepdream.recipe, "turn": turn.recipe, "pixels": free}
FITS = {
    "cycle-gan": beside_exchanges,
    "cycle-gan-literal": beside_translations,
    "dream-datasets": lambda context, translator: dream_datasets.generations(context, swap.recipe(), alone=False),
    "longer": lambda context, translator: context.train(
        "train", context.fresh(), context.plain, context.ordinary_epochs + context.epochs
    ),
}


def show(path: Path, images: Tensor, fakes: Tensor, rows: dict[str, Tensor]) -> None:
    """A row of images, one of their translations, then the pixel dreams."""
    lines = [images, fakes, *(pictures for name, pictures in rows.items() if "read in" in name)]
    sheet = torch.cat([torch.cat(list(line[:12]), 2) for line in lines], 1)
    enlarge(to_image(sheet)).save(path)


if __name__ == "__main__":
    main()
