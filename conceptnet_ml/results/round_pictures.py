"""Pictures of every round: what was exchanged, with whom, where."""

from __future__ import annotations

from functools import partial

import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.drawing.sheets import probe_sheet
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import regions
from conceptnet_ml.steps.records import Round

PAIRS = 4
"""Image pairs shown per class."""


def draw_rounds(ctx: Context, stories: list[Round]) -> dict[str, list[str]]:
    """A contact sheet per round: image, donor, swapped view, gate. Returns the pictures of each round by its name."""
    pictures = {}
    with ctx.progress.task("draw pictures", total=len(stories)) as task:
        for story in stories:
            slug = story.name.replace("/", "-")
            pictures[story.name] = ctx.once(f"{story.name}/pictures", partial(_draw, ctx, story, slug))
            task.advance()
    return pictures


def _draw(ctx: Context, story: Round, slug: str) -> list[str]:
    drawn = []
    if story.judged:
        drawn.append(ctx.run.save_picture(f"{slug}-swaps.png", to_png(_swaps(ctx, story))))
    return drawn


def _swaps(ctx: Context, story: Round) -> Image.Image:
    """Held-out images with the swap as it was judged: ungrown gates, donors of another class."""
    judged = story.chosen or max(story.judged, key=lambda one: (one.measured.gate == "place", one.measured.phi))
    parents = story.readout
    codec = ctx.codec(judged.measured.representation, parents)
    prober = ctx.prober(parents, codec)
    views = ctx.views(ctx.held, parents.swaps)
    generator = ctx.generator(story.name, "pictures")
    hosts = torch.cat([ctx.held[ctx.labels[ctx.held] == c][:PAIRS] for c in range(ctx.classes)])[: 8 * PAIRS]
    donors = views.donors.foreign(hosts, generator)
    images, material = views.of(hosts, generator), views.of(donors, generator)
    with frozen(*parents.modules()):
        where = None
        if codec.needs_regions:
            own = regions(ctx, story.site)
            where = (own(hosts), own(donors))
        gates = prober.gates(images, material, ctx.labels[donors].to(ctx.device), where)
        swapped = prober.hard_swap(images, material, gates, where)
        before = prober.answers(images)
        after = prober.answers(swapped)
    shown = gates if codec.gate == "place" else None
    return probe_sheet(
        _bytes(images),
        _bytes(material),
        _bytes(swapped),
        None if shown is None else [gate.cpu() for gate in shown],
        ctx.data.classes,
        labels=ctx.labels[hosts].tolist(),
        donor_labels=ctx.labels[donors].tolist(),
        seen=after.tolist(),
        seen_before=before.tolist(),
        title=f"{story.name}: {codec.name}, {story.decision}"
        + (" (images and donors are views under the kept swaps)" if parents.swaps else ""),
    )


def _bytes(images: Tensor) -> list[Tensor]:
    return list((images.clamp(0, 1) * 255).round().to(torch.uint8).cpu())
