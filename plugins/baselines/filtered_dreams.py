"""Dreams as augmentation, with a filter: those that could be images and still show their class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml import BaselineContext, StagedNetwork, ViewMaker, Witness

from ..dreamers import deepdream
from . import amplify
from .dream_datasets import elsewhere
from .dreamed import as_bytes, beside, dreamed

STRENGTHS = (1.0, 0.5, 0.25, 0.125)
"""Of a dream: how far from its image toward it. The filter refuses next to all whole ones."""
TAIL = 0.05
"""Share of real images that the three bounds may refuse together."""
LEAST = 119
"""Held-out images with which a third of TAIL can be told on one of two sides."""
QUESTIONS = ("label", "distance", "energy", "classifier")


@dataclass
class Filter:
    """What tells a dream that left the population of images, or its class, by held-out real images.

    Args:
        context: Where networks run.
        witness: A network that had no part in the dreams, and what real images look like in it.
        apart: Two networks that tell dreams from images, each trained on every second image and its dream, so that each
            image's dream can be shown to one that was not trained on it.
        logits: What each of them says of held-out real images, (n,) sorted.
        tail: Share of real images that distance, energy and logit may refuse together, a third each.
    """

    context: BaselineContext
    witness: Witness
    apart: list[StagedNetwork]
    logits: list[Tensor]
    tail: float = TAIL

    @classmethod
    def of(cls, context: BaselineContext, dreams: Tensor) -> Filter:
        """The filter for dreams (N, C, H, W) of the images of ``plain``, of any strength.

        Cost: that of ordinary training three times, the witness's with it, which a run that judges dreams has already.
        """
        apart = [
            context.train(f"apart-{half}", context.fresh(), told_apart(context, dreams, half), context.ordinary_epochs)
            for half in range(2)
        ]
        held = context.plain.images.take(context.held)
        found = cls(context, context.witness(), apart, [])
        found.logits = [found.dreamlike(held, torch.full((len(held),), half)).sort().values for half in range(2)]
        return found

    def refused(self, images: Tensor, labels: Tensor, halves: Tensor) -> dict[str, Tensor]:
        """For each question (B,) whether these pictures fail it.

        Args:
            images: uint8 (B, C, H, W).
            labels: (B,) class numbers they are to show.
            halves: (B,) which of the two networks, 0 or 1, is asked about each.
        """
        judged, most = self.witness.judge(images, labels.tolist()), self.tail / 3
        logits = self.dreamlike(images, halves)
        p = torch.stack([tail(logits, held) for held in self.logits])[halves, torch.arange(len(halves))]
        answers = (
            [not one.recognised for one in judged],
            [one.distance_p <= most for one in judged],
            [one.energy_p <= most for one in judged],
            (p <= most).tolist(),
        )
        return dict(zip(QUESTIONS, map(torch.tensor, answers), strict=True))

    @torch.no_grad()
    def dreamlike(self, images: Tensor, halves: Tensor) -> Tensor:
        """Logits (B,) of being a dream, float64."""
        found = []
        for part, half in zip(images.split(256), halves.split(256), strict=True):
            pixels = part.to(self.context.device).float() / 255
            both = torch.stack([self.context.answers(one, pixels) for one in self.apart]).double().cpu()
            found.append((both[:, :, 1] - both[:, :, 0])[half, torch.arange(len(half))])
        return torch.cat(found)


def tail(values: Tensor, held: Tensor) -> Tensor:
    """p of values (B,) so large among held-out ones (n,), sorted: (1 + how many are as large) / (n + 1)."""
    return (1 + len(held) - torch.searchsorted(held, values)) / (len(held) + 1)


def told_apart(context: BaselineContext, dreams: Tensor, half: int) -> ViewMaker:
    """Every second image or its dream of any strength, as likely, and which of the two it is: 1 for a dream."""
    mine, others = torch.arange(half, len(context.plain), 2), context.views(dreams)

    def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        places = mine[indices % len(mine)]
        drawn = torch.randint(2 * len(STRENGTHS), (len(places),), generator=generator)
        far = torch.tensor([*STRENGTHS, *[0.0] * len(STRENGTHS)])[drawn].to(context.device)
        images, dreamt = context.plain(places, generator)[0], others(places, generator)[0]
        return images.lerp(dreamt, far[:, None, None, None]), (far > 0).long()

    return make


def fit(context: BaselineContext) -> StagedNetwork:
    """Train from fresh weights on images and on what the filter passes of their dreams, and keep it where that helps.

    Each image is DeepDreamed toward another class and keeps its label. The strongest of a few strengths passes at which
    the run's witness, which had no part in it, still sees the label, at which the distance in the witness's features
    and the energy of its logits are like those of held-out real images, and a network that tells dreams from images is
    no surer of it than of these. Beside it a network is trained on the images alone. On a half of the held-out images
    the labels must be likelier by the first, as for ``amplify``; else the method switches itself off and returns the
    second, which is noted. It is also off with fewer than :data:`LEAST` held-out images.

    Cost: training for as many epochs as the learner's network had in all, twice; ordinary training twice, and the
    witness's; 40 passes for each image's dream.
    """
    epochs = context.ordinary_epochs + context.epochs
    plain = context.train("plain", context.fresh(), context.plain, epochs)
    if len(context.held) < LEAST:
        context.note("off", reason=f"{len(context.held)} held-out images, {LEAST} tell what is like a real one")
        return plain
    network = context.train("train", context.fresh(), beside(context.plain, context.views(passed(context))), epochs)
    gain, bound = helped(context, plain, network)
    context.note("off" if bound <= 0 else "on", gain=gain, lower_bound=bound)
    return plain if bound <= 0 else network


def dreams_of(context: BaselineContext) -> Tensor:
    """uint8 (N, C, H, W): every training image dreamed toward another class, without a bound."""
    return dreamed(context, "dream", context.ordinary, context.plain, elsewhere(context, 1), deepdream.recipe())


def passed(context: BaselineContext) -> Tensor:
    """uint8 (N, C, H, W): of every training image's dream the strongest that the filter passes, else the image.

    For how many there is one is noted, and how far they are from their images, root mean square of 255.
    """
    dreams = dreams_of(context)
    sieve = Filter.of(context, dreams)
    kept = context.batched("passed", lambda places: strongest(sieve, dreams[places], places)[0])
    images = context.plain.images.take(context.plain.pool).cpu()
    changed = (kept != images).flatten(1).any(1)
    away = (
        (kept[changed].float() - images[changed].float()).square().mean().sqrt() if changed.any() else torch.zeros(())
    )
    context.note("passed", share=float(changed.double().mean()), size=float(away))
    return kept


def strongest(sieve: Filter, dreams: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Of these places' dreams (B, C, H, W) the strongest that pass, else the image, uint8; and their strength (B,)."""
    plain = sieve.context.plain
    images, labels = plain.images.take(plain.pool[places]).cpu(), plain.images.labels[plain.pool[places]].cpu()
    kept, strength = images.clone(), torch.zeros(len(places))
    for one in STRENGTHS:
        left = torch.nonzero(strength == 0).flatten()
        if not len(left):
            break
        shown = as_bytes((images[left].float() / 255).lerp(dreams[left].float() / 255, one))
        refused = torch.stack(list(sieve.refused(shown, labels[left], 1 - places[left] % 2).values())).any(0)
        kept[left[~refused]], strength[left[~refused]] = shown[~refused], one
    return kept, strength


def helped(context: BaselineContext, plain: StagedNetwork, network: StagedNetwork) -> tuple[float, float]:
    """By how much a network makes labels of held-out images likelier than another does, in nats, and the lower bound.

    Both at the temperature that fits best on the other half.
    """
    fitted, judged = amplify.halves(context)
    found = []
    for one in (plain, network):
        there, here = (
            amplify.calls(context, one, context.plain.raw(some), amplify.CALLS[:1], 1) for some in (fitted, judged)
        )
        found.append(amplify.likelihood(there, here, context.plain.images.labels, fitted, judged))
    gain = found[1] - found[0]
    return float(gain.mean()), amplify.lower_bound(gain)
