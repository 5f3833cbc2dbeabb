"""The staged network: its parts give what the whole gives, and leave nothing behind."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from surgical import ablated
from torch import Tensor, nn
from torch.fx import _symbolic_trace
from torch.nn import functional
from torchvision.models import SwinTransformer, VisionTransformer

from conceptnet_ml.config.settings import NetworkSettings, Settings
from conceptnet_ml.dreams.activations import Layers
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.build import build_network, load_weights
from conceptnet_ml.network.export import export_program
from conceptnet_ml.network.fx_route import FxRoute
from conceptnet_ml.network.hook_route import HookRoute
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.runtime import layout
from conceptnet_ml.surgery.dependency_graph import dependency_group
from conceptnet_plugins.backbones.small import SmallNet

SIZE = (32, 32)


class Functional(nn.Module):
    """In-place functions, one ReLU for all places, and dropout that depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv1(x), inplace=True)
        x = functional.max_pool2d(x, 2)
        y = self.conv2(x)
        y += x
        y = self.relu(self.conv3(self.relu(y)))
        y = functional.dropout(y, 0.5, training=self.training)
        return self.head(y.mean((2, 3)))


class Untraceable(nn.Module):
    """Its code asks for a value of the data, which no graph can show."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.side = nn.Conv2d(8, 8, 3, padding=1)
        self.high = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.low(x)
        if float(x.detach().float().mean()) < -1e9:
            raise RuntimeError("never")
        x = self.high(x + self.side(x))
        return self.head(self.pool(x).flatten(1))


class Overwriting(nn.Module):
    """What follows its first stage works in place on that stage's maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = functional.max_pool2d(x.mul_(2.0), 2)
        return self.head(torch.relu(self.second(y)).mean((2, 3)))


