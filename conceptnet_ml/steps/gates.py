"""What steps 2 and 3 share: the representations of a readout, its probe in one of them, and the gates of all images."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import balanced_sample
from conceptnet_ml.errors import PluginError
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.runtime import ranks
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import ProbeResult, Site
from conceptnet_ml.swap.gate_predictor import LEAST, MOST, GateFeatures, GatePredictor
from conceptnet_ml.swap.interchangeability import SwapMeasurement, measure_swap
from conceptnet_ml.swap.pairs import Pairs, pairs
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import IMAGE, Codec, open_cells
from conceptnet_ml.swap.stop_rule import Decision, how_sure
from conceptnet_ml.swap.views import Swap


def codecs(ctx: Context, readout: Readout) -> list[Codec]:
    """The representations to try, cheapest and most global first.

    Below a feature only more elementary ones than its own: a transplant of the same place is that feature's own swap.
    Where all that lies outside some gates is exchanged, no transplant: what is left inside them counts as the object.
    Where the user named places, the cheapest transplant alone. What was exchanged whole in every view is not once more.
    """
    whole = {codec.name for swap in readout.swaps for codec in swap.codecs if codec.gate == "whole"}
    found = [ctx.codec(name, readout) for name in ctx.representations]
    found = [codec for codec in found if codec.gate != "whole" or codec.name not in whole]
    if readout.elementary is not None:
        found = [codec for codec in found if codec.record.cost < readout.elementary and codec.record.regional]
    if any(swap.outside for swap in readout.swaps):
        found = [codec for codec in found if codec.gate != "place" or not codec.joins]
    found = sorted(found, key=lambda codec: codec.record.cost)
    return [codec for codec in found if codec.given is not None][:1] if readout.given else found


def probe_representation(ctx: Context, site: Site, codec: Codec) -> ProbeResult:
    """φ, ι and the rule's decision for one representation, from held-out training images.

    Computed in :func:`conceptnet_ml.swap.interchangeability.measure_swap`. Raises PluginError as :func:`decide`.
    """
    if codec.needs_regions:
        own_places(ctx, site)  # beforehand, so that its time is not booked twice
    with ctx.progress.task(f"{site.name} probe {codec.name}", total=len(ctx.held)) as task:
        work = partial(_measure, ctx, site, codec, task.advance)
        done = ctx.once(f"{site.name}/probe-{codec.name}", work, "probing", shared=True)
    measured = SwapMeasurement.restored(done)
    result = decide(ctx, measured)
    ctx.run.log(event="probe", name=site.name, **result.record())
    return result


def decide(ctx: Context, measured: SwapMeasurement) -> ProbeResult:
    """What the plugin of ``plugins.stop_rule`` says of this, and how sure that is. Raises PluginError where it returns
    no decision."""
    record = ctx.plugins.get("stop_rule", ctx.settings.plugins.stop_rule)

    def rule(measured: SwapMeasurement) -> Decision:
        decision = record.function("decide")(measured, ctx.settings.round)
        if not isinstance(decision, Decision):
            raise PluginError(f"stop_rule '{record.name}' must return a Decision, not {type(decision).__name__}")
        return decision

    decision = rule(measured)
    return ProbeResult(measured, replace(decision, sureness=how_sure(measured, decision, rule)))


def _measure(ctx: Context, site: Site, codec: Codec, advance: Callable[[int], None]) -> dict[str, Any]:
    own = regions(ctx, site) if codec.needs_regions else None
    decisive = ctx.settings.round.decisive
    decisive = decisive if codec.record.entire else decisive / 2
    if site.readout.told is not None:
        decisive = ctx.settings.round.read
    elif codec.record.nature is not None:
        decisive = min(decisive, codec.record.nature + ctx.settings.round.technical)
    with frozen(*site.readout.modules()):
        measured = measure_swap(
            ctx.prober(site.readout, codec),
            ctx.views(ctx.held, site.readout.swaps),
            ctx.seed(site.name, "measure", codec.name),
            own,
            decisive,
            advance,
        )
    later = site.at_top and bool(site.readout.swaps)
    return replace(measured, later=later, told=site.readout.told).stored()


def swap_of(ctx: Context, site: Site, probed: ProbeResult) -> Swap:
    """The swap that a round would add to the views.

    Where only some classes share the feature, the gates of all other images are closed: they receive what a donor's
    gate opens, and as donors give only what they have at the places where the host's own feature is taken out.

    Other representations go along where they decide as well, or where the record says so and the learner may choose
    from them.
    """
    codec = ctx.codec(probed.measured.representation, site.readout)
    names = dict.fromkeys([*probed.along, *(name for name in codec.record.along if name in ctx.representations)])
    along = tuple(ctx.codec(name) for name in names)
    found = gates(ctx, site, codec)
    if found is not None and probed.decision.classes is not None:
        shares = torch.isin(ctx.labels, torch.tensor(probed.decision.classes))
        found = found * shares.view(-1, *[1] * (found.ndim - 1))
    places = own_places(ctx, site) if codec.needs_regions else None
    settings, name = ctx.settings, f"{site.name} {codec.name}"
    return Swap(codec, found, settings.probe.threshold, ctx.grow, places, name, again=settings.round.again, along=along)


def gates(ctx: Context, site: Site, codec: Codec, price: float | None = None) -> Tensor | None:
    """The gates of all training images, held-out ones too, (N, …); None for a swap without gates. Those that the codec
    has, if it has any.

    Each image, as a view under the readout's swaps, meets the view of one random donor of another class. Place gates
    are dreamt for ``probe.dreamt`` images of each class and predicted from these for all: a dreamt gate holds what
    chance put there too. However many classes there are, at most ``gate_predictor.MOST`` are dreamt then. A gate on
    channels is found with the first batch, for all. λ is ``price``, ``probe.view_price`` unless it is given.

    Cost: ``probe.view_steps`` forward and backward passes for each dreamt image, about two for each predicted one.
    """
    if codec.gate == "whole":
        return None
    if codec.given is not None:
        return codec.given.expand(len(ctx.labels), -1, -1, -1)

    def work() -> dict[str, Tensor]:
        settings = ctx.settings.probe
        prober = ctx.prober(site.readout, codec, settings.view_price if price is None else price, settings.view_steps)
        most = min(settings.dreamt * ctx.classes, MOST)
        examples = balanced_sample(ctx.labels, ctx.fit, most, ctx.seed(site.name, "dreamt"))
        alike = codec.gate == "place" and not codec.needs_regions
        predicted = alike and settings.dreamt > 0 and len(examples) >= LEAST
        total = len(ctx.labels) + (len(examples) if predicted else 0)
        with (
            frozen(*site.readout.modules()),
            ctx.progress.task(f"{site.name} dream gates", total=total) as task,
        ):
            meetings = _Meetings(ctx, site, task.advance)
            if codec.gate == "channel":
                dream = _dreamt(ctx, site, prober, codec)
                found = ranks.first(lambda: dream(next(meetings.of(ctx.fit, examples, (0,), "dreamt")))[:1].cpu())
                return {"gates": found.repeat(len(ctx.labels), 1)}
            gate_of = _predicted(ctx, prober, meetings, examples) if predicted else _dreamt(ctx, site, prober, codec)
            return {"gates": meetings.gates(gate_of)}

    kind = "shared-gate" if codec.gate == "channel" else "gates"
    return ctx.once(f"{site.name}/{kind}-{codec.name}", work, "probing", shared=True)["gates"]


GateOf = Callable[[Pairs], Tensor]
"""Hosts and their donors to gates."""


@dataclass
class _Meetings:
    """Images that meet a donor of another class under the readout's swaps, with progress shown and stops heard."""

    ctx: Context
    site: Site
    advance: Callable[[int], None]

    def of(self, pool: Tensor, hosts: Tensor, places: Container[int], *what: object) -> Iterator[Pairs]:
        """Of the batches of these images of a pool and of donors from the pool, those of these numbers."""
        ctx, name = self.ctx, self.site.name
        views = ctx.views(pool, self.site.readout.swaps)
        for met in pairs(
            views, hosts, ctx.settings.probe.batch, lambda place: ctx.generator(name, "gates", *what, place), places
        ):
            ctx.stopper.check()
            yield met
            self.advance(len(met.hosts))

    def count(self, hosts: Tensor) -> int:
        """How many batches they are."""
        return -(-len(hosts) // self.ctx.settings.probe.batch)

    def gates(self, gate_of: GateOf) -> Tensor:
        """The gates of every training image; held-out ones meet held-out donors. Several ranks share the batches."""
        found: Tensor | None = None
        for what, pool in (("fit", self.ctx.fit), ("held", self.ctx.held)):

            def work(places: range, what: str = what, pool: Tensor = pool) -> Iterator[Tensor]:
                return (gate_of(met).float().cpu() for met in self.of(pool, pool, places, what))

            part = torch.cat(ranks.deal(self.count(pool), work))
            if found is None:
                found = torch.zeros(len(self.ctx.labels), *part.shape[1:])
            found[pool] = part
        assert found is not None
        return found


def _dreamt(ctx: Context, site: Site, prober: Prober, codec: Codec) -> GateOf:
    """Dream every gate."""
    own = regions(ctx, site) if codec.needs_regions else None

    def gate_of(met: Pairs) -> Tensor:
        where = None if own is None else (own(met.hosts), own(met.donors))
        found = prober.gates(met.images, met.material, met.targets, where)
        assert found is not None
        return found

    return gate_of


def _predicted(ctx: Context, prober: Prober, meetings: _Meetings, examples: Tensor) -> GateOf:
    """Dream the gates of these images, and learn to predict all others'."""
    features: GateFeatures | None = None

    def work(places: range) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal features
        for met in meetings.of(ctx.fit, examples, places, "dreamt"):
            if features is None:  # fitted to the first batch, whoever has it
                first = next(meetings.of(ctx.fit, examples, (0,), "dreamt")) if 0 not in places else met
                features = GateFeatures.fit(without_basis(meetings.site.readout.network), prober, first.images)
            found = prober.gates(met.images, met.material, met.targets)
            assert found is not None
            yield features(met.images, met.material, met.targets).cpu(), found.float().cpu()

    parts = ranks.deal(meetings.count(examples), work)
    inputs, gates = (torch.cat(column).to(ctx.device) for column in zip(*parts, strict=True))
    assert features is not None
    fitted: GateFeatures = features
    seed = ctx.seed(meetings.site.name, "predictor")
    predictor = GatePredictor(inputs, gates, ctx.settings.probe.threshold, seed)
    return lambda met: predictor(fitted(met.images, met.material, met.targets))


def own_places(ctx: Context, site: Site) -> Tensor:
    """Where each training image's own feature is, (N, 1, cells, cells) soft gates: without it the answer goes.

    Taken from the images without swaps: the swaps above exchange places, and a donor's are looked for in itself.
    """

    def work() -> dict[str, Tensor]:
        prober = ctx.prober(site.readout, Codec(IMAGE))
        views = ctx.views(ctx.fit, [])
        parts, price = torch.arange(len(ctx.labels)).split(prober.settings.batch), ctx.settings.concepts.own_price
        with (
            frozen(*site.readout.modules()),
            ctx.progress.task(f"{site.name} own places", total=len(ctx.labels)) as task,
        ):

            def places(batches: range) -> Iterator[Tensor]:
                for numbers in (parts[batch] for batch in batches):
                    ctx.stopper.check()
                    yield prober.own_gates(views.raw(numbers), ctx.labels[numbers].to(ctx.device), price).float().cpu()
                    task.advance(len(numbers))

            return {"places": torch.cat(ranks.deal(len(parts), places))}

    return ctx.once(f"{site.name}/own-places", work, "probing", shared=True)["places"]


def regions(ctx: Context, site: Site) -> Callable[[Tensor], Tensor]:
    """Image numbers to own places at image resolution, (B, 1, H, W), 0 or 1."""
    places = own_places(ctx, site)
    threshold = ctx.settings.probe.threshold
    return lambda numbers: open_cells(places[numbers].to(ctx.device), ctx.size, threshold, 0)
