"""Step 2, probe: dream donors' features into images of other classes, in every representation, and judge the swaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import balanced
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import ProbeResult
from conceptnet_ml.swap.gate_predictor import LEAST, MOST, GateFeatures, GatePredictor
from conceptnet_ml.swap.interchangeability import Measured, measure_swap
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import IMAGE, Codec, RegionalCodec
from conceptnet_ml.swap.stop_rule import decide
from conceptnet_ml.swap.views import Swap, open_cells


def probe_representation(ctx: Context, name: str, readout: Readout, swaps: list[Swap], codec: Codec) -> ProbeResult:
    """φ, ι and the decision for a representation, from held-out training images."""
    if isinstance(codec, RegionalCodec):
        own_places(ctx, name, readout)  # beforehand, so that its time is not booked twice
    with ctx.progress.task(f"{name} probe {codec.name}", total=len(ctx.held)) as task:
        work = partial(_measure, ctx, name, readout, swaps, codec, task)
        measured = Measured(**ctx.once(f"{name}/probe-{codec.name}", work, "probing"))
    judged = ProbeResult(measured, decide(measured, ctx.settings.round))
    ctx.run.log(event="probe", name=name, **judged.record())
    return judged


def partners(ctx: Context, network: StagedNetwork) -> Tensor | None:
    """For each class the few others it is most readily taken for, (classes, m); None where all others are few.

    Not all pairs of classes are probed: their number grows as the square. Two classes that share units of the top stage
    have logits that rise together; so a class's partners are those with the highest mean logit over its images, seen
    from either side. Cost: one forward pass over the probe set.
    """
    few = ctx.settings.probe.partners
    if ctx.classes <= few + 1:
        return None

    def work() -> dict[str, Tensor]:
        logits, labels = [], []
        with torch.no_grad(), frozen(network):
            for images, right in ctx.probe_views("partners", []):
                logits.append(network(images).float())
                labels.append(right)
        answers, right = torch.cat(logits), torch.cat(labels)
        mean = torch.stack([answers[right == c].mean(0) for c in range(ctx.classes)]).cpu()
        near = mean - mean.diag()[:, None]
        near = torch.maximum(near, near.T).fill_diagonal_(float("-inf"))
        return {"partners": near.topk(few).indices}

    return ctx.once("partners", work, "probing")["partners"]


def codecs(ctx: Context, readout: Readout) -> list[Codec]:
    """The representations to try, cheapest and most global first.

    Below a feature only more elementary ones than its own: a transplant of the same place is the parent's own swap.
    """
    found = [ctx.codec(name, readout) for name in ctx.settings.plugins.representations]
    if readout.elementary is not None:
        found = [codec for codec in found if codec.record.cost < readout.elementary and codec.record.regional]
    return sorted(found, key=lambda codec: codec.record.cost)


def gates(ctx: Context, name: str, readout: Readout, swaps: list[Swap], codec: Codec) -> Tensor | None:
    """The gates of all training images, held-out ones too, (N, …); None for a swap without gates.

    Each image, as a view under the kept swaps, meets the view of one random donor of another class. Place gates are
    dreamt for ``probe.dreamt`` images of each class and predicted from these for all: a dreamt gate holds what chance
    put there too. However many classes there are, at most ``predicting.MOST`` are dreamt then. Cost:
    ``probe.view_steps`` forward and backward passes for each dreamt image, about two for each predicted one.
    """
    if codec.gate == "whole":
        return None

    def work() -> dict[str, Tensor]:
        settings = ctx.settings.probe
        prober = ctx.prober(readout, codec, settings.view_price, settings.view_steps)
        most = min(settings.dreamt * ctx.classes, MOST)
        teach = balanced(ctx.labels, ctx.fit, most, ctx.seed(name, "dreamt"))
        alike = codec.gate == "place" and not isinstance(codec, RegionalCodec)
        predicted = alike and settings.dreamt > 0 and len(teach) >= LEAST
        total = len(ctx.labels) + (len(teach) if predicted else 0)
        with (
            frozen(*readout.modules()),
            ctx.progress.task(f"{name} dream gates", total=total) as task,
        ):
            meetings = _Meetings(ctx, name, swaps, task.advance)
            if predicted:
                answer = _taught(ctx, name, readout, prober, meetings, teach)
            else:
                answer = _dreamt(ctx, name, readout, prober, codec)
            return meetings.all(answer)

    return ctx.once(f"{name}/gates-{codec.name}", work, "probing")["gates"]


Answer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Image numbers, donors' numbers, and both as views, to gates."""


