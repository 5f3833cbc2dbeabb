"""Step 2, probe: dream donors' features into images of other classes, in every representation, and judge the swaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.decisions import Decision, Measured, decide
from conceptnet_ml.measuring import exchange, measure
from conceptnet_ml.probing import frozen
from conceptnet_ml.swaps import Codec, Swap
from conceptnet_ml.workbench import Parents, Workbench


@dataclass(frozen=True)
class Judged:
    """One representation's probe and what follows from it."""

    measured: Measured
    decision: Decision

    def record(self) -> dict[str, Any]:
        """As plain values, for the log and the graph."""
        return {**self.measured.record(), "keep": self.decision.keep, "reason": self.decision.reason}


def probe(bench: Workbench, name: str, parents: Parents, swaps: list[Swap]) -> list[Judged]:
    """φ, ι and the decision for each representation, cheapest first, from held-out training images."""
    judged = []
    usable = codecs(bench, parents)
    with bench.progress.task(f"{name} probe", total=len(usable) * len(bench.held)) as task:
        for codec in usable:
            work = partial(_measure, bench, name, parents, swaps, codec, task)
            values = bench.once(f"{name}/probe-{codec.name}", work, "probing")
            measured = Measured(**values)
            judged.append(Judged(measured, decide(measured, bench.settings.round)))
            bench.run.log(event="probe", name=name, **judged[-1].record())
    return judged


def codecs(bench: Workbench, parents: Parents) -> list[Codec]:
    """The representations to try, cheapest and most global first.

    Below a feature only more elementary ones than its own: a transplant of the same place is the parent's own swap.
    """
    found = [bench.codec(name) for name in bench.settings.plugins.representations]
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
        prober = bench.prober(parents, codec, bench.settings.probe.view_price)
        found: Tensor | None = None
        donors_of = torch.zeros(len(bench.labels), dtype=torch.int64)
        with (
            frozen(parents.network),
            bench.progress.task(f"{name} dream gates", total=len(bench.labels)) as task,
        ):
            for what, pool in (("fit", bench.fit), ("held", bench.held)):
                views = bench.views(pool, swaps)
                for place, numbers in enumerate(pool.split(prober.settings.batch)):
                    bench.stopper.check()
                    generator = bench.generator(name, "gates", what, place)
                    donors = views.donors.foreign(numbers, generator)
                    images, material = views.of(numbers, generator), views.of(donors, generator)
                    part = prober.gates(images, material, bench.labels[donors].to(bench.device))
                    assert part is not None
                    if found is None:
                        found = torch.zeros(len(bench.labels), *part.shape[1:])
                    found[numbers] = part.float().cpu()
                    donors_of[numbers] = donors
                    task.advance(len(numbers))
        assert found is not None
        return {"gates": found, "donors": donors_of}

    return bench.once(f"{name}/gates-{codec.name}", work, "probing")["gates"]


def swap_of(bench: Workbench, name: str, parents: Parents, swaps: list[Swap], representation: str) -> Swap:
    """The swap that a round would add to the views."""
    codec = bench.codec(representation)
    found = gates(bench, name, parents, swaps, codec)
    places = regions(bench, name, parents) if codec.record.regional else None
    return Swap(codec, found, bench.settings.probe.threshold, bench.grow, places, f"{name} {codec.name}")


def regions(bench: Workbench, name: str, parents: Parents) -> Tensor | None:
    """Where the parents look in each training image, (N, 1, cells, cells); None for everywhere.

    Taken from the images themselves: swaps above are exchanged places, and the parent still looks at its own.
    """
    if parents.looks is None:
        return None

    def work() -> dict[str, Tensor]:
        cells = bench.settings.probe.cells
        maps = []
        plain = bench.views(bench.fit, [])
        for numbers in torch.arange(len(bench.labels)).split(bench.settings.probe.batch):
            where = parents.where(plain.raw(numbers))
            maps.append(torch.nn.functional.adaptive_avg_pool2d(where, cells).cpu())
        return {"regions": torch.cat(maps)}

    return bench.once(f"{name}/regions", work, "probing")["regions"]


def _measure(
    bench: Workbench, name: str, parents: Parents, swaps: list[Swap], codec: Codec, task: Any
) -> dict[str, Any]:
    looked_at = None
    if parents.looks is not None and codec.record.regional:
        looked_at = lambda images, numbers: parents.where(images)  # noqa: E731
    with frozen(parents.network):
        measured = measure(
            bench.prober(parents, codec),
            bench.views(bench.held, swaps),
            bench.held,
            bench.labels,
            bench.seed(name, "measure", codec.name),
            looked_at,
            task.advance,
        )
    return dict(vars(measured))


__all__ = ["Judged", "codecs", "exchange", "gates", "probe", "regions", "swap_of"]
