"""Two runs compared.

A difference of accuracies is paired where both runs' networks answered the same images and the answers are known: only
images that one network alone answers rightly speak then. Else it is that of two shares, on other images of the same
data; between different data there is none. Its interval is about which images were asked, not about seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import flatten
from conceptnet_ml.config.values import show_value
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.evaluation.accuracy import answer_set, recorded_answers, set_digest
from conceptnet_ml.graph.naming import listed
from conceptnet_ml.results.badges import decided
from conceptnet_ml.results.comparison import ComparedAccuracy, ComparedFact, ComparedRound, Comparison, Difference
from conceptnet_ml.results.concept_matches import match_concepts
from conceptnet_ml.results.explain import OpenedRun
from conceptnet_ml.results.summary import in_order, shown_methods, tells_worst_group
from conceptnet_ml.results.verdict import Entry, at, capital, what
from conceptnet_ml.steps.ordinary import wilson

Z = 1.959964
"""Of 95 % intervals."""

_CHANGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration, ZeroDivisionError)


def compare_runs(first: OpenedRun, second: OpenedRun, answer: bool = False) -> Comparison:
    """Two finished runs side by side.

    Args:
        answer: Where a run did not keep what its networks answered, have them answer its test images now. Its data is
            read for it, and for held-out images with which concepts are compared.

    Raises:
        SettingsError: It is one run twice.
        DataError: The classes are not the same, or a run is not finished, damaged, or of a version that lacks what is
            compared; with ``answer`` also where its data cannot be read.
    """
    runs = first, second
    folders = tuple(run.folder.path.resolve() for run in runs)
    if folders[0] == folders[1]:
        raise SettingsError(f"{first.folder.path} and {second.folder.path} are one run", "Name two runs to compare.")
    names = _names(*folders)
    summaries = first.summary(), second.summary()
    classes = [sorted(run.classes) for run in runs]
    if classes[0] != classes[1]:
        says = (f"{name} tells {listed(run.classes)}" for name, run in zip(names, runs, strict=True))
        raise DataError(f"the runs have other classes: {', '.join(says)}", "Compare runs that tell the same classes.")
    try:
        flat = [_flat(run) for run in runs]
        return Comparison(
            names,
            runs,
            first.folder.learned_network == second.folder.learned_network,
            tuple(_facts(runs, summaries)),
            _differing(*flat),
            _differing(*(_environment(run) for run in runs)),
            tuple(_accuracy(runs, summaries, answer)),
            tuple(_rounds(summaries)),
            match_concepts(first, second, answer),
        )
    except _CHANGED as error:
        versions = " and ".join(f"{run.folder.path} by {run.folder.package or '?'}" for run in runs)
        raise DataError(
            f"a summary or settings.json lacks what is compared, or is damaged ({versions}): {error!r}",
            "Learn the older run anew with this version.",
        ) from error


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The ends of two paths, as long as it takes to tell them apart."""
    for length in range(1, max(len(first.parts), len(second.parts)) + 1):
        ends = "/".join(first.parts[-length:]), "/".join(second.parts[-length:])
        if ends[0] != ends[1]:
            return ends
    return str(first), str(second)


# ------------------------------------------------------------------------------------------------ what they are


def _facts(runs: tuple[OpenedRun, OpenedRun], summaries: tuple[Entry, Entry]) -> Iterator[ComparedFact]:
    def fact(name: str, *values: object) -> ComparedFact:
        return ComparedFact(name, (str(values[0]), str(values[1])))

    yield fact("data", *(one["data"] for one in summaries))
    yield fact("planted cue", *(one["trap"] for one in summaries))
    yield ComparedFact("pictures", _pictures(runs))
    yield fact("classes", *(listed(one["classes"], 12) for one in summaries))
    for key, name in (("fit", "images to train on"), ("held_out", "images held out")):
        yield fact(name, *(one["images"][key] for one in summaries))
    yield fact("stages worked through", *(one["depth"] for one in summaries))
    yield fact("seed", *(one["seed"] for one in summaries))
    yield fact("rounds kept", *(_kept_words(one) for one in summaries))
    yield fact("edits of the graph", *(len(one.get("edits", ())) for one in summaries))
    yield fact("conceptnet_ml", *(run.folder.package or "?" for run in runs))


