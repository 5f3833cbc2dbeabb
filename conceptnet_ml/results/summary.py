"""The summary as it is printed: what was decided, and every figure beside its controls."""

from __future__ import annotations

import io
from collections.abc import Container, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from conceptnet_ml.data.sampling import FEW
from conceptnet_ml.graph.naming import listed
from conceptnet_ml.steps.ordinary import wilson
from conceptnet_ml.swap.sureness import grade, hundredths, interval_words, sure_words, with_interval

LEGEND = (
    "φ: share of the answers that a swap with another class changes. ι: how much more often it does than one within "
    "the class; less errors: ten times the share of wrong answers is taken off, so it may fall far below zero. r: "
    "accuracy on held-out images: before, without this exchange → after, with it. leaf: nothing was kept: the object "
    "itself, or not told. waits: another network is asked first, in the next round. sure, likely, close call: had "
    "other images been held out, would the same be decided? In so many of 100 draws it is (sure from 95, likely from "
    "80). Whether it is right, or what another seed decides, this does not say; the pictures of the rounds show what "
    "was exchanged. More: docs/concepts.md"
)
"""Below the rounds, in summary.txt."""

NO_PROOF = (
    "Nothing in the images says which of two perfect cues is the right one. 'learned' rests on what cannot be "
    "exchanged; the families keep the rest."
)
"""Said where a round is kept."""

ORDER = ("test", "aligned", "conflict", "random", "absent")


TOO_FEW = "Too few to be sure"
"""In place of a grade where few held-out images decided: draws of the same few agree, whatever others would say."""

_OBJECT = {
    "it cannot be exchanged, this is the object": "this is the object",
    "it was the object itself": "it was the object",
    "what was exchanged is a part of the object": "what was exchanged is a part of the object",
}
"""What the rules say of what they take for the object, and what of it few images cannot tell."""

BY_WORD = (
    "A place that you know to be no part of the thing, as a stamp in a corner, is exchanged by your word: learn "
    "--exchange PLACE; 'inspect' names such places."
)
"""Said where nothing is kept."""

TRAINING = "its training"
"""What the least sure decision of a round is about, where it is about no representation's probe."""

PLAIN = ("test", "aligned")
"""Test sets with the same cues as the training images, as a rule."""

MUCH = 0.05
"""A loss of accuracy on a plain test set, or a gap between it and another, that asks for a warning."""


BRIEF = (
    "answers change: of held-out images, with another class's material in place. right: of held-out images, before, "
    "without this exchange → after its training, with it. sure, likely, close call: other held-out images would decide "
    "the same in 95 of 100 draws, in 80, in fewer; of other seeds, and of whether it is right, this says nothing: the "
    "page shows what was exchanged. summary.txt in the run folder has all that was tried, and the figures (φ, ι, r: "
    "docs/concepts.md)."
)
"""Below the rounds of a terminal."""

_SAID = {"leaf": "left alone", "waits": "waits for the next round"}
"""Decisions in plain words; the others are that already."""


def to_text(summary: dict[str, Any], width: int = 110) -> str:
    """The summary as plain text, for summary.txt."""
    console = Console(file=io.StringIO(), width=width, highlight=False, no_color=True)
    for part in tables(summary):
        console.print(part, markup=False)  # names and notes are the user's, brackets and all
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"  # type: ignore[attr-defined]


def cost_words(cost: dict[str, Any], kept: int) -> str:
    """What so many kept rounds cost beside ordinary training."""
    if cost["times_ordinary"] is None:
        return f"{cost['probing_seconds'] + cost['rounds_seconds']:.0f} s, without ordinary training"
    each = f"{cost['times_ordinary_per_round']:.1f} × for each; " if kept > 1 else ""
    spent, ordinary = cost["probing_seconds"] + cost["rounds_seconds"], cost["ordinary_seconds"]
    return f"{cost['times_ordinary']:.1f} × ordinary training ({each}{_duration(spent)} beside {_duration(ordinary)})"


