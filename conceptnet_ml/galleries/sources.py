"""Where dreams come from: a run's network, a backbone with weights, or the user's own module; and real images."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.config.sources import check_network_name
from conceptnet_ml.data.files import both_sides
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import unlabelled
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.errors import DataError, SettingsError, nearest
from conceptnet_ml.network.build import load_users_module, load_weights, read_weights
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.learned_run import COMPARED, REFERENCE_STEP, LearnedRun
from conceptnet_ml.runtime import seeding
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.files import disk_errors, read_json
from conceptnet_ml.storage.run_folder import Run

SIDES = (224, 64, 32, 28, 299, 96, 128, 48)
"""Sizes in px that are tried where a network outside a run is given none."""

IMAGENET = 1000

BYTES = 16 * 2**20
"""Of the images that a run keeps, at most."""


@dataclass(eq=False)
class OpenedNetwork:
    """A network to dream in.

    Args:
        name: As the user gave it.
        network: In evaluation mode, on the device.
        classes: Names; numbers as text where the names are not known.
        run: The run it belongs to, None for others.
        notes: What the user should know.
    """

    name: str
    network: StagedNetwork
    classes: tuple[str, ...]
    run: LearnedRun | None = None
    notes: list[str] = field(default_factory=list)

    def class_number(self, name: str) -> int:
        """The class of this name, or number.

        Raises:
            SettingsError: There is none; names the nearest.
        """
        folded = [one.casefold() for one in self.classes]
        if name.casefold() in folded:
            return folded.index(name.casefold())
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        if self.classes == tuple(map(str, range(len(self.classes)))):
            raise SettingsError(
                f"the network knows no class '{name}': its classes have no names here",
                f"Give a number, 0-{len(self.classes) - 1}"
                + (", or their names: --names FILE." if self.run is None else "."),
            )
        raise SettingsError(f"the network knows no class '{name}'", nearest(name, self.classes))


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images to compare dreams with.

    Args:
        seen: Some the network may have been trained on.
        held: Held-out ones, in random order.
        labelled: Whether their labels say anything.
        names: Of the held-out ones: their files, or ``train:NUMBER`` among the run's training images.
    """

    seen: ImageSet
    held: ImageSet
    labelled: bool = True
    names: tuple[str, ...] = ()

    def first_held(self, count: int) -> ImageSet:
        """At most ``count`` held-out images."""
        return self.held.subset(torch.arange(min(count, len(self.held))))

    @functools.cached_property
    def compared(self) -> Tensor:
        """At most :data:`COMPARED` held-out images, uint8 (n, C, H, W), on the CPU."""
        images = self.first_held(COMPARED)
        return images.take(torch.arange(len(images))).cpu()


def open_network(
    source: str,
    plugins: Plugins,
    device: torch.device,
    *,
    weights: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    names: str | Path | None = None,
) -> OpenedNetwork:
    """The network that ``source`` names.

    Args:
        source: A run folder; a backbone, as in ``torchvision:resnet18``; or ``module:callable`` that takes nothing and
            returns an ``nn.Module``, or such a module itself.
        plugins: Where backbones are looked up.
        device: Where to put it.
        weights: A file with a state dict (.safetensors, or .pt and .pth with tensors alone); not for a run.
        size: Side or (H, W) in px the network is made for; default: the first of :data:`SIDES` it takes; not for a run.
        names: A file with the classes' names, see :func:`read_names`; not for a run. Default: the module's own
            ``class_names`` or ``classes``, where it has as many names as outputs; of a network of torchvision with
            weights, those of torchvision's own weights.

    Raises:
        SettingsError, DataError: There is no such thing, or its weights or names do not fit.
    """
    if Path(source).is_dir():
        if weights is not None:
            raise SettingsError("--weights and a run contradict each other", "A run has its own weights.")
        if names is not None:
            raise SettingsError("--names and a run contradict each other", "A run's classes have names.")
        run = LearnedRun(Run.open(source), plugins, device=str(device))
        return OpenedNetwork(source, run.model.network.to(device).eval(), run.classes, run)
    name, _, argument = source.partition(":")
    backbones = {record.name for record in plugins.all("backbone")}
    check_network_name(source, backbones)
    state = None if weights is None else read_weights(weights, "--weights")
    notes: list[str] = []
    if name in backbones:
        size = size or SIDES[0]
        model = _backbone(name, argument, plugins, both_sides(size), state)
        if state is None:
            notes.append("no --weights: the network is untrained, and so are its dreams")
    else:
        model = load_users_module(source, backbones)
    if state is not None:
        load_weights(model, state, "--weights")
    network = _staged(model, size).to(device).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, network.channels, *network.image_size, device=device)).shape[1]
    known = _own_names(model, outputs) if names is None else read_names(names, outputs)
    if not known and name == "torchvision" and state is not None:
        known = _torchvisions_names(argument, outputs)
        notes += ["classes are called as torchvision's own weights have them; other names: --names FILE"] * bool(known)
    classes = number_duplicates(known, "{} ({})") if known else map(str, range(outputs))
    return OpenedNetwork(source, network, tuple(classes), notes=notes)


