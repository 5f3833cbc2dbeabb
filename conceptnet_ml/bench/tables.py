"""The results in Markdown: what was measured and how, then each case with its figures, targets, costs and rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from conceptnet_ml.bench.cases import LEARNED
from conceptnet_ml.bench.cells import DONE, FAILED, LEFT_OUT
from conceptnet_ml.bench.intervals import summarize
from conceptnet_ml.bench.results import adapted, counts, kept_rounds, values_of

MARK, TOLD = "‡", "†"


def to_markdown(results: dict[str, Any], picture: str | None = None) -> str:
    """The whole report.

    Args:
        results: As :func:`conceptnet_ml.bench.results.collect_results` returns them, or ``results.json`` holds them.
        picture: File name of the plot, relative to the report; None for none.
    """
    cases = results["cases"]
    measured = [case for case in cases if case["cells"]]
    lines = ["# Bench", "", *_what(results), ""]
    if picture is not None and measured:
        lines += [f"![Accuracy of every method on every case]({picture})", ""]
    lines += _targets(measured)
    for case in measured:
        lines += _case(case, results["told"])
    lines += _failures(cases)
    return "\n".join(lines).rstrip() + "\n"


def figure(found: dict[str, Any] | None, times: float = 1) -> str:
    """``95.3 [94.1, 96.2]``; without an interval where there is one seed; ``–`` for nothing."""
    if found is None:
        return "–"
    text = f"{times * found['mean']:.1f}"
    return text if found["low"] is None else f"{text} [{times * found['low']:.1f}, {times * found['high']:.1f}]"


def _what(results: dict[str, Any]) -> list[str]:
    what, found = results["what"], counts(results)
    commits = ", ".join(f"`{commit[:12]}`" for commit in what["commits"]) or "nothing yet"
    sources, hardware = ", ".join(f"`{text}`" for text in what["sources"]) or "–", _joined(what["hardware"])
    dates = " to ".join(dict.fromkeys(date[:10] for date in what["measured"])) or "no date"
    lines = [
        f"Measured on commit {commits} (sources {sources}), conceptnet_ml {_joined(what['package'])}, "
        f"torch {_joined(what['torch'])}, Python {_joined(what['python'])}, on {_joined(what['devices'])} ({hardware}; "
        f"{_joined(what['precision'])}, threads a process: {_joined(what['threads'])}), {dates}.",
        "",
        f"Command: `{what['command'] or 'run_bench(…)'}`. Cases: `{what['cases_file']}`. Seeds: "
        f"{_joined(what['seeds'])}. Cells: {found[DONE]} measured, {found[FAILED]} failed, "
        f"{found[LEFT_OUT]} that have no answer, {found['to do']} still to do.",
        "",
        "Figures are means over seeds with 95 % bootstrap intervals over seeds. "
        f"Settings that differ from the defaults in all cases: {_listing(what['settings'])}.",
    ]
    if len(what["commits"]) > 1 or len(what["sources"]) > 1:
        lines += ["", "**The cells were measured by more than one version of the program.**"]
    if len(what["devices"]) > 1 or len(what["hardware"]) > 1:
        lines += ["", "**The cells were measured on more than one machine: do not compare their seconds.**"]
    left = [f"{case['name']} ({case['left_out']})" for case in results["cases"] if case["left_out"]]
    if left:
        lines += ["", f"Cases left out: {'; '.join(left)}."]
    return lines


def _targets(cases: list[dict[str, Any]]) -> list[str]:
    rows = []
    for case in cases:
        for judged in case["targets"]:
            got = figure(judged["got"])
            if judged["measure"] == "cost" and judged["got"] is not None:
                got = f"{got} ×"
            if judged.get("other"):
                got += f" against {figure(judged['other'])}"
            verdict = {True: "met", False: "**missed**", None: "not measured"}[judged["met"]]
            rows.append((_name(case), judged["target"], got, verdict))
    if not rows:
        return []
    lines = ["## Targets", "", *_table(("case", "target", "got", "verdict"), rows), ""]
    if any(case["marks"] for case in cases):
        lines += [f"{MARK} a setting of this case alone, beside its data: by the rules of the comparison a miss.", ""]
    return lines


def _case(case: dict[str, Any], told: list[str]) -> list[str]:
    lines = [f"## {_name(case)}", ""]
    settings = _listing(case["settings"])
    lines += [f"{case['note'][:1].upper()}{case['note'][1:]}{'. ' if case['note'] else ''}Settings: {settings}.", ""]
    if case["marks"]:
        lines += [f"{MARK} Differs from the other cases in {', '.join(f'`{mark}`' for mark in case['marks'])}.", ""]
    sets = case["test_sets"]
    rows = [
        (_method(method, told), *(figure(row.get(name)) for name in sets))
        for method, row in case["table"].items()
        if row
    ]
    heads = [f"**{name}**" if name == case["headline"] else name for name in sets]
    lines += [*_table(("method", *heads), rows), ""] if rows else []
    if any(method in told for method, row in case["table"].items() if row):
        lines += [f"{TOLD} sees images whose cue was drawn at random: a ceiling or a refit, no rival.", ""]
    lines += [line for sentence in case["matches"] for line in (f"**{sentence}**", "")]
    for part in (_families, _adaptation, _turned, _decodability, _costs, _rounds, _notes):
        lines += part(case, told)
    return lines


def _families(case: dict[str, Any], told: list[str]) -> list[str]:
    """What was let go of and is kept: each family's variants by themselves."""
    cells = [cell for cell in case["cells"] if cell.get("families")]
    rows = []
    for family in dict.fromkeys(name for cell in cells for name in cell["families"]):
        mine = [cell["families"][family] for cell in cells if family in cell["families"]]
        figures = [_over_seeds([one.get(name) for one in mine]) for name in case["test_sets"]]
        rows.append((family, str(len(mine)), *(figure(found, 100) for found in figures)))
    if not rows:
        return []
    title = "What the learner let go of, and keeps: its families' variants alone:"
    return [title, "", *_table(("family", "seeds", *case["test_sets"]), rows), ""]


