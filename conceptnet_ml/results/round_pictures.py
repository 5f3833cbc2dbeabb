"""A picture of every round: what was exchanged, with whom, where."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.drawing.sheets import SwapExample, probe_sheet
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import regions
from conceptnet_ml.steps.records import Round
from conceptnet_ml.storage.run_folder import round_picture
from conceptnet_ml.swap.representation import Codec

PAIRS = 4
"""Image pairs shown per class."""

_LEGEND = {
    "kept": "This is exchanged in training.",
    "leaf": "Refused: so the probe exchanged it, and the decision was not to train on it.",
    "waits": "Not decided here: another network is asked first, in the next round.",
    "undone": "Refused: a network was trained on this, and undone.",
}
"""What became of a round's swap, by its decision."""


def draw_rounds(ctx: Context, rounds: Sequence[Round]) -> dict[str, list[str]]:
    """A contact sheet for each round: image, donor, swapped view, gate. Returns by a round's name its pictures, as
    :meth:`Run.save_picture` names them; none where nothing was probed.
    """
    pictures = {}
    with ctx.progress.task("draw pictures", total=len(rounds)) as task:
        for round in rounds:
            pictures[round.name] = ctx.once(f"{round.name}/pictures", partial(_draw, ctx, round))
            task.advance()
    return pictures


def _draw(ctx: Context, round: Round) -> list[str]:
    if not round.probed:
        return []
    probed = round.chosen or max(
        round.probed, key=lambda probed: (probed.measured.gate == "place", probed.measured.phi)
    )
    codec = ctx.codec(probed.measured.representation, round.readout)
    outside = round.swap is not None and round.swap.outside
    decided = "waits" if round.waits else "refused" if round.decision == "leaf" else round.decision
    where = " outside the gates" if outside else ""
    where += f" at {round.readout.given}" if round.readout.given else ""
    title = f"{round.name}: {codec.name}{where}, {decided}"
    words = [
        _LEGEND["waits" if round.waits else round.decision],
        "Image, donor of another class, the image with the donor's material.",
    ]
    if codec.gate == "place":
        words.append("Gate: where it comes in, within the red line, and its share of the image.")
    words.append("Below stands what the network sees, red where that is not the image's class.")
    if round.readout.swaps:
        words.append("Images and donors are views under the kept swaps.")
    sheet = probe_sheet(_examples(ctx, round, codec), title, " ".join(words))
    return [ctx.run.save_picture(round_picture(round.name), to_png(sheet))]


def _examples(ctx: Context, round: Round, codec: Codec) -> list[SwapExample]:
    """Held-out images with donors of another class. Where a network was trained on it, with the swap of places as that
    saw it: purified, widened and grown, or all that lies outside; else as it was measured."""
    readout = round.readout
    prober = ctx.prober(readout, codec)
    views = ctx.views(ctx.held, readout.swaps)
    generator = ctx.generator(round.name, "pictures")
    hosts = torch.cat([ctx.held[ctx.labels[ctx.held] == c][:PAIRS] for c in range(ctx.classes)])[: 8 * PAIRS]
    donors = views.donors.foreign(hosts, generator)
    images, material = views.of(hosts, generator), views.of(donors, generator)
    with frozen(*readout.modules()):
        trained = round.swap
        gates: Tensor | None
        if trained is not None and trained.gates is not None and codec.gate == "place":
            swapped = trained.apply(images, material, hosts, donors)
            gates = trained.gates[hosts] if trained.outside else trained.opened(hosts, donors, ctx.size, ctx.device)
        else:
            where = None
            if codec.needs_regions:
                own = regions(ctx, round.site)
                where = (own(hosts), own(donors))
            gates = prober.gates(images, material, ctx.labels[donors].to(ctx.device), where)
            swapped = prober.hard_swap(images, material, gates, where)
        before = prober.answers(images)
        after = prober.answers(swapped)
    shown = gates if gates is not None and codec.gate == "place" else [None] * len(hosts)
    names = [
        [ctx.data.classes[int(c)] for c in found] for found in (ctx.labels[hosts], ctx.labels[donors], before, after)
    ]
    return [
        SwapExample(*row) for row in zip(_bytes(images), _bytes(material), _bytes(swapped), shown, *names, strict=True)
    ]


def _bytes(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