@dataclass
class _Meetings:
    """Images and the donors they meet, both as views under the kept swaps."""

    ctx: Context
    name: str
    swaps: list[Swap]
    advance: Callable[[int], None]

    def of(self, pool: Tensor, numbers: Tensor, *what: object) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """These images of a pool: their numbers, those of donors from the pool, and the views of both."""
        ctx = self.ctx
        views = ctx.views(pool, self.swaps)
        for place, part in enumerate(numbers.split(ctx.settings.probe.batch)):
            ctx.stopper.check()
            generator = ctx.generator(self.name, "gates", *what, place)
            donors = views.donors.foreign(part, generator)
            yield part, donors, views.of(part, generator), views.of(donors, generator)
            self.advance(len(part))

    def all(self, answer: Answer) -> dict[str, Tensor]:
        """The gates of every training image; held-out ones meet held-out donors."""
        ctx = self.ctx
        found: Tensor | None = None
        for what, pool in (("fit", ctx.fit), ("held", ctx.held)):
            for numbers, donors, images, material in self.of(pool, pool, what):
                part = answer(numbers, donors, images, material).float().cpu()
                if found is None:
                    found = torch.zeros(len(ctx.labels), *part.shape[1:])
                found[numbers] = part
        assert found is not None
        return {"gates": found}


def _dreamt(ctx: Context, name: str, readout: Readout, prober: Prober, codec: Codec) -> Answer:
    own = regions(ctx, name, readout) if isinstance(codec, RegionalCodec) else None

    def answer(numbers: Tensor, donors: Tensor, images: Tensor, material: Tensor) -> Tensor:
        where = None if own is None else (own(numbers), own(donors))
        found = prober.gates(images, material, ctx.labels[donors].to(ctx.device), where)
        assert found is not None
        return found

    return answer


def _taught(ctx: Context, name: str, readout: Readout, prober: Prober, meetings: _Meetings, teach: Tensor) -> Answer:
    """Dream the gates of these images, and learn to predict all others'."""
    look: GateFeatures | None = None
    looks, gates = [], []
    for _, donors, images, material in meetings.of(ctx.fit, teach, "dreamt"):
        targets = ctx.labels[donors].to(ctx.device)
        if look is None:
            look = GateFeatures.learn(without_basis(readout.network), prober, images)
        looks.append(look(images, material, targets))
        found = prober.gates(images, material, targets)
        assert found is not None
        gates.append(found.float())
    assert look is not None
    seen: GateFeatures = look
    seed = ctx.seed(name, "predictor")
    predictor = GatePredictor(torch.cat(looks), torch.cat(gates), ctx.settings.probe.threshold, seed)

    def answer(numbers: Tensor, donors: Tensor, images: Tensor, material: Tensor) -> Tensor:
        return predictor(seen(images, material, ctx.labels[donors].to(ctx.device)))

    return answer


def swap_of(ctx: Context, name: str, readout: Readout, swaps: list[Swap], judged: ProbeResult) -> Swap:
    """The swap that a round would add to the views.

    Where some classes only share the feature, the gates of all other images are closed: as hosts they take what comes,
    as donors they give nothing but what they have where the host's own feature leaves.
    """
    codec = ctx.codec(judged.measured.representation, readout)
    found = gates(ctx, name, readout, swaps, codec)
    if found is not None and judged.decision.classes is not None:
        shares = torch.isin(ctx.labels, torch.tensor(judged.decision.classes))
        found = found * shares.view(-1, *[1] * (found.ndim - 1))
    places = own_places(ctx, name, readout) if isinstance(codec, RegionalCodec) else None
    return Swap(codec, found, ctx.settings.probe.threshold, ctx.grow, places, f"{name} {codec.name}")


def own_places(ctx: Context, name: str, readout: Readout) -> Tensor:
    """Where each training image's own feature is, (N, 1, cells, cells) soft gates: without it the readout's answer
    goes.

    Taken from the images as they are: the swaps above exchange places, and a donor's are looked for in itself.
    """

    def work() -> dict[str, Tensor]:
        prober = ctx.prober(readout, Codec(IMAGE))
        views = ctx.views(ctx.fit, [])
        found = []
        with frozen(*readout.modules()), ctx.progress.task(f"{name} own places", total=len(ctx.labels)) as task:
            for numbers in torch.arange(len(ctx.labels)).split(prober.settings.batch):
                ctx.stopper.check()
                right = ctx.labels[numbers].to(ctx.device)
                found.append(prober.own(views.raw(numbers), right, ctx.settings.concepts.own_price).float().cpu())
                task.advance(len(numbers))
        return {"places": torch.cat(found)}

    return ctx.once(f"{name}/own-places", work, "probing")["places"]


def regions(ctx: Context, name: str, readout: Readout) -> Callable[[Tensor], Tensor]:
    """Image numbers to own places at image resolution, (B, 1, H, W), 0 or 1."""
    places = own_places(ctx, name, readout)
    threshold = ctx.settings.probe.threshold
    return lambda numbers: open_cells(places[numbers].to(ctx.device), ctx.size, threshold, 0)


def _measure(ctx: Context, name: str, readout: Readout, swaps: list[Swap], codec: Codec, task: Any) -> dict[str, Any]:
    own = regions(ctx, name, readout) if isinstance(codec, RegionalCodec) else None
    with frozen(*readout.modules()):
        measured = measure_swap(
            ctx.prober(readout, codec),
            ctx.views(ctx.held, swaps),
            ctx.held,
            ctx.labels,
            ctx.seed(name, "measure", codec.name),
            own,
            ctx.settings.round.decisive / 2,
            ctx.partners,
            task.advance,
        )
    return dict(vars(measured))
