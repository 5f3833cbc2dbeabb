"""What is in the archives runs without the checkout: both are built, and the wheel's program is used in an environment
that holds the wheel and what it declares, nothing else. ``pytest -m wheel``; needs a package index to build with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.wheel

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, sys
packages, optional = map(json.loads, sys.argv[1:])
for top in packages:
    package = importlib.import_module(top)
    for name in [top, *(module.name for module in pkgutil.walk_packages(package.__path__, top + "."))]:
        try:
            importlib.import_module(name)
        except Exception as error:
            cause = error
            while cause.__cause__:
                cause = cause.__cause__
            if not isinstance(cause, ModuleNotFoundError) or cause.name.partition(".")[0] not in optional:
                raise
        print(importlib.util.find_spec(name).origin)
"""
TINY = """
[data]
train_limit = 60
image_size = 16
[training]
least_steps = 0
epochs = 1
batch = 16
[round]
limit = 1
epochs = 1
[probe]
steps = 2
[concepts]
bootstrap = 10
[plugins]
controls = []
dreamer = "none"
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git knows of or would add: nothing that an earlier build left behind can get into the archives."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: archives are built from one")
    copy = tmp_path_factory.mktemp("checkout")
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not what was deleted and is still in git's index
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def archives(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    sources = files_below(checkout)  # the build writes into the folder
    _run(sys.executable, "-m", "build", "--outdir", out, checkout, cwd=out)
    for name in files_below(checkout) - sources:
        (checkout / name).unlink()
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and links to what it requires: installing torch once more would take 5 GB.

    Only the distributions that the wheel's requirements name, and theirs in turn, are linked, out of the environment of
    the tests. So neither the checkout, which may be installed there as editable, nor tools of development are seen.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    _run(sys.executable, "-m", "venv", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", archives[1])
    site = site_of(folder)
    for needed in required(declared(folder)):
        for top in tops(needed):
            if not (site / top).exists():
                (site / top).symlink_to(str(needed.locate_file(top)))
    return folder


def site_of(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def declared(environment: Path) -> list[str]:
    """The requirements of the installed wheel, those of its extras among them."""
    (installed,) = distributions(name="conceptnet_ml", path=[str(site_of(environment))])
    return installed.requires or []


def required(lines: Iterable[str]) -> list[Distribution]:
    """The installed distributions that these requirements name, and those that they require in turn."""
    found: dict[tuple[str, str], Distribution] = {}
    left = [(line, "") for line in lines]
    while left:
        line, extra = left.pop()
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            for more in {"", *wanted.extras} - {more for name, more in found if name == wanted.name}:
                found[wanted.name, more] = distribution(wanted.name)
                left += [(line, more) for line in found[wanted.name, more].requires or []]
    return list(found.values())


def tops(package: Distribution) -> set[str]:
    """The files and folders of a distribution that lie in site-packages itself."""
    return {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}


def optional_modules(lines: Iterable[str]) -> list[str]:
    """What can be imported of the extras for users, as ``sklearn``: a module that needs one may fail without it. Of an
    extra that is not here, what is called as its package is."""
    extras = {canonicalize_name(Requirement(line).name) for line in lines if re.search(r'extra == "(?!dev")', line)}
    installed = [package for package in distributions() if canonicalize_name(package.name) in extras]
    called = {name.replace("-", "_") for name in extras}
    return sorted(called | {Path(top).stem for package in installed for top in tops(package)})


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    """What a command prints, run without the settings that would lead it to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONCEPTNET_", "PYTHON"))}
    surroundings = kept | {"COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def folders_of_packages(checkout: Path) -> dict[str, str]:
    """Where each package at the top lies: the wheel has ``plugins/`` under another name."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(project["tool"]["setuptools"]["package-dir"])


def test_the_wheel_holds_every_file_of_the_packages(checkout: Path, archives: tuple[Path, Path]) -> None:
    wanted = {
        f"{package}/{name}"
        for package, folder in folders_of_packages(checkout).items()
        for name in files_below(checkout / folder)
    }
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
        about = {name for name in names if ".dist-info/" in name}
        (metadata,) = (wheel.read(name).decode() for name in about if name.endswith("/METADATA"))
    assert names - about == wanted
    assert "conceptnet_ml/py.typed" in wanted
    assert any(name.endswith("/licenses/LICENSE") for name in about)
    assert "\nLicense-Expression: Apache-2.0 AND Bitstream-Vera\n" in metadata


def test_the_source_archive_holds_every_file_of_the_checkout(checkout: Path, archives: tuple[Path, Path]) -> None:
    """But for those whose path begins with a dot, which serve git and the checks."""
    with tarfile.open(archives[0]) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = {name for name in files_below(checkout) if not name.startswith(".")}
    made = {name for name in names if re.fullmatch(r"PKG-INFO|setup\.cfg|[^/]*\.egg-info/.*", name)}
    assert names - made == wanted


def test_every_module_is_there_and_needs_only_what_is_declared(checkout: Path, environment: Path) -> None:
    packages = folders_of_packages(checkout)
    words = ["-c", IMPORT_ALL, json.dumps(list(packages)), json.dumps(optional_modules(declared(environment)))]
    printed = _run(environment / "bin" / "python", *words, cwd=environment)
    assert all(environment in Path(line).parents for line in printed.splitlines())
    modules = [name for folder in packages.values() for name in files_below(checkout / folder) if name.endswith(".py")]
    assert len(printed.splitlines()) == len(modules)


def test_the_program_learns_outside_the_checkout(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "conceptnet-ml"
    (tmp_path / "tiny.toml").write_text(TINY)

    def ask(*words: str) -> dict[str, object]:
        return json.loads(_run(program, *words, "--json", cwd=tmp_path))  # type: ignore[no-any-return]

    version = _run(program, "--version", cwd=tmp_path)
    assert re.fullmatch(r"conceptnet-ml \d+\.\d+\.\d+\S*\n", version)
    assert _run(environment / "bin" / "python", "-m", "conceptnet_ml", "--version", cwd=tmp_path) == version
    found = ask("plugins", "list")
    assert found["plugins"]
    assert found["broken"] == []
    assert "wheels" in _run(program, "bench", "--list", cwd=tmp_path)
    assert ask("learn", "--config", "tiny.toml", "--data", "glyphs:2", "--out", "run")["classes"] == ["ring", "bar"]
    assert list((tmp_path / "run" / "pictures").iterdir())
    assert set(ask("evaluate", "run")["test_sets"]) == {"test"}  # type: ignore[call-overload]
    assert "ring" in _run(program, "graph", "show", "run", cwd=tmp_path)
