"""The site of docs/ is built without a complaint, and loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="pip install -e '.[docs]'")
def test_the_site_is_built_and_stands_alone(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    words = [sys.executable, "docs/make_site.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//[^\">]+", text), page
        prose = re.sub(r"<(pre|code|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        raw = re.findall(r"^\s*(?:\||- |```).*", re.sub(r"<[^>]+>", "", prose), re.MULTILINE)
        assert not raw, f"{page.name}: Markdown that was not understood"
        assert not re.findall(r"<link[^>]* href=\"?(?:https?:)?//[^\">]+", text), page
