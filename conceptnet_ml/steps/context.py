"""What every step works with: settings, data, device, the run's memory, and whose answer a round is about."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.concepts.scores import FindEvidence, balanced_sample, gather_evidence
from conceptnet_ml.config.settings import RATES, NetworkSettings, Settings
from conceptnet_ml.config.sources import fixed_digest
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.sampling import FEW, split_holdout
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.errors import DataError
from conceptnet_ml.network.batch_norms import settle_batch_norms
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.joint_norms import joint_norms
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import LossFn, TrainingJob, ViewMaker, enough_epochs, train
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.records import Representation
from conceptnet_ml.runtime import layout, ranks, seeding
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.override_rule import OverrideRule
from conceptnet_ml.steps.records import Round
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.surgery.resize import load_state
from conceptnet_ml.swap.probe import Prober, loudness, softened
from conceptnet_ml.swap.representation import Codec, RegionalCodec, fitting, place_gate
from conceptnet_ml.swap.views import Swap, Views

Net = TypeVar("Net", bound=torch.nn.Module)


@dataclass
class Context:
    """Shared by all steps of a run.

    Args:
        settings: All settings.
        plugins: Where algorithms are looked up by name.
        data: The images; a trap is already laid.
        run: The run folder; remembers finished steps.
        progress: The one progress display.
        stopper: Says when the user wants to stop.
        device, dtype: Where and in which autocast type networks run.
        fit, held: Numbers of the training images that are trained on, and of those held out for the decisions.
        partners: (classes, m) the classes probes draw donors from for each class, None for all others.
        timings: For each step that takes time, what it counts as and its seconds, whenever in the run's life it ran.
        override_rule: What the user decides whatever the rule says.
        history: What the user edited.
        edited: Fingerprint of the edits that what is computed now rests on, empty where there are none.
        on_round: Called with each round when it has ended.
    """

    settings: Settings
    plugins: Plugins
    data: Data
    run: Run
    progress: Progress
    stopper: Stopper
    device: torch.device
    dtype: torch.dtype | None
    fit: Tensor = field(init=False)
    held: Tensor = field(init=False)
    partners: Tensor | None = None
    timings: dict[str, tuple[str, float]] = field(default_factory=dict)
    override_rule: OverrideRule = field(init=False)
    history: EditHistory = field(init=False)
    edited: str = field(init=False)
    on_round: Callable[[Round], None] = lambda round: None

    def __post_init__(self) -> None:
        self.override_rule = OverrideRule(self.settings.round)
        self._bases: dict[str, str] = {}
        self._loud: WeakKeyDictionary[torch.nn.Module, float] = WeakKeyDictionary()
        self._settings = fixed_digest(self.run.settings)
        self.history = EditHistory(self.run)
        self.edited = ""
        self.fit, self.held = split_holdout(self.data.train, self.settings.data.holdout, self.seed("holdout"))

    @property
    def labels(self) -> Tensor:
        """(N,) class numbers of the training images."""
        return self.data.train.labels

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.data.classes)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.data.shape[1], self.data.shape[2]

    @property
    def grow(self) -> int:
        """How far open cells are grown before training, in px."""
        return round(self.settings.probe.grow * max(self.size))

    @cached_property
    def probe_set(self) -> Tensor:
        """Numbers of the class-balanced training images on which units are judged."""
        return balanced_sample(self.labels, self.fit, self.settings.concepts.probe_images, self.seed("probe set"))

    def seconds(self, what: str) -> float:
        """Time spent on ``ordinary`` training, ``probing``, ``rounds``, ``controls`` or the ``witness``."""
        return sum(seconds for kind, seconds in self.timings.values() if kind == what)

    def seed(self, *ids: object) -> int:
        """The seed of one item of this run."""
        return seeding.seed_for(self.settings.seed, *ids)

    def generator(self, *ids: object) -> torch.Generator:
        """A generator for one item of this run."""
        return seeding.generator(self.seed(*ids))

    def views(self, pool: Tensor, swaps: Sequence[Swap], mix: float = 0.0) -> Views:
        """Views of a pool of training images under these swaps."""
        return Views(self.data.train, pool, swaps, self.classes, self.device, mix, self.partners)

    def probe_views(self, name: str, swaps: Sequence[Swap]) -> list[tuple[Tensor, Tensor]]:
        """One view of each image of the probe set under these swaps, and its class, batch by batch."""
        views = self.views(self.fit, swaps)
        batches = []
        for place, numbers in enumerate(self.probe_set.split(self.settings.probe.batch)):
            with torch.no_grad():
                images = views.of(numbers, self.generator(name, "look", place))
            batches.append((images, self.labels[numbers].to(self.device)))
        return batches

    def evidence(self, stage: str, name: str, readout: Readout) -> FindEvidence:
        """The probe set's maps at a stage, one view of each image under the readout's swaps."""
        views = self.probe_views(name, readout.swaps)
        return gather_evidence(readout.network, stage, readout.head(stage), views, self.classes, self.settings.concepts)

    @cached_property
    def representations(self) -> tuple[str, ...]:
        """Names of the settings' representations that images of these channels have."""
        return fitting(self.settings.plugins.representations, self.plugins, self.data.shape[0])

    def codec(self, name: str, readout: Readout | None = None) -> Codec:
        """A representation by name; below a feature a regional one works in places only, and where the user named
        places, one with gates of places has these."""
        record = self.plugins.get("representation", name)
        assert isinstance(record, Representation)
        if readout is not None and readout.given and record.gate == "place":
            return Codec(record, place_gate(readout.given, self.size, self.settings.probe.cells))
        regional = readout is not None and readout.elementary is not None and record.regional
        return RegionalCodec(record) if regional else Codec(record)

    def prober(self, readout: Readout, codec: Codec, price: float | None = None, steps: int | None = None) -> Prober:
        """The dream probe of this readout in a representation, at the settings' price and steps unless others are
        given."""
        settings = self.settings.probe
        settings = settings.model_copy(
            update={"price": settings.price if price is None else price, "steps": steps or settings.steps}
        )
        return Prober(softened(readout.logits, self._loudness(readout)), codec, settings, self.dtype)

    def _loudness(self, readout: Readout) -> float:
        """What its logits are divided by, of some held-out views; 1 where a feature's variants answer."""
        network = readout.network
        if readout.family is not None:
            return 1.0
        if network not in self._loud:
            random = self.generator("loudness")
            numbers = self.held[torch.randperm(len(self.held), generator=random)[:FEW]]
            with torch.no_grad():
                images = self.views(self.held, readout.swaps).of(numbers, random)
            self._loud[network] = loudness(readout.logits, images, self.dtype)
        return self._loud[network]

    @cached_property
    def _fresh(self) -> StagedNetwork:
        """The network as it is built, which is costly: it is run and traced to find its stages."""
        channels = self.data.shape[0]
        return build_network(self.settings, self.data.classes, self.size, self.plugins, channels=channels)

    @cached_property
    def _begun(self) -> dict[str, Tensor] | None:
        """Trained weights, with what is past the network's last stage trained alone, at the rate of fresh weights,
        which it mostly is; None where weights are fresh, or nothing is trained.

        Else trained weights are first moved by the gradients of a last layer that says nothing yet, and lose what they
        were trained for: Kumar et al., arXiv 2202.10054 (docs/decisions/0079-head-first.md).
        """
        settings = self.settings.training
        if not (self.settings.network.trained and settings.epochs and settings.head_epochs):
            return None
        head = copy.deepcopy(self._fresh)
        head.freeze(head.stage_names[-1])
        epochs, rate = self.epochs(settings.head_epochs), RATES[settings.optimizer][0]
        trained = self.train("ordinary/head", head, self.views(self.fit, []), epochs, rate, "ordinary")
        return trained.state_dict()

    def network(self, state: dict[str, Tensor] | None = None) -> StagedNetwork:
        """A network with the weights that every training begins with, or with these, which may be of one whose units
        were edited. To begin with, weights are fresh, or trained ones with a head that fits them."""
        state = self._begun if state is None else state
        network = copy.deepcopy(self._fresh)
        layout.to_device(network, self.device)
        return (network if state is None else load_state(network, state)).eval()

    def epochs(self, wanted: int, least: int | None = None) -> int:
        """Passes over the images that are trained on: those wanted, more where they make too few steps."""
        return enough_epochs(wanted, len(self.fit), self.settings.training, least)

    def train(
        self,
        name: str,
        network: Net,
        views: ViewMaker,
        epochs: int,
        rate: float,
        timed_as: str = "rounds",
        objective: LossFn | None = None,
    ) -> Net:
        """A trained copy of the network, in evaluation mode; a finished training is read back.

        Args:
            name: Name of the step.
            views: Numbered by the images that are not held out; of fewer, :class:`Views` of these.
            timed_as: What its time counts as.
            objective: The loss of a batch; None for cross entropy.
        """
        network = copy.deepcopy(network)

        def work() -> dict[str, Any]:
            job = TrainingJob(
                len(views) if isinstance(views, Views) else len(self.fit),
                epochs,
                rate,
                self.seed(name),
                self.device,
                self.dtype,
                should_stop=lambda: self.stopper.requested,
                checkpoint=self.run.checkpoint(f"{name}/{self._basis(name)}".rstrip("/")),
                settings=self.settings.training,
                objective=objective,
            )
            curve: list[list[float]] = []
            with self.progress.task(name, total=job.steps) as task:

                def advance(steps: float, **figures: float) -> None:
                    task.advance(steps, **figures)
                    curve.extend([task.done, round(loss, 4)] for loss in figures.values())
                    self.run.log_training(name, round(task.done), figures)

                job.advance = advance
                with joint_norms(network):
                    report = train(network, views, job)
            settle_batch_norms(network, views, job)
            self.run.log(event="trained", name=name, **report, curve=curve)
            return dict(network.state_dict())

        network.load_state_dict(self.once(name, work, timed_as, shared=True))
        return network.eval()

    def train_auxiliary(self, name: str, views: ViewMaker, epochs: int, timed_as: str = "probing") -> StagedNetwork:
        """A fresh network trained only to be asked what there is to be learned from these views, see :meth:`train`.

        A cue is what fresh weights learn first. Trained ones have the object before they see a view, and answer by it
        as soon as by a cue: in their place the default network is asked, from fresh weights, which is cheaper, too
        (docs/decisions/0082-auxiliary.md).
        """
        settings = self.settings.training
        if not self.settings.network.trained:
            return self.train(name, self.network(), views, epochs, settings.rate, timed_as)
        return self.train(name, self._small(), views, epochs, RATES[settings.optimizer][0], timed_as)

    def _small(self) -> StagedNetwork:
        """The default network for these images, with fresh weights."""
        settings = self.settings.model_copy(update={"network": NetworkSettings()})
        channels = self.data.shape[0]
        network = build_network(settings, self.data.classes, self.size, self.plugins, channels=channels)
        return layout.to_device(network, self.device)

    def once(self, name: str, compute: Callable[[], Any], timed_as: str = "", shared: bool = False) -> Any:
        """A step's value, computed once in the life of the run; the place where a wish to stop is heard.

        A value that rests on other decisions of the user than now is computed anew.

        Args:
            timed_as: What its time counts as, as nothing if empty.
            shared: Whether several ranks compute it together; else the first does, while the others wait.
        """

        def timed() -> dict[str, Any]:
            began = time.monotonic()
            value = compute()
            rests = {"settings": self._settings, **({"basis": basis} if basis else {})}
            return {"value": value, "seconds": time.monotonic() - began, **rests}

        basis = self._basis(name)
        done = self._done(name, timed, shared)
        if done.get("settings", self._settings) != self._settings:
            raise DataError(
                f"{self.run.path / 'settings.json'} was changed since the step '{name}' was computed",
                "Restore it, or start a new run: steps under different settings do not fit together.",
            )
        if done.get("basis", "") != basis:
            ranks.first(lambda: self.run.forget_step(name))
            done = self._done(name, timed, shared)
        if timed_as:
            self.timings[name] = (timed_as, done["seconds"])
        self.stopper.check()
        return done["value"]

    def _done(self, name: str, compute: Callable[[], dict[str, Any]], shared: bool) -> dict[str, Any]:
        """A step's value, on all ranks that of the first."""
        if shared and ranks.size() > 1 and not ranks.first(lambda: self.run.has_step(name)):
            value = compute()
            return ranks.first(lambda: self.run.once(name, lambda: value))
        return ranks.first(lambda: self.run.once(name, compute))

    def independent(self, *names: str) -> None:
        """These steps rest on no word and no edit of the user, however late in the run they are asked for."""
        for name in names:
            self._bases[name] = ""

    def rests_on(self, name: str, what: str) -> None:
        """What this step rests on beside all that steps rest on: with something else it is computed anew."""
        self._bases[name] = f"{self.override_rule.basis}{self.edited}{what}"

    def _basis(self, name: str) -> str:
        """What a step rests on besides settings and rule: edits, and the decisions overruled when it was first asked
        for."""
        return self._bases.setdefault(name, self.override_rule.basis + self.edited)
