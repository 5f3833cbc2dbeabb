"""Writes what these pages take from the code and from each other: settings.md, cli.md, the list of decisions, and the
examples that cookbook.md shows.

Run it after a change of ``conceptnet_ml/config/settings.py``, ``conceptnet_ml/cli`` or ``docs/examples``, and after a
new decision: ``python docs/generate.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from rich.text import Text

from conceptnet_ml.cli.main import app
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import FLAGS, flatten, known_settings
from conceptnet_ml.config.values import allowed_values, show_value

DOCS = Path(__file__).parent

HEAD = """# Settings

Written by `python docs/generate.py` from `conceptnet_ml/config/settings.py`.

`--depth` is the one dial; everything else has a default that serves every case. A setting is named by its dotted path.
Of several values for one setting the later source wins: default, TOML file (`--config FILE`), `--set NAME=VALUE`, flag.
A list is written `a,b`, nothing is written `none`. `config show` prints every setting with where its value came from,
`config validate` checks a file. In a TOML file a group is a table:

```toml
depth = 2

[data]
source = "folder:photos"
trap = "wheels"
```

In Python: `Settings.model_validate({"depth": 2, "data": {"source": "folder:photos"}})`.

Plugins may have settings of their own, `plugin.NAME.x`: `plugins show NAME` lists them, and so does `config show`
with the flags that load the plugin ([plugins.md](plugins.md#settings-of-its-own)).
"""

COMMANDS_HEAD = """# Commands

Written by `python docs/generate.py` from `conceptnet_ml/cli`.

In a checkout `conceptnet-ml` is `python cli.py`. `--help`, or `-h`, after any command says what is below;
`--install-completion` completes words in your shell, `--show-completion` prints how. What has no flag is a setting,
given by `--set NAME=VALUE` ([settings.md](settings.md)). In the column *takes*, … says that an option may be given
several times. Commands of installed plugins come on top ([plugins.md](plugins.md#command)).

Exit codes: 0 done, 1 a bug or a cell of a bench that failed, 2 usage or settings, 3 data or a full disk, 4 a plugin,
130 Ctrl-C, 143 TERM, 129 HUP.
"""
DECISIONS_HEAD = """# Decisions

Why it is built as it is: what was decided, why the others lost, and what it costs. Later ones may change earlier ones,
and say so. Written by `python docs/generate.py`.
"""
COMPLETION = {"--install-completion", "--show-completion"}


def settings_page() -> str:
    """The text of settings.md."""
    groups: dict[str, list[str]] = {}
    defaults = flatten(Settings())
    for name, info in known_settings().items():
        flag = f"`{FLAGS[name]}`" if name in FLAGS else ""
        default, takes = f"`{show_value(defaults[name]) or '(empty)'}`", allowed_values(info)
        row = f"| `{name}` | {default} | {takes} | {_cell(info.description)} | {flag} |"
        groups.setdefault(name.rpartition(".")[0], []).append(row)
    parts = [HEAD]
    for group, rows in groups.items():
        model = Settings.model_fields[group].annotation if group else Settings
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        title = f"## {group or 'The run'}\n\n{model.__doc__}\n"
        parts.append(
            "\n".join([title, "| setting | default | takes | meaning | flag |", "|---|---|---|---|---|", *rows])
        )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def commands_page() -> str:
    """The text of cli.md: every command of the program itself, with every argument and option."""
    parts = [COMMANDS_HEAD]
    for name, command in _commands("conceptnet-ml", typer.main.get_command(app)):
        about = " ".join(_plain(command.help).split())
        title = f"## {name.removeprefix('conceptnet-ml ')}\n\n{about}\n"
        panels = list(dict.fromkeys(parameter.rich_help_panel for parameter in command.params))
        known = [parameter for parameter in command.params if not COMPLETION & {*parameter.opts}]
        known.sort(
            key=lambda parameter: (parameter.param_type_name != "argument", panels.index(parameter.rich_help_panel))
        )
        words = [(_takes(one), one.required) for one in known if one.param_type_name == "argument"]
        arguments = [word if needed else f"[{word}]" for word, needed in words]
        usage = " ".join([name, *arguments, *(["[OPTIONS]"] if len(known) > len(arguments) else [])])
        if getattr(command, "commands", None):
            usage += " COMMAND"
        rows = [f"| {_name(one)} | {_value(one)} | {_meaning(one)} |" for one in known]
        table = ["| option | takes | what it does |", "|---|---|---|", *rows] if rows else []
        text = re.sub(r"^(# .*)\n(.*)$", r"\2  \1", _plain(command.epilog), flags=re.MULTILINE)
        shown = [re.sub(r" *(?<=\S) {2,}(?=[^\s#])", "  # ", line.strip()) for line in text.splitlines()]
        examples = ["", "```bash", *shown[1:], "```"] if shown else []
        parts.append("\n".join([title, f"`{usage}`", "", *table, *examples]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command and those below it, without what installed plugins add."""
    yield name, command
    for word, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {word}", below)


def _takes(parameter: Any) -> str:
    """What stands for a parameter's value; empty for a switch."""
    metavar = parameter.metavar or ("" if getattr(parameter, "is_flag", False) else _word(parameter))
    return f"{metavar} …" if getattr(parameter, "multiple", False) else metavar


def _word(parameter: Any) -> str:
    return str(parameter.opts[-1]).lstrip("-").replace("-", "_").upper()


def _value(parameter: Any) -> str:
    return f"`{_takes(parameter)}`" if parameter.param_type_name == "option" and _takes(parameter) else ""


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_takes(parameter)}`"
    return ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))


def _meaning(parameter: Any) -> str:
    """The help text, whether it must be given, and the default where the text does not name it."""
    text = _cell(" ".join(_plain(parameter.help).split()))
    if parameter.param_type_name == "option" and parameter.required:
        return f"{text} [required]"
    shown = parameter.show_default and isinstance(parameter.default, (int, float, str)) and parameter.default != ""
    return f"{text} [default: {parameter.default}]" if shown and not isinstance(parameter.default, bool) else text


def _plain(text: str | None) -> str:
    """A help text without the marks of its colours."""
    return Text.from_markup(text or "").plain


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def decisions_page() -> str:
    """The text of decisions.md: the title of every decision, the newest first."""
    rows = []
    for file in sorted((DOCS / "decisions").glob("*.md"), reverse=True):
        number, title = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(" ", 1)
        rows.append(f"- {number} [{title}](decisions/{file.name})")
    return "\n".join([DECISIONS_HEAD, *rows]) + "\n"


def with_examples(page: str) -> str:
    """A page with every block after ``<!-- examples/NAME.py -->`` replaced by that file."""

    def block(found: re.Match[str]) -> str:
        text = (DOCS / found[1]).read_text(encoding="utf-8")
        return f"<!-- {found[1]} -->\n```python\n{text}```\n"

    return re.sub(r"<!-- (examples/\w+\.py) -->\n(?:```python\n.*?\n```\n)?", block, page, flags=re.DOTALL)


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "cli.md").write_text(commands_page(), encoding="utf-8")
    (DOCS / "decisions.md").write_text(decisions_page(), encoding="utf-8")
    cookbook = DOCS / "cookbook.md"
    cookbook.write_text(with_examples(cookbook.read_text(encoding="utf-8")), encoding="utf-8")
