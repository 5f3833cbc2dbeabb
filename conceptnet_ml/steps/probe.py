"""Step 2, probe: dream donors' features into images of other classes, in every representation, and judge the swaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.decisions import Decision, Measured, decide
from conceptnet_ml.measuring import exchange, measure
from conceptnet_ml.network import StagedNetwork
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import IMAGE, Codec, RegionalCodec, Swap, open_cells
from conceptnet_ml.workbench import Parents, Workbench


@dataclass(frozen=True)
class Judged:
    """One representation's probe and what follows from it."""

    measured: Measured
    decision: Decision

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        decision = self.decision
        found = {"keep": decision.keep, "reason": decision.reason, "classes": decision.classes}
        return {**self.measured.record(), **found}


def judge(bench: Workbench, name: str, parents: Parents, swaps: list[Swap], codec: Codec) -> Judged:
    """φ, ι and the decision for a representation, from held-out training images."""
    if isinstance(codec, RegionalCodec):
        own_places(bench, name, parents)  # beforehand, so that its time is not booked twice
    with bench.progress.task(f"{name} probe {codec.name}", total=len(bench.held)) as task:
        work = partial(_measure, bench, name, parents, swaps, codec, task)
        measured = Measured(**bench.once(f"{name}/probe-{codec.name}", work, "probing"))
    judged = Judged(measured, decide(measured, bench.settings.round))
    bench.run.log(event="probe", name=name, **judged.record())
    return judged


def partners(bench: Workbench, network: StagedNetwork) -> Tensor | None:
    """For each class the few others it is most readily taken for, (classes, m); None where all others are few.

    Not all pairs of classes are probed: their number grows as the square. Two classes that share units of the top stage
    have logits that rise together; so a class's partners are those with the highest mean logit over its images, seen
    from either side. Cost: one forward pass over the probe set.
    """
    few = bench.settings.probe.partners
    if bench.classes <= few + 1:
        return None

    def work() -> dict[str, Tensor]:
        logits, labels = [], []
        with torch.no_grad(), frozen(network):
            for images, right in bench.probe_views("partners", []):
                logits.append(network(images).float())
                labels.append(right)
        answers, right = torch.cat(logits), torch.cat(labels)
        mean = torch.stack([answers[right == c].mean(0) for c in range(bench.classes)]).cpu()
        near = mean - mean.diag()[:, None]
        near = torch.maximum(near, near.T).fill_diagonal_(float("-inf"))
        return {"partners": near.topk(few).indices}

    return bench.once("partners", work, "probing")["partners"]


def codecs(bench: Workbench, parents: Parents) -> list[Codec]:
    """The representations to try, cheapest and most global first.

    Below a feature only more elementary ones than its own: a transplant of the same place is the parent's own swap.
    """
    found = [bench.codec(name, parents) for name in bench.settings.plugins.representations]
    if parents.elementary is not None:
        found = [codec for codec in found if codec.record.cost < parents.elementary and codec.record.regional]
    return sorted(found, key=lambda codec: codec.record.cost)


def gates(bench: Workbench, name: str, parents: Parents, swaps: list[Swap], codec: Codec) -> Tensor | None:
    """The gates of all training images, held-out ones too, (N, …); None for a swap without gates.

    Each image, as a view under the kept swaps, meets the view of one random donor of another class.
    """
    if codec.gate == "whole":
        return None

    def work() -> dict[str, Tensor]:
        settings = bench.settings.probe
        prober = bench.prober(parents, codec, settings.view_price, settings.view_steps)
        own = regions(bench, name, parents) if isinstance(codec, RegionalCodec) else None
        found: Tensor | None = None
        donors_of = torch.zeros(len(bench.labels), dtype=torch.int64)
        with (
            frozen(*parents.modules()),
            bench.progress.task(f"{name} dream gates", total=len(bench.labels)) as task,
        ):
            for what, pool in (("fit", bench.fit), ("held", bench.held)):
                views = bench.views(pool, swaps)
                for place, numbers in enumerate(pool.split(prober.settings.batch)):
                    bench.stopper.check()
                    generator = bench.generator(name, "gates", what, place)
                    donors = views.donors.foreign(numbers, generator)
                    images, material = views.of(numbers, generator), views.of(donors, generator)
                    where = None if own is None else (own(numbers), own(donors))
                    part = prober.gates(images, material, bench.labels[donors].to(bench.device), where)
                    assert part is not None
                    if found is None:
                        found = torch.zeros(len(bench.labels), *part.shape[1:])
                    found[numbers] = part.float().cpu()
                    donors_of[numbers] = donors
                    task.advance(len(numbers))
        assert found is not None
        return {"gates": found, "donors": donors_of}

    return bench.once(f"{name}/gates-{codec.name}", work, "probing")["gates"]


def swap_of(bench: Workbench, name: str, parents: Parents, swaps: list[Swap], judged: Judged) -> Swap:
    """The swap that a round would add to the views.

    Where some classes only share the feature, the gates of all other images are closed: as hosts they take what comes,
    as donors they give nothing but what they have where the host's own feature leaves.
    """
    codec = bench.codec(judged.measured.representation, parents)
    found = gates(bench, name, parents, swaps, codec)
    if found is not None and judged.decision.classes is not None:
        shares = torch.isin(bench.labels, torch.tensor(judged.decision.classes))
        found = found * shares.view(-1, *[1] * (found.ndim - 1))
    places = own_places(bench, name, parents) if isinstance(codec, RegionalCodec) else None
    return Swap(codec, found, bench.settings.probe.threshold, bench.grow, places, f"{name} {codec.name}")


def own_places(bench: Workbench, name: str, parents: Parents) -> Tensor:
    """Where each training image's own feature is, (N, 1, cells, cells) soft gates: without it the parents' answer goes.

    Taken from the images as they are: the swaps above exchange places, and a donor's are looked for in itself.
    """

    def work() -> dict[str, Tensor]:
        prober = bench.prober(parents, Codec(IMAGE))
        plain = bench.views(bench.fit, [])
        found = []
        with frozen(*parents.modules()), bench.progress.task(f"{name} own places", total=len(bench.labels)) as task:
            for numbers in torch.arange(len(bench.labels)).split(prober.settings.batch):
                bench.stopper.check()
                right = bench.labels[numbers].to(bench.device)
                found.append(prober.own(plain.raw(numbers), right, bench.settings.concepts.own_price).float().cpu())
                task.advance(len(numbers))
        return {"places": torch.cat(found)}

    return bench.once(f"{name}/own-places", work, "probing")["places"]


def regions(bench: Workbench, name: str, parents: Parents) -> Callable[[Tensor], Tensor]:
    """Image numbers to own places at image resolution, (B, 1, H, W), 0 or 1."""
    places = own_places(bench, name, parents)
    threshold = bench.settings.probe.threshold
    return lambda numbers: open_cells(places[numbers].to(bench.device), bench.size, threshold, 0)


def _measure(
    bench: Workbench, name: str, parents: Parents, swaps: list[Swap], codec: Codec, task: Any
) -> dict[str, Any]:
    own = regions(bench, name, parents) if isinstance(codec, RegionalCodec) else None
    with frozen(*parents.modules()):
        measured = measure(
            bench.prober(parents, codec),
            bench.views(bench.held, swaps),
            bench.held,
            bench.labels,
            bench.seed(name, "measure", codec.name),
            own,
            bench.settings.round.decisive / 2,
            bench.partners,
            task.advance,
        )
    return dict(vars(measured))


__all__ = ["Judged", "codecs", "exchange", "gates", "judge", "own_places", "partners", "regions", "swap_of"]