def _duration(seconds: float) -> str:
    """``14 s``, ``6 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def tables(summary: dict[str, Any], brief: bool = False) -> list[Any]:
    """The summary as rich renderables: test sets, families, what was decided, rounds, notes. ``brief``, for a terminal:
    of each round the representation alone that decided it, in plain words."""
    parts: list[Any] = [_test_sets(summary)]
    if summary["families"]:
        parts.append(_families(summary))
    cost = summary["cost"]
    kept = sum(entry["decision"] == "kept" for entry in summary["rounds"])
    lines = [
        f"{kept} round{'' if kept == 1 else 's'} kept. Cost {cost_words(cost, kept)}; "
        f"peak memory {summary['peak_memory_gib']:.1f} GiB. "
        f"Graph: {summary['graph']['nodes']} nodes, {summary['graph']['edges']} edges.",
    ]
    lines += [
        f"{stage}: {one['count']} directions ({one['discoverer']}) take the units' place; "
        f"they keep {100 * one['explained']:.0f} % of the maps' variance."
        for stage, one in summary.get("directions", {}).items()
    ]
    if kept:
        lines.append(NO_PROOF)
    if "target" in summary:
        lines.insert(0, f"New world: {disagreement_words(summary['target'])}")
    if edits := summary.get("edits"):
        lines.append(f"Edited: {'; '.join(edits)}.")
    lines[:0] = [f"{entry['name']}: {words}." for entry in summary["rounds"] for words in entry.get("overruled", ())]
    lines[:0] = [
        f"{entry['name']}: {words}; {other_word(entry)} decides it by hand."
        for entry in summary["rounds"]
        if (words := close_words(entry))
    ]
    if not kept:
        nothing = f"{few_words(summary)}{why_nothing(summary['rounds'])}: 'learned' is the ordinary network."
        lines[:0] = [nothing, BY_WORD]
    notes = [f"Note: {note}" for note in summary["notes"]]
    return [
        *parts,
        *lines,
        _brief_rounds(summary) if brief else _rounds(summary),
        *notes,
        *filter(None, [loss_words(summary), failing_words(summary)]),
    ]


def loss_words(summary: dict[str, Any]) -> str:
    """The warning where a round is kept and the learned network lost much on a plain test set; else empty."""
    sets = summary["test_sets"]
    plain = [name for name in PLAIN if name in sets]
    lost = {name: sets[name]["ordinary"]["accuracy"] - sets[name]["learned"]["accuracy"] for name in plain}
    worst = max(lost, key=lost.__getitem__, default="")
    if not lost or lost[worst] <= MUCH or all(entry["decision"] != "kept" for entry in summary["rounds"]):
        return ""
    return (
        f"Be careful: the learned network lost {100 * lost[worst]:.0f} points on '{worst}'. Where its pictures show "
        "what was exchanged as the training images do, it had helped there, and this is what doing without costs. Else "
        "look at the pictures of the rounds, the last one first: where the gates lie on the thing itself, undo the "
        "round."
    )


def failing(summary: dict[str, Any]) -> list[str]:
    """The test sets, worst first, that both networks answer clearly worse than the ordinary one does the plain set:
    the 95 % intervals lie apart, by five points or more, and the learned network's no clearly better."""
    sets = summary["test_sets"]
    plain = next((name for name in PLAIN if name in sets), None)
    if plain is None:
        return []
    shares = {name: sets[name]["ordinary"]["accuracy"] for name in sets}
    usual = _interval(sets[plain], "ordinary")[0]

    def fails(row: dict[str, Any]) -> bool:
        before, after = (_interval(row, network) for network in ("ordinary", "learned"))
        return max(before[1], after[1]) < usual and after[0] <= before[1]

    named = (name for name in sets if name not in PLAIN and shares[plain] - shares[name] >= MUCH and fails(sets[name]))
    return sorted(named, key=shares.__getitem__)


