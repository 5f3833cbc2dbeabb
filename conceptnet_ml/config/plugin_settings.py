"""Settings that plugins declare for themselves, ``plugin.NAME.x``: a record brings a pydantic model of them.

Which there are depends on the plugins that are loaded; whoever reads settings is handed their models, by the records'
names. The values are kept in ``Settings.plugin``, so a run folder and a bench have them like all others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import PLAIN, allowed_values, is_mistaken, kinds_of, parse_value, show_value
from conceptnet_ml.errors import SettingsError, nearest

PREFIX = "plugin."

PluginModels = Mapping[str, type[BaseModel]]
"""Of each record that declares settings the model, by the record's name."""

_NAME = re.compile("[a-z][a-z0-9_]*")


def plugin_fields(models: PluginModels) -> dict[str, FieldInfo]:
    """Every declared setting by dotted name."""
    return {
        f"{PREFIX}{name}.{field}": info
        for name, model in sorted(models.items())
        for field, info in model.model_fields.items()
    }


def split_name(setting: str) -> tuple[str, str]:
    """``plugin.NAME.x`` as (NAME, x); a record's name may hold dots."""
    name, _, field = setting.removeprefix(PREFIX).rpartition(".")
    return name, field


def flat_plugin(settings: Settings) -> dict[str, Any]:
    """The values of plugins' own settings by dotted name."""
    return {f"{PREFIX}{name}.{field}": value for name, own in settings.plugin.items() for field, value in own.items()}


def unknown(setting: str, models: PluginModels) -> tuple[str, str]:
    """Why no loaded plugin has this setting, and the mend."""
    name, field = split_name(setting)
    if not name:
        return f"'{setting}' names no plugin.", f"Write {PREFIX}NAME.{field or 'SETTING'}=VALUE."
    if name in models:
        return f"{name} has no setting '{field}'.", nearest(field, models[name].model_fields, f"plugins show {name}")
    mend = f"{nearest(name, models, cutoff=0.75)} " if models else ""
    mend += "Load a plugin by --plugins-dir PATH, or install its package; 'plugins show NAME' has its settings."
    return f"no plugin '{name}' with settings of its own is loaded.", mend


def typed_plugin(
    values: Mapping[str, Mapping[str, Any]], models: PluginModels
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The values as the models have them, those that were given alone, and the dotted names of those that are not
    allowed. Values of plugins without a model here stay as they are; the names of the others are known.
    """
    typed: dict[str, dict[str, Any]] = {name: {**own} for name, own in values.items()}
    wrong: list[str] = []
    for name, own in values.items():
        if name not in models:
            continue
        fields = models[name].model_fields
        read = {field: _read(value, fields[field]) for field, value in own.items()}
        found = [field for field, value in read.items() if is_mistaken(value, fields[field])]
        try:
            checked = models[name].model_validate(read)
            typed[name] = {field: getattr(checked, field) for field in own}
        except ValidationError as error:
            found += [str(one["loc"][0]) if one["loc"] else next(iter(own)) for one in error.errors()]
        wrong += [f"{PREFIX}{name}.{field}" for field in dict.fromkeys(found)]
    return typed, wrong


def checked_plugin(values: Mapping[str, Mapping[str, Any]], models: PluginModels) -> dict[str, dict[str, Any]]:
    """The values as the models have them, of plugins that have one. Raises SettingsError for a setting that a plugin
    does not have, and for a value that is not allowed.
    """
    known = {name: own for name, own in values.items() if name in models}
    fields = plugin_fields(models)
    for setting in (f"{PREFIX}{name}.{field}" for name, own in known.items() for field in own):
        if setting not in fields:
            message, mend = unknown(setting, models)
            raise SettingsError(f"{setting}: {message}", mend)
    typed, wrong = typed_plugin(known, models)
    if wrong:
        given = {one: known[split_name(one)[0]][split_name(one)[1]] for one in wrong}
        raise SettingsError("\n".join(refusal(one, value, fields[one]) for one, value in given.items()))
    return typed


def with_plugin_defaults(settings: Settings, models: PluginModels, used: Collection[str]) -> Settings:
    """Settings that hold every setting of the plugins in use, what was not given at the plugin's default. Raises
    SettingsError as :func:`checked_plugin`, and for a setting of a plugin that is not loaded or not in use.

    Args:
        models: Of the loaded plugins.
        used: Names of the records that the settings choose.
    """
    for setting in flat_plugin(settings):
        name, _ = split_name(setting)
        if name not in models:
            message, mend = unknown(setting, models)
            raise SettingsError(f"{setting}: {message}", mend)
        if name not in used:
            raise SettingsError(
                f"{setting}: nothing that is chosen here is called '{name}'.",
                f"'plugins show {name}' says how it is chosen; or leave the setting out.",
            )
    typed = checked_plugin(settings.plugin, models)
    usual = {name: dict(models[name]()) for name in sorted(models) if name in used}
    return settings.model_copy(update={"plugin": {name: own | typed.get(name, {}) for name, own in usual.items()}})


def refusal(where: str, value: Any, info: FieldInfo) -> str:
    """That a value is not allowed, and what is; ``where`` names the setting and its source."""
    return f"{where}: {show_value(value)!r} is not allowed; it takes {allowed_values(info)} ({info.description})."


def wrong_model(model: object) -> str:
    """Why this cannot declare a plugin's settings; empty where it can."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return f"settings must be a class of pydantic.BaseModel, not {model!r}"
    for name, info in model.model_fields.items():
        if not _NAME.fullmatch(name):
            return f"settings: '{name}' is no name: small letters, digits and '_'"
        if info.is_required():
            return f"settings: '{name}' has no default"
        if not info.description:
            return f"settings: '{name}' has no description, as in Field(0.5, description=\"…\")"
        if not all(_is_plain(kind) for kind in kinds_of(info)):
            return f"settings: '{name}' must be a number, text, true or false, a Literal of texts, or a tuple of texts"
    return "" if model.model_fields else "settings: the class has no field"


def _is_plain(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(one, str) for one in get_args(kind))
    return kind in PLAIN or (get_origin(kind) is tuple and get_args(kind) == (str, ...))


def _read(value: Any, info: FieldInfo) -> Any:
    """A text means what it does behind ``--set``; where the setting is a text, itself."""
    return parse_value(value, info) if isinstance(value, str) and kinds_of(info) != (str,) else value
