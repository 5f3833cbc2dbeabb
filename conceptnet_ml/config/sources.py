"""Where each setting's value comes from: defaults < TOML file < ``--set a.b=c`` < flags.

Written over the fields of ``Settings``: a setting added there can be set, listed and checked here at once. Settings are
named by their dotted path, as in ``data.trap``.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from conceptnet_ml.config.overrides import add_overrides
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.errors import SettingsError, nearest
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

OVERRULING = ("round.keep", "round.undo")
"""The user's overrides, which may change, too: a flag adds to them, ``--set`` and a file replace them."""


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
    config: Path | None = None, assignments: Iterable[str] = (), flags: Mapping[str, Any] | None = None
) -> Resolved:
    """Put the settings together; of two values for a setting the later source wins.

    Args:
        config: A TOML file whose tables are the groups of ``Settings``.
        assignments: ``"a.b=c"`` each, as given to ``--set``.
        flags: Values by dotted name; None for a flag that was not given.

    Raises:
        SettingsError: A file that cannot be read, an unknown setting, or a value that is not allowed.
    """
    given = _collect(config, assignments, flags or {})
    settings = _validated({name: entry.value for name, entry in given.items()}, given)
    origins = {name: given[name].origin if name in given else DEFAULT for name in known_settings()}
    return Resolved(settings, origins)


