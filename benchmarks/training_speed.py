"""Times the training loop beside a plain PyTorch loop: same network, same images, same batch, same number of steps.

The plain loop is what one writes first: a DataLoader with torchvision transforms, the network in its default layout,
fp32, SGD with OneCycleLR. It is timed twice: over an ImageFolder of JPEG files, as pictures usually come, and over
uint8 tensors decoded beforehand. The loops take turns, so that a busy machine slows all of them; each turn gives one
ratio.

    python benchmarks/training_speed.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from image_views import ImageViews
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from conceptnet_ml.config.settings import NetworkSettings, TrainingSettings
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.network.staged_network import MEAN, STD, StagedNetwork
from conceptnet_ml.network.training import TrainingJob, train
from conceptnet_ml.runtime import devices, seeding
from conceptnet_plugins.backbones import small, torchvision_models


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Decoded images, transformed one at a time."""

    def __init__(self, images: Tensor, labels: Tensor, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def network(name: str, side: int) -> nn.Module:
    """Fresh weights, the same every time."""
    torch.manual_seed(0)
    kind, _, argument = name.partition(":")
    build = {"small": small.build, "torchvision": torchvision_models.build}[kind]
    return build(argument, 2, (side, side), NetworkSettings())


def from_files(folder: Path, images: Tensor, labels: Tensor) -> None:
    """Write the images as JPEG files, one folder per class."""
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        path = folder / str(label) / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        torchvision.io.write_jpeg(image, str(path), quality=90)


def plain_seconds(options: argparse.Namespace, data: Dataset[tuple[Tensor, int]], device: torch.device) -> float:
    """Seconds of the plain loop."""
    loader = DataLoader(
        data,
        batch_size=options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        pin_memory=device.type == "cuda",
    )
    model = network(options.backbone, options.side).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=options.epochs * len(loader))
    began = time.perf_counter()
    for _ in range(options.epochs):
        for batch, truth in loader:
            loss = nn.functional.cross_entropy(model(batch.to(device)), truth.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    synchronize(device)
    return time.perf_counter() - began


def transform(options: argparse.Namespace, first: nn.Module) -> transforms.Compose:
    """Random flips, where asked for random shifts, and the network's normalisation."""
    moves: list[nn.Module] = [transforms.RandomHorizontalFlip()]
    if options.shift:
        moves.append(transforms.RandomCrop(options.side, padding=round(0.0625 * options.side), padding_mode="reflect"))
    return transforms.Compose([*moves, first, transforms.Normalize(MEAN, STD)])


def our_seconds(options: argparse.Namespace, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Seconds of the training loop of this package."""
    model = StagedNetwork(network(options.backbone, options.side), (options.side, options.side))
    settings = TrainingSettings(batch=options.batch, shift=0.0625 if options.shift else 0.0)
    dtype = devices.choose_precision(options.precision, device)
    job = TrainingJob(len(images), options.epochs, 0.1, 0, device, dtype, settings=settings)
    views = ImageViews(ImageSet(images.to(device), labels), device)
    began = time.perf_counter()
    train(model, views, job)
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="small", help="small, small:WIDTH or torchvision:MODEL")
    parser.add_argument("--side", type=int, default=64, help="side of the images in px")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5, help="runs of each loop")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the plain loop's DataLoader")
    parser.add_argument("--shift", action="store_true", help="random shifts in both, besides the flips")
    parser.add_argument("--precision", default="auto", help="of this package's loop")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    device = devices.choose_device(options.device)
    shape = (options.images, 3, options.side, options.side)
    coarse = torch.rand(options.images, 3, 8, 8, generator=seeding.generator(0))  # smooth, as photographs are
    images = nn.functional.interpolate(coarse, shape[2:], mode="bilinear").mul(255).to(torch.uint8)
    labels = torch.randint(0, 2, (options.images,), generator=seeding.generator(1))
    default_threads = torch.get_num_threads()
    steps = options.epochs * (options.images // options.batch)
    times: dict[str, list[float]] = {"files": [], "memory": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        from_files(Path(folder), images, labels)
        data = {
            "files": torchvision.datasets.ImageFolder(folder, transform(options, transforms.ToTensor())),
            "memory": PlainImages(images, labels, transform(options, transforms.ConvertImageDtype(torch.float32))),
        }
        for turn in range(options.turns + 1):
            torch.set_num_threads(default_threads)
            for name, dataset in data.items():
                times[name].append(1000 * plain_seconds(options, dataset, device) / steps)
            devices.setup_threads()
            times["ours"].append(1000 * our_seconds(options, images, labels, device) / steps)
            if turn == 0:  # the first steps choose and build kernels
                times = {name: [] for name in times}
    print(
        f"{options.backbone}, {options.side} px, batch {options.batch}, {steps} steps, {options.turns} turns; "
        f"torch {torch.__version__}, {device}, {default_threads} threads, "
        f"{devices.environment(device, devices.choose_precision(options.precision, device))['precision']}"
    )
    for name, values in times.items():
        line = f"{name:7}{statistics.median(values):8.1f} ms/step ({min(values):.1f} to {max(values):.1f})"
        if name != "ours":
            ratios = [plain / ours for plain, ours in zip(values, times["ours"], strict=True)]
            line += f"   {statistics.median(ratios):5.2f} × ours ({min(ratios):.2f} to {max(ratios):.2f})"
        print(line)


if __name__ == "__main__":
    main()
