"""``report``: a finished run as one page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, option
from conceptnet_ml.errors import DataError, SettingsError

EXAMPLES = options.examples(
    ("report runs/NAME", "report.html in the run folder"),
    ("report runs/NAME --out page.html", "elsewhere, to be handed on"),
    ("report runs/NAME --card card.md", "a model card, to be published beside the model"),
    ("report runs/NAME --serve", "a page that steers the run: decide rounds, edit the graph"),
)
CARD_HELP = "write a model card in Markdown to this file, in place of the page"
SERVE_HELP = "serve the page on this machine alone, with buttons that carry out what it else only names; until Ctrl-C"
PORT_HELP = "of 127.0.0.1, to serve at; default: a free one"
OUT_HELP = "the file to write; default: report.html in the run folder"


def report(
    run: options.RunFolder,
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, OUT_HELP)] = None,
    card: Annotated[Path | None, option("--card", "FILE", OUTPUT, CARD_HELP)] = None,
    serve: Annotated[bool, option("--serve", None, OUTPUT, SERVE_HELP)] = False,
    port: Annotated[int | None, option("--port", "NUMBER", OUTPUT, PORT_HELP, min=1, max=65535)] = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Write one HTML page that explains a run to someone who has nothing else of it, or its model card.

    It needs no network, no script and no other file. 'learn' writes it, too;
    after an edit of the graph this command writes it anew.
    """
    options.check_run(run)
    if serve:
        if out is not None or card is not None:
            raise SettingsError("--serve writes report.html alone", "Write --out or --card without it.")
        flags = [flag for flag, given in (("--trust", trust), ("--no-plugins", no_plugins)) if given]
        _serve(run, port or 0, [*flags, *(("--plugins-dir", str(plugins_dir)) if plugins_dir else ())], json)
        return
    if port is not None or plugins_dir is not None or no_plugins:
        raise SettingsError("--port, --plugins-dir and --no-plugins are for a page that is served", "Add --serve.")
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


def _serve(run: Path, port: int, flags: list[str], json: bool) -> None:
    from conceptnet_ml import serve_page
    from conceptnet_ml.runtime.signals import Stopper

    def tell(address: str) -> None:
        """Say where the page is, once it can be opened."""
        if json:
            options.print_json({"run": str(run), "address": address})
        else:
            options.say(f"{address}\nWhoever has this address can steer the run. Ctrl-C ends it.")
            if not (run / "summary.json").exists():
                options.say(f"{run} is not finished: the page says what is missing, and how to go on.")
        sys.stdout.flush()

    with Stopper("stopping, and the command that is at work… (Ctrl-C again: at once)") as stopper:
        serve_page(run, port, flags=flags, stopper=stopper, on_start=tell)


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
