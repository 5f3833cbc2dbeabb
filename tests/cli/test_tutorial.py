"""docs/tutorial.md, done from top to bottom as a reader would, with fewer pictures and shorter trainings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COARSE, ROOT, call

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
QUICK = f"""
[training]
epochs = 8
batch = 16

[round]
epochs = 2
closures = 0
fresh = 1

[probe]
cells = 8

[dreams]
megapixels = 0.2
{COARSE}"""
"""Settings of a run whose figures are not judged."""


@pytest.mark.slow
def test_the_tutorial_from_top_to_bottom(hasty: None, tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(QUICK, encoding="utf-8")
    said = ""
    for language, block in BLOCKS:
        if language == "python":
            fewer = block.replace("step=2", "step=20")
            words = [sys.executable, "-c", fewer]
            surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            said += done.stdout
        for line in block.splitlines() if language == "bash" else []:
            program, *words = shlex.split(line)
            if program == "cp":
                shutil.copytree(tmp_path / words[1], tmp_path / words[2])
                continue
            assert program == "conceptnet-ml"
            if "--serve" in words:  # which waits for Ctrl-C
                continue
            if words[0] == "learn" and "--resume" not in words:
                words += ["--config", "quick.toml"]
            done = call(*words, at=tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            said += done.stdout + done.stderr
    for file in ("shortcuts.html", "runs/photos/report.html", "compared.html", "why/0.html", "photos.pt2"):
        assert (tmp_path / file).stat().st_size, file
    for words in (
        "very strong",
        "round.undo=block3/classes/1/pixels",
        "LearnedRun('runs/photos'",
        "torch.Size([2, 2])",
    ):
        assert words in said
