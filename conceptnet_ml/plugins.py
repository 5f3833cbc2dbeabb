"""Finds the plugins, checks their records and returns them by name. One bad plugin never stops the program.

A plugin is a module whose ``@hookimpl`` functions (see ``hookspecs``) return lists of records. Modules come from the
entry-point group ``conceptnet_ml`` and from files that the user names. A module that cannot be imported or that breaks
a rule is skipped with a warning and kept in ``Plugins.broken``; it is an error only where a setting names its record.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import pluggy

from conceptnet_ml import hookspecs
from conceptnet_ml.config.plugin_settings import PluginModels, checked_plugin, wrong_model
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.errors import PluginError, SettingsError, meant_path, nearest, visible
from conceptnet_ml.records import API, FILE_MODULE, KINDS, Record
from conceptnet_ml.storage.hashing import sha256

BUILT_IN = "built-in"
NEAR = 0.75
"""How alike the name of a plugin must be to be suggested: one that only shares letters helps nobody."""
_PACKAGE = "conceptnet_plugins"
_KIND_OF_HOOK = {f"conceptnet_{kind}s": kind for kind in KINDS}
_OF_TORCH: dict[str, tuple[Callable[[Any], object], Callable[[Any, Any], object], object]] = {
    "use_deterministic_algorithms": (
        lambda torch: torch.get_deterministic_debug_mode(),
        lambda torch, mode: torch.set_deterministic_debug_mode(mode),
        0,
    ),
    "set_default_device": (
        lambda torch: str(torch.get_default_device()),
        lambda torch, name: torch.set_default_device(None if name == "cpu" else name),  # "cpu" would cost every call
        "cpu",
    ),
    "autograd.set_detect_anomaly": (
        lambda torch: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda torch, both: torch.set_anomaly_enabled(*both),
        (False, True),
    ),
    "backends.cudnn.deterministic": (
        lambda torch: torch.backends.cudnn.deterministic,
        lambda torch, value: setattr(torch.backends.cudnn, "deterministic", value),
        False,
    ),
    "backends.cudnn.benchmark": (
        lambda torch: torch.backends.cudnn.benchmark,
        lambda torch, value: setattr(torch.backends.cudnn, "benchmark", value),
        False,
    ),
}
"""What torch does for the whole program: how it is asked, how it is told, and what holds when torch is loaded."""
_LOG = logging.getLogger(hookspecs.PROJECT)
_Key = tuple[str, str]
_Source = tuple[str, Callable[[], object]]


@dataclass
class Plugins:
    """The loaded records by kind and name, and every source that cannot be used, with its error."""

    broken: list[tuple[str, str]] = field(default_factory=list)
    _found: dict[_Key, list[tuple[Record, str]]] = field(default_factory=dict)
    _refused: dict[_Key, tuple[str, str]] = field(default_factory=dict)
    _lacking: list[str] = field(default_factory=list)

    def get(self, kind: str, name: str) -> Record:
        """The record of this kind and name.

        Raises:
            SettingsError: No such name; says the nearest one, and which plugins could not be loaded.
            PluginError: The name belongs to a broken plugin, or to two plugins at once.
        """
        found = self._found.get((kind, name), [])
        if len(found) == 1:
            return found[0][0]
        if found:
            raise PluginError(_clash(kind, name, found), "Rename one of them, or leave one out.")
        if (kind, name) in self._refused:
            source, error = self._refused[kind, name]
            raise PluginError(f"{kind} '{name}' comes from a plugin that cannot be used: {source}: {error}")
        mend = nearest(name, (record.name for record in self.all(kind)), f"plugins list --kind {kind}", NEAR)
        if not self.all(kind):
            mend = "None is installed: after an update, run 'pip install -e .' again in the project's folder."
        if kind == "dataset" and Path(name).is_dir():
            mend = f"It is a folder: write folder:{name}."
        elif kind == "dataset" and Path(name).suffix.lower() == ".csv" and Path(name).is_file():
            mend = f"It is a CSV file: write csv:{name}."
        elif kind == "dataset" and any(mark in name for mark in "/\\"):
            mend = f"{meant_path(name)}A folder of pictures is written folder:PATH, and there is no folder {name}."
        elif kind == "dataset" and self.all(kind):
            mend = f"{meant_path(name)}{mend} A folder of pictures would do, too, but there is none named {name} here."
        if kind == "backbone" and mend.startswith("Known:"):
            mend = f"Did you mean torchvision:{name}, or timm:{name}? {mend} A network of your own is module:callable."
        elif kind == "backbone":
            mend += " Others: torchvision:MODEL, timm:MODEL, or module:callable."
        for file in self._lacking:
            mend += f"\n  The run was made with the plugin file {visible(file)}: give --plugins-dir PATH."
        for source, error in self.broken:
            mend += f"\n  It may be in a plugin that could not be loaded: {source}: {error}"
        raise SettingsError(f"There is no {kind} named '{name}'.", mend)

    def chosen(self, settings: Settings) -> list[tuple[str, str]]:
        """Kind and name of every record that the settings choose; of data sets and networks what may be one."""
        chosen = settings.plugins
        names = {
            "dataset": (settings.data.source.partition(":")[0],),
            "backbone": (settings.network.backbone.partition(":")[0],),
            "trap": tuple(trap_arguments(settings.data.trap)),
            "representation": chosen.representations,
            "discoverer": (chosen.discoverer,),
            "stop_rule": (chosen.stop_rule,),
            "generalizer": (chosen.generalizer,),
            "specializer": (chosen.specializer,),
            "dreamer": () if chosen.dreamer == "none" else (chosen.dreamer,),
            "baseline": tuple(name.partition(":")[0] for name in chosen.controls),
            "logger": chosen.loggers,
        }
        return [(kind, name) for kind, wanted in names.items() for name in wanted]

    def all(self, kind: str) -> list[Record]:
        """Every usable record of this kind, by name, without names that two plugins have."""
        if kind not in KINDS:
            raise ValueError(f"no kind '{kind}'. {nearest(kind, KINDS)}")
        return [found[0][0] for key, found in sorted(self._found.items()) if key[0] == kind and len(found) == 1]

    @property
    def models(self) -> PluginModels:
        """Of each usable record that declares settings of its own the model, by the record's name."""
        return {
            record.name: record.settings
            for kind in KINDS
            for record in self.all(kind)
            if record.settings is not None and not self._differ(record.name)
        }

    def with_settings(self, values: Mapping[str, Mapping[str, Any]]) -> Plugins:
        """The same plugins, with these values of their own settings, as ``Settings.plugin`` has them. Records that are
        not named keep theirs, names that no plugin has are left out. Raises SettingsError for a setting that a plugin
        does not have, or a value that is not allowed.
        """
        checked = checked_plugin(values, self.models)

        def given(record: Record) -> Record:
            if record.settings is None or record.name not in checked:
                return record
            return replace(record, own=record.settings(**checked[record.name]))

        found = {key: [(given(one), source) for one, source in pairs] for key, pairs in self._found.items()}
        return replace(self, _found=found)

    def _differ(self, name: str) -> list[str]:
        """Where the records of this name come from, if they declare different settings: none can be given then."""
        same = [one for (_, other), pairs in self._found.items() if other == name for one in pairs]
        declared = [(record.settings, source) for record, source in same if record.settings is not None]
        return [source for _, source in declared] if len({model for model, _ in declared}) > 1 else []

    def origin(self, record: Record) -> str:
        """Where a record came from: ``built-in``, the name and version of a package, or a file."""
        for found, source in self._found.get(_key(record), []):
            if found is record:
                return BUILT_IN if source.startswith(BUILT_IN) else source
        raise ValueError(f"{record.kind} '{record.name}' was not loaded by these plugins")

    def packages(self) -> list[str]:
        """Where all records come from that are not built in: packages with their versions, files."""
        found = {self.origin(record) for records in self._found.values() for record, _ in records}
        return sorted(found - {BUILT_IN})

    def expect(self, files: Iterable[str]) -> None:
        """Say in later errors which of the plugin files that a run was made with are not loaded."""
        here = {PurePath(source).name for source in self.packages()}
        self._lacking = [file for file in files if PurePath(file).name not in here]

    def _add(self, source: str, load: Callable[[], object]) -> str | None:
        """Load one plugin; returns its error, None where there is none."""
        offered: list[Record] = []
        try:
            for record in _records(load()):
                offered.append(record)
            keys = [_key(record) for record in offered]
            for kind, name in keys:
                if keys.count((kind, name)) > 1:
                    raise PluginError(f"it has two records for {kind} '{name}'")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # foreign code may raise anything; the program goes on
            message = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            message = " ".join(message.split())
            self.broken.append((source, message))
            self._refused.update({_key(record): (source, message) for record in offered})
            return message
        for record in offered:
            self._found.setdefault(_key(record), []).append((record, source))
        return None


