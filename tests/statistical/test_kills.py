"""A part of what ``benchmarks/trust.py kills`` does: work cut short at some of its writes is done again, and whole."""

from __future__ import annotations

import os

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.mark.parametrize("what", ["learn", "adapt", "dream", "bench", "forget", "undo forget"])
def test_work_cut_short_is_done_again_as_if_it_had_not_been(what: str) -> None:
    from trust import kills

    assert kills(what, 2, seed=2, moments=1)["lost"] == []