def _pictures(runs: tuple[OpenedRun, OpenedRun]) -> tuple[str, str]:
    """Whether the runs saw the same pictures, by what they recorded of them."""
    found = [_digests(run) for run in runs]
    if not all(found):
        return "not recorded", "not recorded"
    return ("the same", "the same") if found[0] == found[1] else ("its own", "others")


def _digests(run: OpenedRun) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.folder.environment().get("data", {})
    return found


def _kept_words(summary: Entry) -> str:
    chosen = [entry["chosen"] for entry in summary["rounds"] if entry["decision"] == "kept"]
    on = f": {listed(chosen)}" if chosen else ""
    return f"{len(chosen)} of {len(summary['rounds'])}{on}"


def _flat(run: OpenedRun) -> dict[str, str]:
    settings = Settings.of_run(run.folder.settings, run.folder.path / "settings.json")
    return {name: show_value(value) for name, value in flatten(settings).items()}


def _environment(run: OpenedRun) -> dict[str, str]:
    return {
        name: str(value) for name, value in run.folder.environment().items() if isinstance(value, str | int | float)
    }


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[ComparedFact, ...]:
    every = (ComparedFact(name, (first.get(name, ""), second.get(name, ""))) for name in {**first, **second})
    return tuple(one for one in every if one.differs)


# ------------------------------------------------------------------------------------------------ accuracy


def _accuracy(
    runs: tuple[OpenedRun, OpenedRun], summaries: tuple[Entry, Entry], answer: bool
) -> Iterator[ComparedAccuracy]:
    tables = [one["test_sets"] for one in summaries]
    methods = list(dict.fromkeys(name for table in tables for name in shown_methods(table)))
    same_data = all(summaries[0][key] == summaries[1][key] for key in ("data", "trap"))
    known = _Answers(runs, answer)
    for name in in_order({**tables[0], **tables[1]}):
        rows: list[Any] = [table.get(name) for table in tables]
        both = None not in rows
        answers = known.of(name) if both else [None, None]
        pairing = _pairing(answers, same_data) if both else ("", f"Only one of the runs has the test set '{name}'.")
        for method in methods:
            shares = tuple(None if row is None or method not in row else row[method]["accuracy"] for row in rows)
            if shares != (None, None):
                yield compared_share((name, method), rows, shares, answers, pairing)  # type: ignore[arg-type]
        if both and all(tells_worst_group(name, row) for row in rows):
            yield from (_worst(name, method, rows) for method in methods if all(method in row for row in rows))


def _worst(name: str, method: str, rows: Sequence[Entry]) -> ComparedAccuracy:
    """The worst group of each run, without a difference: each is the worst by chance, too, and they may be others."""
    one, other = (row[method]["worst_group"] for row in rows)
    intervals = [wilson(round(each["accuracy"] * each["images"]), each["images"]) for each in (one, other)]
    counts, shares = (one["images"], other["images"]), (one["accuracy"], other["accuracy"])
    groups = one["name"], other["name"]
    return ComparedAccuracy(name, method, counts, shares, (intervals[0], intervals[1]), None, "", groups)


def _pairing(answers: Sequence[dict[str, Any] | None], same_data: bool) -> tuple[str, str]:
    """How two runs' answers to a test set are compared, ``paired``, ``unpaired`` or not at all; and why not paired."""
    first, second = answers
    if first is not None and second is not None and first["images"] == second["images"]:
        return "paired", ""
    if not same_data:
        return "", "The data or the planted cue is another: shares stand side by side, and are not compared."
    if first is not None and second is not None:
        return "unpaired", "The test images are others of the same data: differences are of two shares, unpaired."
    return "unpaired", (
        "A run does not keep what was answered to each image (an earlier version learned it, or its network was edited "
        "since): differences are of two shares, unpaired, which is coarser. --answer has its networks answer now."
    )


