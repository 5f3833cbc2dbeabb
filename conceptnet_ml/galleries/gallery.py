"""A gallery of dreams in a folder: every picture, a sheet with labels, sprites, films, and a record of everything."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.drawing.animation import animation
from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.drawing.pictures import ImageLike, to_png
from conceptnet_ml.drawing.sheets import Card, card_sheet, sheet_note, sprite, three_digits
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.judgement import COARSE, Witness, coarse_share, texture_patch
from conceptnet_ml.dreams.recipe import Recipe, recipe_of
from conceptnet_ml.dreams.render import RenderSession, RenderSettings
from conceptnet_ml.dreams.request import Dream
from conceptnet_ml.dreams.zoom import FRAME_RECIPE, ZoomSettings, zoom
from conceptnet_ml.errors import ConceptNetError, Interrupted, SettingsError
from conceptnet_ml.galleries.pipeline import compare_dreams, draw_nodes, render_all, result_card, verdict_record
from conceptnet_ml.galleries.requests import DreamResult, GalleryRequest, PlannedDream, plan_dreams
from conceptnet_ml.galleries.sources import COMPARED, OpenedNetwork, RealImages, open_network, real_images
from conceptnet_ml.graph.naming import called
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime import devices
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.files import (
    MALFORMED,
    disk_errors,
    finite,
    pretty,
    read_json,
    remove_leftovers,
    user_cache_folder,
    write_atomic,
)
from conceptnet_ml.storage.lock import LOCK_FILES, FolderLock
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.version import __version__

RECORD = "dreams.json"

REFERENCE = 2048
"""Real images a witness's statistics are taken of, at most; half as many are held out to calibrate it."""


