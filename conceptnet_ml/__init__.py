"""An image classifier that keeps generalizing: finds the feature a class rests on, generalizes it, specializes it.

Everything public is here and imported when first used, so that ``import conceptnet_ml`` is quick::

    run = conceptnet_ml.learn("folder:photos", depth=2)
    run.evaluate()
    run.model  # an ordinary nn.Module

``__init__.pyi`` lists the public names, for type checkers and for the imports here alike.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

_HOMES = {  # the module of each public name
    alias.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'conceptnet_ml' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
