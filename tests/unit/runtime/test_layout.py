"""Memory format and precision: what is forced, what is measured and remembered, and what is too narrow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.runtime import devices, layout

CPU = torch.device("cpu")
LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Nothing is forced, and the cache folder is empty."""
    monkeypatch.delenv(layout.VARIABLE, raising=False)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    layout.use("auto")
    layout.measured.cache_clear()
    yield tmp_path
    layout.use("auto")
    layout.measured.cache_clear()


def quicker(monkeypatch: pytest.MonkeyPatch, memory_format: str, precision: str = "fp32") -> None:
    """Let the measurement find this."""
    other = {"channels_last": "contiguous", "contiguous": "channels_last"}[memory_format]
    found = {f"{memory_format} {precision}": 1.0, f"{other} {precision}": 2.0}
    monkeypatch.setattr(layout, "_measure", lambda device: found)


@pytest.mark.parametrize("format_", ["channels_last", "contiguous"])
def test_the_quicker_one_is_taken_unless_one_is_forced(format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, format_)
    other = {"channels_last": "contiguous", "contiguous": "channels_last"}[format_]
    assert layout.format_name(CPU) == format_
    monkeypatch.setenv(layout.VARIABLE, other)
    assert layout.format_name(CPU) == other
    layout.use(format_)  # the setting comes before the variable
    assert layout.format_name(CPU) == format_
    monkeypatch.setenv(layout.VARIABLE, "sideways")
    assert layout.format_name(CPU) == format_
    with pytest.raises(SettingsError, match="sideways"):
        layout.use("auto")
    monkeypatch.delenv(layout.VARIABLE)


def test_a_narrow_network_is_contiguous_on_a_cpu_unless_it_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, "channels_last")
    assert layout.memory_format(CPU) is LAST
    assert layout.memory_format(CPU, narrow=True) is CONTIGUOUS
    monkeypatch.setenv(layout.VARIABLE, "channels_last")
    assert layout.memory_format(CPU, narrow=True) is LAST


def test_the_native_precision_is_taken_unless_fp32_is_quicker_by_a_tenth() -> None:
    times = {"channels_last fp32": 10.0, "contiguous fp32": 12.0, "channels_last bf16": 11.5, "contiguous bf16": 10.9}
    found = layout._choose(times)
    assert (found.memory_format, found.precision) == ("contiguous", "bf16")
    found = layout._choose({**times, "contiguous bf16": 11.2})
    assert (found.memory_format, found.precision) == ("channels_last", "fp32")
    found = layout._choose({"channels_last fp32": 3.0, "contiguous fp32": 2.0})
    assert (found.memory_format, found.precision) == ("contiguous", "fp32")


def test_what_was_measured_is_remembered(unforced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, "contiguous")
    first = layout.measured("cpu")
    quicker(monkeypatch, "channels_last")
    layout.measured.cache_clear()
    assert layout.measured("cpu") == first
    (file,) = unforced.rglob("layout-*.json")
    stored = json.loads(file.read_text())
    assert stored["torch"] == torch.__version__
    assert (stored["processor"], stored["device"]) == (layout.processor(), "cpu")
    monkeypatch.setattr(torch, "__version__", "9.9")  # another torch measures again
    layout.measured.cache_clear()
    assert layout.measured("cpu").memory_format == "channels_last"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"memory_format": "sideways", "precision": "fp32", "milliseconds": {}}']
)
def test_a_damaged_memory_is_no_obstacle(content: str, unforced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, "contiguous")
    layout.measured("cpu")
    (file,) = unforced.rglob("layout-*.json")
    file.write_text(content)
    layout.measured.cache_clear()
    assert layout.measured("cpu").memory_format == "contiguous"
    assert json.loads(file.read_text())["memory_format"] == layout.measured("cpu").memory_format, "and is mended"
    assert [*unforced.rglob("*.json")] == [file]


def test_a_measurement_that_fails_leaves_the_usual_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: torch.device) -> dict[str, float]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(layout, "_measure", full)
    monkeypatch.setattr(layout, "cpu_has_bf16", lambda: True)
    found = layout.measured("cpu")
    assert (found.memory_format, found.precision) == ("channels_last", "bf16")


