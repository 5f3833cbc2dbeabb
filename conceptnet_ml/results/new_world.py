"""The new worlds that a run adapts to, and what adapting won and lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conceptnet_ml.adaptation.curves import OLD_WORLD, Adapter, draw_shots
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.errors import DataError
from conceptnet_ml.runtime import seeding


@dataclass(frozen=True)
class NewWorld:
    """A world to adapt to: labelled images to draw examples from; its test sets, and those of the old world; notes."""

    name: str
    pool: ImageSet
    tests: dict[str, ImageSet]
    notes: tuple[str, ...] = ()


def other_world(own: Callable[[], Data], other: Data, count: int) -> NewWorld:
    """Other data with the run's classes, of whose training images ``count`` per class are drawn.

    Where the run's own data cannot be loaded, a note says so. Raises DataError where a class has too few images.
    """
    draw_shots(other.train.labels, count, 0, classes=other.classes)
    tests = {f"new {name}": images for name, images in other.tests.items()}
    try:
        old = own().tests
    except DataError as error:
        note = f"what is forgotten of the old world is not known: {error.message}"
        return NewWorld(other.name, other.train, tests, (note,))
    return NewWorld(other.name, other.train, tests | {name: old[name] for name in OLD_WORLD if name in old})


def own_world(data: Data, settings: Settings, turned: bool, count: int) -> NewWorld:
    """The run's own held-out images with the cue drawn at random, or (``turned``) with the cue as the label.

    Raises DataError where no trap was laid, so that there is no cue, or a class has fewer images than ``count``.
    """
    part = "turned train" if turned else "unbiased"
    if part not in data.worlds:
        raise DataError(
            f"the run's own data, {data.name}, have no cue that could be drawn anew: no trap was laid",
            "Give labelled pictures of the new world with --data.",
        )
    seed = seeding.seed_for(settings.seed, "holdout")
    pool = data.worlds[part]().subset(split_holdout(data.train, settings.data.holdout, seed)[1])
    draw_shots(pool.labels, count, 0, classes=data.classes)
    turned_test = {"turned test": data.worlds["turned test"]()} if turned else {}
    return NewWorld("turned round" if turned else "random cues", pool, turned_test | data.tests)


def won_and_lost(world: NewWorld, adapters: Mapping[str, Adapter], count: int, draws: int, seed: int) -> dict[str, Any]:
    """Accuracy of every method before and after adapting, on every test set; the learned model's beliefs."""
    curves = {method: adapter.curve((0, count), draws, seed) for method, adapter in adapters.items()}
    tables: dict[str, dict[str, Any]] = {name: {"images": len(images)} for name, images in world.tests.items()}
    for method, (before, after) in curves.items():
        for name, table in tables.items():
            row = after["test_sets"][name]
            table[method] = {"before": before["test_sets"][name]["accuracy"], "after": row["accuracy"]}
            table[method] |= {"lowest": row["lowest"], "highest": row["highest"]}
    forgotten = {method: after.get("forgotten") for method, (_, after) in curves.items()}
    return {"test_sets": tables, "forgotten": forgotten, "beliefs": curves["learned"][1]["beliefs"]}
