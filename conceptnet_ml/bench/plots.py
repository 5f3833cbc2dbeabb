"""The results as a picture: one panel a case, one row a method, a dot with its range or interval for each test set; of
a matrix a heat map of recovery, with the harm beside it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptnet_ml.bench.cases import LEARNED, ORDINARY
from conceptnet_ml.bench.intervals import spread
from conceptnet_ml.bench.matrix import NONE
from conceptnet_ml.bench.results import ROOM
from conceptnet_ml.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"conflict": "#D55E00", "random": "#0072B2", "aligned": "#009E73", "test": "#444444", "absent": "#CC79A7"}
_SPARE = ("#E69F00", "#56B4E9", "#8C6BB1", "#A6761D", "#999999", "#66A61E")
_TRAPS = ("conflict", "random", "aligned")
SPACE = 0.35
"""Between groups of cells, in cells."""

_INK, _BAND = "#222222", "#FBEFD9"
_STYLE = Path(__file__).with_suffix(".mplstyle")


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
    with matplotlib.rc_context(fname=_STYLE):
        figure = _heat_map(results) if any(case["place"] for case in cases) else _figure(cases, results)
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
    seeds = len(results["what"]["seeds"])
    band = f", line: {spread(seeds)} over seeds\nband: the learner's on the set in a panel's corner"
    _footer(figure, results, band if seeds > 1 else "")
    return figure


def _footer(figure: Figure, results: dict[str, Any], more: str = "") -> None:
    what = results["what"]
    commits, seeds = ", ".join(commit[:10] for commit in what["commits"]), len(what["seeds"])
    words = f"commit {commits} · mean of {seeds} seed{'s' if seeds > 1 else ''}{more}"
    figure.supxlabel(words, fontsize=7.5, color="#777777")


def _heat_map(results: dict[str, Any]) -> Figure:
    """Recovery in every cell of the matrix: rows are traps with their exceptions, columns data, network by network."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    cells = {tuple(case["place"].values()): case for case in results["cases"] if case["place"]}
    parts = zip(*cells, strict=True)
    along = dict(zip(("trap", "exceptions", "data", "backbone"), map(list, map(dict.fromkeys, parts)), strict=True))
    along["exceptions"].sort(key=float)
    rows = _spaced(along["trap"], along["exceptions"], {(place[0], place[1]) for place in cells if place[0] != NONE})
    columns = _spaced(along["backbone"], along["data"], {(place[3], place[2]) for place in cells})
    tall = max(24, *rows.values()) + 1  # a small matrix has cells as large as a large one's
    figure = Figure(figsize=(8, 0.19 * tall + 1.3), layout="constrained")
    title = "Recovery: 1, nothing is left of the cue; 0, nothing was done"
    figure.suptitle(title, x=0.02, ha="left", fontsize=10.5, fontweight="bold")
    heights = (len(along["data"]), 9, 9, max(1, tall - 20))
    grid = figure.add_gridspec(4, 2, width_ratios=(6, 1), height_ratios=heights)
    scales = [ScalarMappable(Normalize(0, top), name) for top, name in ((1, "PuOr"), (5, "Reds"))]
    axes, beside = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
    for (trap, share, data, backbone), case in cells.items():
        if trap != NONE:
            place = columns[backbone, data], rows[trap, share]
            _tile(axes, place, case["recovery"].get(LEARNED), scales[0], case["meaningless"])
        else:
            place = float(along["backbone"].index(backbone)), float(along["data"].index(data))
            _tile(beside, place, case["harm"].get(LEARNED), scales[1], False)
    _label_map(axes, rows, columns)
    axes.set_ylim(tall, 0)
    if NONE in along["trap"]:
        _frame(beside, list(enumerate(along["backbone"])), list(enumerate(along["data"])))
        beside.set_title("harm, points\n(no trap)", fontsize=8, loc="left")
    else:
        beside.set_axis_off()
    for below, (scale, title) in enumerate(zip(scales, ("recovery", "harm"), strict=True), 1):
        room = figure.add_subplot(grid[below, 1])
        room.set_axis_off()
        bar = figure.colorbar(scale, cax=room.inset_axes((0, 0, 0.25, 0.9)), extend="both")
        bar.ax.tick_params(labelsize=7.5)
        bar.ax.set_title(title, loc="left", fontsize=8)
    words = f"no meaning:\nthe ceiling is\nless than {ROOM:g}\npoints above\nordinary"
    key = [Patch(fc="#DDDDDD", label="not measured"), Patch(fc="white", ec="#999999", hatch="/////", lw=0, label=words)]
    last = figure.add_subplot(grid[3, 1])
    last.set_axis_off()
    last.legend(handles=key, loc="upper left", bbox_to_anchor=(-0.1, 1), frameon=False, fontsize=7.5)
    _footer(figure, results)
    return figure


