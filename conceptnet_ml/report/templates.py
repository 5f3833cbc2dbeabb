"""The templates of pages: HTML with the style sheets of this wing, everything from outside escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

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
    environment.filters["percent"] = percent
    return environment
