"""From finished cells to one record: figures over seeds, recovery, targets, and where a control matches the learner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from conceptnet_ml.bench import origin
from conceptnet_ml.bench.cases import LEARNED, ORDINARY, BenchTarget, Case, Suite
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT, TO_DO, CellStore
from conceptnet_ml.bench.intervals import overlap, sign_flips, spread, summarize
from conceptnet_ml.config.values import show_value
from conceptnet_ml.data.traps import ALONE
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.results.summary import in_order
from conceptnet_ml.storage.files import damaged, finite, read_json

SCHEMA, SCHEMA_VERSION = "conceptnet_ml.bench", 1
REMEASURE = "A cell in it was changed: remove its file, and the same command measures it again."
ROOM = 2.0
"""Points that the ceiling must lie above ordinary training, else recovery divides by next to nothing."""


def collect_results(
    suite: Suite, store: CellStore, methods: Sequence[str], plugins: Plugins, how: dict[str, Any]
) -> dict[str, Any]:
    """Everything that is finished, as ``results.json`` holds it. Cells hold shares; tables and targets, per cent.

    ``told`` are the methods that see more than the learner: images whose cue was drawn at random, which makes ceilings
    of them, or unlabelled pictures of the new world.
    """
    told = sorted(record.name for record in plugins.all("baseline") if getattr(record, "needs", ()))
    cases = []
    for case in suite.cases:
        with damaged(store.out / "cells" / case.name, REMEASURE):
            cases.append(_case(suite, store, case, methods, told))
    cells = [cell for case in cases for cell in case["cells"]]
    with damaged(store.out / "cells", REMEASURE):
        what = _what(suite, cells) | how
    return finite({"schema": SCHEMA, "version": SCHEMA_VERSION, "what": what, "told": told, "cases": cases})


def join_results(files: Sequence[Path]) -> dict[str, Any]:
    """Cases that were measured in several folders, by several machines or versions, as one record; of a case that is in
    several files the last one counts. What was measured with what stays with every cell.

    Args:
        files: ``results.json`` of benches.

    Raises:
        DataError: No such file, or not of a bench of this version.
        SettingsError: They have other settings of all cases, shots or draws, so that their figures do not compare.
    """
    parts = {path: _read_results(path) for path in files}
    first, *others = parts
    joined = dict(parts[first]["what"])
    for path in others:
        what = parts[path]["what"]
        for name in ("settings", "ks", "draws"):
            if what[name] != joined[name]:
                raise SettingsError(
                    f"{path} has {name} {what[name]}, {first} {joined[name]}.", "Join what was measured alike."
                )
        joined |= {
            name: list(dict.fromkeys([*joined[name], *own])) for name, own in what.items() if isinstance(own, list)
        }
    dates = sorted(date for part in parts.values() for date in part["what"]["measured"])
    joined |= {
        "seeds": sorted(joined["seeds"]),
        "measured": dates[:1] + dates[-1:],
        "command": f"conceptnet-ml bench {' '.join('--join results.json' for _ in parts)}",
        "written_by": _written_by(),
    }
    cases = {case["name"]: case for part in parts.values() for case in part["cases"]}
    told = sorted({name for part in parts.values() for name in part["told"]})
    return {**parts[first], "what": joined, "told": told, "cases": list(cases.values())}


def _read_results(path: Path) -> dict[str, Any]:
    """A ``results.json``; with :func:`damaged`, which names the file."""
    with damaged(path, "Give a results.json that a bench has written."):
        found: dict[str, Any] = read_json(path)
        if (found["schema"], found["version"]) != (SCHEMA, SCHEMA_VERSION):
            raise DataError(f"{path} is not of a bench of this version.", "Give a results.json that bench has written.")
        counts(found)
        return found


def headline_of(case: Case, cells: Sequence[dict[str, Any]]) -> str:
    """The test set a case is about: its own, else ``conflict`` where a trap made one, else ``test``."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.get("test_sets", {})))
    if case.about.headline in names:
        return str(case.about.headline)
    return next((name for name in ("conflict", "test") if name in names), names[0] if names else "test")


