"""An image classifier that keeps generalizing: finds the feature a class rests on, generalizes it, specializes it.

Everything public is here and imported when first used, so that ``import conceptnet_ml`` is quick::

    run = conceptnet_ml.learn("folder:photos", depth=2)
    run.evaluate()
    run.model  # an ordinary nn.Module
"""

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {  # the public names of each module
    "adaptation.adapted_model": "AdaptedModel adapt",
    "adaptation.curves": "curve",
    "api": "learn open_run plan",
    "concepts.evidence": "MergeEvidence SplitEvidence",
    "concepts.model": "Detector Variants",
    "concepts.scores": "FindEvidence Finding auroc unit_scores",
    "config.settings": "Settings",
    "data.dataset": "Data",
    "data.ground_truth": "PlantedFeature Truth",
    "data.images": "ImageSet",
    "data.traps": "TrapGround",
    "dreams.cache": "DreamCache",
    "dreams.objectives": "Objective",
    "dreams.parametrizations": "Fourier Gate Parametrization Phases Pixels magnitudes",
    "dreams.recipe": "Recipe",
    "dreams.render": "RenderSession RenderSettings dream",
    "dreams.request": "Dream DreamRequest",
    "dreams.transforms": "Transforms",
    "dreams.zoom": "ZoomSettings zoom",
    "errors": "ConceptNetError DataError PluginError SettingsError",
    "evaluation.baselines": "BaselineContext",
    "galleries.gallery": "gallery",
    "galleries.requests": "GalleryRequest",
    "graph.concept_graph": "ConceptGraph",
    "hookspecs": "hookimpl",
    "network.basis": "BasisEvidence Directions",
    "network.staged_network": "StagedNetwork",
    "network.training": "ViewMaker",
    "plugins": "load_plugins",
    "records": "Backbone Baseline Command Dataset Discoverer Dreamer Exporter Generalizer Representation "
    "Specializer Trap",
    "results.editor": "Editor",
    "results.learned_run": "LearnedRun",
    "swap.representation": "Codec",
    "swap.views": "Views",
    "version": "__version__",
}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names.split()}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:  # the same for type checkers, which cannot read a table
    from conceptnet_ml.adaptation.adapted_model import AdaptedModel as AdaptedModel
    from conceptnet_ml.adaptation.adapted_model import adapt as adapt
    from conceptnet_ml.adaptation.curves import curve as curve
    from conceptnet_ml.api import learn as learn
    from conceptnet_ml.api import open_run as open_run
    from conceptnet_ml.api import plan as plan
    from conceptnet_ml.concepts.evidence import MergeEvidence as MergeEvidence
    from conceptnet_ml.concepts.evidence import SplitEvidence as SplitEvidence
    from conceptnet_ml.concepts.model import Detector as Detector
    from conceptnet_ml.concepts.model import Variants as Variants
    from conceptnet_ml.concepts.scores import FindEvidence as FindEvidence
    from conceptnet_ml.concepts.scores import Finding as Finding
    from conceptnet_ml.concepts.scores import auroc as auroc
    from conceptnet_ml.concepts.scores import unit_scores as unit_scores
    from conceptnet_ml.config.settings import Settings as Settings
    from conceptnet_ml.data.dataset import Data as Data
    from conceptnet_ml.data.ground_truth import PlantedFeature as PlantedFeature
    from conceptnet_ml.data.ground_truth import Truth as Truth
    from conceptnet_ml.data.images import ImageSet as ImageSet
    from conceptnet_ml.data.traps import TrapGround as TrapGround
    from conceptnet_ml.dreams.cache import DreamCache as DreamCache
    from conceptnet_ml.dreams.objectives import Objective as Objective
    from conceptnet_ml.dreams.parametrizations import Fourier as Fourier
    from conceptnet_ml.dreams.parametrizations import Gate as Gate
    from conceptnet_ml.dreams.parametrizations import Parametrization as Parametrization
    from conceptnet_ml.dreams.parametrizations import Phases as Phases
    from conceptnet_ml.dreams.parametrizations import Pixels as Pixels
    from conceptnet_ml.dreams.parametrizations import magnitudes as magnitudes
    from conceptnet_ml.dreams.recipe import Recipe as Recipe
    from conceptnet_ml.dreams.render import RenderSession as RenderSession
    from conceptnet_ml.dreams.render import RenderSettings as RenderSettings
    from conceptnet_ml.dreams.render import dream as dream
    from conceptnet_ml.dreams.request import Dream as Dream
    from conceptnet_ml.dreams.request import DreamRequest as DreamRequest
    from conceptnet_ml.dreams.transforms import Transforms as Transforms
    from conceptnet_ml.dreams.zoom import ZoomSettings as ZoomSettings
    from conceptnet_ml.dreams.zoom import zoom as zoom
    from conceptnet_ml.errors import ConceptNetError as ConceptNetError
    from conceptnet_ml.errors import DataError as DataError
    from conceptnet_ml.errors import PluginError as PluginError
    from conceptnet_ml.errors import SettingsError as SettingsError
    from conceptnet_ml.evaluation.baselines import BaselineContext as BaselineContext
    from conceptnet_ml.galleries.gallery import gallery as gallery
    from conceptnet_ml.galleries.requests import GalleryRequest as GalleryRequest
    from conceptnet_ml.graph.concept_graph import ConceptGraph as ConceptGraph
    from conceptnet_ml.hookspecs import hookimpl as hookimpl
    from conceptnet_ml.network.basis import BasisEvidence as BasisEvidence
    from conceptnet_ml.network.basis import Directions as Directions
    from conceptnet_ml.network.staged_network import StagedNetwork as StagedNetwork
    from conceptnet_ml.network.training import ViewMaker as ViewMaker
    from conceptnet_ml.plugins import load_plugins as load_plugins
    from conceptnet_ml.records import Backbone as Backbone
    from conceptnet_ml.records import Baseline as Baseline
    from conceptnet_ml.records import Command as Command
    from conceptnet_ml.records import Dataset as Dataset
    from conceptnet_ml.records import Discoverer as Discoverer
    from conceptnet_ml.records import Dreamer as Dreamer
    from conceptnet_ml.records import Exporter as Exporter
    from conceptnet_ml.records import Generalizer as Generalizer
    from conceptnet_ml.records import Representation as Representation
    from conceptnet_ml.records import Specializer as Specializer
    from conceptnet_ml.records import Trap as Trap
    from conceptnet_ml.results.editor import Editor as Editor
    from conceptnet_ml.results.learned_run import LearnedRun as LearnedRun
    from conceptnet_ml.swap.representation import Codec as Codec
    from conceptnet_ml.swap.views import Views as Views
    from conceptnet_ml.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'conceptnet_ml' has no attribute '{name}'")
    return getattr(importlib.import_module(f"conceptnet_ml.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
