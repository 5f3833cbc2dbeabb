"""The concept graph's plain form as GraphML and back (http://graphml.graphdrawing.org/specification.html).

Lists and objects are JSON strings; numbers are typed ``long`` and ``double``. Linear in the text, without a graph in
between: networkx's writer and reader take five times as long, see docs/decisions/0017-graph-size.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from conceptnet_ml.errors import DataError

MEND = "Restore the file, or export it again."
_HEAD = """<?xml version='1.0' encoding='utf-8'?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">"""
_SPACE = "{http://graphml.graphdrawing.org/xmlns}"
_NESTED = frozenset(
    ("classes", "stages", "units", "pictures", "examples", "provenance", "coverage", "shared_by", "spectrum")
)
_TYPES = {str: "string", int: "long", float: "double"}
_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
}
Keys = dict[tuple[str, str, str], str]
"""What it is for, the field's name and its type, to the key's id."""


def write(content: Mapping[str, Any]) -> str:
    """What :meth:`conceptnet_ml.graph.ConceptGraph.to_plain` gives, as GraphML. Edge ids are unique."""
    keys: Keys = {}
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


def _data(keys: Keys, owner: str, record: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in record.items():
        flat = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
        key = keys.setdefault((owner, name, _TYPES[type(flat)]), f"d{len(keys)}")
        yield f'{indent}<data key="{key}">{escape(flat) if isinstance(flat, str) else repr(flat)}</data>'


def read(text: str) -> dict[str, Any]:
    """The plain form of what :func:`write` or networkx wrote.

    Raises:
        DataError: Not GraphML, or a list or a number in it is damaged.
    """
    try:
        root = ElementTree.fromstring(text.encode())
    except (SyntaxError, ValueError) as error:
        raise DataError(f"this is not GraphML: {error}", MEND) from error
    graph = root.find(f"{_SPACE}graph")
    if root.tag != f"{_SPACE}graphml" or graph is None:
        raise DataError("this is not GraphML: it has no graph", MEND)
    readers = {
        key.get("id", ""): (
            key.get("attr.name", ""),
            json.loads if key.get("attr.name") in _NESTED else _READERS.get(key.get("attr.type", ""), str),
        )
        for key in root.iterfind(f"{_SPACE}key")
    }
    top = _fields(readers, graph)
    head = {name: top.pop(name, None) for name in ("schema", "version")}
    nodes = [{**_fields(readers, node), "id": node.get("id")} for node in graph.iterfind(f"{_SPACE}node")]
    edges = [
        {**_fields(readers, edge), "source": edge.get("source"), "target": edge.get("target")}
        for edge in graph.iterfind(f"{_SPACE}edge")
    ]
    return {**head, "header": top, "nodes": nodes, "edges": edges}


def _fields(readers: Mapping[str, tuple[str, Callable[[str], Any]]], owner: Iterable[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for data in owner:
        if data.tag != f"{_SPACE}data":
            continue
        if (key := data.get("key")) not in readers:
            raise DataError(f"this GraphML has no key '{key}'", MEND)
        name, reader = readers[key]
        try:
            fields[name] = reader(data.text or "")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} in this GraphML is damaged: {error}", MEND) from error
    return fields
