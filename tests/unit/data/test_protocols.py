"""Published protocols: counts, colours and shares as published, cues that are independent, and what is refused."""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from conceptnet_ml.bench.cases import read_suite
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.traps import Exceptions, counted_exceptions, lay_traps
from conceptnet_ml.errors import ConceptNetError, DataError, SettingsError
from conceptnet_ml.plugins import load_plugins
from conceptnet_plugins.traps import corrupted
from conceptnet_plugins.traps.coloured import LFF, LFF_NOISE
from conceptnet_plugins.traps.ink import INK, PAPER

PLUGINS = load_plugins(use_entry_points=False)
SIZES = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
"""Of MNIST's classes."""


def dots(count: int = 200, classes: int = 10, side: int = 12, colour: bool = False) -> Data:
    """Stand-ins for digits: grey on black, a light pixel and a faint one in the middle."""
    images = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    images[:, :, 4, 4], images[:, :, 5, 5] = 255, 51
    if colour:
        images[:, 0] = 200
    labels = torch.arange(count) % classes
    names = tuple(f"class{number}" for number in range(classes))
    return Data("dots", names, ImageSet(images, labels), {"test": ImageSet(images.clone(), labels)})


def lay(trap: str, data: Data, seed: int = 0, exceptions: float = 0.0) -> Data:
    arguments = trap_arguments(trap)
    traps = [PLUGINS.get("trap", name) for name in arguments]
    return lay_traps(data, traps, seed, arguments, Exceptions(exceptions, counted=True))  # type: ignore[arg-type]


def confusion(labels: Tensor, shown: Tensor) -> Tensor:
    return torch.bincount(10 * labels + shown, minlength=100).view(10, 10)


def nearest(pixels: Tensor, colours: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.cdist(pixels.double(), torch.tensor(colours, dtype=torch.float64)).argmin(1)


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02, 0.05])
def test_exceptions_are_counted_out_in_every_class_and_spread_evenly(share: float) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(SIZES)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    shown = counted_exceptions(labels, 10, share, "coloured", seed=0)
    table = confusion(labels, shown)
    for label, size in enumerate(SIZES):
        others = table[label][torch.arange(10) != label]
        assert int(others.sum()) == round(share * size)
        assert int(others.max() - others.min()) <= 1
        assert int(table[label, label]) == size - round(share * size)
    assert torch.equal(counted_exceptions(labels, 10, share, "coloured", seed=0), shown)
    for other in (("coloured", 1), ("ink", 0)):
        assert not torch.equal(counted_exceptions(labels, 10, share, *other), shown)
    assert torch.equal(counted_exceptions(labels, 10, 0.0, "coloured", 0), labels)


def test_two_cues_are_independent_and_their_sets_are_there() -> None:
    labels = torch.arange(20_000) % 10
    wrong = [counted_exceptions(labels, 10, 0.3, trap, 0) != labels for trap in ("ink", "paper")]
    both = int((wrong[0] & wrong[1]).sum())
    assert both == pytest.approx(0.09 * 20_000, abs=130), "four standard deviations"
    data = lay("ink+paper", dots(2000), exceptions=0.1)
    assert set(data.tests) == {"test", "aligned", "conflict", "random", "absent", "conflict:ink", "conflict:paper"}
    ink, paper = (nearest(data.train.images[:, :, at, at], table) for at, table in ((4, INK), (0, PAPER)))
    for cue in (ink, paper):
        table = confusion(data.train.labels, cue)
        assert (table.diagonal() == 180).all()
        assert set((table - 180 * torch.eye(10, dtype=torch.int64)).sum(1).tolist()) == {20}
        assert table.min() >= 2
        assert table[~torch.eye(10, dtype=torch.bool)].max() <= 3
    assert 0 < int(((ink != data.train.labels) & (paper != data.train.labels)).sum()) < 60
    assert "of which show another class's cue" in data.notes[-1]
    unbiased = data.tests["random"]
    pairs = [nearest(unbiased.images[:, :, at, at], table) for at, table in ((4, INK), (0, PAPER))]
    for one, other in ((pairs[0], unbiased.labels), (pairs[1], unbiased.labels), (pairs[0], pairs[1])):
        assert (one == other).double().mean() == pytest.approx(0.1, abs=0.03)


def test_without_counting_the_draws_are_as_they_were() -> None:
    data, traps = dots(), [PLUGINS.get("trap", name) for name in ("ink", "paper")]
    drawn = lay_traps(data, traps, 0, exceptions=Exceptions(0.1))  # type: ignore[arg-type]
    ink, paper = (nearest(drawn.train.images[:, :, at, at], table) for at, table in ((4, INK), (0, PAPER)))
    assert torch.equal(ink, paper)
    assert int((ink != data.train.labels).sum()) == 20