def values_of(case: dict[str, Any], method: str, measure: str, test_set: str | None, k: int | None) -> dict[int, float]:
    """A figure of a case's record by seed, in per cent or points (``cost``: multiples of ordinary training;
    ``recovery``: share).
    """
    if measure == "recovery":
        own, base, room = _headline(case, method), _headline(case, ORDINARY), rooms(case)
        return {seed: (own[seed] - base[seed]) / room[seed] for seed in own if room.get(seed, 0) >= ROOM}
    if measure == "harm":
        base, own = (values_of(case, name, "accuracy", "test", None) for name in (ORDINARY, method))
        return {} if case["planted"] else {seed: base[seed] - own[seed] for seed in own if seed in base}
    found = {}
    for cell in case["cells"]:
        if cell["method"] != method or cell["state"] != DONE:
            continue
        if measure == "accuracy":
            value = cell["test_sets"].get(test_set, {}).get("accuracy")
        elif measure == "worst":
            row = cell["test_sets"].get(test_set or case["worst_set"], {})
            value = row.get("worst_group", {}).get("accuracy")
        elif measure == "adapted":
            value = adapted(cell, str(test_set), k)
        elif measure == "turned":
            value = next((row["accuracy"] for row in cell.get("turned", ()) if row["k"] == k), None)
        else:
            value = cell["cost"]["times_ordinary"] / 100
        if value is not None and not math.isnan(value):
            found[cell["seed"]] = 100 * value
    return found


def rooms(case: dict[str, Any]) -> dict[int, float]:
    """By how many points the ceiling lies above ordinary training on the headline set, by seed; none without a trap."""
    base, most = _headline(case, ORDINARY), _headline(case, case["ceiling"])
    return {seed: most[seed] - base[seed] for seed in most if seed in base} if case["planted"] else {}


def gaps(case: dict[str, Any], method: str) -> dict[str, Any]:
    """Of several cues: accuracy where all of them fit (``I.D.``), and how many points of it are lost where only one of
    them is in conflict, by its name, and where all are (Li et al., Whac-A-Mole, arXiv 2212.04825); summaries. Empty
    for one cue.
    """
    sets = {name.removeprefix(ALONE): name for name in case["test_sets"] if name.startswith(ALONE)}
    fits = values_of(case, method, "accuracy", "aligned", None)
    if not (sets and fits):
        return {}
    found = {"I.D.": summarize(fits.values())}
    for cue, name in {**sets, "all": "conflict"}.items():
        values = values_of(case, method, "accuracy", name, None)
        if lost := [fits[seed] - value for seed, value in values.items() if seed in fits]:
            found[cue] = summarize(lost)
    return found


def _headline(case: dict[str, Any], method: str) -> dict[int, float]:
    return values_of(case, method, "accuracy", case["headline"], None)


def adapted(cell: dict[str, Any], test_set: str, k: int | None) -> float | None:
    """Accuracy of a cell on a test set after adapting on k examples a class, mean over the draws."""
    for row in cell.get("adaptation", ()):
        if row["k"] == k and test_set in row["test_sets"]:
            return float(row["test_sets"][test_set]["accuracy"])
    return None


def kept_rounds(cell: dict[str, Any]) -> int:
    """How many rounds of a learner's cell were kept."""
    return sum(entry["decision"] == "kept" for entry in cell.get("rounds", ()))


def counts(results: dict[str, Any]) -> dict[str, int]:
    """How many cells have which state: ``done``, ``failed``, ``left out``, ``to do``."""
    found = {DONE: 0, FAILED: 0, LEFT_OUT: 0, TO_DO: 0}
    seeds = len(results["what"]["seeds"])
    for case in results["cases"]:
        if not case["left_out"]:
            for cell in case["cells"]:
                found[cell["state"]] += 1
            found[TO_DO] += seeds * len(case["methods"]) - len(case["cells"])
    return found


