"""Networks as people write them: of other channels, layouts and modes, lazy, compiled, of names that are no Python."""

from __future__ import annotations

import copy
import sys
import threading
import types

import pytest
import torch
from planted import COARSE, PLUGINS, planted_data, settings
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml import learn
from conceptnet_ml.checks import Session, check_plan
from conceptnet_ml.errors import SettingsError
from conceptnet_ml.galleries.sources import open_network
from conceptnet_ml.network.answers import doubtful_answers
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.fx_route import FxRoute
from conceptnet_ml.network.hook_route import HookRoute
from conceptnet_ml.network.staged_network import LUMA, StagedNetwork
from conceptnet_ml.runtime import layout

SIZE = (32, 32)


def body(channels: int) -> nn.Sequential:
    low, high = nn.Conv2d(channels, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
    return nn.Sequential(low, nn.BatchNorm2d(8), nn.ReLU(), high, nn.BatchNorm2d(16), nn.ReLU())


class Net(nn.Module):
    """A body that takes ``channels``, of images that take ``inputs``."""

    inputs, channels = 3, 3

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.body, self.head = body(self.channels), nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Viewed(Net):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        self.head = nn.Linear(16 * 64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).view(x.size(0), -1))


class Grey(Net):
    channels = 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(1, keepdim=True))


class GreyOnly(Net):
    inputs = channels = 1

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 1
        return super().forward(x)


class Coordinates(Net):
    channels = 5

    def forward(self, x: Tensor) -> Tensor:
        row = torch.linspace(-1, 1, x.shape[3], device=x.device).expand(x.shape[0], 1, *x.shape[2:])
        return super().forward(torch.cat([x, row, row.flip(3)], 1))


class Auxiliary(Net):
    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = super().forward(x)
        return (y, 2 * y) if self.training else y


class NamedOutputs(Net):
    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        y = super().forward(x)
        return {"aux": 2 * y, "logits": y} if self.training else y


class Keyword(Net):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        self.body = nn.ModuleDict({"global": self.body, "class": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body["class"](self.body["global"](x)).mean((2, 3)))


class Lazy(nn.Module):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.low, self.high = nn.LazyConv2d(8, 3, 2, 1), nn.LazyConv2d(16, 3, 2, 1)
        self.norm, self.head = nn.LazyBatchNorm2d(), nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.norm(self.high(functional.relu(self.low(x))))).flatten(1))


def compiled(num_classes: int = 2) -> nn.Module:
    return torch.compile(Net(num_classes), backend="eager")  # type: ignore[return-value]


KINDS = [Viewed, Grey, GreyOnly, Coordinates, Auxiliary, NamedOutputs, Keyword, Lazy, compiled]


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks as a module of the user's."""
    users = types.ModuleType("networks_of_people")
    users.__dict__.update({kind.__name__: kind for kind in KINDS})
    monkeypatch.setitem(sys.modules, "networks_of_people", users)


