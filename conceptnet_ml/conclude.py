"""What a run leaves behind: controls, figures on every test set, graph, model, pictures, summary."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from torch import nn

from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.evaluation.accuracy import accuracies, disagreement, unlabelled
from conceptnet_ml.evaluation.baselines import train_controls
from conceptnet_ml.evaluation.localization import compare_with_masks
from conceptnet_ml.gallery.album import album
from conceptnet_ml.learner import Learned
from conceptnet_ml.results import round_pictures as illustrating
from conceptnet_ml.results.graph_builder import draw_graph
from conceptnet_ml.results.model_files import save_model
from conceptnet_ml.results.summary import to_text
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Workbench
from conceptnet_ml.steps.records import Story


def conclude(bench: Workbench, learned: Learned) -> None:
    """Controls, figures, graph, model, pictures and summary; marks the run as done."""
    controls = dict(train_controls(bench, learned))
    if learned.refused is not None:
        controls["refused round"] = learned.refused
    families = {
        key: parents.family
        for key, parents in learned.families.items()
        if parents.family is not None and key not in bench.history.forgotten()
    }
    judged: dict[str, nn.Module] = {f"family {key}": family for key, family in families.items()}
    for story in learned.stories:
        if story.taught is not None and story.decision == "kept":
            before = story.parents.family
            assert before is not None
            judged[f"family {story.parents.key} before {story.name}"] = before
    illustrating.illustrate(bench, learned.stories)
    methods: dict[str, nn.Module] = {"ordinary": learned.ordinary, "learned": learned.network, **controls}
    test_sets = _evaluate(bench, methods, judged)
    with bench.progress.task("draw graph"):
        r_after = [story.trained.r_after for story in learned.stories if story.trained and story.decision == "kept"]
        graph = draw_graph(
            learned.stories,
            learned.network,
            bench.settings,
            bench.data.classes,
            r_after[-1] if r_after else None,
            {stage: found.count for stage, found in learned.directions.items()},
        )
        graph = bench.history.replay(graph)
    drawn = album(bench, graph, GeneralizedModel(learned.network, families))
    bench.run.keep_pictures([*drawn, *(name for story in learned.stories for name in story.pictures)])
    with bench.progress.task("write graph and model"):
        problems = graph.check()
        if problems:
            raise RuntimeError("the concept graph is not sound: " + "; ".join(problems))
        bench.run.save_graph(graph)
        save_model(bench, learned, controls, families)
    summary = {
        "data": bench.data.name,
        "trap": bench.settings.data.trap,
        "classes": list(bench.data.classes),
        "depth": bench.settings.depth,
        "seed": bench.settings.seed,
        "images": {"fit": len(bench.fit), "held_out": len(bench.held), "skipped": bench.data.skipped},
        "rounds": [_round(story, bench.overrule.said.get(story.name, [])) for story in learned.stories],
        "test_sets": test_sets,
        "families": _families(bench, learned.stories),
        "cost": _cost(bench, learned.stories),
        "graph": {"nodes": len(graph), "edges": len(graph.edges())},
        "peak_memory_gib": devices.peak_memory(bench.device),
        "notes": [*bench.data.notes, *bench.overrule.notes(learned.stories)],
    }
    if edits := bench.history.told():
        summary["edits"] = edits
    if learned.directions:
        summary["directions"] = {
            stage: {"discoverer": bench.settings.plugins.discoverer, "count": one.count, "explained": one.explained}
            for stage, one in learned.directions.items()
        }
    if bench.settings.data.target is not None:
        summary["target"] = _new_world(bench, learned, bench.settings.data.target)
    bench.run.finish(summary, to_text(summary))


def _evaluate(bench: Workbench, methods: dict[str, nn.Module], families: dict[str, nn.Module]) -> dict[str, Any]:
    with bench.progress.task("evaluate", total=len(bench.data.tests)) as task:
        table: dict[str, Any] = {}
        for name, images in bench.data.tests.items():
            work = partial(accuracies, {**methods, **families}, {name: images}, bench.device, bench.dtype)
            table |= bench.once(f"evaluate/{name}", work)
            task.advance()
    return table


def _new_world(bench: Workbench, learned: Learned, folder: str) -> dict[str, Any]:
    """How often the ordinary and the learned network disagree on the new world's pictures."""
    images = unlabelled(folder, bench.size)
    with bench.progress.task("compare on the new world"):
        found = disagreement(learned.ordinary, learned.network, images, bench.device, bench.dtype)
    bench.run.log(event="target", folder=folder, **found)
    return {"folder": folder, **found}


def _round(story: Story, overruled: list[str]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": story.name,
        "stage": story.stage,
        "decision": story.decision,
        "reason": story.reason,
        "representations": [judged.record() for judged in story.judged],
        "chosen": None if story.chosen is None else story.chosen.measured.representation,
        "features": [
            {"class": finding.parent, "units": finding.units, "auc": finding.auc} for finding in story.findings
        ],
    }
    if overruled:
        record["overruled"] = overruled
    if story.channels is not None:
        record["channels"] = {"open": story.channels.units, "moves": story.channels.moves}
        record["channels"] |= story.channels.measured.record()
    if story.merged is not None:
        record["detector"] = {
            "auc": story.merged.auc,
            "coverage": story.merged.coverage,
            "overlap": story.merged.overlap,
            "analogies": len(story.merged.analogies),
        }
        if story.merged.translation is not None:
            record["detector"]["translation"] = asdict(story.merged.translation)
    if story.edges:
        agreed = {edge.parent: edge.agreement for edge in story.edges}
        record["edges"] = {"to": story.below, "stand": sum(edge.stands for edge in story.edges)}
        record["edges"] |= {"of": len(story.edges), "null": story.edges[0].null, "agreement": agreed}
    if story.trained is not None:
        trained = story.trained
        record |= {"r_before": trained.r_before, "r_after": trained.r_after, "r_without": trained.r_without}
    if story.closures:
        record["closures"] = [{"score": check.score, "closed": check.closed} for check in story.closures]
    if story.taught is not None:
        taught = story.taught
        record["family"] = {"before": taught.before, "blind": taught.blind, "after": taught.after}
    return record


def _families(bench: Workbench, stories: list[Story]) -> list[dict[str, Any]]:
    found = []
    for story in stories:
        if story.family is not None and story.split is not None and story.merged is not None:
            entry = {"name": story.family.key, "stage": story.stage, "accuracy": story.split.accuracy}
            assert story.family.family is not None
            truth = compare_with_masks(bench, story.family.family)
            found.append({**entry, **({"true_masks": truth} if truth else {})})
    return found


def _cost(bench: Workbench, stories: list[Story]) -> dict[str, float]:
    """Seconds, and as multiples of ordinary training in the same run."""
    seconds = {name: bench.seconds(name) for name in ("ordinary", "probing", "rounds", "controls")}
    spent = (seconds["probing"] + seconds["rounds"]) / max(seconds["ordinary"], 1e-9)
    trained = max(1, sum(story.trained is not None for story in stories))
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "times_ordinary": spent,
        "times_ordinary_per_round": spent / trained,
    }
