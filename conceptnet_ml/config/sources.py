"""Where each setting's value comes from: defaults < TOML file < ``--set a.b=c`` < flags.

Written over the fields of ``Settings``: a setting added there can be set, listed and checked here at once; so can those
that the loaded plugins declare. Settings are named by their dotted path, as in ``data.trap``.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from conceptnet_ml.config.overrides import add_overrides
from conceptnet_ml.config.plugin_settings import (
    PREFIX,
    PluginModels,
    flat_plugin,
    plugin_fields,
    refusal,
    split_name,
    typed_plugin,
    unknown,
)
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import is_mistaken, parse_value, show_value
from conceptnet_ml.errors import DataError, SettingsError, meant_path, nearest
from conceptnet_ml.storage.hashing import sha256

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = "default"

PROGRAM = "conceptnet-ml"

FLAGS: dict[str, str] = {
    "depth": "--depth",
    "seed": "--seed",
    "device": "--device",
    "data.source": "--data",
    "data.trap": "--trap",
    "data.root": "--root",
    "data.download": "--download",
    "data.skip_bad": "--skip-bad",
    "data.memory": "--memory",
    "data.target": "--target",
    "network.backbone": "--backbone",
    "plugins.controls": "--control",
    "round.keep": "--keep",
    "round.undo": "--undo",
    "round.exchange": "--exchange",
}
"""Settings that have a flag of their own."""

MOVABLE = (
    "device",
    "data.root",
    "data.download",
    "data.memory",
    "data.target",
    "training.above_chance",
    "plugins.loggers",
)
"""Settings that may change when a run is resumed: where it is computed and logged, with what it is compared, whether it
stops. So may ``data.source``, where the same pictures lie there: the run knows them by their fingerprint."""

OVERRULING = ("round.keep", "round.undo", "round.exchange")
"""The user's overrides, which may change, too: a flag adds to the rounds that are kept or undone, ``--set`` and a file
replace them; a place is replaced."""


@dataclass(frozen=True)
class Resolved:
    """Checked settings, and for every dotted name where its value came from."""

    settings: Settings
    origins: dict[str, str]


@dataclass(frozen=True)
class _Given:
    """One value as the user gave it: raw, with its origin (``--depth``, ``--set``, ``file cars.toml``)."""

    value: Any
    origin: str


def resolve_settings(
    config: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    models: PluginModels = MappingProxyType({}),
) -> Resolved:
    """Put the settings together; of two values for a setting the later source wins.

    Args:
        config: A TOML file whose tables are the groups of ``Settings``.
        assignments: ``"a.b=c"`` each, as given to ``--set``.
        flags: Values by dotted name; None for a flag that was not given.
        models: What the loaded plugins declare, ``Plugins.models``.

    Raises:
        SettingsError: A file that cannot be read, an unknown setting, or a value that is not allowed.
    """
    given = _collect(config, assignments, flags or {}, models)
    settings = _validated({name: entry.value for name, entry in given.items()}, given, models)
    origins = dict.fromkeys(known_settings(), DEFAULT) | {name: entry.origin for name, entry in given.items()}
    return Resolved(settings, origins)


def resume_settings(
    stored: Settings,
    origins: Mapping[str, str],
    config: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    models: PluginModels = MappingProxyType({}),
) -> Resolved:
    """The settings of a resumed run: its own. Given values must agree with them, except those in ``MOVABLE`` and
    ``OVERRULING``, and the place of the same pictures. Raises SettingsError where one contradicts the run's, or is
    wrong in itself.

    Args:
        stored, origins: The run's settings, and where each came from, by dotted name.
        config, assignments, flags, models: As in :func:`resolve_settings`.
    """
    given = resolve_settings(config, assignments, flags, models)
    wanted = flatten(given.settings) | _overrides(stored, given)
    values = dict.fromkeys(flat_plugin(given.settings)) | flatten(stored)
    result = {name: origins.get(name, DEFAULT) for name in values}
    loggers = {*stored.plugins.loggers, *given.settings.plugins.loggers}
    conflicts = []
    for name, value in values.items():
        origin = given.origins.get(name, DEFAULT)
        overrules = name in OVERRULING
        if value == wanted.get(name) or (origin == DEFAULT and not overrules):
            continue
        logs = name.startswith(PREFIX) and split_name(name)[0] in loggers
        if overrules or logs or name in (*MOVABLE, "data.source"):
            values[name] = wanted[name]
            result[name] = origin if origin != DEFAULT else result[name]
        else:
            has, asked = (show_value(one) or "none" for one in (value, wanted[name]))
            conflicts.append(f"{name}: the run has {has}, {origin} says {asked}")
    if conflicts:
        raise SettingsError(
            "A resumed run keeps its settings: " + "; ".join(conflicts) + ".",
            "Leave these out to go on with the run, or start a new one without --resume.",
        )
    return Resolved(_validated(values, {}, models), result)


def _overrides(stored: Settings, given: Resolved) -> dict[str, tuple[str, ...] | str | None]:
    """The user's overrides after those given now, by dotted name."""
    old, new = {}, {}
    place = stored if given.origins.get("round.exchange", DEFAULT) == DEFAULT else given.settings
    for name in ("round.keep", "round.undo"):
        before, now = flatten(stored)[name], flatten(given.settings)[name]
        origin = given.origins.get(name, DEFAULT)
        old[name] = before if origin in (DEFAULT, FLAGS[name]) else now
        new[name] = now if origin == FLAGS[name] else ()
    rounds = stored.round.model_copy(update={name.rpartition(".")[2]: value for name, value in old.items()})
    keep, undo = add_overrides(rounds, new["round.keep"], new["round.undo"])
    return {"round.keep": keep, "round.undo": undo, "round.exchange": place.round.exchange}


