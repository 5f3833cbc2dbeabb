"""The contract test of plugins, for those who write them::

from conceptnet_ml.testing import check_plugin


def test_it() -> None:
    check_plugin("gamma.py")  # prints a line for each record; pytest -rP shows them
"""

from __future__ import annotations

import inspect
import linecache
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptnet_ml.contract.baseline_kind import check_baseline
from conceptnet_ml.contract.image_kinds import check_built_backbone, check_dataset, check_representation, check_trap
from conceptnet_ml.contract.output_kinds import check_command, check_dreamer, check_exporter, check_logger
from conceptnet_ml.contract.step_kinds import (
    check_basis,
    check_discoverer,
    check_generalizer,
    check_specializer,
    check_stop_rule,
)
from conceptnet_ml.contract.trial import Trial
from conceptnet_ml.errors import PluginError, SettingsError, nearest
from conceptnet_ml.plugins import BUILT_IN, Plugins, load_plugins
from conceptnet_ml.records import KINDS, OWN, Record

CHECKS: dict[str, Sequence[Callable[[Trial], None]]] = {
    "dataset": (check_dataset,),
    "trap": (check_trap,),
    "backbone": (check_built_backbone,),
    "representation": (check_representation,),
    "discoverer": (check_discoverer, check_basis),
    "stop_rule": (check_stop_rule,),
    "generalizer": (check_generalizer,),
    "specializer": (check_specializer,),
    "dreamer": (check_dreamer,),
    "exporter": (check_exporter,),
    "logger": (check_logger,),
    "baseline": (check_baseline,),
    "command": (check_command,),
}
"""What a record of each kind is held to."""

PROMISES = {
    "dataset": "two classes or more, images of one size, labels that are classes, the same for the same seed",
    "trap": "a cue where one is asked for and nowhere else, another for each class, the same in every batch",
    "backbone": "logits for three classes, stages through each of which it runs in two parts",
    "representation": "there and back again, image by image, differentiable, swaps alike by every way",
    "discoverer": "finds the unit that tells each class, the same each time; directions, if any, hold the maps",
    "stop_rule": "a decision with a reason on every kind of figures and gate, the same each time",
    "generalizer": "a detector that finds the feature of every class, restored from its state",
    "specializer": "variants that tell the classes and read where the detector looks, restored from their state",
    "dreamer": "brings up a unit of a small network, the same each time",
    "exporter": "writes a graph with the classes' names, the same bytes each time",
    "logger": "takes figures, words and pictures by any name, and goes on where it is opened again",
    "baseline": "finite weights, other than before, the same again even if stopped; views of its own in [0, 1]",
    "command": "commands with a help text, the program's own left alone",
}
"""The same in words."""


def check_plugin(
    plugin: str | Path | None = None,
    arguments: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Record]:
    """Hold every record of a plugin to the contract of its kind; the built-in ones are held to the same.

    Args:
        plugin: A file or folder, as ``--plugins-dir`` takes it, or the name of an installed package; default: all
            installed ones.
        arguments: For records that need one, by name, what stands behind it in ``--trap NAME:ARGUMENT``.
        settings: Values of settings that records declare, by the record's name; default: the declared defaults.

    Returns:
        The records that were checked. Each is printed with what it was held to as soon as it has passed.

    Raises:
        PluginError: The plugin cannot be loaded, has no record, or breaks a promise; says which record and which.
        SettingsError: A setting that none of them declares, or a value that is not allowed.

    Cost: seconds a record, a minute for a baseline, which is trained five times.
    """
    path = None if plugin is None or not Path(plugin).exists() else Path(plugin)
    plugins = load_plugins(path, use_entry_points=path is None, warn=lambda text: None)
    for source, error in plugins.broken:
        if path is not None or plugin is None or source.startswith(f"{plugin} "):
            raise PluginError(f"{source}: {error}", "See docs/plugins.md.")
    every = [record for kind in KINDS for record in plugins.all(kind)]
    records = [record for record in every if _is_from(plugins.origin(record), plugin, path)]
    if not records:
        raise PluginError(f"{plugin or 'installed packages'}: no plugin was found", "Give a file, or a package's name.")
    given = settings or {}
    if strange := next((name for name in given if name not in plugins.models), None):
        raise SettingsError(f"settings: no plugin '{strange}' declares any.", nearest(strange, plugins.models))
    plugins = plugins.with_settings(given)
    records = [plugins.get(record.kind, record.name) for record in records]
    for record in records:
        began = time.monotonic()
        check_record(record, plugins, (arguments or {}).get(record.name, ""))
        seconds = time.monotonic() - began
        print(
            f"{record.kind} '{record.name}' keeps its contract ({seconds:.0f} s): {PROMISES[record.kind]}.", flush=True
        )
    return records


def check_record(record: Record, plugins: Plugins, argument: str = "") -> None:
    """Hold one record to its kind's contract. Raises PluginError as :func:`check_plugin`."""
    what = f"{record.kind} '{record.name}'"
    if not record.summary or len(record.summary) >= 120:
        raise PluginError(f"{what}: its summary must be one line of under 120 characters, for 'plugins list'")
    taken = [OWN in inspect.signature(record.function(name)).parameters for name in record.functions()]
    if record.settings is not None and not any(taken):
        raise PluginError(f"{what} declares settings, but none of its functions takes them: give one an argument {OWN}")
    for check in CHECKS[record.kind]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(Trial(record, plugins, Path(folder), argument))
            except AssertionError as error:
                raise PluginError(f"{what} breaks a promise: {_words(error)}", "See docs/plugins.md.") from error


def _is_from(origin: str, plugin: str | Path | None, path: Path | None) -> bool:
    """Whether a record of this origin is asked for."""
    if path is not None or plugin is None:
        return origin != BUILT_IN
    return origin.replace("_", "-").startswith(f"{plugin} ".replace("_", "-"))


def _words(error: AssertionError) -> str:
    """What a check says, and the condition that does not hold."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    held = next(one for one in reversed(traceback.extract_tb(error.__traceback__)) if "contract" in one.filename)
    line = linecache.getline(held.filename, held.lineno or 0).strip()
    said = " ".join(str(error).split())
    return f"{said} ({line})" if said and last is not held else said or line
