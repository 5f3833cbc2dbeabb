"""Which classes an image's donors come from where there are many: twelve classes of which known ones share a unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml import steps
from conceptnet_ml.data import Data, ImageSet
from conceptnet_ml.interrupt import Stopper
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.progress import Progress
from conceptnet_ml.runs import Run
from conceptnet_ml.settings import Settings
from conceptnet_ml.workbench import Workbench

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


def workbench(folder: Path, **changes: object) -> Workbench:
    settings = Settings.model_validate({"device": "cpu", **changes})
    names = tuple(f"class{number}" for number in range(CLASSES))
    run = Run.create(folder, settings.model_dump(mode="json"), {}, {}, "0")
    plugins = load_plugins(use_entry_points=False)
    data = Data("marked", names, marked(), {})
    return Workbench(settings, plugins, data, run, Progress(quiet=True), Stopper(), CPU, None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    made = workbench(tmp_path / "run", probe={"partners": 1})
    yield made
    made.run.close()


def test_partners_are_those_a_class_is_most_readily_taken_for_seen_from_either_side(bench: Workbench) -> None:
    found = steps.probe.partners(bench, Units())  # type: ignore[arg-type]
    assert found is not None
    assert found.shape == (CLASSES, 1)
    for one, other in (ALIKE, LEANING):
        assert found[one].tolist() == [other]
        assert found[other].tolist() == [one]
    assert (found[:, 0] != torch.arange(CLASSES)).all()


def test_a_probes_donors_come_from_partners_and_a_views_from_all(bench: Workbench) -> None:
    bench.partners = steps.probe.partners(bench, Units())  # type: ignore[arg-type]
    donors = bench.views(bench.fit, []).donors
    draw, labels = torch.Generator().manual_seed(0), bench.labels
    mine = bench.fit[labels[bench.fit] == ALIKE[0]].repeat(20)
    assert set(labels[donors.foreign(mine, draw)].tolist()) == {ALIKE[1]}
    assert set(labels[donors.uniform(600, draw)].tolist()) == set(range(CLASSES))


@pytest.mark.parametrize(("few", "asked"), [(11, False), (10, True)])
def test_where_all_others_are_few_all_are_partners(few: int, asked: bool, tmp_path: Path) -> None:
    made = workbench(tmp_path / "run", probe={"partners": few})
    found = steps.probe.partners(made, Units())  # type: ignore[arg-type]
    assert (found is not None) is asked
    if found is not None:
        assert found.shape == (CLASSES, few)
        assert all(len({c, *found[c].tolist()}) == few + 1 for c in range(CLASSES))
    made.run.close()


def test_they_are_found_once_in_the_life_of_a_run(bench: Workbench) -> None:
    found = steps.probe.partners(bench, Units())  # type: ignore[arg-type]
    again = steps.probe.partners(bench, nn.Linear(1, 1))  # type: ignore[arg-type]
    assert found is not None
    assert again is not None
    assert torch.equal(found, again)
