"""What a run leaves behind: controls, figures on every test set, graph, model, pictures, summary."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import Any

from torch import nn

from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.evaluation.accuracy import accuracies, disagreement, unlabelled
from conceptnet_ml.evaluation.baselines import train_baselines
from conceptnet_ml.evaluation.localization import compare_with_masks
from conceptnet_ml.gallery.album import album
from conceptnet_ml.results.graph_builder import build_graph
from conceptnet_ml.results.model_files import save_model
from conceptnet_ml.results.round_pictures import draw_rounds
from conceptnet_ml.results.summary import to_text
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned, Round


def conclude(ctx: Context, learned: Learned) -> None:
    """Controls, figures, graph, model, pictures and summary; marks the run as done."""
    controls = dict(train_baselines(ctx, learned))
    if learned.refused is not None:
        controls["refused round"] = learned.refused
    families = {
        key: parents.family
        for key, parents in learned.families.items()
        if parents.family is not None and key not in ctx.history.forgotten()
    }
    judged: dict[str, nn.Module] = {f"family {key}": family for key, family in families.items()}
    for story in learned.stories:
        if story.taught is not None and story.decision == "kept":
            before = story.readout.family
            assert before is not None
            judged[f"family {story.readout.key} before {story.name}"] = before
    pictures = draw_rounds(ctx, learned.stories)
    methods: dict[str, nn.Module] = {"ordinary": learned.ordinary, "learned": learned.network, **controls}
    test_sets = _evaluate(ctx, methods, judged)
    with ctx.progress.task("draw graph"):
        r_after = [story.trained.r_after for story in learned.stories if story.trained and story.decision == "kept"]
        graph = build_graph(
            learned.stories,
            learned.network,
            ctx.settings,
            ctx.data.classes,
            r_after[-1] if r_after else None,
            {stage: found.count for stage, found in learned.directions.items()},
            pictures,
        )
        graph = ctx.history.replay(graph)
    drawn = album(ctx, graph, GeneralizedModel(learned.network, families))
    ctx.run.keep_pictures([*drawn, *chain(*pictures.values())])
    with ctx.progress.task("write graph and model"):
        problems = graph.check()
        if problems:
            raise RuntimeError("the concept graph is not sound: " + "; ".join(problems))
        ctx.run.save_graph(graph.to_json())
        save_model(ctx, learned, controls, families)
    summary = {
        "data": ctx.data.name,
        "trap": ctx.settings.data.trap,
        "classes": list(ctx.data.classes),
        "depth": ctx.settings.depth,
        "seed": ctx.settings.seed,
        "images": {"fit": len(ctx.fit), "held_out": len(ctx.held), "skipped": ctx.data.skipped},
        "rounds": [_round(story, ctx.override_rule.overruled.get(story.name, [])) for story in learned.stories],
        "test_sets": test_sets,
        "families": _families(ctx, learned.stories),
        "cost": _cost(ctx, learned.stories),
        "graph": {"nodes": len(graph), "edges": len(graph.edges())},
        "peak_memory_gib": devices.peak_memory(ctx.device),
        "notes": [*ctx.data.notes, *ctx.override_rule.unused_words(learned.stories)],
    }
    if edits := ctx.history.told():
        summary["edits"] = edits
    if learned.directions:
        summary["directions"] = {
            stage: {"discoverer": ctx.settings.plugins.discoverer, "count": one.count, "explained": one.explained}
            for stage, one in learned.directions.items()
        }
    if ctx.settings.data.target is not None:
        summary["target"] = _new_world(ctx, learned, ctx.settings.data.target)
    ctx.run.finish(summary, to_text(summary))


def _evaluate(ctx: Context, methods: dict[str, nn.Module], families: dict[str, nn.Module]) -> dict[str, Any]:
    with ctx.progress.task("evaluate", total=len(ctx.data.tests)) as task:
        table: dict[str, Any] = {}
        for name, images in ctx.data.tests.items():
            work = partial(accuracies, {**methods, **families}, {name: images}, ctx.device, ctx.dtype)
            table |= ctx.once(f"evaluate/{name}", work)
            task.advance()
    return table


def _new_world(ctx: Context, learned: Learned, folder: str) -> dict[str, Any]:
    """How often the ordinary and the learned network disagree on the new world's pictures."""
    images = unlabelled(folder, ctx.size)
    with ctx.progress.task("compare on the new world"):
        found = disagreement(learned.ordinary, learned.network, images, ctx.device, ctx.dtype)
    ctx.run.log(event="target", folder=folder, **found)
    return {"folder": folder, **found}


def _round(story: Round, overruled: list[str]) -> dict[str, Any]:
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
        record["edges"] = {"to": story.below, "stand": sum(edge.is_supported for edge in story.edges)}
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


def _families(ctx: Context, stories: list[Round]) -> list[dict[str, Any]]:
    found = []
    for story in stories:
        if story.family is not None and story.split is not None and story.merged is not None:
            entry = {"name": story.family.key, "stage": story.stage, "accuracy": story.split.accuracy}
            assert story.family.family is not None
            truth = compare_with_masks(ctx, story.family.family)
            found.append({**entry, **({"true_masks": truth} if truth else {})})
    return found


def _cost(ctx: Context, stories: list[Round]) -> dict[str, float]:
    """Seconds, and as multiples of ordinary training in the same run."""
    seconds = {name: ctx.seconds(name) for name in ("ordinary", "probing", "rounds", "controls")}
    spent = (seconds["probing"] + seconds["rounds"]) / max(seconds["ordinary"], 1e-9)
    trained = max(1, sum(story.trained is not None for story in stories))
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "times_ordinary": spent,
        "times_ordinary_per_round": spent / trained,
    }
