"""Errors that a user can mend. Each has the exit code of the command line and, where there is one, the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConceptNetError(Exception):
    """An error that the user can mend.

    Args:
        message: The error; names the file or the setting.
        mend: The way to mend it, one sentence; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}\n  {self.mend}" if self.mend else self.message


class SettingsError(ConceptNetError):
    """A wrong flag, setting or argument."""

    exit_code = 2


class DataError(ConceptNetError):
    """Images or run folders that cannot be used as they are."""

    exit_code = 3


class GraphError(ConceptNetError):
    """A concept graph that breaks one of its invariants."""

    exit_code = 3


class PluginError(ConceptNetError):
    """A plugin that is missing, broken or written for another version."""

    exit_code = 4


class Interrupted(ConceptNetError):
    """The user stopped the work; all finished steps are saved."""

    exit_code = 130


class TrainingDiverged(ConceptNetError):
    """The loss became NaN or infinite; the last good state is kept."""

    exit_code = 1


class NothingLearned(ConceptNetError):
    """The ordinary network answers no better than chance: there is nothing in it to look for."""


FEW = 12
"""Names that are read at a glance."""


def nearest(name: str, known: Iterable[str], listing: str = "") -> str:
    """A mend with the names that exist, the closest first: ``Did you mean 'wheels'? Known: …``.

    Args:
        name: What was asked for.
        known: What exists.
        listing: The command that lists all; of more than a few names only the nearest are then said.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    if listing and len(known) > FEW:
        some = difflib.get_close_matches(name, known, n=4, cutoff=0)
        return f"{hint}Nearest: {', '.join(some)}. '{listing}' lists all {len(known)}."
    return f"{hint}Known: {', '.join(known) or 'none'}."