def load_plugins(
    plugins_dir: Path | None = None,
    use_entry_points: bool = True,
    warn: Callable[[str], None] = _LOG.warning,
) -> Plugins:
    """Load the built-ins, the installed plugins, and those in a folder or file. Raises SettingsError where
    ``plugins_dir`` is not there or has no plugin in it.

    Args:
        plugins_dir: A folder, of which every ``.py`` file not beginning with ``_`` is loaded in order of name, or one
            file. ``sys.path`` is left alone.
        use_entry_points: False leaves other packages' plugins out; the built-ins always come.
        warn: Called with a message for every plugin that cannot be used.
    """
    plugins = Plugins()
    sources = [*_entry_points(use_entry_points), *_files(plugins_dir)]
    for source, load in sources:
        with _undisturbed(lambda what, source=source: warn(f"plugin {source} changes {what}, which is set back")):  # type: ignore[misc]
            error = plugins._add(source, load)
        if error:
            warn(f"plugin skipped: {source}: {error}")
    for (kind, name), found in sorted(plugins._found.items()):
        if len(found) > 1:
            plugins.broken.append((" and ".join(source for _, source in found), _clash(kind, name, found)))
            warn(f"plugin skipped: {_clash(kind, name, found)}")
    for name in sorted({name for _, name in plugins._found}):
        if sources_of := plugins._differ(name):
            error = f"two records named '{name}' declare different settings, so that plugin.{name}.x means neither"
            plugins.broken.append((" and ".join(dict.fromkeys(sources_of)), error))
            warn(f"{error}: they keep their defaults")
    return plugins


