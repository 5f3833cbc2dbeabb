"""Draws docs/results/field.png: published figures beside those of docs/results/field.md, which says where each is from.

python benchmarks/field_picture.py docs/results/field.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from conceptnet_ml.bench import plots


@dataclass(frozen=True)
class Row:
    """Per cent on images whose cue is drawn at random, or on the test set; of several seeds the mean.

    Args:
        name: Of the protocol, and what is counted.
        ordinary, learned: Ours.
        published: The best method that is not told the cue, and its name; with † it is shown the new world.
        plain: Published for ordinary training, if anything.
        ceiling: Ours, trained with the cue at random, where it was run.
        seeds: Of ours.
    """

    name: str
    ordinary: float
    learned: float
    published: tuple[float, str]
    plain: float | None = None
    ceiling: float | None = None
    seeds: int = 1


ROWS = (
    Row("MC-Dominoes, average", 50.0, 92.2, (92.8, "DivDis †"), 50.0, 92.1, 4),
    Row("MC-Dominoes, worst group", 0.0, 90.3, (87.5, "DivDis †"), 0.0, 91.1, 4),
    Row("coloured MNIST, 0.5 %", 42.2, 98.9, (89.0, "FG-CCDB"), 35.0),
    Row("coloured MNIST, 0.5 %, published MLP", 15.0, 95.5, (89.0, "FG-CCDB"), 35.0),
    Row("coloured MNIST, 5 %", 95.5, 99.0, (98.2, "FG-CCDB"), 82.0),
    Row("FB-Biased-MNIST, .99", 19.8, 92.3, (69.5, "BAdd, told the cue")),
    Row("SpuCoMNIST, .995, average", 20.0, 80.3, (82.6, "SPARE, chosen by the cue"), 60.7),
    Row("SpuCoMNIST, .995, worst group", 0.0, 38.9, (54.7, "SPARE, chosen by the cue"), 7.7),
    Row("corrupted CIFAR-10, 0.5 %; first round only", 14.6, 40.3, (55.3, "FG-CCDB"), 23.0),
    Row("BAR, pretrained; refused", 53.5, 53.5, (73.8, "DeNetDM, 1 % exceptions"), 55.0),
)
"""As in the tables of field.md."""

OURS, THEIRS = plots.COLOURS["random"], plots.COLOURS["conflict"]


def draw(file: Path) -> None:
    """One line a protocol: ours from ordinary to learned, theirs above it."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with matplotlib.rc_context(fname=Path(plots.__file__).with_suffix(".mplstyle")):
        figure = Figure(figsize=(8.6, 0.62 * len(ROWS) + 1.3), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(ROWS):
            ours, theirs = place + 0.13, place - 0.17
            axes.plot([row.ordinary, row.learned], [ours, ours], color=OURS, lw=2.4, alpha=0.35)
            axes.plot(row.ordinary, ours, "o", color="white", mec=OURS, ms=6)
            axes.plot(row.learned, ours, "o", color=OURS, ms=7.5)
            best, who = row.published
            if row.plain is not None:
                axes.plot([row.plain, best], [theirs, theirs], color=THEIRS, lw=2.4, alpha=0.3)
                axes.plot(row.plain, theirs, "D", color="white", mec=THEIRS, ms=5)
            axes.plot(best, theirs, "D", color=THEIRS, ms=5.5)
            axes.text(best + 1.4, theirs, f"{best:.1f} {who}", va="center", fontsize=7, color=THEIRS)
            axes.text(row.learned + 1.4, ours, f"{row.learned:.1f}", va="center", fontsize=8, color=OURS, weight="bold")
            if row.ceiling is not None:
                axes.plot([row.ceiling] * 2, [ours - 0.14, ours + 0.14], color="#222222", lw=1.4)
        names = [f"{row.name}\n{row.seeds} seed{'s' * (row.seeds > 1)}" for row in ROWS]
        axes.set_yticks(range(len(ROWS)), names)
        axes.set_ylim(len(ROWS) - 0.4, -0.6)
        axes.set_xlim(-2, 122)
        axes.set_xticks(range(0, 101, 20))
        marks = (
            ("o", "white", OURS, "ordinary training, ours"),
            ("o", OURS, OURS, "learned, not told the cue"),
            ("|", "#222222", "#222222", "ceiling, where it was run"),
            ("D", "white", THEIRS, "ordinary training, published or theirs"),
            ("D", THEIRS, THEIRS, "their best"),
        )
        shown = ({"marker": mark, "color": fill, "mec": edge, "label": name} for mark, fill, edge, name in marks)
        handles = [Line2D([], [], ls="", ms=6, **one) for one in shown]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        figure.supxlabel("per cent; networks and schedules differ, see the text", fontsize=7.5, color="#777777")
        figure.savefig(file, dpi=150, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
