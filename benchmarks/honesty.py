"""Do a dream's numbers tell dreams and noise from photographs?

    python benchmarks/honesty.py folder:PICTURES --seeds 5 --out runs/honesty

Trains an ordinary network and its witness for each seed, makes dreams of every class's logit with ``classic``, and has
the witness judge them beside test photographs, noise, and photographs that were contrasted or shuffled. Prints
Markdown: for each kind of picture the lowest and the highest share over the seeds. A minute a seed on one core; runs
are read back.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from conceptnet_ml import learn, open_run, runtime
from conceptnet_ml.dreams.honesty import Judgement, Witness
from conceptnet_ml.opened import LearnedRun
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.probing import frozen
from conceptnet_ml.settings import Settings

DREAMS = 12
"""Dreams of each class and kind."""
PHOTOGRAPHS = 300
Kind = tuple[str, Tensor, list[int | None]]


def kinds(run: LearnedRun) -> Iterator[Kind]:
    """What is judged: name, uint8 pictures, and the class each is meant to show."""
    test = run._images(None, None).tests["test"]
    draw, size = runtime.generator(1), run.ordinary.image_size
    yield "test photographs", test.images, test.labels.tolist()
    made: dict[str, list[Tensor]] = {}
    for label in range(len(run.classes)):
        others = torch.nonzero(test.labels != label).flatten()
        photographs = test.take(others[torch.randperm(len(others), generator=draw)[:DREAMS]]).float() / 255
        starts = {
            "dreams from grey": 0.5 + 0.01 * torch.randn(DREAMS, 3, *size, generator=draw),
            "dreams from noise": torch.rand(DREAMS, 3, *size, generator=draw),
            "photographs dreamt on": photographs,
        }
        for name, start in starts.items():
            made.setdefault(name, []).append(dreamt(run, label, start))
    for name, parts in made.items():
        wanted: list[int | None] = [label for label, part in enumerate(parts) for _ in part]
        yield name, torch.cat(parts), wanted
    yield "white noise", torch.randint(256, (100, 3, *size), generator=draw).to(torch.uint8), [None] * 100
    some = torch.randperm(len(test), generator=draw)[:PHOTOGRAPHS]
    images, labels = test.take(some), test.labels[some].tolist()
    yield "contrast × 3", ((images.float() - 128) * 3 + 128).clamp(0, 255).to(torch.uint8), labels
    order = torch.randperm(size[0] * size[1], generator=draw)
    yield "pixels shuffled", images.flatten(2)[:, :, order].view_as(images), labels


def dreamt(run: LearnedRun, label: int, start: Tensor) -> Tensor:
    """Dreams of a class's logit, uint8."""
    dream = load_plugins().get("dreamer", "classic").function("dream")
    network = run.ordinary.to(run.device)

    def objective(images: Tensor) -> Tensor:
        with runtime.autocast(run.device, run.dtype):
            return network(images).float()[:, label]

    with frozen(network):
        found = dream(objective, start.to(run.device), runtime.generator(7))
    return (found.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def figures(judged: list[Judgement]) -> dict[str, float]:
    """Shares of these pictures, and their median distance."""
    known = [one.recognised for one in judged if one.recognised is not None]
    return {
        "recognised": sum(known) / len(known) if known else float("nan"),
        "energy": sum(one.energy_p <= 0.05 for one in judged) / len(judged),
        "distance": sum(one.distance_p <= 0.05 for one in judged) / len(judged),
        "unlike": sum(one.unlike for one in judged) / len(judged),
        "median": sorted(one.distance for one in judged)[len(judged) // 2],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=None, help="training images per class")
    parser.add_argument("--out", type=Path, default=Path("runs/honesty"))
    given = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(given.seeds):
        folder = given.out / str(seed)
        data = {"source": given.source, "train_limit": given.limit}
        values = {"seed": seed, "data": data, "round": {"limit": 0}, "plugins": {"controls": (), "dreamer": "none"}}
        run = open_run(folder) if folder.exists() else learn(settings=Settings.model_validate(values), out=folder)
        witness: Witness = run.witness()
        print(
            f"seed {seed}: witness right on {witness.accuracy or 0:.3f} of {witness.held} held-out images", flush=True
        )
        for name, images, wanted in kinds(run):
            rows.setdefault(name, []).append(figures(witness.judge(images, wanted)))
    print(
        "\n| pictures | recognised | energy p ≤ .05 | distance p ≤ .05 | unlike | distance |\n|---|---|---|---|---|---|"
    )
    for name, seeds in rows.items():
        cells = [[one[column] for one in seeds] for column in seeds[0]]
        print(f"| {name} | " + " | ".join(f"{min(cell):.2f}–{max(cell):.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
