"""What a gallery is asked for, and the dreams that makes: everything is checked before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.data.files import fit_to_size, opened_picture, to_rgb
from conceptnet_ml.drawing.animation import check_animation
from conceptnet_ml.dreams.activations import Layers, probe_maps
from conceptnet_ml.dreams.judgement import ActivationRank, Judgement
from conceptnet_ml.dreams.objectives import LOGITS, Objective
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.errors import SettingsError, visible
from conceptnet_ml.galleries.sources import OpenedNetwork, RealImages, number_duplicates
from conceptnet_ml.graph.queries import resolve_node
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.results.concept_targets import ConceptTarget, ConceptTargets

MOST_CLASSES = 64
"""The most classes that are all dreamed of where nothing is named."""

LENT_CLASSES = 12
"""The most classes that lend a real image to a node's dreams."""


@dataclass(frozen=True, kw_only=True)
class GalleryRequest:
    """What to dream of, how, and what to compare it with.

    Args:
        concepts: Nodes of the run's graph, by id, label, name, ``STAGE:UNIT`` or what its page calls them; each gets
            all of a node's pictures.
        layers: Stages or paths of modules. Alone: whatever they see; with units: these; with a guide: what it shows
            them.
        units: Of these layers: numbers, or text such as ``0-63,70`` or ``all``. All of them also in one sprite.
        classes: By name or number. Where nothing is named, all of them.
        starts: Image files to begin with, in place of noise.
        guide: Image file whose features the layers are to see.
        toward: Class that the starts are turned into, from what the network sees in them.
        size: Side in px; a start keeps its shape, its longer side is this. None: what the network was made for.
        seed: Of all dreams.
        dreamer: Name of the plugin that says how to dream; default: ``deepdream`` for what a layer sees in a picture,
            ``turn`` for a picture turned into another class, else ``fourier``.
        steps, octaves: In place of the dreamer's own.
        learned: Nodes in the learned network, where they are otherwise dreamed of in the network they were found in.
        zoom: Frames of a film into each dream (:func:`conceptnet_ml.dreams.zoom`); 0 for none.
        film, fps: ``.webp`` or ``.gif``, frames a second.
        weights: State dict of a network that is no run's.
        names: File with the names of such a network's classes (:func:`conceptnet_ml.galleries.sources.read_names`).
        real: Folder of real images to compare dreams with; default: the run's own.
        witness, witness_weights: Another network on the same classes, named as the source is, to say what it sees.
            Default: the run's own witness, where it keeps one.
        device, precision: As in :mod:`conceptnet_ml.runtime.devices`.
        cache: Folder of earlier dreams; ``""`` for the user's own, None for none.

    Raises:
        SettingsError: It contradicts itself.
    """

    concepts: Sequence[str] = ()
    layers: Sequence[str] = ()
    units: str | Sequence[int] | None = None
    classes: Sequence[str] = ()
    starts: Sequence[str | Path] = ()
    guide: str | Path | None = None
    toward: str | None = None
    size: int | None = None
    seed: int = 0
    dreamer: str | None = None
    steps: int | None = None
    octaves: int | None = None
    learned: bool = False
    zoom: int = 0
    film: str = ".webp"
    fps: float = 12.0
    weights: str | Path | None = None
    names: str | Path | None = None
    real: str | Path | None = None
    witness: str | Path | None = None
    witness_weights: str | Path | None = None
    device: str = "auto"
    precision: str = "auto"
    cache: str | Path | None = ""

    def __post_init__(self) -> None:
        if self.units is not None and not self.layers:
            raise SettingsError("--units needs a layer", "Say whose units: --layer NAME --units 0-63.")
        if self.guide is not None and not self.layers:
            raise SettingsError("--guide needs a layer", "Say where pictures are compared: --layer NAME.")
        if self.guide is not None and self.units is not None:
            raise SettingsError("--guide and --units contradict each other", "A guide speaks for all of a layer.")
        if self.toward is not None and not self.starts:
            raise SettingsError("--toward needs a picture to turn", "Give it with --from IMAGE.")
        if self.toward is not None and (self.classes or self.layers or self.concepts):
            raise SettingsError("--toward contradicts --class, --layer and --concept", "Ask for one at a time.")
        if self.size is not None and self.size < 8:
            raise SettingsError(f"--size {self.size} is too small", "Give at least 8 px.")
        if self.zoom < 0 or self.zoom == 1:
            raise SettingsError(f"--zoom {self.zoom} is no film", "Give 2 frames or more.")
        if self.zoom:
            check_animation(self.film, self.fps)


