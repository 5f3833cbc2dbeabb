"""The files of a bench: results.json, results.md (what was measured and how, then each case), and the plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from conceptnet_ml.bench.cases import LEARNED, ORDINARY
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT
from conceptnet_ml.bench.intervals import sign_flips, spread, summarize
from conceptnet_ml.bench.results import REMEASURE, ROOM, adapted, counts, kept_rounds, values_of
from conceptnet_ml.storage.files import damaged, pretty, write_atomic

MARK, CEILING = "‡", "†"
GAPS = ("method", "I.D. accuracy", "gap of each cue", "gap of all")


def write_report(results: dict[str, Any], out: Path, plot: bool = True) -> dict[str, Path]:
    """Write the report into a folder; returns the files by their ending. Raises SettingsError where the picture is
    wanted and matplotlib is missing, DataError where the folder cannot be written or a cell is damaged.

    Args:
        results: As :func:`conceptnet_ml.bench.run_bench` returns them, or a ``results.json`` holds them.
        out: The folder; files of a former report are replaced.
        plot: Draw the picture too.
    """
    pictures: dict[str, bytes] = {}
    with damaged(out / "cells", REMEASURE):
        if plot:
            from conceptnet_ml.bench.plots import draw_results

            pictures = draw_results(results)
        contents: dict[str, str | bytes] = {
            "md": to_markdown(results, "results.svg" if pictures else None),
            "json": pretty(results),
            **pictures,
        }
    files = {ending: out / f"results.{ending}" for ending in contents}
    for ending, content in contents.items():
        write_atomic(files[ending], content)
    return files


def to_markdown(results: dict[str, Any], picture: str | None = None) -> str:
    """The whole report as text. ``picture`` is the file name of the plot, relative to the report; None for none."""
    measured = [case for case in results["cases"] if case["cells"]]
    if crossed := [case for case in results["cases"] if case["place"]]:
        lines = ["# Matrix", "", *_score(crossed)]
        lines += [f"![Recovery in every cell, and what is harmed without a cue]({picture})", ""] if picture else []
        lines += [*_what(results), "", *_crossed([case for case in crossed if case["cells"]])]
        measured = [case for case in measured if not case["place"]]
    else:
        lines = ["# Bench", "", *_what(results), ""]
        lines += [f"![Accuracy of every method on every case]({picture})", ""] if picture and measured else []
    lines += _targets(measured)
    for case in measured:
        lines += _case(case, results["told"])
    lines += _failures(results["cases"])
    return "\n".join(lines).rstrip() + "\n"


def figure(found: dict[str, Any] | None, times: float = 1, digits: int = 1) -> str:
    """``95.3 [94.1, 96.2]``; without range or interval where there is one seed; ``–`` for nothing."""
    if found is None:
        return "–"
    values = (found[key] for key in ("mean", "low", "high") if found[key] is not None)
    mean, *ends = (f"{round(times * value, digits) + 0.0:.{digits}f}" for value in values)
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def _what(results: dict[str, Any]) -> list[str]:
    what, found = results["what"], counts(results)
    commits = ", ".join(f"`{commit[:12]}`" for commit in what["commits"]) or "nothing yet"
    sources = ", ".join(f"`{text}`" for text in what["sources"]) or "–"
    dates = " to ".join(dict.fromkeys(date[:10] for date in what["measured"])) or "no date"
    lists = ("package", "torch", "python", "devices", "hardware", "precision", "threads", "seeds")
    all_of = {name: ", ".join(map(str, what[name])) or "–" for name in lists}
    lines = [
        f"Measured on commit {commits} (sources {sources}), conceptnet_ml {all_of['package']}, "
        f"torch {all_of['torch']}, Python {all_of['python']}, on {all_of['devices']} ({all_of['hardware']}; "
        f"{all_of['precision']}, threads a process: {all_of['threads']}), {dates}.",
        "",
        f"Command: `{what['command'] or 'run_bench(…)'}`. Cases: `{what['cases_file']}`. Seeds: "
        f"{all_of['seeds']}. Cells: {found[DONE]} measured, {found[FAILED]} failed, "
        f"{found[LEFT_OUT]} that have no answer, {found['to do']} still to do.",
        "",
        f"Figures are means over seeds, in brackets the {spread(len(what['seeds']))} over seeds. "
        f"Settings that differ from the defaults in all cases: {_settings(what['settings'])}.",
    ]
    if len(what["commits"]) > 1 or len(what["sources"]) > 1:
        lines += ["", "**The cells were measured by more than one version of the program.**"]
    if len(what["devices"]) > 1 or len(what["hardware"]) > 1:
        lines += ["", "**The cells were measured on more than one machine: do not compare their seconds.**"]
    needs: dict[str, list[str]] = {}
    for case in results["cases"]:
        needs.setdefault(case["left_out"], []).append(case["name"])
    left = [f"{', '.join(own) if len(own) < 9 else len(own)} ({need})" for need, own in needs.items() if need]
    if left:
        lines += ["", f"Cases left out: {'; '.join(left)}."]
    return lines


def _score(cases: list[dict[str, Any]]) -> list[str]:
    """How many cells of the matrix reach each target, over all of them."""
    rows: dict[str, Counter[str]] = {}
    for case in cases:
        for verdict in case["targets"]:
            unknown = "no meaning" if verdict["measure"] == "recovery" and case["meaningless"] else "not measured"
            state = {True: "met", False: "missed", None: unknown}[verdict["met"]]
            rows.setdefault(verdict["target"], Counter())[state] += 1
    states = ("met", "missed", "no meaning", "not measured")
    lines = [(target, *(str(found[state]) for state in states)) for target, found in rows.items()]
    note = f"Recovery has no meaning where the ceiling lies less than {ROOM:g} points above ordinary training."
    return [*_section("Cells that reach the targets:", ("target", *states), lines), note, ""]


def _crossed(cases: list[dict[str, Any]]) -> list[str]:
    """A line for each cell of the matrix that is measured, and the gaps of several cues."""
    rows, losses = [], []
    for case in cases:
        own = [case["table"].get(method, {}).get(case["headline"]) for method in (ORDINARY, LEARNED, case["ceiling"])]
        kept = [str(kept_rounds(cell)) for cell in case["cells"] if cell["method"] == LEARNED and cell["state"] == DONE]
        aligned, worst = (case["table"].get(LEARNED, {}).get("aligned"), case["worst"].get(LEARNED))
        gain = _recovery(case, LEARNED) if case["planted"] else f"harm {figure(case['harm'].get(LEARNED))}"
        figures = (*map(figure, own), gain, figure(aligned), figure(worst), ", ".join(kept))
        rows.append((_name(case), case["headline"], *figures))
        losses += [(_name(case), *row) for row in _gap_rows(case, {})]
    heads = ("cell", "on", ORDINARY, f"**{LEARNED}**", "ceiling", "recovery", "learned: aligned", "worst group", "kept")
    return [*_section("## Cells", heads, rows), *_section("## Several cues", ("cell", *GAPS), losses)]


def _recovery(case: dict[str, Any], method: str) -> str:
    """As a table has it; where it has no meaning, why."""
    if method in (ORDINARY, case["ceiling"]):
        return "0" if method == ORDINARY else "1"
    found, room = case["recovery"].get(method), case["room"]
    if case["meaningless"] and case["table"].get(method):
        return f"– ({case['ceiling']} − {ORDINARY}: {figure(room)})"
    missing = len(room["values"]) - len(found["values"]) if found and room else 0
    return figure(found, digits=2) + (f" ({missing} of {len(room['values'])} seeds without meaning)" if missing else "")


def _gap_rows(case: dict[str, Any], names: dict[str, str]) -> list[tuple[str, ...]]:
    """Method, accuracy where all cues fit, what is lost where each alone is in conflict, and where all are."""
    rows: list[tuple[str, ...]] = []
    for method, found in case["gaps"].items():
        alone = "; ".join(f"{cue} {figure(lost)}" for cue, lost in found.items() if cue not in ("I.D.", "all"))
        rows.append((names.get(method, method), figure(found["I.D."]), alone, figure(found.get("all"))))
    return rows


def _targets(cases: list[dict[str, Any]]) -> list[str]:
    rows = []
    for case in cases:
        for verdict in case["targets"]:
            got = figure(verdict["got"], digits=2 if verdict["measure"] == "recovery" else 1)
            if verdict["measure"] == "cost" and verdict["got"] is not None:
                got = f"{got} ×"
            if verdict.get("other"):
                got += f" against {figure(verdict['other'])}"
            met = {True: "met", False: "**missed**", None: "not measured"}[verdict["met"]]
            rows.append((_name(case), verdict["target"], got, met))
    lines = _section("## Targets", ("case", "target", "got", "verdict"), rows)
    if rows and any(case["marks"] for case in cases):
        lines += [f"{MARK} a setting of this case alone, beside its data: by the rules of the comparison a miss.", ""]
    return lines


def _case(case: dict[str, Any], ceilings: list[str]) -> list[str]:
    names = {method: f"{method} {CEILING}" if method in ceilings else method for method in case["methods"]}
    names[LEARNED] = f"**{LEARNED}**"
    note = case["note"]
    start = f"{note[:1].upper()}{note[1:]}{'. ' if note else ''}Settings: {_settings(case['settings'])}."
    lines = [f"## {_name(case)}", "", start, ""]
    if case["marks"]:
        lines += [f"{MARK} Differs from the other cases in {', '.join(f'`{mark}`' for mark in case['marks'])}.", ""]
    lines += _measured_with(case, names)
    table = {method: row for method, row in case["table"].items() if row}
    if table:
        heads = [f"**{name}**" if name == case["headline"] else name for name in case["test_sets"]]
        rows = [[names[m], *(figure(row.get(name)) for name in case["test_sets"])] for m, row in table.items()]
        more = {f"worst group, {case['worst_set']}": {method: figure(case["worst"].get(method)) for method in table}}
        if case["planted"]:
            more["recovery"] = {method: _recovery(case, method) for method in table}
        else:
            more["harm"] = {method: figure(case["harm"].get(method)) for method in table if method != ORDINARY}
        for title, found in list(more.items())[not case["worst"] :]:
            heads.append(title)
            rows = [[*row, found.get(method, "–")] for row, method in zip(rows, table, strict=True)]
        lines += [*_table(("method", *heads), rows), ""]
    if any(method in ceilings for method in table):
        lines += [f"{CEILING} sees images whose cue was drawn at random: a ceiling or a refit, no rival.", ""]
    lines += [line for sentence in case["matches"] for line in (f"**{sentence}**", "")]
    lines += _paired(case, names)
    lines += _section("Several cues, and the points lost where they are in conflict:", GAPS, _gap_rows(case, names))
    lines += _families(case)
    for part in (_adaptation, _turned, _decodability, _costs):
        lines += part(case, names)
    return [*lines, *_rounds(case), *_notes(case)]


def _measured_with(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Commit, processor or card, precision and threads of the rows; by method where they are not all the same."""
    found: dict[str, dict[str, None]] = {}
    for cell in case["cells"]:
        if own := cell.get("origin"):
            commit, parts = own["commit"][:12], (own.get("card") or own.get("processor"), own.get("precision"))
            what = ", ".join((f"`{commit}`", *filter(None, parts)))
            found.setdefault(what, {})[names.get(cell["method"], cell["method"])] = None
    one = [f"Every row: {what}." for what in found] if len(found) == 1 else []
    each = [f"- {', '.join(methods)}: {what}" for what, methods in found.items()]
    return [*(one or each), ""] if found else []


