"""The run's answers in short: what was found, kept and refused, and both networks' accuracy beside the controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conceptnet_ml.graph.naming import listed, round_called
from conceptnet_ml.results.looks import looks_words
from conceptnet_ml.results.summary import (
    BY_WORD,
    NO_PROOF,
    PLAIN,
    close_words,
    cost_words,
    disagreement_words,
    failing,
    few_words,
    in_order,
    loss_words,
    shown_methods,
    tells_worst_group,
    waits,
    why_nothing,
)
from conceptnet_ml.steps.ordinary import wilson

Entry = dict[str, Any]
"""A round of the summary."""

POINT, FAR, ERRS = 0.01, 0.2, 0.1
"""Accuracy that counts as better or worse; a gap between test sets that no chance makes; errors that may hide a cue."""


def percent(share: float, digits: int = 0) -> str:
    """``96 %``, which no line breaks."""
    return f"{100 * share:.{digits}f}\u00a0%"


def kept(summary: dict[str, Any]) -> list[Entry]:
    """The rounds that were kept."""
    return [entry for entry in summary["rounds"] if entry["decision"] == "kept"]


def at(entry: Entry) -> str:
    """A round as concepts name it: ``round 1, block3``."""
    return round_called(entry["name"], entry["stage"])


def capital(words: str) -> str:
    """With a capital to begin a sentence; names within it stay as they are."""
    return words[:1].upper() + words[1:]


def probe_of(entry: Entry, name: str | None = None) -> Entry | None:
    """A round's figures in the representation that was chosen, or in this one; None where there are none."""
    name = name or entry["chosen"]
    return next((one for one in entry["representations"] if one["representation"] == name), None)


_PATTERNS = {
    "fourier": "the strength of patterns that repeat all over an image",
    "waves": "patterns that repeat all over an image",
    "exposure": "how light and how rich in contrast an image is",
    "sharpness": "how sharp or blurred an image is",
    "blocks": "how grainy or compressed an image is",
}
"""What the built-in representations exchange of the whole image, in words."""


def what(entry: Entry, probe: Entry | None = None) -> str:
    """What a round exchanged, or tried to, in words: ``places that cover 15 % of an image (pixels)``."""
    probe = probe or probe_of(entry)
    if probe is None:
        return "nothing"
    name, share = probe["representation"], percent(probe["price"])
    if probe["gate"] == "place" and "exchanged" in entry:
        return f"the surroundings: all but the places that cover {share} of an image ({name})"
    if probe["gate"] == "place":
        named = f", at {entry['place']}" if "place" in entry else ""
        return f"places that cover {share} of an image{named} ({name})"
    if probe["gate"] == "channel" or name in _PATTERNS:
        pattern = _PATTERNS.get(name, name)
        return f"{pattern}, {share} of them ({name})" if probe["price"] < 1 else f"{pattern} ({name})"
    return f"{name}, " + (f"in places that cover {share} of an image" if probe["price"] < 1 else "of the whole image")


def sharing(entry: Entry, classes: Sequence[str]) -> str:
    """The classes that a round is about, and how what is exchanged looks in them, where that is known: ``car and poodle
    (in car low, dark; in poodle bright)``, ``all 10 classes``."""
    probe = probe_of(entry)
    places = None if probe is None else probe["classes"]
    if places is not None:
        who = listed([classes[place] for place in places])
    else:
        who = listed(classes) if len(classes) < 5 else f"all {len(classes)} classes"
    looks = looks_words(entry.get("looks", ()), classes)
    return f"{who} ({looks})" if looks else who


APART = 0.02
"""From this difference on the share of an image that is exchanged in training is said beside that of the probe."""

CONTROL = "random-box"
"""The control that is trained by default."""

BESIDES = " for probes and rounds; controls, witness, dreams and pictures come on top"