class PaddedConv2d(nn.Conv2d):
    """Pads by a layer of its own, as networks do that were made for TensorFlow."""

    def __init__(self, channels: int, units: int, stride: int) -> None:
        super().__init__(channels, units, 3, stride=stride)
        self.pad = nn.ZeroPad2d((0, 2, 0, 2) if stride == 1 else (0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(self.pad(x), self.weight, self.bias, self.stride)


class Counting(nn.Module):
    """Asks how many images there are before its first layer, and pads in a layer of its own, where maps grow."""

    def __init__(self, shape: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.low = nn.Sequential(PaddedConv2d(3, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), PaddedConv2d(6, 8, 1), nn.ReLU())
        self.high = nn.Sequential(PaddedConv2d(8, 12, 2), nn.BatchNorm2d(12), nn.ReLU())
        self.head = nn.Linear(12 * 64, 3)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0] if self.shape else x.size(0)
        return self.head(self.high(self.low(x)).reshape(count, -1))


class Growing(nn.Module):
    """Its maps grow again, by a layer with weights: what comes after that is no stage."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 4, stride=4)
        self.up = nn.ConvTranspose2d(6, 6, 2, stride=2)
        self.again = nn.Conv2d(6, 8, 4, stride=4)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.up(self.down(x))).mean((2, 3)))


def torchvision_model(name: str) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, num_classes=3)


NETWORKS = {
    "small": lambda: SmallNet(3, SIZE),
    "resnet18": lambda: torchvision_model("resnet18"),
    "mobilenet_v3_small": lambda: torchvision_model("mobilenet_v3_small"),
    "functional": Functional,
    "untraceable": Untraceable,
    "overwriting": Overwriting,
    "counting": Counting,
    "counting by shape": lambda: Counting(shape=True),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> StagedNetwork:
    torch.manual_seed(0)
    stages = ["first"] if request.param == "overwriting" else None
    return StagedNetwork(NETWORKS[request.param](), SIZE, stages=stages)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def whole(network: StagedNetwork, images: Tensor) -> Tensor:
    """The logits without any of the staged network's machinery."""
    torch.manual_seed(5)  # dropout
    return network.model((images - network.mean) / network.std)


@pytest.mark.parametrize("training", [False, True])
def test_parts_give_what_the_whole_gives(network: StagedNetwork, images: Tensor, training: bool) -> None:
    network.train(training)
    assert network.stages
    torch.manual_seed(5)
    expected = network(images)
    torch.testing.assert_close(expected, whole(network, images), rtol=1e-2, atol=1e-3)  # batch norm of three 1 × 1 maps
    for stage in network.stages:
        torch.manual_seed(5)
        maps = network.run_until(images, stage.name)
        assert maps.shape == (3, stage.units, *stage.size)
        kept = maps.clone()
        torch.testing.assert_close(network.run_from(maps, stage.name), expected)
        assert torch.equal(maps, kept), "run_from changed the maps it was given"
    torch.manual_seed(5)
    all_maps, logits = network.run_all(images)
    torch.testing.assert_close(logits, expected)
    assert tuple(all_maps) == network.stage_names
    network.eval()
    for first, last in zip(network.stage_names, network.stage_names[1:], strict=False):
        maps = network.run_until(images, first)
        torch.testing.assert_close(network.run_between(maps, first, last), network.run_until(images, last))


def test_all_maps_are_those_of_the_stages(network: StagedNetwork, images: Tensor) -> None:
    network.eval()
    all_maps, _ = network.run_all(images)
    for name, maps in all_maps.items():
        torch.testing.assert_close(maps, network.run_until(images, name))


def test_maps_decide_the_logits(network: StagedNetwork, images: Tensor) -> None:
    """Starting from other maps gives other logits: nothing of the image leaks past a stage."""
    network.eval()
    for name in network.stage_names:
        maps = network.run_until(images, name)
        torch.testing.assert_close(network.run_from(maps.roll(1, 0), name), whole(network, images).roll(1, 0))


def test_gradients_flow_through_the_parts(network: StagedNetwork, images: Tensor) -> None:
    network.eval()
    free = images.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(whole(network, free)[:, 0].sum(), free)
    for name in network.stage_names:
        maps = network.run_until(free, name)
        leaf = maps.detach().requires_grad_(True)
        (above,) = torch.autograd.grad(network.run_from(leaf, name)[:, 0].sum(), leaf)
        (composed,) = torch.autograd.grad(maps, free, above)
        torch.testing.assert_close(composed, slope)
    network.zero_grad()
    network.run_from(network.run_until(images, network.stage_names[0]), network.stage_names[0]).sum().backward()
    assert all(parameter.grad is not None for parameter in network.model.parameters())
    network.zero_grad()


def test_no_hook_outlives_its_call(network: StagedNetwork, images: Tensor) -> None:
    network.eval()
    network.run_all(images)
    ablated(network, images, network.stage_names[-1], [0])
    with pytest.raises(Exception, match=r".+"):
        network.run_from(torch.zeros(2, 999, 2, 2), network.stage_names[-1])
    for module in network.modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        assert not any(hooks)


def test_nothing_of_the_state_changes(images: Tensor) -> None:
    for make in NETWORKS.values():
        model = make().train()
        model.requires_grad_(True)
        frozen = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
        frozen.eval()
        before = copy.deepcopy(model.state_dict())
        random = torch.get_rng_state()
        network = StagedNetwork(model, SIZE)
        assert torch.equal(torch.get_rng_state(), random)
        assert model.training
        assert not frozen.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])
        assert set(network.state_dict()) == {f"model.{name}" for name in before} | {"mean", "std"}


def test_hooked_run_from_leaves_running_statistics_of_earlier_layers(images: Tensor) -> None:
    network = StagedNetwork(Untraceable(), SIZE)
    maps = network.run_until(images, "high").detach()
    network.train()
    before = copy.deepcopy(network.state_dict())
    network.run_from(maps, "high")
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(module.training for module in network.modules())


