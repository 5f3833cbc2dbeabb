"""The plan of the house, over the syntax tree: who may import whom, how wide functions are, that names are unique."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

import conceptnet_ml

ROOT = Path(conceptnet_ml.__file__).parent
PLUGINS = ROOT.parent / "plugins"

FLOORS = (
    ("errors", "version"),
    ("storage",),
    ("records", "runtime", "drawing", "graph", "config"),
    ("hookspecs",),
    ("plugins", "scaffold"),
    ("editing",),
    ("data",),
    ("network",),
    ("swap", "surgery", "dreams"),
    ("concepts",),
    ("adaptation", "steps"),
    ("learner",),
    ("evaluation",),
    ("results",),
    ("galleries", "report"),
    ("contract",),
    ("conclude", "checks", "inspect"),
    ("api",),
    ("__init__",),
    ("bench", "testing"),
    ("cli",),
    ("__main__",),
)
"""From the ground up. A wing or module imports from the floors below its own, and not from its neighbours."""

TOP_MODULES = 12
PARAMETERS = 7
LEARNER_LINES = 180
TYPED_BY_PEOPLE = {"conceptnet_ml.api.learn"}
"""May take more parameters, as the functions of commands: keywords that people type."""

PLUGIN_IMPORTS = (
    "conceptnet_ml",
    "conceptnet_ml.errors",
    "conceptnet_ml.hookspecs",
    "conceptnet_ml.records",
    "conceptnet_ml.config.settings",
    "conceptnet_ml.data.class_subset",
    "conceptnet_ml.data.files",
    "conceptnet_ml.data.ground_truth",
    "conceptnet_ml.data.images",
    "conceptnet_ml.data.sampling",
    "conceptnet_ml.data.traps",
    "conceptnet_ml.graph.schema",
    "conceptnet_ml.runtime.seeding",
    "conceptnet_ml.storage.files",
)
"""What the built-in plugins may import: the public names of the package, and modules with tools for plugins."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def modules() -> dict[str, Path]:
    """Every module of the core by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("conceptnet_ml", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Modules of the core that a file imports, in functions and for types only, too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "conceptnet_ml")
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            base = node.module or ""
            if base.split(".")[0] == "conceptnet_ml":
                yield from (
                    f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules() else base for alias in node.names
                )


@cache
def imports() -> nx.DiGraph:
    """An arrow from every module to those it imports."""
    graph = nx.DiGraph()
    graph.add_nodes_from(modules())
    for name, path in modules().items():
        graph.add_edges_from((name, other) for other in imported(path) if other != name and other in modules())
    return graph


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def wings() -> list[str]:
    return sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Functions, classes and names that are assigned at the top of a module."""
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


# ------------------------------------------------------------------------------------------------ floors


def test_every_module_has_a_floor() -> None:
    assert sorted({wing(module) for module in modules()}) == sorted(name for floor in FLOORS for name in floor)


def test_no_import_in_the_core_is_relative() -> None:
    for path in modules().values():
        assert not [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom) and node.level], path


def test_no_import_leads_up_or_sideways() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, other in imports().edges
        if wing(module) != wing(other) and floor[wing(other)] >= floor[wing(module)]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_modules_import_each_other_in_a_circle() -> None:
    circles = [sorted(part) for part in nx.strongly_connected_components(imports()) if len(part) > 1]
    assert not circles


def test_few_modules_lie_at_the_top() -> None:
    top = sorted(path.name for path in ROOT.glob("*.py"))
    assert len(top) <= TOP_MODULES, top


def test_the_learner_reads_as_one_page() -> None:
    assert len((ROOT / "learner.py").read_text(encoding="utf-8").splitlines()) <= LEARNER_LINES


# ------------------------------------------------------------------------------------------------ wings


