"""The results as a picture: one panel a case, one row a method, a dot with its 95 % interval for each test set."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from conceptnet_ml.bench.cases import LEARNED, ORDINARY
from conceptnet_ml.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"conflict": "#D55E00", "random": "#0072B2", "aligned": "#009E73", "test": "#444444", "absent": "#CC79A7"}
_SPARE = ("#E69F00", "#56B4E9", "#8C6BB1", "#A6761D", "#999999", "#66A61E")
_TRAPS = ("conflict", "random", "aligned")
_INK, _FAINT, _BAND = "#222222", "#D9D9D9", "#FBEFD9"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": _FAINT,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#F0F0F0",
    "text.color": _INK,
    "xtick.color": "#555555",
    "xtick.labelsize": 7.5,
    "xtick.major.size": 2,
    "ytick.major.size": 0,
    "svg.hashsalt": "conceptnet_ml",
}


def require() -> None:
    """Refuse at once where the drawing package is missing. Raises SettingsError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "the plot needs matplotlib, which is not installed.",
            "Install it with: pip install 'conceptnet_ml[bench]', or give --no-plot.",
        ) from error


def draw_results(results: dict[str, Any]) -> dict[str, bytes]:
    """The plot as ``{"png": …, "svg": …}``; empty where nothing is measured yet. Raises SettingsError where matplotlib
    is missing. ``results`` are those of :func:`~conceptnet_ml.bench.results.collect_results`.
    """
    require()
    cases = [case for case in results["cases"] if any(case["table"].values())]
    if not cases:
        return {}
    import matplotlib

    files = {}
    with matplotlib.rc_context(_STYLE):
        figure = _figure(cases, results)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            file = io.BytesIO()
            figure.savefig(file, format=kind, dpi=150, facecolor="white", metadata=metadata)
            files[kind] = file.getvalue()
    return files


def shown_sets(case: dict[str, Any]) -> list[str]:
    """The test sets of a panel: those the case names, else a trap's three, else its headline and a few more."""
    known = case["test_sets"]
    chosen = [name for name in case["show"] or _TRAPS if name in known]
    if case["show"] or chosen:
        return chosen
    return list(dict.fromkeys(name for name in (case["headline"], *known) if name in known))[:3]


def _figure(cases: list[dict[str, Any]], results: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(2, len(cases))
    rows = math.ceil(len(cases) / columns)
    panel = 0.95 + 0.25 * max(len(_methods(case, results["told"])) for case in cases)
    figure = Figure(figsize=(10.6 if columns > 1 else 7.2, rows * panel + 0.85), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, case in zip(panels, cases, strict=False):
        _draw_figures(axes, case, results["told"])
        _label(axes, case, results["told"])
    for axes in panels[len(cases) :]:
        axes.set_axis_off()
    _draw_legend(figure, cases)
    what = results["what"]
    seeds = len(what["seeds"])
    footer = f"commit {', '.join(commit[:10] for commit in what['commits'])} · mean of {seeds} seed"
    footer += "s, line: 95 % bootstrap interval" if seeds > 1 else ""
    footer += "\nband: the learner's interval on the set in a panel's corner"
    figure.supxlabel(footer, fontsize=7.5, color="#777777")
    return figure


def _methods(case: dict[str, Any], ceilings: Sequence[str]) -> list[str]:
    """Top to bottom: learned, ordinary, the rivals, and those that see unbiased images."""
    ranks = {LEARNED: 0, ORDINARY: 1, **dict.fromkeys(ceilings, 3)}
    measured = [method for method in case["methods"] if case["table"].get(method)]
    return sorted(measured, key=lambda method: ranks.get(method, 2))


def _draw_figures(axes: Axes, case: dict[str, Any], ceilings: Sequence[str]) -> None:
    """Dots, intervals and targets of a panel."""
    methods, sets = _methods(case, ceilings), shown_sets(case)
    ours = case["table"].get(LEARNED, {}).get(case["headline"])
    if ours is not None and ours["low"] is not None:
        axes.axvspan(ours["low"], max(ours["high"], ours["low"] + 0.4), color=_BAND, lw=0, zorder=0)
    for row, method in enumerate(methods):
        axes.axhline(row, color="#EEEEEE", lw=0.8, zorder=0.5)
        if method in ceilings and (row == 0 or methods[row - 1] not in ceilings):
            axes.axhline(row - 0.5, color="#999999", lw=0.7, ls=(0, (4, 3)), zorder=1)
        for place, name in enumerate(reversed(sets)):
            found = case["table"][method].get(name)
            if found is None:
                continue
            y, colour, main = row + (place - (len(sets) - 1) / 2) * -0.2, _colour(name, sets), name == case["headline"]
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [y, y], color=colour, lw=2.2 if main else 1.4, alpha=0.55)
            axes.plot(found["mean"], y, "o", color=colour, ms=5.5 if main else 3.7, mec="white", mew=0.6, zorder=3)
    for target in case["targets"]:
        drawn = target["measure"] == "accuracy" and target["test_set"] in sets and target["method"] in methods
        if drawn and target.get("at_least") is not None:
            row, colour = methods.index(target["method"]), _colour(target["test_set"], sets)
            axes.plot([target["at_least"]] * 2, [row - 0.46, row + 0.46], color=colour, lw=1, ls=":", zorder=1.5)


def _label(axes: Axes, case: dict[str, Any], ceilings: Sequence[str]) -> None:
    """Axes, names and title of a panel."""
    methods = _methods(case, ceilings)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.45, -0.55)
    axes.set_xlim(-2, 102)
    axes.set_xticks(range(0, 101, 20))
    for label, method in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_fontweight("bold" if method == LEARNED else "normal")
        label.set_color(_INK if method == LEARNED else "#777777" if method in ceilings else "#444444")
    title, headline = f"{case['name']}{' ‡' if case['marks'] else ''}", case["headline"]
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=6)
    axes.set_title(f"{headline}, %", loc="right", fontsize=8, color=_colour(headline, shown_sets(case)), pad=6)


def _colour(name: str, sets: list[str]) -> str:
    if name in COLOURS:
        return COLOURS[name]
    others = [other for other in sets if other not in COLOURS]
    return _SPARE[others.index(name) % len(_SPARE)] if name in others else _INK


def _draw_legend(figure: Figure, cases: list[dict[str, Any]]) -> None:
    """One key for the whole picture, common test sets first."""
    from matplotlib.lines import Line2D

    colours = {name: _colour(name, shown_sets(case)) for case in cases for name in shown_sets(case)}
    order = sorted(colours, key=lambda name: (name not in _TRAPS, name not in COLOURS))
    handles = [Line2D([], [], color=colours[name], label=name, marker="o", ms=5, mec="white") for name in order]
    if any(target.get("at_least") is not None for case in cases for target in case["targets"]):
        handles.append(Line2D([], [], color="#777777", lw=1, ls=":", label="target"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), frameon=False)
