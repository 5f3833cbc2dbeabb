"""The records that a plugin registers: small, typed, frozen. The core picks one by name and calls its functions.

A function is given as the callable itself or as ``"package.module:function"``, which is imported on first use. This
module imports neither torch nor networkx, so that listing plugins is quick.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from conceptnet_ml.errors import ConceptNetError, PluginError

if TYPE_CHECKING:
    from pydantic import BaseModel

API = "1"

Function = Callable[..., Any] | str

FILE_MODULE = "conceptnet_plugin_"
"""How the names of modules begin that plugin files are imported as."""

OURS = ("conceptnet_ml", "conceptnet_plugins")
"""Packages whose errors are bugs of ours, whoever calls them."""

GATES = ("place", "channel", "whole")
"""What a representation's swap can be gated by."""

NEEDS = ("unbiased", "unlabelled")
"""Data that a baseline may need besides the training images and their labels."""

OWN = "own"
"""The argument in which a record's functions get the record's own settings."""

ARGUMENTS = ("count", "class")
"""What a baseline may take for an argument."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Fields of all records.

    Args:
        name: Unique within its kind; the settings name it.
        api: Major version of this interface the plugin was written for, ``"1"``.
        summary: One line for ``plugins list``.
        settings: Settings of its own, a pydantic model whose fields have a default and a description each. They are
            given as ``plugin.NAME.x``; functions that take an argument ``own`` get them in it.
        own: Their values, from the core; at first those of ``settings()``.
    """

    kind: ClassVar[str] = ""
    name: str
    api: str
    summary: str = ""
    settings: type[BaseModel] | None = None
    own: Any = field(default=None, compare=False, repr=False)

    def functions(self) -> list[str]:
        """The fields that hold its functions, without optional ones that were left out."""
        named = [(field.name, str(field.type)) for field in fields(self)]
        given = {name for name, kind in named if kind == "Function | None" and getattr(self, name) is not None}
        return [name for name, kind in named if kind == "Function" or name in given]

    def function(self, field: str) -> Callable[..., Any]:
        """The callable in ``field``, imported if it was given by name. Raises PluginError where there is none.

        What a stranger's function raises comes as a PluginError that names the plugin; an error in a built-in one is a
        bug of ours and stays as it is. One that takes the record's own settings has them already.
        """
        value = getattr(self, field)
        if value is None:
            raise PluginError(f"{self.kind} '{self.name}' has no function {field}")
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            try:
                value = getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError) as error:
                raise PluginError(f"{self.kind} '{self.name}': cannot import '{value}': {error}") from error
        guarded = self.guard(field, value)
        if self.settings is None or OWN not in inspect.signature(value).parameters:
            return guarded
        own = self.settings() if self.own is None else self.own
        return functools.update_wrapper(functools.partial(guarded, **{OWN: own}), guarded)

    def guard(self, field: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or the module that a function of this record returned: what it raises names the plugin as
        in :meth:`function`, unless it is ours.
        """
        ours = str(getattr(function, "__module__", "")).partition(".")[0] in OURS
        return function if ours else self._named(field, function)

    def must_return(self, field: str, what: str, value: Any, shape: tuple[int, ...]) -> None:
        """Raise PluginError where what a function made is no tensor of this shape; ``what`` it should be, in words."""
        found = tuple(getattr(value, "shape", ())) or type(value).__name__
        if found != shape:
            kind = f"{self.kind} '{self.name}'"
            raise PluginError(f"{kind}: {field}: {what} must be {shape}, not {found}", "See docs/plugins.md.")

    def _named(self, field: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with the plugin's name at what it raises."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except ConceptNetError:
                raise
            except Exception as error:  # foreign code may raise anything
                file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None) or "no file"
                lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
                where = f"{Path(file).name}, line {lines[-1]}" if lines else Path(file).name
                what = f"{field} failed: {type(error).__name__}: {error} ({where})"
                raise PluginError(f"{self.kind} '{self.name}': {what}") from error

        return call


@dataclass(frozen=True, kw_only=True)
class Dataset(Record):
    """``load(argument, settings: DataSettings, seed: int) -> Data``; ``--data NAME:ARGUMENT`` selects it.

    Args:
        groups: Whether it reads the setting ``data.groups`` and groups its test images by it.
    """

    kind: ClassVar[str] = "dataset"
    load: Function
    groups: bool = False


@dataclass(frozen=True, kw_only=True)
class Trap(Record):
    """Plants a cue: ``plant(images, cues, seeds) -> images``.

    ``images`` uint8 (B, 3, H, W); ``cues`` int64 (B,), the class whose cue is to be shown, -1 for none; ``seeds`` int64
    (B,), one per image: the same image gets the same cue in every batch.

    ``prepare(ground: TrapGround) -> Any``, where there is one, is called once for the training and once for the test
    images, before anything is planted. It raises DataError where the trap does not suit the data; its result, unless
    None, is handed to ``plant`` as a fourth argument.

    Args:
        classes: How many classes the cue can tell apart (None: any number).
        argument: What ``--trap NAME:ARGUMENT`` takes, in words; empty where the trap takes no argument.
        resizes: ``plant`` returns images of another size, the same for all; with the cue -1 it only moves the image and
            leaves the rest black, so that masks and the other test sets go the same way.
    """

    kind: ClassVar[str] = "trap"
    plant: Function
    prepare: Function | None = None
    classes: int | None = None
    argument: str = ""
    resizes: bool = False


@dataclass(frozen=True, kw_only=True)
class Backbone(Record):
    """``build(argument, classes: int, image_size: tuple[int, int], settings: NetworkSettings) -> nn.Module``.

    The module maps normalised (B, 3, H, W) floats to logits (B, classes). ``--backbone NAME:ARGUMENT`` selects it.
    """

    kind: ClassVar[str] = "backbone"
    build: Function


@dataclass(frozen=True, kw_only=True)
class Representation(Record):
    """An invertible view T of an image: ``swap_T(x, d; g) = T⁻¹(T(x) + g ⊙ (T(d) − T(x)))``.

    ``encode(images)`` takes floats in [0, 1] (B, 3, H, W) and returns a tensor, or a pair (swapped, kept) of which
    only the first takes part in the swap; ``decode(encoding)`` makes images of the same structure. Both must be
    differentiable and work per image.

    Args:
        gate: ``"place"``: the encoding is (B, C, H, W), the gate a coarse grid of places; ``"channel"``: one gate per
            channel, the same for all images; ``"whole"``: no gate, the whole encoding is swapped.
        masks: ``masks(encoding)``: each channel's share of the encoding's values, (C, …), … broadcasting to one image's
            encoding; default: the channels are the encoding's second dimension.
        cost: Order in which the learner tries representations, cheapest and most global first.
        regional: ``encode`` also takes ``where=`` (B, 1, H, W) in [0, 1], the places it should look at.
        measure: ``measure(images, donors)``: images after the swap as it is probed and judged, where that should leave
            less of their own than views do; default: as in views.
        entire: The channels hold the image as a whole: where all are exchanged, hardly anything of it is left. What
            tells the classes apart then may be the object itself, so the rule asks for a narrow gate.
        nature: The most contrast that nature gives two classes, as measured, where that is hardly any: what is
            exchanged says how a picture was taken and stored, not what is on it. It may then decide in part only, and
            be a cue all the same. None where nature gives them much, or nobody knows.
        along: Of the gate ``"whole"``: names of other such representations, exchanged with the same donor before it,
            where this one leaves traces that they hold.
        redundant: The encoding says the same of an image more than once, so that no image has just any encoding: after
            a swap the image's own encoding need not be the one it was made of.
        channels: How many channels images must have: of others the representation is left out, which a note says; None
            for any number.
    """

    kind: ClassVar[str] = "representation"
    encode: Function
    decode: Function
    gate: str
    masks: Function | None = None
    measure: Function | None = None
    cost: int = 10
    regional: bool = False
    entire: bool = False
    nature: float | None = None
    along: tuple[str, ...] = ()
    redundant: bool = False
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise PluginError(f"representation '{self.name}': the gate '{self.gate}' is none of {', '.join(GATES)}")
        if self.nature is not None and not 0 <= self.nature < 1:
            raise PluginError(f"representation '{self.name}': nature is {self.nature}, and must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Discoverer(Record):
    """``find(evidence: FindEvidence) -> list[Finding]``: the features a decision rests on, among a stage's units.

    ``basis(evidence: BasisEvidence) -> nn.Module``, where there is one, is called once per stage: features are then
    found among directions of its maps. The module has ``encode``, from maps (B, C, h, w) to coefficients (B, D, h, w),
    and ``decode`` back, both place by place and differentiable.

    ``restore(state_dict) -> nn.Module`` builds it again from a run folder; the default is for the core's Directions.
    """

    kind: ClassVar[str] = "discoverer"
    find: Function
    basis: Function | None = None
    restore: Function = "conceptnet_ml.network.basis:restore_directions"


@dataclass(frozen=True, kw_only=True)
class StopRule(Record):
    """``decide(measured: SwapMeasurement, settings: RoundSettings) -> Decision``: whether to train on a probed swap.

    It depends on nothing else: a resumed run decides again, and must decide the same.
    """

    kind: ClassVar[str] = "stop_rule"
    decide: Function


@dataclass(frozen=True, kw_only=True)
class Generalizer(Record):
    """``merge(evidence: MergeEvidence) -> nn.Module``: a detector, (B, C, H, W) maps to (B, 1, H, W) logits of
    "the feature is here", whatever the class.

    ``restore(state_dict) -> nn.Module`` builds it again from a run folder; the default is for the core's own Detector.
    """

    kind: ClassVar[str] = "generalizer"
    merge: Function
    restore: Function = "conceptnet_ml.concepts.model:restore_detector"


@dataclass(frozen=True, kw_only=True)
class Specializer(Record):
    """``split(evidence: SplitEvidence) -> nn.Module``: variants, ``(maps, detector logits) -> (B, parents)``, one per
    class or parent, that read only where the detector looks.

    ``restore(state_dict) -> nn.Module`` builds them again from a run folder; the default is for the core's Variants.
    """

    kind: ClassVar[str] = "specializer"
    split: Function
    restore: Function = "conceptnet_ml.concepts.model:restore_variants"


@dataclass(frozen=True, kw_only=True)
class Dreamer(Record):
    """``recipe(real: Tensor | None) -> Recipe``: a way to dream.

    ``real`` are real images, uint8 (N, C, H, W), where there are any; a recipe may take their statistics.
    """

    kind: ClassVar[str] = "dreamer"
    recipe: Function


@dataclass(frozen=True, kw_only=True)
class Exporter(Record):
    """``write(graph: ConceptGraph, path: Path) -> None``: ``graph export --format NAME``. One that writes several files
    returns their paths.

    ``parse(text: str) -> Any``, where there is one, makes of a file's text what ``ConceptGraph.from_plain`` takes:
    commands read files by their ``suffix``.
    """

    kind: ClassVar[str] = "exporter"
    write: Function
    suffix: str
    parse: Function | None = None


class RunLog(Protocol):
    """What a logger opens: it is handed a run's figures, words and pictures as they come to be.

    Names hold slashes, spaces and any letters of class names. What a method raises costs the run nothing: the logger is
    warned about, and left out from then on.
    """

    def scalars(self, figures: Mapping[str, float], step: int) -> None:
        """Figures by name, all finite: losses at the step of their training, those of decisions at the number of their
        event."""

    def text(self, name: str, words: str, step: int) -> None:
        """An event as JSON, at its number; at the end the summary."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """A picture file, PNG or JPEG, which may be gone or another later."""

    def close(self) -> None:
        """The run ends, is stopped or fails: write what is left."""


@dataclass(frozen=True, kw_only=True)
class Logger(Record):
    """``open(folder: Path, name: str, settings: dict[str, Any]) -> RunLog``: where a run's figures go beside
    metrics.jsonl, while it runs; ``plugins.loggers`` names it.

    It is opened before anything is trained: what it raises then is an error. A run that is resumed opens it once more
    in the same ``folder``, of its own in the run folder; ``name`` is the run's, ``settings`` all of its settings by
    dotted name.
    """

    kind: ClassVar[str] = "logger"
    open: Function


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """A baseline, trained beside the learner; it has exactly one of two functions.

    ``views(context: BaselineContext) -> ViewMaker``: the views on which the ordinary network is trained further, for as
    many epochs as the learner's rounds took. ``fit(context: BaselineContext) -> StagedNetwork``: it trains by itself,
    through the context, and returns a network built as the ordinary one. Raises PluginError for neither or both
    functions, or an unknown need.

    Args:
        needs: Data beyond the training images: ``"unbiased"``, training images whose cue is drawn at random, with their
            labels, which no learner has without labels of the cue; ``"unlabelled"``, pictures of the new world. Tables
            mark it.
        channels: How many channels images must have: with others it is refused; None for any number.
        argument: What may follow the name and a colon: ``"count"`` or ``"class"``, the name of one; empty for nothing.
    """

    kind: ClassVar[str] = "baseline"
    views: Function | None = None
    fit: Function | None = None
    needs: tuple[str, ...] = ()
    channels: int | None = None
    argument: str = ""

    def __post_init__(self) -> None:
        if len(self.functions()) != 1:
            raise PluginError(f"baseline '{self.name}' must have one of views and fit, and not both")
        unknown = [need for need in self.needs if need not in NEEDS]
        if unknown:
            raise PluginError(f"baseline '{self.name}' needs {', '.join(unknown)}; there is {', '.join(NEEDS)} only")
        if self.argument not in ("", *ARGUMENTS):
            known = " or ".join(ARGUMENTS)
            raise PluginError(f"baseline '{self.name}': argument is '{self.argument}', and not {known}, or empty")


@dataclass(frozen=True, kw_only=True)
class Command(Record):
    """An extra command: ``register(app: typer.Typer) -> None``."""

    kind: ClassVar[str] = "command"
    register: Function


KINDS: dict[str, type[Record]] = {record.kind: record for record in Record.__subclasses__()}
