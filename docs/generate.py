"""Writes what these pages take from the code: settings.md, and the examples that plugins.md shows.

Run it after a change of ``conceptnet_ml/config/settings.py`` or ``docs/examples``: ``python docs/generate.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import FLAGS, allowed_values, flatten, known_settings, show_value

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
"""


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


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def with_examples(page: str) -> str:
    """A page with every block after ``<!-- examples/NAME.py -->`` replaced by that file."""

    def block(found: re.Match[str]) -> str:
        text = (DOCS / found[1]).read_text(encoding="utf-8")
        return f"<!-- {found[1]} -->\n```python\n{text}```\n"

    return re.sub(r"<!-- (examples/\w+\.py) -->\n(?:```python\n.*?\n```\n)?", block, page, flags=re.DOTALL)


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    plugins = DOCS / "plugins.md"
    plugins.write_text(with_examples(plugins.read_text(encoding="utf-8")), encoding="utf-8")
