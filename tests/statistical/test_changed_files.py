"""A part of what ``benchmarks/trust.py fuzz`` tries: every reader of files takes or refuses changed ones in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="Windows limits no memory so")


@pytest.mark.slow
def test_no_changed_file_is_a_bug(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from fuzzing import fuzz

    assert fuzz(4000, 1, tmp_path / "table.json") == 0, capfd.readouterr().out
    assert fuzz(4500, 1, tmp_path / "table.json") == 0, "it goes on"
    found = json.loads((tmp_path / "table.json").read_text())
    rows = found["readers"].values()
    assert sum(row["tried"] for row in rows) == found["next"] == 4500
    assert all(row["refused"] for name, row in found["readers"].items() if name in ("graph", "settings", "step"))
