"""A finished run, opened: model, graph, figures, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from conceptnet_ml.adaptation.adapted_model import AdaptedModel
from conceptnet_ml.adaptation.curves import Adapter
from conceptnet_ml.concepts.model import GeneralizedModel
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import picture_files, read_image
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data, unlabelled
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.editing.history import EditHistory
from conceptnet_ml.editing.plan import family_name
from conceptnet_ml.errors import DataError, SettingsError, nearest, quoted
from conceptnet_ml.evaluation.accuracy import accuracies, disagreement
from conceptnet_ml.evaluation.witness import WITNESS_NETWORK, WITNESS_STATISTICS, fresh_network, witness_of
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.learner import run_learner
from conceptnet_ml.network.basis import Network, without_basis
from conceptnet_ml.network.build import check_backbone
from conceptnet_ml.network.export import export_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.card import model_card, run_html, run_words
from conceptnet_ml.results.compare import compare_runs
from conceptnet_ml.results.compare_states import compare_states
from conceptnet_ml.results.comparison import Comparison
from conceptnet_ml.results.explain import explain
from conceptnet_ml.results.explanation import Explanation
from conceptnet_ml.results.model_files import BEFORE, TRUNK, SavedModel, load_model, read_size, replace_network
from conceptnet_ml.results.new_world import other_world, own_world, won_and_lost
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.run_folder import Run

READ_AT_ONCE = 256
"""Image files of a folder that are in memory together."""

REFERENCE_STEP = "album/real"
"""Where a run keeps held-out images to compare its dreams with, without loading the data again."""

COMPARED = 512
"""Real images that each dream is compared with, and that a run keeps for it, at most."""

Source = str | Path | Data | None
"""Data, or a folder or the name of a data set to read; None for the run's own."""


