"""The results as a picture: one panel a case, one row a method, a dot with its 95 % interval for each test set."""

from __future__ import annotations

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conceptnet_ml.bench.cases import LEARNED, ORDINARY
from conceptnet_ml.errors import SettingsError

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"conflict": "#D55E00", "random": "#0072B2", "aligned": "#009E73", "test": "#444444", "absent": "#CC79A7"}
_SPARE = ("#E69F00", "#56B4E9", "#8C6BB1", "#A6761D", "#999999", "#66A61E")
_SHOWN = ("conflict", "random", "aligned")
_INK, _FAINT, _BAND = "#222222", "#D9D9D9", "#FBEFD9"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": "#555555",
    "svg.hashsalt": "conceptnet_ml",
}


def require() -> None:
    """Refuse at once where the drawing package is missing.

    Raises:
        SettingsError: matplotlib cannot be imported.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "the plot needs matplotlib, which is not installed.",
            "Install it with: pip install 'conceptnet_ml[bench]', or give --no-plot.",
        ) from error


def draw_results(results: dict[str, Any]) -> dict[str, bytes]:
    """The plot as ``{"png": …, "svg": …}``; empty where nothing is measured yet.

    Args:
        results: As :func:`conceptnet_ml.bench.results.collect_results` returns them.

    Raises:
        SettingsError: matplotlib is missing.
    """
    require()
    cases = [case for case in results["cases"] if any(case["table"].values())]
    if not cases:
        return {}
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        figure = _figure(cases, results)
        files = {}
        for kind in ("png", "svg"):
            file = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(file, format=kind, dpi=150, facecolor="white", metadata=metadata)
            files[kind] = file.getvalue()
    return files


def shown_sets(case: dict[str, Any]) -> list[str]:
    """The test sets a panel shows: what the case asks for, else a trap's three, else its headline and a few more."""
    known = case["test_sets"]
    if case["show"]:
        return [name for name in case["show"] if name in known]
    trap = [name for name in _SHOWN if name in known]
    if trap:
        return trap
    return list(dict.fromkeys(name for name in (case["headline"], *known) if name in known))[:3]