def _adaptation(case: dict[str, Any], told: list[str]) -> list[str]:
    """After k examples: the headline or random set, and aligned beside it for what is forgotten."""
    cells = [cell for cell in case["cells"] if cell.get("adaptation")]
    ks = sorted({row["k"] for cell in cells for row in cell["adaptation"]})
    known = {name for cell in cells for row in cell["adaptation"] for name in row["test_sets"]}
    sets = [name for name in dict.fromkeys(("random", case["headline"], "aligned")) if name in known]
    lines: list[str] = []
    for name in sets:
        rows = []
        for method in case["methods"]:
            figures = [_over_seeds([adapted(c, name, k) for c in cells if c["method"] == method]) for k in ks]
            if any(figures):
                rows.append((_method(method, told), *(figure(found, 100) for found in figures)))
        lines += [
            f"Accuracy on {name} after adapting to k labelled examples per class from the new world"
            + (" (what is forgotten):" if name == "aligned" else ":"),
            "",
            *_table(("method", *(f"k = {k}" for k in ks)), rows),
            "",
        ]
    return lines


def _turned(case: dict[str, Any], told: list[str]) -> list[str]:
    rows = []
    for method in case["methods"]:
        cells = [cell for cell in case["cells"] if cell["method"] == method and cell.get("turned")]
        ks = sorted({row["k"] for cell in cells for row in cell["turned"]})
        for k in ks:
            values = list(values_of(case, method, "turned", None, k).values())
            if values:
                rows.append((_method(method, told), str(k), figure(summarize(values))))
    if not rows:
        return []
    return ["The world turned round, where the cue is the truth:", "", *_table(("method", "k", "accuracy"), rows), ""]


def _decodability(case: dict[str, Any], told: list[str]) -> list[str]:
    """How well each stage tells the class and the cue."""
    cells = [cell for cell in case["cells"] if cell.get("decodability")]
    stages = list(dict.fromkeys(row["stage"] for cell in cells for row in cell["decodability"]))
    if not cells:
        return []
    rows = []
    for method in case["methods"]:
        mine = [cell for cell in cells if cell["method"] == method]
        for what in dict.fromkeys(
            key for cell in mine for row in cell["decodability"] for key in row if key != "stage"
        ):
            figures = [
                _over_seeds([row.get(what) for cell in mine for row in cell["decodability"] if row["stage"] == stage])
                for stage in stages
            ]
            rows.append((_method(method, told), what, *(figure(found, 100) for found in figures)))
    title = "What a linear reader finds in each stage:"
    return [title, "", *_table(("method", "read", *stages), rows), ""]