def verdict(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Five questions of a reader and their answers."""
    found = kept(summary)
    return [
        ("What the network hung on", _hung_on(summary, found)),
        ("What it let go of", _let_go(summary, found)),
        ("Why believe it", f"{_believe(summary, found)}{_close_calls(summary)}"),
        ("What it cost", _cost(summary, found)),
        ("What to do next", _next(summary, found)),
    ]


def headline(summary: dict[str, Any]) -> str:
    """The verdict in one line."""
    found, sets = kept(summary), summary["test_sets"]
    if not found:
        return "Nothing was taken away: the learned network is the ordinary one."
    things = "one thing" if len(found) == 1 else f"{len(found)} things"
    signs = [_sign(summary, name) for name in sets]
    parts = [f"{word} on {signs.count(sign)}" for sign, word in ((1, "better"), (-1, "worse")) if sign in signs]
    rest, every = signs.count(0), "the test set" if len(signs) == 1 else f"all {len(signs)} test sets"
    tested = f"{' and '.join(parts)} of {len(signs)} test sets" if parts else f"any difference on {every} may be chance"
    if parts and rest:
        tested += f"; on {rest} it may be chance"
    if named := [entry["place"] for entry in found if "place" in entry]:
        more = len(found) - len(named)
        also = f", and {'one thing' if more == 1 else f'{more} things'} by the rule" if more else ""
        return f"By the user's word {listed(named)} is exchanged{also}: {tested}."
    return f"The network hung on {things} that can be exchanged, and learned to do without: {tested}."


def _sign(summary: dict[str, Any], name: str) -> int:
    """1 where the learned network is better on a test set than the ordinary one, -1 where it is worse, 0 where that may
    be chance."""
    row = summary["test_sets"][name]
    before, after = _cells(row, ("ordinary", "learned"), row["images"])
    pairs = summary.get("answers", {}).get("sets", {}).get(name)
    gain = _gain(row)
    return ((gain > 0) - (gain < 0)) if _beyond_chance(before, after, pairs) else 0


def _gain(row: Entry) -> float:
    gain: float = row["learned"]["accuracy"] - row["ordinary"]["accuracy"]
    return gain


def _lead(row: Entry) -> float:
    """By how much the learned network is right more often than the ordinary one and the default control."""
    others = [row[method]["accuracy"] for method in ("ordinary", CONTROL) if method in row]
    lead: float = row["learned"]["accuracy"] - max(others)
    return lead


def _hung_on(summary: dict[str, Any], found: Sequence[Entry]) -> str:
    if not found:
        return (
            f"{few_words(summary)}{why_nothing(summary['rounds'])}. That is no proof that there is no shortcut: one "
            "that no exchange of colours, textures or places shows, or one that errors hide, is not seen."
            f"{_fails(summary)}"
        )
    parts = []
    for entry in summary["rounds"]:
        probe = probe_of(entry)
        if entry in found and probe is not None:
            thing = what(entry).removesuffix(f" ({probe['representation']})")
            these = "these are" if probe["gate"] == "place" and "exchanged" not in entry else "that is"
            parts.append(
                f"{capital(thing)}, in {sharing(entry, summary['classes'])}. Once {these} taken from a picture "
                f"of another class, {percent(probe['phi'])} of the answers change ({at(entry)})."
            )
    return " ".join(parts)


def _fails(summary: dict[str, Any]) -> str:
    """Where the network answers far worse than on the plain test set, there is something it hangs on; where it errs
    often on that, errors may hide it."""
    sets = summary["test_sets"]
    plain = next((name for name in PLAIN if name in sets), None)
    if plain is None:
        return ""
    worst = min(sets, key=lambda name: sets[name]["ordinary"]["accuracy"])
    right, least = (sets[name]["ordinary"]["accuracy"] for name in (plain, worst))
    if right - least < FAR and not failing(summary):
        errs = f" Here errors may: {percent(1 - right)} of the answers on '{plain}' are wrong, and errors count against"
        return f"{errs} an exchange." if 1 - right > ERRS else ""
    here, there = percent(right), percent(least)
    return f" Here there may well be one: {here} are right on '{plain}', {there} on '{worst}'."


def _let_go(summary: dict[str, Any], found: Sequence[Entry]) -> str:
    left = _not_kept(summary["rounds"], " more" if found else "")
    if not found:
        return f"Nothing. {left}".strip()
    after = sorted(entry["r_after"] for entry in found if "r_after" in entry)
    rests = f"The same{narrowed(found)}: in training it is exchanged at random, so that it says nothing of the class"
    if after:
        shares = " to ".join(dict.fromkeys(percent(one) for one in (after[0], after[-1])))
        rests += f", and {shares} of held-out images with it exchanged are answered rightly "
        rests += f"(guessing: {percent(1 / len(summary['classes']))})"
    left += " Nothing was taken away there." if left else ""
    return f"{rests}. {left}".strip()


def narrowed(found: Sequence[Entry]) -> str:
    """Of places: to what share of an image they were narrowed down, or widened, for training; empty where that is the
    probe's, or nearly, and where several things are exchanged."""
    probe = probe_of(found[0]) if len(found) == 1 else None
    share = found[0].get("share")
    if probe is None or share is None or abs(share - probe["price"]) < APART:
        return ""
    how = "narrowed down" if share < probe["price"] else "widened"
    return f", {how} to places that cover {percent(share)} of an image"


def _not_kept(rounds: Sequence[Entry], more: str) -> str:
    """``3 more rounds were refused; 1 more round was undone.``: what became of the others."""
    parts, judged = [], [entry for entry in rounds if not waits(entry)]
    for decision, word in (("leaf", "refused"), ("undone", "undone")):
        count = sum(entry["decision"] == decision for entry in judged)
        parts += [f"{count}{more} {'round was' if count == 1 else 'rounds were'} {word}"] if count else []
    return f"{'; '.join(parts)}." if parts else ""


def _believe(summary: dict[str, Any], found: Sequence[Entry]) -> str:
    if not found:
        return "Each round below says what was tried, how often it changed the answer, and why it was left alone."
    by_hand = [at(entry) for entry in found if is_forced(entry)]
    word = f"The rule refused {listed(by_hand)}: kept by hand. " if by_hand else ""
    sets = summary["test_sets"]
    name = max(sets, key=lambda name: (_lead(sets[name]), _gain(sets[name])))
    if _gain(sets[name]) < POINT:
        name = max(sets, key=lambda name: _gain(sets[name]))
    row = sets[name]
    if _gain(row) < POINT:
        speak = "" if by_hand else " The probes below speak for the rounds, the test sets do not."
        return f"{word}No test set shows a gain.{speak}"
    controls = [one for one in shown_methods(sets) if one not in ("ordinary", "learned")]
    beside = [f"{one} {percent(row[one]['accuracy'])}" for one in controls]
    control = f" Controls, trained as long in another way: {', '.join(beside)}." if beside else ""
    chance = 1 / len(summary["classes"])
    if wilson(round(row["learned"]["accuracy"] * row["images"]), row["images"])[0] <= chance:
        control += f" That is no better than guessing ({percent(chance)}): it proves little."
    return (
        f"{word}On '{name}', {row['images']} images that were never trained on, the ordinary network is right in "
        f"{percent(row['ordinary']['accuracy'])}, the learned one in {percent(row['learned']['accuracy'])}.{control}"
    )


def _close_calls(summary: dict[str, Any]) -> str:
    """The rounds that other held-out images might have decided otherwise, after a full stop; empty where there are
    none."""
    found = [
        f" {capital(at(entry))} is {words.partition(' (')[0]}."
        for entry in summary["rounds"]
        if (words := close_words(entry))
    ]
    return "".join(found)


def is_forced(entry: Entry) -> bool:
    """Whether a round is kept by the user's word alone, and not by the rule as well."""
    return any(words.startswith(f"{entry['chosen']}: ") for words in entry.get("overruled", ()))


def _cost(summary: dict[str, Any], found: Sequence[Entry]) -> str:
    cost = cost_words(summary["cost"], len(found))
    sets = summary["test_sets"]
    plain = next((name for name in PLAIN if name in sets), None)
    if plain is None or not found:
        return f"Time: {cost}{BESIDES}."
    before, after = (percent(sets[plain][one]["accuracy"], 1) for one in ("ordinary", "learned"))
    return f"Accuracy on '{plain}': {before} before, {after} after. Time: {cost}{BESIDES}."


def _next(summary: dict[str, Any], found: Sequence[Entry]) -> str:
    if warning := loss_words(summary):
        return warning
    fails = failing(summary)
    if fails and not found:
        return f"{_look(fails)} The commands are under 'Repeat it, and go on'. {BY_WORD}"
    if not found:
        return (
            "Look at the pictures of the rounds: they show what was tried. If that is a cue, keep the round; the "
            "commands are under 'Repeat it, and go on'. Pictures from where the network is to work tell whether it "
            f"needs any of this. {BY_WORD}"
        )
    undo = "undo the round" if len(found) == 1 else "undo its round"
    if any(probe["gate"] == "place" for entry in found if (probe := probe_of(entry))):
        undo += ", or exchange the other side"
    signs = {name: _sign(summary, name) for name in summary["test_sets"]}
    if min(signs.values()) < 0 and max(signs.values()) <= 0:
        lost = listed([f"'{name}'" for name, sign in signs.items() if sign < 0])
        return (
            f"No test set speaks for the learned network, and {lost} against it: {undo}, unless you know that what was "
            "exchanged is a cue which fails where the network is to work. "
            + (_look(fails) if fails else "Pictures from there would tell.")
        )
    return (
        "Look at the pictures of the rounds: was a cue exchanged, such as a background or a mark, or the thing itself? "
        "If a cue, use the learned network, and measure it on pictures of your own. If the thing itself, "
        f"{undo}: the commands are under 'Repeat it, and go on'." + (f" {_look(fails)}" if fails else "")
    )


def _look(fails: Sequence[str]) -> str:
    """What to do where test sets already show that something fails."""
    return (
        f"'{fails[0]}' already shows that something fails: look with 'inspect' at what the classes differ by, label "
        f"some pictures such as those of '{fails[0]}' and let the network learn from them ('adapt', or training with "
        "them), or decide a round by hand."
    )


# ------------------------------------------------------------------------------------------------ the table


def _beyond_chance(before: Entry, after: Entry, pairs: Entry | None) -> bool:
    """Whether a difference is more than chance: by the images that one network alone answers rightly (the exact sign
    test of McNemar 1947, p < .05), since both answer the same ones; by the intervals where that was not counted.
    """
    if pairs is None:
        return bool(after["high"] < before["low"] or before["high"] < after["low"])
    from scipy.special import bdtr  # takes a while to load

    won, lost = int(pairs["won"]), int(pairs["lost"])
    return bool(2 * bdtr(min(won, lost), won + lost, 0.5) < 0.05)


def _sure(before: Entry, after: Entry, pairs: Entry | None) -> str:
    """Whether a loss is more than chance, in words."""
    said = "more than chance" if _beyond_chance(before, after, pairs) else "it may be chance"
    if pairs is None:
        return said if said == "more than chance" else f"{said}: the intervals overlap"
    return f"{said}: {pairs['lost']} answers lost, {pairs['won']} won"


def accuracy_table(summary: dict[str, Any]) -> dict[str, Any]:
    """Every test set's line, with its worst group where it has one: each network's share and 95 % interval."""
    sets = summary["test_sets"]
    methods = shown_methods(sets)
    rows = []
    for name in in_order(sets):
        row = sets[name]
        rows.append(
            {"name": name, "images": row["images"], "worst": False, "cells": _cells(row, methods, row["images"])}
        )
        if tells_worst_group(name, row):
            worst = [row[method]["worst_group"] for method in methods]
            cells = [_cell(one["accuracy"], one["images"], one["name"]) for one in worst]
            rows.append({"name": "worst group", "images": worst[0]["images"], "worst": True, "cells": cells})
    return {"methods": methods, "rows": rows}


def _cells(row: Entry, methods: Sequence[str], images: int) -> list[Entry]:
    return [_cell(row[method]["accuracy"], images) for method in methods]


def _cell(share: float, images: int, group: str = "") -> Entry:
    low, high = wilson(round(share * images), images) if images else (0.0, 1.0)
    return {"share": share, "low": low, "high": high, "images": images, "group": group}


def remarks(summary: dict[str, Any]) -> list[str]:
    """What an honest reader must know of the table: losses, controls that are as good, and what it cannot say."""
    table, found = accuracy_table(summary), []
    place = {name: number for number, name in enumerate(table["methods"])}
    changed = bool(kept(summary))
    for row in (row for row in table["rows"] if changed and not row["worst"]):
        before, after = (row["cells"][place[name]] for name in ("ordinary", "learned"))
        words = []
        if after["share"] < before["share"]:
            fewer = round((before["share"] - after["share"]) * row["images"])
            pairs = summary.get("answers", {}).get("sets", {}).get(row["name"])
            words.append(
                f"the learned network is worse by {fewer} of {row['images']} images; {_sure(before, after, pairs)}"
            )
        rivals = [name for name in table["methods"] if name not in ("ordinary", "learned")]
        better = [name for name in rivals if row["cells"][place[name]]["low"] > after["high"]]
        words += [f"{listed(better)}, a control, is better than the learned network"] if better else []
        found += [f"On '{row['name']}' {'; '.join(words)}."] if words else []
    if len(summary["test_sets"]) == 1:
        found.append(
            "There is one test set: if its pictures show what the training images do, it cannot show what letting go "
            "of it is worth. Pictures from elsewhere can: evaluate --data."
        )
    found += [NO_PROOF] if changed else []
    if "target" in summary:
        found.append(f"New world: {disagreement_words(summary['target'])}")
    found.append(
        "The intervals beside the shares are of 95 %, for so many images. Another seed than "
        f"{summary['seed']} may differ by more: this is one run."
    )
    return found
