"""Crossed cases: every trap × share of exceptions × data set × network, from the table ``[matrix]`` of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain, product
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from conceptnet_ml.config.sources import flat_tables

NONE = "none"
"""No trap: these cells show what the learner harms."""

Axis = Literal["trap", "exceptions", "data", "backbone"]
"""The parts of a crossed case's name, in this order, with strokes between them."""


class MatrixRule(BaseModel):
    """What holds for the cells that ``at`` fits: ``settings`` over their own, or no cell where there are none.

    ``at`` has a pattern or several for an axis, ``*`` stands for anything: of several one has to fit, and none of those
    that begin with ``!``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: dict[Axis, str | tuple[str, ...]]
    settings: dict[str, Any] | None = None

    def fits(self, place: Mapping[Axis, str]) -> bool:
        """Whether it holds for the cell at this place."""
        for axis, given in self.at.items():
            patterns = (given,) if isinstance(given, str) else given
            found = [fnmatchcase(place[axis], one) for one in patterns if not one.startswith("!")]
            unwanted = any(fnmatchcase(place[axis], one[1:]) for one in patterns if one.startswith("!"))
            if unwanted or (found and not any(found)):
                return False
        return True


class MatrixTable(BaseModel):
    """The axes, and what is otherwise in some places. ``data`` are tables of ``data.*`` settings by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    traps: tuple[str, ...] = Field(min_length=1)
    exceptions: tuple[float, ...] = Field((0.0,), min_length=1)
    backbones: tuple[str, ...] = Field(("small",), min_length=1)
    data: dict[str, dict[str, Any]] = Field(min_length=1)
    rules: tuple[MatrixRule, ...] = ()

    def cells(self) -> Iterator[tuple[dict[Axis, str], dict[str, Any]]]:
        """The place of every cell, and its settings by dotted name. Without a trap there are no exceptions."""
        for backbone, trap in product(dict.fromkeys(self.backbones), dict.fromkeys(self.traps)):
            shares = (0.0,) if trap == NONE else dict.fromkeys(self.exceptions)
            for share, (data, table) in product(shares, self.data.items()):
                place: dict[Axis, str] = {"trap": trap, "exceptions": f"{share:g}", "data": data, "backbone": backbone}
                own = {"data": {**table, "trap": trap, "exceptions": share}, "network": {"backbone": backbone}}
                rules = [rule.settings for rule in self.rules if rule.fits(place)]
                if None not in rules:
                    parts = (flat_tables(part or {}, "[matrix]") for part in (own, *rules))
                    yield place, dict(chain.from_iterable(parts))
