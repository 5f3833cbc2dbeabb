"""An image classifier that keeps generalizing: finds the feature a class hangs on, generalizes it, specializes it.

Everything public is here and imported when first used, so that ``import conceptnet_ml`` is quick::

    from conceptnet_ml import learn, open_run

    run = learn("folder:photos", depth=2)
    run.evaluate()
    run.model  # an ordinary nn.Module
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from conceptnet_ml.hookspecs import hookimpl

__version__ = "0.1.0"

_HOMES = {
    "AdaptedModel": "adaptation",
    "Backbone": "records",
    "Baseline": "records",
    "BaselineContext": "controls",
    "BasisEvidence": "directions",
    "Codec": "swaps",
    "Command": "records",
    "ConceptGraph": "graph",
    "ConceptNetError": "errors",
    "Data": "data",
    "DataError": "errors",
    "Dataset": "records",
    "Detector": "concepts",
    "Directions": "directions",
    "Discoverer": "records",
    "Dream": "dreams.wishes",
    "DreamCache": "dreams.cache",
    "Dreamer": "records",
    "Editor": "editing",
    "Exporter": "records",
    "FindEvidence": "finding",
    "Finding": "finding",
    "Fourier": "dreams.parametrisations",
    "Gate": "dreams.parametrisations",
    "Generalizer": "records",
    "ImageSet": "data",
    "LearnedRun": "opened",
    "MergeEvidence": "concepts",
    "Parametrisation": "dreams.parametrisations",
    "Phases": "dreams.parametrisations",
    "Pixels": "dreams.parametrisations",
    "PlantedFeature": "planted",
    "PluginError": "errors",
    "Recipe": "dreams.recipes",
    "Representation": "records",
    "Settings": "settings",
    "SettingsError": "errors",
    "Specializer": "records",
    "SplitEvidence": "concepts",
    "StagedNetwork": "network",
    "Target": "dreams.targets",
    "Transforms": "dreams.transforms",
    "Trap": "records",
    "TrapGround": "traps",
    "Truth": "planted",
    "Variants": "concepts",
    "ViewMaker": "training",
    "Views": "swaps",
    "Wish": "dreams.wishes",
    "adapt": "adaptation",
    "auroc": "finding",
    "curve": "adaptation",
    "dream": "dreams.engine",
    "gallery": "dreams.gallery",
    "learn": "api",
    "load_plugins": "plugins",
    "magnitudes": "dreams.parametrisations",
    "open_run": "api",
    "plan": "api",
    "unit_scores": "finding",
    "zoom": "dreams.zoom",
}

__all__ = [
    "AdaptedModel",
    "Backbone",
    "Baseline",
    "BaselineContext",
    "BasisEvidence",
    "Codec",
    "Command",
    "ConceptGraph",
    "ConceptNetError",
    "Data",
    "DataError",
    "Dataset",
    "Detector",
    "Directions",
    "Discoverer",
    "Dream",
    "DreamCache",
    "Dreamer",
    "Editor",
    "Exporter",
    "FindEvidence",
    "Finding",
    "Fourier",
    "Gate",
    "Generalizer",
    "ImageSet",
    "LearnedRun",
    "MergeEvidence",
    "Parametrisation",
    "Phases",
    "Pixels",
    "PlantedFeature",
    "PluginError",
    "Recipe",
    "Representation",
    "Settings",
    "SettingsError",
    "Specializer",
    "SplitEvidence",
    "StagedNetwork",
    "Target",
    "Transforms",
    "Trap",
    "TrapGround",
    "Truth",
    "Variants",
    "ViewMaker",
    "Views",
    "Wish",
    "__version__",
    "adapt",
    "auroc",
    "curve",
    "dream",
    "gallery",
    "hookimpl",
    "learn",
    "load_plugins",
    "magnitudes",
    "open_run",
    "plan",
    "unit_scores",
    "zoom",
]

if TYPE_CHECKING:
    from conceptnet_ml.adaptation import AdaptedModel, adapt, curve
    from conceptnet_ml.api import learn, open_run, plan
    from conceptnet_ml.concepts import Detector, MergeEvidence, SplitEvidence, Variants
    from conceptnet_ml.controls import BaselineContext
    from conceptnet_ml.data import Data, ImageSet
    from conceptnet_ml.directions import BasisEvidence, Directions
    from conceptnet_ml.dreams.cache import DreamCache
    from conceptnet_ml.dreams.engine import dream
    from conceptnet_ml.dreams.gallery import gallery
    from conceptnet_ml.dreams.parametrisations import Fourier, Gate, Parametrisation, Phases, Pixels, magnitudes
    from conceptnet_ml.dreams.recipes import Recipe
    from conceptnet_ml.dreams.targets import Target
    from conceptnet_ml.dreams.transforms import Transforms
    from conceptnet_ml.dreams.wishes import Dream, Wish
    from conceptnet_ml.dreams.zoom import zoom
    from conceptnet_ml.editing import Editor
    from conceptnet_ml.errors import ConceptNetError, DataError, PluginError, SettingsError
    from conceptnet_ml.finding import FindEvidence, Finding, auroc, unit_scores
    from conceptnet_ml.graph import ConceptGraph
    from conceptnet_ml.network import StagedNetwork
    from conceptnet_ml.opened import LearnedRun
    from conceptnet_ml.planted import PlantedFeature, Truth
    from conceptnet_ml.plugins import load_plugins
    from conceptnet_ml.records import (
        Backbone,
        Baseline,
        Command,
        Dataset,
        Discoverer,
        Dreamer,
        Exporter,
        Generalizer,
        Representation,
        Specializer,
        Trap,
    )
    from conceptnet_ml.settings import Settings
    from conceptnet_ml.swaps import Codec, Views
    from conceptnet_ml.training import ViewMaker
    from conceptnet_ml.traps import TrapGround


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'conceptnet_ml' has no attribute '{name}'")
    return getattr(importlib.import_module(f"conceptnet_ml.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
