"""A new plugin's files, from the templates of this wing; they are whole, and keep to the contract of their kind."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.errors import SettingsError, nearest, quoted
from conceptnet_ml.records import KINDS
from conceptnet_ml.storage.files import write_atomic

USES = {
    "dataset": "learn --data {name}",
    "trap": "learn --trap {name}",
    "backbone": "learn --backbone {name}",
    "representation": "learn --set plugins.representations={representations}",
    "discoverer": "learn --set plugins.discoverer={name}",
    "stop_rule": "learn --set plugins.stop_rule={name}",
    "generalizer": "learn --set plugins.generalizer={name}",
    "specializer": "learn --set plugins.specializer={name}",
    "dreamer": "learn --set plugins.dreamer={name}",
    "exporter": "graph export RUN --format {name} --out graph.{suffix}",
    "logger": "learn --set plugins.loggers={name}",
    "baseline": "learn --control {name}",
    "command": "{name} --help",
}
"""How a record of each kind is chosen on the command line."""

_NAME = re.compile("[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class PluginFiles:
    """What was written.

    Args:
        plugin: The file with the hook.
        written: All files.
        checks: The command that holds it to its contract.
        use: The command that chooses it.
    """

    plugin: Path
    written: tuple[Path, ...]
    checks: str
    use: str


def usage(kind: str, name: str, where: str = "") -> str:
    """How a record is chosen, with the flag ``where``, as in ``--plugins-dir FILE``, behind the command."""
    usual = Settings().plugins.representations
    representations = ",".join(dict.fromkeys((*usual, name)))  # it comes to the others, and takes no one's place
    words = USES[kind].format(name=name, suffix=_module(name), representations=representations)
    command, _, rest = words.partition(" --")
    return f"{command} {where} --{rest}" if where else words


def new_plugin(name: str, kind: str, folder: Path, package: bool = False) -> PluginFiles:
    """Write a plugin of this kind: ``FOLDER/NAME.py``, or with ``package`` a folder ``FOLDER/NAME`` to install.

    Raises:
        SettingsError: No such kind, a name that cannot be one, or something is there already.
        DataError: It cannot be written.
    """
    kind = kind.replace("-", "_")
    if kind not in KINDS:
        raise SettingsError(f"--kind: there is no kind '{kind}'.", nearest(kind, KINDS))
    module = _module(name)
    if not _NAME.fullmatch(name) or keyword.iskeyword(module):
        raise SettingsError(
            f"'{name}' cannot name a plugin.", "Begin with a letter; small letters, digits, '-' and '_' only."
        )
    root = folder / name if package else folder
    plugin = root / f"{module}.py"
    texts = {plugin: kind}
    if package:
        texts |= {root / "pyproject.toml": "pyproject", root / "tests" / f"test_{module}.py": "test"}
    if taken := next((path for path in ((root,) if package else (plugin,)) if path.exists()), None):
        raise SettingsError(f"{taken} is there already.", "Choose another name, or another folder: --out FOLDER.")
    words = {"name": name, "kind": kind, "module": module, "suffix": module, "project": f"conceptnet-{name}"}
    for path, template in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (files(__package__) / "templates" / f"{template}.txt").read_text("utf-8")
        write_atomic(path, Template(text).substitute(words))
    if package:
        checks = f"pip install -e {quoted(root)} && python -m pytest -q {quoted(root / 'tests')}"
        return PluginFiles(plugin, tuple(texts), checks, usage(kind, name))
    checks = f'python -c "from conceptnet_ml.testing import check_plugin; check_plugin({str(plugin)!r})"'
    where = "" if kind == "command" else f"--plugins-dir {quoted(plugin)}"
    return PluginFiles(plugin, tuple(texts), checks, usage(kind, name, where))


def _module(name: str) -> str:
    return name.replace("-", "_")
