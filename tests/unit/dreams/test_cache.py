"""A stored dream is the one that was stored, or none."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save

from conceptnet_ml.dreams.cache import FIELDS, LONG_AGO, DreamCache
from conceptnet_ml.storage.hashing import digest

KEY = "ab" + "0" * 62


def stored(path: Path) -> tuple[DreamCache, Any, Path]:
    cache, request = DreamCache(path), SimpleNamespace(objective=None, seed=0)
    fields = dict(zip(FIELDS, (0.5, 2.0, 16, "rose"), strict=True))
    cache.save(KEY, SimpleNamespace(image=torch.rand(3, 8, 8), **fields))  # type: ignore[arg-type]
    return cache, request, cache._file(KEY)


def test_a_changed_bit_anywhere_is_no_dream(tmp_path: Path) -> None:
    cache, request, file = stored(tmp_path)
    found = cache.load(KEY, request)
    assert found is not None
    whole, draw = file.read_bytes(), random.Random(0)
    for place in draw.sample(range(len(whole)), 120):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        assert cache.load(KEY, request) is None
    for length in draw.sample(range(len(whole)), 20):
        file.write_bytes(whole[:length])
        assert cache.load(KEY, request) is None


def test_a_dream_under_another_ones_name_is_none(tmp_path: Path) -> None:
    cache, request, file = stored(tmp_path)
    other = cache._file("cd" + KEY[2:])
    other.parent.mkdir()
    file.rename(other)
    assert cache.load("cd" + KEY[2:], request) is None


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        (dict(zip(FIELDS, ("x", 2.0, 16, "rose"), strict=True)), (3, 8, 8)),
        (dict(zip(FIELDS, (0.5, 2.0, 1.5, "rose"), strict=True)), (3, 8, 8)),
        (dict(zip(FIELDS, (0.5, 2.0, 16, "rose"), strict=True)), (8, 8)),
        ([], (3, 8, 8)),
        ({"before": 0.5}, (3, 8, 8)),
    ],
)
def test_what_is_signed_and_no_dream_is_none(tmp_path: Path, fields: object, shape: tuple[int, ...]) -> None:
    cache, request, file = stored(tmp_path)
    image = torch.ones(shape)
    about = {"dream": json.dumps(fields), "sha256": digest(KEY, json.dumps(fields), image)}
    file.write_bytes(save({"image": image}, about))
    assert cache.load(KEY, request) is None


def test_what_a_killed_program_left_half_written_goes_after_a_while(tmp_path: Path) -> None:
    _, _, file = stored(tmp_path)
    for name, age in ((".old.safetensors.77.tmp", 2 * LONG_AGO), (".new.safetensors.78.tmp", 1.0)):
        (file.parent / name).touch()
        os.utime(file.parent / name, (time.time() - age,) * 2)
    stored(tmp_path)
    assert sorted(path.name for path in file.parent.iterdir()) == [".new.safetensors.78.tmp", file.name]
