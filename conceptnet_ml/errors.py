"""Errors that a user can mend. Each has the exit code of the command line and, where there is one, the mend."""

from __future__ import annotations

import difflib
import shlex
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


FEW, SHOWN = 20, 8
"""Names that are all listed; of more only so many, the nearest."""


def nearest(name: str, known: Iterable[str], listing: str = "") -> str:
    """A mend with the names that exist, the closest first: ``Did you mean 'wheels'? Known: …``.

    Args:
        name: What was asked for.
        known: What exists.
        listing: The command that lists all.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    if len(known) > FEW:
        inside = [one for one in known if name.casefold() in one.casefold()]
        some = [*dict.fromkeys([*difflib.get_close_matches(name, known, n=SHOWN, cutoff=0.4), *inside])][:SHOWN]
        which = f"Nearest: {', '.join(some)}. " if some else ""
        return hint + which + (f"'{listing}' lists all {len(known)}." if listing else f"There are {len(known)}.")
    return f"{hint}Known: {', '.join(known) or 'none'}."


def quoted(path: object) -> str:
    """A path as it stands in a command that is to be copied."""
    return shlex.quote(str(path))
