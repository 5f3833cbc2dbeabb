"""Step 2, probe: dream donors' features into images of other classes, in every representation, and judge the swaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Parents
from conceptnet_ml.concepts.scores import balanced
from conceptnet_ml.network.basis import plain
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.steps.records import Judged
from conceptnet_ml.swap.gate_predictor import LEAST, MOST, GatePredictor, Look
from conceptnet_ml.swap.interchangeability import Measured, measure
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import IMAGE, Codec, RegionalCodec
from conceptnet_ml.swap.stop_rule import decide
from conceptnet_ml.swap.views import Swap, open_cells


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

    Each image, as a view under the kept swaps, meets the view of one random donor of another class. Place gates are
    dreamt for ``probe.dreamt`` images of each class and predicted from these for all: a dreamt gate holds what chance
    put there too. However many classes there are, at most ``predicting.MOST`` are dreamt then. Cost:
    ``probe.view_steps`` forward and backward passes for each dreamt image, about two for each predicted one.
    """
    if codec.gate == "whole":
        return None

    def work() -> dict[str, Tensor]:
        settings = bench.settings.probe
        prober = bench.prober(parents, codec, settings.view_price, settings.view_steps)
        most = min(settings.dreamt * bench.classes, MOST)
        teach = balanced(bench.labels, bench.fit, most, bench.seed(name, "dreamt"))
        alike = codec.gate == "place" and not isinstance(codec, RegionalCodec)
        predicted = alike and settings.dreamt > 0 and len(teach) >= LEAST
        total = len(bench.labels) + (len(teach) if predicted else 0)
        with (
            frozen(*parents.modules()),
            bench.progress.task(f"{name} dream gates", total=total) as task,
        ):
            meetings = _Meetings(bench, name, swaps, task.advance)
            if predicted:
                answer = _taught(bench, name, parents, prober, meetings, teach)
            else:
                answer = _dreamt(bench, name, parents, prober, codec)
            return meetings.all(answer)

    return bench.once(f"{name}/gates-{codec.name}", work, "probing")["gates"]


Answer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Image numbers, donors' numbers, and both as views, to gates."""


@dataclass
class _Meetings:
    """Images and the donors they meet, both as views under the kept swaps."""

    bench: Workbench
    name: str
    swaps: list[Swap]
    advance: Callable[[int], None]

    def of(self, pool: Tensor, numbers: Tensor, *what: object) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """These images of a pool: their numbers, those of donors from the pool, and the views of both."""
        bench = self.bench
        views = bench.views(pool, self.swaps)
        for place, part in enumerate(numbers.split(bench.settings.probe.batch)):
            bench.stopper.check()
            generator = bench.generator(self.name, "gates", *what, place)
            donors = views.donors.foreign(part, generator)
            yield part, donors, views.of(part, generator), views.of(donors, generator)
            self.advance(len(part))

    def all(self, answer: Answer) -> dict[str, Tensor]:
        """The gates of every training image; held-out ones meet held-out donors."""
        bench = self.bench
        found: Tensor | None = None
        for what, pool in (("fit", bench.fit), ("held", bench.held)):
            for numbers, donors, images, material in self.of(pool, pool, what):
                part = answer(numbers, donors, images, material).float().cpu()
                if found is None:
                    found = torch.zeros(len(bench.labels), *part.shape[1:])
                found[numbers] = part
        assert found is not None
        return {"gates": found}


def _dreamt(bench: Workbench, name: str, parents: Parents, prober: Prober, codec: Codec) -> Answer:
    own = regions(bench, name, parents) if isinstance(codec, RegionalCodec) else None

    def answer(numbers: Tensor, donors: Tensor, images: Tensor, material: Tensor) -> Tensor:
        where = None if own is None else (own(numbers), own(donors))
        found = prober.gates(images, material, bench.labels[donors].to(bench.device), where)
        assert found is not None
        return found

    return answer


def _taught(
    bench: Workbench, name: str, parents: Parents, prober: Prober, meetings: _Meetings, teach: Tensor
) -> Answer:
    """Dream the gates of these images, and learn to predict all others'."""
    look: Look | None = None
    looks, gates = [], []
    for _, donors, images, material in meetings.of(bench.fit, teach, "dreamt"):
        targets = bench.labels[donors].to(bench.device)
        if look is None:
            look = Look.learn(plain(parents.network), prober, images)
        looks.append(look(images, material, targets))
        found = prober.gates(images, material, targets)
        assert found is not None
        gates.append(found.float())
    assert look is not None
    seen: Look = look
    seed = bench.seed(name, "predictor")
    predictor = GatePredictor(torch.cat(looks), torch.cat(gates), bench.settings.probe.threshold, seed)

    def answer(numbers: Tensor, donors: Tensor, images: Tensor, material: Tensor) -> Tensor:
        return predictor(seen(images, material, bench.labels[donors].to(bench.device)))

    return answer


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
