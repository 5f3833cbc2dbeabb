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
from conceptnet_ml.version import __version__

_HOMES = {
    "AdaptedModel": "adaptation.adapted_model",
    "Backbone": "records",
    "Baseline": "records",
    "BaselineContext": "evaluation.baselines",
    "BasisEvidence": "network.basis",
    "Codec": "swap.representation",
    "Command": "records",
    "ConceptGraph": "graph.concept_graph",
    "ConceptNetError": "errors",
    "Data": "data.dataset",
    "DataError": "errors",
    "Dataset": "records",
    "Detector": "concepts.model",
    "Directions": "network.basis",
    "Discoverer": "records",
    "Dream": "dreams.request",
    "DreamCache": "dreams.cache",
    "Dreamer": "records",
    "Editor": "results.editor",
    "Exporter": "records",
    "FindEvidence": "concepts.scores",
    "Finding": "concepts.scores",
    "Fourier": "dreams.parametrizations",
    "Gate": "dreams.parametrizations",
    "Generalizer": "records",
    "ImageSet": "data.images",
    "LearnedRun": "results.learned_run",
    "MergeEvidence": "concepts.evidence",
    "Parametrization": "dreams.parametrizations",
    "Phases": "dreams.parametrizations",
    "Pixels": "dreams.parametrizations",
    "PlantedFeature": "data.ground_truth",
    "PluginError": "errors",
    "Recipe": "dreams.recipe",
    "RenderSession": "dreams.render",
    "RenderSettings": "dreams.render",
    "Representation": "records",
    "Settings": "config.settings",
    "SettingsError": "errors",
    "Specializer": "records",
    "SplitEvidence": "concepts.evidence",
    "StagedNetwork": "network.staged_network",
    "Objective": "dreams.objectives",
    "Transforms": "dreams.transforms",
    "Trap": "records",
    "TrapGround": "data.traps",
    "Truth": "data.ground_truth",
    "Variants": "concepts.model",
    "ViewMaker": "network.training",
    "Views": "swap.views",
    "DreamRequest": "dreams.request",
    "adapt": "adaptation.adapted_model",
    "auroc": "concepts.scores",
    "curve": "adaptation.curves",
    "dream": "dreams.render",
    "gallery": "gallery.gallery",
    "learn": "api",
    "load_plugins": "plugins",
    "magnitudes": "dreams.parametrizations",
    "open_run": "api",
    "plan": "api",
    "unit_scores": "concepts.scores",
    "zoom": "dreams.zoom",
    "ZoomSettings": "dreams.zoom",
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
    "DreamRequest",
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
    "Objective",
    "Parametrization",
    "Phases",
    "Pixels",
    "PlantedFeature",
    "PluginError",
    "Recipe",
    "RenderSession",
    "RenderSettings",
    "Representation",
    "Settings",
    "SettingsError",
    "Specializer",
    "SplitEvidence",
    "StagedNetwork",
    "Transforms",
    "Trap",
    "TrapGround",
    "Truth",
    "Variants",
    "ViewMaker",
    "Views",
    "ZoomSettings",
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
    from conceptnet_ml.adaptation.adapted_model import AdaptedModel, adapt
    from conceptnet_ml.adaptation.curves import curve
    from conceptnet_ml.api import learn, open_run, plan
    from conceptnet_ml.concepts.evidence import MergeEvidence, SplitEvidence
    from conceptnet_ml.concepts.model import Detector, Variants
    from conceptnet_ml.concepts.scores import FindEvidence, Finding, auroc, unit_scores
    from conceptnet_ml.config.settings import Settings
    from conceptnet_ml.data.dataset import Data
    from conceptnet_ml.data.ground_truth import PlantedFeature, Truth
    from conceptnet_ml.data.images import ImageSet
    from conceptnet_ml.data.traps import TrapGround
    from conceptnet_ml.dreams.cache import DreamCache
    from conceptnet_ml.dreams.objectives import Objective
    from conceptnet_ml.dreams.parametrizations import Fourier, Gate, Parametrization, Phases, Pixels, magnitudes
    from conceptnet_ml.dreams.recipe import Recipe
    from conceptnet_ml.dreams.render import RenderSession, RenderSettings, dream
    from conceptnet_ml.dreams.request import Dream, DreamRequest
    from conceptnet_ml.dreams.transforms import Transforms
    from conceptnet_ml.dreams.zoom import ZoomSettings, zoom
    from conceptnet_ml.errors import ConceptNetError, DataError, PluginError, SettingsError
    from conceptnet_ml.evaluation.baselines import BaselineContext
    from conceptnet_ml.gallery.gallery import gallery
    from conceptnet_ml.graph.concept_graph import ConceptGraph
    from conceptnet_ml.network.basis import BasisEvidence, Directions
    from conceptnet_ml.network.staged_network import StagedNetwork
    from conceptnet_ml.network.training import ViewMaker
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
    from conceptnet_ml.results.editor import Editor
    from conceptnet_ml.results.learned_run import LearnedRun
    from conceptnet_ml.swap.representation import Codec
    from conceptnet_ml.swap.views import Views


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'conceptnet_ml' has no attribute '{name}'")
    return getattr(importlib.import_module(f"conceptnet_ml.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