def read_names(path: str | Path, outputs: int) -> list[str]:
    """The names of so many classes from a file: one a line, in the order of the outputs; or JSON, a list of them or, as
    ImageNet's index is published, an object of numbers with a name each, or with a list whose last is the name.

    Raises:
        DataError: It cannot be read.
        SettingsError: It holds another number of names.
    """
    path = Path(path)
    if path.suffix == ".json":
        found = read_json(path)
        if isinstance(found, dict):
            found = [found.get(str(number)) for number in range(len(found))]
        listed = found if isinstance(found, list) else []
        names = [one[-1] if isinstance(one, list) and one else one for one in listed]
    else:
        with disk_errors(path, "read"):
            names = [line.strip() for line in path.read_text("utf-8-sig", errors="replace").strip().splitlines()]
    if len(names) != outputs or not all(isinstance(name, str) and name for name in names):
        raise SettingsError(
            f"--names: {path} holds {len(names)} names, the network has {outputs} outputs",
            "Give a text file with a name a line, in the order of the outputs, or a JSON list.",
        )
    return names


def _own_names(model: nn.Module, outputs: int) -> Sequence[str]:
    """What a module itself calls its classes, where it says so of each."""
    for attribute in ("class_names", "classes"):
        names = getattr(model, attribute, None)
        if isinstance(names, list | tuple) and len(names) == outputs and all(isinstance(name, str) for name in names):
            return names
    return ()


def _torchvisions_names(architecture: str, outputs: int) -> Sequence[str]:
    """What torchvision calls the classes of its own weights of an architecture, ImageNet's as a rule; nothing is
    downloaded. Empty where there are others than ``outputs``."""
    from torchvision.models import get_model_weights

    try:
        names = next(iter(get_model_weights(architecture))).meta.get("categories", ())
    except (ValueError, StopIteration):
        return ()
    return [str(one) for one in names] if len(names) == outputs else ()


def real_images(opened: OpenedNetwork, folder: str | Path | None, seen: bool = True) -> RealImages | None:
    """The images of a folder, half of them held out; else those of the network's run; else None.

    Args:
        opened: The network, for the images' size and its run.
        folder: Of image files.
        seen: Without it the held-out images that a run keeps will do, and its data need not be loaded.

    Raises:
        DataError: No such folder, or fewer than four pictures in it; the run's images cannot be loaded.
    """
    generator = seeding.generator(0)
    if folder is not None:
        channels = opened.network.channels
        images = unlabelled(folder, opened.network.image_size, channels=3 if channels == 1 else channels)
        if len(images) < 4:
            raise DataError(f"{folder} holds {len(images)} pictures", "Give some hundreds to compare dreams with.")
        order = torch.randperm(len(images), generator=generator)
        return RealImages(images.subset(order[::2]), images.subset(order[1::2]), labelled=False)
    if opened.run is None:
        return None
    if not seen and opened.run.folder.has_step(REFERENCE_STEP):
        return RealImages(kept := opened.run.held_out(), kept)
    settings = opened.run.settings
    train = opened.run.images().train
    fit, held = split_holdout(train, settings.data.holdout, seeding.seed_for(settings.seed, "holdout"))
    fit, held = (part[torch.randperm(len(part), generator=generator)] for part in (fit, held))
    return RealImages(train.subset(fit), train.subset(held))


def draw_reference_images(ctx: Context) -> RealImages:
    """Held-out images of a run, drawn at random once and kept in its folder."""

    order = torch.randperm(len(ctx.held), generator=ctx.generator("album"))
    chosen = ctx.held[order[: max(1, min(COMPARED, BYTES // (ctx.size[0] * ctx.size[1] * 3)))]]

    def draw() -> dict[str, Tensor]:
        return {"images": ctx.data.train.take(chosen).cpu(), "labels": ctx.labels[chosen]}

    ctx.independent(REFERENCE_STEP)
    files = ctx.data.train.files
    names = tuple(f"train:{number}" if files is None else _printable(files[number]) for number in chosen.tolist())
    return replace(_kept(ctx.once(REFERENCE_STEP, draw)), names=names)


def _printable(name: str) -> str:
    """A file's name as the graph takes it."""
    return "".join(one if one.isprintable() else "?" for one in name).strip() or "?"


def _kept(found: Mapping[str, Tensor]) -> RealImages:
    held = ImageSet(found["images"], found["labels"])
    return RealImages(held, held)


def _backbone(
    name: str, argument: str, plugins: Plugins, size: tuple[int, int], state: dict[str, Tensor] | None
) -> nn.Module:
    """A backbone with as many classes as its weights have, else ImageNet's."""
    build = plugins.get("backbone", name).function("build")

    def model_with(classes: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(argument, classes, size, NetworkSettings())

    model = model_with(IMAGENET)
    if state is not None:
        last = [path for path, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
        outputs = next((len(value) for key, value in state.items() if key.endswith(f"{last}.weight")), IMAGENET)
        model = model if outputs == IMAGENET else model_with(outputs)
    return model


def _staged(model: nn.Module, size: int | tuple[int, int] | None) -> StagedNetwork:
    """The network for the first size it takes."""
    refused: SettingsError | None = None
    for one in (size,) if size else SIDES:
        try:
            return StagedNetwork(model.eval(), both_sides(one))
        except SettingsError as error:
            refused = refused or error
    assert refused is not None
    raise SettingsError(refused.message, "Say with --size what size of images it takes.")


def number_duplicates(names: Sequence[str], pattern: str, key: Callable[[str], str] = str) -> list[str]:
    """The names, with a number after each whose ``key`` was there before: ``pattern.format(name, 2)``."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[key(name)] += 1
        count = seen[key(name)]
        found.append(name if count == 1 else pattern.format(name, count))
    return found
