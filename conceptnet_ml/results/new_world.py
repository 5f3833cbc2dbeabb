"""The new worlds that a run adapts to, and what adapting won and lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptnet_ml.adaptation.curves import OLD_WORLD, Adapter, draw_shots
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.runtime import seeding


@dataclass(frozen=True)
class NewWorld:
    """A world to adapt to.

    Args:
        name: For people.
        pool: Labelled images to draw examples from.
        tests: Its test sets, and those of the old world.
        notes: Sentences for the report.
    """

    name: str
    pool: ImageSet
    tests: dict[str, ImageSet]
    notes: tuple[str, ...] = ()


def new_world(own: Callable[[], Data], settings: Settings, other: Data | None, turned: bool, count: int) -> NewWorld:
    """Other data, or the run's own held-out images with another cue.

    Args:
        own: Loads the run's own data. Where it cannot and there are others, a note says so.
        settings: The run's.
        other: Data with the same classes: the training images are the pool.
        turned: Of the own data, the cue is the label; else it is drawn at random.
        count: Examples wanted per class.

    Raises:
        DataError: A class has fewer images, or the run had no trap, so that its own data have no cue.
    """
    if other is not None:
        draw_shots(other.train.labels, count, 0, classes=other.classes)
        tests = {f"new {name}": images for name, images in other.tests.items()}
        try:
            old = own().tests
        except DataError as error:
            note = f"what is forgotten of the old world is not known: {error.message}"
            return NewWorld(other.name, other.train, tests, (note,))
        return NewWorld(other.name, other.train, tests | {name: old[name] for name in OLD_WORLD if name in old})
    data = own()
    part = "turned train" if turned else "unbiased"
    if part not in data.worlds:
        raise DataError(
            f"the run's own data, {data.name}, have no cue that could be drawn anew: no trap was laid",
            "Give labelled pictures of the new world with --data.",
        )
    seed = seeding.seed_for(settings.seed, "holdout")
    pool = data.worlds[part]().subset(split_holdout(data.train.labels, settings.data.holdout, seed)[1])
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


def adapted_name(name: str | None, data: str | Path | Data | None, turned: bool, count: int) -> str:
    """The name to save an adapted model under: a given one, or one made of the world and the number of examples.

    Raises:
        SettingsError: It cannot be the name of a file.
    """
    if name is None:
        text = data.name if isinstance(data, Data) else str(data)
        folder = Path(text.rpartition(":")[2]).resolve().name or "new"
        name = f"{folder if data is not None else 'turned' if turned else 'random'}-{count}"
    if not name.strip(". ") or "/" in name or "\\" in name:
        raise SettingsError(f"'{name}' cannot name an adapted model", "Choose a plain name, as in sunny-8.")
    return name
