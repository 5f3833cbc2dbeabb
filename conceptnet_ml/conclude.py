"""What a run leaves behind: baselines, accuracy on every test set, graph, pictures, model, report, page."""

from __future__ import annotations

from itertools import chain

from torch import nn

from conceptnet_ml.concepts.model import Family, GeneralizedModel
from conceptnet_ml.evaluation.accuracy import evaluate_run
from conceptnet_ml.evaluation.baselines import train_baselines
from conceptnet_ml.evaluation.witness import witness_of
from conceptnet_ml.galleries.album import album
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.report.page import write_page
from conceptnet_ml.results.answers import compare_answers
from conceptnet_ml.results.graph_builder import build_graph
from conceptnet_ml.results.model_files import kept_families, networks_before, save_model
from conceptnet_ml.results.report import run_summary
from conceptnet_ml.results.round_pictures import draw_rounds
from conceptnet_ml.results.summary import to_text
from conceptnet_ml.runtime import ranks
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned


def conclude(ctx: Context, learned: Learned) -> None:
    """Write everything a run leaves behind and mark it as done. Several ranks train its baselines and its witness
    together; what is left is the first one's."""
    baselines = train_baselines(ctx, learned)
    if ranks.size() > 1 and learned.swaps and ctx.settings.plugins.dreamer != "none" and ctx.settings.dreams.witness:
        witness_of(ctx)
    ranks.first(lambda: _write(ctx, learned, baselines))


def _write(ctx: Context, learned: Learned, baselines: dict[str, StagedNetwork]) -> None:
    if learned.refused is not None:
        baselines["refused round"] = learned.refused
    families = kept_families(ctx, learned)
    round_pictures = draw_rounds(ctx, learned.rounds)
    test_sets = evaluate_run(ctx, _networks(learned, baselines, families))
    answers = compare_answers(ctx, learned)
    with ctx.progress.task("draw graph"):
        graph = ctx.history.apply(build_graph(learned, ctx.settings, ctx.data.classes, round_pictures))
    model, before = GeneralizedModel(learned.network, families), networks_before(learned)
    node_pictures = album(ctx, graph, model, before, brief=not learned.swaps)
    drawn = [answers["picture"]] if answers.get("picture") else []
    ctx.run.keep_pictures([*node_pictures, *chain(*round_pictures.values()), *drawn])
    with ctx.progress.task("write graph and model"):
        problems = graph.check()
        if problems:
            raise RuntimeError("the concept graph is not sound: " + "; ".join(problems))
        ctx.run.save_graph(graph.to_json())
        save_model(ctx, learned, baselines, families)
    summary = run_summary(ctx, learned, test_sets, graph) | ({"answers": answers} if answers else {})
    ctx.run.finish(summary, to_text(summary))
    with ctx.progress.task("write report"):
        write_page(ctx.run)


def _networks(
    learned: Learned, baselines: dict[str, StagedNetwork], families: dict[str, Family]
) -> dict[str, nn.Module]:
    """All that is evaluated, by name; a family that a kept round refitted also as it was before."""
    networks: dict[str, nn.Module] = {"ordinary": learned.ordinary, "learned": learned.network, **baselines}
    networks |= {f"family {key}": family for key, family in families.items()}
    for round in learned.rounds:
        if round.refit is not None and round.decision == "kept" and round.readout.family is not None:
            networks[f"family {round.readout.key} before {round.name}"] = round.readout.family
    return networks
