"""The templates of pages: HTML with the style sheets of this wing, everything from outside escaped."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from conceptnet_ml.errors import visible
from conceptnet_ml.results.verdict import percent


def templates(package: str | None = None) -> Environment:
    """The templates and styles of this wing, and those of another package; they escape all that they are given."""
    folders = [files(name) for name in (__package__, package) if name]
    texts = {
        file.name: file.read_text("utf-8")
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith((".html", ".css"))
    }
    environment = Environment(
        loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.finalize = _shown
    environment.filters["percent"] = percent
    return environment


def _shown(value: Any) -> Any:
    """What steers the direction of writing is written out: a name must not turn the words beside it round."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
