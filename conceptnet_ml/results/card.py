"""A run in short: as a model card in Markdown, to be published beside the model, and in a notebook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import command
from conceptnet_ml.drawing.cutting import opened_sheet
from conceptnet_ml.drawing.notebook import picture_html, table_html
from conceptnet_ml.errors import ConceptNetError, DataError, visible
from conceptnet_ml.graph.naming import listed
from conceptnet_ml.results.summary import failing_words
from conceptnet_ml.results.verdict import accuracy_table, headline, kept, percent, remarks, verdict
from conceptnet_ml.storage.files import MALFORMED
from conceptnet_ml.storage.run_folder import Run, round_picture

TAGS = ("image-classification", "robustness", "shortcut-learning", "interpretability", "concept-graph")

HEAD = ("---", "library_name: conceptnet_ml")
"""How every card begins."""

_CHANGED = (*MALFORMED, StopIteration)


def model_card(run: Run) -> str:
    """A run's model card, as Hugging Face reads it (https://huggingface.co/docs/hub/model-cards): a head in YAML with
    the figures, then what it is, its data, its figures beside the ordinary network and the controls, what it hung on,
    limits, and how to repeat it.

    Raises DataError where the run has no results yet, or its summary lacks what the card says.
    """
    summary = run.summary()
    try:
        settings = Settings.of_run(run.settings, run.path / "settings.json")
        return "\n".join([*_head(run, summary), *_body(run, summary, settings)]) + "\n"
    except _CHANGED as error:
        mend = "Learn the run anew with this version, or use the one that made it."
        raise DataError(f"{run.path / 'summary.json'} lacks what a card says, or is damaged: {error}", mend) from error


def run_words(run: Run) -> str:
    """A run in a line: folder, data, classes, kept rounds; the folder alone where it has no results."""
    try:
        summary = run.summary()
        rounds = listed([entry["name"] for entry in kept(summary)]) or "no round"
        about = f", data {summary['data']}, classes {listed(summary['classes'], 4)}, kept {rounds}"
    except (ConceptNetError, OSError, *_CHANGED):
        about = ""
    return visible(f"LearnedRun({str(run.path)!r}{about})")


def may_write_card(path: Path) -> bool:
    """Whether a card takes nobody's file: there is none, or a card that was written before. Raises DataError where the
    file cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return tuple(file.readline().rstrip() for _ in HEAD) == HEAD
    except FileNotFoundError:
        return True
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", "Name another file.") from error


def run_html(run: Run) -> str:
    """A run in a notebook: its headline, its accuracies and the picture of the first round that was kept; in a line
    what is wrong with it where something is."""
    try:
        summary = run.summary()
        table = accuracy_table(summary)
        rows = [[row["name"], *(percent(cell["share"], 1) for cell in row["cells"])] for row in table["rows"]]
        found = [f"<b>{escape(visible(headline(summary)))}</b>", table_html(("test set", *table["methods"]), rows)]
        for entry in kept(summary)[:1]:
            path = run.path / "pictures" / round_picture(entry["name"])
            if path.is_file():
                with opened_sheet(path) as picture:
                    found.append(picture_html(picture, 640, f"what round {entry['name']} exchanged"))
        found.append(f"<small>{escape(visible(str(run.path)))}</small>")
        return f"<div>{''.join(found)}</div>"
    except (ConceptNetError, OSError, *_CHANGED) as error:
        return f"<div>{escape(visible(str(error)))}</div>"


def _head(run: Run, summary: dict[str, Any]) -> Iterator[str]:
    yield from (*HEAD, "pipeline_tag: image-classification", "tags:")
    yield from (f"- {tag}" for tag in TAGS)
    yield from ("metrics:", "- accuracy", "model-index:", f"- name: {_yaml(run.path.name)}", "  results:")
    for name, row in summary["test_sets"].items():
        yield from ("  - task:", "      type: image-classification", "    dataset:")
        yield from (f"      {key}: {_yaml(words)}" for key, words in _data_set(summary["data"]).items())
        yield from (f"      split: {_yaml(name)}", "    metrics:")
        learned = row["learned"]
        yield from ("    - type: accuracy", f"      name: {_yaml(f'accuracy on {name}')}")
        yield f"      value: {learned['accuracy']:.4f}"
        if worst := learned.get("worst_group"):
            yield from ("    - type: accuracy", f"      name: {_yaml('worst group: ' + worst['name'])}")
            yield f"      value: {worst['accuracy']:.4f}"
    yield "---"


