"""Part of step 2, below the top stage: which channels carry the difference between a readout's answers.

Swaps of channels are for analysis only. Training swaps happen in the image: a network whose maps are swapped inside
only moves the cue into its remaining channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from conceptnet_ml.concepts.model import Trunk
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import auroc
from conceptnet_ml.network.basis import units_of
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import codecs, own_places, regions
from conceptnet_ml.steps.records import ChannelProbe, ProbeResult, Site
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.pairs import hosts_and_donors, pairs
from conceptnet_ml.swap.representation import Codec

STEPS = 40

RATE = 0.3


def probe_channels(ctx: Context, site: Site) -> ChannelProbe | None:
    """One gate over the stage's channels that carries the readout's difference, and which swaps move those channels.

    None at the top stage, where the answers are the network's own.
    """
    if site.readout.elementary is None:
        return None
    tried = codecs(ctx, site.readout)
    if any(codec.needs_regions for codec in tried):
        own_places(ctx, site)  # a step of its own, which needs gradients

    def work() -> dict[str, Any]:
        with frozen(*site.readout.modules()):
            gate = _channel_gate(ctx, site)
            measured = _measure_channels(ctx, site, gate)
            moves = {codec.name: _moves(ctx, site, codec, gate) for codec in tried}
        return {"gate": gate, "measured": dict(measured.__dict__), "moves": moves}

    with ctx.progress.task(f"{site.name} channels"):
        done = ctx.once(f"{site.name}/channels", work, "probing")
    found = ChannelProbe(SwapMeasurement.restored(done["measured"]), done["gate"], done["moves"])
    ctx.run.log(event="channels", name=site.name, open=found.units, moves=found.moves, **found.measured.record())
    return found


def moves_channels(result: ProbeResult, found: ChannelProbe, readout: Readout) -> ProbeResult:
    """Refuse a swap that does not move the channels the readout's difference is carried by, and mostly one that decides
    in part only.

    A family hardly ever errs, and neither does a network whose object is easy, so errors do not tell a cue from what
    their parts are like. They do below an object that the swaps kept above left with less than it had
    (docs/decisions/0053-below-the-object.md).
    """
    decision, moves = result.decision, found.moves.get(result.measured.representation, 0.0)
    in_part = decision.keep and decision.last and (readout.family is not None or not readout.swaps)
    alone = "; below the top it must decide alone" if in_part else ""
    reason = f"{decision.reason}{alone}; moves the carrying channels with AUROC {moves:.2f}"
    keep = decision.keep and not in_part and moves > 0.5
    sure = decision.sureness if keep == decision.keep else None  # of channels that a swap moves nobody knows how sure
    return replace(result, decision=decision.instead(keep, reason, sure=sure))


def _maps(
    ctx: Context, site: Site, what: str, pool: Tensor, numbers: Tensor
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """Batches of the maps of hosts, of two donors of other classes and of a class-mate; the classes of the hosts and of
    their first donors."""
    network, views, stage = site.readout.network, ctx.views(pool, site.readout.swaps), site.stage
    kinds, batch = ("foreign", "foreign", "mates"), ctx.settings.probe.batch
    seeds = partial(ctx.generator, site.name, "channels", what)
    for hosts, images, met in hosts_and_donors(views, numbers, batch, seeds, kinds):
        with torch.no_grad():
            maps = [network.run_until(images, stage).float()]
            others = []
            for donors, material in met:
                maps.append(network.run_until(material, stage).float())
                others.append(donors)
        yield maps, ctx.labels[hosts].to(ctx.device), ctx.labels[others[0]].to(ctx.device)


def _channel_gate(ctx: Context, site: Site) -> Tensor:
    """Minimise CE(answer to the swapped maps, donor) + λ · mean(gate) over one gate for all pairs of the probe set.

    Only channels that the readout is built from take part, where the stage above says which.
    """
    readout = site.readout
    batches = list(_maps(ctx, site, "fit", ctx.fit, ctx.probe_set[:512]))
    head = readout.head(site.stage)
    count = units_of(readout.network, site.stage, batches[0][0][0]).shape[1]
    logits = torch.zeros(count, device=ctx.device, requires_grad=True)
    allowed = torch.ones(count, device=ctx.device)
    if readout.candidates:
        allowed = torch.zeros(count, device=ctx.device).index_fill(
            0, torch.tensor(readout.candidates, device=ctx.device), 1
        )
    optimizer = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        gate = logits.sigmoid() * allowed
        for maps, _, wanted in batches:
            answers = head(_let_in(gate, maps[0], maps[1]))
            loss = functional.cross_entropy(answers.float(), wanted) + ctx.settings.probe.price * gate.mean()
            (loss / len(batches)).backward(retain_graph=True)
        optimizer.step()
    return (logits.detach().sigmoid() * allowed).cpu()


def _let_in(gate: Tensor, maps: Tensor, others: Tensor) -> Tensor:
    """Maps (B, C, h, w) with others' channels let in by a gate (c,) over the first c; the rest stays."""
    if len(gate) < maps.shape[1]:
        gate = functional.pad(gate, (0, maps.shape[1] - len(gate)))
    return maps + gate[:, None, None] * (others - maps)


@torch.no_grad()
def _measure_channels(ctx: Context, site: Site, gate: Tensor) -> SwapMeasurement:
    """φ, ι and their parts on held-out images when the open channels are swapped inside the network."""
    head, hard = site.readout.head(site.stage), (gate > 0.5).float().to(ctx.device)
    counts = torch.zeros(4, ctx.classes, dtype=torch.float64)
    for maps, right, _ in _maps(ctx, site, "held", ctx.held, ctx.held):
        answered = head(maps[0]).argmax(1) == right
        changed = [answered]
        changed += [answered & (head(_let_in(hard, maps[0], other)).argmax(1) != right) for other in maps[1:]]
        for row, hit in enumerate(changed):
            counts[row].index_add_(0, right.cpu(), hit.double().cpu())
    seen = counts[0].clamp_min(1)
    flips, others, mates = ((counts[row] / seen).tolist() for row in (1, 2, 3))
    return SwapMeasurement(
        f"channels of {site.stage}",
        "channel",
        tuple(int(n) for n in counts[0]),
        tuple(flips),
        tuple(others),
        tuple(mates),
        float((gate > 0.5).float().mean()),
    )


@torch.no_grad()
def _moves(ctx: Context, site: Site, codec: Codec, gate: Tensor) -> float:
    """AUROC of "how far the image swap moves a channel, in its own spread" for the open channels."""
    opened = gate > 0.5
    if opened.all() or not opened.any():
        return 0.5
    readout = site.readout
    prober = ctx.prober(readout, codec)
    own = regions(ctx, site) if codec.needs_regions else None
    trunk = Trunk(readout.network, site.stage)
    moved, spread, count = torch.zeros(len(gate)), torch.zeros(len(gate)), 0
    seeds = partial(ctx.generator, site.name, "moves", codec.name)
    for met in pairs(ctx.views(ctx.held, readout.swaps), ctx.held, ctx.settings.probe.batch, seeds):
        where = None if own is None else (own(met.hosts), own(met.donors))
        with torch.enable_grad():
            found = prober.gates(met.images, met.material, met.targets, where)
        swapped = prober.hard_swap(met.images, met.material, found, where)
        before, after = trunk(met.images).float(), trunk(swapped).float()
        moved += (after - before).flatten(2).mean(2).abs().sum(0).cpu()
        spread += before.flatten(2).mean(2).std(0).cpu() * len(met.hosts)
        count += len(met.hosts)
    return float(auroc((moved / spread.clamp_min(1e-9))[:, None], opened)[0])
