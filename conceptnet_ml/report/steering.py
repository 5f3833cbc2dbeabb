"""What a reader may decide on a page that is served: orders, checked against the run, and the commands they stand for.

A page names an action, a round and nodes, never a command line. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conceptnet_ml.config.sources import PROGRAM
from conceptnet_ml.errors import SettingsError, nearest, quoted, visible
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.results.summary import close_words, other_word, shown_probe
from conceptnet_ml.results.verdict import Entry, kept

LONGEST = {"rename": 200, "annotate": 2000}
"""Letters of a name and of a note, at most."""

_DECIDE, _EDIT, _NAME, _PLAIN = ("keep", "undo"), ("merge", "split", "forget"), tuple(LONGEST), ("go-on", "take-back")
ACTIONS = (*_DECIDE, *_EDIT, *_NAME, *_PLAIN)
_SIDES = ("inside", "outside")


@dataclass(frozen=True)
class Order:
    """One thing to be done with a run.

    Args:
        action: One of :data:`ACTIONS`: ``keep`` and ``undo`` decide a round and learn on, ``go-on`` learns on,
            ``take-back`` undoes the last edit, all else are the edits of ``graph`` by their names.
        round, representation, side: For ``keep`` and ``undo``: the round's name; to keep, in which representation, and
            which side of its gates is exchanged, ``inside`` or ``outside``; empty for what the rule finds.
        nodes: Ids of the nodes that are edited.
        text: The name or the note.
    """

    action: str
    round: str = ""
    representation: str = ""
    side: str = ""
    nodes: tuple[str, ...] = ()
    text: str = ""

    def plain(self) -> dict[str, Any]:
        """As a page sends it."""
        given = {**asdict(self), "nodes": [*self.nodes]}
        return {name: value for name, value in given.items() if value}

    def words(self, run: object, flags: Sequence[str] = ()) -> list[str]:
        """The command's words after the program's name.

        Args:
            run: The run folder.
            flags: ``--trust`` and of which plugins there are, as the commands take them.
        """
        if self.action in (*_DECIDE, "go-on"):
            named = "/".join(filter(None, (self.round, self.representation)))
            decided = [f"--{self.action}", f"{named}:{self.side}" if self.side else named] if named else []
            return ["learn", *flags, "--resume", str(run), *decided]
        if self.action == "take-back":
            return ["graph", "undo", "--", str(run)]
        given = flags if self.action in _EDIT else [flag for flag in flags if flag == "--trust"]
        text = [self.text] if self.action in _NAME else []
        return ["graph", self.action, *given, "--", str(run), *self.nodes, *text]

    def command(self, run: object, flags: Sequence[str] = ()) -> str:
        """The command, to be read and copied."""
        return " ".join([PROGRAM, *map(quoted, self.words(run, flags))])


def parse_order(given: Any, summary: dict[str, Any], graph: ConceptGraph) -> Order:
    """The order that a page sent, as JSON gives it. Raises SettingsError where it is none, or names a round or a node
    that the run does not have."""
    fields: dict[str, Any] = given if isinstance(given, dict) else {}
    action = fields.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise SettingsError(f"there is no action '{visible(str(action)[:80])}'", f"Known: {', '.join(ACTIONS)}.")
    makers: dict[tuple[str, ...], Callable[[], Order]] = {
        _DECIDE: lambda: _decision(action, fields, summary),
        _EDIT: lambda: Order(action, nodes=_nodes(fields, graph, None if action == "merge" else 1)),
        _NAME: lambda: Order(action, nodes=_nodes(fields, graph, 1), text=_text(fields, LONGEST[action])),
        _PLAIN: lambda: Order(action),
    }
    order = next(make for actions, make in makers.items() if action in actions)()
    if unknown := sorted(set(fields) - set(order.plain()) - {"text"}):
        raise SettingsError(f"{action} takes no '{visible(str(unknown[0])[:80])}'")
    return order


def _decision(action: str, fields: dict[str, Any], summary: dict[str, Any]) -> Order:
    rounds = {entry["name"]: entry for entry in summary["rounds"]}
    entry = rounds[_one_of(fields, "round", [*rounds])]
    if action == "undo":
        return Order(action, entry["name"])
    tried = [one["representation"] for one in entry["representations"]]
    representation = _one_of(fields, "representation", tried, may_lack=True)
    side = _one_of(fields, "side", _SIDES, may_lack=True)
    if side and not representation:
        raise SettingsError("a side of the gates needs its representation")
    return Order(action, entry["name"], representation, side)


def _one_of(fields: dict[str, Any], name: str, known: Sequence[str], may_lack: bool = False) -> str:
    value = fields.get(name, "" if may_lack else None)
    if not isinstance(value, str) or (value not in known and not (may_lack and not value)):
        shown = visible(str(value)[:80])
        raise SettingsError(f"this run has no {name} '{shown}'", nearest(shown, known))
    return value


def _nodes(fields: dict[str, Any], graph: ConceptGraph, count: int | None) -> tuple[str, ...]:
    """Ids of nodes of the graph: so many, or two and more."""
    nodes = fields.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(one, str) for one in nodes):
        raise SettingsError("'nodes' is no list of ids")
    if gone := [one for one in nodes if one not in graph]:
        raise SettingsError(f"this run has no node '{visible(gone[0][:80])}'", "Load the page again.")
    if len(nodes) != len(set(nodes)) or (len(nodes) != count if count else len(nodes) < 2):
        raise SettingsError(f"nodes named: {len(nodes)}", f"Name {count or 'two or more, each once'}.")
    return tuple(nodes)


def _text(fields: dict[str, Any], longest: int) -> str:
    text = fields.get("text")
    if not isinstance(text, str) or len(text) > longest or "\n" in text or visible(text) != text:
        raise SettingsError(f"this is not one line of at most {longest} letters", "Write a shorter one, in one line.")
    return text


# ------------------------------------------------------------------------------------------------ what is offered


def suggested_orders(summary: dict[str, Any]) -> list[tuple[Order, str]]:
    """The decisions that a reader is most likely to change, and what each is for."""
    found = kept(summary)
    orders = [(Order("undo", entry["name"]), "take this round back: it is a part of the object") for entry in found]
    first = None if found else next(iter(summary["rounds"]), None)
    if first is not None and (shown := shown_probe(first)) is not None:
        order = Order("keep", first["name"], shown["representation"])
        orders.append((order, "exchange it all the same: you know that it is a cue"))
    for entry in (one for one in summary["rounds"] if one not in found and close_words(one)):
        _, _, representation = other_word(entry).partition(f"{entry['name']}/")
        close = Order("keep", entry["name"], representation)
        if close not in dict(orders):
            orders.append((close, "exchange this, too: that it was refused is a close call"))
    return orders + [
        (side, f"exchange what lies {side.side} the gates instead: the picture shows the wrong side")
        for side in map(_other_side, found)
        if side
    ]


def round_orders(entry: Entry) -> list[tuple[Order, str]]:
    """What may be decided of a round, and in which words its buttons say so."""
    if entry["decision"] == "kept":
        side = _other_side(entry)
        other = [(side, f"Exchange what lies {side.side} the gates instead")] if side else []
        return [(Order("undo", entry["name"]), "Undo this round"), *other]
    tried = [one["representation"] for one in entry["representations"]]
    several = len(tried) > 1
    return [
        (Order("keep", entry["name"], one), f"Exchange it all the same{f', in {one}' if several else ''}")
        for one in tried
    ]


def _other_side(entry: Entry) -> Order | None:
    """The other side of the gates of a kept round; None where they have no sides, as below the top stage."""
    gates = {one["representation"]: one["gate"] for one in entry["representations"]}
    if gates.get(entry["chosen"]) != "place" or "." in entry["name"].removeprefix(f"{entry['stage']}/"):
        return None
    return Order("keep", entry["name"], entry["chosen"], "inside" if "exchanged" in entry else "outside")
