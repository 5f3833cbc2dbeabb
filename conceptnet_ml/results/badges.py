"""What was decided of a round, in the words of its badge."""

from __future__ import annotations

from collections.abc import Sequence

from conceptnet_ml.data.sampling import FEW
from conceptnet_ml.results.summary import shown_probe, waits, without_numbers
from conceptnet_ml.results.verdict import Entry, at, capital, is_forced, percent, probe_of, sharing, what

_REFUSED = {
    "is exchanged instead": "left alone: another thing is exchanged instead",
    "still goes with the rest of an image": "left alone: in the new world it goes with the rest of the image",
    "below the top it must decide alone": "left alone: it decides only in part of the answers",
    "what was exchanged is a part of the object": "left alone: it is a part of the object",
    "this is the object": "left alone: it is the object",
    "it errs too often to tell": "not decided: too many errors to tell",
    "no cheap gate changes the answer": "left alone: no small exchange changes the answer",
    "exchanging it changes few answers": "left alone: exchanging it changes few answers",
    "it does not decide by itself": "left alone: it does not decide the answer by itself",
    "an object takes as many": "left alone: it is as broad as an object",
    "an object's own may, too": "not decided: an object's own may decide as much",
    "moves the carrying channels": "left alone: it does not move what carries the answer",
}
"""What a refused probe says, the first that is in its reason, and the one thing that this comes to."""

_UNDONE = {
    "it was the object itself": "undone after training: it was the object",
    "the family": "undone after training: what was found no longer tells the classes",
    "the least that must remain": "undone after training: too little was left to tell the classes by",
}
"""The same of a round that was trained and not kept, of the last part of its reason."""


def decided(entry: Entry) -> str:
    """A round's badge: what was decided, and the one thing that was measured which decided it.

    Of a round in which nothing is chosen it is said of the representation whose pictures are shown.
    """
    kind, probe = entry["decision"], shown_probe(entry)
    if kind == "kept":
        return f"kept{' by hand' if is_forced(entry) else ''}: it is exchanged in training"
    if kind == "undone":
        last = entry["reason"].rpartition("; r ")[2] if "r_after" in entry else ""
        return _unless_few(_first(_UNDONE, last), entry.get("r_sureness")) or "undone by hand"
    if waits(entry):
        return "not decided yet: another network is asked first, in the next round"
    if probe is None:
        return "not tried: nothing more elementary is left"
    badge = _first(_REFUSED, probe["reason"]) or f"left alone: {without_numbers(probe['reason'])}"
    return _unless_few(badge, probe.get("sureness"))


def decision_line(entry: Entry, classes: Sequence[str]) -> str:
    """A round's decision in a line, for whoever waits for the run: ``Round 1, block3: left alone for cat and dog: it is
    the object. Places that cover 12 % of an image (pixels): with another class's 71 % of the answers change.``"""
    badge, colon, why = decided(entry).partition(": ")
    said = f"{capital(at(entry))}: {badge} for {sharing(entry, classes)}{colon}{why}."
    probe = probe_of(entry) or shown_probe(entry)
    if probe is None:
        return said
    changes = f"with another class's {percent(probe['phi'])} of the answers change"
    return f"{said} {capital(what(entry, probe))}: {changes}."


def _unless_few(badge: str, sure: Entry | None) -> str:
    """The badge; where it takes a thing for the object by too few held-out images, that in its place."""
    what, _, thing = badge.partition(": ")
    if sure is None or sure["images"] >= FEW or not thing.endswith("the object"):
        return badge
    return f"{what}: {sure['images']} held-out images are too few to tell whether {thing}"


def _first(says: dict[str, str], reason: str) -> str:
    return next((badge for words, badge in says.items() if words in reason), "")
