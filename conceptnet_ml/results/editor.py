"""Working on the graph of a finished run: merge, split, forget, rename, annotate, undo.

An edit of the graph is surgery on the learned network: it is planned and checked first
(:mod:`conceptnet_ml.editing.plan`), then made on a copy of the network and on a copy of the graph, measured, and
written
as a whole (:mod:`conceptnet_ml.editing.history`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.editing import plan as graph_edits
from conceptnet_ml.editing.by_hand import decisions_by_hand
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.editing.plan import Plan
from conceptnet_ml.errors import DataError, GraphError
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.results.reopen import reopen
from conceptnet_ml.results.summary import to_text
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.hashing import fingerprint
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_ml.surgery.forget import forget_units
from conceptnet_ml.surgery.merge import merge_units
from conceptnet_ml.surgery.split import class_shares, split_unit
from conceptnet_ml.swap.views import Swap

Batches = list[tuple[Tensor, Tensor]]


class Editor:
    """Edits of a finished run. Every one is checked before anything is written, logged, and can be undone.

    ``learn(resume=...)`` goes on from the network as it was edited.

    Nodes are given as the graph returns them, or named as :meth:`ConceptGraph.resolve` takes them: by id,
    ``block3:12``, label, or the user's name. A unit in no feature, which has no node yet, is named so, too.

    Args:
        opened: The run, or its folder.
        plugins, progress: As in :func:`conceptnet_ml.learn`.

    Raises:
        DataError: The run is not finished, or is in use.

    Example::

        run = open_run("runs/cars")
        edits = Editor(run)
        edits.merge("block3:3", "block3:17")
        edits.split("block3:12")
        edits.undo()
    """

    def __init__(
        self, opened: LearnedRun | str | Path, plugins: Plugins | None = None, progress: Progress | None = None
    ) -> None:
        if isinstance(opened, str | Path):
            opened = LearnedRun(Run.open(opened), load_plugins() if plugins is None else plugins)
        self._opened, self._plugins, self.progress = opened, plugins, progress
        self._run: Run = opened._run
        self.history = EditHistory(self._run)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._run.path

    @property
    def graph(self) -> ConceptGraph:
        """The graph as it is now."""
        return ConceptGraph.read(self._run.path)

    def log(self) -> list[dict[str, Any]]:
        """Every edit in order: ``number``, ``time`` (seconds since 1970), ``verb``, ``said``, ``structural``."""
        return self.history.log()

    def merge(self, *nodes: str | Node) -> dict[str, Any]:
        """Several units or features of one stage become one unit; what follows is compensated by least squares.

        Returns:
            The log's entry; ``effects`` says what the result does for each class, ``accuracy`` what the test sets say
            before and after.

        Raises:
            GraphError: Unknown or ambiguous nodes, or what :func:`graph_edits.plan_merge` refuses.
            SettingsError: The network's channels cannot be followed at that stage.
            DataError: The graph is of another network, or the network has NaN or infinite weights.

        Cost: one pass over the probe set to fit, one to re-estimate batch norms, one from the stage on to measure,
        and the test sets.
        """
        return self._edit("merge", nodes, lambda graph, found, number: graph_edits.plan_merge(graph, found, number))

    def split(self, node: str | Node, classes: Sequence[str] = ()) -> dict[str, Any]:
        """A unit becomes one variant per class, or per class named; the network computes what it did.

        Returns, raises and costs as :meth:`merge`, less the fit.
        """
        return self._edit(
            "split",
            (node,),
            lambda graph, found, number: graph_edits.plan_split(
                graph, found[0], number, classes, self._serves_classes(found[0])
            ),
            classes,
        )

    def forget(self, node: str | Node) -> dict[str, Any]:
        """A unit or feature is held at its mean for ever; a generalized feature's family leaves the model.

        Returns, raises and costs as :meth:`merge`, less the fit.
        """
        return self._edit("forget", (node,), lambda graph, found, _: graph_edits.plan_forget(graph, found[0]))

    def rename(self, node: str | Node, name: str) -> dict[str, Any]:
        """Give a node a name of your own, or none. Its id and label stay. Raises GraphError where another has it."""
        return self._edit(
            "rename", (node,), lambda graph, found, _: graph_edits.plan_rename(graph, found[0], name), name
        )

    def annotate(self, node: str | Node, note: str) -> dict[str, Any]:
        """Write something about a node, or take it away."""
        return self._edit(
            "annotate", (node,), lambda graph, found, _: graph_edits.plan_annotate(graph, found[0], note), note
        )

    def undo(self, count: int = 1) -> list[dict[str, Any]]:
        """Take the last edits back: graph, model and summary are bit for bit what they were.

        Raises:
            DataError: There are not so many edits.
        """
        with self._run:
            gone = self.history.undo(count)
        self._opened.refresh()
        return gone

    # ------------------------------------------------------------------------------------------------ parts

    def _edit(
        self,
        verb: str,
        named: Sequence[str | Node],
        plan: Callable[[ConceptGraph, list[Node], int], Plan],
        given: object = (),
    ) -> dict[str, Any]:
        if not self._run.complete:
            raise DataError(f"{self.path} is not finished", f"Finish the run first: learn --resume {self.path}.")
        with self._run:
            self._run.lock()
            self.history.mend()
            self._opened.refresh()
            graph = self.graph
            if edited := [*chain(*decisions_by_hand(self._run))]:
                raise DataError(
                    f"decisions in {self.path / 'graph.json'} were changed by hand: {', '.join(edited)}",
                    f"Go on from them first: learn --resume {self.path}.",
                )
            found = [graph_edits.find_node(graph, name if isinstance(name, str) else name.id) for name in named]
            made = plan(graph, found, len(self.history.log()) + 1)
            entry: dict[str, Any] = {"verb": verb, "said": made.said, "structural": made.structural, "network": None}
            entry["arguments"] = {"nodes": [node.id for node in found], "given": _plain(given)}
            if not made.structural:
                changed = made.delta.apply(graph)
                return self._write(entry | {"delta": made.delta.plain()}, changed)
            return self._operate(entry, made, graph)

    def _serves_classes(self, node: Node) -> bool:
        """Whether the classifier alone reads the node's stage."""
        if node.kind != "unit" or node.stage is None:
            return False
        group = dependency_group(self._opened.model.network, node.stage)
        return all(tie.node is group.trace.result for tie in group.of("reads"))

    def _operate(self, entry: dict[str, Any], made: Plan, graph: ConceptGraph) -> dict[str, Any]:
        """Change the network as planned, measure it, and write all of it."""
        before = self._opened.model.network
        if fingerprint(before.state_dict()) != graph.header.network:
            raise DataError(
                f"{self.path / 'graph.json'} is the graph of another network than model.safetensors holds",
                f"Delete both; learn --resume {self.path} writes them anew.",
            )
        ctx, learned = reopen(self._opened, self._plugins, self.progress)
        with ctx.progress.task(made.said):
            network, effects = before, {}
            if made.stage is not None:
                batches = ctx.probe_views(f"edit {made.stage}", learned.swaps)
                network = self._cut(made, before, graph, batches, ctx)
                effects = _effects(ctx, network, made, learned.swaps, graph)
            edges = [*made.delta.edges, *graph_edits.measured(made.sources, effects)]
            # Where a residual stream ties several stages together, a copy is a new unit of each.
            units = {stage.name: stage.units for stage in network.stages} if made.stage else {}
            delta = replace(made.delta, edges=edges, units=units, network=fingerprint(network.state_dict()))
            changed = delta.apply(graph)
            after = accuracies({"learned": network}, ctx.data.tests, ctx.device, ctx.dtype)
        figures = _before_and_after(self._run.summary()["test_sets"], after)
        entry |= {"network": delta.network if made.stage else None, "delta": delta.plain(), "accuracy": figures}
        entry |= {"family": made.family} if made.family else {}
        entry["effects"] = {changed.node(unit).title: falls for unit, falls in effects.items()}
        return self._write(entry, changed, network, made, after)

    def _cut(
        self, made: Plan, network: StagedNetwork, graph: ConceptGraph, batches: Batches, ctx: Context
    ) -> StagedNetwork:
        assert made.stage is not None
        images = [images for images, _ in batches]
        closed = graph_edits.closed_units(graph, made.stage)
        if made.verb == "merge":
            return merge_units(network, made.stage, made.units, images, closed)
        if made.verb == "split":
            seed = ctx.seed("split", made.stage, made.units)
            shares = class_shares(made.classes, ctx.classes) if made.classes else None
            return split_unit(network, made.stage, made.units[0], len(made.result), shares, seed, closed)
        return forget_units(network, made.stage, made.units, images, closed=closed)

    def _write(
        self,
        entry: dict[str, Any],
        graph: ConceptGraph,
        network: StagedNetwork | None = None,
        made: Plan | None = None,
        after: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The old results are put away, the new ones written, and then the edit is in the log."""
        summary = self._run.summary()
        number = self.history.begin()
        entry = {"number": number, "time": round(time.time(), 3), **entry}
        state = None
        if network is not None and made is not None:
            self._opened.resave(network, without=made.family)
            if made.stage is not None:
                state = network.state_dict()
        for name, row in (after or {}).items():
            summary["test_sets"][name]["learned"] = row["learned"]
        summary["edits"] = [*self.history.told(), f"{number}. {entry['said']}"]
        summary["graph"] = {"nodes": len(graph), "edges": len(graph.edges())}
        self._run.save_graph(graph.to_json())
        self.history.commit(entry, state)
        self._run.finish(summary, to_text(summary))
        self._opened.refresh()
        return entry


def _effects(
    ctx: Context, network: StagedNetwork, made: Plan, swaps: list[Swap], graph: ConceptGraph
) -> dict[str, dict[str, float]]:
    """By unit node and class, the real mean fall of the class's margin when the unit is held at its mean map."""
    if not made.result or made.stage is None:
        return {}
    parents = Readout("classes", network, swaps=swaps)
    evidence = ctx.evidence(made.stage, f"edit {made.stage}", parents)
    falls = evidence.ablation_effects(torch.tensor(made.result))
    known = {node["units"][0]: node["id"] for node in made.delta.nodes if node["kind"] == "unit"}
    known |= {node.units[0]: node.id for node in graph.nodes("unit", stage=made.stage)}
    return {
        known[unit]: dict(zip(ctx.data.classes, falls[:, column].tolist(), strict=True))
        for column, unit in enumerate(made.result)
    }


def _before_and_after(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[float]]:
    return {name: [before[name]["learned"]["accuracy"], row["learned"]["accuracy"]] for name, row in after.items()}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (tuple, list)) else value


__all__ = ["Editor", "GraphError"]
