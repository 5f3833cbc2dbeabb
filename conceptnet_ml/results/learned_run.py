"""A finished run, opened: model, graph, figures, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import torch
from torch import nn

from conceptnet_ml.adaptation.adapted_model import OLD, AdaptedModel, Adapter, no_layer, shots
from conceptnet_ml.concepts.model import Family, GeneralizedModel, Trunk
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import read_image
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import split_holdout
from conceptnet_ml.dreams.judgement import Witness
from conceptnet_ml.errors import DataError, SettingsError, nearest
from conceptnet_ml.evaluation.accuracy import accuracies, disagreement, unlabelled
from conceptnet_ml.evaluation.witness import WITNESS_NETWORK, WITNESS_STATISTICS, fresh_network, witness_of
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.network.basis import Network, with_basis
from conceptnet_ml.network.build import build_network, export_program
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.model_files import with_network
from conceptnet_ml.runtime import devices, seeding
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.steps.context import Context
from conceptnet_ml.storage.run_folder import Run
from conceptnet_ml.surgery.resize import load_state


class LearnedRun:
    """What :func:`conceptnet_ml.learn` leaves and :func:`conceptnet_ml.open_run` reads.

    Args:
        run: Its folder.
        plugins: Where backbones and concept parts are looked up.
        data: The images, if they are at hand; else they are loaded from the settings when wanted.
        device: Where to run the model; default: the CPU for a run that asked for it, else what there is.
    """

    def __init__(self, run: Run, plugins: Plugins, data: Data | None = None, device: str | None = None) -> None:
        self._run = run
        self._plugins = plugins
        self._data = data
        self.path = run.path
        self.settings = Settings.model_validate(run.settings)
        self.device = devices.choose_device(device or ("cpu" if self.settings.device == "cpu" else "auto"))
        self.dtype = devices.choose_precision(self.settings.training.precision, self.device)

    @property
    def graph(self) -> ConceptGraph:
        """The concept graph."""
        return ConceptGraph.read(self._run.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self._saved[1]["classes"])

    @property
    def model(self) -> GeneralizedModel:
        """The learned model: images in [0, 1] (B, 3, H, W) to logits. An ordinary ``nn.Module``."""
        return self._models[0]

    @property
    def ordinary(self) -> StagedNetwork:
        """The network after ordinary training, for comparison."""
        return self._models[1]["ordinary"]

    def methods(self) -> dict[str, nn.Module]:
        """Every network of the run by name: ``ordinary``, ``learned``, and the controls."""
        networks = self._models[1]
        controls = {name: network for name, network in networks.items() if name not in ("ordinary", *self._trunks)}
        return {"ordinary": networks["ordinary"], "learned": self.model, **controls}

    def images(self) -> Data:
        """The images it learned from and was tested on, read again where they are not at hand."""
        return self._images(None, None)

    def summary(self) -> dict[str, Any]:
        """The run's summary, as it was printed."""
        return self._run.summary()

    def evaluate(
        self,
        data: str | Path | Data | None = None,
        trap: str | None = None,
        families: bool = True,
        adapted: str | None = None,
    ) -> dict[str, Any]:
        """Accuracy of every method on every test set.

        Args:
            data: Other data with the same classes; default: the run's own.
            trap: A trap to lay over it; default: the run's own for its own data, none for other data.
            families: Also how well each family's variants alone tell the classes apart.
            adapted: Name of an adapted model to measure beside them.

        Returns:
            ``{"run": path, "test_sets": {name: {"images": n, method: {"accuracy": share}}}}``.

        Raises:
            DataError: The data's classes are not the run's.
        """
        extra = {} if adapted is None else {f"adapted {adapted}": self.adapted(adapted)}
        images = self._same_classes(self._images(data, trap, least=0))
        methods = {name: network.to(self.device) for name, network in {**self.methods(), **extra}.items()}
        if families:
            methods |= {f"family {name}": family.to(self.device) for name, family in self.model.named_families()}
        return {"run": str(self.path), "test_sets": accuracies(methods, images.tests, self.device, self.dtype)}

    def disagreement(self, folder: str | Path) -> dict[str, Any]:
        """How often the ordinary and the learned network disagree on unlabelled pictures.

        Args:
            folder: Of image files, at any depth.

        Returns:
            As :func:`conceptnet_ml.evaluation.accuracy.disagreement`, and the ``folder``.

        Raises:
            DataError: No such folder, no picture in it, or one that cannot be read.
        """
        images = unlabelled(folder, self.model.network.image_size)
        found = disagreement(self.ordinary, self.model.to(self.device), images, self.device, self.dtype)
        return {"folder": str(folder), **found}

    def adapt(
        self,
        data: str | Path | Data | None = None,
        shots: int = 8,
        turned: bool = False,
        draws: int = 10,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Adapt to a new world by a few labelled examples per class, save the model, report what was won and lost.

        Only the families' weights and the last layer are fitted. The ordinary network's last layer is refitted to the
        same examples, its ridge chosen by cross-validation, for comparison.

        Args:
            data: The new world: its training images are the pool, its test images the test. By default the run's own
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
        kind = _short(data) if data is not None else "turned" if turned else "random"
        name = _plain_name(f"{kind}-{shots}" if name is None else name)
        world, pool, tests, notes = self._world(data, turned, shots)
        adapters = {
            method: Adapter.of(model.to(self.device), pool, tests, self.device, self.dtype)
            for method, model in (("learned", self.model), ("ordinary", self.ordinary))
        }
        seed = seeding.seed_for(self.settings.seed, "adapt")
        curves = {method: adapter.curve((0, shots), draws, seed) for method, adapter in adapters.items()}
        weights = adapters["learned"].fit(shots, seed, 0)
        model = adapters["learned"].build(weights)
        record = {"layer": model.layer, "world": world, "shots": shots, "state": model.fitted()}
        self._run.adapted(name).save(record)
        self._run.close()
        saved = dict(zip(self.model.names, model.alpha.tolist(), strict=True))
        return {
            "run": str(self.path),
            "world": world,
            "shots": shots,
            "draws": draws,
            "test_sets": {test: {"images": len(images), **_change(curves, test)} for test, images in tests.items()},
            "forgotten": {method: rows[1].get("forgotten") for method, rows in curves.items()},
            "beliefs": curves["learned"][1]["beliefs"],
            "saved": {"name": name, "alpha": saved, "accuracy": adapters["learned"].accuracies(weights)},
            "notes": [*notes, *no_layer(model)],
        }

    def adapted(self, name: str) -> AdaptedModel:
        """A model that :meth:`adapt` saved.

        Raises:
            DataError: There is none of this name, or it is damaged.
        """
        known = sorted(unquote(path.stem) for path in (self.path / "adapted").glob("*.json"))
        if name not in known:
            mend = nearest(name, known) if known else f"Make one: adapt {self.path} --shots 8."
            raise DataError(f"{self.path} has no adapted model '{name}'", mend)
        record = self._run.adapted(name).load()
        assert record is not None
        return AdaptedModel(self.model, record["layer"], record["state"]).to(self.device).eval()

    def predict(self, paths: Sequence[str | Path], adapted: str | None = None) -> list[dict[str, Any]]:
        """What the learned network sees in image files: class, probability, and the ordinary network's class.

        Args:
            paths: The files.
            adapted: Name of an adapted model to ask instead of the learned one.

        Raises:
            DataError: A file is not there or not an image, or there is no such adapted model.
        """
        model = self.model if adapted is None else self.adapted(adapted)
        size = self.model.network.image_size[0]
        images = to_float(torch.stack([read_image(Path(path), size) for path in paths]), self.device)
        learned = predict_logits(model.to(self.device), images, self.dtype).softmax(1)
        ordinary = predict_logits(self.ordinary.to(self.device), images, self.dtype).softmax(1)
        return [
            {
                "file": str(path),
                "class": self.classes[int(mine.argmax())],
                "probability": float(mine.max()),
                "ordinary": self.classes[int(other.argmax())],
                "ordinary_probability": float(other.max()),
            }
            for path, mine, other in zip(paths, learned, ordinary, strict=True)
        ]

    def witness(self, progress: Progress | None = None, stopper: Stopper | None = None) -> Witness:
        """The independently trained network that judges dreams, read back; a run without one gets it now, at the cost
        of ordinary training, and keeps it.

        Args:
            progress, stopper: As in :func:`conceptnet_ml.learn`.

        Raises:
            DataError, SettingsError: There is none, and its data are not at hand or someone else writes into the run.
            Interrupted: The stopper said so; the next call goes on from there.
        """
        if self.has_witness:
            network = fresh_network(self.settings, self.classes, self.ordinary.image_size, self._plugins)
            weights, statistics = (self._run.step_value(name) for name in (WITNESS_NETWORK, WITNESS_STATISTICS))
            network.load_state_dict(weights)
            return Witness.restore(network, statistics, self.device, self.dtype)
        data = self._images(None, None)
        data = replace(data, train=data.train.to(self.device))
        with self._run as run:
            run.lock()
            shown, asked = progress or Progress(quiet=True), stopper or Stopper()
            context = Context(self.settings, self._plugins, data, run, shown, asked, self.device, self.dtype)
            return witness_of(context)

    @property
    def has_witness(self) -> bool:
        """Whether the run keeps a witness already."""
        return self._run.has_step(WITNESS_NETWORK) and self._run.has_step(WITNESS_STATISTICS)

    def save_alone(self, path: str | Path) -> None:
        """Save the learned network as one ``.pt2`` file that loads with torch alone, without this package."""
        export_program(self.model.network, Path(path))

    def refresh(self) -> None:
        """Forget what was read: the run folder has changed."""
        for name in ("_saved", "_models"):
            self.__dict__.pop(name, None)

    def resave(self, network: StagedNetwork, without: str | None = None) -> None:
        """Write the model with another learned network, and without the family of this name."""
        self._run.save_model(*with_network(*self._saved, network, without))
        self.refresh()

    @cached_property
    def _saved(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return self._run.load_model()

    @property
    def _trunks(self) -> list[str]:
        """Names of networks that are kept for a family's sake only."""
        return [name for name in self._saved[1]["networks"] if name.startswith("trunk ")]

    @cached_property
    def _models(self) -> tuple[GeneralizedModel, dict[str, StagedNetwork]]:
        weights, description = self._saved
        settings = self.settings.model_copy(
            update={"network": self.settings.network.model_copy(update={"weights": None})}
        )
        networks: dict[str, StagedNetwork] = {}
        for key in sorted(set(description["networks"].values())):
            network = build_network(settings, description["classes"], tuple(description["image_size"]), self._plugins)
            networks[key] = load_state(network, _below(weights, f"networks.{key}.")).to(self.device).eval()
        families = {}
        for family in description["families"]:
            prefix = f"families.{family['name']}."
            restore = self._plugins.get("generalizer", family["generalizer"]).function("restore")
            detector = restore(_below(weights, f"{prefix}detector."))
            restore = self._plugins.get("specializer", family["specializer"]).function("restore")
            variants = restore(_below(weights, f"{prefix}variants."))
            within: Network = networks[family["network"]]
            if "discoverer" in family:
                restore = self._plugins.get("discoverer", family["discoverer"]).function("restore")
                basis = restore(_below(weights, f"{prefix}basis.")).to(self.device).requires_grad_(False)
                within = with_basis(within, family["stage"], basis)
            trunk = Trunk(within, family["stage"])
            families[family["name"]] = Family(trunk, detector.to(self.device), variants.to(self.device)).eval()
        named = {name: networks[key] for name, key in description["networks"].items()}
        return GeneralizedModel(named.pop("learned"), families).eval(), named

    def _world(
        self, data: str | Path | Data | None, turned: bool, count: int
    ) -> tuple[str, ImageSet, dict[str, ImageSet], list[str]]:
        """Name of the new world, its pool, the test sets of it and of the old world, and notes; checked."""
        if data is not None:
            new = self._same_classes(self._images(data, None, least=1))
            shots(new.train.labels, count, 0, classes=new.classes)
            tests, notes = {f"new {name}": images for name, images in new.tests.items()}, []
            try:
                own = self._images(None, None).tests
                tests |= {name: own[name] for name in OLD if name in own}
            except DataError as error:
                notes.append(f"what is forgotten of the old world is not known: {error.message}")
            return new.name, new.train, tests, notes
        own_data = self._images(None, None)
        part = "turned train" if turned else "unbiased"
        if part not in own_data.worlds:
            raise DataError(
                f"the run's own data, {own_data.name}, have no cue that could be drawn anew: no trap was laid",
                "Give labelled pictures of the new world with --data.",
            )
        seed = seeding.seed_for(self.settings.seed, "holdout")
        _, held = split_holdout(own_data.train.labels, self.settings.data.holdout, seed)
        pool = own_data.worlds[part]().subset(held)
        shots(pool.labels, count, 0, classes=own_data.classes)
        turned_test = {"turned test": own_data.worlds["turned test"]()} if turned else {}
        return ("turned round" if turned else "random cues"), pool, {**turned_test, **own_data.tests}, []

    def _same_classes(self, images: Data) -> Data:
        if images.classes != self.classes:
            raise DataError(
                f"{images.name} has the classes {', '.join(images.classes)}, the run learned {', '.join(self.classes)}",
                "Give data with the same class names.",
            )
        return images

    def _images(self, data: str | Path | Data | None, trap: str | None, least: int = 1) -> Data:
        if isinstance(data, Data):
            return data
        if data is None and trap is None and self._data is not None:
            return self._data
        values = self.settings.model_dump()
        if data is not None:
            text = str(data)
            source = f"folder:{text}" if Path(text).is_dir() else text
            values["data"] |= {"source": source, "trap": "none", "minimum": least}
            # A trap may make images higher than they are wide.
            values["data"]["image_size"] = min(self.model.network.image_size)
        if data is not None or trap is not None:
            values["data"]["exceptions"] = 0.0  # they are a matter of the run's training images
        if trap is not None:
            values["data"]["trap"] = trap
        return load_data(Settings.model_validate(values), self._plugins)


def _below(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _short(data: str | Path | Data) -> str:
    """A world's short name, for the name of what is adapted to it: a folder's own name."""
    text = data.name if isinstance(data, Data) else str(data)
    return Path(text.rpartition(":")[2]).resolve().name or "new"


def _plain_name(name: str) -> str:
    if not name.strip(". ") or "/" in name or "\\" in name:
        raise SettingsError(f"'{name}' cannot name an adapted model", "Choose a plain name, as in sunny-8.")
    return name


def _change(curves: dict[str, list[dict[str, Any]]], test: str) -> dict[str, dict[str, float]]:
    """Before and after, of every method on a test set."""
    found = {}
    for method, (before, after) in curves.items():
        row = after["test_sets"][test]
        found[method] = {
            "before": before["test_sets"][test]["accuracy"],
            "after": row["accuracy"],
            "lowest": row["lowest"],
            "highest": row["highest"],
        }
    return found