def _written_by() -> dict[str, Any]:
    return {"commit": origin.commit(), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def _what(suite: Suite, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What was measured, with which program and on which machine."""
    measured = [cell for cell in cells if "origin" in cell]

    def all_of(field: str) -> list[str]:
        return list(dict.fromkeys(str(cell["origin"][field]) for cell in measured if cell["origin"].get(field)))

    dates = sorted(cell["date"] for cell in measured)
    return {
        "commits": all_of("commit"),
        "sources": all_of("sources"),
        "written_by": _written_by(),
        "package": all_of("package"),
        "torch": all_of("torch"),
        "python": all_of("python"),
        "devices": all_of("device"),
        "hardware": all_of("card") or all_of("processor"),
        "precision": all_of("precision"),
        "threads": all_of("threads"),
        "measured": dates[:1] + dates[-1:],
        "command": suite.hide_folders(suite.command),
        "cases_file": suite.source,
        "seeds": list(suite.seeds),
        "ks": list(suite.ks),
        "draws": suite.draws,
        "settings": {name: show_value(value) for name, value in suite.common.items()},
    }


def _case(suite: Suite, store: CellStore, case: Case, methods: Sequence[str], told: Sequence[str]) -> dict[str, Any]:
    own = case.methods(methods)
    stored = (store.cell(case, seed, method) for method in own for seed in suite.seeds if not case.missing)
    # the traceback stays with the cell: its paths are this machine's
    cells = [suite.hide_folders({k: v for k, v in cell.items() if k != "trace"}) for cell in stored if cell is not None]
    sets = {name for cell in cells for name in cell.get("test_sets", {})}
    record: dict[str, Any] = {
        "name": case.name,
        "note": case.about.note,
        "headline": headline_of(case, cells),
        "show": list(case.about.show or ()),
        "settings": {name: show_value(value) for name, value in case.changes.items() if name not in suite.common},
        "marks": list(case.marks),
        "left_out": case.needs,
        "place": dict(case.place),
        "planted": case.planted,
        "ceiling": suite.ceiling,
        "methods": list(own),
        "test_sets": in_order(sets),
        "cells": cells,
    }
    grouped = {name for cell in cells for name, row in cell.get("test_sets", {}).items() if "worst_group" in row}
    record["worst_set"] = next((name for name in ("random", record["headline"], "test") if name in grouped), None)
    for measure in ("worst", "recovery", "harm"):
        found = {method: values_of(record, method, measure, None, None) for method in own}
        record[measure] = {method: summarize(values.values()) for method, values in found.items() if values}
    room = rooms(record).values()
    record["room"] = summarize(room) if room else None
    record["meaningless"] = bool(room) and max(room) < ROOM
    record["gaps"] = {method: found for method in own if (found := gaps(record, method))}
    record["table"] = {
        method: {
            name: summarize(values.values())
            for name in record["test_sets"]
            if (values := values_of(record, method, "accuracy", name, None))
        }
        for method in own
    }
    record["paired"] = {one: rows for one in own if one != LEARNED and (rows := _paired(record, one))}
    verdicts = [] if case.missing else [_verdict(record, target) for target in case.targets]
    # what a round should cost says nothing where no seed kept that many
    record["targets"] = [one for one in verdicts if one["got"] is not None or one.get("kept") is None]
    record["matches"] = _matches(record, told)
    return record


def _verdict(case: dict[str, Any], target: BenchTarget) -> dict[str, Any]:
    """A target, what came out, and whether it is met by the mean over seeds; None where it was not measured."""
    values = values_of(case, target.method, target.measure, target.test_set, target.k)
    if target.kept is not None:
        kept = {cell["seed"]: kept_rounds(cell) for cell in case["cells"] if cell["method"] == LEARNED}
        values = {seed: value for seed, value in values.items() if kept.get(seed) == target.kept}
    got = summarize(values.values()) if values else None
    verdict = {**target.model_dump(exclude_none=True), "target": target.words(), "got": got, "met": None}
    if got is None:
        return verdict
    least = target.at_least
    if target.of is not None and target.within is not None:
        others = values_of(case, target.of, target.measure, target.test_set, target.k)
        if not others:
            return verdict
        verdict["other"] = summarize(others.values())
        least = verdict["other"]["mean"] - target.within
    mean = got["mean"]
    verdict["met"] = mean >= least - 1e-9 if least is not None else mean <= float(target.at_most or 0) + 1e-9
    return verdict


def _paired(case: dict[str, Any], method: str) -> list[dict[str, Any]]:
    """The learner's accuracy less another method's, seed by seed, on the headline set and on the worst group: both
    began with the same network and the same images. ``p`` is that of :func:`sign_flips`. Empty below two seeds.
    """
    found = []
    for measure, name in (("accuracy", case["headline"]), ("worst", case["worst_set"])):
        if name is None:
            continue
        own, other = (values_of(case, one, measure, name, None) for one in (LEARNED, method))
        if len(gained := [own[seed] - other[seed] for seed in own if seed in other]) > 1:
            on = name if measure == "accuracy" else f"worst group, {name}"
            found.append({"on": on, "difference": summarize(gained), "p": sign_flips(gained)})
    return found


def _matches(case: dict[str, Any], told: Sequence[str]) -> list[str]:
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
            above += [label] if theirs["mean"] >= ours["mean"] else []
        elif overlap(ours, theirs):
            level.append(label)
        elif theirs["low"] > ours["high"]:
            above.append(label)
    kind, sentences = spread(len(ours["values"])), []
    if level:
        sentences.append(f"On {name}, {_listing(level)} cannot be told from learned: the {kind}s overlap.")
    if above:
        verb = "is" if len(above) == 1 else "are"
        single = ours["low"] is None
        how = "at or above learned; one seed gives no interval" if single else f"above learned, {kind}s apart"
        sentences.append(f"On {name}, {_listing(above)} {verb} {how}.")
    return sentences


def _listing(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
