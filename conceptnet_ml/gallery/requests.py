"""What is asked of a gallery: words checked and turned into wishes, before anything is dreamt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptnet_ml.data.files import error_line, fit_to_size, to_rgb
from conceptnet_ml.dreams.activations import Layers, probe
from conceptnet_ml.dreams.objectives import LOGITS, Objective
from conceptnet_ml.dreams.request import DreamRequest
from conceptnet_ml.errors import DataError, GraphError, SettingsError
from conceptnet_ml.gallery.concept_targets import Concepts, ConceptTarget
from conceptnet_ml.gallery.sources import Real, Subject
from conceptnet_ml.graph.queries import resolve_node
from conceptnet_ml.graph.schema import Node
from conceptnet_ml.network.basis import Network
from conceptnet_ml.network.training import predict_logits, to_float

MOST_CLASSES = 64
"""So many classes are all dreamt where nothing is asked for."""

STRIP_CLASSES = 12
"""So many classes lend a real image to a node's dreams."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to dream of.

    Args:
        concepts: Nodes of the run's graph: ids, labels, names, or ``STAGE:UNIT``.
        layers: Stages or paths of modules. Alone: whatever they see; with units: these; with a guide: what it shows
            them.
        units: Numbers, or words such as ``0-63,70`` or ``all``.
        classes: Names or numbers.
        starts: Image files to begin with, in place of noise.
        guide: Image file.
        toward: Class that the starts are turned into, from what the network sees in them.
        size: Side in px; a start keeps its shape, its longer side is this. None: what the network was made for.
        seed: Of all dreams.
        dreamer: Name of the plugin that says how; None takes what suits: ``deepdream`` for what a layer sees in a
            picture, ``turn`` for one turned into another class, else ``fourier``.
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

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            SettingsError: It does.
        """
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


@dataclass(frozen=True, eq=False)
class Asked:
    """One dream of a gallery.

    Args:
        wish: For the engine.
        network: Where it is dreamt.
        dreamer: How, by name.
        file: Its name, without suffix.
        about: What the record says of it: class, layer and unit, or concept.
        sought: For a concept, also where it answers.
        node: For a concept.
        start: What it began with: a file, or a class whose real image it was; None for noise.
        lent: Whether the start is a real image of that class.
    """

    wish: DreamRequest
    network: Network
    dreamer: str
    file: str
    about: dict[str, Any] = field(default_factory=dict)
    sought: ConceptTarget | None = None
    node: Node | None = None
    start: str | None = None
    lent: bool = False


def asked(request: Request, subject: Subject, real: Real | None) -> list[Asked]:
    """Every dream that a request asks for.

    Raises:
        SettingsError, DataError: Something it names does not exist.
    """
    request.check()
    starts = [(Path(path).name, read_start(path, subject, request.size)) for path in request.starts]
    if request.toward is not None:
        return _unique([_turn(subject, request, real, name, image) for name, image in starts])
    seeks: list[tuple[dict[str, Any], Objective, Network, ConceptTarget | None, Node | None]] = []
    for chosen in _nodes(request, subject):
        assert subject.run is not None
        place = Concepts(subject.run.graph, subject.run.model).sought(chosen)
        about = {"concept": chosen.id, "kind": chosen.kind, "stage": chosen.stage}
        seeks.append((about, place.objective, place.network, place, chosen))
    for layer in request.layers:
        for about, target in _of_layer(request, subject, layer):
            seeks.append((about, target, subject.network, None, None))
    for word in request.classes or _all_classes(request, subject):
        number = subject.class_number(word)
        target = Objective.logit(number, subject.classes[number])
        seeks.append(({"class": subject.classes[number]}, target, subject.network, None, None))
    found = []
    for about, target, network, sought, node in seeks:
        lent = [] if node is None or starts else _lent(subject, real, request.size)
        begun: list[tuple[str | None, Tensor | None, bool]] = [(name, image, False) for name, image in starts]
        for name, image, is_lent in begun or [(None, None, False), *lent]:
            file = _slug(target.name if node is None else f"{node.id}-{node.title}")
            file += "" if name is None else f"-from-{_slug(Path(name).stem)}"
            # A target of its own for each, so that what comes back can be told apart; and noise of its own for each
            # unit, lest all of a layer look alike.
            wish = DreamRequest(target.named(target.name), request.seed + int(about.get("unit") or 0), image)
            sees = "layer" in about and "unit" not in about and image is not None
            dreamer = request.dreamer or ("deepdream" if sees else "fourier")
            found.append(Asked(wish, network, dreamer, file, about, sought, node, name, is_lent))
    return _unique(found)


def read_start(path: str | Path, subject: Subject, size: int | None) -> Tensor:
    """An image file as uint8 (C, H, W): in its own shape with the longer side ``size``, else fitted to the network.

    Raises:
        DataError: It cannot be read.
        SettingsError: The network takes neither grey nor colour images.
    """
    channels = subject.network.channels
    if channels not in (1, 3):
        raise SettingsError(f"the network takes images of {channels} channels", "Picture files have one or three.")
    height, width = subject.network.image_size
    try:
        with Image.open(path) as file:
            image = to_rgb(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.", "Check the path.") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder.", "Name an image file.") from None
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise DataError(f"{path}: {error_line(error)}.", "Give another image.") from error
    if size is not None:
        share = size / max(image.size)
        box = (max(8, round(image.width * share)), max(8, round(image.height * share)))
        image = image.resize(box, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    elif height == width:
        pixels = fit_to_size(image, height)
    else:
        pixels = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC))).permute(2, 0, 1)
    return pixels if channels == 3 else torch.from_numpy(np.array(_grey(pixels)))[None]


def numbers(words: str | Sequence[int], most: int) -> list[int]:
    """``0-3,7`` or ``all`` as numbers below ``most``, in order, each once.

    Raises:
        SettingsError: Not such words, or a number that does not exist.
    """
    if not isinstance(words, str):
        found = [int(one) for one in words]
    elif words.strip() == "all":
        found = list(range(most))
    else:
        found = []
        for part in words.split(","):
            ends = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
                raise SettingsError(f"--units: '{part.strip()}' is no unit", "Write 7, 0-63, 0-15,40 or all.")
            last = int(ends[2] or ends[1])
            if last >= most:  # before a list as long as a typing error is made
                raise SettingsError(f"the layer has no unit {last}", f"It has {most} units, 0 to {most - 1}.")
            found += range(int(ends[1]), last + 1)
    wrong = next((one for one in found if not 0 <= one < most), None)
    if wrong is not None:
        raise SettingsError(f"the layer has no unit {wrong}", f"It has {most} units, 0 to {most - 1}.")
    return list(dict.fromkeys(found))


def _of_layer(request: Request, subject: Subject, layer: str) -> list[tuple[dict[str, Any], Objective]]:
    layers = Layers(subject.network, [layer], fold=False)
    if request.guide is not None:
        guide = read_start(request.guide, subject, None)
        return [({"layer": layer, "guide": str(request.guide)}, Objective.guide(layer, guide))]
    if request.units is None:
        return [({"layer": layer}, Objective.layer(layer))]
    maps = probe(layers, subject.network.image_size, subject.network.mean.device)[layer]
    found = []
    for unit in numbers(request.units, maps.shape[1]):
        name = subject.classes[unit] if layer == LOGITS else None
        found.append(({"layer": layer, "unit": unit}, Objective.unit(layer, unit, name)))
    return found


def _nodes(request: Request, subject: Subject) -> list[Node]:
    if request.concepts and subject.run is None:
        raise SettingsError("--concept needs a run: other networks have no concept graph", "Give --layer or --class.")
    if subject.run is None:
        return []
    graph, found = subject.run.graph, []
    for text in request.concepts:
        try:
            found.append(resolve_node(graph, text))
        except GraphError as error:
            unit = re.fullmatch(r"(.+):(\d+)", text)
            if unit is None or unit[1] not in subject.network.stage_names:
                raise
            mend = f"It is no part of any feature; dream of it as a unit: --layer {unit[1]} --units {unit[2]}."
            raise GraphError(error.message, mend) from error
    return found


def _all_classes(request: Request, subject: Subject) -> Sequence[str]:
    """All of them where nothing at all is asked for."""
    if request.concepts or request.layers:
        return ()
    if len(subject.classes) > MOST_CLASSES:
        raise SettingsError(
            f"nothing to dream of was named, and the network has {len(subject.classes)} classes",
            "Say --class NAME, or --layer NAME with or without --units.",
        )
    return [str(number) for number in range(len(subject.classes))]


def _turn(subject: Subject, request: Request, real: Real | None, name: str, image: Tensor) -> Asked:
    assert request.toward is not None
    new = subject.class_number(request.toward)
    floats = to_float(image[None], subject.network.mean.device)
    old = int(predict_logits(subject.network, floats, None)[0].argmax())
    if old == new:
        raise SettingsError(
            f"the network sees '{subject.classes[new]}' in {name} already", "Choose another class with --toward."
        )
    target = Objective.turn(old, new, subject.classes)
    about = {"class": subject.classes[new], "instead of": subject.classes[old]}
    file = f"{_slug(Path(name).stem)}-toward-{_slug(subject.classes[new])}"
    donor = None if real is None or real.labels is None else _first(real, new, (image.shape[1], image.shape[2]))
    wish = DreamRequest(target, request.seed, image, donor)
    return Asked(wish, subject.network, request.dreamer or "turn", file, about, start=name)


def _lent(subject: Subject, real: Real | None, size: int | None) -> list[tuple[str | None, Tensor | None, bool]]:
    """A held-out real image of each class, at the dreams' size."""
    if real is None or real.labels is None or len(subject.classes) > STRIP_CLASSES:
        return []
    found: list[tuple[str | None, Tensor | None, bool]] = []
    side = subject.network.image_size if size is None else (size, size)
    for number, name in enumerate(subject.classes):
        image = _first(real, number, side)
        if image is not None:
            found.append((name, image, True))
    return found


def _first(real: Real, number: int, size: tuple[int, int]) -> Tensor | None:
    """The first held-out image of a class, at a size."""
    assert real.labels is not None
    mine = (real.labels == number).nonzero()[:1, 0]
    if not len(mine):
        return None
    image = real.held.take(mine)[0].cpu()
    if tuple(image.shape[1:]) == size:
        return image
    large = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(large)).permute(2, 0, 1).contiguous()


def _grey(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).convert("L")


def _slug(text: str) -> str:
    """Words as a file name: letters and digits of any script, dots and dashes."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:80] or "dream"


def _unique(found: list[Asked]) -> list[Asked]:
    """The same, with a number after file names that would meet, in whatever case."""
    seen: dict[str, int] = {}
    result = []
    for one in found:
        count = seen[one.file.casefold()] = seen.get(one.file.casefold(), 0) + 1
        name = one.file if count == 1 else f"{one.file}-{count}"
        result.append(replace(one, file=name))
    return result