@pytest.mark.parametrize("severity", [1, 2, 3, 4, None])
def test_coloured_lff_has_the_published_means_and_spread(severity: int | None) -> None:
    data = lay("coloured:lff" if severity is None else f"coloured:lff@{severity}", dots(2000))
    shown, own = data.train.images[:, :, 4, 4].double() / 255, torch.tensor(LFF).double()
    noise = LFF_NOISE[(severity or 4) - 1]
    for label in range(10):
        mine = shown[data.train.labels == label]
        free = ((own[label] > 4 * noise) & (own[label] < 1 - 4 * noise)).nonzero().flatten()  # elsewhere it is cut off
        assert (mine.mean(0) - own[label])[free].abs().max() < 4 * noise / 200**0.5 + 0.002
        spread = (noise**2 + 1 / 12 / 255**2) ** 0.5
        assert mine.std(0)[free] == pytest.approx([spread] * len(free), rel=0.25)
    assert (data.train.images[:, :, 5, 5].double() * 5 / 255 - shown).abs().max() < 0.02, "in proportion to the light"
    assert not data.train.images[:, :, 0].any()
    assert torch.equal(data.tests["absent"].images, data.tests["test"].images)
    again = lay("coloured:lff" if severity is None else f"coloured:lff@{severity}", dots(2000))
    assert torch.equal(again.train.images, data.train.images)


def test_ink_and_paper_are_even_and_each_stays_off_the_other() -> None:
    data = lay("ink+paper", dots())
    inks, papers = torch.tensor(INK, dtype=torch.uint8), torch.tensor(PAPER, dtype=torch.uint8)
    for name, ink, paper in (("aligned", True, True), ("conflict:ink", False, True), ("conflict:paper", True, False)):
        images = data.tests[name]
        for at, table, right in ((4, inks, ink), (5, inks, ink), (0, papers, paper)):
            same = (images.images[:, :, at, at] == table[images.labels]).all(1)
            assert same.all() if right else not same.any()
        around = images.images.flatten(2)[:, :, 12 * 6 :]
        assert (around == around[:, :, :1]).all()
    assert torch.equal(data.tests["absent"].images, dots().tests["test"].images)
    assert min(max(colour) for colour in INK) > 0, "ink is never black, or paper would cover it"


class Package(ModuleType):
    """A stand-in for imagecorruptions: what it makes says what was asked of it, and draws as the package does."""

    def __init__(self) -> None:
        super().__init__("imagecorruptions")
        self.asked: set[tuple[str, int, bool]] = set()

    def corrupt(self, image: np.ndarray, severity: int, corruption_name: str, seed: int | None = None) -> np.ndarray:
        assert image.dtype == np.uint8
        assert image.shape == (32, 32, 3)
        self.asked.add((corruption_name, severity, seed is not None))
        drawn = np.random.randint(256) if seed is None else np.random.default_rng(seed).integers(256)
        return np.full_like(image, drawn)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    stand_in = Package()
    monkeypatch.setitem(sys.modules, "imagecorruptions", stand_in)
    return stand_in


def test_each_class_has_its_corruption_at_the_nearest_severity_or_the_one_asked_for(package: Package) -> None:
    for argument, kind, severity in (("", "0", None), (":0", "0", None), (":1", "1", None), (":1@5", "1", 5)):
        package.asked.clear()
        data = lay(f"corrupted{argument}", dots(20, side=32))
        wanted = corrupted.TYPES[kind].items()
        seeded = corrupted.SEEDED
        assert package.asked == {
            (name, severity or nearest, name in seeded) for name, nearest in wanted if name != corrupted.ORIGINAL
        }
        last = data.train.labels == 9
        assert torch.equal(data.train.images[last], dots(20, side=32).train.images[last]) == (kind == "1")
    assert list(corrupted.TYPES["0"])[:3] == ["snow", "frost", "fog"]
    assert [len(kind) for kind in corrupted.TYPES.values()] == [10, 10]


def test_corruptions_draw_by_the_images_seed_and_leave_numpys_generator_alone(package: Package) -> None:
    np.random.seed(3)
    expected = np.random.RandomState(3).randint(1000, size=4).tolist()
    first = [int(np.random.randint(1000))]
    data = lay("corrupted", dots(40, side=32))
    assert first + np.random.randint(1000, size=3).tolist() == expected
    values = data.train.images[:, 0, 0, 0]
    assert len(values.unique()) > 20, "each image draws its own"
    assert torch.equal(lay("corrupted", dots(40, side=32)).train.images, data.train.images)
    assert not torch.equal(lay("corrupted", dots(40, side=32), seed=1).train.images, data.train.images)


def test_a_missing_package_is_told_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(SettingsError, match="needs the package imagecorruptions-imaug") as caught:
        lay("corrupted", dots(side=32))
    assert "pip install 'conceptnet_ml[protocols]'" in caught.value.mend


@pytest.mark.skipif(importlib.util.find_spec("imagecorruptions") is None, reason="imagecorruptions is not installed")
@pytest.mark.parametrize("argument", ["0", "1", "0@2"])
def test_the_real_corruptions_differ_and_are_the_same_again(argument: str) -> None:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=generator)
    image = (255 * torch.nn.functional.interpolate(small, (32, 32), mode="bilinear")).to(torch.uint8)
    images, labels = image.repeat(10, 1, 1, 1), torch.arange(10)
    data = Data("one", tuple("abcdefghij"), ImageSet(images, labels), {"test": ImageSet(images, labels)})
    planted = lay(f"corrupted:{argument}", data).tests["aligned"].images
    assert len(planted.flatten(1).unique(dim=0)) == 10
    assert int((planted != image).flatten(1).any(1).sum()) == (9 if argument == "1" else 10)
    assert torch.equal(lay(f"corrupted:{argument}", data).tests["aligned"].images, planted)


