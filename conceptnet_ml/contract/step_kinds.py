"""What discoverers, stop rules, generalizers and specializers promise, on maps of which the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.evidence import MergeEvidence, SplitEvidence
from conceptnet_ml.concepts.scores import FindEvidence, Finding
from conceptnet_ml.config.settings import ConceptSettings, RoundSettings
from conceptnet_ml.contract.trial import Trial, noise
from conceptnet_ml.errors import PluginError
from conceptnet_ml.network.basis import BasisEvidence, Directions
from conceptnet_ml.records import GATES, Record
from conceptnet_ml.swap.interchangeability import SwapMeasurement
from conceptnet_ml.swap.stop_rule import Decision

UNITS = 8

OWN = {0: 6, 1: 2, 2: 4}
"""The unit that each class's images fire."""


def told_by(unit_of: dict[int, int], count: int = 90) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (N, UNITS, 4, 4) in which each parent's images fire one unit of its own at a random place; the places."""
    draw = torch.Generator().manual_seed(3)
    maps = 0.3 * torch.rand(count, UNITS, 4, 4, generator=draw)
    parents = torch.arange(count) % len(unit_of)
    places = torch.zeros(count, 1, 4, 4)
    for image, (row, column) in enumerate(torch.randint(4, (count, 2), generator=draw).tolist()):
        maps[image, unit_of[int(parents[image])], row, column] += 2
        places[image, 0, row, column] = 1
    return maps, parents, places


def merge_evidence() -> MergeEvidence:
    maps, parents, places = told_by(OWN)
    return MergeEvidence(maps, places, parents, {parent: (unit,) for parent, unit in OWN.items()}, 3, 5)


def find_evidence() -> FindEvidence:
    """For a discoverer: 90 images in two batches, each class told by one unit."""
    maps, parents, _ = told_by(OWN)
    weight = torch.zeros(3, UNITS)
    for parent, unit in OWN.items():
        weight[parent, unit] = 40.0
    batches = [(maps[:40], parents[:40]), (maps[40:], parents[40:])]
    return FindEvidence(batches, lambda these: these.mean((2, 3)) @ weight.T, 3, ConceptSettings())


class Looks(nn.Module):
    """The true places, as a detector's logits."""

    def forward(self, maps: Tensor) -> Tensor:
        return 12 * (maps.amax(1, keepdim=True) > 1.5).float() - 6


def perfect_swap(gate: str) -> SwapMeasurement:
    """The figures of a perfect swap of three classes."""
    met = tuple((host, donor, 9, 9) for host in range(3) for donor in range(3) if host != donor)
    return SwapMeasurement("it", gate, (9,) * 3, (1.0,) * 3, (1.0,) * 3, (0.0,) * 3, 0.1, asked=(9,) * 3, met=met)


def must_be(record: Record, field: str, value: Any, kind: type) -> None:
    """Raise PluginError where what a function of a record returned is of another kind."""
    if not isinstance(value, kind):
        said = f"{field} must return {kind.__name__}, not {type(value).__name__}"
        raise PluginError(f"{record.kind} '{record.name}': {said}", "See docs/plugins.md.")


def found_by(record: Any) -> list[Finding]:
    """What a discoverer finds in :func:`find_evidence`."""
    findings = record.function("find")(find_evidence())
    must_be(record, "find", findings, list)
    for finding in findings:
        must_be(record, "find", finding, Finding)
    return findings


def merged_by(record: Any) -> tuple[nn.Module, Tensor]:
    """The detector of a generalizer for :func:`merge_evidence`, restored from its state, and its logits of the maps."""
    evidence = merge_evidence()
    detector = record.function("merge")(evidence)
    must_be(record, "merge", detector, nn.Module)
    restored = record.function("restore")(detector.state_dict())
    must_be(record, "restore", restored, nn.Module)
    logits = record.guard("merge", restored)(evidence.maps)
    record.must_return("merge", "logits of maps", logits, (90, 1, 4, 4))
    return detector, logits


def split_by(record: Any) -> tuple[nn.Module, Tensor]:
    """The variants of a specializer under a detector that :class:`Looks`, restored, and their answers to the maps."""
    maps, parents, _ = told_by(OWN)
    variants = record.function("split")(SplitEvidence(Looks(), maps, parents, 3, 5))
    must_be(record, "split", variants, nn.Module)
    restored = record.function("restore")(variants.state_dict())
    must_be(record, "restore", restored, nn.Module)
    answers = record.guard("split", restored)(maps, Looks()(maps))
    record.must_return("split", "the answers of variants", answers, (90, 3))
    return variants, answers


def decided_by(record: Any, gate: str = "place") -> Decision:
    """What a stop rule decides of a perfect swap."""
    decision = record.function("decide")(perfect_swap(gate), RoundSettings())
    must_be(record, "decide", decision, Decision)
    return decision  # type: ignore[no-any-return]


CALLS: dict[str, Callable[[Any], object]] = {
    "discoverer": found_by,
    "stop_rule": decided_by,
    "generalizer": merged_by,
    "specializer": split_by,
}


def try_step(record: Record) -> None:
    """Call a step's record once, on small maps of which the answer is known: a mistake is not to be found after an hour
    of training. How good the answer is, is not asked; :mod:`conceptnet_ml.testing` does.

    Raises:
        PluginError: It fails, or does not return what its kind returns.

    Cost: what the record takes for 90 maps of 8 × 4 × 4.
    """
    CALLS[record.kind](record)


