"""A network whose weights are set by hand and images drawn for it, so that everything a graph could hold is known.

Three classes. An image shows up to three patches on grey, each a stripe pattern in a colour, each 8 px in a cell of its
own. Stage ``one`` has a unit per pattern and per colour; stage ``two`` a unit per *part*, that is, one pattern in one
colour; the last layer reads parts.

=====  =========  ==========================================================================================
part   made of    read by
=====  =========  ==========================================================================================
P0     h, red     class 0 \\
P1     v, green   class 1  } the same role: one of them stands in the upper left of every image
P2     x, blue    class 2 /
S      g, red     classes 0 and 1, a shared part  \\ the other role, in the lower right
T      w, green   class 2                         /
D      d, blue    nobody: it comes and goes whatever the class
E      h, green   nobody: never seen
=====  =========  ==========================================================================================

Units are numbered in a shuffled order, with silent ones between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.graph.concept_graph import ConceptGraph

SIDE, CELL, TILE = 32, 8, 4

CLASSES = ("zero", "one", "two")

PATTERNS = ("h", "v", "x", "g", "w", "d", "e")

COLOURS = ("red", "green", "blue")

PARTS = {
    "P0": ("h", "red"),
    "P1": ("v", "green"),
    "P2": ("x", "blue"),
    "S": ("g", "red"),
    "T": ("w", "green"),
    "D": ("d", "blue"),
    "E": ("h", "green"),
}

READ = {"P0": (0,), "P1": (1,), "P2": (2,), "S": (0, 1), "T": (2,)}
"""Which classes' logits read a part."""

SHOWN = (("P0", "S"), ("P1", "S"), ("P2", "T"))

ONE = {name: place for place, name in zip((9, 2, 5, 11, 0, 7, 4, 1, 10, 6), (*PATTERNS, *COLOURS), strict=True)}

TWO = {name: place for place, name in zip((6, 1, 8, 3, 10, 4, 0), PARTS, strict=True)}
"""Unit numbers at the two stages; the numbers between are silent units."""

UNITS = 12

UPPER, LOWER, ELSEWHERE = ((0, 0), (0, 1)), ((3, 2), (3, 3)), ((1, 2), (2, 0), (1, 3))
"""Cells (row, column) of the first role, of the second, and of what nobody reads."""

HELD, LIFT = 8.0, 11.0
"""Weight of a part in a logit where it is fully there, and what class 2 has to start from: so that, for images of the
other two, class 2 comes next and the shared part counts."""


