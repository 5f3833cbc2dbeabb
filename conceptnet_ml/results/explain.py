"""One picture explained, from what a run keeps.

:func:`explain`, from a run's networks, its graph and some hundred held-out images:

1. Both networks answer the picture.
2. Each concept is looked at in the network in which it was found: its score is the mean of the strongest tenth of its
   map, which is where it is drawn, and is ranked among the scores of held-out images of each class.
3. What it contributes: by how much the lead of that network's answer falls when the concept's units are replaced by
   their mean maps (:meth:`~conceptnet_ml.concepts.scores.FindEvidence.falls`): a node's ``effect``, on one picture.
4. For each kept round, the picture through its exchange as ι is measured: a gate is dreamt with one donor of another
   class, then further donors' material comes in through this gate joined with their own, and as a control that of
   class-mates; a mate's own gate is dreamt with the donor of the other class. Both networks answer each time.
5. How like the held-out images the picture is in the learned network (:mod:`~conceptnet_ml.results.familiarity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, gather_evidence, unit_scores
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.sampling import FEW
from conceptnet_ml.editing.plan import family_of
from conceptnet_ml.errors import DataError
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.concept_targets import ConceptTarget, ConceptTargets, activation_maps
from conceptnet_ml.results.explanation import NETWORKS, ConceptAnswer, DonorTrial, Exchange, Explanation
from conceptnet_ml.results.familiarity import familiarity
from conceptnet_ml.results.verdict import Entry, kept, probe_of, what
from conceptnet_ml.runtime import seeding
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.swap.probe import Prober, loudness, softened
from conceptnet_ml.swap.representation import Codec, open_cells, place_gate

DONORS, OTHERS = 8, 3
"""Held-out images of each class whose material comes in, and the most other classes that give some."""


class OpenedRun(Protocol):
    """What is read of a run: :class:`~conceptnet_ml.results.learned_run.LearnedRun`."""

    settings: Settings
    plugins: Plugins
    folder: Run
    device: torch.device
    dtype: torch.dtype | None

    @property
    def graph(self) -> ConceptGraph: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def model(self) -> GeneralizedModel: ...
    @property
    def ordinary(self) -> StagedNetwork: ...
    def networks_before(self) -> dict[str, StagedNetwork]: ...
    def summary(self) -> dict[str, Any]: ...
    def held_out(self, read: bool = True) -> ImageSet: ...
    def images(self) -> Data: ...
    def methods(self) -> dict[str, nn.Module]: ...


_Member = tuple[Node, ConceptTarget, Readout | None]
"""A concept, what it is in which network, and whose answer it is about."""


def explain(run: OpenedRun, files: Sequence[str], pictures: Tensor) -> list[Explanation]:
    """Explain pictures, uint8 (N, 3, H, W), of these files; the algorithm is at the head of this module.

    Raises DataError where the run has no graph, or neither keeps held-out images nor has its data at hand. Cost: the
    held-out images once through each network in which concepts were found; for each picture and kept round a probe of
    ``DONORS`` images of each class.
    """
    graph, held = run.graph, run.held_out()
    if held.shape[1:] != tuple(pictures.shape[2:]):
        (height, width), own = held.shape[1:], tuple(pictures.shape[2:])
        raise DataError(
            f"{run.folder.path}: its images are {width}×{height} px, as its trap made them, and not {own[1]}×{own[0]}",
            "Its concepts cannot be compared in pictures of another size; leave --explain out.",
        )
    images = to_float(pictures, run.device)
    networks = run.ordinary.to(run.device), run.model.to(run.device)
    shares = [predict_logits(one, images, run.dtype).softmax(1).tolist() for one in networks]
    concepts, exchanges = _Concepts(run, graph, held, images), _Exchanges(run, held)
    answers = concepts.answers()
    alike = familiarity(run.model.network, held, pictures, run.device, run.dtype)
    is_one = same_weights(run.ordinary, run.model.network)
    rows = [list(exchanges.of(images[place : place + 1])) for place in range(len(images))]
    left_out = tuple(dict.fromkeys([*concepts.left_out, *exchanges.left_out]))

    def ranked(place: int) -> dict[str, dict[str, float]]:
        named = ([*zip(run.classes, found[place], strict=True)] for found in shares)
        return dict(zip(NETWORKS, (dict(sorted(row, key=lambda one: -one[1])) for row in named), strict=True))

    return [
        Explanation(
            file,
            pictures[place].cpu(),
            ranked(place),
            answers[place],
            rows[place],
            left_out,
            len(held),
            alike[place],
            is_one,
        )
        for place, file in enumerate(files)
    ]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same parameters and buffers."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


@dataclass(eq=False)
class _Concepts:
    """The concepts of a graph in pictures, floats (N, 3, H, W)."""

    run: OpenedRun
    graph: ConceptGraph
    held: ImageSet
    images: Tensor
    left_out: list[str] = field(default_factory=list)

    def answers(self) -> list[list[ConceptAnswer]]:
        """Of each picture, the ordinary network's before the learned one's, what is about a family last; each by the
        size of what it contributes."""
        targets = ConceptTargets(self.graph, self.run.model, self.run.networks_before())
        groups: dict[Any, list[_Member]] = {}
        for node in self.graph.nodes():
            if node.kind not in ("generalized", "feature") or node.state in ("merged", "forgotten"):
                continue
            try:
                target = targets.target(node)
            except DataError as error:
                self.left_out.append(f"{called(node)}: {error.message}.")
                continue
            if target.lost:
                self.left_out.append(f"{called(node)}: the run does not keep the network in which it was found.")
                continue
            readout = self._readout(targets.found_in(node), target)
            key = id(target.network), target.layer, None if readout is None else readout.key
            groups.setdefault(key, []).append((node, target, readout))
        found: list[list[tuple[Any, ConceptAnswer]]] = [[] for _ in self.images]
        for members in groups.values():
            (_, target, readout) = members[0]
            order = (
                readout is None or readout.family is not None,
                without_basis(target.network) is not self.run.ordinary,
            )
            for place, answer in self._in_group(members):
                found[place].append(((*order, -abs(answer.contribution or 0.0)), answer))
        return [[answer for _, answer in sorted(row, key=lambda one: one[0])] for row in found]

    def _readout(self, round: str | None, target: ConceptTarget) -> Readout | None:
        """Whose answer the concept was found in: the network's own, or a family's below its feature."""
        key = "classes" if round is None else round.split("/")[1]
        family = dict(self.run.model.named_families()).get(key)
        if family is not None:
            return Readout(key, target.network, str(family.trunk.stage), family)
        own = key == "classes" or key.startswith("edit") or key.endswith(".leaf")
        return Readout(key, target.network) if own else None

    def _in_group(self, members: Sequence[_Member]) -> Iterator[tuple[int, ConceptAnswer]]:
        """Concepts of one stage of one network, about the same answer: each picture's place and what it is there."""
        (_, first, readout), classes, settings = members[0], self.run.classes, self.run.settings.concepts
        network, stage = first.network, str(first.layer)
        head = (readout or Readout("classes", network)).head(stage)
        numbers = torch.arange(len(self.held)).split(self.run.settings.probe.batch)
        batches = [(to_float(self.held.take(part), self.run.device), self.held.labels[part]) for part in numbers]
        real = gather_evidence(network, stage, head, batches, len(classes), settings)
        mean, size = real.mean, (self.images.shape[-2], self.images.shape[-1])
        with torch.no_grad(), frozen(network):
            maps = network.run_until(self.images, stage).float()
            right = head(maps).argmax(1)
        for node, target, _ in members:
            known = unit_scores(torch.cat([activation_maps(target, part)[:, None] for part, _ in real.batches])).cpu()
            here = activation_maps(target, maps).cpu()
            excess = (here.mean((1, 2)) - activation_maps(target, mean[None]).mean().cpu()).tolist()
            says = self._says(node, maps)
            for place, score in enumerate(unit_scores(here[:, None])[:, 0].tolist()):
                below = (known[:, 0] < score).double()
                own = right[place : place + 1]
                alone = FindEvidence([(maps[place : place + 1], own)], head, len(classes), settings, real.width)
                fall = None if readout is None else float(alone.falls([node.units], mean)[int(own), 0])
                where, ranks = self._where(target, readout), (float(below.mean()), self._by_class(below))
                answer, more = classes[int(own)], excess[place]
                yield (
                    place,
                    ConceptAnswer(node, where, score, *ranks, fall, answer, more, says[place], here[place], size),
                )

    def _says(self, node: Node, maps: Tensor) -> list[str | None]:
        """What the variants of a generalized feature say, from its stage's maps."""
        name = family_of(node) if node.kind == "generalized" else None
        family = None if name is None else dict(self.run.model.named_families()).get(name)
        if family is None:
            return [None] * len(maps)
        with torch.no_grad():
            return [self.run.classes[int(number)] for number in family.respond(maps).argmax(1)]

    def _by_class(self, below: Tensor) -> dict[str, float]:
        shares = [(name, below[self.held.labels == number]) for number, name in enumerate(self.run.classes)]
        return {name: float(own.mean()) for name, own in shares if len(own)}

    def _where(self, target: ConceptTarget, readout: Readout | None) -> str:
        network = without_basis(target.network)
        about = "" if readout is None or readout.family is None else f", about family {readout.key}"
        if network is self.run.ordinary:
            return f"the ordinary network{about}"
        return f"{'the learned network' if network is self.run.model.network else target.where}{about}"


