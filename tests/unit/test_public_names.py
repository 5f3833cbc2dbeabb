"""The public names of the package: the stub that type checkers read and ``__all__`` agree, and stay lazy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import conceptnet_ml


def test_type_checkers_take_every_name_for_public() -> None:
    docstring, *imports = ast.parse(Path(conceptnet_ml.__file__).with_suffix(".pyi").read_text()).body
    assert isinstance(docstring, ast.Expr)
    for node in imports:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "without 'as' a type checker takes it for private"


def test_every_public_name_is_defined_where_the_stub_says() -> None:
    assert conceptnet_ml.__all__ == dir(conceptnet_ml) == sorted(conceptnet_ml._HOMES)
    for name, home in conceptnet_ml._HOMES.items():
        module = importlib.import_module(home)
        thing = getattr(conceptnet_ml, name)
        assert thing is getattr(module, name)
        assert getattr(thing, "__module__", module.__name__) in (module.__name__, "pluggy._decorators", "pluggy._hooks")


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing a module sets its name on the package, and would hide the public thing."""
    folder = Path(conceptnet_ml.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert not modules & set(conceptnet_ml.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'learned'"):
        _ = conceptnet_ml.learned


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, conceptnet_ml; print(sorted({'torch', 'networkx', 'pydantic', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