def _data_set(source: str) -> dict[str, str]:
    """The name and the type of a data set for the head: no path of the machine that trained; a folder of images is an
    ``imagefolder``, as Hugging Face's datasets calls it, one of the hub has its name there."""
    kind, _, argument = source.partition(":")
    last = re.split(r"[\\/]", argument.rstrip("\\/"))[-1].strip(".~") or kind
    if kind == "hf" and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?(@.*)?", argument):
        return {"name": argument, "type": argument.partition("@")[0]}
    if kind == "folder":
        return {"name": last, "type": "imagefolder"}
    return {"name": last, "type": kind} if re.search(r"[\\/]", argument) else {"name": source, "type": source}


def _body(run: Run, summary: dict[str, Any], settings: Settings) -> Iterator[str]:
    table, images, environment = accuracy_table(summary), summary["images"], run.environment()
    rows = []
    for row in table["rows"]:
        cells = [
            f"{percent(one['share'], 1)} ({100 * one['low']:.0f}–{100 * one['high']:.0f})"
            + (f", {one['group']}" if row["worst"] else "")
            for one in row["cells"]
        ]
        rows.append([row["name"], "" if row["worst"] else str(row["images"]), *cells])
    trap = "" if summary["trap"] == "none" else f" A cue was planted in them: {_words(summary['trap'])}."
    does = (
        "trained it to do without what can be exchanged" if kept(summary) else "kept no round: it is that network still"
    )
    notes = [f"- {_words(note)}" for note in summary["notes"]]
    fails = failing_words(summary)
    warned = [_words(fails), ""] if fails else []
    yield from ("", f"# {_words(run.path.name)}", "", _words(headline(summary)), "", *warned, "## What it is", "")
    yield (
        f"A classifier of images into {len(summary['classes'])} classes ({_words(listed(summary['classes'], 12))}), "
        f"backbone {_words(settings.network.backbone)}. conceptnet_ml trained an ordinary network, looked for what its "
        f"answers hang on by exchanging material between images of different classes, and {does}. It needs no label of "
        "the cue."
    )
    yield from ("", "```python", "from conceptnet_ml import open_run", "")
    yield f"run = open_run({json.dumps(visible(run.path.name), ensure_ascii=False)})  # the folder that holds this run"
    yield from (
        'run.predict(["photo.jpg"])',
        'run.save_alone("model.pt2")  # loads with torch alone; or model.onnx',
        "```",
        "",
    )
    yield from ("## Data", "")
    count = f"{images['fit']} images to train on, {images['held_out']} for the decisions"
    yield f"{_words(summary['data'])}: {count}.{trap}"
    yield from ("", *notes, *[""][: len(notes)], "## How good it is", "")
    yield from _table(("test set", "images", *table["methods"]), rows)
    before = "the network before" if kept(summary) else "the same network"
    controls = ", the others are controls, trained as long" if len(table["methods"]) > 2 else ""
    yield from ("", f"*learned* is this model, *ordinary* {before}{controls}.")
    yield from ("", "## What it hung on, and what it let go of", "")
    yield from (f"- **{question}:** {_words(answer)}" for question, answer in verdict(summary)[:-1])  # not what is next
    yield from (
        "",
        "## Limits",
        "",
        *(f"- {_words(words)}" for words in remarks(summary)),
        "",
        "## How to repeat it",
        "",
    )
    fence = "`" * (2 + max((len(found) for found in re.findall("`+", command(settings))), default=1))
    yield from (fence, visible(command(settings)), fence, "")
    known = ", ".join(f"{name} {value}" for name, value in environment.items() if isinstance(value, str | int | float))
    yield f"conceptnet_ml {_words(str(run.package))}, seed {summary['seed']}; {_words(known)}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell if cell == '---' else _words(cell) for cell in row)} |"


def _words(text: str) -> str:
    """Text of any origin as Markdown that shows it: no markup, no link, no cell of a table comes of it."""
    text = escape(visible(text).replace("\n", " "), quote=False)
    text = re.sub(r"([\\`*\[\]|~@#])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])", lambda found: f"\\{found[0]}", text)
    return text.replace("://", r":\//").replace("www.", r"www\.")


def _yaml(text: str) -> str:
    """A text as YAML's double quotes hold it, which are JSON's."""
    return json.dumps(visible(text), ensure_ascii=False)