@dataclass(frozen=True, eq=False)
class PlannedDream:
    """One dream of a gallery or an album.

    Args:
        request: For the engine.
        target: Its objective and network.
        dreamer: How, by name.
        file: Its name, without suffix.
        about: What the record says of it: class, layer and unit, or concept.
        node: Of the concept graph, None for others.
        start: What it begins with: a file, or a class whose real image it is; None for noise.
        lent: Whether the start is a real image of that class.
        after: Of a feature of a kept round: the free dream once more, in the learned network.
        again: A further start of a free dream, only for what the witness sees in it.
    """

    request: DreamRequest
    target: ConceptTarget
    dreamer: str
    file: str
    about: dict[str, Any] = field(default_factory=dict)
    node: Node | None = None
    start: str | None = None
    lent: bool = False
    after: bool = False
    again: bool = False


@dataclass(frozen=True, eq=False)
class DreamResult:
    """A dream and what others say of it: real images and the witness, None where there are none; and further starts of
    it, from other noise."""

    plan: PlannedDream
    dream: Dream
    rank: ActivationRank | None = None
    judgement: Judgement | None = None
    starts: tuple[DreamResult, ...] = ()

    def _repr_html_(self) -> str:
        said = [one.phrase for one in (self.rank, self.judgement) if one is not None]
        return f"<div>{self.dream._repr_html_()}{''.join(f'<p>{escape(visible(words))}</p>' for words in said)}</div>"


def plan_dreams(request: GalleryRequest, opened: OpenedNetwork, real: RealImages | None) -> list[PlannedDream]:
    """Every dream that a request asks for.

    Raises:
        SettingsError, DataError: Something it names does not exist.
    """
    starts = [(Path(path).name, read_start(path, opened, request.size)) for path in request.starts]
    if request.toward is not None:
        found = [_plan_turn(request, opened, real, name, image) for name, image in starts]
    else:
        found = []
        for about, target, node, after in _targets(request, opened):
            begun: list[tuple[str | None, Tensor | None, bool]] = [(name, image, False) for name, image in starts]
            if not starts:
                lent = [] if node is None else _lent_images(opened, real, request.size)
                begun = [(None, None, False), *((name, image, True) for name, image in lent)]
            for name, image, is_lent in begun:
                file = _slug(target.objective.name if node is None else f"{node.id}-{node.title}")
                file += "" if name is None else f"-from-{_slug(Path(name).stem)}"
                seed = request.seed + int(about.get("unit") or 0)  # each unit begins with noise of its own
                of_layer = "layer" in about and "unit" not in about and image is not None
                dreamer = request.dreamer or ("deepdream" if of_layer else "fourier")
                wanted = DreamRequest(target.objective, seed, image)
                found.append(PlannedDream(wanted, target, dreamer, file, about, node, name, is_lent))
            if after is not None and not starts:
                file = f"{_slug(after.objective.name if node is None else f'{node.id}-{node.title}')}-learned"
                wanted = DreamRequest(after.objective, request.seed)
                found.append(PlannedDream(wanted, after, request.dreamer or "fourier", file, about, node, after=True))
    files = number_duplicates([one.file for one in found], "{}-{}", str.casefold)
    return [replace(one, file=file) for one, file in zip(found, files, strict=True)]


def read_start(path: str | Path, opened: OpenedNetwork, size: int | None) -> Tensor:
    """An image file as uint8 (C, H, W): in its own shape with the longer side ``size``, else cut to the network's.

    Raises:
        DataError: It cannot be read.
        SettingsError: The network takes neither grey nor colour images.
    """
    channels = opened.network.channels
    if channels not in (1, 3):
        raise SettingsError(f"the network takes images of {channels} channels", "Picture files have one or three.")
    with opened_picture(path) as file:
        image = to_rgb(file)
    if size is not None:
        share = size / max(image.size)
        pixels = _resized(image, (max(8, round(image.height * share)), max(8, round(image.width * share))))
    else:
        pixels = fit_to_size(image, opened.network.image_size)
    if channels == 3:
        return pixels
    grey = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).convert("L")
    return torch.from_numpy(np.array(grey))[None]


def unit_numbers(text: str | Sequence[int], most: int) -> list[int]:
    """``0-3,7`` or ``all`` as numbers below ``most``, in order, each once.

    Raises:
        SettingsError: It cannot be read, or a number does not exist.
    """
    if not isinstance(text, str):
        found = [int(one) for one in text]
    elif text.strip() == "all":
        found = list(range(most))
    else:
        found = []
        for part in text.split(","):
            ends = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
            if last < first:
                raise SettingsError(f"--units: '{part.strip()}' is no unit", "Write 7, 0-63, 0-15,40 or all.")
            found += range(first, last + 1) if last < most else [last]  # no list as long as a typing error makes it
    wrong = next((one for one in found if not 0 <= one < most), None)
    if wrong is not None:
        raise SettingsError(f"the layer has no unit {wrong}", f"It has {most} units, 0 to {most - 1}.")
    return list(dict.fromkeys(found))