@dataclass(eq=False)
class _Exchanges:
    """Pictures through the exchanges of a run's kept rounds, with donors among held-out images."""

    run: OpenedRun
    held: ImageSet
    left_out: list[str] = field(default_factory=list)
    _loud: dict[str, float] = field(default_factory=dict)

    def of(self, image: Tensor) -> Iterator[Exchange]:
        """Of one picture, floats (1, 3, H, W): an exchange for each round that can be repeated."""
        summary, before = self.run.summary(), self.run.networks_before()
        if not kept(summary):
            self.left_out.append("No round was kept: the learned network is the ordinary one, nothing is exchanged.")
        for number, entry in enumerate(summary["rounds"], 1):
            if entry["decision"] != "kept":
                continue
            reason = self._obstacle(entry, before)
            if reason:
                self.left_out.append(f"The exchange of round {number} ({entry['name']}): {reason}.")
            else:
                yield self._exchange(image, number, entry, before[entry["name"]])

    def _obstacle(self, entry: Entry, before: Mapping[str, StagedNetwork]) -> str:
        """Why a round's exchange cannot be made on a new picture; empty where it can."""
        key = entry["name"].split("/")[1]
        if key.endswith(".leaf"):
            return "it is made in a region that is known of the run's own images only"
        if key != "classes" and not key.startswith("edit"):
            return "it is about what a family says, and not about the networks' answers"
        if entry["name"] not in before:
            return "the run does not keep the network that it started from"
        codec = self._codec(entry)
        if codec.gate == "channel" and self._shared_gate(entry) is None:
            return "the run does not keep its gate"
        counts = torch.bincount(self.held.labels, minlength=len(self.run.classes))
        return "too few held-out images" if int((counts > 1).sum()) < 2 else ""

    def _codec(self, entry: Entry) -> Codec:
        given = None
        if "place" in entry:
            given = place_gate(entry["place"], self.held.shape[1:], self.run.settings.probe.cells)
        return Codec(self.run.plugins.get("representation", entry["chosen"]), given)  # type: ignore[arg-type]

    def _shared_gate(self, entry: Entry) -> Tensor | None:
        """(1, C) of a round whose gate is on channels, one for all images."""
        step = f"{entry['name']}/shared-gate-{entry['chosen']}"
        return self.run.folder.step_value(step)["gates"][:1] if self.run.folder.has_step(step) else None

    def _loudness(self, entry: Entry, network: StagedNetwork) -> float:
        """What the logits of a round's network are divided by, as in the round; of all pictures the same."""
        if entry["name"] not in self._loud:
            some = torch.arange(len(self.held))[:: max(1, len(self.held) // FEW)]
            with frozen(network):
                images = to_float(self.held.take(some), self.run.device)
                self._loud[entry["name"]] = loudness(network, images, self.run.dtype)
        return self._loud[entry["name"]]

    def _exchange(self, image: Tensor, number: int, entry: Entry, network: StagedNetwork) -> Exchange:
        run, codec, classes = self.run, self._codec(entry), self.run.classes
        logits = softened(network.to(run.device), self._loudness(entry, network))
        prober = Prober(logits, codec, run.settings.probe, run.dtype)
        order = predict_logits(network, image, run.dtype)[0].argsort(descending=True).tolist()
        donors = {number: self._donors(entry, number) for number in order}
        own, *others = (number for number in order if len(donors[number]) > 1)
        sharing = (probe_of(entry) or {}).get("classes") or order  # a round may be about some classes only
        others = ([number for number in others if number in sharing] or others)[:OTHERS]
        outside, size, trials = "exchanged" in entry, (image.shape[-2], image.shape[-1]), []
        for one in (*others, own):
            other, material = others[0] if one == own else one, donors[one][1:]
            with frozen(network):
                gates = self._gates(prober, entry, image, material, (own, other, one), donors[other][:1])
            hosts = image.expand_as(material)
            swapped = prober.hard_swap(*((material, hosts) if outside else (hosts, material)), gates)
            seen = {name: self._answers(name, swapped) for name in NETWORKS}
            opened = 1.0
            if codec.gate == "place" and gates is not None:
                opened = float(open_cells(gates, size, run.settings.probe.threshold, 0).mean())
            trials.append(
                DonorTrial(
                    classes[one],
                    len(material),
                    1 - opened if outside else opened,
                    {name: dict(Counter(found).most_common()) for name, found in seen.items()},
                    _bytes(material[0]),
                    _bytes(swapped[0]),
                    gates[0].cpu() if codec.gate == "place" and gates is not None else None,
                    {name: found[0] for name, found in seen.items()},
                )
            )
        answers = {name: self._answers(name, image)[0] for name in NETWORKS}
        return Exchange(entry["name"], number, what(entry), outside, answers, trials)

    def _gates(
        self,
        prober: Prober,
        entry: Entry,
        image: Tensor,
        material: Tensor,
        numbers: tuple[int, int, int],
        first: Tensor,
    ) -> Tensor | None:
        """The gates through which material of images of a class comes in.

        Args:
            numbers: The picture's class as the network sees it, another class, and the donors' own, one of the two.
            first: An image of the other class, with which gates of images of the picture's class are dreamt.
        """
        own, other, theirs = numbers
        if prober.codec.gate != "place":
            shared = self._shared_gate(entry) if prober.codec.gate == "channel" else None
            return None if shared is None else shared.to(image.device).expand(len(material), -1)
        mine = prober.gates(image, first, self._target(other, 1))
        assert mine is not None
        mine = mine.expand(len(material), *mine.shape[1:])
        if not prober.codec.joins:
            return mine
        met, wanted = (first, other) if theirs == own else (image, own)
        found = prober.gates(material, met.expand_as(material), self._target(wanted, len(material)))
        assert found is not None
        return torch.maximum(mine, found)

    def _answers(self, name: str, images: Tensor) -> list[str]:
        network = self.run.ordinary if name == "ordinary" else self.run.model
        return [self.run.classes[int(c)] for c in predict_logits(network, images, self.run.dtype).argmax(1)]

    def _target(self, number: int, count: int) -> Tensor:
        return torch.full((count,), number, device=self.run.device)

    def _donors(self, entry: Entry, number: int) -> Tensor:
        """Images of a class, floats, the same for all pictures: one to dream gates with, then those that give."""
        own = (self.held.labels == number).nonzero()[:, 0]
        seed = seeding.seed_for(self.run.settings.seed, "explain", entry["name"], number)
        order = torch.randperm(len(own), generator=seeding.generator(seed))
        return to_float(self.held.take(own[order[: DONORS + 1]]), self.run.device)


def _bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