def resume_settings(
    stored: Settings,
    origins: Mapping[str, str],
    config: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """The settings of a resumed run: its own. Given values must agree with them, except those in ``MOVABLE`` and
    ``OVERRULING``, and the place of the same pictures. Raises SettingsError where one contradicts the run's, or is
    wrong in itself.

    Args:
        stored, origins: The run's settings, and where each came from, by dotted name.
        config, assignments, flags: As in :func:`resolve_settings`.
    """
    given = resolve_settings(config, assignments, flags)
    values = flatten(stored)
    wanted = flatten(given.settings) | _overrides(stored, given)
    result = {name: origins.get(name, DEFAULT) for name in values}
    conflicts = []
    for name, value in values.items():
        origin = given.origins.get(name, DEFAULT)
        overrules = name in OVERRULING
        if value == wanted[name] or (origin == DEFAULT and not overrules):
            continue
        if overrules or name in (*MOVABLE, "data.source"):
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
    return Resolved(_validated(values, {}), result)


def _overrides(stored: Settings, given: Resolved) -> dict[str, tuple[str, ...]]:
    """The user's overrides after those given now, by dotted name."""
    old, new = {}, {}
    for name in OVERRULING:
        before, now = flatten(stored)[name], flatten(given.settings)[name]
        origin = given.origins.get(name, DEFAULT)
        old[name] = before if origin in (DEFAULT, FLAGS[name]) else now
        new[name] = now if origin == FLAGS[name] else ()
    rounds = stored.round.model_copy(update={name.rpartition(".")[2]: value for name, value in old.items()})
    keep, undo = add_overrides(rounds, new["round.keep"], new["round.undo"])
    return {"round.keep": keep, "round.undo": undo}


def fixed_digest(stored: Mapping[str, Any]) -> str:
    """Fingerprint of a run's settings as it stores them, without those that may change while it goes on: what every
    step of it rests on.
    """
    fixed = json.loads(json.dumps(stored))
    for name in (*MOVABLE, *OVERRULING, "data.source"):
        group, _, last = name.rpartition(".")
        (fixed.get(group) or {} if group else fixed).pop(last, None)
    return sha256(json.dumps(fixed, sort_keys=True), 16)


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting's value by dotted name, in the order of the fields."""
    return {name: attrgetter(name)(settings) for name in known_settings()}


@functools.cache
def known_settings() -> Mapping[str, FieldInfo]:
    """Every setting by dotted name."""
    return dict(_fields(Settings, ""))


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def allowed_values(info: FieldInfo) -> str:
    """The values that a setting takes, in words: ``a whole number, at least 1``."""
    return ", ".join([" or ".join(_type_name(kind) for kind in _types(info)), *_limits(info)])


def show_value(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(show_value, value)) if isinstance(value, tuple) else str(value)


def source_of(data: str | Path) -> str:
    """The setting ``data.source`` of a folder's or a CSV file's path, or of a source as the setting has it. What is
    written like a path is one, there or not.
    """
    if Path(data).suffix.lower() == ".csv" and Path(data).is_file():
        return f"csv:{data}"
    is_path = isinstance(data, Path) or Path(data).is_dir() or (":" not in data and bool({"/", "\\"} & {*data}))
    return f"folder:{data}" if is_path else str(data)


def default_folder(settings: Settings) -> Path:
    """The folder of a run that is given none: ``runs/DATA-TRAP-DATE-TIME``."""
    name = re.split(r"[/\\]", settings.data.source.rstrip("/\\"))[-1]
    trap = "" if settings.data.trap == "none" else f"-{settings.data.trap}"
    words = re.sub(r"[^\w.+-]+", "-", name + trap)  # a name that needs no quotes in any shell
    return Path("runs") / f"{words}-{time.strftime('%Y%m%d-%H%M%S')}"


# ------------------------------------------------------------------------------------------------ reading


def _collect(config: Path | None, assignments: Iterable[str], flags: Mapping[str, Any]) -> dict[str, _Given]:
    """The last value given for each setting, names checked."""
    given: dict[str, _Given] = {}
    if config is not None:
        origin = f"file {config}"
        tables = read_toml(config, "--config: ", '[data], and below it trap = "wheels".')
        given |= {name: _Given(value, origin) for name, value in flat_tables(tables, origin)}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set '{text}' has no '='.", "Write it as in --set training.epochs=8.")
        _check_name(name.strip(), "--set")
        given[name.strip()] = _Given(_parse(value.strip(), known_settings()[name.strip()]), "--set")
    for name, value in flags.items():
        _check_name(name, "flag")
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


def flat_tables(table: Mapping[str, Any], origin: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of a TOML file by dotted name, lists as tuples. Raises SettingsError, with the origin, for one that is
    not there.
    """
    for key, value in table.items():
        name = prefix + key
        if not _is_group(name):
            _check_name(name, origin)
            yield name, tuple(value) if isinstance(value, list) else value
        elif isinstance(value, dict):
            yield from flat_tables(value, origin, f"{name}.")
        else:
            raise SettingsError(f"{origin}: '{name}' is a group of settings.", f"Write it as a table: [{name}].")


def _is_group(name: str) -> bool:
    return any(known.startswith(f"{name}.") for known in known_settings())


def _check_name(name: str, origin: str) -> None:
    known = known_settings()
    if name in known:
        return
    if _is_group(name):
        raise SettingsError(f"{origin}: '{name}' is a group of settings.", f"Name one of them: {name}.NAME.")
    # a name without its group is a common slip: 'trap' for 'data.trap'
    same_end = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    mend = f"Did you mean '{same_end[0]}'?" if same_end else nearest(name, known, "config show")
    raise SettingsError(f"{origin}: there is no setting '{name}'.", mend)


def _parse(text: str, info: FieldInfo) -> Any:
    """The value that a text means; pydantic converts it further, or refuses it."""
    kinds = _types(info)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    others = [kind for kind in kinds if get_origin(kind) is not tuple and kind is not type(None)]
    if len(others) < len(kinds) - (type(None) in kinds) and (not others or "," in text):
        text = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
        return tuple(_unquoted(item.strip()) for item in text.split(",") if item.strip())
    return _unquoted(text)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


# ------------------------------------------------------------------------------------------------ checking


def _validated(values: Mapping[str, Any], given: Mapping[str, _Given]) -> Settings:
    nested: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value in values.items():
        *groups, last = name.split(".")
        table = nested
        for group in groups:
            table = table.setdefault(group, {})
        table[last] = value
        if isinstance(value, bool) and bool not in _types(known_settings()[name]):
            wrong.append(name)  # pydantic would take true for the number 1
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
    if wrong:
        raise SettingsError("\n".join(_complaint(name, values, given) for name in dict.fromkeys(wrong)))
    return settings


def _complaint(name: str, values: Mapping[str, Any], given: Mapping[str, _Given]) -> str:
    info = known_settings()[name]
    origin = given[name].origin if name in given else "stored value"
    where = origin if origin == FLAGS.get(name) else f"{origin}: {name}"
    return (
        f"{where}: {show_value(values[name])!r} is not allowed; it takes {allowed_values(info)} ({info.description})."
    )


def _types(info: FieldInfo) -> tuple[Any, ...]:
    kind = info.annotation
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _limits(info: FieldInfo) -> list[str]:
    """The bounds of a number, in words."""
    signs = (("ge", "at least"), ("gt", "over"), ("le", "at most"), ("lt", "under"))
    return [
        f"{words} {getattr(limit, sign):g}" for sign, words in signs for limit in info.metadata if hasattr(limit, sign)
    ]


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        number, info = get_args(kind)
        return ", ".join([_type_name(number), *_limits(info)])
    if get_origin(kind) is tuple:
        return "a list of names, as in a,b" if Ellipsis in get_args(kind) else "two of these, as in 64,32"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}
    return names.get(kind, str(kind))


def command(settings: Settings) -> str:
    """The command that makes such a run."""
    words, usual = [PROGRAM, "learn"], flatten(Settings())
    for name, value in flatten(settings).items():
        if value == usual[name]:
            continue
        flag = FLAGS.get(name)
        if flag is None or value is None or isinstance(value, tuple):
            words += ["--set", f"{name}={show_value(value)}"]
        else:
            words += [flag] if value is True else [flag, show_value(value)]
    return shlex.join(words)
