"""Two states of one run compared: its ordinary network, what each kept round left, and the learned network.

A concept is known by its units, which mean one thing in the network it was found in. In another state the same units
are looked at over the held-out images that the run keeps: that state has the concept as far as they answer to the same
images, at the same places (:func:`~conceptnet_ml.results.concept_matches.likeness`), as where it was found. What its
answers owe to them is a node's ``effect``, measured in each state: by how much the lead of the right answer falls when
the units are replaced by their mean maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, gather_evidence
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError, nearest
from conceptnet_ml.evaluation.accuracy import answer_set, recorded_answers, set_digest
from conceptnet_ml.graph.naming import called
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import to_float
from conceptnet_ml.results.compare import compared_round, compared_share
from conceptnet_ml.results.comparison import LEARNED, ComparedAccuracy, ComparedFact, ComparedRound, Comparison
from conceptnet_ml.results.concept_matches import (
    ALIKE,
    GRID,
    ConceptInStates,
    ConceptMatch,
    ConceptMatches,
    concept_nodes,
    likeness,
    pooled_maps,
)
from conceptnet_ml.results.concept_targets import ConceptTarget, ConceptTargets, activation_maps
from conceptnet_ml.results.explain import OpenedRun
from conceptnet_ml.results.summary import in_order
from conceptnet_ml.results.verdict import Entry, at
from conceptnet_ml.storage.hashing import fingerprint

ORDINARY = "ordinary"


@dataclass(frozen=True)
class RunState:
    """A network of a run.

    Args:
        name: ``ordinary``, ``learned``, or the name of the kept round that left it.
        title: The same in words.
        rounds: How many rounds had been made.
        network: It.
    """

    name: str
    title: str
    rounds: int
    network: StagedNetwork


def run_states(run: OpenedRun) -> list[RunState]:
    """The states that a run keeps, in their order. A kept round below the top stage has one only where it is the last:
    what follows it starts from the family, and what it left is kept by no name."""
    rounds, before = run.summary()["rounds"], run.networks_before()
    found = [RunState(ORDINARY, "the ordinary network", 0, run.ordinary)]
    for made, entry in enumerate(rounds, 1):
        stage, readout, number = entry["name"].split("/")
        network = before.get(f"{stage}/{readout}/{int(number) + 1}")
        if entry["decision"] == "kept" and network is not None and network is not before.get(entry["name"]):
            found.append(RunState(entry["name"], f"the network after {at(entry)}", made, network))
    return [*found, RunState(LEARNED, "the learned network", len(rounds), run.model.network)]


def state_named(run: OpenedRun, name: str) -> RunState:
    """The state of this name; a number stands for the round of that number about the classes at the top stage. Raises
    SettingsError where there is none."""
    states = run_states(run)
    tops = [state for state in states if state.name.rpartition("/")[0].endswith("/classes")]
    found = [state for state in states if state.name == name] or [
        state for state in tops if state.name.rpartition("/")[2] == name and state.name.split("/")[0] == _top(run)
    ]
    if not found:
        names = [state.name for state in states]
        raise SettingsError(f"{run.folder.path} keeps no state '{name}'", nearest(name, names))
    return found[0]


def _top(run: OpenedRun) -> str:
    return str(run.ordinary.stage_names[-1])


def compare_states(run: OpenedRun, first: str, second: str, answer: bool = False) -> Comparison:
    """Two states of one run, by their names, side by side.

    Of the ordinary and of the learned network the run keeps the answers to its test images; for others, and after
    edits, its data is read and they answer now.

    Args:
        answer: Read the data, too, where the run keeps no held-out images to look at concepts over.

    Raises:
        SettingsError: There is no such state, or it is one twice.
        DataError: The run is not finished or damaged, or its data is needed and cannot be read.
    """
    summary, states = run.summary(), (state_named(run, first), state_named(run, second))
    if states[0] == states[1]:
        raise SettingsError(f"'{first}' and '{second}' are one state of {run.folder.path}", "Name two.")
    prints = [fingerprint(state.network.state_dict()) for state in states]
    names = states[0].name, states[1].name
    return Comparison(
        names,
        (run, run),
        prints[0] == prints[1],
        tuple(_facts(run, summary, states)),
        (),
        (),
        tuple(_accuracy(run, summary, states)),
        tuple(_rounds(summary, states)),
        match_states(run, states, answer or not _is_recorded(states)),
        (states[0].title, states[1].title),
    )


def _is_recorded(states: Sequence[RunState]) -> bool:
    return {state.name for state in states} <= {ORDINARY, LEARNED}


def _facts(run: OpenedRun, summary: Entry, states: Sequence[RunState]) -> Iterator[ComparedFact]:
    made = [summary["rounds"][: state.rounds] for state in states]
    kept = [[at(entry) for entry in some if entry["decision"] == "kept"] for some in made]
    yield ComparedFact("state", (states[0].title, states[1].title))
    yield ComparedFact("rounds made", (str(len(made[0])), str(len(made[1]))))
    yield ComparedFact("of these kept", ("; ".join(kept[0]) or "none", "; ".join(kept[1]) or "none"))
    sizes = [str(sum(weight.numel() for weight in state.network.parameters())) for state in states]
    yield ComparedFact("weights", (sizes[0], sizes[1]))
    if summary.get("edits"):
        edits = [str(len(summary["edits"])) if state.name == LEARNED else "0" for state in states]
        yield ComparedFact("edits of the graph", (edits[0], edits[1]))


def _rounds(summary: Entry, states: Sequence[RunState]) -> Iterator[ComparedRound]:
    for number, entry in enumerate(summary["rounds"], 1):
        made = [number <= state.rounds for state in states]
        if made[0] != made[1]:
            entries = [entry if one else None for one in made]
            yield compared_round(entries, "not made yet")


def _accuracy(run: OpenedRun, summary: Entry, states: Sequence[RunState]) -> Iterator[ComparedAccuracy]:
    tests: dict[str, ImageSet] = {}
    for name in in_order(summary["test_sets"]):
        kept = recorded_answers(run.folder, name)
        if kept is None or not _is_recorded(states):
            tests = tests or dict(run.images().tests)
            images = tests[name]
            given = answer_set(
                {state.name: state.network.to(run.device) for state in states}, images, run.device, run.dtype
            )
            kept = {"images": set_digest(images), "labels": images.labels.cpu(), "answers": given}
        answers = [{**kept, "answers": {LEARNED: kept["answers"][state.name].cpu()}} for state in states]
        right = [(one["answers"][LEARNED] == one["labels"]).double().mean() for one in answers]
        rows = [{"images": len(kept["labels"])}] * 2
        yield compared_share((name, LEARNED), rows, (float(right[0]), float(right[1])), answers, ("paired", ""))


# ------------------------------------------------------------------------------------------------ concepts


def match_states(run: OpenedRun, states: Sequence[RunState], read: bool = False) -> ConceptMatches:
    """Which features of the run's graph the networks of two states have, and what their answers owe to them; the rule
    is at the head of this module. A generalized feature keeps the network it was found in: it is in every state that
    comes after its round. Cost: the held-out images once through each network and stage, and from there on once for
    each feature. Without a graph or held-out images nothing is known, and a note says why.
    """
    try:
        graph, held = run.graph, run.held_out(read)
    except ConceptNetError as error:
        why = error.message if read else f"{error.message}; --answer reads its data"
        return ConceptMatches(notes=(f"{why}.",))
    order = {entry["name"]: number for number, entry in enumerate(run.summary()["rounds"], 1)}
    targets, notes, found = (
        ConceptTargets(graph, run.model, run.networks_before()),
        list[str](),
        list[ConceptInStates](),
    )
    stages = _Stages(run, held)
    for node in concept_nodes(graph):
        round = targets.found_in(node)
        if node.kind == "generalized":
            has = [order.get(str(round), 0) <= state.rounds for state in states]
            found.append(ConceptInStates(node, (has[0], has[1])))
            continue
        try:
            target = targets.target(node)
            if target.lost:
                raise DataError("the run does not keep the network it was found in", "")
            own, *here = (
                stages.maps(targets.in_network(node, network))
                for network in (without_basis(target.network), *(state.network for state in states))
            )
        except (DataError, RuntimeError) as error:  # units that surgery took out of a network, too
            notes.append(f"{called(node)}: {error}.")
            continue
        first, second = (likeness(own, one, held.labels.cpu()) for one in here)
        readout = str(round).split("/")[1] if round else "classes"
        effects = None
        if readout == "classes" or readout.startswith("edit"):
            a, b = (stages.effect(targets.in_network(node, state.network), node) for state in states)
            effects = a, b
        found.append(ConceptInStates(node, (first.mean >= ALIKE, second.mean >= ALIKE), (first, second), effects))
    both = tuple(ConceptMatch((one.node, one.node), None) for one in found if all(one.has))
    only = [tuple(one.node for one in found if one.has[side] and not one.has[1 - side]) for side in (0, 1)]
    return ConceptMatches(both, (only[0], only[1]), len(held), tuple(dict.fromkeys(notes)), tuple(found))


class _Stages:
    """The held-out images' maps in networks, each computed once."""

    def __init__(self, run: OpenedRun, held: ImageSet) -> None:
        self.run, self.held = run, held
        self._evidence: dict[tuple[int, str], FindEvidence] = {}

    def _at(self, target: ConceptTarget) -> FindEvidence:
        key = id(without_basis(target.network)), str(target.layer)
        if key not in self._evidence:
            network = target.network.to(self.run.device)
            parts = torch.arange(len(self.held)).split(self.run.settings.probe.batch)
            device = self.run.device
            batches = [(to_float(self.held.take(part), device), self.held.labels[part].to(device)) for part in parts]
            head = Readout("classes", network).head(str(target.layer))
            classes, settings = len(self.run.classes), self.run.settings.concepts
            self._evidence[key] = gather_evidence(network, str(target.layer), head, batches, classes, settings)
        return self._evidence[key]

    def maps(self, target: ConceptTarget) -> Tensor:
        """(N, h, w), pooled_maps as concepts of two runs are."""
        some = [activation_maps(target, maps) for maps, _ in self._at(target).batches]
        return pooled_maps(torch.cat(some), (GRID, GRID)).cpu()

    def effect(self, target: ConceptTarget, node: Node) -> float:
        """In logits, on images of the concept's class."""
        with frozen(target.network):
            falls = self._at(target).falls([node.units])[:, 0]
        return float(falls[self.run.classes.index(node.classes[0])])
