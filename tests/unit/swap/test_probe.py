"""The dream probe on tiny objectives whose answer rests on a known place or channel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conceptnet_ml.config.settings import ProbeSettings
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.records import Representation
from conceptnet_ml.swap.probe import Prober
from conceptnet_ml.swap.representation import Codec, box_cells, gate_grid, place_gate


def same(images: Tensor) -> Tensor:
    return images


PLACE = Codec(Representation(name="place", api="1", encode=same, decode=same, gate="place"))
CHANNEL = Codec(Representation(name="channel", api="1", encode=same, decode=same, gate="channel"))
WHOLE = Codec(Representation(name="whole", api="1", encode=same, decode=same, gate="whole"))

SIDE, CELLS = 32, 8
ROWS, COLUMNS = slice(9, 11), slice(21, 23)  # the middle of cell (2, 5) of the gate


class Planted(nn.Module):
    """Class 1 is red in one place; everything else is ignored."""

    def __init__(self, sharpness: float = 20.0) -> None:
        super().__init__()
        weight = torch.zeros(1, 3, SIDE, SIDE)
        weight[0, 0, ROWS, COLUMNS] = sharpness / 4
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(-sharpness / 2))

    def forward(self, images: Tensor) -> Tensor:
        evidence = (images * self.weight).sum((1, 2, 3)) + self.bias
        return torch.stack([-evidence, evidence], 1)


def prober(codec: Codec = PLACE, **changes: float) -> Prober:
    return Prober(Planted(), codec, ProbeSettings(cells=CELLS, **changes))  # type: ignore[arg-type]


def pairs(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy hosts without red, noisy donors with red in the place, in turns the other way round."""
    draw = torch.Generator().manual_seed(0)
    hosts, donors = 0.6 * torch.rand(2, count, 3, SIDE, SIDE, generator=draw)
    targets = torch.arange(count) % 2
    for images, shown in ((hosts, 1 - targets), (donors, targets)):
        images[:, 0, ROWS, COLUMNS] = shown[:, None, None].float()
    return hosts, donors, targets


def test_the_gate_opens_exactly_where_the_feature_is() -> None:
    hosts, donors, targets = pairs()
    gates = Prober(Planted(), PLACE, ProbeSettings(cells=SIDE)).gates(hosts, donors, targets)
    assert gates is not None
    expected = torch.zeros(len(hosts), 1, SIDE, SIDE)
    expected[:, 0, ROWS, COLUMNS] = 1
    assert gates.shape == expected.shape
    assert torch.equal((gates > 0.5).float(), expected)
    assert not gates.requires_grad


def test_coarse_cells_open_at_the_feature_and_at_most_beside_it() -> None:
    gates = prober().gates(*pairs())
    assert gates is not None
    places = {tuple(place) for place in torch.nonzero(gates[:, 0] > 0.5)[:, 1:].tolist()}
    assert (gates[:, 0, 2, 5] > 0.5).all()
    assert places <= {(2, 5), (1, 5), (3, 5), (2, 4), (2, 6)}  # a cell's bilinear reach


def test_gates_are_the_same_where_memory_does_for_a_few_images_only() -> None:
    class Scarce(Planted):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(images)

    hosts, donors, targets = pairs()
    scarce = Prober(Scarce(), PLACE, ProbeSettings(cells=CELLS))
    for one in (prober(), scarce):
        one.logits.requires_grad_(False)  # type: ignore[attr-defined]
    torch.testing.assert_close(scarce.gates(hosts, donors, targets), prober().gates(hosts, donors, targets))
    torch.testing.assert_close(scarce.own_gates(hosts, targets, 1.0), prober().own_gates(hosts, targets, 1.0))


def test_the_gate_changes_the_answer() -> None:
    hosts, donors, targets = pairs()
    probing = prober()
    gates = probing.gates(hosts, donors, targets)
    assert (probing.logits(hosts).argmax(1) != targets).all()
    assert (probing.logits(PLACE.swap(hosts, donors, gates)).argmax(1) == targets).all()


