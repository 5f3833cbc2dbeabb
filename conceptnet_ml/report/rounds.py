"""Each round of a run for a reader: what was exchanged, what the answer did, what was decided on what evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conceptnet_ml.drawing.layout import Caption
from conceptnet_ml.graph.naming import below_what, listed
from conceptnet_ml.report.figures import Figure, Figures
from conceptnet_ml.results.badges import decided
from conceptnet_ml.results.summary import (
    TOO_FEW,
    close_words,
    few_held,
    masks_words,
    other_word,
    reason_words,
    shown_probe,
    waits,
    without_numbers,
)
from conceptnet_ml.results.verdict import Entry, at, capital, is_forced, narrowed, percent, probe_of, sharing, what
from conceptnet_ml.steps.ordinary import wilson
from conceptnet_ml.storage.files import file_name
from conceptnet_ml.storage.run_folder import round_picture
from conceptnet_ml.swap.stop_rule import USER
from conceptnet_ml.swap.sureness import grade, hundredths, interval_words, sure_words

PAIRS, REFUSED_PAIRS = 8, 2
"""Rows of image, donor, swapped view and gate that are shown of a round that was kept, and of another."""

STAYS = 0.02
"""By how much fewer held-out images are answered rightly, at least, where all that was exchanged is gone: less may mean
that a part is left (docs/results.md, cases that nothing was settled on)."""

LITTLE = 0.1
"""By how much more often, at most, another class's material changes an answer that does not go by it."""

_SIDE = 128


def round_cards(summary: dict[str, Any], figures: Figures) -> list[dict[str, Any]]:
    """What the page says of every round, those that were kept first."""
    order = sorted(enumerate(summary["rounds"], 1), key=lambda item: item[1]["decision"] != "kept")
    return [_card(number, entry, summary, figures) for number, entry in order]


def _card(number: int, entry: Entry, summary: dict[str, Any], figures: Figures) -> dict[str, Any]:
    is_kept = entry["decision"] == "kept"
    probe = probe_of(entry) or shown_probe(entry)
    readout, _ = _parts(entry)
    few = few_held(summary)
    rows = _rows(entry, PAIRS if is_kept else REFUSED_PAIRS, figures)
    return {
        "number": number,
        "name": entry["name"],
        "title": capital(at(entry)),
        "kept": is_kept,
        "place": entry.get("place", ""),
        "decision": entry["decision"],
        "decided": decided(entry),
        "asked": "what the classes' answers hang on" if "." not in readout else f"what lies {below_what(readout)}",
        "stage": entry["stage"],
        "what": what(entry, probe) if probe else "",
        "classes": sharing(entry, summary["classes"]) if is_kept else "",
        "sentences": _kept(entry, probe, summary) if is_kept and probe else _refused(entry, few),
        "bars": _bars(probe) if probe else [],
        "overruled": entry.get("overruled", ()),
        "sure": _how_sure(entry, few),
        "rows": rows,
        **_telling(rows),
        "numbers": [*_numbers(entry), *_family_numbers(entry, summary)],
        "reason": reason_words(entry["reason"], few),
        "probes": [one | {"reason": reason_words(one["reason"], few)} for one in entry["representations"]],
    }


