"""The worked examples of docs/examples, loaded as ``--plugins-dir docs/examples`` loads them, in whole runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

from conceptnet_ml import (
    BasisEvidence,
    Codec,
    ConceptGraph,
    Data,
    DataError,
    Detector,
    ImageSet,
    LearnedRun,
    MergeEvidence,
    Objective,
    Settings,
    SplitEvidence,
    StagedNetwork,
    SwapMeasurement,
    Variants,
    dream,
    learn,
    load_plugins,
    open_run,
)
from conceptnet_ml.config.settings import ConceptSettings, DataSettings, RoundSettings
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.dreams.recipe import recipe_of
from conceptnet_ml.testing import check_plugin

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PLUGINS = load_plugins(EXAMPLES, use_entry_points=False)
SIDE, PATCH = 32, 8
LUMA = torch.tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)


def pictures(
    count: int, seed: int, patch: bool = False, light: str = "none", cast: tuple[float, ...] = (0.2, 0.2, 0.2)
) -> ImageSet:
    """Bars in noise, lying in class 0 and standing in class 1.

    Args:
        patch: A coloured patch below the bar as well, another one for each class; ``patch0`` and ``patch1`` are
            its true masks.
        light: ``own`` darkens class 0 and brightens class 1, ``other`` does the contrary, ``none`` neither.
        cast: By how much, in red, green and blue.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = 0.5 + 0.06 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    masks = {f"patch{c}": torch.zeros(count, SIDE, SIDE, dtype=torch.uint8) for c in (0, 1)}
    for number, label in enumerate(labels.tolist()):
        y, x, top, left = (torch.rand(4, generator=draw) * torch.tensor((6, 16, 6, 24))).int().tolist()
        high, wide = (2, 12) if label == 0 else (12, 2)
        images[number, :, y + 6 - high // 2 : y + 6 + high // 2, x + 8 - wide // 2 : x + 8 + wide // 2] += 0.3
        if patch:
            top += 18
            colour = torch.tensor((0.9, 0.3, 0.3) if label == 0 else (0.3, 0.3, 0.9))[:, None, None]
            images[number, :, top : top + PATCH, left : left + PATCH] = colour
            masks[f"patch{label}"][number, top : top + PATCH, left : left + PATCH] = 1
    sign = {"own": 2 * labels - 1, "other": 1 - 2 * labels, "none": 0 * labels}[light]
    images = images + torch.tensor(cast).view(1, 3, 1, 1) * sign[:, None, None, None]
    return ImageSet((images.clamp(0, 1) * 255).round().to(torch.uint8), labels, masks if patch else None)


def learned(data: Data, folder: Path, round: dict[str, Any], **plugins: Any) -> LearnedRun:
    """A run of one round on tiny settings, opened from its folder, so that what was saved is what is tested."""
    settings = Settings.model_validate(
        {
            "data": {"holdout": 0.25},
            "training": {"epochs": 10, "batch": 32, "least_steps": 0, "flip": False, "shift": 0.0, "precision": "fp32"},
            "round": {"limit": 1, **round},
            "probe": {"cells": 8},
            "concepts": {"bootstrap": 10, "confirm": 4, "edges": 2, "edge_groups": 1, "probe_images": 192},
            "plugins": {"controls": [], "dreamer": "none", **plugins},
        }
    )
    learn(data, settings=settings, out=folder, plugins=PLUGINS)
    opened = open_run(folder, PLUGINS)
    # A family's trunk is kept for its sake; it is no method to be compared.
    assert set(opened.methods()) == {"ordinary", "learned", *opened.settings.plugins.controls}
    return opened


@pytest.fixture(scope="module")
def patched(hasty: None, tmp_path_factory: pytest.TempPathFactory) -> LearnedRun:
    """A run on patches with both concept examples; the round is kept whatever the decision would be."""
    data = Data("patches", ("lying", "standing"), pictures(320, 1, patch=True), {"test": pictures(120, 2, patch=True)})
    kept = {"epochs": 4, "purify": 0, "closures": 0, "interchangeable": -9.0, "remains": 0.0, "inverted": 1.0}
    names = {"representations": ("pixels",), "generalizer": "contrast", "specializer": "prototype"}
    names["stop_rule"] = "unanimous"
    return learned(data, tmp_path_factory.mktemp("patched") / "run", kept, **names)


@pytest.fixture(scope="module")
def lit(hasty: None, tmp_path_factory: pytest.TempPathFactory) -> LearnedRun:
    """A run on images whose exposure tells the class, with the default decisions."""
    tests = {"test": pictures(120, 4, light="own"), "conflict": pictures(120, 5, light="other")}
    data = Data("lit", ("lying", "standing"), pictures(320, 3, light="own"), tests)
    return learned(data, tmp_path_factory.mktemp("lit") / "run", {"epochs": 12}, representations=("luminance",))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_every_example_keeps_its_contract(file: Path, tmp_path: Path) -> None:
    shown = pictures(12, 0).images
    rows = ["file,class,part"]
    for number, image in enumerate(shown):
        (tmp_path / f"{number}.png").write_bytes(to_png(image))
        rows.append(f"{number}.png,{'ab'[number % 2]},{'train' if number < 8 else 'test'}")
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    assert check_plugin(file, {"labelled": str(tmp_path / "table.csv")})


def test_how_dark_the_vignette_is_can_be_set() -> None:
    images, cues, seeds = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), [3]

    def corner(**own: float) -> int:
        [trap] = check_plugin(EXAMPLES / "vignette.py", settings={"vignette": own})
        return int(trap.function("plant")(images, cues, torch.tensor(seeds))[0, 0, 0, 0])

    assert 80 <= corner() <= 120
    assert corner(least=0.1, most=0.1) == 180