def _spaced(groups: Sequence[str], members: Sequence[str], there: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Where each member of each group that is there begins, with some space between the groups."""
    found: dict[tuple[str, str], float] = {}
    at = 0.0
    for group in groups:
        for one in members:
            if (group, one) in there:
                found[group, one] = at
                at += 1
        at += SPACE * any(name == group for name, _ in found)
    return found


def _tile(axes: Axes, at: tuple[float, float], found: Any, scale: ScalarMappable, meaningless: bool) -> None:
    """One cell: coloured with its number, hatched where it is measured and says nothing, else grey."""
    from matplotlib.patches import Rectangle

    if found is None:
        look = {"fc": "white", "ec": "#999999", "hatch": "/////", "lw": 0} if meaningless else {"fc": "#DDDDDD"}
        axes.add_patch(Rectangle(at, 0.97, 0.94, **look))
        return
    colour = scale.to_rgba(found["mean"])
    axes.add_patch(Rectangle(at, 0.97, 0.94, fc=colour))
    text = f"{found['mean']:.{2 if scale.norm.vmax == 1 else 1}f}".replace("-", "−")
    light = sum(part * weight for part, weight in zip(colour, (0.3, 0.59, 0.11), strict=False)) > 0.55
    ink = _INK if light else "white"
    axes.text(at[0] + 0.485, at[1] + 0.5, text, fontsize=7.5, color=ink, ha="center", va="center")


def _label_map(axes: Axes, rows: dict[tuple[str, str], float], columns: dict[tuple[str, str], float]) -> None:
    """Left the exceptions and the traps, above the data and the networks."""
    shares = [(at, f"{100 * float(share):g} %") for (_, share), at in rows.items()]
    _frame(axes, [(at, data) for (_, data), at in columns.items()], shares)
    for places, upwards in ((rows, False), (columns, True)):
        for group in dict.fromkeys(group for group, _ in places):
            own = [at for (name, _), at in places.items() if name == group]
            middle = (own[0] + own[-1] + 1) / 2
            at, away = ((middle, 0), (0, 52)) if upwards else ((0, middle), (-34, 0))
            align: Any = {"ha": "center" if upwards else "right", "va": "bottom" if upwards else "center"}
            axes.annotate(group, at, away, textcoords="offset points", fontweight="bold", fontsize=8.5, **align)


def _frame(axes: Axes, columns: Sequence[tuple[float, str]], rows: Sequence[tuple[float, str]]) -> None:
    """Names at the middle of cells, rows downwards; no lines."""
    axes.set_xlim(0, max((at for at, _ in columns), default=0) + 1)
    axes.set_ylim(max((at for at, _ in rows), default=0) + 1, 0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    short = [name.removeprefix("torchvision:") for _, name in columns]
    axes.set_xticks([at + 0.5 for at, _ in columns], short, rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks([at + 0.5 for at, _ in rows], [name for _, name in rows])
    axes.tick_params("both", labelsize=8, size=0)


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
