"""Orders of a served page: what is checked, and which command each stands for."""

from __future__ import annotations

from typing import Any

import pytest
from made_run import concept_graph, summary

from conceptnet_ml import SettingsError
from conceptnet_ml.report.steering import Order, parse_order, round_orders, suggested_orders

GRAPH = concept_graph()
FEATURE, OTHER = (node.id for node in GRAPH.nodes("feature"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"action": "undo", "round": "top/classes/1"}, "learn --trust --resume RUN --undo top/classes/1"),
        ({"action": "keep", "round": "top/classes/2"}, "learn --trust --resume RUN --keep top/classes/2"),
        (
            {"action": "keep", "round": "top/classes/1", "representation": "pixels", "side": "inside"},
            "learn --trust --resume RUN --keep top/classes/1/pixels:inside",
        ),
        ({"action": "go-on"}, "learn --trust --resume RUN"),
        ({"action": "take-back"}, "graph undo -- RUN"),
        ({"action": "merge", "nodes": [FEATURE, OTHER]}, f"graph merge --trust -- RUN {FEATURE} {OTHER}"),
        ({"action": "forget", "nodes": [FEATURE]}, f"graph forget --trust -- RUN {FEATURE}"),
        ({"action": "rename", "nodes": [FEATURE], "text": "--x"}, f"graph rename --trust -- RUN {FEATURE} --x"),
        ({"action": "annotate", "nodes": [FEATURE], "text": ""}, f"graph annotate --trust -- RUN {FEATURE} "),
    ],
)
def test_an_order_is_a_command(given: dict[str, Any], words: str) -> None:
    order = parse_order(given, summary(), GRAPH)
    assert " ".join(order.words("RUN", ["--trust"])) == words
    assert parse_order(order.plain() | {"text": order.text}, summary(), GRAPH) == order


def test_names_take_no_flags_of_plugins() -> None:
    order = Order("rename", nodes=(FEATURE,), text="a b")
    assert order.command("my run", ["--no-plugins"]) == f"conceptnet-ml graph rename -- 'my run' {FEATURE} 'a b'"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "no action 'None'"),
        (["keep"], "no action"),
        ({"action": ["keep"]}, "no action"),
        ({"action": "evaluate"}, "no action 'evaluate'"),
        ({"action": "keep"}, "no round 'None'"),
        ({"action": "keep", "round": "top/classes/9"}, "no round 'top/classes/9'"),
        ({"action": "undo", "round": "--data=x"}, "no round '--data=x'"),
        ({"action": "undo", "round": "top/classes/1", "side": "inside"}, "undo takes no 'side'"),
        ({"action": "keep", "round": "top/classes/1", "representation": "colour"}, "no representation 'colour'"),
        ({"action": "keep", "round": "top/classes/1", "representation": 3}, "no representation '3'"),
        ({"action": "keep", "round": "top/classes/1", "side": "inside"}, "needs its representation"),
        (
            {"action": "keep", "round": "top/classes/1", "representation": "pixels", "side": "x; rm"},
            "no side 'x; rm'",
        ),
        ({"action": "merge", "nodes": [FEATURE]}, "nodes named: 1"),
        ({"action": "merge", "nodes": [FEATURE, FEATURE]}, "nodes named: 2"),
        ({"action": "split", "nodes": [FEATURE, OTHER]}, "nodes named: 2"),
        ({"action": "forget", "nodes": FEATURE}, "no list of ids"),
        ({"action": "forget", "nodes": ["--trust"]}, "no node '--trust'"),
        ({"action": "forget", "nodes": ["top:3"]}, "no node 'top:3'"),
        ({"action": "rename", "nodes": [FEATURE]}, "one line of at most 200"),
        ({"action": "rename", "nodes": [FEATURE], "text": "a\nb"}, "one line"),
        ({"action": "rename", "nodes": [FEATURE], "text": "a\0b"}, "one line"),
        ({"action": "rename", "nodes": [FEATURE], "text": "\ud800"}, "one line"),
        ({"action": "annotate", "nodes": [FEATURE], "text": "a" * 2001}, "at most 2000"),
        ({"action": "go-on", "set": "depth=9"}, "go-on takes no 'set'"),
    ],
)
def test_all_else_is_refused(given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_order(given, summary(), GRAPH)


def test_what_is_offered_is_what_the_page_names_and_is_taken() -> None:
    told = summary()
    offered = [*suggested_orders(told), *(one for entry in told["rounds"] for one in round_orders(entry))]
    for order, words in offered:
        assert words
        assert parse_order(order.plain(), told, GRAPH) == order
    assert [order.command("r") for order, _ in suggested_orders(told)] == [
        "conceptnet-ml learn --resume r --undo top/classes/1",
        "conceptnet-ml learn --resume r --keep top/classes/1/pixels:outside",
    ]
    assert [order.representation for order, _ in round_orders(told["rounds"][1])] == ["colour"]


def test_where_nothing_is_kept_what_the_picture_shows_is_offered_once() -> None:
    told = summary()
    told["rounds"] = told["rounds"][1:]
    figures = {"figure": "contrast", "value": 0.3, "low": 0.2, "high": 0.4, "least": 0.35, "images": 300}
    told["rounds"][0]["sureness"] = {**figures, "agree": 0.7, "of": "colour"}
    assert [order.command("r") for order, _ in suggested_orders(told)] == [
        "conceptnet-ml learn --resume r --keep top/classes/2/colour"
    ]
    told["rounds"][0]["representations"] = []
    del told["rounds"][0]["sureness"]
    assert suggested_orders(told) == []


def test_below_the_top_stage_gates_have_no_sides() -> None:
    entry = summary()["rounds"][0] | {"name": "low/top.1/1", "stage": "low"}
    assert [order.side for order, _ in round_orders(entry)] == [""]
