"""``predict``: what a run's network sees in image files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from conceptnet_ml.cli import options

EXAMPLES = options.examples(
    ("predict runs/NAME photo.jpg", "one picture"),
    ("predict runs/NAME photos/*.png --json", "many, for a script"),
)


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], options.argument("IMAGE...", "image files")],
    adapted: options.Adapted = None,
    json: options.Json = False,
    trust: options.Trust = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Say what the learned network sees in pictures, and what the ordinary network would have said."""
    from conceptnet_ml import open_run

    found = open_run(run, options.load(plugins_dir, no_plugins)).predict(images, adapted)
    if json:
        options.print_json({"run": str(run), "images": found})
        return
    from rich.text import Text

    rows = [
        (
            one["file"],
            Text(one["class"], style="bold"),
            f"{one['probability']:.1%}",
            Text(one["ordinary"], style="dim" if one["ordinary"] == one["class"] else "yellow"),
        )
        for one in found
    ]
    columns = ("file", "class", "probability", "ordinary network")
    options.console().print(options.table(columns, rows, right=("probability",)))