def test_images_do_not_influence_each_other() -> None:
    hosts, donors, targets = pairs()
    together = prober().gates(hosts, donors, targets)
    assert together is not None
    for image in range(len(hosts)):
        one = slice(image, image + 1)
        alone = prober().gates(hosts[one], donors[one], targets[one])
        torch.testing.assert_close(alone, together[one], atol=1e-5, rtol=1e-4)
    backwards = prober().gates(hosts.flip(0), donors.flip(0), targets.flip(0))
    torch.testing.assert_close(backwards, together.flip(0), atol=1e-5, rtol=1e-4)


def test_a_dearer_gate_is_tighter() -> None:
    hosts, donors, targets = pairs()
    shares = []
    for price in (0.0, 8.0, 30.0, 10_000.0):
        gates = prober(price=price).gates(hosts, donors, targets)
        assert gates is not None
        shares.append(float(gates.mean()))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.4
    assert shares[1] < 0.2
    assert shares[3] < 0.01


def test_it_is_adam_on_the_stated_loss() -> None:
    hosts, donors, targets = pairs(2)
    settings = ProbeSettings(cells=CELLS, steps=5, rate=0.3, price=4.0)
    gates = Prober(Planted(), PLACE, settings).gates(hosts, donors, targets)
    logits = torch.zeros(2, 1, CELLS, CELLS, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(5):
        gate = logits.sigmoid()
        answers = Planted()(PLACE.swap(hosts, donors, gate))
        loss = functional.cross_entropy(answers, targets, reduction="sum") + 4 * gate.mean((1, 2, 3)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(gates, logits.detach().sigmoid(), atol=1e-4, rtol=1e-3)


def test_a_channel_gate_opens_the_channel_that_tells() -> None:
    hosts, donors, targets = pairs()
    gates = prober(CHANNEL, steps=30).gates(hosts, donors, targets)
    assert gates is not None
    assert gates.shape == (6, 3)
    assert (gates > 0.5).tolist() == [[True, False, False]] * 6


def test_a_whole_swap_has_no_gate() -> None:
    assert prober(WHOLE).gates(*pairs()) is None


@pytest.mark.parametrize(("height", "width", "grid"), [(32, 16, (8, 4)), (16, 32, (4, 8)), (32, 2, (8, 2))])
def test_cells_follow_the_images_shape(height: int, width: int, grid: tuple[int, int]) -> None:
    probing = replace(prober(), logits=lambda images: images.mean((2, 3))[:, :2])
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    gates = probing.gates(images, images.flip(0), torch.tensor([0, 1]))
    assert gates is not None
    assert gates.shape == (2, 1, *grid)


def test_the_probe_leaves_a_frozen_network_without_gradients() -> None:
    probing = prober()
    assert isinstance(probing.logits, Planted)
    with frozen(probing.logits):
        probing.gates(*pairs())
    assert all(parameter.grad is None for parameter in probing.logits.parameters())


def network() -> nn.Sequential:
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Linear(2, 2))
    made[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    return made


@pytest.mark.parametrize("training", [True, False])
def test_frozen_puts_modes_and_gradients_back(training: bool) -> None:
    one, other = network().train(training), network().train(not training)
    wanted = [parameter.requires_grad for parameter in one.parameters()]
    assert not all(wanted)
    with frozen(one, other):
        assert not any(part.training for made in (one, other) for part in made.modules())
        assert not any(parameter.requires_grad for made in (one, other) for parameter in made.parameters())
    assert all(part.training is training for part in one.modules())
    assert all(part.training is not training for part in other.modules())
    assert [parameter.requires_grad for parameter in one.parameters()] == wanted


def test_frozen_puts_everything_back_after_an_exception() -> None:
    made = network().train()
    wanted = [parameter.requires_grad for parameter in made.parameters()]
    with pytest.raises(ZeroDivisionError), frozen(made):
        raise ZeroDivisionError
    assert made.training
    assert made[1].training
    assert [parameter.requires_grad for parameter in made.parameters()] == wanted


@pytest.mark.parametrize("outer", [True, False])
def test_frozen_leaves_parts_in_the_mode_of_their_own(outer: bool) -> None:
    """A network inside a module that was never put into evaluation mode itself must stay in it."""
    inner = network().eval()
    around = nn.Sequential(inner, nn.Identity()).train(outer)
    inner.train(not outer)
    with frozen(around):
        assert not inner[1].training
    assert around.training is outer
    assert all(part.training is not outer for part in inner.modules())


def test_frozen_twice_over_one_module() -> None:
    made = network().train()
    wanted = [parameter.requires_grad for parameter in made.parameters()]
    with frozen(made), frozen(made, made):
        pass
    assert made.training
    assert [parameter.requires_grad for parameter in made.parameters()] == wanted


def test_the_first_gradient_leads_where_the_feature_is() -> None:
    hosts, donors, targets = pairs()
    gradient = prober().first_gradient(hosts, donors, targets)
    assert gradient.shape == (6, 1, CELLS, CELLS)
    assert gradient.flatten(1).argmin(1).tolist() == [2 * CELLS + 5] * 6  # opening there brings the loss down
    assert torch.allclose(gradient.flatten(1).abs().mean(1), torch.ones(6))
    alone = prober().first_gradient(hosts[:1], donors[:1], targets[:1])
    assert torch.allclose(alone, gradient[:1], atol=1e-5)
    level = prober().first_gradient(hosts, hosts, targets)  # nothing to bring in: no direction, and no NaN
    assert torch.equal(level, torch.zeros_like(level))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0.75, 0.75, 1.0, 1.0), (6, 8), (9, 12)),
        ((0.7, 0.85, 1.0, 1.0), (6, 8), (8, 12)),
        ((0.01, 0.01, 0.02, 0.02), (0, 1), (0, 1)),
        ((0.99, 0.0, 1.0, 1.0), (0, 8), (11, 12)),
        ((1 / 3, 0.125, 2 / 3, 0.25), (1, 2), (4, 8)),  # the edges of cells, as floats have them
        ((1 - 1e-9, 1 - 1e-9, 1.0, 1.0), (7, 8), (11, 12)),
    ],
)
def test_a_box_opens_every_cell_that_it_reaches_into(
    box: tuple[float, float, float, float], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    assert box_cells(box, (8, 12)) == (slice(*rows), slice(*columns))


def test_the_gate_of_a_place_has_the_grid_of_the_probe_on_any_shape() -> None:
    for size in ((32, 32), (24, 48), (50, 20)):
        hosts = torch.rand(2, 3, *size)
        found = Prober(nn.Flatten(), PLACE, ProbeSettings(cells=12, steps=1)).first_gradient(
            hosts, hosts, torch.ones(2).long()
        )
        gate = place_gate("bottom,right+top,left", size, 12)
        rows, columns = gate_grid(size, 12)
        assert gate.shape[2:] == found.shape[2:] == (rows, columns)
        assert gate[0, 0, -1, -1] == gate[0, 0, 0, 0] == 1
        assert gate[0, 0, -1, 0] == gate[0, 0, 0, -1] == 0
    border = place_gate("border", (24, 48), 12)
    assert border[0, 0, 1:-1, 1:-1].sum() == 0
    assert border.sum() == 2 * 12 + 2 * 4


def test_a_gate_that_is_given_is_no_probes_to_find() -> None:
    hosts, donors, targets = pairs()
    gate = place_gate("bottom,right", (SIDE, SIDE), CELLS)
    found = prober(Codec(PLACE.record, gate)).gates(hosts, donors, targets)
    assert found is not None
    assert torch.equal(found, gate.expand(len(hosts), -1, -1, -1))