def test_routes_and_names() -> None:
    traced = StagedNetwork(Functional(), SIZE)
    assert isinstance(traced._route, FxRoute)
    assert traced.stage_names == ("conv1.relu", "conv2.relu", "conv3.dropout")
    hooked = StagedNetwork(Untraceable(), SIZE)
    assert isinstance(hooked._route, HookRoute)
    assert hooked.stage_names == ("low", "high")
    assert [stage.size for stage in hooked.stages] == [(16, 16), (8, 8)]


@pytest.mark.parametrize("shape", [False, True])
def test_padding_and_the_number_of_images_hide_no_stage(shape: bool) -> None:
    network = StagedNetwork(Counting(shape), SIZE)
    assert isinstance(network._route, FxRoute)
    assert network.stage_names == ("low", "high")
    assert [stage.size for stage in network.stages] == [(16, 16), (8, 8)]
    one, two = torch.rand(1, 3, *SIZE), torch.rand(2, 3, *SIZE)  # whatever number it was traced with
    for images in (one, two):
        torch.testing.assert_close(network.run_from(network.run_until(images, "low"), "low"), network(images))


def test_maps_that_grow_by_weights_end_the_stages() -> None:
    assert StagedNetwork(Growing(), SIZE).stage_names == ("down",)


def test_nothing_of_a_network_that_is_gone_slows_the_next_ones_trace() -> None:
    """torch.fx keeps the names of code that registers functions with it, and patches all of them at every trace."""
    before = len(_symbolic_trace._wrapped_fns_to_patch)
    images = torch.rand(2, 3, *SIZE)
    network = StagedNetwork(Functional(), SIZE)
    network.run_from(network.run_until(images, "conv1.relu"), "conv1.relu")
    assert len(_symbolic_trace._wrapped_fns_to_patch) == before


def test_hooked_refuses_a_place_that_does_not_decide_alone() -> None:
    with pytest.raises(SettingsError, match="'side' cannot be a stage"):
        StagedNetwork(Untraceable(), SIZE, stages=["side"])


