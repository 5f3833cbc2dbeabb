"""Builds the site of docs/ into site/: ``pip install -e '.[docs]' && python docs/make_site.py``; or shows it while you
write: ``python docs/make_site.py serve``.

It is Zensical with one extension of Markdown, which ``mkdocs.yml`` names: a list may follow a paragraph without an
empty line, as on GitHub.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from markdown import Extension
from markdown.preprocessors import Preprocessor

ITEM = re.compile(r"(?:[-*+]|1\.) ")
"""How a line begins that starts a list in the middle of a paragraph; a sentence may begin with another number."""
AFTER_FENCES = 24
"""Priority: blocks of code are taken out at 25."""


class ListsAsOnGitHub(Preprocessor):
    """Puts an empty line before a list that follows a paragraph's line."""

    def run(self, lines: list[str]) -> list[str]:
        made: list[str] = []
        inside = False
        for line in lines:
            starts = not made or not made[-1].strip()
            if starts and line.strip():
                inside = bool(ITEM.match(line)) or line.startswith(" ")
            elif ITEM.match(line) and not inside:
                made.append("")
                inside = True
            made.append(line)
        return made


class SiteExtension(Extension):
    """The extension ``make_site`` of ``mkdocs.yml``."""

    def extendMarkdown(self, md: Any) -> None:  # noqa: N802, as Markdown calls it
        md.preprocessors.register(ListsAsOnGitHub(md), "lists_as_on_github", AFTER_FENCES)


def makeExtension(**settings: Any) -> SiteExtension:  # noqa: N802
    """What Markdown asks a module for."""
    return SiteExtension(**settings)


if __name__ == "__main__":
    from zensical.main import cli

    sys.path.insert(0, str(Path(__file__).parent))
    cli(args=sys.argv[1:] or ["build", "--strict", "--clean"])
