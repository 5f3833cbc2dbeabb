"""What a node is called where people read of it: by what it is, not by the run's names."""

from __future__ import annotations

from collections.abc import Sequence

from conceptnet_ml.graph.schema import Node


def called(node: Node) -> str:
    """A node by what it is, its classes and where it was found; or the user's name for it."""
    if node.name:
        return node.name
    at, names = f"round {node.round}, {node.stage}{_below(node)}", listed([*node.classes], 4)
    if node.kind == "generalized":
        return f"What {names} exchange ({at})"
    if node.kind == "variant":
        return f"What is exchanged, as it looks in {names} ({at})"
    if node.kind == "feature":
        return f"What makes {names} ({at})"
    return node.label if node.kind == "class" else f"{node.stage}, {_units(node)}"


def brief(node: Node) -> str:
    """What it is in few words, for a small place; or the user's name for it."""
    who = listed([*node.classes], 3)
    words = {
        "class": node.label,
        "generalized": f"what {who} exchange",
        "variant": f"exchanged, in {who}",
        "feature": f"what makes {who}",
    }
    return node.name or words.get(node.kind) or _units(node)


def spoken(node: Node) -> set[str]:
    """All that it is called anywhere, in small letters: commands find it by each."""
    bare = called(node).partition(" (")[0]
    words = (node.label, node.name, called(node), bare, brief(node), f"{node.kind} {node.id}")
    return {one.casefold() for one in words if one}


def _below(node: Node) -> str:
    """Below the top stage, whose answers it was found in: ``, below what block3.1 found``, from the round's name."""
    readout = (node.found_in or "").removeprefix(f"{node.stage}/").rpartition("/")[0]
    if readout in ("", "classes"):
        return "" if node.parent is None or readout else ", below what is exchanged above"
    return f", {below_what(readout)}"


def round_called(name: str, stage: str) -> str:
    """A round, by its name and stage, in the words that :func:`called` has for what it found: ``round 1, block2, below
    what block3.1 found``."""
    readout, _, number = name.removeprefix(f"{stage}/").rpartition("/")
    return f"round {number}, {stage}" + ("" if readout in ("", "classes") else f", {below_what(readout)}")


def below_what(readout: str) -> str:
    """Where a round below the top stage works, by its readout's key: ``below what block3.1 found``."""
    above, _, last = readout.rpartition(".")
    return f"below the object that is left at {above}" if last == "leaf" else f"below what {readout} found"


def _units(node: Node) -> str:
    return f"unit {' '.join(map(str, node.units))}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``car, dog and cat``; of many the first, and how many more."""
    shown = [*names] if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