def _costs(case: dict[str, Any], told: list[str]) -> list[str]:
    rows, cut = [], False
    for method in case["methods"]:
        cells = [cell for cell in case["cells"] if cell["method"] == method and cell["state"] == DONE]
        if not cells:
            continue
        cut |= any(cell["cost"]["partial"] for cell in cells)
        times = _over_seeds([cell["cost"]["times_ordinary"] for cell in cells])
        seconds = _over_seeds([cell["cost"]["seconds"] for cell in cells])
        peak = _over_seeds([cell["peak_memory_gib"] for cell in cells])
        star = "\\*" if any(cell["cost"]["partial"] for cell in cells) else ""
        rows.append((_method(method, told), figure(seconds), f"{figure(times)}{star}", figure(peak)))
    if not rows:
        return []
    lines = ["Cost; the learner's is its probing and its rounds, a rival's its training after the ordinary one:", ""]
    lines += [*_table(("method", "seconds", "× ordinary training", "peak memory, GiB"), rows), ""]
    if cut:
        lines += ["\\* a training was cut off and gone on with: the seconds of its first part are missing.", ""]
    return lines


def _rounds(case: dict[str, Any], told: list[str]) -> list[str]:
    rows = []
    for cell in case["cells"]:
        for entry in cell.get("rounds", ()):
            tried = entry["representations"]
            one = next((r for r in tried if r["representation"] == entry["chosen"]), None)
            one = one or max(tried, key=lambda r: r["phi"], default=None)
            if one is None:
                continue
            iota = "–" if one["iota"] is None else f"{one['iota']:.2f}"
            residual = f"{entry['r_before']:.2f} → {entry['r_after']:.2f}" if "r_after" in entry else "–"
            figures = (one["representation"], f"{one['phi']:.2f}", iota, residual, entry["decision"])
            rows.append((str(cell["seed"]), entry["name"], *figures))
    if not rows:
        return []
    kept = [kept_rounds(cell) for cell in case["cells"] if cell["method"] == LEARNED and cell["state"] == DONE]
    title = f"Rounds of the learner ({', '.join(map(str, kept))} kept):"
    return [title, "", *_table(("seed", "round", "representation", "φ", "ι", "r", "decision"), rows), ""]


def _notes(case: dict[str, Any], told: list[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for cell in case["cells"]:
        texts = [*cell.get("notes", ()), *([f"left out: {cell['error']}"] if cell["state"] == LEFT_OUT else [])]
        for text in texts:
            found.setdefault(text, []).append(cell["method"])
    return [line for text, who in found.items() for line in (f"{', '.join(dict.fromkeys(who))}: {text}.", "")]


def _failures(cases: Iterable[dict[str, Any]]) -> list[str]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for case in cases:
        for cell in case["cells"]:
            if cell["state"] == FAILED:
                error = " ".join(f"{cell['error']} {cell['mend']}".split())
                found.setdefault((case["name"], str(cell["seed"]), error), []).append(cell["method"])
    rows = [(name, seed, ", ".join(methods), error) for (name, seed, error), methods in found.items()]
    return ["## Failed cells", "", *_table(("case", "seed", "methods", "error"), rows), ""] if rows else []


def _over_seeds(values: Iterable[float | None]) -> dict[str, Any] | None:
    found = [value for value in values if value is not None]
    return summarize(found) if found else None


def _name(case: dict[str, Any]) -> str:
    return f"{case['name']} {MARK}" if case["marks"] else str(case["name"])


def _method(method: str, told: list[str]) -> str:
    return f"{method} {TOLD}" if method in told else (f"**{method}**" if method == LEARNED else method)


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values)) or "–"


def _listing(settings: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in settings.items()) or "none"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; a bar in a cell is escaped."""
    body = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {row} |" for row in body)]
