"""Memory format and precision, chosen once for each device by a short measurement.

Whether convolutions are quicker in ``channels_last`` or in contiguous memory, and in bf16 or in fp32, depends on the
processor. So a small network is trained for a few steps in each of them, and the quickest is remembered in the user's
cache folder for this torch, processor and device. CONCEPTNET_MEMORY_FORMAT or the setting ``training.memory_format``
force a format; the setting has precedence.

On a CPU, narrow convolutions are never run in channels_last unless that is forced: with torch 2.14 on AMD processors
those of 2 to 4 channels write beyond their memory, which ends the process (docs/decisions/0025-memory-format.md).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import DataError, SettingsError, nearest
from conceptnet_ml.storage.files import user_cache_folder, write_atomic
from conceptnet_ml.storage.hashing import sha256

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}

VARIABLE = "CONCEPTNET_MEMORY_FORMAT"

NARROW = 8
"""A convolution with fewer channels on a side is narrow."""

ROUNDS, IMAGES, WIDTH = 6, 32, 16
"""Of the measurement: steps of each kind, the first of which warms up; images a step; channels of the first layer. A
card gets eight times as many images and channels, so that the time is not that of launching kernels."""

Narrow = bool | Literal["always"]
"""Whether a network has narrow convolutions; ``always``: it takes contiguous memory alone, on every device."""

_setting = "auto"

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Measured:
    """What is quickest on a device.

    Args:
        memory_format: ``channels_last`` or ``contiguous``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        milliseconds: Of one step, forward and back, for each memory format and precision: the best of a few.
    """

    memory_format: str
    precision: str
    milliseconds: dict[str, float]


def use(memory_format: str) -> None:
    """Force a memory format for this process, as the setting ``training.memory_format`` does; ``auto`` for none.

    Raises:
        SettingsError: CONCEPTNET_MEMORY_FORMAT names none.
    """
    global _setting
    _setting = memory_format
    _forced()


def memory_format(device: torch.device, narrow: Narrow = False) -> torch.memory_format:
    """The memory format for convolutions on a device, and for the images and maps they take.

    Args:
        narrow: Whether one of them is narrow, see :func:`is_narrow`.
    """
    forced = _forced()
    if narrow == "always":
        return torch.contiguous_format
    if forced is None and narrow and device.type == "cpu":
        return torch.contiguous_format
    return MEMORY_FORMATS[forced or measured(str(device)).memory_format]


def format_name(device: torch.device, narrow: Narrow = False) -> str:
    """Name of :func:`memory_format`."""
    chosen = memory_format(device, narrow)
    return next(name for name, known in MEMORY_FORMATS.items() if known is chosen)


def is_narrow(network: nn.Module) -> Narrow:
    """Whether a convolution has fewer than :data:`NARROW` channels on a side; ``always`` where a part says so of itself
    by an attribute ``narrow``.

    The image's own channels do not count, where the first convolution makes enough of them. Convolutions in groups
    count the channels of a group; depthwise ones count all, since their kernels run over the groups.
    """
    first, found = True, False
    for layer in network.modules():
        if layer.__dict__.get("narrow") == "always":
            return "always"
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            groups = 1 if layer.groups == layer.in_channels else layer.groups
            inputs = NARROW if first else layer.in_channels // groups
            if min(inputs, layer.out_channels // groups) < NARROW:
                found = True
            first = False
    return found


def arranged(values: Tensor, narrow: Narrow = False) -> Tensor:
    """Images or maps (B, C, h, w) in the memory format of their device."""
    return values.contiguous(memory_format=memory_format(values.device, narrow))


def for_convolution(maps: Tensor, weight: Tensor) -> Tensor:
    """Maps for a convolution by this weight (outputs, inputs, h, w): contiguous unless it may run in channels_last."""
    narrow = min(weight.shape[:2]) < NARROW
    return maps.contiguous() if memory_format(maps.device, narrow) is torch.contiguous_format else maps


def to_device(network: Net, device: torch.device) -> Net:
    """The network itself, moved to a device and into the memory format it has there."""
    format_ = memory_format(device, is_narrow(network))
    return network.to(device=device, memory_format=format_)  # type: ignore[call-overload,no-any-return]


@functools.cache
def measured(device: str) -> Measured:
    """What is quickest on a device: as remembered, else measured in a fraction of a second and remembered."""
    about = {"torch": torch.__version__, "processor": processor(), "device": _name(torch.device(device))}
    path = user_cache_folder() / f"layout-{sha256(json.dumps(about), 16)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        return _read(path)
    try:
        found = _choose(_measure(torch.device(device)))
    except RuntimeError:  # too little memory, for instance
        return Measured("channels_last", native_precision(torch.device(device)) or "fp32", {})
    with suppress(OSError, DataError):
        path.unlink(missing_ok=True)  # it cannot be read
        own = path.with_name(f"{path.stem}-{os.getpid()}.json")
        write_atomic(own, json.dumps({**about, **asdict(found)}, indent=2) + "\n")
        with suppress(FileExistsError):
            os.link(own, path)  # of processes that measure at the same time the first one decides
        own.unlink()
    with suppress(OSError, ValueError, TypeError, KeyError):
        return _read(path)
    return found


def native_precision(device: torch.device) -> str | None:
    """``bf16`` where the device computes it natively; else ``fp16`` on CUDA and None on a CPU."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else None


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 natively (AVX512-BF16, AMX, or the bf16 extension of ARM).

    Emulated bf16 is slower than fp32, so the answer is no where it is not known.
    """
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        try:
            if getattr(torch.cpu, probe)():
                return True
        except Exception:  # another torch version may lack or change this private function
            continue
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _forced() -> str | None:
    """The memory format that the setting or the environment variable names; None for none."""
    named = _setting if _setting != "auto" else os.environ.get(VARIABLE, "auto")
    if named not in (*MEMORY_FORMATS, "auto"):
        raise SettingsError(f"{VARIABLE} '{named}' is unknown", nearest(named, (*MEMORY_FORMATS, "auto")))
    return None if named == "auto" else named


def _choose(milliseconds: dict[str, float]) -> Measured:
    """The quickest; the native precision, unless fp32 is quicker by a tenth."""
    best = {name.split()[1]: 0.0 for name in milliseconds}
    for precision in best:
        best[precision] = min(value for name, value in milliseconds.items() if name.endswith(precision))
    precision = min(best, key=lambda name: best[name] * (1.1 if name == "fp32" else 1.0))
    formats = {name: milliseconds[f"{name} {precision}"] for name in MEMORY_FORMATS}
    return Measured(min(formats, key=formats.__getitem__), precision, milliseconds)


def _measure(device: torch.device) -> dict[str, float]:
    """Milliseconds of a step of a small network by memory format and precision: the best of a few."""
    scale = 1 if device.type == "cpu" else 8
    native = native_precision(device)
    types = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    found: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        runs = {}
        for name, memory in MEMORY_FORMATS.items():
            images = torch.rand(IMAGES * scale, 3, 32, 32).to(device=device, memory_format=memory)
            network = _small_network(WIDTH * scale).to(device=device, memory_format=memory)  # type: ignore[call-overload]
            for precision in ("fp32", native) if native else ("fp32",):
                runs[f"{name} {precision}"] = (network, images, types[precision])
        for number in range(ROUNDS):
            for name, run in runs.items():  # in turns, so that whatever else the machine does slows all of them
                seconds = _step(*run)
                if number:
                    found[name] = min(found.get(name, float("inf")), round(1000 * seconds, 3))
    return found


def _small_network(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


def _step(network: nn.Module, images: Tensor, dtype: torch.dtype | None) -> float:
    """Seconds of one step forward and back: of the processor, which other programs do not disturb, or of the card."""
    on_cpu = images.device.type == "cpu"
    began = time.process_time() if on_cpu else _synchronized(images.device)
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
        answers = network(images)
    answers.float().square().mean().backward()
    return (time.process_time() if on_cpu else _synchronized(images.device)) - began


def _synchronized(device: torch.device) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _read(path: Path) -> Measured:
    """Raises KeyError, TypeError, ValueError or OSError where the file does not hold a choice."""
    stored = json.loads(path.read_text())
    found = Measured(stored["memory_format"], stored["precision"], dict(stored["milliseconds"]))
    if found.memory_format not in MEMORY_FORMATS or found.precision not in ("fp32", "bf16", "fp16"):
        raise ValueError(path)
    return found