@contextlib.contextmanager
def _undisturbed(say: Callable[[str], None]) -> Iterator[None]:
    """Foreign code may not change what holds for the whole program, and what it prints is no part of our output."""
    here, before = _working_directory(), _settings_of_torch()
    with contextlib.redirect_stdout(sys.stderr):
        yield
    if here and _working_directory() != here:
        os.chdir(here)
        say("the working directory")
    if (torch := sys.modules.get("torch")) is not None:
        if not torch.is_grad_enabled():
            torch.set_grad_enabled(True)
            say("torch.set_grad_enabled")
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
            say("torch.set_default_dtype")
    for name, value in _settings_of_torch().items():
        if value != before[name]:
            _OF_TORCH[name][1](torch, before[name])
            say(f"torch.{name}")


def _settings_of_torch() -> dict[str, object]:
    """What holds for the whole program, as the caller may have chosen it; as at the start where torch is not loaded."""
    torch = sys.modules.get("torch")
    return {name: at_start if torch is None else get(torch) for name, (get, _, at_start) in _OF_TORCH.items()}


def _working_directory() -> str:
    """Empty where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _entry_points(others: bool) -> Iterator[_Source]:
    found = sorted(entry_points(group=hookspecs.PROJECT), key=lambda point: (point.value, point.name))
    built_in = [point for point in found if _is_built_in(point)]
    if not built_in:
        raise PluginError("The built-in plugins are not installed.", "Run 'pip install -e .' in the project's folder.")
    for point in built_in:
        yield f"{BUILT_IN} {point.value}", point.load
    for point in found if others else []:
        if point not in built_in:
            package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
            yield f"{package} ({point.value})", point.load


def _is_built_in(point: EntryPoint) -> bool:
    ours = point.dist is not None and point.dist.name.replace("-", "_") == hookspecs.PROJECT
    return ours and point.value.split(".")[0] == _PACKAGE


def _files(path: Path | None) -> Iterator[_Source]:
    if path is None:
        return
    if not path.exists():
        raise SettingsError(f"--plugins-dir: '{path}' does not exist.", "Give a folder of .py files, or one .py file.")
    # a pipe would be waited for without end
    files = [path] if path.is_file() else sorted(file for file in path.glob("[!_]*.py") if file.is_file())
    if not files:
        raise SettingsError(f"--plugins-dir: there is no plugin in '{path}'.", "Give a folder of .py files.")
    for file in files:
        yield str(file), partial(_import_file, file)


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name that no other module has, so that two files of the same name can be loaded."""
    name = f"{FILE_MODULE}{path.stem}_{sha256(str(path.resolve()), 8)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError("not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _records(plugin: object) -> Iterator[Record]:
    """Check one plugin's hooks and yield its records. Each has a manager of its own, so that an error is that of this
    plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.register(plugin)
    callers = manager.get_hookcallers(plugin) or []
    if not callers:
        raise PluginError("it registers nothing; is @hookimpl missing above its functions?")
    for caller in callers:
        if caller.name not in _KIND_OF_HOOK:
            raise PluginError(f"there is no hook '{caller.name}'. {nearest(caller.name, _KIND_OF_HOOK)}")
    for caller in callers:
        for hook in caller.get_hookimpls():
            if names := ", ".join((*hook.argnames, *hook.kwargnames)):
                raise PluginError(f"'{caller.name}' must take no arguments, none with a default either, not {names}")
            if hook.wrapper or hook.hookwrapper:
                raise PluginError(f"'{caller.name}' must return its records, not wrap another plugin's")
            yield from _checked(caller.name, hook.function())


def _checked(hook: str, result: object) -> Iterator[Record]:
    wanted = KINDS[_KIND_OF_HOOK[hook]]
    if not isinstance(result, list):
        raise PluginError(f"'{hook}' must return a list of {wanted.__name__}, not {type(result).__name__}")
    for record in result:
        if not isinstance(record, wanted):
            raise PluginError(f"'{hook}' must return {wanted.__name__} records, not {type(record).__name__}")
        yield record
        if not isinstance(record.name, str) or not record.name or set(record.name) & set(":+, \n\t"):
            raise PluginError(f"{record.kind}: {record.name!r} is no name: letters, digits, '-', '_' and '.' only")
        what = f"{record.kind} '{record.name}'"
        if str(record.api).split(".")[0] != API:
            raise PluginError(f"{what} is written for plugin interface {record.api}, this program offers {API}")
        if record.settings is not None:
            if record.kind == "command":
                raise PluginError(f"{what}: a command takes options, and no settings")
            if wrong := wrong_model(record.settings):
                raise PluginError(f"{what}: {wrong}")
        for name in record.functions():
            value = getattr(record, name)
            if not callable(value) and not (isinstance(value, str) and ":" in value):
                raise PluginError(f"{what}: {name} must be a function or 'module:function', not {value!r}")


def _key(record: Record) -> _Key:
    return record.kind, str(record.name)


def _clash(kind: str, name: str, found: list[tuple[Record, str]]) -> str:
    return f"{kind} '{name}' is registered by {' and by '.join(source for _, source in found)}"
