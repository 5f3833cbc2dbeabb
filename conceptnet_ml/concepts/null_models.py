"""Networks without knowledge: what attribution finds in them, a figure of a trained network must exceed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.attribution import margin_over_mean, unit_weights
from conceptnet_ml.concepts.model import Detector, Variants
from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import Batches, gather_evidence
from conceptnet_ml.config.settings import ConceptSettings
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.network.batch_norms import estimate_batch_norms
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.runtime import seeding

COPIES = 3

MARGIN = 2.0
"""How many times the largest effect in the copies a feature's units must have: the copies are few, and a network that
is itself random has the largest of four one time in four."""

IMAGES = 512
"""Images on which a copy's batch norms are estimated and its figures taken."""

CONFIRMED = 4
"""Units per answer whose estimated effect is confirmed by ablation in a copy, where only the largest counts."""


def shuffle_weights(readout: Readout, images: Batches, seed: int) -> Readout:
    """A copy of the readout's network, and of its family, whose weights are shuffled within each tensor.

    Every layer keeps its weights' distribution and loses what they had learned (model-parameter randomisation: Adebayo
    et al., arXiv 1810.03292). Running statistics of batch norms, and the unit means and spreads that detectors and
    variants normalise by, are estimated again on these images: the old ones would leave the copy with dead or exploded
    units. The image's normalisation stays.

    Args:
        readout: Left as it is; not frozen, since what freezing puts into batch norms would be copied too.
        images: Float images (B, 3, H, W) and right answers, batch by batch.
        seed: Of the permutations.

    Cost: one forward pass over the images.
    """
    network, family = copy.deepcopy((readout.network, readout.family))  # together, since they share the trunk
    generator = seeding.generator(seed)
    modules: list[nn.Module] = [without_basis(network)]
    if family is not None:
        modules += [family.detector, family.variants]
    for parameter in {id(p): p for module in modules for p in module.parameters()}.values():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        with torch.no_grad():
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    estimate_batch_norms(network, (batch for batch, _ in images))
    copied = replace(readout, network=network, family=family)
    if family is not None and readout.stage is not None:
        _estimate_units(copied, images)
    return copied


def first_images(images: Batches, most: int = IMAGES) -> Batches:
    """The first batches, up to ``most`` images; probe sets are balanced and shuffled."""
    chosen, room = [], most
    for batch, right in images:
        if room > 0:
            chosen.append((batch[:room], right[:room]))
            room -= len(batch)
    return chosen


@torch.no_grad()
def _estimate_units(readout: Readout, images: Batches) -> None:
    """For this package's detector and variants, which normalise by the units' means and spreads; those of plugins
    restore their own statistics."""
    assert readout.family is not None
    normalising = [part for part in readout.family.modules() if isinstance(part, (Detector, Variants))]
    maps = torch.cat([readout.family.trunk(batch).float() for batch, _ in images])
    for part in normalising:
        part.mean.copy_(maps.mean((0, 2, 3)).view_as(part.mean))
        part.scale.copy_(maps.std((0, 2, 3)).clamp_min(1e-3).view_as(part.scale))


def better_than_chance(answers: Tensor, right: Tensor, settings: ConceptSettings) -> bool:
    """Whether answers (N, K) are right often enough to ask what they rest on: ``concepts.knows`` of the way from chance
    to always. Answers at chance rest on nothing, even where weights and gradients are large."""
    chance = 1 / answers.shape[1]
    accuracy = float((answers.argmax(1).cpu() == right.cpu()).float().mean())
    return accuracy >= chance + settings.knows * (1 - chance)


def largest_weight(
    readout: Readout, images: Batches, stage: str, count: int, settings: ConceptSettings, seed: int
) -> float:
    """The largest edge weight to any unit of a stage, of any answer, in :data:`COPIES` shuffled copies.

    Args:
        readout: Whose answers.
        images: Float images and right answers, the first :data:`IMAGES` of which are used.
        count: How many answers there are.

    Cost: per copy, the cost of the weights on :data:`IMAGES` images, and two passes for its batch norms and maps.
    """
    images, largest = first_images(images), 0.0
    for copied in _shuffled_copies(readout, images, seed):
        head = margin_over_mean(copied.head(stage))
        evidence = gather_evidence(copied.network, stage, head, images, count, settings)
        with frozen(*copied.modules()):
            weights, _ = unit_weights(evidence, seed)
        largest = max(largest, float(weights[:, : evidence.width].abs().max()))
    return largest


def largest_effect(
    readout: Readout, images: Batches, stage: str, count: int, settings: ConceptSettings, seed: int
) -> float:
    """The largest fall of an answer's margin by ablation of a unit, in :data:`COPIES` shuffled copies.

    Cost: per copy, on :data:`IMAGES` images, one pass forward and back and :data:`CONFIRMED` forward passes per answer.
    Arguments are as for :func:`largest_weight`.
    """
    images, largest = first_images(images), 0.0
    for copied in _shuffled_copies(readout, images, seed):
        evidence = gather_evidence(copied.network, stage, copied.head(stage), images, count, settings)
        with frozen(*copied.modules()):
            estimated = evidence.estimated_effects()
            units = estimated.topk(min(CONFIRMED, estimated.shape[1]), 1).indices.flatten().unique()
            largest = max(largest, float(evidence.ablation_effects(units).max()))
    return largest


def _shuffled_copies(readout: Readout, images: Batches, seed: int) -> Iterator[Readout]:
    for number in range(COPIES):
        yield shuffle_weights(readout, images, seeding.seed_for(seed, "shuffled", number))
