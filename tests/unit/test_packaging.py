"""What pyproject.toml says is installed is what lies in the folders; the version is said once more and is the same."""

from __future__ import annotations

import glob
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conceptnet_ml import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
LISTED: list[str] = SETUPTOOLS["packages"]
FOLDERS = {name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()}


def folder_of(package: str) -> Path:
    top, *rest = package.split(".")
    return FOLDERS[top].joinpath(*rest)


def files() -> dict[Path, str]:
    """Every file in the packages' folders and the dotted name of the folder it lies in; not what Python or an editor
    leaves behind."""
    return {
        path: ".".join((top, *path.parent.relative_to(folder).parts))
        for top, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__" and not path.name.startswith(".")
    }


def test_every_package_is_listed_and_every_listed_one_is_there() -> None:
    assert sorted(LISTED) == sorted(folder for path, folder in files().items() if path.name == "__init__.py")


def test_every_module_lies_in_a_package() -> None:
    """A folder without ``__init__.py`` can be imported in the checkout and is missing in the wheel."""
    assert {folder for path, folder in files().items() if path.suffix == ".py"} <= set(LISTED)


def test_every_other_file_is_installed_and_no_pattern_is_left_over() -> None:
    matched: set[Path] = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            found = {
                folder_of(name) / file
                for name in (LISTED if package == "*" else [package])
                for file in glob.glob(pattern, root_dir=folder_of(name), recursive=True)
            }
            assert found, f"package-data: {package}: nothing matches '{pattern}'"
            matched |= found
    others = {path for path in files() if path.suffix != ".py"}
    assert not others - matched, "missing in package-data"


@pytest.mark.parametrize(
    ("name", "pattern"), [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## \[?(\d[^\s\]]*)")]
)
def test_the_version_is_the_same_everywhere(name: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{name} names no version"
    assert found[1].strip("\"'") == __version__


def test_run_as_a_module_it_is_the_command_line_and_as_quick() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "conceptnet_ml", "--version"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == f"conceptnet-ml {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "networkx", "torchvision", "numpy"}
