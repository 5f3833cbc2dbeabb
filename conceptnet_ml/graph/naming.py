"""What a node is called where people read of it: by what it is, not by the run's names."""

from __future__ import annotations

from collections.abc import Sequence

from conceptnet_ml.graph.schema import Node


def called(node: Node) -> str:
    """A node by what it is, its classes and where it was found; or the user's name for it."""
    if node.name:
        return node.name
    at, names = f"round {node.round}, {node.stage}", listed([*node.classes], 4)
    if node.kind == "generalized":
        return f"What {names} exchange ({at})"
    if node.kind == "variant":
        return f"What is exchanged, as it looks in {names} ({at})"
    if node.kind == "feature":
        below = "" if node.parent is None else ", below what is exchanged above"
        return f"What makes {names} ({at}{below})"
    return node.label if node.kind == "class" else f"{node.stage}, unit {' '.join(map(str, node.units))}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``car, dog and cat``; of many the first, and how many more."""
    shown = [*names] if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
