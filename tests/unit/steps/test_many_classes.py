"""Many classes: whose donors an image meets, and a feature that some of the classes share only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import probe_representation, swap_of
from conceptnet_ml.steps.probe import choose_partners
from conceptnet_ml.steps.records import Site
from conceptnet_ml.storage.run_folder import Run

CPU = torch.device("cpu")
CLASSES, SIDE, EACH = 12, 8, 10
ALIKE = (3, 8)
"""Two classes that have a mark in common."""
LEANING = (5, 6)
"""Images of the first of them have a little of the second's mark, those of the second nothing of the first's."""
COMMON, SECOND = CLASSES, CLASSES + 1
"""Where the mark is that two classes share, and from where on the second marks of the others are, each its own."""


def second(labels: Tensor) -> Tensor:
    return torch.where(torch.isin(labels, torch.tensor(ALIKE)), COMMON, SECOND + labels)


def marked() -> ImageSet:
    """Each class has two bright pixels: one of its own, and another that two classes have in common."""
    labels = torch.arange(CLASSES * EACH) % CLASSES
    marks = torch.zeros(len(labels), SIDE * SIDE)
    marks[torch.arange(len(labels)), labels] = 1
    marks[torch.arange(len(labels)), second(labels)] = 1
    marks[labels == LEANING[0], LEANING[1]] = 0.6
    images = (255 * marks).view(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1)
    return ImageSet(images.to(torch.uint8), labels)


class Units(nn.Module):
    """A unit per pixel; a class's logit is the sum of its two units."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.eye(CLASSES, SIDE * SIDE)
        weight[torch.arange(CLASSES), second(torch.arange(CLASSES))] = 1
        self.weight = nn.Parameter(5 * weight)

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0].flatten(1) @ self.weight.T


def workbench(folder: Path, images: ImageSet, **changes: object) -> Context:
    settings = Settings.model_validate({"device": "cpu", **changes})
    names = tuple(f"class{number}" for number in range(int(images.labels.max()) + 1))
    run = Run.create(folder, settings.model_dump(mode="json"), {}, {}, "0")
    plugins = load_plugins(use_entry_points=False)
    data = Data("generated", names, images, {})
    return Context(settings, plugins, data, run, Progress(quiet=True), Stopper(), CPU, None)


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    made = workbench(tmp_path / "run", marked(), probe={"partners": 1})
    yield made
    made.run.close()


def test_partners_are_those_a_class_is_most_readily_taken_for_seen_from_either_side(ctx: Context) -> None:
    found = choose_partners(ctx, Units())  # type: ignore[arg-type]
    assert found is not None
    assert found.shape == (CLASSES, 1)
    for one, other in (ALIKE, LEANING):
        assert found[one].tolist() == [other]
        assert found[other].tolist() == [one]
    assert (found[:, 0] != torch.arange(CLASSES)).all()


def test_a_probes_donors_come_from_partners_and_a_views_from_all(ctx: Context) -> None:
    ctx.partners = choose_partners(ctx, Units())  # type: ignore[arg-type]
    donors = ctx.views(ctx.fit, []).donors
    draw, labels = torch.Generator().manual_seed(0), ctx.labels
    mine = ctx.fit[labels[ctx.fit] == ALIKE[0]].repeat(20)
    assert set(labels[donors.foreign(mine, draw)].tolist()) == {ALIKE[1]}
    assert set(labels[donors.uniform(600, draw)].tolist()) == set(range(CLASSES))


@pytest.mark.parametrize(("few", "asked"), [(11, False), (10, True)])
def test_where_all_others_are_few_all_are_partners(few: int, asked: bool, tmp_path: Path) -> None:
    made = workbench(tmp_path / "run", marked(), probe={"partners": few})
    found = choose_partners(made, Units())  # type: ignore[arg-type]
    assert (found is not None) is asked
    if found is not None:
        assert found.shape == (CLASSES, few)
        assert all(len({c, *found[c].tolist()}) == few + 1 for c in range(CLASSES))
    made.run.close()


def test_they_are_found_once_in_the_life_of_a_run(ctx: Context) -> None:
    found = choose_partners(ctx, Units())  # type: ignore[arg-type]
    again = choose_partners(ctx, nn.Linear(1, 1))  # type: ignore[arg-type]
    assert found is not None
    assert again is not None
    assert torch.equal(found, again)