def test_the_diary_and_the_flowchart_say_what_happened(tmp_path: Path) -> None:
    for _ in range(2):  # resumed
        diary = PLUGINS.get("logger", "diary").function("open")(tmp_path, "my run", {})
        diary.text("event/probe", '{"name": "block3/classes/1", "reason": "ι .9"}', 1)
        diary.scalars({"loss/ordinary": 0.5, "accuracy/test/learned": 0.9}, 2)
        diary.picture("swaps", tmp_path.parent / "a b.png", 3)
        diary.close()
    once = "**block3/classes/1**: ι .9\n\n- accuracy/test/learned: 0.900\n\n![swaps](<../a b.png>)\n\n"
    assert (tmp_path / "diary.md").read_text(encoding="utf-8") == f"# my run\n\n{2 * once}"
    graph = ConceptGraph(("cat", "dog"), [("block1", 4)], network="n", settings="s", seed=0)
    cat, _ = (graph.add_node("class", name, classes=[name]) for name in graph.classes)
    ears = graph.add_node("feature", 'ears & "<tails>"', stage="block1", round=1, classes=["cat"], units=[3])
    graph.add_edge("built_from", cat, ears, weight=-0.5)
    PLUGINS.get("exporter", "mermaid").function("write")(graph, tmp_path / "it.mmd")
    lines = (tmp_path / "it.mmd").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "flowchart TD"
    assert lines[-1] == f'  n{cat} -->|"-0.50"| n{ears}'
    assert f'  n{ears}["ears & #quot;#lt;tails#gt;#quot;<br/>block1"]' in lines
    assert len(lines) == 5


def test_the_vignette_darkens_corners_and_the_table_keeps_its_parts(tmp_path: Path) -> None:
    grey = torch.full((2, 3, 17, 17), 200, dtype=torch.uint8)
    dark, kept = PLUGINS.get("trap", "vignette").function("plant")(grey, torch.tensor([0, 1]), torch.tensor([5, 5]))
    assert torch.equal(kept, grey[1])
    assert dark[0, 8, 8] == 200
    assert 80 <= dark[0, 0, 0] <= 120
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(to_png(grey[0]))
    (tmp_path / "it.csv").write_text("file,class,part\na.png,x,train\nb.png,y,train\nc.png,y,test\na.png,x,night")
    data = PLUGINS.get("dataset", "labelled").function("load")(str(tmp_path / "it.csv"), DataSettings(), 0)
    assert data.classes == ("x", "y")
    assert data.train.labels.tolist() == [0, 1]
    assert {name: images.labels.tolist() for name, images in data.tests.items()} == {"test": [1], "night": [0]}
    (tmp_path / "no.csv").write_text("file,label\na.png,x")
    with pytest.raises(DataError, match=r"cannot read .*no\.csv': 'part'"):
        PLUGINS.get("dataset", "labelled").function("load")(str(tmp_path / "no.csv"), DataSettings(), 0)


def test_the_command_lists_runs(patched: LearnedRun) -> None:
    program = typer.Typer()
    program.callback()(lambda: None)  # so that its only command keeps its name
    PLUGINS.get("command", "runs").function("register")(program)
    done = CliRunner().invoke(program, ["runs", "--folder", str(patched.path.parent)])
    accuracy = 100 * patched.summary()["test_sets"]["test"]["learned"]["accuracy"]
    assert done.output == f"run: 1 kept, test {accuracy:.1f}, worst {accuracy:.1f} (test)\n"


