"""``dream``: pictures of what a network's classes, layers, units and concepts stand for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptnet_ml.cli import options
from conceptnet_ml.cli.options import OUTPUT, argument, option
from conceptnet_ml.errors import SettingsError

EXAMPLES = options.examples(
    ("dream runs/NAME --out dreams", "every class"),
    ("dream runs/NAME --concept 7688ddc57d74 --out dreams", "all pictures of a node"),
    ("dream runs/NAME --layer block3 --units all --out dreams", "a layer as a sprite"),
    ("dream runs/NAME --layer block2 --from a.jpg --out dreams", "DeepDream"),
    ("dream runs/NAME --from car.jpg --toward dog --out dreams", "a car becomes a dog"),
    ("dream runs/NAME --class dog --zoom 100 --out dreams", "a film"),
    ("dream torchvision:vgg11 --weights vgg.pth --class tabby --out d", "another network"),
)

WHAT, HOW, WHOSE = "What to dream of", "How", "Whose dreams, and are they honest?"
SOURCE_HELP = "folder that 'learn' wrote; or a network, as in torchvision:resnet18 or module:callable"
CONCEPT_HELP = "a node of the run's concept graph: id, STAGE:UNIT, or as its page or you call it; repeatable"
LAYER_HELP = "a stage or any module's path: whatever it sees, more of it; repeatable"
CLASS_HELP = "a class, by name or number; repeatable"
FROM_HELP = "begin with a picture in place of noise, made square unless --size is given; repeatable"
GUIDE_HELP = "the layer is to see what it sees in this picture"
DREAMER_HELP = "fourier, maco, pixels, natural, deepdream, turn, swap, or a plugin's; default: what suits"
OCTAVES_HELP = "how many sizes; default: the dreamer's"
SIZE_HELP = "side of the dreams, of --from the longer one; default: what the network was made for"
LEARNED_HELP = "concepts in the learned network, in place of the one they were found in"
WEIGHTS_HELP = "state dict of a network outside a run: .safetensors, .pt or .pth"
NAMES_HELP = "names of such a network's classes: a text file, one a line, or a JSON list"
REAL_HELP = "real images to compare dreams with; default: the run's held-out ones"
WITNESS_HELP = "a network trained independently on the same classes: does it see it, too? default: the run's own"
WITNESS_WEIGHTS_HELP = "its weights, as --weights"

if TYPE_CHECKING:
    from rich.text import Text


def dream(
    ctx: typer.Context,
    source: Annotated[str, argument("RUN", SOURCE_HELP)],
    *,
    concepts: Annotated[list[str] | None, option("--concept", "ID", WHAT, CONCEPT_HELP)] = None,
    layers: Annotated[list[str] | None, option("--layer", "NAME", WHAT, LAYER_HELP)] = None,
    units: Annotated[list[str] | None, option("--units", "0-63", WHAT, "these units of every --layer, or all")] = None,
    classes: Annotated[list[str] | None, option("--class", "NAME", WHAT, CLASS_HELP)] = None,
    starts: Annotated[list[Path] | None, option("--from", "IMAGE", WHAT, FROM_HELP)] = None,
    guide: Annotated[Path | None, option("--guide", "IMAGE", WHAT, GUIDE_HELP)] = None,
    toward: Annotated[str | None, option("--toward", "CLASS", WHAT, "what to turn the pictures of --from into")] = None,
    dreamer: Annotated[str | None, option("--dreamer", "NAME", HOW, DREAMER_HELP)] = None,
    octaves: Annotated[int | None, option("--octaves", "N", HOW, OCTAVES_HELP, min=1)] = None,
    steps: Annotated[int | None, option("--steps", "N", HOW, "of each octave, and of a zoom's frame", min=1)] = None,
    size: Annotated[int | None, option("--size", "PX", HOW, SIZE_HELP, min=8)] = None,
    seed: Annotated[int, option("--seed", "N", HOW, "of all chance; units add their number", min=0)] = 0,
    zoom: Annotated[int, option("--zoom", "N", HOW, "so many frames into each dream, and a film of them", min=0)] = 0,
    fps: Annotated[float, option("--fps", "N", HOW, "frames of the film a second")] = 12.0,
    gif: Annotated[bool, option("--gif", None, HOW, "films as GIF in place of WebP")] = False,
    learned: Annotated[bool, option("--learned", None, WHOSE, LEARNED_HELP)] = False,
    weights: Annotated[Path | None, option("--weights", "FILE", WHOSE, WEIGHTS_HELP)] = None,
    names: Annotated[Path | None, option("--names", "FILE", WHOSE, NAMES_HELP)] = None,
    real: Annotated[Path | None, option("--real", "FOLDER", WHOSE, REAL_HELP)] = None,
    witness: Annotated[str | None, option("--witness", "RUN", WHOSE, WITNESS_HELP)] = None,
    witness_weights: Annotated[Path | None, option("--witness-weights", "FILE", WHOSE, WITNESS_WEIGHTS_HELP)] = None,
    device: Annotated[str, options.device_option(HOW)] = "auto",
    precision: Annotated[str, option("--precision", "NAME", HOW, "auto, fp32, bf16 or fp16")] = "auto",
    out: Annotated[Path, option("--out", "DIR", None, "a new or empty folder", show_default=False)],
    cache: Annotated[Path | None, option("--cache", "DIR", OUTPUT, "earlier dreams; default: your own folder")] = None,
    no_cache: Annotated[bool, option("--no-cache", None, OUTPUT, "dream anew, and keep nothing for later")] = False,
    json: options.Json = False,
    trust: options.Trust = False,
    assignments: options.PluginAssignments = None,
    plugins_dir: options.PluginsDir = None,
    no_plugins: options.NoPlugins = False,
) -> None:
    """Dream of what a network sees: classes, layers, units, and the nodes of a concept graph.

    Writes each dream as a picture, a sheet of all with what they reached against
    real images, a sprite with an index for units, all pictures of a node on one
    strip, frames and film of a zoom, and [bold]dreams.json[/] with every figure.
    Ctrl-C keeps what is done; what was dreamt before is taken from the cache.
    """
    plugins = options.load_set(plugins_dir, no_plugins, assignments)
    options.check_network(source, plugins)
    from conceptnet_ml.galleries.gallery import gallery
    from conceptnet_ml.galleries.requests import GalleryRequest
    from conceptnet_ml.runtime.progress import Progress
    from conceptnet_ml.runtime.signals import Stopper

    if units and len(units) > 1:
        raise SettingsError("--units was given twice", "It holds for every --layer; ask for other units by themselves.")
    if cache is not None and no_cache:
        raise SettingsError("--cache and --no-cache contradict each other", "Give one of them.")
    with Stopper() as stopper, Progress() as progress:
        # Most flags are fields of the request by the same name.
        asked = {field.name: ctx.params.get(field.name) for field in fields(GalleryRequest)}
        asked |= {"units": units[0] if units else None, "film": ".gif" if gif else ".webp"}
        given = {name: value for name, value in asked.items() if value is not None}
        request = GalleryRequest(**given | ({"cache": None} if no_cache else {}))
        found = gallery(source, out, request, plugins=plugins, progress=progress, stopper=stopper)
    if json:
        options.print_json(found)
    else:
        _show(found)


SHOWN = 24
"""Rows of the table."""


def _show(found: dict[str, Any]) -> None:
    dreams = found["dreams"]
    compared, judged = (any(one[what] for one in dreams) for what in ("standing", "judgement"))
    columns = {"dream": True, "start → end": True, "against real images": compared, "witness": judged, "file": True}
    shown = [name for name, wanted in columns.items() if wanted]
    cells = [dict(zip(columns, _row(one), strict=True)) for one in dreams[:SHOWN]]
    console = options.console()
    console.print(options.table(shown, [[row[name] for name in shown] for row in cells]))
    if len(dreams) > SHOWN:
        console.print(f"and {len(dreams) - SHOWN} more, all in dreams.json", markup=False)
    cached = sum(one["cached"] for one in dreams)
    some = f", {cached} of them from the cache" if cached else ""
    count = f"{len(dreams)} dream{'' if len(dreams) == 1 else 's'}"
    console.print(f"{count} in {found['seconds']:.1f} s{some}: {found['out']}/sheet.png", markup=False, soft_wrap=True)
    for one in dreams:
        if "film" in one:
            console.print(f"film: {found['out']}/{one['film']}", markup=False, soft_wrap=True)
    for note in found["notes"]:
        console.print(f"Note: {note}.", markup=False)


def _row(dream: dict[str, Any]) -> list[Text]:
    """Its name, how far it rose, how it compares with real images, what a witness sees in it, and its file."""
    from rich.text import Text

    start = "" if dream["start"] is None else f" from {dream['start']}"
    start += f", in {dream['drawn_in']}" if "drawn_in" in dream else ""
    own, judgement = dream["network"], dream["judgement"]
    missed = own is not None and not own["expected"]  # the class was not reached, however far the target rose
    fell = dream["outcome"] in ("never rose", "no gradient", "not finite")
    failed = missed or fell
    words = dream["words"] + (f"; the network says {own['seen']}" if missed else "")
    texture = (own or {}).get("texture", {}).get("words", "")
    words += f"; {texture}" if texture else ""
    verdict = Text()
    if judgement is not None:
        verdict = Text(judgement["words"], style={True: "green", False: "red", None: ""}[judgement["recognised"]])
    return [
        Text(dream["name"] + start, style="bold"),
        Text(words, style="red" if failed or texture else ""),
        Text("" if fell else (dream["standing"] or {}).get("words", "")),
        verdict,
        Text(dream["file"], style="dim"),
    ]