FIELD = 16
INKS = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
SHADES = 5
DIGITS = tuple((row, column) for row in (1, 13) for column in (1, 5, 9, 13))
PATCHED = (0, 1, 2)


def patches_on_some(each: int = 40) -> ImageSet:
    """Eight classes with a row of grey squares above and another below, in five shades, from 0 to 4. A patch in a
    colour of its own, anywhere between the rows, tells the first three classes; the others are told by the sum of all
    shades modulo five."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(8 * each) % 8
    images = torch.zeros(len(labels), 3, FIELD, FIELD)
    shades = torch.randint(SHADES, (len(labels), len(DIGITS)), generator=draw)
    told = labels - len(PATCHED)  # says nothing of the patched ones: their patch is louder
    shades[:, 0] = (shades[:, 0] + told - shades.sum(1)) % SHADES
    for image, label in enumerate(labels.tolist()):
        for (row, column), shade in zip(DIGITS, shades[image].tolist(), strict=True):
            images[image, :, row : row + 2, column : column + 2] = shade / (SHADES - 1)
        if label in PATCHED:
            down, right = 5 + int(torch.randint(4, (1,), generator=draw)), int(torch.randint(13, (1,), generator=draw))
            images[image, :, down : down + 3, right : right + 3] = INKS[label].view(3, 1, 1)
    return ImageSet((images * 255).round().to(torch.uint8), labels)


class PatchesAndShades(nn.Module):
    """Right on all of these images: by the patch where there is one, else by the shades."""

    def forward(self, images: Tensor) -> Tensor:
        found = [images[:, :, row : row + 2, column : column + 2].mean((1, 2, 3)) for row, column in DIGITS]
        total = (SHADES - 1) * torch.stack(found).sum(0)
        angles = 2 * torch.pi / SHADES * (total[:, None] - torch.arange(SHADES, device=images.device))
        field, patches = images[:, :, 4:12], []
        for ink in INKS:
            like = (field * (2 * ink - 1).view(3, 1, 1)).sum(1, keepdim=True) / ink.sum()
            patches.append(nn.functional.avg_pool2d(like, 3, 1).flatten(1).amax(1))
        return torch.cat([12 * torch.stack(patches, 1), 4 * angles.cos()], 1)


def test_a_feature_of_some_classes_is_kept_for_exactly_these(tmp_path: Path) -> None:
    """A patch can be exchanged; a shade that comes in from a class-mate breaks the sum it is a part of."""
    probe = {"cells": 16, "dreamt": 0}  # the network has no stages to predict gates from
    ctx = workbench(tmp_path / "run", patches_on_some(), probe=probe, data={"holdout": 0.45})
    parents = Readout("classes", PatchesAndShades())  # type: ignore[arg-type]
    judged = probe_representation(ctx, Site("", parents, "probe"), ctx.codec("pixels"))
    measured, shared = judged.measured, judged.decision
    assert measured.answered == 1.0
    assert max(measured.mates[: len(PATCHED)]) < 0.1
    assert min(measured.mates[len(PATCHED) :]) > 0.4
    assert shared.keep
    assert shared.classes == PATCHED
    # In views a patch goes and comes; of a shaded image's own nothing is touched but where a patch comes in.
    swap = swap_of(ctx, Site("", parents, "probe"), judged)
    assert swap.gates is not None
    has_one = torch.isin(ctx.labels, torch.tensor(PATCHED))
    opened = swap.gates.flatten(1).amax(1) > ctx.settings.probe.threshold
    assert torch.equal(opened, has_one)
    assert swap.gates[~has_one].abs().max() == 0
    shaded = ctx.labels.new_tensor([number for number in range(len(has_one)) if not has_one[number]])
    images = ctx.views(ctx.fit, []).raw(shaded)
    draw = torch.Generator().manual_seed(0)
    donors = shaded[torch.randint(len(shaded), (len(shaded),), generator=draw)]
    among = swap.apply(images, ctx.views(ctx.fit, []).raw(donors), shaded, donors)
    assert torch.equal(among, images)
    # All classes' gates, where all share it.
    everyone = swap_of(ctx, Site("", parents, "probe"), replace(judged, decision=replace(shared, classes=None)))
    assert everyone.gates is not None
    assert (everyone.gates[~has_one].flatten(1).amax(1) > 0.5).float().mean() > 0.9
    ctx.run.close()