def fixed_digest(stored: Mapping[str, Any]) -> str:
    """Fingerprint of a run's settings as it stores them, without those that may change while it goes on: what every
    step of it rests on.
    """
    fixed = json.loads(json.dumps(stored))
    for name in (*MOVABLE, *OVERRULING, "data.source"):
        group, _, last = name.rpartition(".")
        (fixed.get(group) or {} if group else fixed).pop(last, None)
    for name in (stored.get("plugins") or {}).get("loggers") or ():
        (fixed.get("plugin") or {}).pop(name, None)
    return sha256(json.dumps(fixed, sort_keys=True), 16)


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting's value by dotted name, in the order of the fields; last what plugins declare, where it is kept."""
    return {name: attrgetter(name)(settings) for name in known_settings()} | flat_plugin(settings)


@functools.cache
def known_settings() -> Mapping[str, FieldInfo]:
    """Every setting of the program's own by dotted name."""
    return dict(_fields(Settings, ""))


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")
        elif name != "plugin":  # what is in there depends on the plugins
            yield prefix + name, info


def source_of(data: str | Path) -> str:
    """The setting ``data.source`` of a folder's or a CSV file's path, or of a source as the setting has it. What is
    written like a path is one, there or not.
    """
    if Path(data).suffix.lower() == ".csv" and Path(data).is_file():
        return f"csv:{data}"
    is_path = isinstance(data, Path) or Path(data).is_dir() or (":" not in data and bool({"/", "\\"} & {*data}))
    return f"folder:{data}" if is_path else str(data)


def check_paths(settings: Settings) -> None:
    """Refuse files and folders that are not there: pictures, those of the new world, weights. What reads them does so,
    too, but needs torch, which takes seconds to load. Raises DataError or SettingsError.
    """
    kind, _, argument = settings.data.source.partition(":")
    target, weights = settings.data.target, settings.network.weights_file
    is_file, path = kind == "csv", Path(os.path.expanduser(argument))
    if kind in ("folder", "csv") and argument and not os.path.exists(path):
        what = "file" if is_file else "folder"
        raise DataError(f"{path}: no such {what}.", f"{meant_path(path, is_file)}Check the path.")
    if target is not None and not os.path.exists(path := Path(os.path.expanduser(target.removeprefix("folder:")))):
        mend = "Give a folder of pictures of the world the network is meant for; or none, to go without."
        raise DataError(f"data.target: {path}: no such folder", f"{meant_path(path)}{mend}")
    if weights is not None and not os.path.exists(weights):
        mend = f"{meant_path(weights, True)}Give a file with a state dict."
        raise SettingsError(f"network.weights: '{weights}' does not exist", mend)


def check_network_name(source: str, backbones: Container[str]) -> None:
    """Refuse what is neither a folder, a backbone nor ``module:callable``. Raises SettingsError."""
    name, colon, _ = source.partition(":")
    if not (colon or name in backbones or Path(source).is_dir()):
        mend = "Give a folder that 'learn' wrote, a backbone as in torchvision:resnet18, or module:callable."
        raise SettingsError(f"'{source}' is neither a run folder nor a network", f"{meant_path(source)}{mend}")


def default_folder(settings: Settings) -> Path:
    """The folder of a run that is given none: ``runs/DATA-TRAP-DATE-TIME``."""
    name = re.split(r"[/\\]", settings.data.source.rstrip("/\\"))[-1]
    trap = "" if settings.data.trap == "none" else f"-{settings.data.trap}"
    words = re.sub(r"[^\w.+-]+", "-", name + trap)  # a name that needs no quotes in any shell
    return Path("runs") / f"{words}-{time.strftime('%Y%m%d-%H%M%S')}"


# ------------------------------------------------------------------------------------------------ reading


