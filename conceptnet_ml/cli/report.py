"""``report``: a finished run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, option

EXAMPLES = options.examples(
    ("report runs/NAME", "report.html in the run folder"),
    ("report runs/NAME --out page.html", "elsewhere, to be handed on"),
)
OUT_HELP = "the file to write; default: report.html in the run folder"


def report(
    run: options.RunFolder,
    out: Annotated[Path | None, option("--out", "FILE", OUTPUT, OUT_HELP)] = None,
    json: options.Json = False,
) -> None:
    """Write one HTML page that explains a run to someone who has nothing else of it.

    It needs no network, no script and no other file. 'learn' writes it, too;
    after an edit of the graph this command writes it anew.
    """
    from conceptnet_ml import write_page

    page = write_page(run, out)
    size = page.stat().st_size
    if json:
        options.print_json({"run": str(run), "page": str(page), "bytes": size})
        return
    options.console().print(f"{page}: {size / 1e6:.1f} MB, in any browser", markup=False, soft_wrap=True)
