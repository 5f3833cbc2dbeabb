"""From finished cells to one record: figures with intervals, targets, and where a control matches the learner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from conceptnet_ml.bench import origin
from conceptnet_ml.bench.cases import LEARNED, BenchTarget, Case, Suite, flag_of, hide
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, Store, methods_of
from conceptnet_ml.bench.intervals import overlap, summarize
from conceptnet_ml.config.sources import show_value
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.storage.files import finite

SCHEMA, SCHEMA_VERSION = "conceptnet_ml.bench", 1
FIRST = ("test", "aligned", "conflict", "random", "absent")
"""Test sets that come first, in this order."""


def collect_results(
    suite: Suite, store: Store, methods: Sequence[str], plugins: Plugins, command: str, how: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is finished, as ``results.json`` holds it. Cells hold shares; tables and targets, per cent."""
    told = sorted({record.name for record in plugins.all("baseline") if "unbiased" in getattr(record, "needs", ())})
    cases = [_case(suite, store, case, methods, told) for case in suite.cases]
    cells = [cell for case in cases for cell in case["cells"]]
    return finite(
        {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "what": _what(suite, cells, command, how),
            "told": told,
            "cases": cases,
        }
    )


def headline_of(case: Case, cells: Sequence[dict[str, Any]]) -> str:
    """The test set a case is about: its own, else ``conflict`` where a trap made one, else ``test``."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.get("test_sets", {})))
    if case.headline in names:
        return str(case.headline)
    return next((name for name in ("conflict", "test") if name in names), names[0] if names else "test")


def values_of(case: dict[str, Any], method: str, measure: str, test_set: str | None, k: int | None) -> dict[int, float]:
    """A figure of a case's record by seed, in per cent (``cost``: multiples of ordinary training)."""
    found = {}
    for cell in case["cells"]:
        if cell["method"] != method or cell["state"] != DONE:
            continue
        value = None
        if measure == "accuracy":
            value = cell["test_sets"].get(test_set, {}).get("accuracy")
        elif measure == "adapted":
            value = adapted(cell, str(test_set), k)
        elif measure == "turned":
            value = next((row["accuracy"] for row in cell.get("turned", ()) if row["k"] == k), None)
        elif measure == "cost":
            value = cell["cost"]["times_ordinary"] / 100
        if value is not None and not math.isnan(value):
            found[cell["seed"]] = 100 * value
    return found


def adapted(cell: dict[str, Any], test_set: str, k: int | None) -> float | None:
    """Accuracy of a cell on a test set after adapting on k examples a class, mean over the draws."""
    for row in cell.get("adaptation", ()):
        if row["k"] == k and test_set in row["test_sets"]:
            return row["test_sets"][test_set]["accuracy"]
    return None