def _collect(
    config: Path | None, assignments: Iterable[str], flags: Mapping[str, Any], models: PluginModels
) -> dict[str, _Given]:
    """The last value given for each setting, names checked."""
    given: dict[str, _Given] = {}
    known = {**known_settings(), **plugin_fields(models)}
    if config is not None:
        origin = f"file {config}"
        tables = read_toml(config, "--config: ", '[data], and below it trap = "wheels".')
        given |= {name: _Given(value, origin) for name, value in flat_tables(tables, origin, models=models)}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set '{text}' has no '='.", "Write it as in --set training.epochs=8.")
        _check_name(name.strip(), "--set", models)
        given[name.strip()] = _Given(parse_value(value.strip(), known[name.strip()]), "--set")
    for name, value in flags.items():
        _check_name(name, "flag", models)
        if value is not None:
            given[name] = _Given(tuple(value) if isinstance(value, list) else value, FLAGS.get(name, "argument"))
    return given


def read_toml(path: Path, where: str, example: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises SettingsError where it cannot be read; ``where`` begins the message, and the
    mend is to write as in the ``example``.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        mend = "Give a TOML file that is there."
        raise SettingsError(f"{where}cannot read '{path}': {error.strerror}.", mend) from error
    except (ValueError, RecursionError) as error:  # too deeply nested, or a number of thousands of digits
        reason = str(error).partition("; use sys.")[0]
        raise SettingsError(f"{where}'{path}' is not TOML: {reason}.", f"Write as in: {example}") from error


def flat_tables(
    table: Mapping[str, Any], origin: str, prefix: str = "", models: PluginModels = MappingProxyType({})
) -> Iterator[tuple[str, Any]]:
    """Settings of a TOML file by dotted name, lists as tuples. Raises SettingsError, with the origin, for one that is
    not there.
    """
    for key, value in table.items():
        name = prefix + key
        if not _is_group(name, models):
            _check_name(name, origin, models)
            yield name, tuple(value) if isinstance(value, list) else value
        elif isinstance(value, dict):
            yield from flat_tables(value, origin, f"{name}.", models)
        else:
            raise SettingsError(f"{origin}: '{name}' is a group of settings.", f"Write it as a table: [{name}].")


def _is_group(name: str, models: PluginModels) -> bool:
    known = (*known_settings(), *plugin_fields(models))
    return name == "plugin" or any(one.startswith(f"{name}.") for one in known)


def _check_name(name: str, origin: str, models: PluginModels) -> None:
    known = known_settings()
    if name in known or name in plugin_fields(models):
        return
    if _is_group(name, models):
        raise SettingsError(f"{origin}: '{name}' is a group of settings.", f"Name one of them: {name}.NAME.")
    if name.startswith(PREFIX):
        message, mend = unknown(name, models)
        raise SettingsError(f"{origin}: {name}: {message}", mend)
    # a name without its group is a common slip: 'trap' for 'data.trap'
    same_end = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    mend = f"Did you mean '{same_end[0]}'?" if same_end else nearest(name, known, "config show")
    raise SettingsError(f"{origin}: there is no setting '{name}'.", mend)


# ------------------------------------------------------------------------------------------------ checking


def _validated(values: Mapping[str, Any], given: Mapping[str, _Given], models: PluginModels) -> Settings:
    nested: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value in values.items():
        if name.startswith(PREFIX):
            plugin, field = split_name(name)
            nested.setdefault("plugin", {}).setdefault(plugin, {})[field] = value
            continue
        *groups, last = name.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
        if is_mistaken(value, known_settings()[name]):
            wrong.append(name)
    nested["plugin"], wrongs = typed_plugin(nested.get("plugin", {}), models)
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        for problem in error.errors():
            # a location may go on inside the setting: the index in a list
            path = [str(part) for part in problem["loc"]]
            ends = (".".join(path[:end]) for end in range(len(path), 0, -1))
            name = next((name for name in ends if name in values), "")
            if not name:
                raise
            wrong.append(name)
    if wrong := [*dict.fromkeys((*wrong, *wrongs))]:
        known = {**known_settings(), **plugin_fields(models)}
        origins = {name: given[name].origin if name in given else "stored value" for name in wrong}
        where = {name: one if one == FLAGS.get(name) else f"{one}: {name}" for name, one in origins.items()}
        raise SettingsError("\n".join(refusal(where[name], values[name], known[name]) for name in wrong))
    return settings


def command(settings: Settings) -> str:
    """The command that makes such a run."""
    words, usual = [PROGRAM, "learn"], flatten(Settings())
    for name, value in flatten(settings).items():
        if name in usual and value == usual[name]:
            continue
        flag = FLAGS.get(name)
        if flag is None or value is None or isinstance(value, tuple):
            words += ["--set", f"{name}={show_value(value)}"]
        else:
            words += [flag] if value is True else [flag, show_value(value)]
    return shlex.join(words)