def _figure(cases: list[dict[str, Any]], results: dict[str, Any]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(cases))
    rows = math.ceil(len(cases) / columns)
    most = max(len(_methods(case, results["told"])) for case in cases)
    panel = 0.95 + 0.25 * most
    height = rows * panel + 0.85
    figure = Figure(figsize=(10.6 if columns > 1 else 7.2, height))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=1.45 / figure.get_figwidth(),
        right=1 - 0.2 / figure.get_figwidth(),
        bottom=0.65 / height,
        top=1 - 0.85 / height,
        hspace=0.75 / (panel - 0.75),
        wspace=0.42 if columns > 1 else 0,
    )
    for place, case in enumerate(cases):
        _panel(figure.add_subplot(grid[place // columns, place % columns]), case, results["told"])
    _legend(figure, cases, height)
    what = results["what"]
    commits = ", ".join(commit[:10] for commit in what["commits"])
    seeds = len(what["seeds"])
    footer = f"commit {commits} · mean of {seeds} seed{'s' if seeds > 1 else ''}"
    footer += ", line: 95 % bootstrap interval" if seeds > 1 else ""
    footer += "\n" if columns == 1 else " · "
    footer += "band: the learner's interval on the set in a panel's corner"
    figure.text(0.5, 0.12 / height, footer, ha="center", va="bottom", fontsize=7.5, color="#777777")
    return figure


def _methods(case: dict[str, Any], told: list[str]) -> list[str]:
    """Top to bottom: learned, ordinary, the rivals, and those that were told."""
    measured = [method for method in case["methods"] if case["table"].get(method)]

    def place(method: str) -> int:
        return 0 if method == LEARNED else 1 if method == ORDINARY else 3 if method in told else 2

    return sorted(measured, key=place)


def _panel(axes: Axes, case: dict[str, Any], told: list[str]) -> None:
    methods, sets = _methods(case, told), shown_sets(case)
    ours = case["table"].get(LEARNED, {}).get(case["headline"])
    if ours is not None and ours["low"] is not None:
        axes.axvspan(ours["low"], max(ours["high"], ours["low"] + 0.4), color=_BAND, lw=0, zorder=0)
    for row, method in enumerate(methods):
        axes.axhline(row, color="#EEEEEE", lw=0.8, zorder=0.5)
        if method in told and (row == 0 or methods[row - 1] not in told):
            axes.axhline(row - 0.5, color="#999999", lw=0.7, ls=(0, (4, 3)), zorder=1)
        for place, name in enumerate(reversed(sets)):
            figures = case["table"][method].get(name)
            if figures is not None:
                shift = (place - (len(sets) - 1) / 2) * -0.2
                _dot(axes, figures, row + shift, _colour(name, sets), big=name == case["headline"])
    for judged in case["targets"]:
        drawn = judged["measure"] == "accuracy" and judged["test_set"] in sets and judged["method"] in methods
        if drawn and judged.get("at_least") is not None:
            row, colour = methods.index(judged["method"]), _colour(judged["test_set"], sets)
            axes.plot([judged["at_least"]] * 2, [row - 0.46, row + 0.46], color=colour, lw=1, ls=":", zorder=1.5)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.45, -0.55)
    axes.set_xlim(-2, 102)
    axes.set_xticks(range(0, 101, 20))
    axes.tick_params(axis="y", length=0, pad=4)
    axes.tick_params(axis="x", length=2, labelsize=7.5, color=_FAINT)
    axes.grid(axis="x", color="#F0F0F0", lw=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    for label in axes.get_yticklabels():
        learner = label.get_text() == LEARNED
        label.set_fontweight("bold" if learner else "normal")
        label.set_color(_INK if learner else "#777777" if label.get_text() in told else "#444444")
    title = f"{case['name']}{' ‡' if case['marks'] else ''}"
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=6)
    axes.set_title(f"{case['headline']}, %", loc="right", fontsize=8, color=_colour(case["headline"], sets), pad=6)


def _dot(axes: Axes, figures: dict[str, Any], row: float, colour: str, big: bool) -> None:
    if figures["low"] is not None:
        axes.plot(
            [figures["low"], figures["high"]],
            [row, row],
            color=colour,
            lw=2.2 if big else 1.4,
            alpha=0.55,
            solid_capstyle="round",
            zorder=2,
        )
    size = 30 if big else 14
    axes.scatter([figures["mean"]], [row], s=size, color=colour, edgecolors="white", linewidths=0.6, zorder=3)


def _colour(name: str, sets: list[str]) -> str:
    if name in COLOURS:
        return COLOURS[name]
    others = [other for other in sets if other not in COLOURS]
    return _SPARE[others.index(name) % len(_SPARE)] if name in others else _INK


def _legend(figure: Figure, cases: list[dict[str, Any]], height: float) -> None:
    """One key for the whole picture, common test sets first."""
    from matplotlib.lines import Line2D

    names: dict[str, str] = {}
    for case in cases:
        sets = shown_sets(case)
        names |= {name: _colour(name, sets) for name in sets}
    order = sorted(names, key=lambda name: (name not in _SHOWN, name not in COLOURS))
    handles: list[Any] = [
        Line2D([], [], color=names[name], marker="o", ms=5, mec="white", lw=1.8, label=name) for name in order
    ]
    if any(judged.get("at_least") is not None for case in cases for judged in case["targets"]):
        handles.append(Line2D([], [], color="#777777", lw=1, ls=":", label="target"))
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 0.1 / height),
        ncols=min(len(handles), 7),
        frameon=False,
        fontsize=8.5,
        handlelength=1.6,
        columnspacing=1.6,
    )