def check_discoverer(trial: Trial) -> None:
    """Of maps in which one unit tells each class it finds that unit, with figures, each time the same."""
    record: Any = trial.record
    findings = found_by(record)
    assert sorted(finding.parent for finding in findings) == [0, 1, 2]
    for finding in findings:
        assert OWN[finding.parent] in finding.units
        assert len(finding.units) == len(finding.auc) == len(finding.effect) == len(set(finding.units))
        assert all(0 <= unit < UNITS for unit in finding.units)
        assert all(0 <= auc <= 1 for auc in finding.auc)
        assert 0 < finding.share <= 1
    assert found_by(record) == findings


def check_basis(trial: Trial) -> None:
    """Directions hold more of the maps than random ones, place by place, differentiable, restored from their state."""
    record: Any = trial.record
    if "basis" not in record.functions():
        return  # it looks at units
    maps, _, _ = told_by(OWN)

    def learned(seed: int = 5, **changes: Any) -> Any:
        evidence = BasisEvidence([maps[:40], maps[40:]], seed, ConceptSettings(**changes))
        return record.function("basis")(evidence)

    made = learned()
    assert isinstance(made, nn.Module)
    basis: Any = made
    free = maps.clone().requires_grad_(True)
    coefficients = basis.encode(free)
    count = coefficients.shape[1]
    assert count >= 2
    assert coefficients.shape == (90, count, 4, 4)
    back = basis.decode(coefficients)
    assert back.shape == maps.shape
    (slope,) = torch.autograd.grad(back.square().sum(), free)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0
    # It keeps more of the maps than as many random directions, place by place, and every direction does something.
    whole = BasisEvidence([maps], 0)
    drawn = [whole.explained(Directions(noise(count, UNITS, seed=seed))) for seed in range(3)]
    assert whole.explained(basis) > sum(drawn) / 3 + 0.1
    torch.testing.assert_close(
        basis.encode(maps[3:5, :, 1:3, 2:]), coefficients[3:5, :, 1:3, 2:].detach(), atol=1e-4, rtol=0
    )
    for place in range(count):
        other = coefficients.detach().clone()
        other[:, place] += 1
        assert (basis.decode(other) - back.detach()).abs().max() > 1e-3
    # The same again, from its state, and of the size asked for.
    restored = record.function("restore")(basis.state_dict())
    torch.testing.assert_close(restored.encode(maps), coefficients.detach())
    torch.testing.assert_close(learned().encode(maps), coefficients.detach())
    assert learned(directions=3).encode(maps).shape[1] <= 3


def check_stop_rule(trial: Trial) -> None:
    """:func:`check_decisions` for every kind of gate."""
    for gate in GATES:
        check_decisions(trial, gate)


def check_decisions(trial: Trial, gate: str) -> None:
    """On perfect figures, on those of some classes, on none: a decision with a reason, each time the same."""
    record: Any = trial.record
    perfect = perfect_swap(gate)
    some = replace(perfect, others=(1.0, 1.0, 0.0), mates=(0.0, 0.0, 1.0))
    still = replace(perfect, flips=(0.0,) * 3, others=(0.0,) * 3, met=())
    decide = record.function("decide")
    for figures in (perfect, some, still, replace(still, answered=0.0, images=(0,) * 3)):
        decision = decide(figures, RoundSettings())
        assert isinstance(decision, Decision)
        assert decision.reason
        assert decision == decide(replace(figures), RoundSettings())
        assert decision.classes is None or (decision.keep and set(decision.classes) < {0, 1, 2})
    assert not decide(still, RoundSettings()).keep


def check_generalizer(trial: Trial) -> None:
    """A detector finds the feature of every class, and is restored from its state."""
    record: Any = trial.record
    evidence = merge_evidence()
    detector, restored = merged_by(record)
    logits = detector(evidence.maps)
    torch.testing.assert_close(restored, logits)
    assert torch.isfinite(logits).all()
    # It finds the feature of every class: the highest place is where it is.
    right = logits.flatten(1).argmax(1) == evidence.targets.flatten(1).argmax(1)
    for parent in range(3):
        assert right[evidence.parents == parent].double().mean() > 0.8
    assert torch.equal(record.function("merge")(merge_evidence())(evidence.maps), logits)


def check_specializer(trial: Trial) -> None:
    """Variants tell the classes, read only where the detector looks, and are restored from their state."""
    record: Any = trial.record
    evidence = merge_evidence()
    variants, restored = split_by(record)
    looks = Looks()(evidence.maps)
    answers = variants(evidence.maps, looks)
    torch.testing.assert_close(restored, answers)
    assert (answers.argmax(1) == evidence.parents).double().mean() > 0.95
    # They read only where the detector looks.
    elsewhere = evidence.maps.clone()
    elsewhere += 3 * noise(90, UNITS, 4, 4) * (looks < 0)
    assert (variants(elsewhere, looks) - answers).abs().max() < 0.1 * answers.std()
    # A detector that the record's own kind makes will do as well.
    made = trial.plugins.get("generalizer", "detector").function("merge")(evidence)
    other = record.function("split")(SplitEvidence(made, evidence.maps, evidence.parents, 3, 5))
    assert other(evidence.maps, made(evidence.maps)).shape == (90, 3)
