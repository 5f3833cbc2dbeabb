"""A data set looked at before anything is trained: which properties tell its classes, copies, balance, broken files.

1. Load the images as ``learn`` would, broken files left out and listed.
2. Measure every image once: properties of its pixels, a hash, a thumbnail; facts of its file.
3. For each property train a tiny classifier of nothing else, and score it on held-out images, on the test sets, and on
   shuffled labels.
4. Where a place tells far, look for the box in it that does.
5. Compare all images for near-duplicates. What tells far is a finding: it *could* be a shortcut.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import PROGRAM, command, flatten, source_of
from conceptnet_ml.config.values import show_value, trap_arguments
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.traps import cues_of_sets
from conceptnet_ml.errors import DataError, quoted
from conceptnet_ml.inspect.file_facts import file_facts
from conceptnet_ml.inspect.findings import (
    ShortcutFinding,
    class_counts,
    list_findings,
    verdict_sentence,
    why_no_property,
)
from conceptnet_ml.inspect.near_duplicates import Hashed, NearDuplicates, find_duplicates
from conceptnet_ml.inspect.pixel_measures import REGIONS, pixel_measures, region_measures, thumbnails
from conceptnet_ml.inspect.place_box import with_box
from conceptnet_ml.inspect.property_results import (
    LEVELS,
    TRAIN,
    Facts,
    PropertyResult,
    ScoredSets,
    file_results,
    pixel_results,
)
from conceptnet_ml.inspect.property_rule import Labels, Numbers
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.seeding import seed_for

LEAST = 2
"""Fewest training images of a class that can be looked at."""

FITTED = 6000
"""Most training images that rules are fitted to, as many of each class as can be."""

HINTED = 1000
"""Most training images that :func:`telling_place` looks at."""

PAIRS = 1000
"""Most pairs of near-duplicates that are listed by name."""

_BATCH = 256


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect_data` found.

    Args:
        settings: By which the images were loaded.
        data: The images.
        counts: Of ``train`` and of each test set that was looked at how many images each class has.
        fitted: (n,) positions of the training images that rules were fitted to.
        results: Every property that is not the same in all images, the strongest first.
        duplicates: Copies across classes and sets.
        findings: What could be a shortcut, the strongest first.
        seconds: What it took.
    """

    settings: Settings
    data: Data
    counts: Mapping[str, Mapping[str, int]]
    fitted: Labels
    results: tuple[PropertyResult, ...]
    duplicates: NearDuplicates
    findings: tuple[ShortcutFinding, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """All of it in a sentence."""
        return verdict_sentence(self.findings, self.data.classes)

    @property
    def nothing(self) -> str:
        """Why no property could be a shortcut, by the figures of the one that comes nearest; empty where one could."""
        return why_no_property(self.results, self.data.classes)

    def file(self, place: int, found_in: str = TRAIN) -> str:
        """What a picture is called: its file, or its set and number."""
        images = self.data.train if found_in == TRAIN else self.data.tests[found_in]
        return f"{found_in}:{place}" if images.files is None else images.files[place]

    def learn_command(self, program: str = PROGRAM, places: str = "") -> str:
        """The command that shows what a network rests on; of data that came from Python, in general words. With
        ``places`` the one that has these exchanged."""
        settings, data = self.settings, self.settings.data
        if data.source != self.data.name:
            settings, data = Settings(), data.model_copy(update={"source": "folder:PATH"})
        data = data.model_copy(update={"skip_bad": data.skip_bad or bool(self.data.unreadable)})
        rounds = settings.round.model_copy(update={"exchange": places or None})
        chosen = settings.model_copy(update={"data": data, "round": rounds})
        return command(chosen).replace(PROGRAM, program, 1)

    def pairs(self) -> list[tuple[str, str]]:
        """The names of near-duplicates that are of two classes or of two sets, at most a thousand."""
        labels = self.data.train.labels
        shown = [
            one for one in self.duplicates.pairs if one.found_in != TRAIN or labels[one.train] != labels[one.other]
        ]
        return [(self.file(one.train), self.file(one.other, one.found_in)) for one in shown[:PAIRS]]

    def plain(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        copies = self.duplicates
        return {
            "data": self.data.name,
            "classes": list(self.data.classes),
            "size": list(self.data.shape[1:]),
            "images": {name: dict(counts) for name, counts in self.counts.items()},
            "verdict": self.verdict,
            "findings": [
                {"about": one.about, "level": one.level, "text": one.text, "follows": list(one.follows)}
                | ({"command": self.learn_command(places=one.places)} if one.places else {})
                for one in self.findings
            ],
            "nothing": self.nothing,
            "chance": 1 / len(self.data.classes),
            "properties": [self._row(one) for one in self.results],
            "duplicates": {
                "within_a_class": copies.within,
                "across_classes": copies.across,
                "in_test": {name: {"images": n, "other_class": m} for name, (n, m) in copies.leaked.items()},
                "pairs": [list(pair) for pair in self.pairs()],
                "complete": copies.complete,
            },
            "unreadable": dict(self.data.unreadable),
            "notes": list(self.data.notes),
            "seconds": round(self.seconds, 1),
        }

    def _row(self, one: PropertyResult) -> dict[str, Any]:
        score = one.score
        return {
            "name": one.about.name,
            "where": one.about.where,
            "level": one.level,
            "accuracy": score.accuracy,
            "low": score.low,
            "high": score.high,
            "shuffled": score.shuffled,
            "tells": self.data.classes[score.told],
            "strength": score.strength,
            "strength_low": score.strength_low,
            "shuffled_strength": score.shuffled_strength,
            "control_strength": one.control,
            "tests": dict(one.tests),
            "differs": one.differs,
        }


def inspect_data(
    data: Data | Settings | str | Path | None = None,
    *,
    settings: Settings | None = None,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Look at a data set for what could be a shortcut; nothing is trained but rules of one property each.

    Args:
        data: A folder, a source such as ``"torchvision:CIFAR10"``, or :class:`Data`; default: the settings' source. All
            settings may be given here instead.
        settings: Everything else; of them the seed and ``data`` count. A trap is laid as for ``learn``.
        plugins: Loaded plugins; default: the built-ins and what is installed.
        progress: Where progress is shown; default: nowhere.

    Raises:
        SettingsError, DataError, PluginError: The data cannot be used. Broken files are no error, they are listed.

    Cost: every file decoded twice, as ``learn`` does, and a millisecond for each image of 64 px; 128 operations for
        each pair of images.
    """
    began, progress = time.monotonic(), progress or Progress(quiet=True)
    chosen = data if isinstance(data, Settings) else settings or Settings()
    if isinstance(data, str | Path):
        chosen = _changed(chosen, source=source_of(data))
    trap = "none"
    if isinstance(data, Data):
        loaded = data
    else:
        trap = chosen.data.trap
        with progress.task("load images"):
            lenient = _changed(chosen, skip_bad=True, minimum=LEAST)
            loaded = load_data(lenient, (plugins or load_plugins()).with_settings(chosen.plugin))
    if loaded.shape[0] != 3:
        raise DataError(
            f"{loaded.name}: inspect looks at images of three channels, these have {loaded.shape[0]}.",
            "Run learn without it: its rounds say what the classes hang on.",
        )
    planted = cues_of_sets(tuple(trap_arguments(trap)))
    sets = {TRAIN: loaded.train}
    sets |= {name: images for name, images in loaded.tests.items() if trap == "none" or name not in planted}
    with progress.task("measure images", total=sum(len(images) for images in sets.values())) as task:
        measured = {name: _measure(images, task.advance) for name, images in sets.items()}
    hashed = {name: thumbs for name, (_, thumbs) in measured.items()}
    with progress.task("compare images", total=len(sets) * len(loaded.train)) as task:
        duplicates = find_duplicates(hashed.pop(TRAIN), hashed, task.advance)
    labels = {name: images.labels.numpy() for name, images in sets.items()}
    scored = ScoredSets(labels, _fitted(labels[TRAIN], chosen.seed, FITTED), loaded.classes, chosen.seed)
    with progress.task("score properties") as task:
        results = []
        found = pixel_results({name: values for name, (values, _) in measured.items()}, scored)
        for one in chain(found, file_results(_facts(chosen, sets), scored)):
            results.append(one)
            task.advance()
        results = with_box(results, sets, scored)
    results.sort(key=lambda one: -one.beyond)
    counts = {name: class_counts(one, loaded.classes) for name, one in labels.items()}
    findings = tuple(list_findings(loaded, results, duplicates, counts))
    seconds = time.monotonic() - began
    return Inspection(chosen, loaded, counts, scored.fitted, tuple(results), duplicates, findings, seconds)


def telling_place(data: Data, seed: int) -> PropertyResult | None:
    """The place in which the classes differ so much that it could be a *strong* shortcut, as :func:`inspect_data` finds
    it; None where there is none. Photographs without a mark have none. Not looked for in images that are read as they
    are needed, and in those without three channels.

    Cost: at most :data:`HINTED` images measured and 110 fits to them, a tenth of a second; where there is such a place
        the search for its box on top, half a second for images of 64 px, two for 224.
    """
    images = data.train
    too_small = min(images.shape[1:]) < 2 * REGIONS or int(images.labels.bincount().min()) < LEAST
    if not images.resident or images.shape[0] != 3 or too_small:
        return None
    places = _fitted(images.labels.numpy(), seed, HINTED)
    some = ImageSet(images.take(torch.from_numpy(places)), images.labels[places])
    parts = [region_measures(some.take(part)) for part in torch.arange(len(some)).split(_BATCH)]
    measured = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    scored = ScoredSets({TRAIN: some.labels.numpy()}, np.arange(len(some)), data.classes, seed)
    (place,) = pixel_results({TRAIN: measured}, scored)
    if place.beyond < LEVELS["strong"]:
        return None
    return with_box([place], {TRAIN: some}, scored)[0]


def place_note(data: Data, settings: Settings, named: bool = True) -> str:
    """What ``learn`` says of :func:`telling_place` before it begins; empty where there is none, or the user has named
    places already.

    Args:
        settings: By which the images were loaded, so that ``inspect`` may load them again; not so where they were not
            ``named`` there.
    """
    place = None if settings.round.exchange else telling_place(data, settings.seed)
    if place is None:
        return ""
    look = _inspect_command(settings) if named else "inspect_data"
    return (
        f"the classes differ in one place, {place.differs}: alone it names {100 * place.score.accuracy:.0f} % of the "
        f"training images rightly (chance {100 / len(data.classes):.0f} %). Where that is no part of the thing, as a "
        f"date or a stamp, have it exchanged, whatever the rule says: learn --exchange {quoted(place.places)}. "
        f"To see it first: {look}"
    )


def _inspect_command(settings: Settings) -> str:
    usual, values = flatten(Settings()), flatten(settings)
    loads = (name for name in values if name == "seed" or name.startswith("data."))
    given = [f"{name}={show_value(values[name])}" for name in loads if values[name] != usual[name]]
    words = [("--set", one) for one in given if not one.startswith("data.source=")]
    return shlex.join([PROGRAM, "inspect", settings.data.source, *chain(*words)])


def _changed(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"data": settings.data.model_copy(update=changes)})


def _measure(images: ImageSet, advance: Callable[[float], None]) -> tuple[dict[str, Numbers], Hashed]:
    parts: list[dict[str, Numbers]] = []
    hashes: list[torch.Tensor] = []
    thumbs: list[torch.Tensor] = []
    for places in torch.arange(len(images)).split(_BATCH):
        batch = images.take(places)
        parts.append(pixel_measures(batch))
        for kept, made in zip((hashes, thumbs), thumbnails(batch), strict=True):
            kept.append(made)
        advance(len(places))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    return values, (torch.cat(hashes), torch.cat(thumbs), images.labels)


def _fitted(labels: Labels, seed: int, most: int) -> Labels:
    """Positions of so many images at most, drawn from each class alike; a small class stays whole."""
    draw = np.random.default_rng(seed_for(seed, "inspect"))
    each = max(LEAST, most // (int(labels.max()) + 1))
    drawn = [draw.permutation(np.flatnonzero(labels == label))[:each] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn))


def _facts(settings: Settings, sets: Mapping[str, ImageSet]) -> Facts:
    """Facts of the files of every set, where all come from a folder; else none."""
    kind, _, argument = settings.data.source.partition(":")
    if kind != "folder" or any(images.files is None for images in sets.values()):
        return {}
    root, most = Path(os.path.expanduser(argument)), settings.data.megapixels
    return {name: file_facts([root / file for file in images.files or ()], most) for name, images in sets.items()}