def _interval(row: dict[str, Any], network: str) -> tuple[float, float]:
    return wilson(round(row[network]["accuracy"] * row["images"]), row["images"]) if row["images"] else (0.0, 1.0)


def failing_words(summary: dict[str, Any]) -> str:
    """What to say where test sets are answered clearly worse than the plain one and nothing mends it; else empty."""
    names, sets = failing(summary), summary["test_sets"]
    if not names:
        return ""
    worst = sets[names[0]]
    plain = next(name for name in PLAIN if name in sets)
    before, after, usual = (
        f"{100 * row[network]['accuracy']:.0f}\u00a0%"
        for row, network in ((worst, "ordinary"), (worst, "learned"), (sets[plain], "ordinary"))
    )
    if before == after:
        says = f"both networks answer {before} rightly where they answer"
    else:
        says = f"the ordinary network answers {before} rightly and the learned one {after}, where the ordinary answers"
    others = [f"'{name}'" for name in names[1:]]
    also = f" (as on {listed(others, 4)})" if others else ""
    mends = "mends it" if any(entry["decision"] == "kept" for entry in summary["rounds"]) else "found it"
    return (
        f"On '{names[0]}'{also} {says} {usual} on '{plain}': something that '{plain}' has is missing or turned round "
        f"there, unless its pictures are only harder, and no round {mends}."
    )


def few_words(summary: dict[str, Any]) -> str:
    """What to say first where nothing is kept and few images decided so, as sentences with a space behind them; empty
    where there were enough."""
    held = few_held(summary)
    if not held or any(entry["decision"] == "kept" for entry in summary["rounds"]):
        return ""
    return (
        f"{TOO_FEW}. Only {held} held-out images decided: with so few, a cue beside which the network errs "
        "now and then is taken for the object. More pictures, or some of the new world (--target), may decide "
        "otherwise. "
    )


def few_held(summary: dict[str, Any]) -> int:
    """How many held-out images decided, where they are too few to be sure of anything; else 0."""
    held: int = summary.get("images", {}).get("held_out", FEW)
    return held if held < FEW else 0


def reason_words(reason: str, few: int) -> str:
    """A reason as it is said: where it takes a thing for the object, and only ``few`` held-out images decided (0: there
    were enough), that they are too few to tell."""
    for words, doubt in _OBJECT.items() if few else ():
        reason = reason.replace(words, f"{few} held-out images are too few to tell whether {doubt}")
    return reason


def close_words(entry: dict[str, Any]) -> str:
    """Of a round that is a close call: how often other held-out images would have decided otherwise. Empty where it is
    not, or nobody knows."""
    sure = entry.get("sureness")
    if sure is None or grade(sure["agree"]) != "close call":
        return ""
    others = 100 - hundredths(sure["agree"])
    return (
        f"a close call: other held-out images would have decided otherwise in {others} of 100 draws ({sure['of']}: "
        f"{interval_words(sure)})"
    )


def other_word(entry: dict[str, Any]) -> str:
    """The word that decides such a round otherwise: ``--keep block3/classes/1/pixels``."""
    if entry["decision"] == "kept":
        return f"--undo {entry['name']}"
    of = entry["sureness"]["of"]
    return f"--keep {entry['name']}/{entry['chosen'] if of == TRAINING else of}"


def _undone(entry: dict[str, Any]) -> bool:
    return entry["decision"] == "undone" and "r_after" in entry


def why_nothing(rounds: Sequence[dict[str, Any]]) -> str:
    """Why no round is kept: nothing was looked for, or found, or what was found could not be done without."""
    if not rounds:
        return "No round was made"
    if any(entry.get("overruled") for entry in rounds):
        return "No round is kept"
    found = next(filter(_undone, rounds), None)
    if found is None:
        return "Nothing interchangeable was found"
    return (
        f"{found['name']}: the answer hangs on something that can be exchanged ({found['chosen']}), but a network that "
        f"was trained without it is not fit to take its place (r {found['r_before']:.2f} → {found['r_after']:.2f}, "
        f"{found['r_without']:.2f} where nothing is exchanged)"
    )


