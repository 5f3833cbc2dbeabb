"""Errors that a user can mend. Each has the exit code of the command line and, where there is one, the mend."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from pathlib import Path


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
    """The work was stopped; all finished steps are saved.

    Args:
        message, mend: As for all errors.
        exit_code: 128 and the number of the signal that stopped it, as shells have it; 130 is Ctrl-C.
    """

    exit_code = 130

    def __init__(self, message: str, mend: str = "", exit_code: int = 130) -> None:
        super().__init__(message, mend)
        self.exit_code = exit_code


class TrainingDiverged(ConceptNetError):
    """The loss became NaN or infinite; the last good state is kept."""

    exit_code = 1


class NothingLearned(ConceptNetError):
    """The ordinary network answers no better than chance: there is nothing in it to look for."""


_HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

FEW, SHOWN, MOST = 20, 8, 40
"""Names that are all listed; of more only so many, the nearest; and how many are all listed where none is near."""


def nearest(name: str, known: Iterable[str], listing: str = "", cutoff: float = 0.5, things: str = "") -> str:
    """A mend with the names that exist, the closest first: ``Did you mean 'wheels'? Known: …``. What begins like the
    name is closest.

    Args:
        name: What was asked for.
        known: What exists.
        listing: The command that lists all.
        cutoff: How alike, of 1, a name must be to be suggested.
        things: How many it lists, where names are not all that is listed: ``97 nodes``.
    """
    known = sorted(known)
    begins = [one for one in known if len(name) > 2 and one.casefold().startswith(name.casefold())]
    close = begins or difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    if len(known) > FEW:
        inside = [one for one in known if name.casefold() in one.casefold()]
        alike = difflib.get_close_matches(name, known, n=SHOWN, cutoff=cutoff - 0.05)
        some = [*dict.fromkeys([*alike, *inside])][:SHOWN]
        which = f"Nearest: {', '.join(some)}. " if some else ""
        if not some and len(known) <= MOST:
            which = f"Known: {', '.join(known)}. "
        return (
            hint + which + (f"'{listing}' lists all {things or len(known)}." if listing else f"There are {len(known)}.")
        )
    return f"{hint}Known: {', '.join(known) or 'none'}."


def meant_path(path: str | Path, file: bool = False) -> str:
    """What may have been meant where there is nothing at a path: ``Did you mean 'pics/photos'? ``, a folder, or a
    ``file``, that is called nearly so. Empty where there is none.
    """
    path = Path(path)
    try:
        missing = next((one for one in (*reversed(path.parents), path) if not one.exists()), path)
        rest = path.relative_to(missing)
        names = {one.name.casefold(): one for one in missing.parent.iterdir()}
        close = difflib.get_close_matches(missing.name.casefold(), names, n=3, cutoff=0.7)
        found = [names[name] / rest for name in close]
        meant = next((one for one in found if (one.is_file() if file else one.is_dir())), None)
    except (OSError, ValueError):  # a folder that cannot be read, a name that none can have
        return ""
    return "" if meant is None else f"Did you mean '{meant}'? "


def visible(text: str) -> str:
    """A text from a file or its name as it can be written to a terminal: what moves the cursor, turns the direction of
    writing or is half a character is written as Python writes it. Line breaks stay.
    """
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def quoted(path: object) -> str:
    """A path as it stands in a command that is to be copied."""
    return shlex.quote(str(path))
