"""Does a network hide the image from any decoder, or from its own alone? Fresh decoders, trained afterwards.

    python benchmarks/fresh_decoders.py --methods longer decoder decoder-literal --set data.source=folder:FOLDER \\
        data.holdout=.4

The last stage's maps of the held-out images, which no network was trained on, go into a decoder of one hidden layer and
into a convolutional one; an eighth of these images says which of a decoder's epochs is taken. Printed is the peak
signal-to-noise ratio on the test set, in dB above that of the class's mean image, and the accuracy there.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence

import torch
from contexts import passing_context
from torch import Tensor, nn

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.baselines import baseline_seconds, train_baselines
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.ordinary import train_ordinary
from conceptnet_ml.steps.records import Learned
from conceptnet_plugins.baselines.decoder import Decoder, scaled

HIDDEN = 512
"""Of the decoder of one hidden layer."""
WIDTH = 128
"""Of the convolutional one: four times that of the decoder a network is trained against."""
BATCH = 64
RATE = 1e-3


def main() -> None:
    """Train the networks, then the decoders, and print a row for each network and test set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["longer", "decoder", "decoder-literal"])
    parser.add_argument("--epochs", type=int, default=30, help="of the fresh decoders")
    parser.add_argument("--set", nargs="+", default=[])
    options = parser.parse_args()
    with passing_context(options.set) as ctx:
        ordinary = train_ordinary(ctx)
        networks = {"untrained": ctx.network().to(ctx.device).eval(), "ordinary": ordinary}
        networks |= train_baselines(ctx, Learned(ordinary, ordinary, epochs=0), options.methods)
        table = accuracies(networks, ctx.data.tests, ctx.device, ctx.dtype)
        shown = [name for name in ("test", "aligned", "conflict") if name in ctx.data.tests]
        print(f"| network | mlp | convolutional | {' | '.join(shown)} | times ordinary |", flush=True)
        print(f"|{' --- |' * (4 + len(shown))}")
        for name, network in networks.items():
            rebuilt = [rebuild(ctx, network, kind, options.epochs, shown[0]) for kind in ("mlp", "convolutional")]
            right = [f"{100 * table[test][name]['accuracy']:.1f}" for test in shown]
            cost = baseline_seconds(ctx, name) / ctx.seconds("ordinary") if name in options.methods else 1.0
            print(f"| {name} | {' | '.join(rebuilt)} | {' | '.join(right)} | {cost:.1f} |", flush=True)


def rebuild(ctx: Context, network: StagedNetwork, kind: str, epochs: int, test: str) -> str:
    """What a fresh decoder of the network's last stage rebuilds of a test set, beside the floor, in dB."""
    held, unseen = ctx.data.train.subset(ctx.held), ctx.data.tests[test]
    codes, images = encode(ctx, network, held)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ctx.seed("fresh", kind))
        decoder = fresh(kind, codes.shape[1:], images.shape[1:]).to(ctx.device)
    fit(decoder, codes, images, epochs, ctx.generator("fresh", kind))
    codes, wanted = encode(ctx, network, unseen)
    with torch.no_grad():
        error = torch.cat([(decoder(code) - image).square() for code, image in batches(codes, wanted)])
    means = torch.stack([images[held.labels == label].mean(0) for label in range(ctx.classes)])
    floor = (means[unseen.labels] - wanted).square()
    return f"{decibels(error) - decibels(floor):.2f} ({decibels(error):.2f})"


@torch.no_grad()
def encode(ctx: Context, network: StagedNetwork, images: ImageSet) -> tuple[Tensor, Tensor]:
    """The last stage's maps (N, C, h, w) at a fixed norm, and the images (N, 3, H, W)."""
    codes, pictures = [], []
    for part in torch.arange(len(images)).split(256):
        pictures.append(to_float(images.take(part), ctx.device))
        with devices.autocast(ctx.device, ctx.dtype):
            codes.append(scaled(network.run_until(pictures[-1], network.stage_names[-1]).float()))
    return torch.cat(codes), torch.cat(pictures)


def fresh(kind: str, code: Sequence[int], image: Sequence[int]) -> nn.Module:
    """A decoder with new weights: ``mlp`` or ``convolutional``."""
    if kind == "convolutional":
        return Decoder(code[0], (code[1], code[2]), image[0], (image[1], image[2]), WIDTH)
    layers = [nn.Flatten(), nn.Linear(math.prod(code), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, math.prod(image))]
    return nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, tuple(image)))


def fit(decoder: nn.Module, codes: Tensor, images: Tensor, epochs: int, generator: torch.Generator) -> None:
    """Adam with cosine rates; the state of the epoch with the least error on an eighth of the images is kept."""
    order = torch.randperm(len(codes), generator=generator)
    kept, rest = order[: len(order) // 8], order[len(order) // 8 :]
    optimizer = torch.optim.Adam(decoder.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    least, best = math.inf, decoder.state_dict()
    for _ in range(epochs):
        for part in rest[torch.randperm(len(rest), generator=generator)].split(BATCH):
            optimizer.zero_grad()
            (decoder(codes[part]) - images[part]).square().mean().backward()
            optimizer.step()
        schedule.step()
        with torch.no_grad():
            error = float((decoder(codes[kept]) - images[kept]).square().mean())
        if error < least:
            least, best = error, copy.deepcopy(decoder.state_dict())
    decoder.load_state_dict(best)


def batches(codes: Tensor, images: Tensor) -> zip[tuple[Tensor, Tensor]]:
    """Both, in the same parts."""
    return zip(codes.split(256), images.split(256), strict=True)


def decibels(error: Tensor) -> float:
    """Peak signal-to-noise ratio of squared errors in [0, 1]."""
    return -10 * math.log10(float(error.mean()))


if __name__ == "__main__":
    main()
