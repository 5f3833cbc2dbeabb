"""Pictures explained by a run whose cue is planted: what is said of them is what was put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import COARSE, CORNER, PATCH, PLUGINS, SIDE, planted_data, settings
from torch import Tensor

from conceptnet_ml import DataError, Explanation, learn
from conceptnet_ml.drawing.masks import active
from conceptnet_ml.network.training import to_float
from conceptnet_ml.results import explain as explanations
from conceptnet_ml.results.explain import DONORS, explain
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.swap.probe import margin_over_runner_up

pytestmark = pytest.mark.usefixtures("hasty")

PICTURES = 16


def learned(folder: Path, representation: str) -> LearnedRun:
    chosen = settings(
        round={"limit": 1, "closures": 0}, concepts=COARSE, plugins={"representations": (representation,)}
    )
    return learn(planted_data(), settings=chosen, out=folder / "run", plugins=PLUGINS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LearnedRun:
    return learned(tmp_path_factory.mktemp("explained"), "pixels")


@pytest.fixture(scope="module")
def conflict(run: LearnedRun, tmp_path_factory: pytest.TempPathFactory) -> list[Explanation]:
    """Pictures whose patch is the other class's."""
    folder, images = tmp_path_factory.mktemp("pictures"), run.images().tests["conflict"]
    for place, image in enumerate(images.take(torch.arange(PICTURES))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{place:02}.png")
    return run.explain(sorted(folder.iterdir()))


def test_the_answers_are_those_of_predict(run: LearnedRun, conflict: list[Explanation]) -> None:
    for said, one in zip(run.predict([one.file for one in conflict]), conflict, strict=True):
        assert (said["class"], said["ordinary"]) == (one.answer("learned"), one.answer("ordinary"))
        assert said["probability"] == pytest.approx(one.probabilities["learned"][said["class"]])


def test_another_patch_changes_the_ordinary_answer_and_not_the_learned_one(conflict: list[Explanation]) -> None:
    """And a patch of the answer's own class changes neither: the control."""
    exchanges = [one.exchanges[0] for one in conflict]
    assert all(sum(trial.donors for trial in one.trials) == 2 * DONORS for one in exchanges)
    means = {
        name: torch.tensor([one.changed(name) for one in exchanges]).mean(0).tolist()
        for name in ("ordinary", "learned")
    }
    assert means["ordinary"][0] > 0.75
    assert means["ordinary"][1] < 0.2
    assert means["learned"][0] < 0.4
    told = [one for one in exchanges if "ordinary network says" in one.conclusion and "in place of" in one.conclusion]
    assert len(told) > 0.7 * PICTURES


def test_it_is_found_where_it_was_put(conflict: list[Explanation]) -> None:
    patch = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    patch[CORNER : CORNER + PATCH, CORNER : CORNER + PATCH] = True
    shared = [next(each for each in one.concepts if each.node.kind == "generalized") for one in conflict]
    assert [each.says for each in shared] == [one.answer("ordinary") for one in conflict], (
        "they say what the patch says"
    )
    assert sum(each.place == "bottom right" for each in shared) > 0.6 * PICTURES
    inside = torch.from_numpy(np.stack([active(each.unit_map, each.cutoff, each.size) for each in shared])).float()
    assert inside[:, patch].mean() > 3 * inside[:, ~patch].mean()


def test_ranks_and_contributions_are_those_computed_by_hand(run: LearnedRun) -> None:
    held = run.held_out()
    for place in (0, 1):
        image = held.take(torch.tensor([place]))
        (one,) = explain(run, ["x"], image)
        with torch.no_grad():
            for each in one.concepts:
                if each.node.kind != "feature" or each.network != "the ordinary network":
                    continue
                stage, units = str(each.node.stage), list(each.node.units)
                maps = run.ordinary.run_until(to_float(held.images, run.device), stage)
                weighted = maps[:, units].mean(1).flatten(1)
                scores = weighted.topk(max(1, round(0.1 * weighted.shape[1]))).values.mean(1)
                assert each.percentile == pytest.approx(
                    float((scores < scores[place] - 1e-6).double().mean()),
                    abs=0.03,  # its own image may count, by a rounding
                )
                without = maps[place : place + 1].clone()
                without[:, units] = maps.mean(0)[units]
                answers = [run.ordinary.run_from(these, stage) for these in (maps[place : place + 1], without)]
                margins = [float(margin_over_runner_up(these, answers[0].argmax(1))) for these in answers]
                assert each.contribution == pytest.approx(margins[0] - margins[1], abs=1e-3)
                assert each.answer == run.classes[int(answers[0].argmax())]
                taken = len(units) ** 0.5 * (maps[place, units].mean() - without[0, units].mean())
                assert each.excess == pytest.approx(float(taken), abs=1e-4), "by what the ablation takes away"


def test_the_same_pictures_are_explained_the_same_alone_and_together(
    run: LearnedRun, conflict: list[Explanation]
) -> None:
    (alone,) = run.explain([conflict[3].file])
    assert alone.exchanges[0].record()["trials"] == conflict[3].exchanges[0].record()["trials"]
    assert [one.node.id for one in alone.concepts] == [one.node.id for one in conflict[3].concepts]


def test_what_a_run_does_not_keep_is_left_out_and_said(run: LearnedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    image = run.held_out().take(torch.tensor([0]))
    monkeypatch.setattr(LearnedRun, "networks_before", lambda self: {})
    (one,) = explain(run, ["x"], image)
    assert not one.exchanges
    assert any("does not keep the network that it started from" in words for words in one.left_out)
    assert any("does not keep the network in which it was found" in words for words in one.left_out)
    assert all(each.node.kind == "generalized" for each in one.concepts), "families keep their trunk"
    summary = run.summary()
    below = [{**entry, "name": "block2/block3.1/1"} for entry in summary["rounds"] if entry["decision"] == "kept"]
    monkeypatch.setattr(LearnedRun, "summary", lambda self: {**summary, "rounds": below})
    assert "about what a family says" in " ".join(explain(run, ["x"], image)[0].left_out)
    monkeypatch.setattr(LearnedRun, "summary", lambda self: {**summary, "rounds": []})
    assert any("No round was kept" in words for words in explain(run, ["x"], image)[0].left_out)


def test_where_surroundings_are_exchanged_the_inside_stays(run: LearnedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    image = run.images().tests["conflict"].take(torch.tensor([0]))
    summary = run.summary()
    turned = [{**entry, "exchanged": "outside the gates"} for entry in summary["rounds"]]
    (inside,) = explain(run, ["x"], image)
    monkeypatch.setattr(LearnedRun, "summary", lambda self: {**summary, "rounds": turned})
    (outside,) = explain(run, ["x"], image)
    for one, other in zip(inside.exchanges[0].trials, outside.exchanges[0].trials, strict=True):
        assert other.opened == pytest.approx(1 - one.opened)
        kept, donor = (one.swapped == one.donor).all(0), (other.swapped == one.donor).all(0)
        assert (kept ^ donor).float().mean() > 0.95, "each place comes from one side or the other"


def test_gates_are_weighed_against_what_a_network_decides(
    run: LearnedRun, conflict: list[Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that is taken for a million times as loud as it is, nothing is worth the price of a gate."""
    asked: list[Tensor] = []

    def deafening(logits: object, images: Tensor, dtype: object) -> float:
        asked.append(images)
        return 1e6

    monkeypatch.setattr(explanations, "loudness", deafening)
    again = run.explain([one.file for one in conflict[:2]])
    for before, one in zip(conflict, again, strict=False):
        assert all(trial.opened > 0 for trial in before.exchanges[0].trials)
        assert all(trial.opened == 0 for trial in one.exchanges[0].trials)
    assert len(asked) == 1, "a network is asked once, for all pictures"


def test_a_gate_on_channels_is_the_one_that_the_run_keeps(tmp_path: Path) -> None:
    run = learned(tmp_path, "fourier")
    image = run.images().tests["conflict"].take(torch.tensor([0]))
    (one,) = explain(run, ["x"], image)
    others, mates = one.exchanges[0].changed("ordinary")
    assert others > 0.75
    assert mates < 0.25
    assert [(trial.gate, trial.opened) for trial in one.exchanges[0].trials] == [(None, 1.0)] * 2
    run.folder.forget_step(f"{one.exchanges[0].round}/shared-gate-fourier")
    (without,) = explain(run, ["x"], image)
    assert not without.exchanges
    assert "the run does not keep its gate" in " ".join(without.left_out)


def test_pictures_of_another_size_than_the_runs_images_are_refused(run: LearnedRun) -> None:
    with pytest.raises(DataError, match=r"images are 32×32 px, as its trap made them, and not 24×16"):
        explain(run, ["x"], torch.zeros(1, 3, 16, 24, dtype=torch.uint8))


def test_whose_pictures_are_gone_is_said(run: LearnedRun, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run.explain([tmp_path / "gone.png"])
