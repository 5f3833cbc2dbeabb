"""Training by several ranks beside one process: how equal the weights are, and what it costs.

    python benchmarks/ranks.py                          # the default network on drawn signs, 1, 2 and 4 ranks
    python benchmarks/ranks.py --backbone torchvision:resnet18 --batch 32 --steps 10

Ranks are processes of this machine that talk by gloo. A rank's own CPU time is told, since ranks on fewer cores wait
for each other. The control is one process with the other memory format: it, too, takes the same sums in another order.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import multiprocessing

from conceptnet_ml import load_plugins
from conceptnet_ml.config.settings import Settings, TrainingSettings
from conceptnet_ml.data.load import load_data
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.joint_norms import joint_norms
from conceptnet_ml.network.training import TrainingJob, predict_set, train
from conceptnet_ml.runtime import layout, ranks
from conceptnet_ml.swap.views import Views

CPU = torch.device("cpu")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40, help="at least; whole epochs")
    parser.add_argument("--rates", type=float, nargs="*", default=[0.1, 0.01])
    return parser.parse_args()


def work(rank: int, count: int, port: int, options: argparse.Namespace, how: tuple[float, str], out: Path) -> None:
    """One rank's training; the first one writes what came out."""
    torch.set_num_threads(1)
    rate, memory_format = how
    layout.use(memory_format)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    chosen = Settings.model_validate({"data": {"source": "glyphs:2", "train_limit": 320}})
    chosen = chosen.model_copy(update={"network": chosen.network.model_copy(update={"backbone": options.backbone})})
    data = load_data(chosen, load_plugins())
    network = build_network(chosen, data.classes, data.read_size, load_plugins())
    numbers = torch.arange(len(data.train))
    epochs = -(-options.steps // (len(numbers) // options.batch))
    settings = TrainingSettings(batch=options.batch, precision="fp32")
    job = TrainingJob(len(numbers), epochs, rate, 0, CPU, settings=settings)
    with ranks.united():
        began, spent = time.monotonic(), time.process_time()
        with joint_norms(network):
            report = train(network, Views(data.train, numbers, [], len(data.classes), CPU), job)
        found: dict[str, Any] = {"wall": time.monotonic() - began, "cpu": time.process_time() - spent}
        found |= {"steps": report["steps"], "loss": report["loss"], "state": network.state_dict()}
        if ranks.is_first():
            with ranks.alone():
                test = data.tests["test"]
                found["right"] = float((predict_set(network, test, CPU, None).argmax(1) == test.labels).double().mean())
            torch.save(found, out)


def measured(count: int, options: argparse.Namespace, how: tuple[float, str], folder: Path) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = folder / "found.pt"
    multiprocessing.start_processes(work, (count, port, options, how, out), count, start_method="fork")
    return torch.load(out)


def main() -> None:
    options = arguments()
    print(f"{layout.processor()}, torch {torch.__version__}, {options.backbone}, batch {options.batch}, fp32")
    print(
        "| rate | ranks | largest difference of a weight | loss | test, % | CPU ms a step, a rank |\n|" + " --- |" * 6
    )
    for rate in options.rates:
        with TemporaryDirectory() as folder:
            one: dict[str, torch.Tensor] | None = None
            for count, memory_format in [*((count, "channels_last") for count in options.ranks), (1, "contiguous")]:
                found = measured(count, options, (rate, memory_format), Path(folder))
                one = found["state"] if one is None else one
                values = [(one[name], value) for name, value in found["state"].items() if value.is_floating_point()]
                far = max(float((a - b).abs().max()) for a, b in values)
                name = f"{count}{'' if memory_format == 'channels_last' else ', contiguous: the control'}"
                print(
                    f"| {rate:g} | {name} | {far:.1e} | {found['loss']:.4f} | {100 * found['right']:.1f} | "
                    f"{1000 * found['cpu'] / found['steps']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
