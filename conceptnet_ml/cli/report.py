"""``report``: a finished run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, option
from conceptnet_ml.errors import DataError, SettingsError

EXAMPLES = options.examples(
    ("report runs/NAME", "report.html in the run folder"),
    ("report runs/NAME --out page.html", "elsewhere, to be handed on"),
    ("report runs/NAME --card card.md", "a model card, to be published beside the model"),
)
CARD_HELP = "write a model card in Markdown to this file, in place of the page"
OUT_HELP = "the file to write; default: report.html in the run folder"


def report(
    run: options.RunFolder,
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, OUT_HELP)] = None,
    card: Annotated[Path | None, option("--card", "FILE", OUTPUT, CARD_HELP)] = None,
    json: options.Json = False,
) -> None:
    """Write one HTML page that explains a run to someone who has nothing else of it, or its model card.

    It needs no network, no script and no other file. 'learn' writes it, too;
    after an edit of the graph this command writes it anew.
    """
    if card is not None:
        if out is not None:
            raise SettingsError("--out and --card contradict each other", "Write the page and the card one by one.")
        _write_card(run, card, json)
        return
    from conceptnet_ml import write_page

    page = write_page(run, out)
    size = page.stat().st_size
    if json:
        options.print_json({"run": str(run), "page": str(page), "bytes": size})
        return
    options.console().print(f"{page}: {size / 1e6:.1f} MB, in any browser", markup=False, soft_wrap=True)


def _write_card(run: Path, card: Path, json: bool) -> None:
    from conceptnet_ml.results.card import may_write_card, model_card
    from conceptnet_ml.storage.files import write_atomic
    from conceptnet_ml.storage.run_folder import Run

    if card.is_dir():
        raise DataError(f"{card} is a folder", "Name a file: --card card.md.")
    if not may_write_card(card):
        raise DataError(f"{card} is there already, and is no card of a run", "Name another file, or move it away.")
    write_atomic(card, model_card(Run.open(run)))
    if json:
        options.print_json({"run": str(run), "card": str(card), "bytes": card.stat().st_size})
        return
    options.console().print(f"{card}: a model card in Markdown", markup=False, soft_wrap=True)