def built(kind: object, **more: object) -> StagedNetwork:
    chosen = settings(network={"backbone": f"networks_of_people:{kind.__name__}", **more})  # type: ignore[attr-defined]
    return build_network(chosen, ("a", "b"), SIZE, PLUGINS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_they_run_whole_in_parts_and_alone(
    kind: object, memory_format: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv(layout.VARIABLE, memory_format)
    network = layout.to_device(built(kind), torch.device("cpu")).eval()
    images = torch.rand(3, 3, *SIZE)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (3, 2)
        maps, whole = network.run_all(images)
        assert torch.allclose(whole, logits, atol=1e-5)
        for name in network.stage_names:
            assert torch.allclose(network.run_from(maps[name], name), logits, atol=1e-5)
    assert network.channels == 3
    network.train()
    functional.cross_entropy(network(images), torch.tensor([0, 1, 0])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", [Grey, GreyOnly, Coordinates, Auxiliary, Keyword])
def test_they_are_learned_from_end_to_end(kind: object, tmp_path, hasty: None) -> None:  # type: ignore[no-untyped-def]
    chosen = settings(
        network={"backbone": f"networks_of_people:{kind.__name__}"},  # type: ignore[attr-defined]
        training={"batch": 32, "epochs": 1},
        round={"limit": 1, "epochs": 1, "closures": 0, "purify": 0},
        probe={"view_steps": 2, "dreamt": 0},
        concepts=COARSE,
    )
    run = learn(planted_data("own", 64), settings=chosen, out=tmp_path / "run", plugins=PLUGINS)
    assert run.graph.check() == []
    run.save_alone(tmp_path / "alone.pt2")


def test_one_channel_is_the_luma_of_coloured_images() -> None:
    network = StagedNetwork(GreyOnly().eval(), SIZE).for_images(3)
    images = torch.rand(2, 3, *SIZE)
    grey = (images * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    with torch.no_grad():
        assert torch.allclose(network(images), network(grey), atol=1e-6)
    assert StagedNetwork(GreyOnly().eval(), SIZE).channels == 1


def test_a_network_without_data_is_opened_with_its_own_channels() -> None:
    cpu = torch.device("cpu")
    assert open_network("networks_of_people:GreyOnly", PLUGINS, cpu).network.channels == 1
    assert open_network("networks_of_people:Coordinates", PLUGINS, cpu).network.channels == 3


def test_other_channels_than_the_images_have_are_said() -> None:
    class Bands(Net):
        channels = 12

    assert StagedNetwork(Bands(), SIZE).channels == 12
    with pytest.raises(SettingsError, match="takes images of 12 channels, these have 3"):
        StagedNetwork(Bands(), SIZE).for_images(3)


def test_lazy_layers_are_drawn_by_the_seed() -> None:
    random = torch.get_rng_state()
    one, two = built(Lazy), built(Lazy)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_trying_both_modes_leaves_the_network_as_it_was() -> None:
    given = Net().eval()
    before, random = copy.deepcopy(given.state_dict()), torch.get_rng_state()
    StagedNetwork(given, SIZE)
    assert torch.equal(torch.get_rng_state(), random)
    assert not given.training
    assert all(torch.equal(before[name], value) for name, value in given.state_dict().items())


def test_hooks_are_taken_where_the_graph_cannot_be_written() -> None:
    assert isinstance(built(Keyword)._route, HookRoute)
    assert isinstance(built(Grey)._route, FxRoute)


def test_torchscript_is_refused_with_the_reason() -> None:
    script = torch.jit.trace(Net().eval(), torch.rand(1, 3, *SIZE))
    with pytest.raises(SettingsError, match="TorchScript, whose parts cannot be run one by one"):
        StagedNetwork(script, SIZE)


def test_a_network_that_cannot_be_trained_is_refused_before_it_is(tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Fails(Net):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("needs targets")
            return super().forward(x)

    sys.modules["networks_of_people"].Fails = Fails  # type: ignore[attr-defined]
    chosen = settings(network={"backbone": "networks_of_people:Fails"})
    with pytest.raises(SettingsError, match="cannot be trained: RuntimeError: needs targets"):
        learn(planted_data("own", 64), settings=chosen, out=tmp_path / "run", plugins=PLUGINS)
    assert not (tmp_path / "run").exists()


class SizeFromTheMiddle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 16, 3, 2, 1)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        middle = torch.relu(self.b(torch.relu(self.a(x))))
        cells = middle.size(2) * middle.size(3)
        return self.head(torch.relu(self.c(middle)).sum((2, 3)) / cells)


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Parameter(torch.randn(8, 3, 3, 3)), nn.Parameter(torch.randn(16, 8, 3, 3))
        self.head = nn.Parameter(torch.randn(2, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(functional.conv2d(x, self.low, stride=2, padding=1))
        x = torch.relu(functional.conv2d(x, self.high, stride=2, padding=1))
        return x.mean((2, 3)) @ self.head.t()


def test_what_cannot_be_a_stage_is_said() -> None:
    network = StagedNetwork(SizeFromTheMiddle(), SIZE)
    assert [(stage.units, stage.size) for stage in network.stages] == [(8, (16, 16)), (12, (8, 8))]
    assert network.unstaged() == ["c"]
    assert StagedNetwork(Net(), SIZE).unstaged() == []


def test_a_network_of_bare_parameters_has_stages() -> None:
    network = StagedNetwork(Raw(), SIZE)
    assert [(stage.name, stage.units, stage.size) for stage in network.stages] == [
        ("relu", 8, (16, 16)),
        ("relu_2", 16, (8, 8)),
    ]
    images = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        for stage in network.stages:
            maps = network.run_until(images, stage.name)
            assert torch.allclose(network.run_from(maps, stage.name), network(images), atol=1e-5)
    assert network.unstaged() == []


class NotANumber(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.nan


class WithoutGradient(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_networks_that_answer_nothing_that_can_be_learned_from() -> None:
    with pytest.raises(SettingsError, match="answers with NaN"):
        StagedNetwork(NotANumber(), SIZE)
    with pytest.raises(SettingsError, match="on the device meta"):
        StagedNetwork(Net().to("meta"), SIZE)
    assert StagedNetwork(WithoutGradient(), SIZE).training_error == "its answers have no gradient"
    asks = StagedNetwork(Net().requires_grad_(False), SIZE).training_error
    assert asks == "none of its weights asks for a gradient (requires_grad)"


def test_a_network_that_cannot_be_copied_is_refused_before_it_is_trained(module: None) -> None:
    class Locked(Net):
        def __init__(self, num_classes: int = 2) -> None:
            super().__init__(num_classes)
            self.lock = threading.Lock()

    sys.modules["networks_of_people"].__dict__["Locked"] = Locked
    chosen = settings(network={"backbone": "networks_of_people:Locked"})
    with pytest.raises(SettingsError, match=r"cannot be copied: TypeError: cannot pickle '_thread\.lock'") as caught:
        check_plan(chosen, Session(PLUGINS), planted_data(count=16))
    assert "open files" in caught.value.mend


class Ended(Net):
    """Ends in a function of its logits."""

    end = nn.Softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(super().forward(x))


class Squashed(Net):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        self.head = nn.Sequential(self.head, nn.Sigmoid())  # type: ignore[assignment]


class SoftInside(Net):
    """A softmax, and a sigmoid, that are not the answer; nor is the logarithm of one squashed."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return (logits.softmax(1) * logits.sigmoid()).log_softmax(1)


class Drops(Net):
    """Forgets that functional.dropout is in training mode unless it is told."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.dropout(x))


class Counts(Net):
    """Answers by how often it was asked."""

    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return super().forward(x) + self.asked


class ByTheBatch(Net):
    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        self.body[1] = nn.BatchNorm2d(8, track_running_stats=False)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Net, []),
        (SoftInside, []),
        (Ended, ["the network answers with probabilities"]),
        (Squashed, ["the network ends in Sigmoid"]),
        (ByTheBatch, ["the network's answer to a picture depends on the others in its batch"]),
    ],
)
def test_answers_that_are_trained_poorly_are_said(kind: type[Net], said: list[str]) -> None:
    found = doubtful_answers(StagedNetwork(kind(), SIZE), torch.rand(12, 3, *SIZE))
    assert [note[: len(words)] for note, words in zip(found, said, strict=True)] == said


class Rounds(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 255).to(torch.uint8).float())


def test_a_network_that_cannot_be_differentiated_by_its_images_is_refused() -> None:
    with pytest.raises(SettingsError, match="no gradient leads from the network's answers back to the image"):
        doubtful_answers(StagedNetwork(Rounds(), SIZE), torch.rand(12, 3, *SIZE))


@pytest.mark.parametrize("kind", [Drops, Counts])
def test_a_network_that_answers_at_random_is_refused(kind: type[Net]) -> None:
    with pytest.raises(SettingsError, match="the network answers at random: the same") as caught:
        doubtful_answers(StagedNetwork(kind(), SIZE), torch.rand(12, 3, *SIZE))
    assert "training=self.training" in caught.value.mend


class Nought(Net):
    """Multiplies its features by 0."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)) * 0)


class Stored(Net):
    """Returns a stored tensor in place of what it computed."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        self.register_buffer("answer", torch.randn(num_classes))
        self.prior = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return (self.answer + self.prior).expand(len(self.body(x)), -1)


class Dead(Net):
    """A layer of rectifiers that nothing gets past."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        nn.init.constant_(self.body[4].bias, -100.0)


class OnlyInTraining(Net):
    def forward(self, x: Tensor) -> Tensor:
        answers = super().forward(x)
        return answers if self.training else answers.new_ones(answers.shape) + 0 * answers


@pytest.mark.parametrize("kind", [Nought, Stored, Dead, OnlyInTraining])
def test_a_network_whose_answers_are_always_the_same_is_refused(kind: type[Net]) -> None:
    with pytest.raises(SettingsError, match="answers do not depend on the image: 12 images, and as many") as caught:
        doubtful_answers(StagedNetwork(kind(), SIZE), torch.rand(12, 3, *SIZE))
    assert "multiplied by 0" in caught.value.mend


class ZeroLast(Net):
    """Begins as many do: with a last layer of zeros."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class ZeroTwice(ZeroLast):
    """And the norm below it, too: no gradient at the first step but that of the last bias."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(num_classes)
        nn.init.zeros_(self.body[4].weight)


@pytest.mark.parametrize("kind", [Net, ZeroLast, ZeroTwice])
@pytest.mark.parametrize("alike", [False, True])
def test_a_network_that_begins_with_zeros_is_taken(kind: type[Net], alike: bool) -> None:
    network = StagedNetwork(kind(), SIZE)
    before = copy.deepcopy(network.state_dict())
    images = torch.rand(12, 3, *SIZE)
    images = images[:1].expand_as(images) if alike else images
    random = torch.get_rng_state()
    assert doubtful_answers(network, images) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_what_a_network_answers_is_tried_before_it_is_trained(module: None) -> None:
    sys.modules["networks_of_people"].__dict__.update({"Drops": Drops, "Ended": Ended, "Nought": Nought})
    drops, ended, nought = (
        settings(network={"backbone": f"networks_of_people:{name}"}) for name in ("Drops", "Ended", "Nought")
    )
    with pytest.raises(SettingsError, match="answers do not depend on the image"):
        check_plan(nought, Session(PLUGINS), planted_data(count=16))
    with pytest.raises(SettingsError, match="answers at random"):
        check_plan(drops, Session(PLUGINS), planted_data(count=16))
    checked = check_plan(ended, Session(PLUGINS), planted_data(count=16))
    assert any("answers with probabilities" in note for note in checked.data.notes)
