"""Any set of cases × methods × seeds measured into one table: ``conceptnet-ml bench``.

The same from Python::

    from conceptnet_ml.bench import read_suite, run_bench

    results = run_bench(read_suite(None, {"pictures": "photos"}), "runs/bench")

A *case* is a set of settings (data and a trap), a *method* is ``ordinary``, ``learned``, ``forced-round`` or a baseline
by name, a *cell* is one method on one case with one seed. All methods of a case and seed share one run folder: they
start from the same ordinary network, and nothing is computed twice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {"Case": "cases", "Suite": "cases", "read_suite": "cases", "run_bench": "runner"}

__all__ = ["Case", "Suite", "read_suite", "run_bench"]

if TYPE_CHECKING:
    from conceptnet_ml.bench.cases import Case, Suite, read_suite
    from conceptnet_ml.bench.runner import run_bench


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'conceptnet_ml.bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"conceptnet_ml.bench.{_HOMES[name]}"), name)
