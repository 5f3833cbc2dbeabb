"""What columns and parts of a table of images are called: of ``csv:FILE`` and of ``hf:NAME``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conceptnet_ml.errors import DataError

LABELS = ("label", "labels", "class", "class_name", "category", "target")
"""What the column of labels may be called, where no setting says it."""

SPLITS = ("split", "set", "subset", "partition")
"""The same of the column of parts."""

TRAIN, TEST, HELD = "train", "test", "val"
_OTHER_NAMES = {
    "training": TRAIN,
    "testing": TEST,
    "valid": HELD,
    "validation": HELD,
    "dev": HELD,
    "eval": HELD,
}
_NAME = re.compile(r"\w([\w .+-]*[\w+-])?")
_RESERVED = ("unbiased", "turned train", "turned test")


def parts_of(source: str, names: Sequence[str], test_alone: bool) -> list[str]:
    """The part of each image: ``train``, ``test``, ``val`` for held-out images, or the name of a further test set.

    Nobody is held out where there is no test part: ``val`` is the test set then. Where there are no training images and
    only tests are wanted, one part of any name is ``test``.

    Args:
        source: What the data are, for messages.
        names: Of each image's part, as they stand there; empty is ``train``.
        test_alone: Whether nothing is trained.

    Raises:
        DataError: A name that no test set can have.
    """
    plain = {name: _plain(name) for name in dict.fromkeys(names)}
    wrong = next((name for name, known in plain.items() if not _NAME.fullmatch(known) or known in _RESERVED), None)
    if wrong is not None:
        raise DataError(f"{source}: '{wrong}' cannot name a part.", "Use train, val, test, or letters and digits.")
    if TEST not in plain.values():
        plain = {name: TEST if part == HELD else part for name, part in plain.items()}
    elif test_alone:
        plain = {name: "validation" if part == HELD else part for name, part in plain.items()}
    return [plain[name] for name in names]


def names_of_tests(parts: Sequence[str]) -> list[str]:
    """The test sets among the parts, ``test`` first."""
    return sorted({*parts} - {TRAIN, HELD}, key=lambda name: (name != TEST, name))


def _plain(name: str) -> str:
    folded = name.casefold().strip()
    return TRAIN if not folded else _OTHER_NAMES.get(folded, folded if folded in (TRAIN, TEST, HELD) else name.strip())
