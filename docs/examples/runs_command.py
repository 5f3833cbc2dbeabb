"""A command: all runs of a folder, each with its accuracy on the plain test set and on its worst one."""

from __future__ import annotations

from pathlib import Path

import typer

from conceptnet_ml import Command, hookimpl


def register(app: typer.Typer) -> None:
    """Add the command to the program. Import what is heavy within it, so that ``--help`` stays quick."""

    @app.command("runs")
    def runs(folder: Path = Path("runs")) -> None:
        """List the finished runs of a folder: kept rounds, accuracy on the test set and on the worst one, %."""
        from conceptnet_ml import open_run

        for place in sorted(folder.glob("*/summary.json")):
            summary = open_run(place.parent).summary()
            kept = sum(one["decision"] == "kept" for one in summary["rounds"])
            sets = {name: 100 * one["learned"]["accuracy"] for name, one in summary["test_sets"].items()}
            worst = min(sets, key=lambda name: sets[name])
            plain = f"test {sets['test']:.1f}, " if "test" in sets else ""
            typer.echo(f"{place.parent.name}: {kept} kept, {plain}worst {sets[worst]:.1f} ({worst})")


@hookimpl
def conceptnet_commands() -> list[Command]:
    """Commands are looked for in installed packages only: ``plugins new NAME --kind command --package``."""
    return [Command(name="runs", api="1", register=register, summary="all runs of a folder, with their accuracy")]