def test_all_examples_load() -> None:
    assert PLUGINS.broken == []
    for kind, name, file in (
        ("representation", "luminance", "luminance.py"),
        ("representation", "opponent", "opponent.py"),
        ("discoverer", "principal", "principal_discoverer.py"),
        ("stop_rule", "unanimous", "unanimous_rule.py"),
        ("generalizer", "contrast", "contrast_generalizer.py"),
        ("specializer", "prototype", "prototype_specializer.py"),
    ):
        assert PLUGINS.origin(PLUGINS.get(kind, name)) == str(EXAMPLES / file)


# ---------------------------------------------------------------------------------------------------- luminance


def luminance() -> Codec:
    return Codec(PLUGINS.get("representation", "luminance"))  # type: ignore[arg-type]


class Nothing(Codec):
    """A representation that encodes nothing."""

    def __init__(self) -> None:
        super().__init__(PLUGINS.get("representation", "luminance"))  # type: ignore[arg-type]
        self._encode = lambda images, where=None: (images.new_zeros(len(images), 2), images)
        self._decode = lambda encoding: encoding[1]


@pytest.mark.parametrize("flat", [False, True])
def test_luminance_round_trip(flat: bool) -> None:
    images = torch.rand(4, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    if flat:
        images = images[:, :, :1, :1].expand(4, 3, 12, 10)
    where = torch.rand(4, 1, 12, 10, generator=torch.Generator().manual_seed(1))
    codec = luminance()
    for encoding in (codec.encode(images), codec.encode(images, where)):
        torch.testing.assert_close(codec._decode(encoding), images)


def test_luminance_exchanges_light_and_leaves_hue() -> None:
    images = 0.4 + 0.2 * torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    donors = 0.5 + 0.1 * torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    swapped = luminance().swap(images, donors)
    light = [(part * LUMA).sum(1) for part in (images, donors, swapped)]
    assert (light[0].mean((1, 2)) - light[1].mean((1, 2))).abs().min() > 0.01
    torch.testing.assert_close(light[2].mean((1, 2)), light[1].mean((1, 2)))
    torch.testing.assert_close(light[2].std((1, 2)), light[1].std((1, 2)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(swapped - light[2][:, None], images - light[0][:, None])


def flips(run: LearnedRun, codec: Codec) -> float:
    """How often the ordinary network changes its answer when a donor of the other class is swapped in."""
    images = pictures(60, 6, light="own").images.float() / 255
    donors = images.roll(1, 0)  # classes alternate
    with torch.no_grad():
        before, after = run.ordinary(images).argmax(1), run.ordinary(codec.swap(images, donors)).argmax(1)
    return float((before != after).float().mean())


def test_luminance_is_chosen_and_its_cue_generalized(lit: LearnedRun) -> None:
    (first,) = lit.summary()["rounds"]
    assert first["decision"] == "kept", first["reason"]
    assert first["chosen"] == "luminance"
    assert {node.representation for node in lit.graph.nodes("variant")} == {"luminance"}
    conflict = lit.summary()["test_sets"]["conflict"]
    assert conflict["ordinary"]["accuracy"] < 0.3
    assert conflict["learned"]["accuracy"] > 0.7
    assert flips(lit, luminance()) > 0.8
    assert flips(lit, Nothing()) == 0  # so a representation that does nothing is never kept


# ---------------------------------------------------------------------------------------------------- opponent


@pytest.mark.parametrize("flat", [False, True])
def test_opponent_exchanges_one_axis_and_leaves_the_others(flat: bool) -> None:
    images, donors = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    images = images[:, :, :1, :1].expand(3, 3, 16, 16) if flat else images
    codec = Codec(PLUGINS.get("representation", "opponent"))  # type: ignore[arg-type]
    assert codec.channels(images) == 3
    torch.testing.assert_close(codec.swap(images, donors, torch.zeros(3, 3)), images)
    own, other = (codec.encode(part)[0] for part in (images, donors))
    for axis in range(3):
        found = codec.encode(codec.swap(images, donors, torch.eye(3)[axis : axis + 1].expand(3, 3)))[0]
        wanted = own.clone()
        wanted[:, axis] = other[:, axis]
        if not flat:  # else there is nothing to spread
            wanted[:, 3 + axis] = other[:, 3 + axis]
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_opponent_is_chosen_where_the_cue_is_a_cast_and_opens_its_axis_alone(tmp_path: Path) -> None:
    red = (0.12, -0.12, 0.0)
    tests = {"test": pictures(120, 4, light="own", cast=red), "conflict": pictures(120, 5, light="other", cast=red)}
    data = Data("cast", ("lying", "standing"), pictures(320, 3, light="own", cast=red), tests)
    run = learned(data, tmp_path / "run", {"epochs": 5, "purify": 0}, representations=("opponent",))
    (first,) = run.summary()["rounds"]
    assert first["decision"] == "kept", first["reason"]
    assert first["representations"][0]["price"] == pytest.approx(1 / 3, abs=0.01)
    conflict = run.summary()["test_sets"]["conflict"]
    assert conflict["ordinary"]["accuracy"] < 0.3
    assert conflict["learned"]["accuracy"] > 0.7


# ---------------------------------------------------------------------------------------------------- discoverer


def test_principal_axes_keep_what_they_can_and_both_ends() -> None:
    draw = torch.Generator().manual_seed(3)
    maps = torch.randn(40, 2, 6, 6, generator=draw) * torch.tensor([3.0, 2.0]).view(2, 1, 1)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=draw)).Q[:, :2]
    maps = torch.einsum("bahw,ca->bchw", maps, turn) + 0.5
    given = BasisEvidence([maps], 0, ConceptSettings(directions=4))
    basis = PLUGINS.get("discoverer", "principal").function("basis")(given)
    assert basis.encode(maps).shape == (40, 4, 6, 6)
    assert given.explained(basis) > 0.999
    # One axis of two ends is not enough.
    less = BasisEvidence([maps], 0, ConceptSettings(directions=2))
    assert 0.6 < less.explained(PLUGINS.get("discoverer", "principal").function("basis")(less)) < 0.8


@pytest.mark.slow
def test_principal_was_used_and_its_family_answers_from_the_folder(tmp_path: Path) -> None:
    data = Data("patches", ("lying", "standing"), pictures(320, 1, patch=True), {"test": pictures(120, 2, patch=True)})
    kept = {"epochs": 4, "interchangeable": -9.0, "remains": 0.0, "inverted": 1.0}
    run = learned(data, tmp_path / "run", kept, representations=("pixels",), discoverer="principal")
    assert {node.provenance.plugin for node in run.graph.nodes("feature") if node.provenance} == {"principal"}
    assert run.summary()["directions"]["block3"]["count"] == 32
    ((_, family),) = run.model.named_families()
    images = pictures(120, 2, patch=True)
    with torch.no_grad():
        assert float((family(images.images.float() / 255).argmax(1) == images.labels).float().mean()) > 0.9


# ---------------------------------------------------------------------------------------------------- stop rule


def test_unanimous_refuses_what_some_classes_share_and_keeps_what_all_do() -> None:
    met = tuple((host, donor, 9, 9) for host in range(3) for donor in range(3) if host != donor)
    shared = SwapMeasurement("it", "place", (9,) * 3, (1.0,) * 3, (1.0,) * 3, (0.0,) * 3, 0.1, asked=(9,) * 3, met=met)
    some = replace(shared, others=(1.0, 1.0, 0.0), mates=(0.0, 0.0, 1.0))
    ours, built_in = (PLUGINS.get("stop_rule", name).function("decide") for name in ("unanimous", "interchangeable"))
    assert ours(shared, RoundSettings()) == built_in(shared, RoundSettings())
    assert ours(shared, RoundSettings()).keep
    assert built_in(some, RoundSettings()).classes == (0, 1)
    refused = ours(some, RoundSettings())
    assert not refused.keep
    assert refused.classes is None
    assert refused.reason.endswith(
        "2 of 3 classes share it, ι 1.00: one thing among others in these; all must share it"
    )


# ---------------------------------------------------------------------------------------------------- generalizer


def overlap(detector: nn.Module, maps: Tensor, images: ImageSet) -> float:
    """Intersection over union of the true patches and the detector's strongest places, as many as have patches."""
    patches = (images.masks["patch0"] + images.masks["patch1"])[:, None].float()
    truth = nn.functional.adaptive_avg_pool2d(patches, maps.shape[-2:])
    with torch.no_grad():
        scores = detector(maps)
    found = (scores >= scores.flatten().topk(round(float(truth.sum()))).values[-1]).float()
    return float(torch.minimum(found, truth).sum() / torch.maximum(found, truth).sum())


def test_contrast_was_used_and_finds_the_patches(patched: LearnedRun) -> None:
    (node,) = patched.graph.nodes("generalized")
    assert node.provenance is not None
    assert node.provenance.plugin == "contrast"
    ((_, family),) = patched.model.named_families()
    images = pictures(120, 2, patch=True)
    with torch.no_grad():
        maps = family.trunk(images.images.float() / 255).float()
    nothing = Detector(family.detector.mean, family.detector.scale)  # type: ignore[arg-type]
    nn.init.zeros_(nothing.weight.weight)
    bound = 2 * overlap(nothing, maps, images)
    assert overlap(family.detector, maps, images) > bound
    assert not overlap(nothing, maps, images) > bound


def evidence(kind: type, **more: Any) -> Any:
    """Maps of 6 units: unit 0 is high inside the gates, unit 1 tells the class everywhere, the rest is noise."""
    draw = torch.Generator().manual_seed(7)
    parents = torch.arange(400) % 2
    maps = torch.randn(400, 6, 8, 8, generator=draw)
    targets = (torch.rand(400, 1, 8, 8, generator=draw) < 0.2).float()
    maps[:, :1] += 3 * targets
    maps[:, 1] += 2.0 * (2 * parents - 1)[:, None, None]
    return kind(maps=maps, parents=parents, count=2, seed=0, **({"targets": targets} | more))


def test_contrast_looks_at_the_gates_and_not_at_the_class() -> None:
    given = evidence(MergeEvidence, members={0: (1,), 1: (0,)})
    detector = PLUGINS.get("generalizer", "contrast").function("merge")(given)
    assert isinstance(detector, Detector)
    weights = detector.weight.weight.flatten()
    assert weights[0] > 5 * weights[1:].abs().max()
    opened = detector(given.maps) > 0
    assert float((opened == given.targets.bool()).float().mean()) > 0.9
    assert float(opened.float().mean()) == pytest.approx(0.2, abs=0.05)


def test_contrast_survives_gates_that_are_open_everywhere() -> None:
    given = evidence(MergeEvidence, members={}, targets=torch.ones(400, 1, 8, 8))
    logits = PLUGINS.get("generalizer", "contrast").function("merge")(given)(given.maps)
    assert logits.isfinite().all()
    assert (logits > 0).float().mean() > 0.9


# ---------------------------------------------------------------------------------------------------- specializer


def accuracy(variants: nn.Module, looks: Tensor, maps: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((variants(maps, looks).argmax(1) == labels).float().mean())


def test_prototype_was_used_and_tells_the_classes_apart(patched: LearnedRun) -> None:
    nodes = list(patched.graph.nodes("variant"))
    assert len(nodes) == 2
    assert {node.provenance.plugin for node in nodes if node.provenance} == {"prototype"}
    ((_, family),) = patched.model.named_families()
    images = pictures(120, 2, patch=True)
    with torch.no_grad():
        maps = family.trunk(images.images.float() / 255).float()
        looks = family.detector(maps)
    mean, scale = family.variants.mean, family.variants.scale
    nothing = Variants(mean, scale, 2, 1.0)  # type: ignore[arg-type]
    nn.init.zeros_(nothing.weight.weight)
    assert accuracy(family.variants, looks, maps, images.labels) > 0.9
    assert not accuracy(nothing, looks, maps, images.labels) > 0.9


def test_prototype_answers_with_the_nearest_mean_where_the_detector_looks() -> None:
    given = evidence(MergeEvidence, members={})
    detector = PLUGINS.get("generalizer", "contrast").function("merge")(given)
    split = PLUGINS.get("specializer", "prototype").function("split")
    variants = split(SplitEvidence(detector, given.maps, given.parents, 2, 0))
    assert isinstance(variants, Variants)
    looks = detector(given.maps)
    assert accuracy(variants, looks, given.maps, given.parents) > 0.98
    reads = (variants.read(given.maps, looks) - variants.mean) / variants.scale
    means = torch.stack([reads[given.parents == c].mean(0) for c in (0, 1)])
    middle = means.mean(0, keepdim=True)  # as far from one prototype as from the other
    first, second = variants.weight(middle)[0].tolist()
    assert first == pytest.approx(second, abs=1e-4)


def test_the_grey_dreamer_dreams_without_colour() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network = StagedNetwork(model, (16, 16)).eval()
    made = dream(network, [Objective.logit(0, "a"), Objective.unit("0", 1)], recipe_of(PLUGINS.get("dreamer", "grey")))
    for one in made:
        assert torch.equal(one.image[0], one.image[1])
        assert one.rose