def gallery(
    source: str | Path,
    out: str | Path,
    request: GalleryRequest | None = None,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> dict[str, Any]:
    """Dream, and leave pictures and records in a folder.

    Args:
        source: Whose dreams: a run folder, a backbone such as ``torchvision:resnet18``, or ``module:callable``.
        out: A new or empty folder.
        request: What to dream of, how, and what to compare it with; default: all classes.
        plugins, progress, stopper: Default: what is installed; shown nowhere; never stopped.

    Returns:
        What ``dreams.json`` in the folder holds.

    Raises:
        SettingsError, DataError, PluginError: Something is wrong with the request; nothing was dreamed.
        Interrupted: The stopper said so; what was done is in the folder. There the same request goes on, and so it does
            where the process was killed.
    """
    started = time.monotonic()
    request, progress, stopper = request or GalleryRequest(), progress or Progress(quiet=True), stopper or Stopper()
    if not _was_stopped(Path(out)):
        Run.check_free(out)
    plugins = load_plugins() if plugins is None else plugins
    if request.dreamer is not None:
        _recipe(request, recipe_of(plugins.get("dreamer", request.dreamer)))
    device = devices.choose_device(request.device)
    dtype = devices.choose_precision(request.precision, device)
    opened = open_network(str(source), plugins, device, weights=request.weights, size=request.size, names=request.names)
    plan_dreams(request, opened, None)  # what cannot be is refused before real images are loaded
    with progress.task("real images"):
        real = real_images(opened, request.real, seen=request.witness is not None)
    plans = plan_dreams(request, opened, real)
    own = opened.network.image_size
    if real is not None and request.size not in (None, *own):
        opened.notes.append(f"real images are compared at the network's own {own[1]}×{own[0]} px")
    witness = _open_witness(request, opened, real, plugins, dtype)
    names = sorted({plan.dreamer for plan in plans})
    compared = None if real is None else real.compared
    recipes = {name: _recipe(request, recipe_of(plugins.get("dreamer", name), compared)) for name in names}
    settings = RenderSettings(device=device, dtype=dtype)
    folder = _Folder(Path(out), request, opened, plans, recipes, real, witness, settings)
    cache = DreamCache(request.cache) if request.cache else None if request.cache is None else _own_cache(opened)
    with _alone(Path(out)):
        try:
            folder.dream(RenderSession(cache, progress, stopper))
        except Interrupted as stop:
            folder.record(time.monotonic() - started, stopped=True)
            done = f"{len(folder.found)} of {len(plans)} dreams are in {out}"
            raise Interrupted(f"stopped; {done}", "The same command goes on from there.", stopper.exit_code) from stop
        return folder.record(time.monotonic() - started, stopped=False)


def _own_cache(opened: OpenedNetwork) -> DreamCache | None:
    """The user's own folder of earlier dreams; none, and a note, where it cannot be written."""
    folder = user_cache_folder() / "dreams"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return DreamCache(folder)
    opened.notes.append(
        f"these dreams are not kept for later: {folder} cannot be written; --cache names another folder"
    )
    return None


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Makes the folder, or cleans one that was begun, and keeps other processes from dreaming into it. Raises DataError
    where one does, or it cannot be written.
    """
    lock, new = FolderLock(out), not out.exists()
    with disk_errors(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        with disk_errors(out, "write"):
            remove_leftovers(out)
        yield
    finally:
        with contextlib.suppress(OSError):  # a gallery is handed on: nothing else is left in it
            (out / LOCK_FILES[0]).unlink()
        lock.release()
        with contextlib.suppress(OSError):  # unless something is in it
            if new:
                out.rmdir()


@dataclass(eq=False)
class _Folder:
    """The dreams made so far, and the folder they are written to."""

    out: Path
    request: GalleryRequest
    opened: OpenedNetwork
    plans: Sequence[PlannedDream]
    recipes: Mapping[str, Recipe]
    real: RealImages | None
    witness: Witness | None
    settings: RenderSettings
    found: dict[PlannedDream, Dream] = field(default_factory=dict)
    films: dict[PlannedDream, str] = field(default_factory=dict)

    def dream(self, session: RenderSession) -> None:
        """Make all dreams and films; each picture is written as it comes."""
        side = self.request.size
        size = self.opened.network.image_size if side is None else (side, side)
        render_all(self.plans, self.recipes, replace(self.settings, size=size), session, self._keep)
        if self.request.zoom:
            for plan in self.plans:
                if not plan.lent and not plan.after:
                    self._zoom(plan, session)

    def _keep(self, plan: PlannedDream, done: Dream) -> None:
        if not self.found:  # killed from now on, it can be completed
            write_atomic(self.out / RECORD, pretty({"stopped": True}))
        self.found[plan] = done
        self._write(f"{plan.file}.png", done.image)

    def _zoom(self, plan: PlannedDream, session: RenderSession) -> None:
        """A film into a dream, each frame written as it comes."""
        first, request = self.found[plan], self.request
        motion, settings = ZoomSettings(frames=request.zoom), replace(self.settings, seed=first.seed)
        recipe, frames = _recipe(request, FRAME_RECIPE), list[Tensor]()
        for frame in zoom(plan.target.network, first.objective, first.image, motion, recipe, settings, session):
            self._write(f"{plan.file}-zoom/{len(frames):04}.png", frame.image)
            frames.append(frame.image)
        scale = max(1, 256 // min(first.image.shape[1:]))
        self.films[plan] = f"{plan.file}-zoom{request.film}"
        write_atomic(self.out / self.films[plan], animation(frames, request.film, request.fps, scale))

    def record(self, seconds: float, stopped: bool) -> dict[str, Any]:
        """Compare the dreams, draw the sheets, and write ``dreams.json``; returns what it holds."""
        compared = None if self.real is None else self.real.compared
        results = compare_dreams(self.plans, self.found, compared, self.witness, self.settings, batch=1)
        answers = [self._own_answer(result) for result in results]
        count = 0 if compared is None else len(compared)
        files = self._draw(results, answers, count)
        dtype, witness = self.settings.dtype, self.witness
        record = {
            "source": self.opened.name,
            "package": __version__,
            "dreamers": {
                name: {"steps": recipe.steps, "octaves": recipe.octaves, "digest": recipe.key[:16]}
                for name, recipe in self.recipes.items()
            },
            "device": str(self.settings.device),
            "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
            "real images": count,
            "witness": witness
            and {
                "source": str(self.request.witness or self.opened.name),
                "accuracy": witness.accuracy,
                "held": witness.held,
            },
            "stopped": stopped,
            "seconds": round(seconds, 3),
            "notes": self.opened.notes,
            "files": files,
            "dreams": [
                {**self._dream_record(result), "network": answer}
                for result, answer in zip(results, answers, strict=True)
            ],
        }
        record = finite(record)
        write_atomic(self.out / RECORD, pretty(record))
        return {"out": str(self.out), **record}

    def _own_answer(self, result: DreamResult) -> dict[str, Any] | None:
        """What the dreaming network itself sees in a dream of a class, and whether it is that class."""
        expected = result.dream.objective.expects
        if expected is None:
            return None
        floats = to_float(result.dream.image[None], self.opened.network.mean.device)
        chances = predict_logits(result.plan.target.network, floats, None)[0].softmax(0)
        seen = int(chances.argmax())
        answer = {"seen": self.opened.classes[seen], "probability": float(chances[seen]), "expected": seen == expected}
        return {**answer, **self._texture(result, expected)}

    def _texture(self, result: DreamResult, expected: int) -> dict[str, Any]:
        """Of a picture that was turned into another class whether more than texture changed, measured by real images of
        that class, or by any where their classes are not known; nothing where there are none of its size."""
        image, start = result.dream.image, result.plan.request.start
        if "instead of" not in result.plan.about or start is None or self.real is None:
            return {}
        real = self.real.first_held(COMPARED)
        mine = (real.labels == expected).nonzero()[:, 0] if self.real.labelled else torch.arange(len(real))
        images = real.take(mine).cpu()
        if not len(images) or not images.shape[1:] == start.shape == image.shape:
            return {}
        share, patch = coarse_share(image, start, images), texture_patch(image)
        whom = f"a real {self.opened.classes[expected]}" if self.real.labelled else "a real image"
        words = f"only texture: parts of over {patch} px moved {share:.0%} as far as {whom} lies".replace("%", " %")
        return {"texture": {"patch": patch, "coarse": share, "words": words if share < COARSE else ""}}

    def _draw(
        self, results: Sequence[DreamResult], answers: Sequence[dict[str, Any] | None], count: int
    ) -> dict[str, Any]:
        """Write sheet, sprites and nodes' pictures; returns the files' names."""
        if not results:
            return {}
        cards = [_card(result, answer) for result, answer in zip(results, answers, strict=True)]
        whose = "" if self.opened.run is None else "run "
        title = f"Dreams of {whose}{Path(self.opened.name).name or self.opened.name}"
        self._write("sheet.png", card_sheet(cards, title, note=sheet_note(count, self.witness)))
        portraits = {}
        made = [result.plan for result in results]
        for identifier, picture, _ in draw_nodes(made, results, self.real, self.opened.classes):
            portraits[identifier] = f"{identifier}.png"
            self._write(portraits[identifier], picture)
        more = {"portraits": portraits} if portraits else {}
        return {"sheet": "sheet.png", **self._write_sprites(results), **more}

    def _write_sprites(self, results: Sequence[DreamResult]) -> dict[str, list[str]]:
        """A sprite with its index for every layer whose units were asked for."""
        layers: dict[tuple[str, str | None], dict[int, Dream]] = {}
        for result in results:
            about = result.plan.about
            if "unit" in about and "layer" in about:
                layers.setdefault((about["layer"], result.plan.start), {})[about["unit"]] = result.dream
        files = {}
        for (layer, start), dreams in layers.items():
            if len({dream.image.shape for dream in dreams.values()}) > 1:
                continue
            image, index = sprite(dreams)
            stem = f"sprite-{layer}" + ("" if start is None else f"-from-{Path(start).stem}")
            self._write(f"{stem}.png", image)
            write_atomic(self.out / f"{stem}.json", pretty({"image": f"{stem}.png", **index}))
            files[stem] = [f"{stem}.png", f"{stem}.json"]
        return files

    def _dream_record(self, result: DreamResult) -> dict[str, Any]:
        plan, dream = result.plan, result.dream
        return {
            "file": f"{plan.file}.png",
            "name": dream.objective.name,
            **plan.about,
            "start": plan.start,
            **({} if plan.node is None else {"drawn_in": plan.target.where}),
            "seed": dream.seed,
            "size": list(dream.image.shape[1:]),
            **{name: getattr(dream, name) for name in ("before", "reached", "steps", "outcome", "cached")},
            "standing": verdict_record(result.rank),
            "judgement": verdict_record(result.judgement, "recognised", "p", "unlike"),
            **({"film": self.films[plan]} if plan in self.films else {}),
            "words": f"{three_digits(dream.before)} → {three_digits(dream.reached)}, {dream.outcome}",
        }

    def _write(self, name: str, image: ImageLike) -> None:
        write_atomic(self.out / name, to_png(image))


def _card(result: DreamResult, answer: Mapping[str, Any] | None) -> Card:
    """A dream's card, with what the dreaming network itself sees in it, and what it began with."""
    lines, plan = [], result.plan
    if answer is not None:
        chance = f"{answer['probability']:.0%}".replace("%", " %")
        lines.append(Caption(f"network: {answer['seen']} {chance}", "plain" if answer["expected"] else "wrong"))
        if words := answer.get("texture", {}).get("words"):
            lines.append(Caption(words, "wrong"))
    if plan.node is not None and plan.node.kind != "class":
        lines.append(Caption(f"in {plan.target.where}"))
    card = result_card(result, *lines)
    card = card if plan.node is None else replace(card, name=called(plan.node))
    if plan.start is None:
        return card
    origin = f"on a real {plan.start}" if plan.lent else f"from {plan.start}"
    return replace(card, name=f"{card.name} {origin}", start=plan.request.start)


def _was_stopped(out: Path) -> bool:
    """Whether the folder holds a gallery that was stopped, which the same request may complete."""
    try:
        return bool(read_json(out / RECORD)["stopped"])
    except (ConceptNetError, *MALFORMED):
        return False


def _recipe(request: GalleryRequest, recipe: Recipe) -> Recipe:
    """The recipe with the request's numbers in place of its own."""
    steps = recipe.steps if request.steps is None else request.steps
    return replace(recipe, steps=steps, octaves=recipe.octaves if request.octaves is None else request.octaves)


def _open_witness(
    request: GalleryRequest,
    opened: OpenedNetwork,
    real: RealImages | None,
    plugins: Plugins,
    dtype: torch.dtype | None,
) -> Witness | None:
    """Another network, with statistics of real images it was not trained on; else the run's own witness, if any."""
    if request.witness is None:
        return opened.run.witness() if opened.run is not None and opened.run.has_witness else None
    if real is None:
        raise SettingsError(
            "a witness needs real images to compare dreams with", "Give a folder of them: --real FOLDER."
        )
    name, weights = str(request.witness), request.witness_weights
    if weights is None and Path(name).resolve() == Path(opened.name).resolve():
        raise SettingsError(
            "the witness is the network itself", "Give a run with another seed: it must be independent."
        )
    device = opened.network.mean.device
    names = None if Path(name).is_dir() else request.names
    other = open_network(name, plugins, device, weights=weights, size=opened.network.image_size, names=names)
    if other.classes != opened.classes:
        raise SettingsError(
            f"the witness knows {', '.join(other.classes[:5])}, the network {', '.join(opened.classes[:5])}",
            "Give a witness that was trained on the same classes.",
        )
    network = other.network
    if other.run is not None:
        network = other.run.ordinary
        if request.real is None:  # another seed holds out other images, and these are the ones it has not seen
            real = real_images(other, None) or real
    network.classes = opened.classes
    seen = real.seen.subset(torch.arange(min(REFERENCE, len(real.seen))))
    held = real.first_held(REFERENCE // 2)
    labels = {"labels": seen.labels, "held_labels": held.labels} if real.labelled else {}
    return Witness.fit(network, seen, held, device, dtype, **labels)