def _what(suite: Suite, cells: list[dict[str, Any]], command: str, how: dict[str, Any]) -> dict[str, Any]:
    origins = [cell["origin"] for cell in cells if "origin" in cell]

    def all_of(*fields: str) -> list[str]:
        return list(dict.fromkeys(str(one[field]) for one in origins for field in fields if one.get(field)))

    dates = sorted(cell["date"] for cell in cells if "origin" in cell)
    return {
        "commits": all_of("commit"),
        "sources": all_of("sources"),
        "written_by": {"commit": origin.commit(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")},
        "package": all_of("package"),
        "torch": all_of("torch"),
        "python": all_of("python"),
        "devices": all_of("device"),
        "hardware": all_of("card") or all_of("processor"),
        "precision": all_of("precision"),
        "threads": all_of("threads"),
        "measured": dates[:1] + dates[-1:],
        "command": hide(command, suite.folders),
        "cases_file": suite.source,
        "seeds": list(suite.seeds),
        "ks": list(suite.ks),
        "draws": suite.draws,
        "settings": {name: show_value(value) for name, value in suite.common.items()},
        **how,
    }


def _case(suite: Suite, store: Store, case: Case, methods: Sequence[str], told: list[str]) -> dict[str, Any]:
    own = methods_of(case, methods)
    cells = []
    for method in own:
        for seed in suite.seeds:
            cell = None if case.missing else store.cell(case, seed, method)
            if cell is not None:
                # the traceback stays with the cell: its paths are this machine's
                cells.append({key: _hidden(value, suite) for key, value in cell.items() if key != "trace"})
    sets = {name for cell in cells for name in cell.get("test_sets", {})}
    record: dict[str, Any] = {
        "name": case.name,
        "note": case.note,
        "headline": headline_of(case, cells),
        "show": list(case.show or ()),
        "settings": {name: show_value(value) for name, value in case.written.items() if name not in suite.common},
        "marks": list(case.marks),
        "left_out": "needs " + ", ".join(map(flag_of, case.missing)) if case.missing else "",
        "methods": list(own),
        "test_sets": sorted(sets, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)),
        "cells": cells,
    }
    record["table"] = {
        method: {
            name: summarize(list(values.values()))
            for name in record["test_sets"]
            if (values := values_of(record, method, "accuracy", name, None))
        }
        for method in own
    }
    judged = [] if case.missing else [_judged(record, target) for target in case.targets]
    # what a round should cost says nothing where no seed kept that many
    record["targets"] = [one for one in judged if one["got"] is not None or one.get("kept") is None]
    record["matches"] = _matches(record, told)
    return record


def _hidden(value: Any, suite: Suite) -> Any:
    """Texts without this machine's paths."""
    if isinstance(value, str):
        return hide(value, suite.folders)
    if isinstance(value, list):
        return [_hidden(item, suite) for item in value]
    return {key: _hidden(item, suite) for key, item in value.items()} if isinstance(value, dict) else value


def _judged(case: dict[str, Any], target: BenchTarget) -> dict[str, Any]:
    """A target, what came out, and whether it is met by the mean over seeds; None where it was not measured."""
    values = values_of(case, target.method, target.measure, target.test_set, target.k)
    if target.kept is not None:
        kept = {cell["seed"]: kept_rounds(cell) for cell in case["cells"] if cell["method"] == LEARNED}
        values = {seed: value for seed, value in values.items() if kept.get(seed) == target.kept}
    judged = {
        **target.model_dump(exclude_none=True),
        "target": target.words(),
        "got": summarize(list(values.values())) if values else None,
        "met": None,
    }
    if not values:
        return judged
    bound: float | None = target.at_least
    got = judged["got"]["mean"]
    if target.of is not None and target.within is not None:
        others = values_of(case, target.of, target.measure, target.test_set, target.k)
        if not others:
            return judged
        judged["other"] = summarize(list(others.values()))
        bound = judged["other"]["mean"] - target.within
    judged["met"] = got >= bound - 1e-9 if bound is not None else got <= float(target.at_most or 0) + 1e-9
    return judged


def kept_rounds(cell: dict[str, Any]) -> int:
    """How many rounds of a learner's cell were kept."""
    return sum(entry["decision"] == "kept" for entry in cell.get("rounds", ()))


def _matches(case: dict[str, Any], told: list[str]) -> list[str]:
    """Which other methods do as well as the learner on the headline set, in sentences."""
    name, table = case["headline"], case["table"]
    ours = table.get(LEARNED, {}).get(name)
    if ours is None:
        return []
    level, above = [], []
    for method, row in table.items():
        theirs = row.get(name)
        if method == LEARNED or theirs is None:
            continue
        label = f"{method} (told)" if method in told else method
        if ours["low"] is None or theirs["low"] is None:
            if theirs["mean"] >= ours["mean"]:
                above.append(label)
        elif overlap(ours, theirs):
            level.append(label)
        elif theirs["low"] > ours["high"]:
            above.append(label)
    sentences = []
    if level:
        sentences.append(f"On {name}, {_listing(level)} cannot be told from learned: the intervals overlap.")
    if above and ours["low"] is not None:
        sentences.append(f"On {name}, {_listing(above)} {_is(above)} above learned, intervals apart.")
    elif above:
        what = f"{_listing(above)} {_is(above)} at or above learned"
        sentences.append(f"On {name}, {what}; one seed gives no interval.")
    return sentences


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _listing(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counts(results: dict[str, Any]) -> dict[str, int]:
    """How many cells came out how: ``done``, ``failed``, ``left out``, ``to do``."""
    found = {DONE: 0, FAILED: 0, LEFT_OUT: 0, "to do": 0}
    seeds = len(results["what"]["seeds"])
    for case in results["cases"]:
        if not case["left_out"]:
            for cell in case["cells"]:
                found[cell["state"]] += 1
            found["to do"] += seeds * len(case["methods"]) - len(case["cells"])
    return found