def _bars(probe: Entry) -> list[dict[str, Any]]:
    """How often the answer changes, by whose material comes in."""
    images = sum(probe["images"])
    shares = [("found by the probe, from another class", probe["phi"])]
    shares += [
        (f"any {who}", _mean(probe[key])) for who, key in (("other class's", "others"), ("class-mate's", "mates"))
    ]
    bars = []
    for label, share in shares:
        low, high = wilson(round(share * images), images) if images else (0.0, 1.0)
        bars.append({"label": label, "share": share, "low": low, "high": high})
    return bars


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _kept(entry: Entry, probe: Entry, summary: dict[str, Any]) -> list[str]:
    """Why it was taken for one thing among others, what became of it, and how sure that is."""
    chance = percent(1 / len(summary["classes"]))
    lead = 100 * (_mean(probe["others"]) - _mean(probe["mates"]))
    goes = (
        "That is little: the network hardly goes by it."
        if lead < 100 * LITTLE
        else "So the answer goes with it at times; that it is a cue, and no part of the object, is the user's word."
        if is_forced(entry)
        else "So the answer goes with this thing, whoever brings it: one thing among others, and no part of the object."
        if probe["gate"] == "place"
        else "So this alone decides much of the answer, whatever else the picture shows."
    )
    named = "The user named this place: it is exchanged whatever the probes say of it. " if "place" in entry else ""
    found = [
        f"{named}Another class's material changes the answer {lead:.0f} points more often than a class-mate's. {goes}"
    ]
    if (told := probe.get("told")) is not None:
        classes = len(summary["classes"])
        found.append(
            "Not the network itself was asked, but one that was taught to say what pictures show that contradict their "
            f"class, so that the object was of no use to it. It tells "
            f"{percent(1 / classes + told * (1 - 1 / classes))} of held-out pictures; a part of an object tells less. "
            "What changes its answers is a cue with exceptions."
        )
    if "r_after" in entry:
        fall = entry["r_before"] - entry["r_after"]
        wider = (
            f"{narrowed([entry]) or ', these places'} with a little around them"
            if probe["gate"] == "place" and "exchanged" not in entry
            else ""
        )
        found.append(
            f"The network was trained on pictures in which it is exchanged at random{wider}. Before, it answered "
            f"{percent(entry['r_before'])} of held-out pictures without this exchange rightly; after, "
            f"{percent(entry['r_after'])} of those with it and {percent(entry['r_without'])} of those without it "
            f"(guessing: {chance}). "
            + (
                (
                    "Much went with it: look whether the gates took a part of the object, too."
                    if probe["gate"] == "place"
                    else "Much went with it: so much hung on it, and what is left is harder to learn."
                )
                if fall > 0.1
                else "With it that is hardly less: perhaps a part of it is left, or something else tells the class as "
                "surely."
                if fall < STAYS
                else "So enough is left to tell the classes by."
            )
        )
    if closures := entry.get("closures"):
        found.append(
            f"A fresh network that is taught by these pictures no longer finds it{_in_draws(closures[-1])}."
            if closures[-1]["closed"]
            else "A fresh network that is taught by these pictures still finds something of it: the exchange may be "
            "too narrow."
        )
    if (left := entry.get("places_left")) is not None:
        found.append(
            "Trained once, the network still read the rest of it: at places that all images have in common another "
            f"class's material changed its answer {100 * left:.0f} points more often than a class-mate's. So these "
            "places are exchanged as a whole, and it was trained again."
        )
    found += [
        f"By itself, what was found tells the classes apart in {percent(one['accuracy'])} of held-out images."
        + (_true_parts(one["true_masks"]) if "true_masks" in one else "")
        for one in _families(entry, summary)
    ]
    if "place" in entry:
        found.append(
            "The concepts of this round were looked for in the whole picture, not in the place: what makes a class is "
            "all that the network told it by before this round, of which the place may be a part or none. What the "
            "classes exchange is one detector built from the same units, fitted to the place: it shows of it what "
            "these units see."
        )
    images = sum(probe["images"])
    wrong = 1 - probe["answered"]
    them = "of the held-out images" if probe["evidence"] == USER else "of them"
    found.append(
        f"Evidence: {probe['evidence']}. {images} {them} were asked, those that the network answered rightly; it "
        f"erred in {percent(wrong, 1)}. " + ("An object is seldom that easy; a cue is." if wrong < 0.01 else "")
    )
    return found


def _families(entry: Entry, summary: dict[str, Any]) -> list[Entry]:
    return [one for one in summary["families"] if one["name"] == _family(entry)]


def _true_parts(masks: Entry) -> str:
    """How much of the parts that the data's maker marked a family's detector finds, after a full stop."""
    found, best = ([percent(one) for one in masks[who]["coverage"]] for who in ("detector", "best_unit"))
    parts = [f"{share} of each {part}" for share, part in zip(found, masks["parts"], strict=True)]
    return (
        f" The data says where its parts truly are: of their area it finds {listed(parts)} (the best single unit: "
        f"{listed(best)})."
    )


def _family_numbers(entry: Entry, summary: dict[str, Any]) -> list[str]:
    masked = [one["true_masks"] for one in _families(entry, summary) if "true_masks" in one]
    return [f"mask recall: {masks_words(masks)}" for masks in masked]


def _in_draws(check: Entry) -> str:
    """`` (likely, 87 of 100 draws)``; empty for a check of before."""
    sure = check.get("sureness")
    return f" ({grade(sure['agree'])}, {hundredths(sure['agree'])} of 100 draws)" if sure else ""


def _how_sure(entry: Entry, few: int = 0) -> dict[str, Any] | None:
    """The grade of a round, what it means, in brief and in figures, and of a close call the word that decides
    otherwise; None where nobody knows. Where ``few`` images decided, that in place of a grade."""
    sure = entry.get("sureness")
    if sure is None:
        return None
    close = close_words(entry)
    share, would = hundredths(sure["agree"]), "the same"
    if close:
        share, would = 100 - share, "otherwise"
        words = close.removeprefix("a close call: ")
    else:
        words = f"{share} of 100 draws of other held-out images decide the same ({sure['of']}: {interval_words(sure)})"
    by_hand = other_word(entry) if close else ""
    if few:
        brief = (
            f"only {few} held-out images decided; {share} of 100 draws of these few decide {would}, which says little."
        )
        return {"grade": TOO_FEW, "brief": brief, "short": TOO_FEW.lower(), "words": f"{words}.", "by_hand": by_hand}
    return {
        "grade": grade(sure["agree"]).capitalize(),
        "short": f"{grade(sure['agree'])}, had other images been held out",
        "brief": f"with other held-out images it would have been decided {would} in {share} of 100 draws.",
        "words": f"{words}.",
        "by_hand": by_hand,
    }


