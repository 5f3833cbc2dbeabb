"""``compare``: two runs side by side, or two states of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, argument, option
from conceptnet_ml.errors import SettingsError

EXAMPLES = options.examples(
    ("compare runs/A runs/B", "what differs"),
    ("compare runs/A runs/B --out page.html", "and a page with pictures"),
    ("compare runs/A runs/B --answer", "answer the test images now"),
    ("compare runs/A@ordinary runs/A", "one run: what it changed"),
    ("compare runs/A@1 runs/A@2", "what its second round did"),
    ("compare runs/A runs/B --json", "for a script"),
)
ANSWER_HELP = (
    "where a run does not keep what it answered to each test image, have its networks answer now: reads its data"
)
FIRST_HELP = (
    "folder that 'learn' wrote; with @STATE the run as it was: @ordinary, @block3/classes/1 (after this round) "
    "or @1, @learned"
)

if TYPE_CHECKING:
    from conceptnet_ml import LearnedRun
    from conceptnet_ml.plugins import Plugins
    from conceptnet_ml.results.comparison import ComparedFact, Comparison
    from conceptnet_ml.results.concept_matches import ConceptMatches


def compare(
    run: Annotated[str, argument("RUN_A", FIRST_HELP)],
    other: Annotated[str, argument("RUN_B", "another, with the same classes; or the same, @ another state")],
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, "HTML file to write, with pictures of both")] = None,
    answer: Annotated[bool, option("--answer", None, None, ANSWER_HELP)] = False,
    device: options.RunDevice = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say how two runs, or two states of one, differ: data, settings, accuracy, rounds, concepts.

    Differences are RUN_B less RUN_A, with 95 % intervals; image by image where
    both answered the same test images. Concepts count as one where the same
    held-out images bring them up. Of two states of one run it says which concepts
    each still has, and what its answers owe to them; the data of a state between
    the ordinary and the learned network is read. Nothing is trained.
    """
    for one in (run, other):
        options.check_run(_split(one)[0])
    from conceptnet_ml import write_comparison

    found = _compared(run, other, options.load(plugins_dir, no_plugins), device, answer, trust)
    page = None if out is None else write_comparison(found, out)
    if json:
        options.print_json({**found.plain(), "page": None if page is None else str(page)})
        return
    console = options.console()
    for part in _parts(found):
        console.print(part, markup=False)
    if page is not None:
        console.print(f"{page}: {page.stat().st_size / 1e6:.1f} MB, in any browser", markup=False, soft_wrap=True)


def _compared(run: str, other: str, plugins: Plugins, device: str | None, answer: bool, trust: bool) -> Comparison:
    from conceptnet_ml import open_run
    from conceptnet_ml.runtime.progress import Progress

    (folder, state), (folder2, state2) = _split(run), _split(other)
    if state is None and state2 is None:
        first, second = (open_run(path, plugins, device, trust) for path in (folder, folder2))
        with Progress() as progress, progress.task("read data, answer test images, compare" if answer else "compare"):
            return first.compare(second, answer)
    if folder.resolve() != folder2.resolve():
        raise SettingsError(
            f"{run} and {other} are of two runs", "States are of one run; name two whole runs without @ otherwise."
        )
    opened: LearnedRun = open_run(folder, plugins, device, trust)
    with Progress() as progress, progress.task("compare"):
        return opened.compare_states(state or "learned", state2 or "learned", answer)


def _split(text: str) -> tuple[Path, str | None]:
    """``runs/A@1``: the folder and the state; a folder whose name has an @ in it is one."""
    folder, at, state = text.rpartition("@")
    return (Path(folder), state) if at and not Path(text).exists() else (Path(text), None)