REFUSED: tuple[tuple[type[ConceptNetError], str, Data, str, str], ...] = (
    (SettingsError, "coloured:lfx", dots(), "no colours 'lfx'", "coloured:lff@SEVERITY"),
    (SettingsError, "coloured:lff@5", dots(), "no colours 'lff@5'", "1, 2, 3, 4"),
    (DataError, "coloured:lff", dots(classes=11), "'coloured:lff' has 10 colours, dots has 11 classes", "at most 10"),
    (DataError, "coloured:lff", dots(colour=True), "needs grey images", "such as digits"),
    (DataError, "ink", dots(classes=11), "'ink' has 10 colours, dots has 11 classes", "at most 10"),
    (DataError, "ink", dots(colour=True), "'ink' needs grey images", "ink+paper"),
    (DataError, "paper+ink", dots(), "'ink' needs grey images", "the ink comes first: ink+paper"),
    (DataError, "paper", dots(classes=11), "'paper' has 10 colours, dots has 11 classes", "at most 10"),
    (DataError, "paper", dots(colour=True), "'paper' needs images on black; of those of dots 0% is black", "border"),
    (SettingsError, "corrupted:2", dots(side=32), "no corruptions '2'", "a type of 0 "),
    (SettingsError, "corrupted:0@6", dots(side=32), "no corruptions '0@6'", "1, 2, 3, 4, 5"),
    (DataError, "corrupted", dots(classes=11, side=32), "10 corruptions, dots has 11 classes", "at most 10"),
    (DataError, "corrupted", dots(), "needs images of 32 px and more; those of dots have 12×12", "data.image_size"),
)


@pytest.mark.parametrize(("kind", "trap", "data", "words", "mend"), REFUSED, ids=lambda one: str(one)[:20])
def test_refusals(kind: type[ConceptNetError], trap: str, data: Data, words: str, mend: str, package: Package) -> None:
    with pytest.raises(kind, match=words) as caught:
        lay(trap, data)
    assert mend in caught.value.mend


def write_digits(root: Path, name: str, count: int, light: int) -> None:
    """Files as MNIST and its like are kept in: for class k a bar of k + 1 rows."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 : 5 + 2 * label, 10:18] = light
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())


def test_digits_stand_above_garments_and_in_random_they_are_drawn(tmp_path: Path) -> None:
    write_digits(tmp_path, "MNIST", 400, 255)
    write_digits(tmp_path, "FashionMNIST", 400, 100)
    choice = {"source": "torchvision:FashionMNIST", "root": str(tmp_path), "classes": ("Coat", "Dress")}
    data = load_data(Settings.model_validate({"data": {**choice, "trap": "dominoes:torchvision:MNIST"}}), PLUGINS)
    assert data.classes == ("Coat", "Dress")
    assert data.shape == (3, 56, 28)
    for name, images in {"train": data.train, **data.tests}.items():
        lit = (images.images[:, 0] > 0).any(2)
        assert torch.equal(lit[:, 28:].sum(1), torch.tensor([9, 7])[images.labels]), "classes 4 and 3, below"
        digit = lit[:, :28].sum(1)  # a 0 has one row, a 1 has three
        if name in ("train", "aligned"):
            assert torch.equal(digit, torch.tensor([1, 3])[images.labels])
        elif name == "random":
            assert (digit == torch.tensor([1, 3])[images.labels]).double().mean() == pytest.approx(0.5, abs=0.25)
            assert set(digit.tolist()) == {1, 3}
    digits = load_data(
        Settings.model_validate(
            {
                "data": {
                    "source": "torchvision:MNIST",
                    "root": str(tmp_path),
                    "trap": "coloured:lff",
                    "exceptions": 0.1,
                    "counted": True,
                }
            }
        ),
        PLUGINS,
    )
    assert digits.shape == (3, 28, 28), "neither scaled nor padded"
    assert "40 of which show another class's cue" in digits.notes[-1]


def test_the_files_rows_are_read_and_say_what_they_need(tmp_path: Path) -> None:
    file = (
        next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
        / "benchmarks/field.toml"
    )
    suite = read_suite(file, {"mnist": str(tmp_path)})
    shares = {case.name: case.settings.data.exceptions for case in suite.cases}
    assert [shares[f"cmnist .{share}"] for share in ("005", "01", "02", "05")] == [0.005, 0.01, 0.02, 0.05]
    assert all(case.settings.data.counted == (case.settings.data.exceptions > 0) for case in suite.cases)
    missing = {case.name: case.missing for case in suite.cases}
    assert missing["fb-mnist .99"] == ()
    assert missing["bar"] == ("bar",)
    assert missing["mc-dominoes"] == ("cifar",)
    known = {record.name for record in PLUGINS.all("trap")}
    assert {name for case in suite.cases for name in trap_arguments(case.settings.data.trap)} <= known