def test_in_place_activations_are_switched_off_where_that_changes_nothing() -> None:
    network = StagedNetwork(torchvision_model("resnet18"), SIZE)
    assert not any(getattr(part, "inplace", False) for part in network.modules())
    assert StagedNetwork(Overwriting(), SIZE, stages=["first", "second"])._overwritten == {"first"}

    class Ignoring(nn.Module):  # relies on the in-place work
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.relu = nn.ReLU(inplace=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            self.relu(x)
            return self.head(x.mean((2, 3)))

    model = Ignoring()
    expected = model((torch.ones(2, 3, 8, 8) - 0.5) / 0.25)
    network = StagedNetwork(model, (8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
    for name in network.stage_names:
        maps = network.run_until(torch.ones(2, 3, 8, 8), name)
        kept = maps.clone()
        torch.testing.assert_close(network.run_from(maps, name), expected)
        assert torch.equal(maps, kept)


def test_ablation_holds_units(images: Tensor) -> None:
    torch.manual_seed(0)
    network = StagedNetwork(SmallNet(2, SIZE), SIZE).eval()
    maps = network.run_until(images, "block3")
    held = maps.clone()
    held[:, 3], held[:, 7] = 1.5, -2.0
    expected = network.model.head(held.mean((2, 3)))
    torch.testing.assert_close(ablated(network, images, "block3", [3, 7], torch.tensor([1.5, -2.0])), expected)
    assert not torch.allclose(expected, network(images))
    torch.testing.assert_close(ablated(network, images, "block3", []), network(images))
    values = torch.zeros(2, requires_grad=True)
    ablated(network, images, "stem", torch.tensor([0, 1]), values).sum().backward()
    assert values.grad is not None
    assert values.grad.abs().sum() > 0


def test_normalises_by_its_own_buffers() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)
            self.conv.weight = nn.Parameter(torch.eye(3)[:, :, None, None])
            self.head = nn.Linear(3, 3, bias=False)
            self.head.weight = nn.Parameter(torch.eye(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).mean((2, 3)))

    network = StagedNetwork(Sum(), (4, 4), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    expected = torch.tensor([[1.0, 3.0, 1.0]]).expand(2, -1)  # (1 - mean) / std
    torch.testing.assert_close(network(torch.ones(2, 3, 4, 4)), expected)
    torch.testing.assert_close(network.run_until(torch.ones(2, 3, 4, 4), "conv").mean((2, 3)), expected)


def test_copies_are_independent(network: StagedNetwork, images: Tensor) -> None:
    network.eval()
    twin = copy.deepcopy(network)
    stage = network.stage_names[-1]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    torch.testing.assert_close(network.run_from(network.run_until(images, stage), stage), whole(network, images))
    assert torch.equal(twin.run_from(twin.run_until(images, stage), stage), whole(twin, images))
    assert not torch.allclose(whole(twin, images), whole(network, images))


def test_loaded_weights_and_other_number_formats_reach_the_parts(images: Tensor) -> None:
    torch.manual_seed(0)
    first, second = (StagedNetwork(SmallNet(2, SIZE), SIZE).eval() for _ in range(2))
    first.run_all(images)
    for assign in (False, True):
        first.load_state_dict(second.state_dict(), assign=assign)
        torch.testing.assert_close(first.run_all(images)[1], second(images))
    first.double()
    logits = first.run_all(images.double())[1]
    assert logits.dtype is torch.float64
    torch.testing.assert_close(logits.float(), second(images), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_moves_to_a_card_and_back(images: Tensor) -> None:
    for make in NETWORKS.values():
        network = StagedNetwork(make(), SIZE).eval()
        expected = network.run_all(images)[1]
        network.to("cuda")
        torch.testing.assert_close(network.run_all(images.cuda())[1].cpu(), expected, rtol=1e-2, atol=1e-2)
        network.cpu()
        torch.testing.assert_close(network.run_all(images)[1], expected)


@pytest.mark.parametrize("name", ["channels_last", "contiguous"])
def test_memory_format(name: str, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCEPTNET_MEMORY_FORMAT", name)
    memory_format = layout.MEMORY_FORMATS[name]
    network = StagedNetwork(SmallNet(2, SIZE), SIZE).eval()
    assert network.model.block1.conv1.weight.is_contiguous(memory_format=memory_format)
    assert network.run_until(images, "block1").is_contiguous(memory_format=memory_format)


def test_named_stages() -> None:
    network = StagedNetwork(SmallNet(2, SIZE), SIZE, stages=["block2", "stem.1", "block2"])
    assert network.stage_names == ("stem.1", "block2")
    with pytest.raises(SettingsError, match="no module 'blok2'") as unknown:
        StagedNetwork(SmallNet(2, SIZE), SIZE, stages=["blok2"])
    assert "'block2'" in unknown.value.mend
    with pytest.raises(SettingsError, match=r"'block2\.conv1' cannot be a stage"):
        StagedNetwork(SmallNet(2, SIZE), SIZE, stages=["block2.conv1"])
    with pytest.raises(SettingsError, match="no stage 'block4'") as missing:
        network.run_until(torch.rand(1, 3, *SIZE), "block4")
    assert "'block2'" in missing.value.mend
    with pytest.raises(ValueError, match="comes after"):
        network.run_between(torch.zeros(1), "block2", "stem.1")


class Flat(nn.Module):
    """No maps at all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class OneCell(nn.Module):
    """Maps of one cell only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 32)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


class Pair(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x), x  # type: ignore[return-value]


def test_maps_with_the_channels_last_are_stages_too() -> None:
    swin = SwinTransformer([4, 4], 8, [1, 1, 1], [1, 1, 1], [2, 2], num_classes=2).eval()
    oblong = (64, 32)
    network = StagedNetwork(swin, oblong)
    assert [(stage.name, stage.units, stage.size) for stage in network.stages] == [
        ("features.1", 8, (16, 8)),
        ("features.3", 16, (8, 4)),
        ("permute", 32, (4, 2)),
    ]
    assert [stage.channels_last for stage in network.stages] == [True, True, False]
    pictures = torch.rand(2, 3, *oblong)
    with torch.no_grad():
        logits = network(pictures)
        maps = network.run_all(pictures)[0]
        for stage in network.stages:
            assert maps[stage.name].shape == (2, stage.units, *stage.size)
            torch.testing.assert_close(network.run_from(maps[stage.name].contiguous(), stage.name), logits)
        torch.testing.assert_close(network.run_between(maps["features.1"], "features.1", "permute"), maps["permute"])
        seen = Layers(network, ["features.1", "features.0"])(pictures)  # by hooks
        torch.testing.assert_close(seen["features.1"], maps["features.1"])
    with pytest.raises(SettingsError, match="the channels last"):
        dependency_group(network, "features.1")


def test_a_transformer_of_tokens_is_refused_unless_a_stage_is_named() -> None:
    vit = VisionTransformer(32, 8, num_layers=3, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=2)
    with pytest.raises(SettingsError, match="no stages past its first layers: 'conv_proj'") as caught:
        StagedNetwork(vit, SIZE)
    assert "network.stages=conv_proj" in caught.value.mend
    assert StagedNetwork(vit, SIZE, stages=["conv_proj"]).stage_names == ("conv_proj",)


def test_tensors_of_a_file_are_taken_for_those_of_today() -> None:
    network = StagedNetwork(torchvision_model("mnasnet0_5"), (64, 64))  # which asks for the version of its tensors
    network.load_state_dict(dict(network.state_dict()))
    load_weights(network.model, dict(network.model.state_dict()), "network.weights")


@pytest.mark.parametrize(
    ("model", "classes", "message"),
    [
        (Flat, (), "no stages"),
        (OneCell, (), "no stages"),
        (Pair, (), "returns tuple"),
        (lambda: SmallNet(2, SIZE), ("a", "b", "c"), "2 outputs, but the data have 3 classes"),
        (lambda: nn.Conv2d(3, 2, 1), (), r"returns a tensor \(2, 2, 32, 32\)"),
        (lambda: torchvision_model("vit_b_16"), (), "cannot take images of 32×32 px"),
        (lambda: SmallNet(2, SIZE).half(), (), "float16"),
    ],
)
def test_networks_that_do_not_fit(model: type[nn.Module], classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        StagedNetwork(model(), SIZE, classes=classes)
    assert caught.value.mend


# --- building ------------------------------------------------------------------------------------------------------


def settings(backbone: str, **more: object) -> Settings:
    return Settings(network=NetworkSettings(backbone=backbone, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plugins():  # type: ignore[no-untyped-def]
    return load_plugins(use_entry_points=False)


def test_the_same_seed_builds_the_same_network(plugins) -> None:  # type: ignore[no-untyped-def]
    random = torch.get_rng_state()
    first, second = (build_network(settings("small"), ("a", "b"), SIZE, plugins) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = build_network(settings("small"), ("a", "b"), SIZE, plugins, seed=9)
    assert not torch.equal(first.model.head.weight, other.model.head.weight)
    assert first.classes == ("a", "b")


USER_MODULE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, outputs=2):
        super().__init__(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, outputs))

def keyword(*, num_classes): return Net(num_classes)
def positional(n): return Net(n)
def nothing(): return Net(2)
def anything(**options): return Net(options["num_classes"])
def failing(n): raise ValueError("no such luck")
def number(n): return n
ready = Net()
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "users_networks.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_networks", raising=False)
    return "users_networks"


@pytest.mark.parametrize("name", ["Net", "keyword", "positional", "nothing", "anything", "ready"])
def test_users_module(name: str, user_module: str, plugins) -> None:  # type: ignore[no-untyped-def]
    path = list(sys.path)
    network = build_network(settings(f"{user_module}:{name}"), ("a", "b"), SIZE, plugins)
    assert network.stage_names == ("1",)
    assert network(torch.rand(2, 3, *SIZE)).shape == (2, 2)
    assert sys.path == path


@pytest.mark.parametrize(
    ("target", "classes", "message"),
    [
        ("users_networks:nothing", 3, "2 outputs, but the data have 3 classes"),
        ("users_networks:keywrod", 2, "has no 'keywrod'"),
        ("users_networks:failing", 2, "no such luck"),
        ("users_networks:number", 2, "returned int"),
        ("smal:2", 2, "neither a backbone nor a module named 'smal'"),
        ("smal", 2, "no backbone named 'smal'"),
    ],
)
def test_users_mistakes(target: str, classes: int, message: str, user_module: str, plugins) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingsError, match=message) as caught:
        build_network(settings(target), [str(c) for c in range(classes)], SIZE, plugins)
    if "smal" in message:
        assert "Did you mean 'small'" in caught.value.mend
    if "keywrod" in message:
        assert "Did you mean 'keyword'" in caught.value.mend


def test_weights_from_a_file(tmp_path: Path, plugins) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import save_model

    source = build_network(settings("small"), ("a", "b"), SIZE, plugins, seed=4)
    for number, module in enumerate((source, source.model)):  # the staged network's file, the classifier's own
        file = tmp_path / f"weights{number}.safetensors"
        save_model(module, str(file))
        loaded = build_network(settings("small", weights=str(file)), ("a", "b"), SIZE, plugins)
        assert torch.equal(loaded.model.head.weight, source.model.head.weight)
    narrow, exact = settings("small", weights=str(file)), {"epochs": 0}
    three = build_network(narrow, ("a", "b", "c"), SIZE, plugins)
    assert torch.equal(three.model.stem[0].weight, source.model.stem[0].weight)
    assert three.model.head.weight.shape[0] == 3, "weights of other classes are gone on with from a fresh last layer"
    as_they_are = narrow.model_copy(update={"training": narrow.training.model_copy(update=exact)})
    for asked, classes in ((settings("small:2", weights=str(file)), ("a", "b")), (as_they_are, ("a", "b", "c"))):
        with pytest.raises(SettingsError, match="do not fit the network"):
            build_network(asked, classes, SIZE, plugins)
    plain = tmp_path / "weights.pt"
    torch.save({"state_dict": source.model.state_dict()}, plain)
    loaded = build_network(settings("small", weights=str(plain)), ("a", "b"), SIZE, plugins)
    assert torch.equal(loaded.model.head.weight, source.model.head.weight)
    assert not build_network(settings("small", normalise=False), ("a", "b"), SIZE, plugins).mean.any()
    torch.save(source.model, plain)
    with pytest.raises(SettingsError, match="or holds more than tensors") as whole:
        build_network(settings("small", weights=str(plain)), ("a", "b"), SIZE, plugins)
    assert "state_dict()" in whole.value.mend
    with pytest.raises(SettingsError, match="does not exist"):
        build_network(settings("small", weights=str(tmp_path / "none.safetensors")), ("a", "b"), SIZE, plugins)
    file.write_bytes(b"broken")
    with pytest.raises(SettingsError, match="cannot be read"):
        build_network(settings("small", weights=str(file)), ("a", "b"), SIZE, plugins)


LOAD_ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("conceptnet_ml", "conceptnet_plugins"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import torch
try:
    import conceptnet_ml
    raise SystemExit("conceptnet_ml can be imported")
except ImportError:
    pass
model = torch.export.load(sys.argv[1]).module()
given = torch.load(sys.argv[2], weights_only=True)
for count in (1, 2, 5):
    torch.testing.assert_close(model(given["images"][:count]), given["logits"][:count], rtol=1e-3, atol=1e-4)
print("same")
"""


def test_saved_alone_loads_without_this_package(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = StagedNetwork(SmallNet(2, SIZE), SIZE).train()
    images = torch.rand(5, 3, *SIZE)
    export_program(network, tmp_path / "alone.pt2")
    assert network.training
    assert [file.name for file in tmp_path.iterdir()] == ["alone.pt2"]
    network.eval()
    with torch.no_grad():
        torch.save({"images": images, "logits": network(images)}, tmp_path / "given.pt")
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALONE, str(tmp_path / "alone.pt2"), str(tmp_path / "given.pt")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"
