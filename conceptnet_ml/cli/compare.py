"""``compare``: two runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, argument, option

EXAMPLES = options.examples(
    ("compare runs/A runs/B", "what differs"),
    ("compare runs/A runs/B --out page.html", "and a page with pictures"),
    ("compare runs/A runs/B --answer", "answer the test images now"),
    ("compare runs/A runs/B --json", "for a script"),
)
ANSWER_HELP = (
    "where a run does not keep what it answered to each test image, have its networks answer now: reads its data"
)

if TYPE_CHECKING:
    from conceptnet_ml.results.comparison import ComparedFact, Comparison


def compare(
    run: Annotated[Path, argument("RUN_A", "folder that 'learn' wrote")],
    other: Annotated[Path, argument("RUN_B", "another, with the same classes")],
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, "HTML file to write, with pictures of both")] = None,
    answer: Annotated[bool, option("--answer", None, None, ANSWER_HELP)] = False,
    device: options.RunDevice = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say how two runs differ: data, settings, accuracy on every test set, rounds, concepts.

    Differences are RUN_B less RUN_A, with 95 % intervals; image by image where
    both answered the same test images. Concepts count as one where the same
    held-out images bring them up. Nothing is trained.
    """
    from conceptnet_ml import open_run, write_comparison
    from conceptnet_ml.runtime.progress import Progress

    plugins = options.load(plugins_dir, no_plugins)
    first, second = (open_run(folder, plugins, device) for folder in (run, other))
    with Progress() as progress, progress.task("read data, answer test images, compare" if answer else "compare"):
        found = first.compare(second, answer)
    page = None if out is None else write_comparison(found, out)
    if json:
        options.print_json({**found.plain(), "page": None if page is None else str(page)})
        return
    console = options.console()
    for part in _parts(found):
        console.print(part, markup=False)
    if page is not None:
        console.print(f"{page}: {page.stat().st_size / 1e6:.1f} MB, in any browser", markup=False, soft_wrap=True)


def _parts(found: Comparison) -> Iterator[Any]:
    from conceptnet_ml.graph.naming import called
    from conceptnet_ml.results.comparison import difference_words, share_words
    from conceptnet_ml.results.concept_matches import ALIKE

    yield found.headline
    yield f"A: {found.runs[0].folder.path}\nB: {found.runs[1].folder.path}"
    yield _facts("What they are", found.facts)
    yield _facts("Settings that differ", found.settings) if found.settings else "All settings are the same."
    if found.environment:
        yield _facts("Versions, machine", found.environment)
    rows = []
    for row in found.accuracy:
        one = row.difference
        says = "" if one is None else ", ".join([one.how, *(["may be chance"] if not one.sign else [])])
        if one is not None and one.won is not None:
            says += f"; only B right {one.won}, only A {one.lost}"
        name = "… worst group" if row.groups else row.test_set
        images = " / ".join(dict.fromkeys(str(count) for count in row.images))
        rows.append((name, images, row.method, share_words(row, 0), share_words(row, 1), difference_words(one), says))
    heads = ("test set", "images", "network", "A", "B", "B less A, points", "")
    yield options.table(
        heads, rows, right=heads[1:2] + heads[3:6], title="Accuracy, with 95 % intervals", pad_edge=False
    )
    yield from found.notes
    rounds = [(each.name, *(words or "–" for words in each.words)) for each in found.rounds]
    yield options.table(("round", "A", "B"), rounds, title="Rounds", pad_edge=False)
    concepts = found.concepts
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
    yield from concepts.notes


def _facts(title: str, facts: tuple[ComparedFact, ...]) -> Any:
    from rich.text import Text

    rows = []
    for one in facts:
        texts = (one.name, *(value or "–" for value in one.values))
        rows.append([Text(text, style="bold" if one.differs else "") for text in texts])
    return options.table(("", "A", "B"), rows, title=title, pad_edge=False)
