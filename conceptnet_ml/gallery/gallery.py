"""A gallery of dreams in a folder: every picture, a sheet with labels, sprites, films, and a record of it all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.drawing.animation import check_animation
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.dreams.recipe import Recipe, recipe_of
from conceptnet_ml.dreams.zoom import STEPS
from conceptnet_ml.errors import ConceptNetError, Interrupted, SettingsError
from conceptnet_ml.gallery.exhibition import REAL, Exhibition, taken
from conceptnet_ml.gallery.requests import Request, asked
from conceptnet_ml.gallery.sources import Real, Subject, open_subject, real_images
from conceptnet_ml.network.basis import without_basis
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.files import read_json
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.version import __version__

REFERENCE = 2048
"""So many, and half as many held-out ones, a witness's statistics are taken of."""


def gallery(
    source: str | Path,
    out: str | Path,
    *,
    concepts: Sequence[str] = (),
    layers: Sequence[str] = (),
    units: str | Sequence[int] | None = None,
    classes: Sequence[str] = (),
    starts: Sequence[str | Path] = (),
    guide: str | Path | None = None,
    toward: str | None = None,
    octaves: int | None = None,
    zoom: int = 0,
    film: str = ".webp",
    fps: float = 12.0,
    dreamer: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    size: int | None = None,
    weights: str | Path | None = None,
    real: str | Path | None = None,
    witness: str | Path | None = None,
    witness_weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    cache: str | Path | None = "",
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> dict[str, Any]:
    """Dream, and leave pictures and records in a folder.

    Args:
        source: Whose dreams: a run folder, a backbone such as ``torchvision:resnet18``, or ``module:callable``.
        out: A new or empty folder.
        concepts: Nodes of the run's graph, by id, label, name or ``STAGE:UNIT``; each gets all of a node's pictures.
        layers: Stages or paths of modules: whatever they see.
        units: Of these layers, ``0-63`` or ``all``; all of them also in one sprite with an index.
        classes: By name or number. Where nothing is asked for, all of them.
        starts: Image files to begin with, in place of noise.
        guide: Image file: the layers are to see what they see in it.
        toward: Class that the starts are turned into.
        octaves, steps: In place of the dreamer's own.
        zoom: Frames of a film into each dream (:func:`conceptnet_ml.dreams.zoom`); 0 for none.
        film, fps: ``.webp`` or ``.gif``, frames a second.
        dreamer: Name of the plugin that says how to dream; default: ``deepdream`` for what a layer sees in a picture,
            ``turn`` for a picture turned into another class, else ``fourier``.
        seed: Of all dreams.
        size: Side in px, of starts the longer one; default: what the network was made for.
        weights: State dict of a network that is no run's.
        real: Folder of real images to compare dreams with; default: the run's own.
        witness: Another network on the same classes, as ``source``, to say what it sees; ``witness_weights`` as
            ``weights``. Default: the run's own witness, where it keeps one.
        device, precision: As in :mod:`conceptnet_ml.runtime.devices`.
        cache: Folder of earlier dreams; ``""`` for the user's own, None for none.
        plugins, progress, stopper: Default: what is installed; shown nowhere; never stopped.

    Returns:
        What ``dreams.json`` in the folder holds.

    Raises:
        SettingsError, DataError, PluginError: Something is wrong with what was asked; nothing was dreamt.
        Interrupted: The stopper said so; what was done is in the folder.
    """
    started = time.monotonic()
    request = Request(
        concepts=concepts, layers=layers, units=units, classes=classes, starts=starts, guide=guide, toward=toward,
        size=size, seed=seed, dreamer=dreamer,
    )  # fmt: skip
    request.check()
    if zoom < 0 or zoom == 1:
        raise SettingsError(f"--zoom {zoom} is no film", "Give 2 frames or more.")
    if zoom:
        check_animation(film, fps)
    if not _stopped(Path(out)):
        Run.check_free(out)
    plugins = load_plugins() if plugins is None else plugins
    if dreamer is not None:
        recipe_for(plugins, dreamer, steps, octaves)
    where = devices.choose_device(device)
    dtype = devices.choose_precision(precision, where)
    subject = open_subject(str(source), plugins, weights=weights, size=size, device=where)
    asked(request, subject, None)  # what cannot be is refused before real images are loaded
    shown = Progress(quiet=True) if progress is None else progress
    with shown.task("real images"):
        images = real_images(subject, real, seen=witness is not None)
    todo = asked(request, subject, images)
    if images is not None and size not in (None, *subject.network.image_size):
        own = "×".join(map(str, reversed(subject.network.image_size)))
        subject.notes.append(f"real images are compared at the network's own {own} px")
    judge = None
    if witness is not None:
        judge = _witness(str(witness), witness_weights, subject, images, real is not None, plugins, where, dtype)
    elif subject.run is not None and subject.run.has_witness:
        witness, judge = source, subject.run.witness()
    pixels = None if images is None else taken(images.some(REAL))
    names = sorted({one.dreamer for one in todo})
    recipes = {name: recipe_for(plugins, name, steps, octaves, pixels) for name in names}
    made = Exhibition(Path(out), subject, todo, images, judge, where, dtype)
    options: dict[str, Any] = {"device": where, "dtype": dtype, "progress": progress, "stopper": stopper}
    kept = None if cache is None else DreamCache(cache or own_cache())
    stop: Interrupted | None = None
    try:
        made.dream(recipes, kept, size, options)
        if zoom:
            made.zoom(zoom, film, fps, _changed(STEPS, steps, octaves), kept, options)
    except Interrupted as error:
        stop = error
    head = {
        "source": str(source),
        "package": __version__,
        "dreamers": {name: _described(recipe) for name, recipe in recipes.items()},
        "device": str(where),
        "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
        "real images": 0 if images is None else min(REAL, len(images.held)),
        "witness": None if judge is None else {"source": str(witness), "accuracy": judge.accuracy, "held": judge.held},
        "stopped": stop is not None,
    }
    result = made.finish(head, time.monotonic() - started)
    if stop is not None:
        raise Interrupted(
            f"stopped; {len(made.found)} of {len(todo)} dreams are in {out}", "The same command goes on from there."
        ) from stop
    return result


def _stopped(out: Path) -> bool:
    """Whether the folder holds a gallery that was stopped on the way, which may be gone on with."""
    try:
        return bool(read_json(out / "dreams.json")["stopped"])
    except (ConceptNetError, KeyError, TypeError):
        return False


def recipe_for(
    plugins: Plugins, dreamer: str, steps: int | None = None, octaves: int | None = None, real: Tensor | None = None
) -> Recipe:
    """What a dreamer says, with these numbers in place of its own.

    Args:
        plugins: Where it is looked up by name.
        dreamer, steps, octaves: As in :func:`gallery`.
        real: Real images, uint8 (N, C, H, W), whose statistics it may take.

    Raises:
        PluginError, SettingsError: There is no such dreamer, or the numbers cannot be.
    """
    return _changed(recipe_of(plugins.get("dreamer", dreamer), real), steps, octaves)


def _changed(recipe: Recipe, steps: int | None, octaves: int | None) -> Recipe:
    changes: dict[str, Any] = {"steps": steps, "octaves": octaves}
    return replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _described(recipe: Recipe) -> dict[str, Any]:
    return {"steps": recipe.steps, "octaves": recipe.octaves, "digest": recipe.key[:16]}


def own_cache() -> Path:
    """Where the user's dreams are kept: the system's folder for what can be made again."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "conceptnet_ml" / "dreams"


def _witness(
    source: str,
    weights: str | Path | None,
    subject: Subject,
    images: Real | None,
    from_folder: bool,
    plugins: Plugins,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Witness:
    """Another network, and what real images look like to it."""
    if images is None:
        raise SettingsError(
            "a witness needs real images to compare dreams with", "Give a folder of them: --real FOLDER."
        )
    if weights is None and Path(source).resolve() == Path(subject.name).resolve():
        raise SettingsError(
            "the witness is the network itself", "Give a run with another seed: it must be independent."
        )
    other = open_subject(
        source, plugins, weights=weights, size=without_basis(subject.network).image_size[0], device=device
    )
    if other.classes != subject.classes:
        raise SettingsError(
            f"the witness knows {', '.join(other.classes[:5])}, the network {', '.join(subject.classes[:5])}",
            "Give a witness that was trained on the same classes.",
        )
    network = other.network
    if other.run is not None:
        network = other.run.ordinary
        if not from_folder:  # another seed holds out other images, and these are the ones it has not seen
            images = real_images(other, None) or images
    network.classes = subject.classes
    seen = torch.arange(min(REFERENCE, len(images.seen)))
    held = images.some(REFERENCE // 2)
    return Witness.fit(
        network,
        images.seen.subset(seen),
        held,
        device,
        dtype,
        labels=None if images.seen_labels is None else images.seen_labels[seen],
        held_labels=None if images.labels is None else images.labels[: len(held)],
    )
