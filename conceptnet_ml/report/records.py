"""Losses as curves, and everything needed to repeat a run and to go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import DEFAULT, PROGRAM, command, flatten
from conceptnet_ml.config.values import show_value
from conceptnet_ml.errors import quoted
from conceptnet_ml.report.steering import Order, suggested_orders

_WIDTH, _HEIGHT = 240, 64


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every training in order: its loss step by step as points of a line, where it was logged, and how it ended."""
    found = []
    for line in metrics:
        if line.get("event") != "trained":
            continue
        points = [(step, loss) for step, loss in line.get("curve") or () if loss is not None]
        top = max((loss for _, loss in points), default=0.0) or 1.0
        last = points[-1][0] if points else 1.0
        found.append(
            {
                "name": line["name"],
                "steps": int(line["steps"]),
                "seconds": line["seconds"],
                "loss": line["loss"],
                "top": top,
                "points": " ".join(
                    f"{_WIDTH * step / last:.1f},{_HEIGHT * (1 - loss / top):.1f}" for step, loss in points
                )
                if len(points) > 1
                else "",
            }
        )
    return found


def accuracies_along(summary: dict[str, Any], metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy on held-out images after ordinary training and after every round that was trained: with what the round
    exchanges exchanged, and without."""
    found = []
    first = next((line["accuracy"] for line in metrics if line.get("event") == "ordinary"), None)
    if first is not None:
        found.append({"name": "ordinary", "plain": first, "exchanged": None})
    trained = [entry for entry in summary["rounds"] if "r_after" in entry]
    return found + [
        {"name": entry["name"], "plain": entry["r_without"], "exchanged": entry["r_after"]} for entry in trained
    ]


def changed_settings(settings: Settings, origins: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Settings that are not at their defaults: name, value, where it came from."""
    usual = flatten(Settings())
    return [
        (name, show_value(value), "given from Python" if origins.get(name, DEFAULT) == DEFAULT else origins[name])
        for name, value in flatten(settings).items()
        if name not in usual or value != usual[name]
    ]


def again(path: object, settings: Settings, environment: Mapping[str, Any]) -> str:
    """The command that makes this run once more, in a folder beside it, with the plugin files that it had."""
    files = [PurePath(one) for one in environment.get("plugins", ()) if one.endswith(".py")]
    given = f" --plugins-dir {quoted(files[0] if len(files) == 1 else files[0].parent)}" if files else ""
    return f"{command(settings)}{given} --out {quoted(f'{path}-again')}"


def again_notes(summary: dict[str, Any], origins: Mapping[str, str], environment: Mapping[str, Any]) -> list[str]:
    """What that command needs beside itself to come to the same."""
    needs = {"torch": "torch", "processor": "processor", "threads": "threads", "memory_format": "memory format"}
    known = [f"{name} {environment[key]}" for key, name in needs.items() if key in environment]
    found = ["Type it in the folder in which the run was started: relative paths begin there."]
    if known:
        found.append(f"The same figures come out on the same machine with the same versions ({', '.join(known)}).")
    packages = [one for one in environment.get("plugins", ()) if not one.endswith(".py")]
    if packages:
        found.append(f"Plugin packages that were installed: {', '.join(packages)}.")
    if origins.get("data.source", DEFAULT) == DEFAULT and summary["data"] != Settings().data.source:
        found.append("The run was started from Python. Images that were handed over there have no name to type.")
    if summary.get("edits"):
        found.append("The edits of its graph, in 'graph log', are not in it.")
    return found


def next_steps(path: object, summary: dict[str, Any]) -> list[tuple[str, str, Order | None]]:
    """Commands to go on with, what each is for, and the order that a served page has it done by, if it can."""
    run = quoted(path)
    return [
        *((order.command(path), purpose, order) for order, purpose in suggested_orders(summary)),
        (f"{PROGRAM} evaluate {run} --data folder:PATH", "accuracy on pictures of your own", None),
        (f"{PROGRAM} predict {run} photo.jpg --explain", "what both networks see in a picture, and why", None),
        (f"{PROGRAM} graph show {run}", "the whole concept graph; query, path, merge, split, rename", None),
    ]
