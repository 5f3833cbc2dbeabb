"""Whole files with something changed in them, for readers that must take or refuse them."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from conceptnet_ml.storage.hashing import sha256

ODD: list[Any] = [None, True, 0, -1, 1.5, 1e308, 10**30, -(10**400), "x", "", " ", "a\nb", "\x00", "\ud800", "\u202e"]
ODD += ["é" * 300, [], {}, [1], {"a": 1}, [[]], [None], {"": {}}]
ODD += [{"$tensor": "t0"}, {"$dict": [[1]]}, {"$tuple": 3}, {"$float": "x"}]
"""What stands in a value's place in JSON."""

WORDS = ["", "-1", "1e999", "nan", "inf", "true", "[]", "{}", '"x"', "''", "[[", "]]", "=", "&x;", "<!ENTITY a 'b'>"]
WORDS += ["0x1", "\\ud800", "\x00", "\xff", "9" * 5000, "[" * 3000, "<" * 50, "\u202e", "2020-01-01", "key='d0'"]
WORDS += ["</data>", "null"]
"""What stands in a word's place."""

DTYPES = ("F32", "F64", "BF16", "I8", "U64", "BOOL", "F8_E4M3", "C64", "X", 3)


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """Some bytes taken out, put in, written over, doubled, or the end cut off."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(found) + 1)
        length = draw.choice((0, 1, 1, 4, 20, len(found)))
        kind = draw.randrange(4)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[place : place + length] = found[place : place + length] * 2
        else:
            found[place : place + length] = draw.randbytes(draw.choice((0, 1, 2, 4, 8)))
    return bytes(found)


def change_text(content: bytes, draw: random.Random) -> bytes:
    """Lines and words taken out, doubled, moved and put in; else as :func:`change_bytes`."""
    if draw.random() < 0.25:
        return change_bytes(content, draw)
    parts = re.split(r"(\n|[ =\"<>\[\],])" if draw.random() < 0.7 else r"(\n)", content.decode(errors="replace"))
    for _ in range(draw.choice((1, 1, 2, 4))):
        place, other = draw.randrange(len(parts)), draw.randrange(len(parts))
        kind = draw.randrange(4)
        if kind == 0:
            parts[place] = draw.choice(WORDS)
        elif kind == 1:
            parts[place] = ""
        elif kind == 2:
            parts[place] += parts[other]
        else:
            parts[place], parts[other] = parts[other], parts[place]
    return "".join(parts).encode(errors="surrogatepass")


def change_json(content: bytes, draw: random.Random) -> bytes:
    """Values, keys and nesting changed, now and then its letters."""
    if draw.random() < 0.25:
        return draw.choice((change_bytes, change_text))(content, draw)
    return json.dumps(change_tree(json.loads(content), draw)).encode()


def change_safetensors(content: bytes, draw: random.Random) -> bytes:
    """The head changed, with its length or without, or some bytes."""
    if draw.random() < 0.4:
        return change_bytes(content, draw)
    length = int.from_bytes(content[:8], "little")
    head, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = draw.choice([*head])
    if name != "__metadata__" and draw.random() < 0.5:
        key = draw.choice(("dtype", "shape", "data_offsets"))
        numbers = [draw.choice((0, 1, 2, 8, 2**31, 2**63, -1)) for _ in range(draw.randrange(4))]
        head[name][key] = draw.choice(DTYPES) if key == "dtype" else numbers
    else:
        head = change_tree(head, draw)
    text = json.dumps(head).encode()
    size = len(text) if draw.random() < 0.9 else draw.choice((0, 1, 2**31, 2**63))
    return size.to_bytes(8, "little") + text + body


def sign_tree(content: bytes, draw: random.Random) -> bytes:
    """A step's JSON, changed and signed again."""
    record = json.loads(content)
    record["tree"] = change_tree(record["tree"], draw)
    return json.dumps({**record, "sha256": sha256(json.dumps(record["tree"]))}).encode()


def sign_model(content: bytes, draw: random.Random) -> bytes:
    """model.json, changed, and signed again or not signed."""
    record = json.loads(content)
    del record["own_sha256"]
    record = change_tree(record, draw)
    if isinstance(record, dict):
        record["own_sha256"] = sha256(json.dumps(record, sort_keys=True)) if draw.random() < 0.5 else None
    return json.dumps(record).encode()


def change_tree(tree: Any, draw: random.Random) -> Any:
    """Plain values with some of them changed."""
    tree = copy.deepcopy(tree)
    paths = [*_paths(tree, ())]
    for path in draw.choices(paths, k=draw.choice((1, 1, 2))):
        if not path:
            if draw.random() < 0.1:
                return copy.deepcopy(draw.choice(ODD))
            continue
        with suppress(KeyError, IndexError, TypeError, AttributeError):  # the first change took the second's place away
            inside, key = tree, path[-1]
            for step in path[:-1]:
                inside = inside[step]
            inside[key]  # or it is there no more
            _change_item(inside, key, tree, draw, paths)
    return tree


def _change_item(inside: Any, key: Any, tree: Any, draw: random.Random, paths: list[tuple[Any, ...]]) -> None:
    kind = draw.randrange(6)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[draw.choice(("x", "", "$tensor", "kind", f"{key} "))] = inside.pop(key)
    elif kind == 1 and isinstance(inside, list):
        inside.append(copy.deepcopy(inside[key]))
    elif kind == 2:  # what stands elsewhere in it
        other = tree
        for step in draw.choice(paths):
            other = other[step]
        inside[key] = copy.deepcopy(other) if other is not tree else None
    elif kind == 3:
        for _ in range(draw.choice((1, 2, 200))):
            inside[key] = [inside[key]]
    else:
        inside[key] = copy.deepcopy(draw.choice(ODD))


def _paths(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(min(len(tree), 6)):
            yield from _paths(tree[key], (*path, key))
