"""What a run reports: its rounds, families, costs and notes as plain values, for summary.json and the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from conceptnet_ml.data.load import unlabelled
from conceptnet_ml.data.sampling import few_decide
from conceptnet_ml.evaluation.accuracy import disagreement, uneven
from conceptnet_ml.evaluation.localization import compare_with_masks
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.results.looks import looks_of, share_of
from conceptnet_ml.results.summary import TRAINING
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Closure, Learned, Round


def run_summary(ctx: Context, learned: Learned, test_sets: dict[str, Any], graph: ConceptGraph) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        ctx, learned: The run's, after all rounds and baselines.
        test_sets: Of :func:`conceptnet_ml.evaluation.accuracy.evaluate_run`.
        graph: The run's concept graph.
    """
    summary = {
        "data": ctx.data.name,
        "trap": ctx.settings.data.trap,
        "classes": list(ctx.data.classes),
        "depth": min(ctx.settings.depth, len(learned.network.stage_names)),
        "seed": ctx.settings.seed,
        "images": {"fit": len(ctx.fit), "held_out": len(ctx.held), "skipped": ctx.data.skipped},
        "rounds": [_round(ctx, round) for round in learned.rounds],
        "test_sets": test_sets,
        "families": _families(ctx, learned),
        "cost": _cost(ctx, learned),
        "graph": {"nodes": len(graph), "edges": len(graph.edges())},
        "peak_memory_gib": devices.peak_memory(ctx.device),
        "notes": [*ctx.data.notes, *_remarks(ctx, learned), *ctx.override_rule.unused_words(learned.rounds)],
    }
    if edits := ctx.history.descriptions():
        summary["edits"] = edits
    if learned.directions:
        discoverer = ctx.settings.plugins.discoverer
        summary["directions"] = {
            stage: {"discoverer": discoverer, "count": basis.count, "explained": basis.explained}
            for stage, basis in learned.directions.items()
        }
    if ctx.settings.data.target is not None:
        summary["target"] = _new_world(ctx, learned, ctx.settings.data.target)
    return summary


def _round(ctx: Context, round: Round) -> dict[str, Any]:
    record = round_record(round, ctx.override_rule.overruled.get(round.name, ()))
    share, looks = share_of(round, ctx.held), looks_of(ctx, round)
    return {**record, **({} if share is None else {"share": share}), **({"looks": looks} if looks else {})}


def _remarks(ctx: Context, learned: Learned) -> list[str]:
    """What the figures do not say by themselves."""
    notes = few_decide(len(ctx.held), ctx.classes, ctx.settings.data.holdout) if learned.swaps else []
    counts = torch.bincount(ctx.labels, minlength=ctx.classes)
    if uneven(ctx.labels):
        most, fewest = (ctx.data.classes[int(place)] for place in (counts.argmax(), counts.argmin()))
        notes.append(
            f"uneven classes: {int(counts.max())} training images of {most}, {int(counts.min())} of {fewest}; accuracy "
            "may be that of the most frequent class, see the worst one"
        )
    if ctx.settings.plugins.dreamer != "none" and not learned.swaps:
        notes.append(
            "no round was kept, so there are dreams of classes and of what makes them alone, and no witness judges "
            "them; 'dream' makes any other"
        )
    if ctx.settings.plugins.controls and not learned.epochs:
        controls = ", ".join(ctx.settings.plugins.controls)
        notes.append(
            f"no round was trained, so there is nothing to compare with, and no control was trained: {controls}"
        )
    return notes


