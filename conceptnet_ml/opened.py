"""A finished run, opened: model, graph, figures, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conceptnet_ml import runtime
from conceptnet_ml.concepts import Family, GeneralizedModel, Trunk
from conceptnet_ml.data import Data, load_data
from conceptnet_ml.errors import DataError
from conceptnet_ml.evaluation import accuracies
from conceptnet_ml.graph import ConceptGraph
from conceptnet_ml.imagefiles import read_image
from conceptnet_ml.network import StagedNetwork, build_network, save_alone
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runs import Run
from conceptnet_ml.settings import Settings
from conceptnet_ml.training import predict, to_float


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
        self.device = runtime.choose_device(device or ("cpu" if self.settings.device == "cpu" else "auto"))
        self.dtype = runtime.choose_precision(self.settings.training.precision, self.device)

    @property
    def graph(self) -> ConceptGraph:
        """The concept graph."""
        return self._run.graph()

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

    def summary(self) -> dict[str, Any]:
        """The run's summary, as it was printed."""
        return self._run.summary()

    def evaluate(
        self, data: str | Path | Data | None = None, trap: str | None = None, families: bool = True
    ) -> dict[str, Any]:
        """Accuracy of every method on every test set.

        Args:
            data: Other data with the same classes; default: the run's own.
            trap: A trap to lay over it; default: the run's own for its own data, none for other data.
            families: Also how well each family's variants alone tell the classes apart.

        Returns:
            ``{"run": path, "test_sets": {name: {"images": n, method: {"accuracy": share}}}}``.

        Raises:
            DataError: The data's classes are not the run's.
        """
        images = self._images(data, trap)
        if images.classes != self.classes:
            raise DataError(
                f"{images.name} has the classes {', '.join(images.classes)}, the run learned {', '.join(self.classes)}",
                "Give data with the same class names.",
            )
        methods = {name: network.to(self.device) for name, network in self.methods().items()}
        if families:
            methods |= {f"family {name}": family.to(self.device) for name, family in self.model.named_families()}
        return {"run": str(self.path), "test_sets": accuracies(methods, images.tests, self.device, self.dtype)}

    def predict(self, paths: Sequence[str | Path]) -> list[dict[str, Any]]:
        """What the learned network sees in image files: class, probability, and the ordinary network's class.

        Raises:
            DataError: A file is not there or not an image.
        """
        size = self.model.network.image_size[0]
        images = to_float(torch.stack([read_image(Path(path), size) for path in paths]), self.device)
        learned = predict(self.model.to(self.device), images, self.dtype).softmax(1)
        ordinary = predict(self.ordinary.to(self.device), images, self.dtype).softmax(1)
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

    def save_alone(self, path: str | Path) -> None:
        """Save the learned network as one ``.pt2`` file that loads with torch alone, without this package."""
        save_alone(self.model.network, Path(path))

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
            network.load_state_dict(_below(weights, f"networks.{key}."))
            networks[key] = network.to(self.device).eval()
        families = {}
        for family in description["families"]:
            prefix = f"families.{family['name']}."
            restore = self._plugins.get("generalizer", family["generalizer"]).function("restore")
            detector = restore(_below(weights, f"{prefix}detector."))
            restore = self._plugins.get("specializer", family["specializer"]).function("restore")
            variants = restore(_below(weights, f"{prefix}variants."))
            trunk = Trunk(networks[family["network"]], family["stage"])
            families[family["name"]] = Family(trunk, detector.to(self.device), variants.to(self.device)).eval()
        named = {name: networks[key] for name, key in description["networks"].items()}
        return GeneralizedModel(named.pop("learned"), families).eval(), named

    def _images(self, data: str | Path | Data | None, trap: str | None) -> Data:
        if isinstance(data, Data):
            return data
        if data is None and trap is None and self._data is not None:
            return self._data
        values = self.settings.model_dump()
        if data is not None:
            text = str(data)
            values["data"] |= {"source": f"folder:{text}" if Path(text).is_dir() else text, "trap": "none"}
            values["data"]["image_size"] = self.model.network.image_size[0]
        if trap is not None:
            values["data"]["trap"] = trap
        return load_data(Settings.model_validate(values), self._plugins)


def _below(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
