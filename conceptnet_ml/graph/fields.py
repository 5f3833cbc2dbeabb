"""Types of values in the concept graph's records, and the base class of all its records.

Imports neither torch nor networkx. Shares, rates and accuracies are in [0, 1]; every number is finite.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class GraphRecord(BaseModel):
    """Frozen, no unknown fields, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True)

    def plain(self) -> dict[str, Any]:
        """The record as JSON values, without fields that are not set."""
        return self.model_dump(mode="json", exclude_none=True)


def usable(text: str) -> bool:
    """Whether a text can stand in the graph: it is not empty, and has no control characters and no halves of pairs."""
    # isprintable first: it is one call in C, and nearly every text passes it
    return bool(text) and (
        text.isprintable()
        or not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\ufffe\uffff" for c in text)
    )


def _printable(text: str) -> str:
    if text and not usable(text):
        raise ValueError("must not contain control characters")
    return text


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be relative to the run folder")
    return path


def _ascending(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(numbers)) != len(numbers):
        raise ValueError("must not repeat")
    return tuple(sorted(numbers))


def _read_only(shares: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(shares))


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    return dict(value)


def _low_to_high(spectrum: Mapping[str, tuple[float, float, float]]) -> Mapping[str, tuple[float, float, float]]:
    for name, (low, _, high) in spectrum.items():
        if low > high:
            raise ValueError(f"of {name} is upside down: 10 % quantile {low} > 90 % quantile {high}")
    return _read_only(spectrum)


Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]

Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]

Number = Annotated[float, AfterValidator(lambda number: number + 0.0)]
"""Minus zero is stored as zero, so that equal records are written with the same characters."""

Share = Annotated[Number, Field(ge=0, le=1)]

Count = Annotated[int, Field(ge=0)]

Units = Annotated[tuple[Count, ...], AfterValidator(_ascending)]

PicturePath = Annotated[Text, AfterValidator(_inside)]

Spectrum = Annotated[
    Mapping[Text, tuple[Number, Number, Number]],
    BeforeValidator(_mapping),
    AfterValidator(_low_to_high),
    PlainSerializer(dict),
]

Shares = Annotated[Mapping[Text, Share], BeforeValidator(_mapping), AfterValidator(_read_only), PlainSerializer(dict)]
