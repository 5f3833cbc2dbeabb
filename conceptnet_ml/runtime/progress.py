"""The one progress display: nested bars with an estimate on a terminal, a plain line every few seconds elsewhere.

All of it goes to stderr; stdout is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.table import Column

from conceptnet_ml.errors import visible

_WIDE = 130  # columns of a terminal that hold a bar beside a line of words
_REDRAW = 0.1  # seconds; below it an update costs more than it shows


class SafeConsole(Console):
    """A console whose texts cannot steer the terminal: names of files and classes, words of others."""

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else visible(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


class Task:
    """A piece of work; made by :meth:`Progress.task`."""

    def __init__(self, name: str, total: float | None, depth: int, show: Callable[[Task], None]) -> None:
        self.name, self.total, self.depth = name, total, depth
        self.done, self.figures = 0.0, dict[str, Any]()
        self.started = time.monotonic()
        self.bar: TaskID | None = None
        self._show, self._shown = show, 0.0

    def advance(self, steps: float = 1, **figures: Any) -> None:
        """Count ``steps`` as done and show the figures beside the bar, ``advance(1, loss=0.3)``.

        A figure may be a tensor with one element: it is read only when it is drawn, a few times a second, so that not
        every step waits for the device.
        """
        self.done += steps
        self.figures.update(figures)
        now = time.monotonic()
        if now - self._shown >= _REDRAW:
            self._shown = now
            self._show(self)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds left at the mean speed so far; None where that is unknown."""
        if not self.total or not self.done:
            return None
        return max(0.0, self.seconds * (self.total / self.done - 1))

    def counts(self) -> str:
        """``120/300``, or ``120`` where the total is not known."""
        return f"{self.done:g}" if self.total is None else f"{self.done:g}/{self.total:g}"

    def figures_text(self) -> str:
        """``loss 0.312  accuracy 0.94``."""
        return "  ".join(f"{name} {_number(value)}" for name, value in self.figures.items())

    def line(self, begin: str, *parts: str) -> str:
        """A line on it, indented as deep as it lies."""
        return "  " * self.depth + "  ".join(part for part in (begin, *parts) if part)


class Outline(Protocol):
    """What is known of the whole work, of which each outermost task is a step."""

    def words(self, name: str) -> str:
        """What a task of this name does, in plain words."""

    def begin(self, name: str) -> str:
        """A step begins: its number and its words."""

    def end(self, seconds: float) -> None:
        """The step is done."""

    def left(self, task: Task | None = None) -> float | None:
        """About how many seconds are left in all, with those of the step under way; None where nobody knows."""

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet which steps there will be, so that nobody can foresee the rest."""


class Progress:
    """Shows what is being done and how long it will still take.

        with Progress() as progress, progress.task("train ordinary", total=300) as task:
            task.advance(1, loss=loss)

    Args:
        quiet: Show nothing.
        stream: Where to write; stderr by default.
        interval: Seconds between two lines where there is no terminal.
    """

    def __init__(self, quiet: bool = False, stream: IO[str] | None = None, interval: float = 5.0) -> None:
        self._console = SafeConsole(file=stream or sys.stderr, highlight=False, quiet=quiet)
        self._quiet, self._interval = quiet, interval
        self.outline: Outline | None = None
        """What is known of the whole; None for work that is its own whole."""
        self._open: list[Task] = []
        self._last_line = time.monotonic()
        wide = self._console.width >= _WIDE
        words = Column(max_width=max(24, self._console.width * (5 if wide else 4) // 10))  # longer ones are folded
        self._bars = Bars(
            TextColumn("{task.description}", markup=False, table_column=words),
            BarColumn(bar_width=24 if wide else 8),
            TextColumn("{task.fields[counts]}", "cyan", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left", "dim"),
            TextColumn("{task.fields[figures]}", "magenta", markup=False, table_column=Column()),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=quiet or not self._console.is_terminal,
        )

    @contextmanager
    def task(self, name: str, total: float | None = None) -> Iterator[Task]:
        """Show a piece of work while the block runs; tasks opened inside it are shown below it.

        Args:
            name: What is being done, ``"train ordinary"``.
            total: Number of steps; None where that is not known.
        """
        outline = self.outline
        if outline is not None:
            name = outline.words(name) if self._open else outline.begin(name)
        task = Task(name, total, len(self._open), self._update)
        self._open.append(task)
        task.bar = self._bars.add_task(task.line(name), total=total, counts="", figures="")
        # Work that cannot be counted would otherwise not be mentioned until it is done.
        if self._bars.disable and not task.depth and total is None:
            self.say(f"{name}…")
        try:
            yield task
            # There may be hundreds of short inner tasks: no line for each.
            if outline is not None and not task.depth:
                outline.end(task.seconds)
            if task.depth == 0 or task.seconds >= self._interval:
                counts = task.counts() if task.done else ""
                rest = "" if task.depth else self._rest()
                self.say(task.line(f"{name}: done in {_clock(task.seconds)}", counts, task.figures_text(), rest))
        finally:
            self._bars.remove_task(task.bar)
            self._open.remove(task)

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        self._console.print(text, markup=False, emoji=False, soft_wrap=self._bars.disable)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, task: Task) -> None:
        """Draw a task's bar, or write a line for it where the last one was written long enough ago."""
        if not self._bars.disable:
            assert task.bar is not None
            # Figures are read here, in the thread that computes, never in the one that draws.
            counts, figures = task.counts(), task.figures_text()
            if rest := "" if task.depth else self._rest(task):
                figures = f"{figures}  {rest}".strip()
            self._bars.update(task.bar, completed=task.done, total=task.total, counts=counts, figures=figures)
        elif not self._quiet and time.monotonic() - self._last_line >= self._interval:
            self._last_line = time.monotonic()
            left = "" if task.left is None else f"{_clock(task.left)} left"
            rest = "" if task.depth else self._rest(task)
            self.say(task.line(task.name, task.counts(), task.figures_text(), ", ".join(filter(None, (left, rest)))))

    def _rest(self, task: Task | None = None) -> str:
        """``about 5 min to go``, of the whole. Nothing while its steps are not known: in 126 recorded runs the rest
        then took 0.5 to 9 times what was foreseen (5 % to 95 % quantile over their steps)."""
        if self.outline is None or self.outline.is_open:
            return ""
        left = self.outline.left(task)
        return f"{about(left)} to go" if left else ""


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.3g}"


def about(seconds: float) -> str:
    """A time that nobody knows exactly: ``under a minute``, ``about 5 min``, ``about 2.5 h``."""
    if seconds < 50:
        return "under a minute"
    minutes = max(1, round(seconds / 60))
    return f"about {minutes} min" if minutes < 90 else f"about {seconds / 3600:.2g} h"


def _clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
