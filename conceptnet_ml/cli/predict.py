"""``predict``: what a run's network sees in image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conceptnet_ml.cli import options

EXAMPLES = options.examples(
    ("predict runs/NAME photo.jpg", "one picture"),
    ("predict runs/NAME photos/*.png --json", "many, for a script"),
)


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="image files", show_default=False)],
    adapted: options.Adapted = None,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say what the learned network sees in pictures, and what the ordinary network would have said."""
    from conceptnet_ml import open_run

    rows = open_run(run, options.load(plugins_dir, no_plugins)).predict(images, adapted)
    if json:
        options.print_json({"run": str(run), "images": rows})
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("file", "class", "probability", "ordinary network"):
        table.add_column(name, justify="right" if name == "probability" else "left", overflow="fold")
    for row in rows:
        same = row["ordinary"] == row["class"]
        ordinary = Text(row["ordinary"], style="dim" if same else "yellow")
        table.add_row(Text(row["file"]), Text(row["class"], style="bold"), f"{row['probability']:.1%}", ordinary)
    options.console().print(table)