@pytest.mark.parametrize("native", [False, True])
def test_the_measurement_itself(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "native_precision", lambda device: "bf16" if native else None)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with torch.no_grad():
        found = layout._measure(CPU)
    assert torch.equal(torch.rand(1), expected)  # the random state is left alone
    kinds = {f"{name} {precision}" for name in layout.MEMORY_FORMATS for precision in ("fp32", "bf16")[: 1 + native]}
    assert set(found) == kinds
    assert all(0 < value < 60_000 for value in found.values())


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, groups=groups)


@pytest.mark.parametrize(
    ("layers", "narrow"),
    [
        ([conv(3, 8), conv(8, 8)], False),  # the image's own channels do not count
        ([conv(3, 7)], True),
        ([conv(3, 2), conv(2, 8)], True),
        ([conv(3, 16), conv(16, 4), conv(4, 16)], True),  # squeeze and excite
        ([conv(3, 8), conv(8, 8, 8)], False),  # depthwise
        ([conv(3, 32), conv(32, 32, 8)], True),  # groups of four
        ([conv(3, 32), conv(32, 32, 4)], False),
        ([conv(3, 16), nn.ConvTranspose2d(16, 3, 2)], True),
        ([nn.Linear(3, 2)], False),
    ],
)
def test_what_is_narrow(layers: list[nn.Module], narrow: bool) -> None:
    assert layout.is_narrow(nn.Sequential(*layers)) == narrow


def small(width: int) -> nn.Sequential:
    layers = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


@pytest.mark.parametrize("width", [2, 8])
def test_a_network_keeps_its_format_from_any_stage_on(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, "channels_last")
    network = StagedNetwork(small(width), (16, 16), ["2"]).eval()
    expected = CONTIGUOUS if width < 8 else LAST
    seen = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.is_contiguous(memory_format=expected)
            layer.register_forward_hook(lambda module, inputs, output: seen.extend([*inputs, output]))
    images = torch.rand(2, 3, 16, 16).contiguous(memory_format=LAST)
    maps = network.run_until(images, "2").contiguous(memory_format=LAST)
    network.run_from(maps, "2")
    network(images)
    assert len(seen) == 8
    assert all(value.is_contiguous(memory_format=expected) for value in seen)


def test_maps_for_one_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, "channels_last")
    maps = torch.rand(2, 16, 5, 5).contiguous(memory_format=LAST)
    assert layout.for_convolution(maps, torch.zeros(8, 16, 1, 1)) is maps
    assert layout.for_convolution(maps, torch.zeros(1, 16, 1, 1)).is_contiguous()
    monkeypatch.setenv(layout.VARIABLE, "channels_last")
    assert layout.for_convolution(maps, torch.zeros(1, 16, 1, 1)) is maps


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_the_environment_names_it(memory_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch, memory_format)
    assert devices.environment(CPU)["memory_format"] == memory_format
    assert devices.environment(CPU, narrow=True)["memory_format"] == "contiguous"


TRAIN = """
import torch, torchvision
from torch import nn
from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.network.batch_norms import settle_batch_norms
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import TrainingJob, train
from conceptnet_ml.runtime import layout

assert layout.measured("cpu").memory_format == "channels_last"
for name, size, batch, steps in (
    ("width 2", 32, 128, 30), ("mobilenet_v3_small", 64, 8, 2), ("efficientnet_b0", 64, 8, 2)
):
    print(name, flush=True)  # or nobody would know which one ended the process
    if name == "width 2":
        layers = [nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2)]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=2)
    network = StagedNetwork(model, (size, size))
    views = lambda indices, generator: (torch.rand(len(indices), 3, size, size, generator=generator), indices % 2)
    job = TrainingJob(batch * steps, 1, 0.01, 0, torch.device("cpu"), settings=TrainingSettings(batch=batch))
    assert train(network, views, job)["steps"] == steps
    assert settle_batch_norms(network, views, job)
"""


def test_narrow_networks_train_where_channels_last_is_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of their own: in channels_last, some processors end it ("corrupted size vs. prev_size")."""
    quicker(monkeypatch, "channels_last")
    layout.measured("cpu")  # remembered for the process
    command = [sys.executable, "-c", TRAIN]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
