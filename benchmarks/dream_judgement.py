"""Do the judgements of a witness tell dreams and noise from photographs?

    python benchmarks/dream_judgement.py folder:PICTURES --seeds 5 --out runs/dream_judgement

Trains an ordinary network and its witness for each seed, makes dreams of every class's logit with each dreamer, and has
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

from conceptnet_ml import DreamRequest, Objective, RenderSettings, dream, learn, open_run
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.dreams.judgement import Judgement, Witness
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.learned_run import LearnedRun
from conceptnet_ml.runtime import seeding

DREAMS = 12
"""Dreams of each class and kind."""
FREE = ("fourier", "maco", "pixels", "natural")
PHOTOGRAPHS = 300
Kind = tuple[str, Tensor, list[int | None]]


def kinds(run: LearnedRun) -> Iterator[Kind]:
    """What is judged: name, uint8 pictures, and the class each is meant to show."""
    test = run.images().tests["test"]
    draw, size = seeding.generator(1), run.ordinary.image_size
    yield "test photographs", test.images, test.labels.tolist()
    for name in FREE:
        yield f"`{name}` from noise", *dreams(run, name, None)
    photographs = []
    for label in range(len(run.classes)):
        others = torch.nonzero(test.labels != label).flatten()
        photographs.append(test.take(others[torch.randperm(len(others), generator=draw)[:DREAMS]]))
    for name in ("fourier", "turn"):
        yield f"`{name}` on photographs of other classes", *dreams(run, name, photographs)
    yield "white noise", torch.randint(256, (100, 3, *size), generator=draw).to(torch.uint8), [None] * 100
    some = torch.randperm(len(test), generator=draw)[:PHOTOGRAPHS]
    images, labels = test.take(some), test.labels[some].tolist()
    yield "contrast × 3", ((images.float() - 128) * 3 + 128).clamp(0, 255).to(torch.uint8), labels
    order = torch.randperm(size[0] * size[1], generator=draw)
    yield "pixels shuffled", images.flatten(2)[:, :, order].view_as(images), labels


def dreams(run: LearnedRun, dreamer: str, starts: list[Tensor] | None) -> tuple[Tensor, list[int | None]]:
    """Dreams of every class's logit, uint8, and the classes."""
    real = run.images().train
    recipe = load_plugins().get("dreamer", dreamer).function("recipe")(real.take(torch.arange(min(512, len(real)))))
    requests = [
        DreamRequest(Objective.logit(label, name), seed, None if starts is None else starts[label][seed])
        for label, name in enumerate(run.classes)
        for seed in range(DREAMS)
    ]
    made = dream(run.ordinary, requests, recipe, RenderSettings(device=run.device, dtype=run.dtype))
    return torch.stack([one.image for one in made]), [request.objective.expects for request in requests]


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
    parser.add_argument("--out", type=Path, default=Path("runs/dream_judgement"))
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