def _parts(found: Comparison) -> Iterator[Any]:
    from conceptnet_ml.results.comparison import difference_words, share_words

    yield found.headline
    if found.states is None:
        yield f"A: {found.runs[0].folder.path}\nB: {found.runs[1].folder.path}"
    else:
        lines = (f"{letter}: {name}" for letter, name in zip("AB", found.names, strict=True))
        yield "\n".join([f"{found.runs[0].folder.path}, two states", *lines])
    yield _facts("What they are", found.facts)
    if found.states is None:
        yield _facts("Settings that differ", found.settings) if found.settings else "All settings are the same."
    if found.environment:
        yield _facts("Versions, machine", found.environment)
    rows: list[tuple[str, ...]] = []
    for row in found.accuracy:
        one = row.difference
        says = "" if one is None else ", ".join([one.how, *(["may be chance"] if not one.sign else [])])
        if one is not None and one.won is not None:
            says += f"; only B right {one.won}, only A {one.lost}"
        name = "… worst group" if row.groups else row.test_set
        images = " / ".join(dict.fromkeys(str(count) for count in row.images))
        rows.append((name, images, row.method, share_words(row, 0), share_words(row, 1), difference_words(one), says))
    heads = ["test set", "images", "network", "A", "B", "B less A, points", ""]
    if found.states is not None:  # one network of each
        heads.remove("network")
        rows = [(*row[:2], *row[3:]) for row in rows]
    right = [head for head in heads if head in ("images", "A", "B", "B less A, points")]
    yield options.table(heads, rows, right=right, title="Accuracy, with 95 % intervals", pad_edge=False)
    yield from found.notes
    rounds = [(each.name, *(words or "–" for words in each.words)) for each in found.rounds]
    if found.states is None:
        yield options.table(("round", "A", "B"), rounds, title="Rounds", pad_edge=False)
        yield from _concepts(found.concepts)
    else:
        yield options.table(("round", "A", "B"), rounds, title="Rounds between the two", pad_edge=False)
        yield from _in_states(found.concepts)
    yield from found.concepts.notes


def _concepts(concepts: ConceptMatches) -> Iterator[Any]:
    from conceptnet_ml.graph.naming import called
    from conceptnet_ml.results.concept_matches import ALIKE

    matches = [(each.words, *(called(node) for node in each.nodes)) for each in concepts.both]
    title = f"Concepts that both have: {len(matches) if concepts.compared else 'not known'}"
    yield options.table(("alike", "A", "B"), matches, title=title, pad_edge=False) if matches else title
    only = "Only in" if concepts.compared else "In"
    for letter, nodes in zip("AB", concepts.only, strict=True):
        yield "\n".join([f"{only} {letter}: {len(nodes)}", *(f"  {called(node)} ({node.id})" for node in nodes)])
    if concepts.images:
        yield (
            f"alike: over {concepts.images} held-out images of both runs, how far the same images bring two concepts "
            f"up, and at the same places: correlations within the classes, 1 for the same. From {ALIKE:g} on, by the "
            "mean, they count as one."
        )


def _in_states(concepts: ConceptMatches) -> Iterator[Any]:
    from conceptnet_ml.graph.naming import called
    from conceptnet_ml.results.concept_matches import IN_STATES

    if not concepts.states:
        yield "Concepts: not known"
        return
    rows = []
    for one in concepts.states:
        alike = ["kept apart"] * 2 if one.alike is None else [f"{each.mean:.2f}" for each in one.alike]
        owed = ["", ""] if one.effects is None else [f"{each:.1f}".replace("-", "−") for each in one.effects]
        rows.append(
            (
                called(one.node),
                {(True, True): "both", (True, False): "A", (False, True): "B"}.get(one.has, "neither"),
                *alike,
                *owed,
            )
        )
    heads = ("concept", "in", "alike A", "alike B", "owed A", "owed B")
    yield options.table(heads, rows, right=heads[2:], title="Concepts", pad_edge=False)
    yield IN_STATES.format(images=concepts.images)


def _facts(title: str, facts: tuple[ComparedFact, ...]) -> Any:
    from rich.text import Text

    rows = []
    for one in facts:
        texts = (one.name, *(value or "–" for value in one.values))
        rows.append([Text(text, style="bold" if one.differs else "") for text in texts])
    return options.table(("", "A", "B"), rows, title=title, pad_edge=False)
