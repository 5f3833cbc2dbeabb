"""How a setting's value is read from text, shown, and said in words which there are."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from conceptnet_ml.errors import SettingsError

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}


def allowed_values(info: FieldInfo) -> str:
    """The values that a setting takes, in words: ``a whole number, at least 1``."""
    return ", ".join([" or ".join(_type_name(kind) for kind in kinds_of(info)), *_limits(info)])


def show_value(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(show_value, value)) if isinstance(value, tuple) else str(value)


def parse_value(text: str, info: FieldInfo) -> Any:
    """The value that a text means; pydantic converts it further, or refuses it."""
    kinds = kinds_of(info)
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    others = [kind for kind in kinds if get_origin(kind) is not tuple and kind is not type(None)]
    if len(others) < len(kinds) - (type(None) in kinds) and (not others or "," in text):
        text = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
        return tuple(_unquoted(item.strip()) for item in text.split(",") if item.strip())
    return _unquoted(text)


def trap_arguments(text: str) -> dict[str, str]:
    """``"none"`` → {}, ``"A+B:c"`` → {"A": "", "B": "c"}; within an argument a plus is written ``++``.

    Raises:
        SettingsError: An empty name, or one name twice.
    """
    if text in ("", "none"):
        return {}
    parts = [part.replace("++", "+").strip() for part in re.split(r"(?<!\+)\+(?!\+)", text)]
    named = [(name.strip(), argument.strip()) for name, _, argument in (part.partition(":") for part in parts)]
    names = [name for name, _ in named]
    if "" in names or len(set(names)) < len(names):
        raise SettingsError(
            f"data.trap '{text}': each part needs a name of its own.", "Write NAME or A+B, as in wheels+tint."
        )
    return dict(named)


def is_mistaken(value: Any, info: FieldInfo) -> bool:
    """Whether pydantic would take true for the number 1."""
    return isinstance(value, bool) and bool not in kinds_of(info)


def kinds_of(info: FieldInfo) -> tuple[Any, ...]:
    """The types that a setting takes."""
    kind = info.annotation
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


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
        return "one of " + ", ".join(map(str, get_args(kind)))
    return PLAIN.get(kind, str(kind))
