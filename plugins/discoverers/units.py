"""A parent's feature: the smallest set of units that tell it and that its margin rests on."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptnet_ml import FindEvidence, Finding, auroc


def find(evidence: FindEvidence) -> list[Finding]:
    """One finding per class or parent that has units of its own.

    Effects of all units are estimated by gradient × (activation − mean), the strongest are confirmed by real ablation;
    then units with enough AUROC are taken, strongest first, until they cover the wanted share of the positive effect of
    all units that qualify.
    """
    settings = evidence.settings
    scores, right = evidence.scores()
    aucs = torch.stack([auroc(scores, right == parent) for parent in range(evidence.parents)])
    effects = evidence.estimated_effects()
    strongest = effects.topk(min(settings.confirm, effects.shape[1]), 1).indices
    units = strongest.flatten().unique()
    confirmed = evidence.ablation_effects(units)
    for parent in range(evidence.parents):
        mine = torch.isin(units, strongest[parent])
        effects[parent, units[mine]] = confirmed[parent, mine]
    findings = (_cover(parent, aucs[parent], effects[parent], evidence) for parent in range(evidence.parents))
    return [finding for finding in findings if finding is not None]


def _cover(parent: int, auc: Tensor, effect: Tensor, evidence: FindEvidence) -> Finding | None:
    positive = effect.clamp_min(0)
    fit = (auc >= evidence.settings.auc) & (positive > 0)
    if not fit.any():
        return None
    order = torch.where(fit, positive, 0.0).argsort(descending=True)[: int(fit.sum())]
    covered = positive[order].cumsum(0) / positive[order].sum()
    count = int((covered < evidence.settings.coverage).sum()) + 1
    units = order[:count]
    return Finding(
        parent=parent,
        units=tuple(units.tolist()),
        auc=tuple(auc[units].tolist()),
        effect=tuple(effect[units].tolist()),
        share=float(positive[units].sum() / positive.sum().clamp_min(1e-12)),
    )
