"""The script that runs other packages on our pictures: what it writes is what was loaded, what it counts is right."""

from __future__ import annotations

import json
from pathlib import Path

import outside
import pytest
import torch
from torch import Tensor, nn

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.load import load_data
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.plugins import load_plugins


class LeftIsRed(nn.Module):
    """Answers 1 where the left pixel is red, else 0."""

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, 0, 0, 0] > 0.5
        return torch.stack([~red, red], 1).float()


def write(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_png(image))


def test_average_and_worst_group(tmp_path: Path) -> None:
    black = torch.zeros(3, 4, 4, dtype=torch.uint8)
    red = black.clone()
    red[0] = 255
    for number in range(4):
        write(tmp_path / f"a/x/{number}.png", black)
        write(tmp_path / f"b/x/{number}.png", red)
    write(tmp_path / "b/y/0.png", red)
    write(tmp_path / "b/y/1.png", black)
    found = outside.by_group(LeftIsRed(), outside.folder(tmp_path))
    assert found == {"average": 90.0, "worst": 50.0}


def test_a_trap_is_written_as_it_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 12), ("test", 6)):
        for name in ("ant", "bee"):
            for number in range(count):
                image = torch.randint(256, (3, 16, 16), generator=generator, dtype=torch.uint8)
                write(tmp_path / f"photos/{part}/{name}/{number:02d}.png", image)
    given = outside.arguments(["trap", str(tmp_path / "out"), str(tmp_path / "photos"), "wheels"])
    given.run(given)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    plugins = load_plugins(use_entry_points=False)
    planted = {"source": f"folder:{tmp_path / 'photos'}", "trap": "wheels"}
    expected = load_data(Settings.model_validate({"data": planted}), plugins)
    found = load_data(Settings.model_validate({"data": {"source": f"folder:{tmp_path / 'out'}"}}), plugins)
    assert found.tests.keys() == expected.tests.keys()
    assert {line["split"]: line["pictures"] for line in told} == {
        "train": 24,
        **{name if name == "test" else f"test-{name}": 12 for name in expected.tests},
    }
    for name, images in {"train": expected.train, **expected.tests}.items():
        written = found.train if name == "train" else found.tests[name]
        assert torch.equal(written.labels, images.labels), name
        assert torch.equal(written.images, images.images), name


def test_lenet_is_that_of_spuco() -> None:
    lenet = outside.lenet(5)
    assert lenet(torch.zeros(2, 3, 28, 28)).shape == (2, 5)
    models = pytest.importorskip("spuco.models", reason="SpuCo has an environment of its own")
    theirs = models.model_factory("lenet", torch.Size([3, 28, 28]), 5)
    assert [part.shape for part in lenet.parameters()] == [part.shape for part in theirs.parameters()]
    lenet.load_state_dict(dict(zip(lenet.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 28, 28)
    assert torch.allclose(lenet(images), theirs(images), atol=1e-6)
