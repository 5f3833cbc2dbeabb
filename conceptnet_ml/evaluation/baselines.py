"""Baselines, trained from the same data as the learner and at the same cost, to compare its figures with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import unlabelled
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.errors import PluginError, SettingsError
from conceptnet_ml.evaluation.accuracy import accuracies
from conceptnet_ml.evaluation.witness import witness_of
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import LossFn, ViewMaker, augment
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import Baseline
from conceptnet_ml.runtime import devices
from conceptnet_ml.steps.context import Context, Net
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.swap.views import Swap, Views

MOST = 100
"""The greatest count a baseline takes for an argument."""

KIND = "controls"
"""What the time of all baselines is counted as."""


class BaselineContext:
    """What a baseline may use. The run remembers what takes long, so a stopped baseline goes on.

    Attributes:
        plain: The training images without swaps, numbered as views are. ``plain.pool`` has their numbers among all
            training images, ``plain.images.labels`` the labels of all of these, ``plain.donors`` draws donors.
        classes: How many classes there are.
        class_names: Their names, in the order of the labels.
        argument: What the user wrote after the method's name and a colon, as in ``dream-datasets:3``; else empty.
        share: Mean area of an image that the learner's place swaps exchange; 0.25 where it kept none.
        ordinary: The network after ordinary training, in evaluation mode. Train copies of it only.
        epochs: Passes over the training images that all kept rounds took together: equal compute.
        ordinary_epochs: Epochs of ordinary training. A baseline that starts from fresh weights may train for
            ``ordinary_epochs + epochs``, as many as the learner's network had in all.
        rate, warm_rate: Peak learning rates from fresh weights and from a trained network.
        unbiased: Where the record needs it, the training images with each trap's cue drawn at random, numbered as
            ``plain`` is; else None.
        unlabelled: Where the record needs it, pictures of the new world, as views whose labels say nothing: those of
            ``data.target``, else the training images with each trap's cue drawn at random; else None.
        held: Numbers (M,) of the training images that are held out, among all training images.
        device, dtype: Where and in which autocast type networks run.
    """

    def __init__(
        self,
        ctx: Context,
        record: Baseline,
        ordinary: StagedNetwork,
        epochs: int,
        share: float = 0.25,
        argument: str = "",
    ) -> None:
        self._ctx, self._name = ctx, f"control/{record.name}{argument and ':'}{argument}"
        self.plain = ctx.views(ctx.fit, [])
        self.classes = ctx.classes
        self.class_names = ctx.data.classes
        self.argument = argument
        self.share = share
        self.ordinary = ordinary
        self.epochs = epochs
        self.ordinary_epochs = ctx.epochs(ctx.settings.training.epochs)
        self.rate, self.warm_rate = ctx.settings.training.rate, ctx.settings.training.warm_rate
        self.held = ctx.held
        self.device, self.dtype = ctx.device, ctx.dtype
        self.unbiased: Callable[[], Views] | None = None
        if "unbiased" in record.needs:
            self.unbiased = partial(_unbiased, ctx)
        self.unlabelled: Callable[[], Views] | None = None
        self._target = ""
        if "unlabelled" in record.needs:
            folder = ctx.settings.data.target
            self.unlabelled = partial(_unbiased, ctx) if folder is None else partial(_target_views, ctx, folder)
            self._target = "" if folder is None else sha256(folder, 8)

    def fresh(self) -> StagedNetwork:
        """A network with the weights that the ordinary one began with: new, or trained ones with a head that fits."""
        return self._ctx.network()

    def seed(self, *ids: object) -> int:
        """The seed of one item of this baseline."""
        return self._ctx.seed(self._name, *ids)

    def train(
        self,
        name: str,
        network: Net,
        views: ViewMaker,
        epochs: int,
        rate: float | None = None,
        objective: LossFn | None = None,
    ) -> Net:
        """A trained copy of a network, in evaluation mode; a finished training is read back, a stopped one goes on.

        Args:
            name: Unique within the baseline.
            network: A :class:`StagedNetwork`, or a module of modules around one.
            views: Numbered as ``plain`` is; may give labels as shares of the classes, (B, K). With an objective, labels
                are whatever it takes, B rows on the training device, and images may have more channels.
            epochs: Passes over the training images.
            rate: Peak of the one-cycle learning rate; default: the rate from fresh weights.
            objective: ``objective(network, images, labels) -> loss``; default: cross entropy of the network's logits.

        Raises:
            TrainingDiverged: The loss became NaN or infinite.
            Interrupted: The user wants to stop; the next run of the baseline goes on from there.
        """
        peak = self.rate if rate is None else rate
        return self._ctx.train(self._step(name), network, views, epochs, peak, KIND, objective)

    def batched(self, name: str, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Values (N, …) for every training image, on the CPU, in the order of ``plain``; each batch is remembered.

        Args:
            name: Unique within the baseline.
            compute: Positions (B,) within ``plain`` to a tensor (B, …). It must not depend on the batch.
        """
        parts = torch.arange(len(self.plain)).split(self._ctx.settings.probe.batch)
        found = []
        with self._ctx.progress.task(f"{self._name}/{name}", total=len(parts)) as task:
            for place, part in enumerate(parts):
                found.append(self._ctx.once(self._step(f"{name}/{place}"), partial(compute, part), KIND))
                task.advance()
        return torch.cat(found)

    def views(self, images: Tensor) -> Views:
        """Views of other pictures, uint8 (N, C, H, W), in place of ``plain``'s, in its order, with its labels."""
        labels = self.plain.images.labels[self.plain.pool]
        whole = ImageSet(images.to(self.plain.images.device), labels)
        return Views(whole, torch.arange(len(whole)), [], self.classes, self.device)

    def paired(self, views: ViewMaker, others: Views) -> ViewMaker:
        """Views with an image of others, drawn at random, beside each: (B, 2·C, H, W), the others' channels last.

        Labels are those of the views alone. The two are augmented by one draw. A network that is trained on them by
        ``train`` must answer such a batch when it is called, too: its batch norms may be estimated again.
        """

        def make(indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            images, labels = views(indices, generator)
            drawn = others.pool[torch.randint(len(others), (len(images),), generator=generator)]
            return torch.cat([images, others.raw(drawn)], 1), labels

        return make

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Float images (B, C, H, W) cropped and flipped as in training."""
        return augment(images, self._ctx.settings.training, generator)

    def answers(self, network: StagedNetwork, images: Tensor) -> Tensor:
        """Logits (B, K) in fp32 of float images (B, C, H, W), under the run's autocast; can be differentiated."""
        with devices.autocast(self.device, self.dtype):
            return network(images).float()

    def witness(self) -> Witness:
        """The run's witness: a network trained like the ordinary one from other weights, and what held-out images look
        like in it. It is trained once in a run, which is not counted as this baseline's time."""
        return witness_of(self._ctx)

    def measure(self, name: str, network: nn.Module) -> None:
        """Log a network's accuracy on every test set, as the event ``measured`` of metrics.jsonl.

        For those who read: nothing comes back, so that no test set can choose. Its time is nobody's.
        """

        def work() -> dict[str, float]:
            table = accuracies({"it": network}, self._ctx.data.tests, self.device, self.dtype)
            return {tests: row["it"]["accuracy"] for tests, row in table.items()}

        self._ctx.once(self._step(f"measure/{name}"), lambda: self._logged("measured", name, {"accuracy": work()}))

    def note(self, name: str, **figures: Any) -> None:
        """Log plain values that a reader should see, such as what a gate decided and why, as the event ``noted``."""
        self._ctx.once(self._step(f"note/{name}"), lambda: self._logged("noted", name, figures))

    def _logged(self, event: str, name: str, figures: dict[str, Any]) -> dict[str, Any]:
        self._ctx.run.log(event=event, method=self._name.partition("/")[2], name=name, **figures)
        return figures

    def _step(self, name: str) -> str:
        """The step's whole name; other pictures of the new world have it computed anew."""
        step = f"{self._name}/{name}"
        if self._target:
            self._ctx.rests_on(step, self._target)
        return step


def train_baselines(ctx: Context, learned: Learned, names: Iterable[str] | None = None) -> dict[str, StagedNetwork]:
    """Train baselines beside the learner; by name, each network.

    Args:
        ctx: The context of the learner's run; what was trained before is read back.
        learned: What the learner ended with.
        names: Which baselines; default: the settings' controls, but none where no round was kept, since there is
            nothing to compare. Baselines named here then train for as many epochs as one round would have taken.

    Raises:
        SettingsError, PluginError: No such baseline, one that needs what the data do not have, or one that returned
            no network like the ordinary one.
    """
    if names is None and not learned.epochs:
        return {}
    chosen = list(ctx.settings.plugins.controls if names is None else names)
    check_baselines(chosen, ctx.plugins, ctx.data, ctx.settings.data.target)
    epochs = learned.epochs or ctx.epochs(ctx.settings.round.epochs)
    share = _mean_area(ctx, learned.swaps)
    return {name: _train_baseline(ctx, name, learned.ordinary, epochs, share) for name in chosen}


def check_baselines(names: Iterable[str], plugins: Plugins, data: Data, target: str | None = None) -> None:
    """Whether these baselines can be trained on these data, beside this folder of pictures of the new world.

    Raises:
        SettingsError, PluginError: No such baseline, or it takes images of other channels, or needs images with random
            cues and no trap was laid, or unlabelled pictures and there is neither a folder nor a trap.
    """
    for name in names:
        record, argument = baseline_of(name, plugins)
        if record.argument == "class" and argument not in ("", *data.classes):
            raise SettingsError(
                f"baseline '{name}': there is no class '{argument}'", f"Name one of {', '.join(data.classes)}."
            )
        if lack := lacking(record, data, target):
            mend = "Lay a trap (data.trap)" if "unlabelled" not in record.needs else "Give a folder of them (--target)"
            mend = f"{mend}, or leave this baseline out." if _takes(record, data) else "Leave this baseline out."
            raise SettingsError(f"baseline '{name}' {lack}", mend)


def baseline_of(method: str, plugins: Plugins) -> tuple[Baseline, str]:
    """The record of ``NAME`` or ``NAME:ARGUMENT``, and the argument.

    Raises:
        SettingsError, PluginError: No such baseline, one that takes no argument and is given one, or no whole number
            where it takes a count. Whether there is a class of the name only the data know.
    """
    name, colon, argument = method.partition(":")
    record = plugins.get("baseline", name)
    assert isinstance(record, Baseline)
    if colon and not record.argument:
        raise SettingsError(f"baseline '{name}' takes no argument '{argument}'", f"Write {name}.")
    if colon and record.argument == "count" and not (argument.isdecimal() and 1 <= int(argument) <= MOST):
        raise SettingsError(f"baseline '{method}': '{argument}' is no count from 1 to {MOST}", f"As in {name}:3.")
    return record, argument


def lacking(record: Baseline, data: Data, target: str | None) -> str:
    """What a baseline needs and these data do not have, in words; empty where there is all of it.

    Args:
        target: The folder of pictures of the new world, if any.
    """
    if not _takes(record, data):
        return f"takes images of {record.channels} channels, those of {data.name} have {data.shape[0]}"
    if "unbiased" in data.worlds:
        return ""
    if "unbiased" in record.needs:
        return f"needs training images with random cues, and {data.name} has none"
    if "unlabelled" in record.needs and target is None:
        return "needs unlabelled pictures of the new world: there is no folder of them, nor a trap to make them with"
    return ""


def _takes(record: Baseline, data: Data) -> bool:
    """Whether it takes images of as many channels."""
    return record.channels in (None, data.shape[0])


def baseline_seconds(ctx: Context, name: str) -> float:
    """Seconds a baseline took, whenever in the run's life."""
    mine = f"control/{name}"
    return sum(seconds for step, (_, seconds) in ctx.timings.items() if step == mine or step.startswith(f"{mine}/"))


def _train_baseline(ctx: Context, name: str, ordinary: StagedNetwork, epochs: int, share: float) -> StagedNetwork:
    record, argument = baseline_of(name, ctx.plugins)
    context = BaselineContext(ctx, record, ordinary, epochs, share, argument)
    if record.fit is None:
        views = record.function("views")(context)
        return ctx.train(f"control/{name}", ordinary, views, epochs, context.warm_rate, KIND)
    network = record.function("fit")(context)
    if isinstance(network, StagedNetwork):
        built, wanted = ({key: value.shape for key, value in one.state_dict().items()} for one in (network, ordinary))
        if built == wanted:
            return network.eval()
    raise PluginError(f"baseline '{name}': fit() must return a network built as the ordinary one")


def _unbiased(ctx: Context) -> Views:
    return Views(ctx.data.worlds["unbiased"](), ctx.fit, [], ctx.classes, ctx.device)


def _target_views(ctx: Context, folder: str) -> Views:
    """The pictures of a folder at the size of the training images, beside which they are shown; read but once, where
    ``data.memory`` has room for them."""
    channels, height, width = ctx.data.shape
    images = unlabelled(folder, (height, width), ctx.settings.data.megapixels, channels)
    places = torch.arange(len(images))
    if len(images) * channels * height * width <= ctx.settings.data.memory * 2**30:
        images = ImageSet(images.take(places), images.labels)
    return Views(images.to(ctx.device), places, [], ctx.classes, ctx.device)


def _mean_area(ctx: Context, swaps: list[Swap]) -> float:
    """Of the place swap that exchanges most, the mean area; 0.25 where no swap has a place gate."""
    areas = []
    generator = ctx.generator("share")
    for swap in swaps:
        hosts = swap.open_gate(ctx.fit[:512], ctx.size, torch.device("cpu"))
        if hosts is not None and hosts.ndim == 4:
            donors = hosts[torch.randperm(len(hosts), generator=generator)]
            areas.append(float((hosts | donors).float().mean()))
    return max(areas, default=0.25)