class Handmade(nn.Module):
    """See the module. Maps: ``one`` (B, 12, 8, 8), ``two`` (B, 12, 4, 4)."""

    input_mean = (0.0, 0.0, 0.0)
    input_std = (1.0, 1.0, 1.0)

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        first, second = nn.Conv2d(3, UNITS, TILE, stride=TILE), nn.Conv2d(UNITS, UNITS, 2, stride=2)
        self.one = nn.Sequential(first, nn.ReLU())
        self.two = nn.Sequential(second, nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(UNITS, num_classes)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            assert first.bias is not None
            assert second.bias is not None
            for name in PATTERNS:
                first.weight[ONE[name]] = pattern(name) / (3 * TILE**2) / 0.15
                first.bias[ONE[name]] = -0.05 / 0.15
            for place, name in enumerate(COLOURS):
                tint = torch.full((3,), -0.5).index_fill(0, torch.tensor(place), 1.0)
                first.weight[ONE[name]] = tint.view(3, 1, 1) / TILE**2 / 0.25
                first.bias[ONE[name]] = -0.05 / 0.25
            for name, parts in PARTS.items():
                for part in parts:
                    second.weight[TWO[name], ONE[part]] = 2 / 4  # the mean of four tiles
                second.bias[TWO[name]] = -2.4  # one of the two alone is not enough
            for name, classes in READ.items():
                for number in classes:
                    self.head.weight[number, TWO[name]] = HELD / 1.6 * (SIDE // CELL) ** 2
            self.head.bias[2] = LIFT

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 32) to logits (B, 3)."""
        return self.head(self.pool(self.two(self.one(images))).flatten(1))


def pattern(name: str) -> Tensor:
    """(4, 4) of ±1: seven Walsh functions, which do not answer to each other nor to grey."""
    rows = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]], dtype=torch.float32)
    first, second = ((1, 0), (0, 1), (1, 1), (2, 0), (0, 2), (2, 2), (1, 2))[PATTERNS.index(name)]
    return rows[first][:, None] * rows[second][None]


def draw_images(count: int, seed: int) -> ImageSet:
    """Images of the three classes in turn. A part's contrast varies from image to image."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = 0.5 + 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=random)

    def choose(cells: tuple[tuple[int, int], ...]) -> tuple[int, int]:
        return cells[int(torch.randint(len(cells), (1,), generator=random))]

    for image, number in enumerate(labels.tolist()):
        shown = list(zip(SHOWN[number], (choose(UPPER), choose(LOWER)), strict=True))
        if torch.rand(1, generator=random) < 0.5:
            shown.append(("D", choose(ELSEWHERE)))
        for name, (row, column) in shown:
            stripes, colour = PARTS[name]
            contrast = 0.95 + 0.1 * float(torch.rand(1, generator=random))
            patch = 0.2 * pattern(stripes).repeat(2, 2).expand(3, CELL, CELL).clone()
            patch += torch.full((3,), -0.1).index_fill(0, torch.tensor(COLOURS.index(colour)), 0.2).view(3, 1, 1)
            top, left = row * CELL, column * CELL
            images[image, :, top : top + CELL, left : left + CELL] += contrast * patch
    return ImageSet((images.clamp(0, 1) * 255).round().to(torch.uint8), labels)


def data(count: int = 360, seed: int = 0) -> Data:
    """Training images and a test set."""
    return Data("handmade", CLASSES, draw_images(count, 2 * seed), {"test": draw_images(150, 2 * seed + 1)})


def settings(seed: int = 0, keep: bool = True, weights: str | None = None) -> dict[str, object]:
    """Settings under which :func:`conceptnet_ml.learn` works on it and leaves its weights as they are.

    Args:
        keep: Keep one round of transplants whatever the rule says, so that there are merges and splits; otherwise undo
            it, so that edges start at the classes' own features.
        weights: Others than those set by hand, a .safetensors file.
    """
    round_ = "two/classes/1/pixels"
    still = {"epochs": 1, "rate": 1e-12, "warm_rate": 1e-12, "weight_decay": 0.0, "flip": False, "precision": "fp32"}
    return {
        "seed": seed,
        "depth": 1,
        "device": "cpu",
        "network": {"backbone": "handcrafted:Handmade", "weights": weights},
        "training": {**still, "shift": 0.0, "batch": 64, "least_steps": 0, "above_chance": False},
        "round": {"limit": 1, "epochs": 1, "closures": 0, ("keep" if keep else "undo"): (round_,)},
        # Dear gates are tight. Were all exchanged in every pair, nothing could tell which part came for which.
        "probe": {"dreamt": 0, "view_price": 60.0},
        "plugins": {"representations": ("pixels",), "dreamer": "none", "controls": ()},
    }


@dataclass(frozen=True)
class Rates:
    """Of one kind of thing: how many were found rightly, found, and planted."""

    right: int
    found: int
    planted: int

    @property
    def precision(self) -> float | None:
        """Share of the found that is right; None where nothing is found."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float:
        """Share of the planted that is found."""
        return self.right / self.planted


def truth() -> dict[str, set[tuple[object, ...]]]:
    """What a graph of it should hold.

    ``nodes``: (class, unit of stage two) of each class's feature. ``merges``: unordered pairs of units that play the
    same part in two classes. ``splits``: classes with a variant. ``edges``: (class, unit of stage one) of what the
    class's own parts are made of. What the others' parts are made of counts for its lead, too, but never shows in its
    images: taking it out there changes nothing, so no intervention could find it.
    """
    features = {(number, TWO[part]) for number, parts in enumerate(SHOWN) for part in parts}
    roles = (("P0", "P1", "P2"), ("S", "T"))
    merges = {tuple(sorted((TWO[a], TWO[b]))) for role in roles for a in role for b in role if a != b}
    return {
        "nodes": set(features),
        "merges": set(merges),
        "splits": {(number,) for number in range(3)},
        "edges": {(number, ONE[made]) for number, parts in enumerate(SHOWN) for part in parts for made in PARTS[part]},
    }


def found(graph: ConceptGraph) -> dict[str, set[tuple[object, ...]]]:
    """What the graph of a run holds of the same."""
    number = {name: place for place, name in enumerate(CLASSES)}
    nodes = {
        (number[node.classes[0]], edge_unit) for node in graph.nodes("feature", stage="two") for edge_unit in node.units
    }
    merges = {
        tuple(sorted((graph.node(edge.source).units[0], graph.node(edge.target).units[0])))
        for edge in graph.edges("analogous")
        if graph.node(edge.source).stage == "two" and graph.node(edge.source).kind == "unit"
    }
    splits = {(number[node.classes[0]],) for node in graph.nodes("variant", stage="two")}
    edges = {
        (number[source.classes[0]], target.units[0])
        for edge in graph.edges("built_from")
        if (target := graph.node(edge.target)).kind == "unit"
        and target.stage == "one"
        and (source := graph.node(edge.source)).stage != "one"
    }
    return {"nodes": set(nodes), "merges": set(merges), "splits": set(splits), "edges": set(edges)}


def judge_graph(graph: ConceptGraph) -> dict[str, Rates]:
    """Found against planted."""
    mine, true = found(graph), truth()
    return {kind: Rates(len(mine[kind] & true[kind]), len(mine[kind]), len(true[kind])) for kind in true}
