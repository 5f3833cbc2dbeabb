"""Working on the graph of a finished run: merge, split, forget, rename, annotate, undo.

An edit of the graph is surgery on the learned network. It is planned and checked on the graph alone
(:mod:`conceptnet_ml.editing.plan`), then made on copies of the network and the graph, measured, and written as a whole
(:mod:`conceptnet_ml.editing.history`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.editing import plan as plans
from conceptnet_ml.editing.history import EditHistory, decisions_by_hand
from conceptnet_ml.editing.plan import EditPlan
from conceptnet_ml.errors import DataError, quoted
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
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


class Editor:
    """Edits of a finished run. Every one is checked before anything is written, logged, and can be undone;
    ``learn(resume=...)`` goes on from the edited network.

    Nodes are given as the graph returns them, or named as :meth:`ConceptGraph.resolve` takes them: by id,
    ``block3:12``, label, or the user's name. A unit in no feature, which has no node yet, is named ``block3:12``, too.
    Raises DataError where the run is not finished, or is in use.

    Args:
        opened: The run, or its folder.
        plugins: To open a folder with; default: the built-ins and what is installed.
        progress: As in :func:`conceptnet_ml.learn`.

    Example::

        edits = Editor("runs/cars")
        edits.merge("block3:3", "block3:17")
        edits.split("block3:12")
        edits.undo()
    """

    def __init__(
        self, opened: LearnedRun | str | Path, plugins: Plugins | None = None, progress: Progress | None = None
    ) -> None:
        if isinstance(opened, str | Path):
            opened = LearnedRun(Run.open(opened), load_plugins() if plugins is None else plugins)
        self._opened, self.progress = opened, progress
        self._run: Run = opened.folder
        self.history = EditHistory(self._run)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._run.path

    @property
    def graph(self) -> ConceptGraph:
        """The graph as it is now."""
        return ConceptGraph.read(self.path)

    def log(self) -> list[dict[str, Any]]:
        """Every edit in order: ``number``, ``time`` (seconds since 1970), ``verb``, ``said``, ``structural``."""
        return self.history.log()

    def merge(self, *nodes: str | Node) -> dict[str, Any]:
        """Several units or features of one stage become one unit; what follows is compensated by least squares.

        Returns:
            The log's entry; ``effects`` says what the result does for each class, ``accuracy`` what the test sets say
            before and after.

        Raises:
            GraphError: Unknown or ambiguous nodes, or what :func:`plans.plan_merge` refuses.
            SettingsError: The network's channels cannot be followed at that stage.
            DataError: The graph is of another network, or the network has NaN or infinite weights.

        Cost: one pass over the probe set to fit, one to re-estimate batch norms, one from the stage on to measure,
        and the test sets.
        """
        return self._edit("merge", nodes, plans.plan_merge)

    def split(self, node: str | Node, classes: Sequence[str] = ()) -> dict[str, Any]:
        """A unit becomes one variant per class, or per class named; the network computes what it did.

        Returns, raises and costs as :meth:`merge`, less the fit.
        """

        def plan(graph: ConceptGraph, nodes: list[Node], number: int) -> EditPlan:
            return plans.plan_split(graph, nodes[0], number, classes, self._serves_classes(nodes[0]))

        return self._edit("split", (node,), plan, list(classes))

    def forget(self, node: str | Node) -> dict[str, Any]:
        """A unit or feature is held at its mean for ever; a generalized feature's family leaves the model.

        Returns, raises and costs as :meth:`merge`, less the fit.
        """
        return self._edit("forget", (node,), lambda graph, nodes, _: plans.plan_forget(graph, nodes[0]))

    def rename(self, node: str | Node, name: str) -> dict[str, Any]:
        """Give a node a name of your own, or none. Its id and label stay. Raises GraphError where another has it."""
        return self._edit("rename", (node,), lambda graph, nodes, _: plans.plan_rename(graph, nodes[0], name), name)

    def annotate(self, node: str | Node, note: str) -> dict[str, Any]:
        """Write something about a node, or take it away."""
        return self._edit("annotate", (node,), lambda graph, nodes, _: plans.plan_annotate(graph, nodes[0], note), note)

    def undo(self, count: int = 1) -> list[dict[str, Any]]:
        """Take the last edits back: graph, model and summary are bit for bit what they were. Raises DataError where
        there are not so many edits.
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
        make_plan: Callable[[ConceptGraph, list[Node], int], EditPlan],
        given: str | Sequence[str] = (),
    ) -> dict[str, Any]:
        """Plan an edit, make it, and write it; returns the log's entry."""
        if not self._run.complete:
            raise DataError(f"{self.path} is not finished", f"Finish the run first: learn --resume {quoted(self.path)}")
        with self._run:
            self._run.lock()
            self.history.repair()
            self._opened.refresh()
            graph = self.graph
            if edited := [*chain(*decisions_by_hand(self._run))]:
                raise DataError(
                    f"decisions in {self.path / 'graph.json'} were changed by hand: {', '.join(edited)}",
                    f"Go on from them first: learn --resume {quoted(self.path)}",
                )
            nodes = [plans.find_node(graph, name if isinstance(name, str) else name.id) for name in named]
            plan = make_plan(graph, nodes, len(self.history.log()) + 1)
            entry: dict[str, Any] = {"verb": verb, "said": plan.description, "structural": plan.structural}
            arguments = {"nodes": [node.id for node in nodes], "given": given if isinstance(given, str) else [*given]}
            entry |= {"network": None, "arguments": arguments}
            if plan.structural:
                return self._operate(entry, plan, graph)
            return self._write(entry | {"delta": plan.delta.plain()}, plan, plan.delta.apply(graph))

    def _serves_classes(self, node: Node) -> bool:
        """Whether the classifier alone reads the node's stage."""
        if node.kind != "unit" or node.stage is None:
            return False
        group = dependency_group(self._opened.model.network, node.stage)
        return all(tie.node is group.trace.result for tie in group.of("reads"))

    def _operate(self, entry: dict[str, Any], plan: EditPlan, graph: ConceptGraph) -> dict[str, Any]:
        """Change the network as planned, measure it, and write all of it."""
        network = self._opened.model.network
        if fingerprint(network.state_dict()) != graph.header.network:
            raise DataError(
                f"{self.path / 'graph.json'} is the graph of another network than model.safetensors holds",
                f"Delete both; learn --resume {quoted(self.path)} writes them anew.",
            )
        ctx, learned = self._opened.reopen(self.progress)
        with ctx.progress.task(plan.description):
            effects, units = {}, {}
            if plan.stage is not None:
                network = _change_units(ctx, network, plan, learned.swaps)
                effects = _effects(ctx, network, plan, graph, learned.swaps)
                # Where a residual stream ties several stages together, a copy is a new unit of each.
                units = {stage.name: stage.units for stage in network.stages}
            edges = [*plan.delta.edges, *plans.measured_edges(plan.sources, effects)]
            delta = replace(plan.delta, edges=edges, units=units, network=fingerprint(network.state_dict()))
            changed = delta.apply(graph)
            test_sets = accuracies({"learned": network}, ctx.data.tests, ctx.device, ctx.dtype, ctx.data.classes)
        before = self._run.summary().get("test_sets", {})
        entry |= {"network": delta.network if plan.stage else None, "delta": delta.plain()}
        entry["accuracy"] = {
            name: [row["learned"]["accuracy"] for row in (before[name], after)]
            for name, after in test_sets.items()
            if name in before
        }
        entry |= {"family": plan.family} if plan.family else {}
        entry["effects"] = {changed.node(unit).title: falls for unit, falls in effects.items()}
        return self._write(entry, plan, changed, network, test_sets)

    def _write(
        self,
        entry: dict[str, Any],
        plan: EditPlan,
        graph: ConceptGraph,
        network: StagedNetwork | None = None,
        test_sets: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Put the old results away, write the new ones, and then log the edit.

        Args:
            entry: The log's, without number and time.
            network: The learned network of an edit that changes the network or the model, and
            test_sets: its accuracies.
        """
        summary = self._run.summary()
        number = self.history.begin()
        entry = {"number": number, "time": round(time.time(), 3), **entry}
        for name, row in test_sets.items():
            summary["test_sets"][name]["learned"] = row["learned"]
        if test_sets:
            summary.pop("answers", None)  # the network that gave them is no more
        summary["edits"] = [*self.history.descriptions(), f"{number}. {entry['said']}"]
        summary["graph"] = {"nodes": len(graph), "edges": len(graph.edges())}
        try:
            if network is not None:
                self._opened.resave(network, without=plan.family)
            self._run.save_graph(graph.to_json())
            self._run.save_summary(summary, to_text(summary))
            self._run.remove_page()
            self.history.commit(entry, None if network is None or plan.stage is None else network.state_dict())
        except BaseException:
            with contextlib.suppress(DataError):  # a full disk: done when the run is opened again
                self.history.repair()
            raise
        finally:
            self._opened.refresh()
        return entry


def _change_units(ctx: Context, network: StagedNetwork, plan: EditPlan, swaps: list[Swap]) -> StagedNetwork:
    """A copy of the network with the plan's units merged, split or forgotten."""
    assert plan.stage is not None
    images = [images for images, _ in ctx.probe_views(f"edit {plan.stage}", swaps)]
    if plan.verb == "merge":
        return merge_units(network, plan.stage, [plan.units], images)
    if plan.verb == "split":
        seed = ctx.seed("split", plan.stage, plan.units)
        shares = class_shares(plan.classes, ctx.classes) if plan.classes else None
        return split_unit(network, plan.stage, plan.units[0], len(plan.result), shares, seed)
    return forget_units(network, plan.stage, plan.units, images)


def _effects(
    ctx: Context, network: StagedNetwork, plan: EditPlan, graph: ConceptGraph, swaps: list[Swap]
) -> dict[str, dict[str, float]]:
    """By unit node and class, the real mean fall of the class's margin when the unit is held at its mean map."""
    if not plan.result or plan.stage is None:
        return {}
    readout = Readout("classes", network, swaps=swaps)
    evidence = ctx.evidence(plan.stage, f"edit {plan.stage}", readout)
    falls = evidence.ablation_effects(torch.tensor(plan.result))
    ids = {node["units"][0]: node["id"] for node in plan.delta.nodes if node["kind"] == "unit"}
    ids |= {node.units[0]: node.id for node in graph.nodes("unit", stage=plan.stage)}
    return {
        ids[unit]: dict(zip(ctx.data.classes, falls[:, column].tolist(), strict=True))
        for column, unit in enumerate(plan.result)
    }