def _paired(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    """What the learner gains over each method, seed by seed."""
    rows, seeds = [], 0
    for method, found in case.get("paired", {}).items():
        for one in found:
            values = one["difference"]["values"]
            seeds = max(seeds, len(values))
            above = f"{sum(value > 0 for value in values)} of {len(values)}"
            rows.append((names[method], one["on"], figure(one["difference"]), above, f"{one['p']:.2g}"))
    title = f"Seed by seed, {LEARNED} less each method, points:"
    lines = _section(title, ("method", "on", "difference", "seeds above 0", "p"), rows)
    least = f"{sign_flips([1.0] * seeds):.2g}" if rows else ""
    note = f"p: two-sided, over all choices of signs (drawn beyond 12 seeds); of {seeds} seeds it is at least {least}."
    return [*lines, note, ""] if rows else []


def _families(case: dict[str, Any]) -> list[str]:
    """The variants of each family by themselves: what the learner generalized and keeps."""
    cells = [cell for cell in case["cells"] if cell.get("families")]
    rows = []
    for family in dict.fromkeys(name for cell in cells for name in cell["families"]):
        own = [cell["families"][family] for cell in cells if family in cell["families"]]
        rows.append((family, str(len(own)), *(_shares(one.get(name) for one in own) for name in case["test_sets"])))
    title = "What the learner let go of, and keeps: its families' variants alone:"
    return _section(title, ("family", "seeds", *case["test_sets"]), rows)


def _adaptation(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    """After k examples: the headline or random set, and aligned beside it for what is forgotten."""
    cells = [cell for cell in case["cells"] if cell.get("adaptation")]
    ks = sorted({row["k"] for cell in cells for row in cell["adaptation"]})
    known = {name for cell in cells for row in cell["adaptation"] for name in row["test_sets"]}
    lines: list[str] = []
    for test_set in dict.fromkeys(("random", case["headline"], "aligned")):
        if test_set in known:
            rows = []
            for method, own in _by_method(case, "adaptation"):
                rows.append((names[method], *(_shares(adapted(cell, test_set, k) for cell in own) for k in ks)))
            title = f"Accuracy on {test_set} after adapting to k labelled examples per class from the new world"
            title += " (what is forgotten):" if test_set == "aligned" else ":"
            lines += _section(title, ("method", *(f"k = {k}" for k in ks)), rows)
    return lines


def _turned(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    rows = []
    for method, cells in _by_method(case, "turned"):
        for k in sorted({row["k"] for cell in cells for row in cell["turned"]}):
            values = values_of(case, method, "turned", None, k).values()
            rows += [(names[method], str(k), figure(summarize(values)))] if values else []
    return _section("The world turned round, where the cue is the truth:", ("method", "k", "accuracy"), rows)


def _decodability(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    """How well each stage tells the class and the cue."""
    measured = list(_by_method(case, "decodability"))
    stages = list(
        dict.fromkeys(row["stage"] for _, cells in measured for cell in cells for row in cell["decodability"])
    )
    rows = []
    for method, cells in measured:
        found = [row for cell in cells for row in cell["decodability"]]
        for what in dict.fromkeys(key for row in found for key in row if key != "stage"):
            figures = (_shares(row.get(what) for row in found if row["stage"] == stage) for stage in stages)
            rows.append((names[method], what, *figures))
    return _section("What a linear reader finds in each stage:", ("method", "read", *stages), rows)


def _costs(case: dict[str, Any], names: dict[str, str]) -> list[str]:
    rows, some_partial = [], False
    for method, cells in _by_method(case, "cost"):
        partial = any(cell["cost"]["partial"] for cell in cells)
        some_partial |= partial
        seconds = figure(_summary(cell["cost"]["seconds"] for cell in cells))
        times = figure(_summary(cell["cost"]["times_ordinary"] for cell in cells)) + ("\\*" if partial else "")
        rows.append((names[method], seconds, times, figure(_summary(cell["peak_memory_gib"] for cell in cells))))
    title = "Cost; the learner's is its probing and its rounds, a rival's its training after the ordinary one:"
    lines = _section(title, ("method", "seconds", "× ordinary training", "peak memory, GiB"), rows)
    if some_partial:
        lines += ["\\* a training was cut off and gone on with: the seconds of its first part are missing.", ""]
    return lines


def _rounds(case: dict[str, Any]) -> list[str]:
    rows = []
    for cell in case["cells"]:
        for entry in cell.get("rounds", ()):
            tried = entry["representations"]
            chosen = [one for one in tried if one["representation"] == entry["chosen"]]
            for one in chosen[:1] or sorted(tried, key=lambda one: -one["phi"])[:1]:
                iota = "–" if one["iota"] is None else f"{one['iota']:.2f}"
                residual = f"{entry['r_before']:.2f} → {entry['r_after']:.2f}" if "r_after" in entry else "–"
                figures = (one["representation"], f"{one['phi']:.2f}", iota, residual, entry["decision"])
                rows.append((str(cell["seed"]), entry["name"], *figures))
    kept = [kept_rounds(cell) for cell in case["cells"] if cell["method"] == LEARNED and cell["state"] == DONE]
    title = f"Rounds of the learner ({', '.join(map(str, kept))} kept):"
    return _section(title, ("seed", "round", "representation", "φ", "ι", "r", "decision"), rows)


def _notes(case: dict[str, Any]) -> list[str]:
    methods: dict[str, list[str]] = {}
    for cell in case["cells"]:
        for text in (*cell.get("notes", ()), *([f"left out: {cell['error']}"] if cell["state"] == LEFT_OUT else [])):
            methods.setdefault(text, []).append(cell["method"])
    return [line for text, who in methods.items() for line in (f"{', '.join(dict.fromkeys(who))}: {text}.", "")]


def _failures(cases: Iterable[dict[str, Any]]) -> list[str]:
    methods: dict[tuple[str, str, str], list[str]] = {}
    for case in cases:
        for cell in case["cells"]:
            if cell["state"] == FAILED:
                error = " ".join(f"{cell['error']} {cell['mend']}".split())
                methods.setdefault((case["name"], str(cell["seed"]), error), []).append(cell["method"])
    rows = [(name, seed, ", ".join(who), error) for (name, seed, error), who in methods.items()]
    return _section("## Failed cells", ("case", "seed", "methods", "error"), rows)


def _by_method(case: dict[str, Any], figure: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The cells of each method that have a figure, in the order of the table; methods without any are left out."""
    for method in case["methods"]:
        if own := [cell for cell in case["cells"] if cell["method"] == method and cell.get(figure)]:
            yield method, own


def _summary(values: Iterable[float | None]) -> dict[str, Any] | None:
    """Over the seeds that have a value; None where none has."""
    known = [value for value in values if value is not None]
    return summarize(known) if known else None


def _shares(values: Iterable[float | None]) -> str:
    """Shares over seeds, in per cent."""
    return figure(_summary(values), 100)


def _name(case: dict[str, Any]) -> str:
    return f"{case['name']} {MARK}" if case["marks"] else str(case["name"])


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items()) or "none"


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A title and its table; nothing where there are no rows."""
    return [title, "", *_table(heads, rows), ""] if rows else []


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; a bar in a cell is escaped."""
    body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {row} |" for row in body)]
