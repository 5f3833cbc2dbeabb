"""``dream``: pictures of what a network's classes, layers, units and concepts stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.errors import SettingsError

EXAMPLES = options.examples(
    ("dream runs/NAME --out dreams", "every class"),
    ("dream runs/NAME --concept 7688ddc57d74 --out dreams", "all pictures of a node"),
    ("dream runs/NAME --layer block3 --units all --out dreams", "a layer as a sprite"),
    ("dream runs/NAME --layer block2 --from a.jpg --out dreams", "DeepDream"),
    ("dream runs/NAME --from car.jpg --toward dog --out dreams", "a car becomes a dog"),
    ("dream runs/NAME --class dog --zoom 100 --out dreams", "a film"),
    ("dream torchvision:vgg11 --weights vgg.pth --class tabby --out dreams", "another network"),
)

WHAT, HOW, WHOSE = "What to dream of", "How", "Whose dreams, and are they honest?"


def dream(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="folder that 'learn' wrote; or a network, as in torchvision:resnet18 or module:callable",
            show_default=False,
        ),
    ],
    *,
    concept: Annotated[
        list[str] | None,
        typer.Option(
            "--concept",
            metavar="ID",
            rich_help_panel=WHAT,
            help="a node of the run's concept graph: id, label, name or STAGE:UNIT; repeatable",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            rich_help_panel=WHAT,
            help="a stage or any module's path: whatever it sees, more of it; repeatable",
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option("--units", metavar="0-63", rich_help_panel=WHAT, help="these units of every --layer, or all"),
    ] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", rich_help_panel=WHAT, help="a class, by name or number; repeatable"),
    ] = None,
    start: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="IMAGE",
            rich_help_panel=WHAT,
            help="begin with a picture in place of noise, made square unless --size is given; repeatable",
        ),
    ] = None,
    guide: Annotated[
        Path | None,
        typer.Option(
            "--guide", metavar="IMAGE", rich_help_panel=WHAT, help="the layer is to see what it sees in this picture"
        ),
    ] = None,
    toward: Annotated[
        str | None,
        typer.Option(
            "--toward", metavar="CLASS", rich_help_panel=WHAT, help="what to turn the pictures of --from into"
        ),
    ] = None,
    dreamer: Annotated[
        str | None,
        typer.Option(
            "--dreamer",
            metavar="NAME",
            rich_help_panel=HOW,
            help="fourier, maco, pixels, natural, deepdream, turn, swap, or a plugin's; default: what suits",
        ),
    ] = None,
    octaves: Annotated[
        int | None,
        typer.Option(
            "--octaves", metavar="N", min=1, rich_help_panel=HOW, help="how many sizes; default: the dreamer's"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, rich_help_panel=HOW, help="of each octave, and of a zoom's frame"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PX",
            min=8,
            rich_help_panel=HOW,
            help="side of the dreams, of --from the longer one; default: what the network was made for",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", min=0, rich_help_panel=HOW, help="of all chance; units add their number"),
    ] = 0,
    zoom: Annotated[
        int,
        typer.Option(
            "--zoom", metavar="N", min=0, rich_help_panel=HOW, help="so many frames into each dream, and a film of them"
        ),
    ] = 0,
    fps: Annotated[
        float, typer.Option("--fps", metavar="N", rich_help_panel=HOW, help="frames of the film a second")
    ] = 12.0,
    gif: Annotated[bool, typer.Option("--gif", rich_help_panel=HOW, help="films as GIF in place of WebP")] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            rich_help_panel=WHOSE,
            help="state dict of a network outside a run: .safetensors, .pt or .pth",
        ),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(
            "--real",
            metavar="FOLDER",
            rich_help_panel=WHOSE,
            help="real images to compare dreams with; default: the run's held-out ones",
        ),
    ] = None,
    witness: Annotated[
        str | None,
        typer.Option(
            "--witness",
            metavar="RUN",
            rich_help_panel=WHOSE,
            help="a network trained independently on the same classes: does it see it, too? default: the run's own",
        ),
    ] = None,
    witness_weights: Annotated[
        Path | None,
        typer.Option("--witness-weights", metavar="FILE", rich_help_panel=WHOSE, help="its weights, as --weights"),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", rich_help_panel=HOW, help="auto, cpu, cuda or cuda:N")
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", rich_help_panel=HOW, help="auto, fp32, bf16 or fp16")
    ] = "auto",
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", rich_help_panel=options.OUTPUT, help="a new or empty folder", show_default=False
        ),
    ],
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            rich_help_panel=options.OUTPUT,
            help="earlier dreams; default: your own folder",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", rich_help_panel=options.OUTPUT, help="dream anew, and keep nothing for later")
    ] = False,
    json: options.Json = False,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Dream of what a network sees: classes, layers, units, and the nodes of a concept graph.

    Writes each dream as a picture, a sheet of all with what they reached against
    real images, a sprite with an index for units, all pictures of a node on one
    strip, frames and film of a zoom, and [bold]dreams.json[/] with every figure.
    Ctrl-C keeps what is done; what was dreamt before is taken from the cache.
    """
    from conceptnet_ml.errors import SettingsError
    from conceptnet_ml.gallery.gallery import gallery
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper

    if cache is not None and no_cache:
        raise SettingsError("--cache and --no-cache contradict each other", "Give one of them.")
    with Stopper() as stopper, Progress() as progress:
        found = gallery(
            source,
            out,
            concepts=concept or (),
            layers=layer or (),
            units=_once(units),
            classes=class_ or (),
            starts=start or (),
            guide=guide,
            toward=toward,
            octaves=octaves,
            zoom=zoom,
            film=".gif" if gif else ".webp",
            fps=fps,
            dreamer=dreamer,
            steps=steps,
            seed=seed,
            size=size,
            weights=weights,
            real=real,
            witness=witness,
            witness_weights=witness_weights,
            device=device,
            precision=precision,
            cache=None if no_cache else cache or "",
            plugins=options.load(plugins_dir, no_plugins),
            progress=progress,
            stopper=stopper,
        )
    if json:
        options.print_json(found)
    else:
        _show(found)