@pytest.mark.parametrize("name", wings())
def test_a_wing_says_what_is_in_it(name: str) -> None:
    """The docstring lists every module, ``    module   Name, name: what it is for``; every name it lists is there."""
    docstring = ast.get_docstring(tree(ROOT / name / "__init__.py")) or ""
    entries = [(one[2], one[3]) for one in re.finditer(r"^( *)(\w+) {2,}(.+(?:\n\1 +.+)*)$", docstring, re.MULTILINE)]
    inside = sorted(path.stem for path in (ROOT / name).glob("*.py") if path.stem != "__init__")
    assert sorted(module for module, _ in entries) == inside
    for module, text in entries:
        there = dict(definitions(ROOT / name / f"{module}.py"))
        names, colon, _ = " ".join(text.split()).partition(": ")
        for listed in set(names.split(", ")) - {"..."} if colon else ():
            top, _, inner = listed.partition(".")
            assert top in there, f"{name}.{module} has no {listed}"
            node = there.get(top)
            members = {getattr(one, "name", "") for one in node.body} if isinstance(node, ast.ClassDef) else set()
            assert not inner or inner in members, f"{name}.{module} has no {listed}"


# ------------------------------------------------------------------------------------------------ names and functions


def is_alias(value: ast.AST) -> bool:
    return isinstance(value, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute))


def test_no_two_public_things_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        if wing(module) in ("cli", "__init__", "__main__"):
            continue
        for name, node in definitions(path):
            thing = isinstance(node, (ast.FunctionDef, ast.ClassDef)) or (name[0].isupper() and not name.isupper())
            aliased = not isinstance(node, ast.expr) or is_alias(node)
            if thing and aliased and not name.startswith("_"):
                homes.setdefault(name, []).append(module)
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert not twice


def functions(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Every function below a node with its dotted name, and whether it is a method."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{inside}.{child.name}", child, isinstance(node, ast.ClassDef)
            yield from functions(child, f"{inside}.{child.name}")
        else:
            yield from functions(child, f"{inside}.{child.name}" if isinstance(child, ast.ClassDef) else inside)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> int:
    given = function.args
    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    count += (given.vararg is not None) + (given.kwarg is not None)
    static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in function.decorator_list)
    return count - (method and not static)


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether its parameters are options of the command line."""
    return any(word in ast.unparse(function.args) for word in ("typer.", "options."))


def test_no_function_takes_more_than_seven_parameters() -> None:
    files = {**modules(), **{f"plugins.{path.relative_to(PLUGINS)}": path for path in PLUGINS.rglob("*.py")}}
    wide = [
        f"{name}: {parameters(function, method)}"
        for module, path in files.items()
        for name, function, method in functions(tree(path), module)
        if parameters(function, method) > PARAMETERS and not is_command(function) and name not in TYPED_BY_PEOPLE
    ]
    assert not wide, "\n".join(wide)


# ------------------------------------------------------------------------------------------------ owners

OWNERS = {"hashlib": "storage.hashing", "filelock": "storage.lock", "networkx": "graph.store"}
"""Libraries that one module uses for all others."""

WRITES = {"write_text", "write_bytes"}
WRITERS = ("conceptnet_ml.storage.", "conceptnet_ml.runtime.devices")
"""Only storage writes files; devices writes to /proc, to read the peak of memory anew."""


def test_one_module_hashes_and_one_holds_the_graph() -> None:
    for module, path in modules().items():
        nodes = [*ast.walk(tree(path))]
        named = {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        named |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for library, owner in OWNERS.items():
            assert library not in named or module == f"conceptnet_ml.{owner}", f"{module} imports {library}"


def test_only_storage_writes_files() -> None:
    for module, path in modules().items():
        calls = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
        written = {call.attr for call in calls if isinstance(call, ast.Attribute)} & WRITES
        assert not written or module.startswith(WRITERS), f"{module}: {written}"


# ------------------------------------------------------------------------------------------------ plugins


def test_the_core_imports_no_plugin() -> None:
    for path in modules().values():
        named = [node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
        named += [alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in named if name and name.split(".")[0] == "conceptnet_plugins"], path


def test_plugins_import_public_names_only() -> None:
    wrong = Counter(
        f"{path.relative_to(PLUGINS)}: {name}"
        for path in sorted(PLUGINS.rglob("*.py"))
        for name in imported(path)
        if name not in PLUGIN_IMPORTS
    )
    assert not wrong, "\n".join(wrong)
