"""Where the work runs: devices, precision, threads and memory. No other module asks the machine."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.runtime import layout, ranks
from conceptnet_ml.runtime.device_names import check_device_name

Result = TypeVar("Result")

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a CUDA card, else the CPU. Which card
    is not said is the first; of several ranks on a machine each takes its own.

    Raises:
        SettingsError: The name is unknown, there is no such card, or there are fewer than ranks.
    """
    if name == "auto" and torch.cuda.is_available():
        name = "cuda"
    elif name == "auto":
        return torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    check_device_name(name)
    _, colon, index = name.partition(":")
    if not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA card"
        mend = "Use --device cpu or --device auto, or install a CUDA build of torch and its driver."
        raise SettingsError(f"--device '{name}' cannot be used: {why}", mend)
    number = int(index) if colon else ranks.local_rank()
    if not colon and number >= torch.cuda.device_count():
        cards = f"{number + 1} or more ranks on this machine have {torch.cuda.device_count()} cards"
        raise SettingsError(f"--device '{name}': {cards}", "Start one rank a card at most, or give --device cpu.")
    if number >= torch.cuda.device_count():
        cards = ", ".join(f"cuda:{card}" for card in range(torch.cuda.device_count()))
        raise SettingsError(f"--device '{name}' does not exist", f"Cards of this machine: {cards}.")
    return torch.device("cuda", number)


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Type for autocast; None computes in fp32 throughout.

    ``auto`` is what the device computes natively, bf16 or on CUDA else fp16 (with `grad_scaler`), unless fp32 is
    measured to be quicker (:mod:`conceptnet_ml.runtime.layout`).

    Raises:
        SettingsError: The name is unknown, or is ``fp16`` on a CPU.
    """
    if name not in PRECISIONS:
        raise SettingsError(f"training.precision '{name}' is unknown", nearest(name, PRECISIONS))
    if name == "auto":
        name = layout.measured(str(device)).precision
    if name == "fp16" and device.type == "cpu":
        raise SettingsError(
            "training.precision 'fp16' needs a CUDA card", "Use auto, bf16 or fp32 on the CPU, or another --device."
        )
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def prepare(device: str, precision: str, memory_format: str = "auto") -> tuple[torch.device, torch.dtype | None]:
    """Set the number of threads and the memory format; returns the device and the autocast type of these settings.

    Raises:
        SettingsError: As :func:`choose_device`, :func:`choose_precision` and :func:`layout.use`.
    """
    setup_threads()
    layout.use(memory_format)
    chosen = choose_device(device)
    return chosen, choose_precision(precision, chosen)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to ``dtype`` on ``device``; does nothing for None.

    Enter it anew for each step: weights are cast once per context, and a cast made under ``no_grad`` has no gradient.
    """
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def within_memory(work: Callable[[int], Result], at_a_time: int) -> tuple[Result, int]:
    """``work(at_a_time)``, begun again with half as many at a time whenever the card's memory runs out.

    Args:
        work: Works through its images this many at a time; what it changed before memory ran out must do no harm.

    Returns:
        What the work returned, and how many at a time went.

    Raises:
        SettingsError: Memory does not do for a single one.
    """
    while True:
        try:
            return work(at_a_time), at_a_time
        except torch.OutOfMemoryError as error:
            if ranks.size() > 1:  # all would have to go on with as many
                raise SettingsError(
                    "the card's memory does not do for this rank's part of a batch",
                    "Start more ranks, or give a smaller --set training.batch=….",
                ) from error
            if at_a_time == 1:
                raise SettingsError(
                    "the card's memory does not do for a single image",
                    "Give smaller images (--set data.image_size=…), a smaller network, or --device cpu.",
                ) from error
        # out of the handler, which holds the frames, and with them the tensors, of what failed
        at_a_time //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def grad_scaler(device: torch.device, dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """A gradient scaler: enabled for fp16, whose gradients underflow; otherwise it changes nothing."""
    return torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)


def setup_threads() -> None:
    """Set how many threads torch computes with: OMP_NUM_THREADS, or one per physical core that this process may use."""
    torch.set_num_threads(given_threads() or usable_cores())


def given_threads() -> int:
    """OMP_NUM_THREADS, 0 where it is not set to a number."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0


def usable_cores() -> int:
    """Physical cores this process may use: within its affinity and its container's quota, hyperthreads counted once."""
    try:
        logical = sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # neither macOS nor Windows has it
        return max(1, os.cpu_count() or 1)
    siblings = set()
    for cpu in logical:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """Processors the container may use, rounded up; a large number where there is no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]  # cgroup version 2
    except (OSError, ValueError):
        try:
            folder = Path("/sys/fs/cgroup/cpu")  # version 1
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return sys.maxsize
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" and "-1": no quota
        return sys.maxsize
    return max(1, math.ceil(int(quota) / int(period)))


def peak_memory(device: torch.device | None = None) -> float:
    """Peak memory in GiB: of this process so far, or of a CUDA card's tensors; NaN where it is not known."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes there, KiB elsewhere


def reset_peak_memory(device: torch.device | None = None) -> None:
    """Let :func:`peak_memory` start again from what is in use now, where the system can do that."""
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def free_memory(device: torch.device | None = None) -> float:
    """GiB that are free: of the machine or its container, or of a CUDA card; infinite where it is not known."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    free = [math.inf]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) / 2**20)
    group = Path("/sys/fs/cgroup")
    version_1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    for limit, used in (("memory.max", "memory.current"), version_1):
        with suppress(OSError, ValueError):  # "max": no limit
            free.append((int((group / limit).read_text()) - int((group / used).read_text())) / 2**30)
    return max(0.0, min(free))


def environment(
    device: torch.device | None = None, dtype: torch.dtype | None = None, narrow: layout.Narrow = False
) -> dict[str, Any]:
    """What a run records of the machine: versions, platform, device, threads, precision and memory format.

    Args:
        narrow: Whether its network has narrow convolutions, see :func:`layout.is_narrow`.
    """
    device = device or choose_device()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": layout.processor(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "precision": "fp32" if dtype is None else str(dtype).removeprefix("torch."),
        "memory_format": layout.format_name(device, narrow),
    }
    if (torchvision := _torchvision()) is not None:
        found["torchvision"] = torchvision
    if device.type == "cuda":
        found["card"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def _torchvision() -> str | None:
    """Its version, read from its files: importing it takes seconds, and most runs do not need it."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError):
        text = Path(spec.origin).with_name("version.py").read_text()
        if found := re.search(r"^__version__ = [\"'](.+?)[\"']", text, re.MULTILINE):
            return found[1]
    return version("torchvision")
