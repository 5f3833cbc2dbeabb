"""The concept graph as GraphML and back (http://graphml.graphdrawing.org/specification.html).

Lists and objects are JSON strings; numbers are typed ``long`` and ``double``. networkx reads the files, and its own can
be read. Its writer and reader are not used, since they take several times as long
(docs/decisions/0017-graph-size.md): here the text is gone through once, without a tree or a graph in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from conceptnet_ml import ConceptGraph, DataError
from conceptnet_ml.graph.schema import Header
from conceptnet_ml.storage.files import write_atomic

MEND = "Restore the file, or export it again."

_HEAD = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">"""

_DATA, _NODE, _EDGE, _KEY, _GRAPH = (
    f"http://graphml.graphdrawing.org/xmlns {tag}" for tag in ("data", "node", "edge", "key", "graph")
)

_NESTED = frozenset(
    ("classes", "stages", "units", "pictures", "examples", "provenance", "coverage", "shared_by", "spectrum")
)

_TYPES = {str: "string", int: "long", float: "double"}

_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("int", "integer", "long"), int),
    **dict.fromkeys(("float", "double"), float),
}

_Keys = dict[tuple[str, str, str], str]
"""The kind of element, the field's name and its type, to the key's id."""


def write(graph: ConceptGraph, path: Path) -> None:
    """Write GraphML that :func:`parse` reads back to an equal graph.

    Raises:
        DataError: The path cannot be written.
    """
    write_atomic(path, to_graphml(graph))


def to_graphml(graph: ConceptGraph) -> str:
    """GraphML for Gephi, yEd and networkx: lists and objects are JSON strings, what is not set is left out."""
    content, keys = graph.to_plain(), _Keys()
    top = {"schema": content["schema"], "version": content["version"], **content["header"]}
    body = ['  <graph edgedefault="directed">', *_data(keys, "graph", top, "    ")]
    for node in content["nodes"]:
        body += [f'    <node id="{node["id"]}">', *_data(keys, "node", node, "      "), "    </node>"]
    count: Counter[str] = Counter()
    for edge in content["edges"]:
        fields = dict(edge)
        source, target = fields.pop("source"), fields.pop("target")
        name = f"{source}-{edge['kind']}-{target}"
        count[name] += 1
        again = f"-{count[name]}" if count[name] > 1 else ""
        body.append(f'    <edge source="{source}" target="{target}" id="{name}{again}">')
        body += [*_data(keys, "edge", fields, "      "), "    </edge>"]
    declared = [
        f"  <key id={quoteattr(key)} for={quoteattr(owner)} attr.name={quoteattr(name)} attr.type={quoteattr(kind)} />"
        for (owner, name, kind), key in keys.items()
    ]
    return "\n".join([_HEAD, *declared, *body, "  </graph>", "</graphml>"]) + "\n"


def _data(keys: _Keys, owner: str, record: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in record.items():
        flat = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
        key = keys.setdefault((owner, name, _TYPES[type(flat)]), f"d{len(keys)}")
        yield f'{indent}<data key="{key}">{escape(flat) if isinstance(flat, str) else repr(flat)}</data>'


def parse(text: str) -> dict[str, Any]:
    """The plain form of a graph that :func:`to_graphml` or networkx wrote, for :meth:`ConceptGraph.from_plain`. Raises
    DataError where it is not GraphML, or a list or a number in it is damaged.
    """
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", " ")  # the text is decoded already; its first line may name another encoding
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise DataError(f"this is not GraphML: {error}", MEND) from error
    if reader.graphs != 1:
        raise DataError(f"this is not GraphML of one graph: it has {reader.graphs}", MEND)
    head = {name: reader.header.pop(name, None) for name in ("schema", "version")}
    header = {name: value for name, value in reader.header.items() if name in Header.model_fields}
    return {**head, "header": header, "nodes": reader.nodes, "edges": reader.edges}


class _Reader:
    """Collects the records while the parser goes through the elements."""

    def __init__(self) -> None:
        self.graphs = 0
        self.header: dict[str, Any] = {}
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self._keys: dict[str, tuple[str, Callable[[str], Any]]] = {}
        self._owner: dict[str, Any] = {}
        self._data: tuple[str, Callable[[str], Any]] | None = None
        self._text: list[str] = []

    def start(self, tag: str, given: dict[str, str]) -> None:
        """An element begins."""
        if tag == _DATA:
            if (key := given.get("key", "")) not in self._keys:
                raise DataError(f"this GraphML has no key '{key}'", MEND)
            self._data = self._keys[key]
            self._text.clear()
        elif tag == _NODE:
            self._owner = {"id": given.get("id")}
            self.nodes.append(self._owner)
        elif tag == _EDGE:
            self._owner = {"source": given.get("source"), "target": given.get("target")}
            self.edges.append(self._owner)
        elif tag == _KEY:
            name = given.get("attr.name", "")
            reader = json.loads if name in _NESTED else _READERS.get(given.get("attr.type", ""), str)
            self._keys[given.get("id", "")] = name, reader
        elif tag == _GRAPH:
            self.graphs += 1
            self._owner = self.header

    def characters(self, text: str) -> None:
        """A piece of the text within an element."""
        self._text.append(text)

    def end(self, tag: str) -> None:
        """An element ends: its value, or its record, is complete."""
        if tag == _DATA and self._data is not None:
            name, reader = self._data
            try:
                value = reader("".join(self._text))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name} in this GraphML is damaged: {error}", MEND) from error
            if name in self._owner and self._owner[name] != value:
                raise DataError(f"this GraphML says twice what {name} is: {self._owner[name]} and {value}", MEND)
            self._owner[name] = value
        elif tag in (_NODE, _EDGE):
            if tag == _EDGE:
                self._owner.pop("id", None)  # an edge has none; networkx, which read one, writes it as data
            self._owner = self.header
