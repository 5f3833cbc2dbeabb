"""Networks as ONNX models, run by onnxruntime beside the network itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.export import export_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_plugins.backbones.small import SmallNet

SIZE = (32, 40)


@pytest.fixture
def runtime() -> Any:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="pip install 'conceptnet_ml[onnx]'")
    return pytest.importorskip("onnxruntime", reason="pip install onnxruntime")


def grey() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(8, 2))


@pytest.mark.parametrize("kind", ["small", "resnet18", "grey"])
def test_an_onnx_model_answers_as_the_network(runtime: Any, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = {"small": lambda: SmallNet(2, SIZE), "resnet18": lambda: resnet18(num_classes=2), "grey": grey}[kind]()
    network = StagedNetwork(model, SIZE, classes=("cat", "dög")).for_images(3).train()
    with torch.no_grad():  # batch norms that are not those of a fresh network
        network(torch.rand(16, 3, *SIZE))
    path = tmp_path / "model.onnx"
    export_network(network, path)
    assert network.training
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert b"staged_network.py" not in path.read_bytes()
    assert str(Path.cwd()).encode() not in path.read_bytes()
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, made.name) == ("images", ["batch", 3, *SIZE], "logits")
    about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["classes"] == ["cat", "dög"]
    assert about["input"]["range"] == [0, 1]
    assert about["input"]["channels"] == "RGB"
    network.eval()
    for count in (1, 2, 5):
        images = torch.rand(count, 3, *SIZE)
        with torch.no_grad():
            logits = network(images)
        found = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
        assert logits.std() > 0.01
        torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)


def test_without_the_packages_it_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(SettingsError) as caught:
        export_network(StagedNetwork(SmallNet(2, SIZE), SIZE), tmp_path / "model.ONNX")
    assert "pip install 'conceptnet_ml[onnx]'" in caught.value.mend
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_says_so(runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no operator for aten.strange\nmore")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(SettingsError, match="no operator") as caught:
        export_network(StagedNetwork(SmallNet(2, SIZE), SIZE), tmp_path / "model.onnx")
    assert caught.value.message.endswith("no operator for aten.strange")
    assert ".pt2" in caught.value.mend
    assert not list(tmp_path.iterdir())