def waits(entry: dict[str, Any]) -> bool:
    """Whether nothing is decided of what a round probed last until another network was asked, in the next round."""
    return bool(entry.get("waits"))


def shown_probe(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The representation whose swap the round's picture shows where none was chosen."""
    probes = entry["representations"]
    return max(probes, key=lambda one: (one["gate"] == "place", one["phi"])) if probes else None


def without_numbers(reason: str) -> str:
    """The reasons of a probe, in words alone."""
    return "; ".join(part.rpartition(": ")[2] for part in reason.split("; "))


def _brief_rounds(summary: dict[str, Any]) -> Table:
    """Of each round the representation that decided it, in words that need no legend of symbols."""
    table = _table("Rounds", ("round", "exchanged", "answers change", "right", "decision", "why"))
    few = few_held(summary)
    for entry in summary["rounds"]:
        probes = entry["representations"]
        chosen = (one for one in probes if one["representation"] == entry["chosen"])
        probe = next(chosen, shown_probe(entry))
        decision = "waits" if waits(entry) else entry["decision"]
        what, changes, right = "", "", ""
        why = without_numbers(reason_words(entry["reason"] if probe is None else probe["reason"], few))
        if probe is not None:
            what, changes = probe["representation"], f"{100 * probe['phi']:.0f} %"
            what += f", {entry['exchanged']}" if entry["chosen"] and "exchanged" in entry else ""
            sure = probe.get("sureness")
            why += "" if sure is None or few else f" ({grade(sure['agree'])})"
        if "r_after" in entry:
            right = f"{100 * entry['r_before']:.0f} → {100 * entry['r_after']:.0f} %"
            if _undone(entry):
                why = without_numbers(reason_words(entry["reason"].rpartition("; r ")[2], few))
        table.add_row(entry["name"], what, changes, right, _SAID.get(decision, decision), why, end_section=True)
    table.caption, table.caption_justify = BRIEF, "left"
    return table


def _rounds(summary: dict[str, Any]) -> Table:
    table = _table("Rounds", ("round", "representation", "φ", "ι", "r", "decision", "why"), right=("φ", "ι", "r"))
    few = few_held(summary)
    for entry in summary["rounds"]:
        probes = entry["representations"]
        if not probes:
            table.add_row(
                entry["name"], "", "", "", "", entry["decision"], reason_words(entry["reason"], few), end_section=True
            )
        for place, probe in enumerate(probes, 1):
            used = probe["representation"] == entry["chosen"]
            residual = f"{entry['r_before']:.2f} → {entry['r_after']:.2f}" if used and "r_after" in entry else ""
            verdict = entry["decision"] if used or entry["chosen"] is None else "refused"
            if waits(entry):
                verdict = "waits" if probe is entry["representations"][-1] else "refused"
            table.add_row(
                entry["name"] if place == 1 else "",
                probe["representation"] + (f", {entry['exchanged']}" if used and "exchanged" in entry else ""),
                f"{probe['phi']:.2f}",
                f"{probe['iota']:.2f}",
                residual,
                "not chosen" if probe["keep"] and not used else verdict,
                reason_words(probe["reason"], few) + _sure(probe, few) + (_after(entry, few) if used else ""),
                end_section=place == len(probes),
            )
    table.caption = LEGEND
    table.caption_justify = "left"
    return table


def _sure(one: dict[str, Any], few: int) -> str:
    """`` (sure, 98 of 100 draws: 0.85 [0.81, 0.89])``: the reason before it names the figure and what is asked. No
    grade where ``few`` images decided, and nothing where the reason says so."""
    sure = one.get("sureness")
    if sure is None or reason_words(one["reason"], few) != one["reason"]:
        return ""
    draws = f"{TOO_FEW.lower() if few else grade(sure['agree'])}, {hundredths(sure['agree'])} of 100 draws"
    return f" ({draws}: {with_interval(sure)})"


def _after(entry: dict[str, Any], few: int) -> str:
    """What the training of a round says of it, beyond the reason of its probe."""
    words = "; undone after its training" if _undone(entry) else ""
    if "r_sureness" in entry:
        sure = sure_words(entry["r_sureness"])
        sure = f"{TOO_FEW.lower()}, {sure.partition(', ')[2]}" if few else sure
        words = f"{words or '; its training'} ({sure})"
    return words


def _test_sets(summary: dict[str, Any]) -> Table:
    sets = summary["test_sets"]
    shown = shown_methods(sets)
    table = _table("Accuracy, %", ("test set", "images", *shown), right=("images", *shown))
    for name in in_order(sets):
        row = sets[name]
        table.add_row(name, str(row["images"]), *(f"{100 * row[method]['accuracy']:.1f}" for method in shown))
        if tells_worst_group(name, row):
            worst = (f"{100 * row[method]['worst_group']['accuracy']:.1f}" for method in shown)
            table.add_row("… worst group", "", *worst)
        if all("worst_class" in row[method] for method in shown):
            table.add_row(
                "… worst class", "", *(f"{100 * row[method]['worst_class']['accuracy']:.1f}" for method in shown)
            )
    return table


def shown_methods(sets: dict[str, Any]) -> list[str]:
    """The networks whose accuracy is shown, in order; families are told of by themselves."""
    return [name for name in next(iter(sets.values())) if name != "images" and not name.startswith("family ")]


def tells_worst_group(name: str, row: dict[str, Any]) -> bool:
    """Whether a test set's worst group says more than the set: in some, all groups are of one kind."""
    return name.partition(":")[0] not in ("aligned", "conflict") and "worst_group" in row["ordinary"]


def _families(summary: dict[str, Any]) -> Table:
    heads = ("family", "tells the classes apart, held-out %", "finds of the true parts")
    table = _table("Families: what was generalized, and is kept", heads)
    for family in summary["families"]:
        masks = family.get("true_masks")
        table.add_row(family["name"], f"{100 * family['accuracy']:.1f}", masks_words(masks) if masks else "")
    return table


def masks_words(masks: dict[str, Any]) -> str:
    """How well a detector finds the true parts, beside the best single unit: the share of each class's true masks that
    lies where the detector is highest, over as large an area (mask recall); and the overlap of both."""
    detector, unit = masks["detector"], masks["best_unit"]
    shares = (
        f"{_percent([share])} of {part}" for share, part in zip(detector["coverage"], masks["parts"], strict=True)
    )
    best = f"best single unit {_percent(unit['coverage'])}, {unit['overlap']:.2f}"
    return f"{', '.join(shares)}; overlap {detector['overlap']:.2f} ({best})"


def disagreement_words(target: dict[str, Any]) -> str:
    """What :meth:`LearnedRun.disagreement` found, in a sentence."""
    low, high = (100 * end for end in target["interval"])
    sure = target["confidence"]
    return (
        f"on {target['images']} pictures of {target['folder']} 'ordinary' and 'learned' disagree in "
        f"{100 * target['disagreement']:.1f} % (95 % interval {low:.1f} to {high:.1f}); they give their answers "
        f"{100 * sure['ordinary']:.0f} % and {100 * sure['learned']:.0f} % on average."
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Names of test sets: the plain one and a trap's first, then the others."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _table(title: str, heads: Sequence[str], right: Container[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in heads:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    return table


def _percent(shares: list[float]) -> str:
    return " / ".join(f"{100 * share:.0f} %" for share in shares)