def _family(entry: Entry) -> str:
    """The name of the family that the round left: ``block3.1``."""
    readout, number = _parts(entry)
    return f"{entry['stage']}.{number}" if readout == "classes" else f"{readout}.{entry['stage']}.{number}"


def _parts(entry: Entry) -> tuple[str, str]:
    """Readout and number of a round, from its name ``stage/readout/number``."""
    readout, _, number = entry["name"].removeprefix(f"{entry['stage']}/").rpartition("/")
    return readout, number


def _refused(entry: Entry, few: int) -> list[str]:
    """For each representation what spoke against it, without its numbers, or that ``few`` images cannot tell."""
    found = []
    for probe in entry["representations"]:
        words = without_numbers(reason_words(probe["reason"], few)).partition("; moves the carrying channels")[0]
        undone = ", and undone after its training" if entry["chosen"] == probe["representation"] else ""
        if waits(entry) and probe is entry["representations"][-1]:
            words = "nothing is decided of it before a network was asked that reads what contradicting pictures show"
        found.append(f"{what(entry, probe)}: {words}{undone}.")
    if "r_after" in entry:
        found.append(
            f"After its training {percent(entry['r_after'])} of held-out pictures with this exchange were answered "
            f"rightly, {percent(entry['r_without'])} of those without it; before, {percent(entry['r_before'])} of "
            "those without it."
        )
    return found or [reason_words(entry["reason"], few)]


def _numbers(entry: Entry) -> list[str]:
    """Further figures of a round, for experts."""
    probes = [(one["representation"], one) for one in entry["representations"]]
    checks = [(f"check {number} by a fresh network", one) for number, one in enumerate(entry.get("closures", ()), 1)]
    others = [("after training", "r_sureness"), ("places that images have in common", "places_sureness")]
    asked = [*probes, *checks, *((name, {"sureness": entry[key]}) for name, key in others if key in entry)]
    found = [f"{name}: {sure_words(one['sureness'])}" for name, one in asked if "sureness" in one]
    if channels := entry.get("channels"):
        found.append(f"channels that carry the answer: {len(channels['open'])}; φ {channels['phi']:.2f}")
    if detector := entry.get("detector"):
        auc, covers = (" / ".join(f"{one:.2f}" for one in detector[key]) for key in ("auc", "coverage"))
        found.append(f"detector: AUC {auc}, gate recall {covers}, overlap with the gates {detector['overlap']:.2f}")
        found.append(f"analogies between units: {detector['analogies']}")
        if moved := detector.get("translation"):
            found.append(
                f"changing places, they turn {percent(moved['translated'])} of the answers, random pairs "
                f"{percent(moved['random'])}"
            )
    if edges := entry.get("edges"):
        found.append(
            f"edges to {edges['to']}: {edges['stand']} of {edges['of']} stand above what shuffled weights give"
        )
    if family := entry.get("family"):
        found.append(
            f"the family taught anew: {family['before']:.2f} → {family['after']:.2f}, untaught {family['blind']:.2f}"
        )
    for finding in entry["features"]:
        found.append(f"units of class {finding['class']}: {' '.join(map(str, finding['units']))}")
    return found


def _telling(rows: list[list[Figure | None]]) -> dict[str, Any]:
    """``telling``: the first and last row in which the donor's material ``changed`` the answer, if it did in any."""
    changed = [row for row in rows if len(set(_seen(row))) > 1]
    found = changed or rows
    return {"telling": [found[0], found[-1]] if len(found) > 1 else found, "changed": bool(changed)}


def _seen(row: list[Figure | None]) -> list[str]:
    """What the network sees in the image and in the view, as it stands below them."""
    return [line.text for one in row if one for line in one.caption if line.text.startswith("seen: ")]


def _rows(entry: Entry, most: int, figures: Figures) -> list[list[Figure | None]]:
    """Rows of the round's sheet, taken evenly from all; each has image, donor, swapped view and gate. None where
    nothing was probed, for then there is no sheet."""
    if not entry["representations"]:
        return []
    sheet = figures.sheet(f"pictures/{file_name(round_picture(entry['name']))}")
    rows: dict[int, list[Any]] = {}
    for cutting in sheet.cuttings:
        rows.setdefault(cutting.row, []).append(cutting)
    every = [*rows.values()]
    step = max(1.0, len(every) / most)
    chosen = [every[int(place * step)] for place in range(min(most, len(every)))]
    side = _SIDE if len(sheet.cuttings) > 1 else 1400
    return [[figures.cut(one, side, tuple(map(_plain, one.caption))) for one in row] for row in chosen]


def _plain(line: Caption) -> Caption:
    """``13% open``, as sheets have it of a gate, for who reads nothing but the page."""
    return replace(line, text=re.sub(r"^(\d+)% open$", "\\1\u00a0% of it", line.text))
