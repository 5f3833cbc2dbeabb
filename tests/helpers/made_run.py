"""A finished run without a network, made by hand: all that its page shows, with markup wherever a user names things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.drawing.layout import below, draw, framed, text
from conceptnet_ml.drawing.node_sheet import AFTER, BEFORE, MEANS, Example, node_strip
from conceptnet_ml.drawing.pictures import to_image, to_jpeg, to_png
from conceptnet_ml.drawing.sheets import Card, SwapExample, probe_sheet
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.storage.run_folder import Run, round_picture

EVIL = '<b onclick="x()">dog & "cat"</b>'
CLASSES = ("car", EVIL)
NOISE = np.random.default_rng(0)


def picture() -> np.ndarray:
    return NOISE.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def probe(name: str, gate: str, keep: bool) -> dict[str, Any]:
    shares = {"flips": [0.9, 0.9], "others": [0.8, 0.9], "mates": [0.1, 0.0], "iotas": [0.7, 0.9]}
    figures = {"phi": 0.9, "iota": 0.7, "contrast": 0.8, "price": 0.15, "answered": 0.99}
    more = {"images": [50, 50], "asked": [50, 50], "met": [], "classes": None, "evidence": "held-out images"}
    reason = f"ι 0.70 {'≥' if keep else '<'} 0.53: {'one thing among others' if keep else 'this is the object'}"
    return {"representation": name, "gate": gate, "keep": keep, "reason": reason, **shares, **figures, **more}


def rounds() -> list[dict[str, Any]]:
    plain = {"stage": "top", "features": [{"class": 0, "units": [1, 2], "auc": [0.9, 0.9]}]}
    kept = {"name": "top/classes/1", "decision": "kept", "reason": "pixels: kept", "chosen": "pixels", **plain}
    kept |= {"representations": [probe("pixels", "place", True)], "r_before": 0.98, "r_after": 0.9, "r_without": 0.95}
    leaf = {"name": "top/classes/2", "decision": "leaf", "reason": f"none: {EVIL}", "chosen": None, **plain}
    return [kept, leaf | {"representations": [probe("colour", "whole", False)]}]


def summary() -> dict[str, Any]:
    def row(*shares: float) -> dict[str, Any]:
        names = ("ordinary", "learned", "box")
        return {"images": 200, **{name: {"accuracy": share} for name, share in zip(names, shares, strict=True)}}

    sets = {"test": row(0.99, 0.90, 0.99), EVIL: row(0.2, 0.9, 0.3)}
    for name, found in sets[EVIL].items():
        if name != "images":
            found["worst_group"] = {"name": f"{EVIL}, red", "images": 20, "accuracy": found["accuracy"] / 2}
    cost = {f"{name}_seconds": 3.0 for name in ("ordinary", "probing", "rounds", "controls")}
    pairs = {"differ": 5, "won": 4, "lost": 1, "confused": [["car", EVIL, 4, 0]]}
    return {
        "data": "folder:photos",
        "trap": "none",
        "classes": list(CLASSES),
        "depth": 1,
        "seed": 0,
        "images": {"fit": 100, "held_out": 20, "skipped": 0},
        "rounds": rounds(),
        "test_sets": sets,
        "families": [{"name": "top.1", "stage": "top", "accuracy": 0.97}],
        "cost": {**cost, "times_ordinary": 2.0, "times_ordinary_per_round": 2.0},
        "graph": {"nodes": 8, "edges": 9},
        "peak_memory_gib": 1.0,
        "notes": [f"a note {EVIL}"],
        "answers": {"sets": dict.fromkeys(sets, pairs), "picture": "pictures/answers.png"},
    }


def concept_graph() -> ConceptGraph:
    graph = ConceptGraph(CLASSES, [("low", 8), ("top", 8)], network="9f", settings="03", seed=0)
    decided = {"stage": "top", "round": 1, "decision": "kept", "phi": 0.9, "representation": "pixels"}
    thing = graph.add_node("generalized", "thing", classes=CLASSES, units=[1, 2], coverage={"car": 0.5}, **decided)
    for number, name in enumerate(CLASSES):
        owner = graph.add_node("class", name, classes=[name])
        spectrum = {one: (-1.0, place, 1.0) for place, one in enumerate(CLASSES)}
        fields = {"effect": 3.0 - number, "units": [number + 1], "spectrum": spectrum, **decided}
        feature = graph.add_node("feature", f"{name} 1", classes=[name], **fields)
        graph.add_edge("built_from", owner, feature, weight=3.0 - number)
        graph.add_edge("generalizes", thing, feature, score=0.5)
        variant = graph.add_node("variant", f"{name} 1", classes=[name], **decided)
        graph.add_edge("specializes", variant, thing, class_name=name)
        unit = graph.add_node("unit", f"low unit {number}", stage="low", units=[number])
        graph.add_edge("built_from", variant, unit, weight=-0.5)
    for node in graph.nodes():
        if node.kind == "feature":
            graph.update_node(node.id, found_in="top/classes/1")
        graph.update_node(node.id, pictures=[f"pictures/nodes/{node.id}.jpg"], note=EVIL)
    return graph


def make_run(path: Path) -> Path:
    """A finished run without a network: all that the page is made of."""
    graph = concept_graph()
    origins = {"data.source": "--data"}
    settings = Settings.model_validate({"data": {"source": "folder:my photos"}}).model_dump(mode="json")
    with Run.create(path, settings, origins, {"python": "3", "device": "cpu"}, "0.1.0") as folder:
        swap = SwapExample(picture(), picture(), picture(), np.full((4, 4), 0.5), "car", EVIL, "car", EVIL)
        for entry in rounds():
            folder.save_picture(round_picture(entry["name"]), to_png(probe_sheet([swap] * 4, "a round")))
        for node in graph.nodes():
            free = Card(picture(), lines=["seen"])
            if node.kind == "feature":
                after = Card(picture(), AFTER, ["it fell to 2.3", "rank", MEANS, f"test: {EVIL} 7.9"])
                free = Card(picture(), BEFORE, ["it rose to 38.6", "rank", MEANS, f"test: {EVIL} 23.7"], after=after)
            strip = node_strip("x", free=free, examples=[Example(EVIL, picture())] * 4)
            folder.save_picture(f"nodes/{node.id}.jpg", to_jpeg(strip))
        tile = below([framed(to_image(picture()).resize((64, 64))), text("seen: car", 12)], gap=4)
        folder.save_picture("answers.png", to_png(draw(below([text("test", 15), tile], gap=8))))
        folder.save_graph(graph.to_json())
        folder.log(event="ordinary", accuracy=0.99)
        curve = [[25, 1.0], [50, 0.2]]
        folder.log(event="trained", name=EVIL, loss=0.2, steps=50.0, seconds=2.0, curve=curve)
        folder.finish(summary(), "")
    return folder.path