def _once(units: list[str] | None) -> str | None:
    if units and len(units) > 1:
        raise SettingsError("--units was given twice", "It holds for every --layer; ask for other units by themselves.")
    return units[0] if units else None


_SHOWN = 24


def _show(found: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    dreams = found["dreams"]
    table = Table(box=box.SIMPLE_HEAD)
    columns = ["dream", "start → end", "against real images", "witness", "file"]
    judged = any(one["judgement"] for one in dreams)
    stands = any(one["standing"] for one in dreams)
    shown = [name for name in columns if (name != "witness" or judged) and (name != columns[2] or stands)]
    for name in shown:
        table.add_column(name, overflow="fold")
    for one in dreams[:_SHOWN]:
        start = "" if one["start"] is None else f" from {one['start']}"
        rose = one["outcome"] not in ("never rose", "no gradient", "not finite")
        own = one["network"]
        missed = own is not None and not own["expected"]  # the class was not reached, however far the target rose
        words = one["words"] + (f"; the network says {own['seen']}" if missed else "")
        cells = {
            "dream": Text(one["name"] + start, style="bold"),
            "start → end": Text(words, style="red" if missed or not rose else ""),
            columns[2]: Text((one["standing"] or {}).get("words", "")),
            "witness": _witness(one["judgement"]),
            "file": Text(one["file"], style="dim"),
        }
        table.add_row(*(cells[name] for name in shown))
    console = options.console()
    console.print(table)
    if len(dreams) > _SHOWN:
        console.print(f"and {len(dreams) - _SHOWN} more, all in dreams.json", markup=False)
    cached = sum(one["cached"] for one in dreams)
    some = f", {cached} of them from the cache" if cached else ""
    count = f"{len(dreams)} dream{'' if len(dreams) == 1 else 's'}"
    console.print(f"{count} in {found['seconds']:.1f} s{some}: {found['out']}/sheet.png", markup=False, soft_wrap=True)
    for one in dreams:
        if "film" in one:
            console.print(f"film: {found['out']}/{one['film']}", markup=False, soft_wrap=True)
    for note in found["notes"]:
        console.print(f"Note: {note}.", markup=False)


def _witness(judgement: dict[str, Any] | None) -> Any:
    from rich.text import Text

    if judgement is None:
        return Text("")
    style = {True: "green", False: "red", None: ""}[judgement["recognised"]]
    return Text(judgement["words"], style=style)