def compared_share(
    names: tuple[str, str],
    rows: Sequence[Entry | None],
    shares: tuple[float | None, float | None],
    answers: Sequence[dict[str, Any] | None],
    pairing: tuple[str, str],
) -> ComparedAccuracy:
    """A test set and a network, by their names: ``rows`` say how many images, ``answers`` are as of
    :func:`recorded_answers`, ``pairing`` says how they are compared, and why not paired."""
    counts = [0 if row is None else int(row["images"]) for row in rows]
    intervals = [
        None if share is None or not count else wilson(round(share * count), count)
        for share, count in zip(shares, counts, strict=True)
    ]
    (how, why), difference = pairing, None
    if how and None not in intervals:
        paired = how == "paired"
        difference = _paired(names[1], *answers) if paired else _unpaired(shares, intervals)  # type: ignore[arg-type]
    return ComparedAccuracy(*names, (counts[0], counts[1]), shares, (intervals[0], intervals[1]), difference, why)


def _paired(method: str, first: dict[str, Any], second: dict[str, Any]) -> Difference:
    """By the images that one network alone answers rightly: the adjusted Wald interval of Bonett and Price, which holds
    for few such images, too (2012, Journal of Educational and Behavioral Statistics 37)."""
    right: list[Tensor] = [one["answers"][method] == one["labels"] for one in (first, second)]
    lost, won = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    count = len(right[0])
    up, down = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    spread = Z * math.sqrt((up + down - (up - down) ** 2) / (count + 2))
    middle = up - down
    return Difference((won - lost) / count, max(-1.0, middle - spread), min(1.0, middle + spread), won, lost)


def _unpaired(shares: tuple[float, float], intervals: list[tuple[float, float]]) -> Difference:
    """Of two shares of different images: Newcombe's hybrid of two Wilson intervals (1998, Statistics in Medicine 17,
    method 10)."""
    (a, b), ((a_low, a_high), (b_low, b_high)) = shares, intervals
    low = (b - a) - math.hypot(b - b_low, a_high - a)
    high = (b - a) + math.hypot(b_high - b, a - a_low)
    return Difference(b - a, low, high)


class _Answers:
    """Both runs' answers to their test images: those they keep, or, if that is asked for, given now. Classes in another
    order are not paired wrongly: the digest of the images has their labels in it."""

    def __init__(self, runs: tuple[OpenedRun, OpenedRun], answer: bool) -> None:
        self._runs, self._answer = runs, answer
        self._tests: dict[int, Mapping[str, ImageSet]] = {}
        self._same = _digests(runs[0]) == _digests(runs[1]) != {}

    def of(self, name: str) -> list[dict[str, Any] | None]:
        """Of each run as :func:`recorded_answers`, None where they are not known."""
        return [recorded_answers(run.folder, name) or self._given(place, name) for place, run in enumerate(self._runs)]

    def _given(self, place: int, name: str) -> dict[str, Any] | None:
        if not self._answer:
            return None
        run, shown = self._runs[place], 0 if self._same else place
        if shown not in self._tests:  # it takes a while
            self._tests[shown] = self._runs[shown].images().tests
        images = self._tests[shown][name]
        networks = {key: network.to(run.device) for key, network in run.methods().items()}
        answers = answer_set(networks, images, run.device, run.dtype)
        return {"images": set_digest(images), "labels": images.labels.cpu(), "answers": answers}


# ------------------------------------------------------------------------------------------------ rounds


def _rounds(summaries: tuple[Entry, Entry]) -> Iterator[ComparedRound]:
    named = [{entry["name"]: entry for entry in one["rounds"]} for one in summaries]
    for name in {**named[0], **named[1]}:
        yield compared_round([one.get(name) for one in named])


def compared_round(entries: Sequence[Entry | None], none: str = "") -> ComparedRound:
    """A round's two entries, of which one may be None, which ``none`` says in words."""
    either = next(entry for entry in entries if entry is not None)
    decisions, words, on = ([_of(entry, part) for entry in entries] for part in range(3))
    said = tuple(word or none for word in words)
    return ComparedRound(either["name"], capital(at(either)), tuple(decisions), said, tuple(on))  # type: ignore[arg-type]


def _of(entry: Entry | None, part: int) -> str | None:
    if entry is None:
        return None
    is_kept = entry["decision"] == "kept"
    words = f"kept: exchanges {what(entry)}" if is_kept else decided(entry)
    return (entry["decision"], words, entry["chosen"] if is_kept else None)[part]