def round_record(round: Round, overruled: Sequence[str] = ()) -> dict[str, Any]:
    """A round as plain values: what the summary prints, and what the graph's nodes say of their round. ``overruled``
    are the decisions of this round that the user or the new world overruled, in words.
    """
    record: dict[str, Any] = {
        "name": round.name,
        "stage": round.stage,
        "decision": round.decision,
        "reason": round.reason,
        "representations": [probed.record() for probed in round.probed],
        "chosen": None if round.chosen is None else round.chosen.measured.representation,
        "features": [{"class": found.parent, "units": found.units, "auc": found.auc} for found in round.findings],
    }
    if round.readout.given:
        record["place"] = round.readout.given
    if round.waits:
        record["waits"] = True
    if overruled:
        record["overruled"] = list(overruled)
    if round.channels is not None:
        channels = round.channels
        record["channels"] = {"open": channels.units, "moves": channels.moves, **channels.measured.record()}
    if round.merged is not None:
        record["detector"] = {name: getattr(round.merged, name) for name in ("auc", "coverage", "overlap")}
        record["detector"]["analogies"] = len(round.merged.analogies)
        if round.merged.translation is not None:
            record["detector"]["translation"] = asdict(round.merged.translation)
    if round.edges:
        record["edges"] = {
            "to": round.below,
            "stand": sum(edge.is_supported for edge in round.edges),
            "of": len(round.edges),
            "null": round.edges[0].null,
            "agreement": {edge.parent: edge.agreement for edge in round.edges},
        }
    if round.trained is not None:
        record |= {name: getattr(round.trained, name) for name in ("r_before", "r_after", "r_without")}
        if round.trained.left is not None:
            record["places_left"] = round.trained.left
        for name, sure in (("r_sureness", round.trained.decision.sureness), ("places_sureness", round.trained.asked)):
            if sure is not None:
                record[name] = sure.record()
    if round.swap is not None and round.swap.outside:
        record["exchanged"] = "outside the gates"
    if round.closures:
        record["closures"] = [_closure(check) for check in round.closures]
    if round.refit is not None:
        record["family"] = {name: getattr(round.refit, name) for name in ("before", "blind", "after")}
    if (least := _least_sure(record)) is not None:
        record["sureness"] = least
    return record


def _closure(check: Closure) -> dict[str, Any]:
    sure = {} if check.sureness is None else {"sureness": check.sureness.record()}
    return {"score": check.score, "closed": check.closed, **sure}


def _least_sure(record: dict[str, Any]) -> dict[str, Any] | None:
    """The least sure of the decisions that a round hangs on, with whose it is (``of``); None where one is not known.

    A kept round hangs on the probe of what was chosen and on its training; one that was not on the refusal of every
    representation, the one that was undone on its training.
    """
    chosen, trained = record["chosen"], "r_before" in record
    probes = record["representations"]
    if record["decision"] == "kept":
        probes = [one for one in probes if one["representation"] == chosen]
    elif trained:
        probes = [one for one in probes if one["representation"] != chosen]
    found = [(one["representation"], one.get("sureness")) for one in probes]
    if trained:
        found.append((TRAINING, record.get("r_sureness")))
    if not found or not all(sure for _, sure in found):
        return None
    return min(({"of": of, **sure} for of, sure in found), key=lambda one: float(one["agree"]))


def _families(ctx: Context, learned: Learned) -> list[dict[str, Any]]:
    """Every family: how well it tells the classes apart, and, where the true masks are known, whether it finds them."""
    entries = []
    for round in learned.rounds:
        if round.family is not None and round.family.family is not None and round.split is not None:
            entry = {"name": round.family.key, "stage": round.stage, "accuracy": round.split.accuracy}
            masks = compare_with_masks(ctx, round.family.family)
            entries.append({**entry, **({"true_masks": masks} if masks else {})})
    return entries


def _cost(ctx: Context, learned: Learned) -> dict[str, float | None]:
    """Seconds, and multiples of ordinary training in the same run; None where there was none."""
    seconds = {name: ctx.seconds(name) for name in ("ordinary", "probing", "rounds", "controls")}
    spent = (seconds["probing"] + seconds["rounds"]) / max(seconds["ordinary"], 1e-9)
    trained = max(1, sum(round.trained is not None for round in learned.rounds))
    ordinary = ctx.settings.training.epochs > 0
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "times_ordinary": spent if ordinary else None,
        "times_ordinary_per_round": spent / trained if ordinary else None,
    }


def _new_world(ctx: Context, learned: Learned, folder: str) -> dict[str, Any]:
    """How often the ordinary and the learned network disagree on the new world's pictures."""
    images = unlabelled(folder, ctx.data.read_size)
    with ctx.progress.task("compare on the new world"):
        found = disagreement(learned.ordinary, learned.network, images, ctx.device, ctx.dtype)
    ctx.run.log(event="target", folder=folder, **found)
    return {"folder": folder, **found}
