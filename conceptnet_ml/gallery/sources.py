"""Whose dreams: a run's network, a backbone with its weights, or the user's own module; and real images beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import NetworkSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.errors import DataError, SettingsError, nearest
from conceptnet_ml.evaluation.accuracy import unlabelled
from conceptnet_ml.gallery import reference_images as held
from conceptnet_ml.network.build import load_users_module, load_weights, read_weights
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import seeding
from conceptnet_ml.storage.run_folder import Run

SIDES = (224, 64, 32, 28, 299, 96, 128, 48)
"""Sizes a network without a run is tried with, in px, where none is given."""

IMAGENET = 1000


@dataclass(eq=False)
class Subject:
    """A network to dream in.

    Args:
        name: As the user gave it.
        network: In evaluation mode, on the device.
        classes: Names, or numbers as words where nobody knows the names.
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
        shown = self.classes if len(self.classes) <= 20 else _near(name, self.classes)
        raise SettingsError(f"the network knows no class '{name}'", nearest(name, shown))


@dataclass(frozen=True, eq=False)
class Real:
    """Real images to compare dreams with.

    Args:
        seen: Some the network may have been trained on.
        held: Others, held out in a run.
        labels, seen_labels: Class numbers of the held ones and of the others, None where nobody knows them.
    """

    seen: ImageSet
    held: ImageSet
    labels: Tensor | None = None
    seen_labels: Tensor | None = None

    def some(self, count: int) -> ImageSet:
        """At most ``count`` held ones; they lie in random order."""
        return self.held.subset(torch.arange(len(self.held))[: min(count, len(self.held))])


def open_subject(
    source: str,
    plugins: Plugins,
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    device: torch.device,
) -> Subject:
    """The network that ``source`` names.

    Args:
        source: A run folder; a backbone, as in ``torchvision:resnet18``; or ``module:callable`` that takes nothing and
            returns an ``nn.Module``, or such a module itself.
        plugins: Where backbones are looked up.
        weights: A file with a state dict (.safetensors, or .pt and .pth with tensors alone); not for a run.
        size: Height and width the network is made for; default: what it takes of :data:`SIDES`; not for a run.
        device: Where to put it.

    Raises:
        SettingsError, DataError: There is no such thing, or its weights do not fit.
    """
    if Path(source).is_dir():
        if weights is not None:
            raise SettingsError("--weights and a run contradict each other", "A run has its own weights.")
        run = LearnedRun(Run.open(source), plugins, device=str(device))
        network = run.model.network.to(device).eval()
        return Subject(source, network, run.classes, run)
    name, colon, argument = source.partition(":")
    backbones = {record.name for record in plugins.all("backbone")}
    if name not in backbones and not colon:
        raise SettingsError(
            f"'{source}' is neither a run folder nor a network",
            "Give a folder that 'learn' wrote, a backbone as in torchvision:resnet18, or module:callable.",
        )
    state = None if weights is None else read_weights(weights, "--weights")
    if name in backbones:
        network, notes = _backbone(name, argument, plugins, state, size)
    else:
        network, notes = _staged(load_users_module(source, backbones), size, state), []
    if state is None and name in backbones:
        notes.append("no --weights: the network is untrained, and so are its dreams")
    names = _names(name, argument, _outputs(network))
    return Subject(source, network.to(device).eval(), names, notes=notes)


def real_images(subject: Subject, folder: str | Path | None, seen: bool = True) -> Real | None:
    """The images of a folder, half of them held out; else those of the subject's run; else None.

    Without ``seen`` the held-out images that a run kept will do, and its data need not be loaded.

    Raises:
        DataError: No such folder, or fewer than four pictures in it; the run's images cannot be had.
    """
    generator = seeding.generator(0)
    if folder is not None:
        images = unlabelled(folder, subject.network.image_size)
        if len(images) < 4:
            raise DataError(f"{folder} holds {len(images)} pictures", "Give some hundreds to compare dreams with.")
        order = torch.randperm(len(images), generator=generator)
        return Real(images.subset(order[::2]), images.subset(order[1::2]))
    if subject.run is None:
        return None
    if not seen and (own := held.kept(subject.run)) is not None:
        return Real(own, own, own.labels, own.labels)
    settings = subject.run.settings
    train = subject.run.images().train
    fit, rest = split_holdout(train.labels, settings.data.holdout, seeding.seed_for(settings.seed, "holdout"))
    fit, rest = (part[torch.randperm(len(part), generator=generator)] for part in (fit, rest))
    return Real(train.subset(fit), train.subset(rest), train.labels[rest], train.labels[fit])


def _backbone(
    name: str, argument: str, plugins: Plugins, state: dict[str, Tensor] | None, size: int | None
) -> tuple[StagedNetwork, list[str]]:
    build = plugins.get("backbone", name).function("build")
    side = size or SIDES[0]

    def made(classes: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(argument, classes, (side, side), NetworkSettings())

    model = made(IMAGENET)
    if state is not None:
        last = [path for path, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]
        outputs = next((len(value) for key, value in state.items() if key.endswith(f"{last}.weight")), IMAGENET)
        model = model if outputs == IMAGENET else made(outputs)
    return _staged(model, size or SIDES[0], state), []


def _staged(model: nn.Module, size: int | None, state: dict[str, Tensor] | None) -> StagedNetwork:
    """The network for the first size it takes, with its weights."""
    if state is not None:
        load_weights(model, state, "--weights")
    refused: SettingsError | None = None
    for side in (size,) if size else SIDES:
        try:
            return StagedNetwork(model.eval(), (side, side))
        except SettingsError as error:
            refused = refused or error
    assert refused is not None
    raise SettingsError(refused.message, "Say with --size what size of images it takes.")


def _outputs(network: StagedNetwork) -> int:
    device = network.mean.device
    with torch.no_grad():
        return network(torch.zeros(1, network.channels, *network.image_size, device=device)).shape[1]


def _names(name: str, argument: str, outputs: int) -> tuple[str, ...]:
    """The names of ImageNet's classes for torchvision's own networks; numbers otherwise."""
    if name == "torchvision" and outputs == IMAGENET:
        import torchvision

        for weights in torchvision.models.get_model_weights(argument):
            categories = weights.meta.get("categories", ())
            if len(set(categories)) <= outputs == len(categories):
                return _unique(categories)
    return tuple(str(number) for number in range(outputs))


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """ImageNet has two cranes and two maillots."""
    found: dict[str, int] = {}
    result = []
    for name in names:
        found[name] = found.get(name, 0) + 1
        result.append(name if found[name] == 1 else f"{name} ({found[name]})")
    return tuple(result)


def _near(name: str, known: Sequence[str]) -> list[str]:
    import difflib

    inside = [one for one in known if name.casefold() in one.casefold()]
    return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=8, cutoff=0.4), *inside]))[:8]