class LearnedRun:
    """What :func:`conceptnet_ml.learn` leaves and :func:`conceptnet_ml.open_run` reads.

    Args:
        folder: Its run folder.
        plugins: Where backbones and concept parts are looked up.
        data: The images, if they are at hand; else they are loaded from the settings when needed.
        device: Where to run the model; default: the CPU for a run that asked for it, else what there is.
        trust: Import a network that the run names as ``module:callable`` even if the user never named it.

    Raises:
        DataError: The run is damaged, or names code that is not trusted.
    """

    def __init__(
        self, folder: Run, plugins: Plugins, data: Data | None = None, device: str | None = None, trust: bool = False
    ) -> None:
        EditHistory(folder).mend()
        self.folder = folder
        plugins.expect(folder.plugin_files())
        self._data = data
        self.path = folder.path
        self.settings = Settings.of_run(folder.settings, folder.path / "settings.json")
        self.plugins = plugins.with_settings(self.settings.plugin)
        check_backbone(self.settings, plugins, folder.path, trust)
        self.device = devices.choose_device(device or ("cpu" if self.settings.device == "cpu" else "auto"))
        self.dtype = devices.choose_precision(self.settings.training.precision, self.device)

    @property
    def graph(self) -> ConceptGraph:
        """The concept graph."""
        return EditHistory(self.folder).read(lambda: ConceptGraph.read(self.path))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self._saved[1]["classes"])

    @property
    def model(self) -> GeneralizedModel:
        """The learned model: images in [0, 1] (B, 3, H, W) to logits. An ordinary ``nn.Module``."""
        return self._networks[0]

    @property
    def ordinary(self) -> StagedNetwork:
        """The network after ordinary training, for comparison."""
        return self._networks[1]["ordinary"]

    def methods(self) -> dict[str, nn.Module]:
        """Every network of the run by name: ``ordinary``, ``learned``, and the controls."""
        others = {name: one for name, one in self._networks[1].items() if not name.startswith((TRUNK, BEFORE))}
        return {"ordinary": others.pop("ordinary"), "learned": self.model, **others}

    def networks_before(self) -> dict[str, StagedNetwork]:
        """The network that each round started from, by the round's name. A run of before has only those that it keeps
        for other reasons: of kept rounds, of rounds below these, of the first and of the last."""
        named = self._networks[1]
        found = {name.removeprefix(BEFORE): one for name, one in named.items() if name.startswith(BEFORE)}
        if found:
            return found
        families = self.model.named_families()
        trunks = {name: without_basis(cast(Network, family.trunk.network)) for name, family in families}
        summary = self.summary()
        kept = [place for place, entry in enumerate(summary["rounds"]) if entry["decision"] == "kept"]
        for place, name in enumerate(entry["name"] for entry in summary["rounds"]):
            _, readout, number = name.split("/")
            trunk = trunks.get(family_name(name)) or trunks.get(readout)
            if trunk is None and (readout, number) == ("classes", "1"):
                trunk = self.ordinary
            if trunk is None and not summary.get("edits") and (not kept or (readout == "classes" and place > kept[-1])):
                trunk = self.model.network
            found |= {name: trunk} if trunk is not None else {}
        return found

    def summary(self) -> dict[str, Any]:
        """The run's summary, as it was printed."""
        return EditHistory(self.folder).read(self.folder.summary)

    def card(self) -> str:
        """The run's model card in Markdown, see :func:`conceptnet_ml.results.card.model_card`."""
        return model_card(self.folder)

    def __repr__(self) -> str:
        return run_words(self.folder)

    def _repr_html_(self) -> str:
        return run_html(self.folder)

    def images(self, data: Source = None, trap: str | None = None, minimum: int = 1) -> Data:
        """The images it learned from and was tested on, read again where they are not at hand; or other ones. Raises
        DataError or SettingsError where they cannot be read, or have other classes.

        Args:
            data: Other data with the same classes, read as the run's settings say.
            trap: A trap to lay; default: the run's own for its own data, none for other data.
            minimum: The least number of training images of a class that other data must have.
        """
        if data is None and trap is None and self._data is not None:
            return self._data
        classes = self.classes  # before images are read, which takes a while: a run that is not finished says so here
        images = data if isinstance(data, Data) else self._load(data, trap, minimum)
        if images.classes != classes:
            raise DataError(
                f"{images.name} has the classes {', '.join(images.classes)}, the run learned {', '.join(classes)}",
                "Give data with the same class names.",
            )
        if images.shape[0] != self.ordinary.channels:
            raise DataError(
                f"{images.name} has images of {images.shape[0]} channels, the run learned {self.ordinary.channels}",
                "Give images with the same channels.",
            )
        return images

    def _load(self, data: str | Path | None, trap: str | None, minimum: int) -> Data:
        values = self.settings.model_dump()
        if data is not None:
            text = str(data)
            source = f"folder:{text}" if Path(text).is_dir() else text
            values["data"] |= {"source": source, "trap": "none", "groups": "none", "minimum": minimum}
            height, width = read_size(self._saved)  # the run's own trap may have changed it
            values["data"]["image_size"] = height if height == width else (height, width)
        if data is not None or trap is not None:
            values["data"]["exceptions"] = 0.0  # they are a matter of the run's training images
        if trap is not None:
            values["data"]["trap"] = trap
        try:
            return load_data(Settings.model_validate(values), self.plugins)
        except DataError as error:
            if data is not None:
                raise
            raise DataError(
                f"the run's own data, {values['data']['source']}, seen from {Path.cwd()}: {error.message}",
                "Go to where the run was made; or say where they are now: "
                f"learn --resume {quoted(self.path)} --data folder:PATH.",
            ) from error

    def evaluate(
        self, data: Source = None, trap: str | None = None, families: bool = True, adapted: str | None = None
    ) -> dict[str, Any]:
        """Accuracy of every method on every test set. Raises DataError where the data's classes are not the run's.

        Args:
            data, trap: As in :meth:`images`.
            families: Also how well each family's variants alone tell the classes apart.
            adapted: Name of an adapted model to measure beside them.

        Returns:
            ``{"run": path, "test_sets": {name: {"images": n, method: {"accuracy": share}}}}``, and of test sets with
            groups what :func:`conceptnet_ml.evaluation.accuracy.group_accuracies` says of each method.
        """
        extra = {} if adapted is None else {f"adapted {adapted}": self.adapted(adapted)}
        images = self.images(data, trap, minimum=0)
        methods = {**self.methods(), **extra}
        if families:
            methods |= {f"family {name}": family for name, family in self.model.named_families()}
        methods = {name: network.to(self.device) for name, network in methods.items()}
        found = accuracies(methods, images.tests, self.device, self.dtype, images.classes)
        return {"run": str(self.path), "test_sets": found}

    def disagreement(self, folder: str | Path) -> dict[str, Any]:
        """How often the ordinary and the learned network disagree on the pictures of a folder, at any depth.

        Returns and raises as :func:`conceptnet_ml.evaluation.accuracy.disagreement` and
        :func:`~conceptnet_ml.data.load.unlabelled`, and the ``folder``.
        """
        most, channels = self.settings.data.megapixels, self.ordinary.channels
        images = unlabelled(folder, read_size(self._saved), most, channels)
        found = disagreement(self.ordinary, self.model.to(self.device), images, self.device, self.dtype)
        return {"folder": str(folder), **found}

    def adapt(
        self, data: Source = None, shots: int = 8, turned: bool = False, draws: int = 10, name: str | None = None
    ) -> dict[str, Any]:
        """Adapt to a new world by a few labelled examples per class, save the model, report what was won and lost.

        Only the families' weights and the last layer are fitted. The ordinary network's last layer is refitted to the
        same examples, its ridge chosen by cross-validation, for comparison.

        Args:
            data: The new world: its training images are the pool, its test images the test; of a folder without a test
                part a fifth is the test. Given as :class:`Data` they are uint8 as in an ``ImageSet``, whereas
                :attr:`model` takes floats in [0, 1]. By default the run's own
                held-out images with random cues, and its own test sets; the run must have had a trap.
            shots: Labelled examples per class.
            turned: The run's own world turned round instead: the cue is the label.
            draws: How often examples are drawn; figures are means. The model of the first draw is saved.
            name: To save it under, in ``adapted/`` of the run folder; by default made of the world and ``shots``.

        Returns:
            ``{"run", "world", "shots", "draws", "test_sets": {name: {"images", method: {"before", "after", "lowest",
            "highest"}}}, "forgotten": {method: share}, "beliefs", "saved": {"name", "alpha", "accuracy"}, "notes"}``
            with the methods ``learned`` and ``ordinary``; ``forgotten`` is what was lost on ``aligned``, else ``test``.

        Raises:
            DataError: The classes differ, a class has fewer images than ``shots``, or the run has no such world.
            SettingsError: ``shots`` or ``draws`` below one, a name that cannot be one, or ``turned`` with other data.
        """
        if shots < 1 or draws < 1:
            raise SettingsError("shots and draws must be at least 1", "Give a positive number.")
        if turned and data is not None:
            raise SettingsError("--turned and --data contradict each other", "Turn the run's own world round.")
        name = _adapted_name(data, turned, shots) if name is None else name
        if not name.strip(". ") or "/" in name or "\\" in name:
            raise SettingsError(f"'{name}' cannot name an adapted model", "Choose a plain name, as in sunny-8.")
        if data is None:
            world = own_world(self.images(), self.settings, turned, shots)
        else:
            world = other_world(self.images, self.images(data), shots)
        adapters = {
            method: Adapter.of(model.to(self.device), world.pool, world.tests, self.device, self.dtype)
            for method, model in (("learned", self.model), ("ordinary", self.ordinary))
        }
        seed = seeding.seed_for(self.settings.seed, "adapt")
        found = won_and_lost(world, adapters, shots, draws, seed)
        weights = adapters["learned"].fit(shots, seed, 0)
        model = adapters["learned"].build(weights)
        record = {"layer": model.layer, "world": world.name, "shots": shots, "state": model.fitted()}
        self.folder.adapted(name).save(record)
        self.folder.close()
        alpha = dict(zip(self.model.names, model.alpha.tolist(), strict=True))
        return {
            "run": str(self.path),
            "world": world.name,
            "shots": shots,
            "draws": draws,
            **found,
            "saved": {"name": name, "alpha": alpha, "accuracy": adapters["learned"].accuracies(weights)},
            "notes": [*world.notes, *model.notes()],
        }

    def adapted(self, name: str) -> AdaptedModel:
        """A model that :meth:`adapt` saved. Raises DataError where there is none of this name, or it is damaged."""
        known = sorted(unquote(path.stem) for path in (self.path / "adapted").glob("*.json"))
        if name not in known:
            mend = nearest(name, known) if known else f"Make one: adapt {self.path} --shots 8."
            raise DataError(f"{self.path} has no adapted model '{name}'", mend)
        record = self.folder.adapted(name).load()
        assert record is not None
        return AdaptedModel(self.model, record["layer"], record["state"]).to(self.device).eval()

    def predict(self, paths: Sequence[str | Path], adapted: str | None = None) -> list[dict[str, Any]]:
        """What the learned network, or the ``adapted`` model of this name, sees in image files, and in all of a folder:
        class, probability, and the ordinary network's class. Raises DataError where a file is not there or not an
        image, a folder has none, or there is no such adapted model.
        """
        paths = picture_files(paths)
        model = self.model if adapted is None else self.adapted(adapted)
        networks, found = (model.to(self.device), self.ordinary.to(self.device)), list[dict[str, Any]]()
        for start in range(0, len(paths), READ_AT_ONCE):
            part = paths[start : start + READ_AT_ONCE]
            images = to_float(self._read(part), self.device)
            learned, ordinary = (predict_logits(one, images, self.dtype).softmax(1) for one in networks)
            found += [
                {
                    "file": str(path),
                    "class": self.classes[int(mine.argmax())],
                    "probability": float(mine.max()),
                    "ordinary": self.classes[int(other.argmax())],
                    "ordinary_probability": float(other.max()),
                }
                for path, mine, other in zip(part, learned, ordinary, strict=True)
            ]
        return found

    def explain(self, paths: Sequence[str | Path]) -> list[Explanation]:
        """Why image files are answered as they are, see :func:`conceptnet_ml.results.explain.explain`. Raises as that,
        and as :meth:`predict`."""
        paths = picture_files(paths)
        return explain(self, [str(path) for path in paths], self._read(paths))

    def compare(self, other: LearnedRun, answer: bool = False) -> Comparison:
        """This run beside another, see :func:`conceptnet_ml.results.compare.compare_runs`. Raises as that."""
        return compare_runs(self, other, answer)

    def compare_states(self, first: str = "ordinary", second: str = "learned", answer: bool = False) -> Comparison:
        """Two states of this run, see :func:`conceptnet_ml.results.compare_states.compare_states`. Raises as that."""
        return compare_states(self, first, second, answer)

    def _read(self, paths: Sequence[str | Path]) -> Tensor:
        """Image files as the networks see them, uint8 (N, 3, H, W)."""
        size, most = read_size(self._saved), self.settings.data.megapixels
        images = [read_image(Path(path), size, most) for path in paths]
        wrong = next((n for n, image in enumerate(images) if len(image) != self.ordinary.channels), None)
        if wrong is not None:
            raise DataError(
                f"{paths[wrong]} has {len(images[wrong])} channels, the network learned {self.ordinary.channels}",
                "Give images with the same channels, other than three as .npy files.",
            )
        return torch.stack(images)

    def held_out(self, read: bool = True) -> ImageSet:
        """Some held-out images: those that the run keeps, else of its data, which must be at hand (DataError), and is
        not read without ``read`` (DataError, too)."""
        if self.folder.has_step(REFERENCE_STEP):
            kept = self.folder.step_value(REFERENCE_STEP)
            return ImageSet(kept["images"], kept["labels"])
        if not read:
            raise DataError(f"{self.path} keeps no held-out images, as it drew no dreams", "Let its data be read.")
        train = self.images().train
        seed = seeding.seed_for(self.settings.seed, "holdout")
        _, held = split_holdout(train, self.settings.data.holdout, seed)
        return train.subset(held[torch.randperm(len(held), generator=seeding.generator(0))[:COMPARED]])

    def witness(self) -> Witness:
        """The independently trained network that judges dreams. A run without one trains it now, at the cost of
        ordinary training, and keeps it. Raises DataError or SettingsError where there is none and its data are not at
        hand, or someone else writes into the run.
        """
        if self.has_witness:
            size, channels = self.ordinary.image_size, self.ordinary.channels
            network = fresh_network(self.settings, self.classes, size, self.plugins, channels)
            weights, statistics = (self.folder.step_value(name) for name in (WITNESS_NETWORK, WITNESS_STATISTICS))
            network.load_state_dict(weights)
            return Witness.restore(network, statistics, self.device, self.dtype)
        data = self.images().to(self.device)
        with self.folder as run:
            run.lock()
            quiet = Progress(quiet=True), Stopper()
            return witness_of(Context(self.settings, self.plugins, data, run, *quiet, self.device, self.dtype))

    @property
    def has_witness(self) -> bool:
        """Whether the run keeps a witness already."""
        return self.folder.has_step(WITNESS_NETWORK) and self.folder.has_step(WITNESS_STATISTICS)

    def reopen(
        self, progress: Progress | None = None, stopper: Stopper | None = None, **rounds: Any
    ) -> tuple[Context, Learned]:
        """The run as its own steps saw it: their context, and what the loop ended with, read back step by step.

        What is then computed with the context is remembered by the run like its own steps; close ``ctx.run`` when done.
        Raises DataError where another process writes into the run, or a step of it is damaged. Progress and stopper are
        as in :func:`conceptnet_ml.learn`; ``rounds`` are settings of the group ``round`` to change:
        ``show_refused=True`` trains the first refused one.
        """
        settings = self.settings
        if rounds:
            settings = settings.model_copy(update={"round": settings.round.model_copy(update=rounds)})
        device, dtype = devices.prepare(settings.device, settings.training.precision, settings.training.memory_format)
        data = self.images().to(device)
        self.folder.lock()
        shown, stops = progress or Progress(quiet=True), stopper or Stopper()
        ctx = Context(settings, self.plugins, data, self.folder, shown, stops, device, dtype)
        return ctx, run_learner(ctx)

    def save_alone(self, path: str | Path) -> None:
        """Save the learned network as one file that runs without this package: ``.pt2``, which loads with torch alone,
        or ``.onnx``. Raises SettingsError where it cannot be written so, see :mod:`conceptnet_ml.network.export`."""
        export_network(self.model.network, Path(path))

    def refresh(self) -> None:
        """Forget what was read: the run folder has changed."""
        for name in ("_saved", "_networks"):
            self.__dict__.pop(name, None)

    def resave(self, network: StagedNetwork, without: str | None = None) -> None:
        """Write the model with another learned network, and without the family of this name."""
        self.folder.save_model(*replace_network(self._saved, network, without))
        self.refresh()

    @cached_property
    def _saved(self) -> SavedModel:
        saved = EditHistory(self.folder).read(self.folder.load_model)
        if missing := sorted({"classes", "image_size", "networks", "families"} - saved[1].keys()):
            mend = f"Delete it and resume: learn --resume {quoted(self.path)}"
            raise DataError(f"{self.path / 'model.json'} is damaged: it has no '{missing[0]}'", mend)
        return saved

    @cached_property
    def _networks(self) -> tuple[GeneralizedModel, dict[str, StagedNetwork]]:
        return load_model(self._saved, self.settings, self.plugins, self.device)


def _adapted_name(data: Source, turned: bool, shots: int) -> str:
    """Made of the world and the number of examples; a folder's own name is the world's."""
    text = data.name if isinstance(data, Data) else str(data)
    folder = Path(text.rpartition(":")[2]).resolve().name or "new"
    return f"{folder if data is not None else 'turned' if turned else 'random'}-{shots}"