def _targets(
    request: GalleryRequest, opened: OpenedNetwork
) -> Iterator[tuple[dict[str, Any], ConceptTarget, Node | None, ConceptTarget | None]]:
    """What the record says of each target, the target, its node, and the same in the learned network to compare."""
    nodes = _nodes(request, opened)
    if nodes:
        assert opened.run is not None
        targets = ConceptTargets(opened.run.graph, opened.run.model, opened.run.networks_before(), request.learned)
        for node in nodes:
            about = {"concept": node.id, "kind": node.kind, "stage": node.stage}
            yield about, targets.target(node), node, targets.target_after(node)
    for layer in request.layers:
        for about, objective in _layer_objectives(request, opened, layer):
            yield about, ConceptTarget(objective, opened.network), None, None
    for word in request.classes or _all_classes(request, opened):
        number = opened.class_number(word)
        name = opened.classes[number]
        yield {"class": name}, ConceptTarget(Objective.logit(number, name), opened.network), None, None


def _nodes(request: GalleryRequest, opened: OpenedNetwork) -> list[Node]:
    if request.concepts and opened.run is None:
        raise SettingsError("--concept needs a run: other networks have no concept graph", "Give --layer or --class.")
    if opened.run is None:
        return []
    graph, found = opened.run.graph, []
    for text in request.concepts:
        try:
            found.append(resolve_node(graph, text))
        except SettingsError as error:
            unit = re.fullmatch(r"(.+):(\d+)", text)
            if unit is None or unit[1] not in opened.network.stage_names:
                raise
            mend = f"It is no part of any feature; dream of it as a unit: --layer {unit[1]} --units {unit[2]}."
            raise SettingsError(error.message, mend) from error
    return found


def _layer_objectives(
    request: GalleryRequest, opened: OpenedNetwork, layer: str
) -> list[tuple[dict[str, Any], Objective]]:
    layers = Layers(opened.network, [layer], fold=False)
    if request.guide is not None:
        guide = read_start(request.guide, opened, None)
        return [({"layer": layer, "guide": str(request.guide)}, Objective.guide(layer, guide))]
    if request.units is None:
        return [({"layer": layer}, Objective.layer(layer))]
    maps = probe_maps(layers, opened.network.image_size, opened.network.mean.device)[layer]
    found = []
    for unit in unit_numbers(request.units, maps.shape[1]):
        name = opened.classes[unit] if layer == LOGITS else None
        found.append(({"layer": layer, "unit": unit}, Objective.unit(layer, unit, name)))
    return found


def _all_classes(request: GalleryRequest, opened: OpenedNetwork) -> Sequence[str]:
    """All of them where nothing at all is named."""
    if request.concepts or request.layers:
        return ()
    if len(opened.classes) > MOST_CLASSES:
        raise SettingsError(
            f"nothing to dream of was named, and the network has {len(opened.classes)} classes",
            "Say --class NAME, or --layer NAME with or without --units.",
        )
    return [str(number) for number in range(len(opened.classes))]


def _plan_turn(
    request: GalleryRequest, opened: OpenedNetwork, real: RealImages | None, name: str, image: Tensor
) -> PlannedDream:
    assert request.toward is not None
    new = opened.class_number(request.toward)
    floats = to_float(image[None], opened.network.mean.device)
    old = int(predict_logits(opened.network, floats, None)[0].argmax())
    if old == new:
        raise SettingsError(
            f"the network sees '{opened.classes[new]}' in {name} already", "Choose another class with --toward."
        )
    target = ConceptTarget(Objective.turn(old, new, opened.classes), opened.network)
    donor = None if real is None else _first_of_class(real, new, (image.shape[1], image.shape[2]))
    return PlannedDream(
        DreamRequest(target.objective, request.seed, image, donor),
        target,
        request.dreamer or "turn",
        f"{_slug(Path(name).stem)}-toward-{_slug(opened.classes[new])}",
        {"class": opened.classes[new], "instead of": opened.classes[old]},
        start=name,
    )


def _lent_images(opened: OpenedNetwork, real: RealImages | None, size: int | None) -> list[tuple[str, Tensor]]:
    """A held-out real image of each class, at the dreams' size."""
    if real is None or len(opened.classes) > LENT_CLASSES:
        return []
    side = opened.network.image_size if size is None else (size, size)
    images = [(name, _first_of_class(real, number, side)) for number, name in enumerate(opened.classes)]
    return [(name, image) for name, image in images if image is not None]


def _first_of_class(real: RealImages, number: int, size: tuple[int, int]) -> Tensor | None:
    """The first held-out image of a class, at a size; None where there is none."""
    mine = (real.held.labels == number).nonzero()[:1, 0]
    if not real.labelled or not len(mine):
        return None
    image = real.held.take(mine)[0].cpu()
    if tuple(image.shape[1:]) == size:
        return image
    return _resized(Image.fromarray(image.permute(1, 2, 0).numpy()), size)


def _resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """uint8 (3, H, W) at a height and width."""
    pixels = np.array(image.resize(size[::-1], Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _slug(text: str) -> str:
    """Text as a file name: letters and digits of any script, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:80] or "dream"
