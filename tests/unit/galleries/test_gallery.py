"""Galleries of dreams: what is asked for, what is refused, what lies in the folder; the targets of a graph's nodes."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conceptnet_ml.concepts.model import Detector, Family, GeneralizedModel, Trunk, Variants
from conceptnet_ml.concepts.scores import unit_scores
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.sheets import three_digits
from conceptnet_ml.dreams.judgement import Judgement
from conceptnet_ml.dreams.render import RenderSettings, scores
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.errors import ConceptNetError, DataError, Interrupted, SettingsError
from conceptnet_ml.galleries.album import target_of
from conceptnet_ml.galleries.gallery import _Folder, gallery
from conceptnet_ml.galleries.pipeline import compare_dreams, draw_nodes, join_starts, result_card, verdict_record
from conceptnet_ml.galleries.requests import (
    DreamResult,
    GalleryRequest,
    PlannedDream,
    plan_dreams,
    read_start,
    unit_numbers,
)
from conceptnet_ml.galleries.sources import OpenedNetwork, RealImages, _torchvisions_names, open_network, real_images
from conceptnet_ml.graph.concept_graph import ConceptGraph
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import load_plugins
from conceptnet_ml.results.concept_targets import ConceptTarget, ConceptTargets, activation_maps
from conceptnet_ml.runtime.signals import Stopper
from conceptnet_ml.storage.lock import FolderLock

NETWORKS = """
import torch
from torch import nn

def made(channels, seed, classes=4):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 40, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(40, classes)
    )

def colour():
    return made(3, 0)

def other():
    return made(3, 1)

def three():
    return made(3, 1, 3)

def grey():
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, 2, 1), nn.ReLU(), nn.Conv2d(5, 7, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(7 * 49, 3)
    )

def five():
    return made(5, 0)

def picky(size):
    return colour()

def wrong():
    return "a network"

ready = colour()
named = colour()
named.classes = ["ant", "bee", "cat", "dog"]
"""
CPU = torch.device("cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules and pictures, which is where we are."""
    (tmp_path / "tiny_dreaming_nets.py").write_text(NETWORKS)
    generator = np.random.default_rng(0)
    (tmp_path / "real").mkdir()
    for number in range(24):
        pixels = generator.integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "real" / f"{number}.png")
    Image.fromarray(generator.integers(0, 256, (30, 60, 3), dtype=np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "broken.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "tiny_dreaming_nets", raising=False)
    return tmp_path


def net(name: str = "colour") -> str:
    return f"tiny_dreaming_nets:{name}"


def make(out: str, name: str = "colour", stopper: Stopper | None = None, **more: Any) -> dict[str, Any]:
    request = GalleryRequest(**{"size": 16, "steps": 4, "device": "cpu", "precision": "fp32", **more})
    return gallery(net(name), out, request, stopper=stopper)


def test_units_leave_pictures_a_sheet_a_sprite_and_a_record(here: Path) -> None:
    found = make("out", layers=["2"], units="0-2,5", real="real", seed=3)
    assert json.loads((here / "out/dreams.json").read_text()) == {k: v for k, v in found.items() if k != "out"}
    assert [one["file"] for one in found["dreams"]] == ["2-0.png", "2-1.png", "2-2.png", "2-5.png"]
    assert [(one["layer"], one["unit"], one["seed"]) for one in found["dreams"]] == [
        ("2", n, 3 + n) for n in (0, 1, 2, 5)
    ]
    index = json.loads((here / "out/sprite-2.json").read_text())
    with Image.open(here / "out" / index["image"]) as sprite:
        for unit, place in index["units"].items():
            x, y, width, height = place["box"]
            with Image.open(here / f"out/2-{unit}.png") as one:
                assert np.array_equal(np.asarray(sprite.crop((x, y, x + width, y + height))), np.asarray(one))
    for one in found["dreams"]:
        assert one["size"] == [16, 16]
        assert one["standing"]["images"] == 12
        assert one["reached"] > one["before"]
        assert one["judgement"] is None
    assert Image.open(here / "out/sheet.png").width > 400


def test_all_classes_are_dreamt_where_nothing_is_asked_for_and_come_from_the_cache_again(here: Path) -> None:
    first, second = make("first"), make("second")
    assert [one["class"] for one in first["dreams"]] == ["0", "1", "2", "3"]
    assert [one["cached"] for one in first["dreams"]] == [False] * 4
    assert [one["cached"] for one in second["dreams"]] == [True] * 4
    assert not any(one["cached"] for one in make("third", cache=None)["dreams"])
    for file in ("0.png", "3.png", "sheet.png"):
        assert (here / "first" / file).read_bytes() == (here / "second" / file).read_bytes()


def test_a_picture_keeps_its_shape_and_its_layer_sees_more_of_what_it_sees(here: Path) -> None:
    (one,) = make("out", layers=["2"], starts=["wide.png"], size=40, octaves=2)["dreams"]
    assert (one["size"], one["start"], one["file"]) == ([20, 40], "wide.png", "2-from-wide.png")
    assert one["reached"] > one["before"]
    (guided,) = make("guided", layers=["2"], starts=["wide.png"], guide="real/0.png")["dreams"]
    assert guided["guide"] == "real/0.png"


def test_a_picture_is_turned_into_another_class(here: Path) -> None:
    opened = open_network(net(), load_plugins(), CPU, size=16)
    seen = int(opened.network(read_start("wide.png", opened, 16)[None] / 255).argmax())
    wanted = str((seen + 1) % 4)
    (one,) = make("out", starts=["wide.png"], toward=wanted)["dreams"]
    assert (one["class"], one["instead of"], one["file"]) == (wanted, str(seen), f"wide-toward-{wanted}.png")
    assert one["reached"] > one["before"]
    with pytest.raises(SettingsError, match="already"):
        make("same", starts=["wide.png"], toward=str(seen))


@pytest.mark.parametrize("steps", [1, 60])
def test_a_class_that_is_only_texture_is_called_so(here: Path, steps: int) -> None:
    """One step changes hardly anything; what is coarse is measured by real images."""
    opened = open_network(net(), load_plugins(), CPU, size=16)
    Image.new("RGB", (16, 16), (90, 90, 90)).save(here / "flat.png")
    seen = int(opened.network(read_start("flat.png", opened, 16)[None] / 255).argmax())
    asked = {"starts": ["flat.png"], "toward": str((seen + 1) % 4), "size": 16, "steps": steps}
    (one,) = make("out", **asked, real="real")["dreams"]
    texture = one["network"]["texture"]
    said = f"only texture: parts of over 2 px moved {texture['coarse']:.0%} as far as a real image lies".replace(
        "%", " %"
    )
    assert texture["words"] == (said if texture["coarse"] < 0.25 else "")
    assert steps > 1 or texture["words"]
    (other,) = make("other", **asked)["dreams"]
    assert "texture" not in other["network"], "there are no real images"


@pytest.mark.parametrize("film", [".webp", ".gif"])
def test_a_film_has_every_frame(here: Path, film: str) -> None:
    (one,) = make("out", classes=["1"], zoom=4, film=film, fps=10)["dreams"]
    with Image.open(here / "out" / one["film"]) as found:
        assert (found.n_frames, found.size) == (4, (256, 256))
    frames = sorted((here / "out/1-zoom").iterdir())
    assert [path.name for path in frames] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert np.array_equal(np.asarray(Image.open(frames[0])), np.asarray(Image.open(here / "out/1.png")))
    assert not np.array_equal(np.asarray(Image.open(frames[0])), np.asarray(Image.open(frames[3])))


def test_networks_of_any_channels_dream(here: Path) -> None:
    (one,) = make("grey", "grey", size=None, classes=["2"])["dreams"]
    assert one["size"] == [28, 28]
    assert np.ptp(np.asarray(Image.open(here / "grey/2.png")), axis=2).max() == 0
    make("five", "five", classes=["2"])
    assert Image.open(here / "five/2.png").size == (3 * 17 - 1, 2 * 17 - 1)
    make("ready", "ready", classes=["2"])
    with pytest.raises(SettingsError, match="5 channels"):
        make("started", "five", classes=["2"], starts=["wide.png"])


def test_a_witness_says_what_it_sees(here: Path) -> None:
    found = make("out", classes=["1"], real="real", witness=net("other"))
    judged = found["dreams"][0]["judgement"]
    assert judged["expected"] == "1"
    assert judged["seen"] in ("0", "1", "2", "3")
    assert found["witness"]["held"] == 12


class Soon(Stopper):
    """Asks to stop as soon as a folder holds a picture."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out

    def check(self) -> None:
        if list(self.out.glob("*.png")):
            self.request()
        super().check()


def test_what_was_done_is_kept_when_stopped_and_not_done_again(here: Path) -> None:
    units: dict[str, Any] = {"layers": ["2"], "units": "all"}
    with pytest.raises(Interrupted, match="of 40 dreams are in out"):
        make("out", stopper=Soon(here / "out"), **units)
    record = json.loads((here / "out/dreams.json").read_text())
    done = {one["file"] for one in record["dreams"]}
    assert record["stopped"]
    assert 0 < len(done) < 40
    assert {path.name for path in (here / "out").glob("2-*.png")} == done
    again = make("again", **units)
    assert {one["file"] for one in again["dreams"] if one["cached"]} == done
    assert len(again["dreams"]) == 40


def test_what_was_cached_is_there_although_stopped(here: Path) -> None:
    make("some", layers=["2"], units="0-3")
    with pytest.raises(Interrupted, match="4 of 40 dreams"):
        make("out", layers=["2"], units="all", stopper=Soon(here / "out"))
    assert sorted(path.name for path in (here / "out").glob("2-*.png")) == ["2-0.png", "2-1.png", "2-2.png", "2-3.png"]


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("2-*.png"))}


def test_dreams_after_an_interruption_are_the_same_to_a_level_of_a_byte(here: Path) -> None:
    units: dict[str, Any] = {"layers": ["2"], "units": "0-11", "steps": 16}
    make("whole", cache=here / "one", **units)
    make("out", cache=here / "two", **(units | {"units": "0-4"}))
    again = make("again", cache=here / "two", **units)
    assert sum(one["cached"] for one in again["dreams"]) == 5
    whole, cut = pixels(here / "whole"), pixels(here / "again")
    assert whole.keys() == cut.keys()
    apart = [np.abs(whole[name] - cut[name]) for name in whole]
    assert max(one.max() for one in apart) <= 1
    assert np.mean([one > 0 for one in apart]) < 0.01


def test_a_gallery_that_was_killed_is_completed_by_the_same_request(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units: dict[str, Any] = {"layers": ["2"], "units": "0-3", "cache": None}
    with monkeypatch.context() as patched:
        patched.setattr(_Folder, "record", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            make("out", **units)
    assert json.loads((here / "out/dreams.json").read_text()) == {"stopped": True}
    (here / "out/.sheet.png.99.tmp").touch()
    make("out", **units)
    make("whole", **units)
    names = [sorted(path.name for path in (here / folder).rglob("*")) for folder in ("out", "whole")]
    assert names[0] == names[1]
    assert not {".sheet.png.99.tmp", "lock", "lock.owner"} & {*names[0]}
    with pytest.raises(DataError, match="is not empty"):
        make("out", **units)


def test_two_processes_do_not_dream_into_one_folder(here: Path) -> None:
    (here / "out").mkdir()
    lock = FolderLock(here / "out")
    lock.acquire()
    with pytest.raises(DataError, match="out is in use by process"):
        make("out", layers=["2"], units="0")
    lock.release()


def test_a_home_that_cannot_be_written_keeps_nothing_for_later(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "home").touch()
    monkeypatch.setattr("conceptnet_ml.galleries.gallery.user_cache_folder", lambda: here / "home" / "cache")
    found = make("out", layers=["2"], units="0")
    (note,) = found["notes"]
    assert note.startswith("these dreams are not kept for later")
    assert (here / "out/2-0.png").exists()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("colour", {"layers": ["2x"]}, "no layer '2x'"),
    ("colour", {"layers": ["2"], "units": "0-40"}, "no unit 40"),
    ("colour", {"layers": ["2"], "units": "7-3"}, "'7-3' is no unit"),
    ("colour", {"layers": ["2"], "units": "some"}, "'some' is no unit"),
    ("colour", {"units": "3"}, "--units needs a layer"),
    ("colour", {"guide": "wide.png"}, "--guide needs a layer"),
    ("colour", {"layers": ["2"], "units": "1", "guide": "wide.png"}, "contradict"),
    ("colour", {"classes": ["cat"]}, "no class 'cat'"),
    ("colour", {"classes": ["4"]}, "no class '4'"),
    ("colour", {"concepts": ["wheel"]}, "--concept needs a run"),
    ("colour", {"toward": "1"}, "--toward needs a picture"),
    ("colour", {"toward": "1", "starts": ["wide.png"], "classes": ["2"]}, "contradicts"),
    ("colour", {"starts": ["broken.png"]}, r"broken\.png: not an image"),
    ("colour", {"starts": ["absent.png"]}, r"absent\.png: no such file"),
    ("colour", {"starts": ["real"]}, "real is a folder"),
    ("colour", {"layers": ["2"], "guide": "absent.png"}, r"absent\.png"),
    ("colour", {"size": 4}, "--size 4"),
    ("colour", {"zoom": 1}, "--zoom 1"),
    ("colour", {"zoom": 3, "film": ".mp4"}, r"\.mp4"),
    ("colour", {"dreamer": "fuorier"}, "no dreamer named 'fuorier'"),
    ("colour", {"dreamer": "deepdream"}, "needs an image to start from"),
    ("colour", {"dreamer": "swap", "starts": ["wide.png"], "classes": ["1"]}, "needs a donor"),
    ("colour", {"device": "tpu"}, "tpu"),
    ("colour", {"precision": "fp8"}, "fp8"),
    ("colour", {"real": "nowhere"}, "nowhere: no such folder"),
    ("colour", {"witness": net("other")}, "needs real images"),
    ("colour", {"witness": net("three"), "real": "real"}, "the witness knows"),
    ("colour", {"witness": net(), "real": "real"}, "the witness is the network itself"),
    ("colour", {"weights": "absent.pt"}, r"absent\.pt' does not exist"),
    ("colour", {"weights": "broken.png"}, "cannot be read"),
    ("colour", {"names": "absent.txt"}, r"absent\.txt"),
    ("colour", {"names": "broken.png"}, "holds 1 names, the network has 4 outputs"),
    ("picky", {}, "failed: TypeError"),
    ("wrong", {}, "returned str"),
    ("colur", {}, "no 'colur'"),
]


@pytest.mark.parametrize(("name", "more", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_bad_input_is_refused_before_anything_is_written(here: Path, name: str, more: Any, words: str) -> None:
    with pytest.raises(ConceptNetError, match=words) as raised:
        make("out", name, **more)
    assert raised.value.mend
    assert not (here / "out").exists()


def test_what_is_no_network_is_refused_and_so_is_a_folder_with_something_in_it(here: Path) -> None:
    for source, words in (("nothing", "neither a run"), ("no_such_module:x", "no_such_module"), ("real", "real")):
        with pytest.raises(ConceptNetError, match=words):
            gallery(source, "out")
    with pytest.raises(DataError, match="not empty"):
        make("real")


def test_weights_are_those_of_the_file(here: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(5)
    model = open_network(net(), load_plugins(), CPU, size=16).network.model
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, "a.pth")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, "a.safetensors")
    for file in ("a.pth", "a.safetensors"):
        loaded = open_network(net(), load_plugins(), CPU, weights=file, size=16).network.model
        assert all(torch.equal(one, other) for one, other in zip(loaded.parameters(), model.parameters(), strict=True))
    with pytest.raises(SettingsError, match="do not fit"):
        open_network(net("grey"), load_plugins(), CPU, weights="a.pth")


def test_a_backbone_has_as_many_classes_as_its_weights(here: Path) -> None:
    import torchvision

    torch.save(torchvision.models.squeezenet1_1(num_classes=7).state_dict(), "seven.pt")
    opened = open_network("torchvision:squeezenet1_1", load_plugins(), CPU, weights="seven.pt", size=64)
    assert opened.classes == tuple("0123456")
    plain = open_network("torchvision:squeezenet1_1", load_plugins(), CPU, size=64)
    assert plain.class_number("Tabby") == 281
    assert len(set(plain.classes)) == 1000
    assert plain.notes
    with pytest.raises(SettingsError, match="nothing to dream of was named"):
        plan_dreams(GalleryRequest(), plain, None)


def test_units_in_words() -> None:
    assert unit_numbers("0-3, 7", 8) == [0, 1, 2, 3, 7]
    assert unit_numbers("all", 3) == [0, 1, 2]
    assert unit_numbers([2, 1, 2], 3) == [2, 1]
    for words, said in (("0-99999999999", "99999999999"), ("8-9", "no unit 9"), ("-1", "-1"), ("", "''"), ("1-", "1-")):
        with pytest.raises(SettingsError, match=said):
            unit_numbers(words, 8)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.txt", "heron\nkingfisher\n coot \nheron\n"),
        ("names.json", '["heron", "kingfisher", "coot", "heron"]'),
        ("index.json", '{"1": ["n1", "kingfisher"], "0": ["n0", "heron"], "2": ["n2", "coot"], "3": ["n3", "heron"]}'),
    ],
)
def test_classes_have_the_names_of_a_file(here: Path, file: str, text: str) -> None:
    (here / file).write_text(text)
    opened = open_network(net(), load_plugins(), CPU, size=16, names=file)
    assert opened.classes == ("heron", "kingfisher", "coot", "heron (2)")
    (one,) = make("out", names=file, classes=["Kingfisher"])["dreams"]
    assert one["class"] == "kingfisher"
    assert (here / "out/kingfisher.png").exists()


def test_classes_have_the_names_that_the_network_gives_them_else_numbers(here: Path) -> None:
    assert open_network(net("named"), load_plugins(), CPU, size=16).classes == ("ant", "bee", "cat", "dog")
    opened = open_network(net(), load_plugins(), CPU, size=16)
    assert opened.class_number("3") == 3
    with pytest.raises(SettingsError, match="no names here") as raised:
        opened.class_number("heron")
    assert "Give a number, 0-3, or their names: --names FILE." in raised.value.mend


def test_torchvision_says_what_its_own_weights_tell_apart() -> None:
    names = _torchvisions_names("resnet18", 1000)
    assert (names[954], names[817]) == ("banana", "sports car")
    assert _torchvisions_names("resnet18", 10) == ()
    assert _torchvisions_names("no_such_net", 1000) == ()


def test_real_images_are_halved(here: Path) -> None:
    opened = open_network(net(), load_plugins(), CPU, size=16)
    real = real_images(opened, "real")
    assert real is not None
    assert (len(real.seen), len(real.held), len(real.first_held(5))) == (12, 12, 5)
    assert real_images(opened, None) is None


# ---------------------------------------------------------------------------------------------------- nodes


@pytest.fixture
def model() -> GeneralizedModel:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    network = StagedNetwork(layers.eval(), (16, 16), stages=["1"], mean=(0.0,) * 3, std=(1.0,) * 3)
    detector = Detector(torch.zeros(6), torch.ones(6))
    variants = Variants(torch.zeros(6), torch.ones(6), 2, 1.0)
    family = Family(Trunk(network, "1"), detector, variants)
    return GeneralizedModel(network, {"1.1": family}).eval().requires_grad_(False)


@pytest.fixture
def graph() -> ConceptGraph:
    made = ConceptGraph(["car", "dog"], [("1", 6)], network="n", settings="s", seed=0)
    made.add_node("class", "dog", classes=["dog"])
    made.add_node("unit", "1 unit 4", stage="1", units=[4])
    made.add_node("feature", "dog in 1/classes/1", stage="1", round=1, classes=["dog"], units=[1, 4])
    wheel = made.add_node(
        "generalized", "what is exchanged in 1/classes/1", stage="1", round=1, classes=["car", "dog"], units=[1, 4]
    )
    variant = made.add_node("variant", "dog in 1/classes/1", stage="1", round=1, classes=["dog"])
    made.add_edge("specializes", variant, wheel, class_name="dog")
    made.add_node("generalized", "what an edit merged", stage="1", round=2, classes=["car", "dog"], units=[2])
    return made


IMAGES = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def wanted(model: GeneralizedModel) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """What each kind of node stands for, by hand, of maps and logits."""
    family = dict(model.named_families())["1.1"]
    return {
        "class": lambda images: model.network(images)[:, 1],
        "unit": lambda images: model.network.run_until(images, "1")[:, 4].mean((1, 2)),
        "feature": lambda images: model.network.run_until(images, "1")[:, [1, 4]].mean((2, 3)).sum(1) / 2**0.5,
        "generalized": lambda images: family.detector(family.trunk(images)).flatten(1).topk(6).values.mean(1),
        "variant": lambda images: family(images)[:, 1],
    }


@pytest.mark.parametrize("kind", ["class", "unit", "feature", "generalized", "variant"])
def test_a_nodes_target_is_what_it_stands_for(model: GeneralizedModel, graph: ConceptGraph, kind: str) -> None:
    node = next(one for one in graph.nodes(kind) if one.label != "what an edit merged")
    target = ConceptTargets(graph, model).target(node)
    found = scores(target.network, [target.objective], IMAGES)[:, 0]
    torch.testing.assert_close(found, wanted(model)[kind](IMAGES / 255), rtol=1e-4, atol=1e-4)
    if kind == "class":
        assert target.layer is None
        return
    maps = activation_maps(target, target.network.run_until(IMAGES / 255, "1"))
    assert maps.shape == (5, 8, 8)
    if kind == "feature":
        own = model.network.run_until(IMAGES / 255, "1")
        torch.testing.assert_close(maps, (own[:, 1] + own[:, 4]) / 2**0.5)


def other(model: GeneralizedModel) -> StagedNetwork:
    """A network of the same shape with other weights."""
    network = copy.deepcopy(model.network)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def reached(target: ConceptTarget) -> torch.Tensor:
    return scores(target.network, [target.objective], IMAGES)[:, 0]


@pytest.mark.parametrize("kind", ["unit", "feature"])
def test_units_are_looked_at_in_the_network_they_were_found_in(
    model: GeneralizedModel, graph: ConceptGraph, kind: str
) -> None:
    (node,) = graph.nodes(kind)
    graph.update_node(node.id, found_in="1/classes/1", **({"decision": "kept"} if kind == "feature" else {}))
    node, before = graph.node(node.id), other(model)
    targets = ConceptTargets(graph, model, {"1/classes/1": before})
    found, learned = targets.target(node), ConceptTargets(graph, model, {"1/classes/1": before}, learned=True)
    assert (found.network, found.where, found.lost) == (before, "the network before round 1/classes/1", False)
    plain = scores(before, [found.objective], IMAGES)[:, 0]
    torch.testing.assert_close(reached(found), plain)
    own = wanted(model)[kind](IMAGES / 255)
    torch.testing.assert_close(reached(learned.target(node)), own, rtol=1e-4, atol=1e-4)
    assert learned.target_after(node) is None
    after = targets.target_after(node)
    assert (after is None) == (kind == "unit")
    if after is not None:
        assert after.where == "the learned network"
        torch.testing.assert_close(reached(after), own, rtol=1e-4, atol=1e-4)
    lost = ConceptTargets(graph, model).target(node)
    assert (lost.network, lost.lost) == (model.network, True)


def test_before_and_after_are_measured_on_real_images(model: GeneralizedModel, graph: ConceptGraph) -> None:
    """The objective's own mean, as a dream's value is, in both networks, set by set and class by class."""
    (node,) = graph.nodes("feature")
    graph.update_node(node.id, found_in="1/classes/1", decision="kept")
    node, before = graph.node(node.id), other(model)
    targets = ConceptTargets(graph, model, {"1/classes/1": before})
    first, after = targets.target(node), targets.target_after(node)
    assert after is not None
    plans = [
        PlannedDream(DreamRequest(one.objective), one, "fourier", "x", node=node, after=one is after)
        for one in (first, after)
    ]
    results = [
        DreamResult(plan, Dream(plan.target.objective, 0, IMAGES[0], 0.0, 1.0, 1, "all steps")) for plan in plans
    ]
    held = ImageSet(IMAGES, torch.tensor([0, 1, 0, 1, 1]))
    sets = {"test": held, "empty": ImageSet(IMAGES[:0], torch.zeros(0, dtype=torch.int64))}
    ((_, picture, _),) = draw_nodes(plans, results, RealImages(held, held), ("car", "dog"), sets)
    lines = [words for *_, words, tone in json.loads(picture.info["layout"])["lines"]]
    for target in (first, after):
        cars, dogs = (float(reached(target)[held.labels == number].mean()) for number in (0, 1))
        assert f"test: car {three_digits(cars)}, dog {three_digits(dogs)}" in lines
    assert not [line for line in lines if line.startswith("empty")]


def test_further_starts_stand_at_the_first_and_on_no_picture(model: GeneralizedModel, graph: ConceptGraph) -> None:
    (node,) = graph.nodes("feature")
    target = ConceptTargets(graph, model).target(node)
    first = PlannedDream(DreamRequest(target.objective), target, "fourier", "x", node=node)
    plans = [first, replace(first, start="car"), *(replace(first, again=True) for _ in range(3))]
    seen = ("car", "car", "dog", "dog", "dog")
    results = [
        DreamResult(plan, Dream(target.objective, seed, IMAGES[0], 0.0, 1.0, 1, "all steps"), None, judged(name))
        for seed, (plan, name) in enumerate(zip(plans, seen, strict=True))
    ]
    free, lent = join_starts(results)
    assert ([one.dream.seed for one in free.starts], lent.starts) == ([2, 3, 4], ())
    lines = [one if isinstance(one, str) else one.text for one in result_card(free).lines]
    assert lines == ["seed 0 · 0 → 1", "seen: dog in 3 of 4 starts, car in 1", "within the data: p = .40"]
    unlike = replace(free, judgement=replace(judged("car"), distance_p=0.001))
    assert "unlike the data: p < .01" in result_card(unlike).lines, "nothing is wrong with that"


def test_what_never_rose_is_compared_by_its_start_wherever_it_is_told(
    model: GeneralizedModel, graph: ConceptGraph
) -> None:
    (node,) = graph.nodes("feature")
    target = ConceptTargets(graph, model).target(node)
    dreams = {}
    for outcome in ("never rose", "all steps"):
        plan = PlannedDream(DreamRequest(target.objective), target, "fourier", "x", node=node)
        dreams[plan] = Dream(target.objective, 0, IMAGES[0], 1e6, -1e6, 1, outcome)
    fell, rose = compare_dreams([*dreams], dreams, IMAGES, None, RenderSettings((16, 16)))
    said = [(verdict_record(one.rank) or {})["words"] for one in (fell, rose)]
    assert said[0].startswith("never rose: its start is ")
    assert said[0].endswith("the best of 5 images")
    assert said[1] == "above none of 5 images"
    assert said[0] in fell._repr_html_()


def judged(seen: str) -> Judgement:
    return Judgement(seen, 0.98, -5.0, 0.5, True, 0.1, 0.2, "image", 0.002)


def test_a_card_says_in_which_network_it_is_drawn(model: GeneralizedModel, graph: ConceptGraph) -> None:
    (node,) = graph.nodes("feature")
    graph.update_node(node.id, found_in="1/classes/1")
    held = ImageSet(IMAGES, torch.zeros(5, dtype=torch.int64))
    for before, words in (
        ({"1/classes/1": other(model)}, "Drawn in the network before round 1 at 1, in which it was found."),
        ({"1/classes/1": model.network}, "Drawn in the learned network."),
        ({}, "Drawn in the learned network: this run does not keep the one it was found in."),
    ):
        target = ConceptTargets(graph, model, before).target(graph.node(node.id))
        plan = PlannedDream(DreamRequest(target.objective), target, "fourier", "x", node=graph.node(node.id))
        ((_, picture, _),) = draw_nodes([plan], [], RealImages(held, held), ("car", "dog"))
        lines = [words for *_, words, tone in json.loads(picture.info["layout"])["lines"]]
        assert words in " ".join(lines)


def test_a_graph_of_before_says_in_its_labels_which_round_found_what(
    model: GeneralizedModel, graph: ConceptGraph
) -> None:
    (feature,), (unit,), (owner,) = (graph.nodes(kind) for kind in ("feature", "unit", "class"))
    targets = ConceptTargets(graph, model, {"1/classes/1": other(model)})
    assert [targets.found_in(one) for one in (feature, unit, owner)] == ["1/classes/1", None, None]
    graph.add_edge("built_from", feature.id, unit.id, weight=1.0)
    assert targets.found_in(unit) == "1/classes/1"
    made = graph.add_node("unit", "1 unit 5", stage="1", units=[5])
    graph.update_node(unit.id, state="split")
    graph.add_edge("became", unit.id, made, edit=1)
    graph.add_edge("built_from", feature.id, made, weight=1.0)
    assert targets.found_in(graph.node(made)) is None, "an edit made it, in the learned network"


def test_a_variant_shows_the_images_it_answers_by_its_own_response(
    model: GeneralizedModel, graph: ConceptGraph
) -> None:
    """Not those where its family's detector is strongest, which is the same for all variants."""
    (node,) = graph.nodes("variant")
    family = dict(model.named_families())["1.1"]
    images = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    held = ImageSet(images, torch.zeros(64, dtype=torch.int64))
    real = RealImages(held, held, names=tuple(f"train:{number}" for number in range(64)))
    first = family(images / 255)
    family.variants.weight.bias[1] += (first[:, 0] - first[:, 1]).median()  # each answers half of them
    target = ConceptTargets(graph, model).target(node)
    plan = PlannedDream(DreamRequest(target.objective), target, "fourier", "x", node=node)
    ((_, _, names),) = draw_nodes([plan], [], real, ("car", "dog"))
    responses = family(images / 255)
    own = [number for number in range(64) if responses[number].argmax() == 1]
    assert 5 < len(own) < 60
    assert names == [f"train:{number}" for number in sorted(own, key=lambda one: -float(responses[one, 1]))[:5]]
    detected = unit_scores(family.detector(family.trunk(images / 255)))[:, 0].argsort(descending=True)[:5]
    assert names != [f"train:{number}" for number in detected.tolist()]
    family.variants.weight.bias[1] -= 100
    ((_, _, none),) = draw_nodes([plan], [], real, ("car", "dog"))
    assert none == [f"train:{number}" for number in responses[:, 1].argsort(descending=True)[:5].tolist()]


@pytest.mark.parametrize("state", ["merged", "forgotten", "split"])
def test_what_an_edit_took_away_is_not_dreamt_of(model: GeneralizedModel, graph: ConceptGraph, state: str) -> None:
    """Its units' numbers may be others' by now; what was split goes on."""
    unit = graph.nodes("unit")[0]
    graph.update_node(unit.id, state=state)
    found = target_of(ConceptTargets(graph, model), graph.node(unit.id))
    assert (found is None) == (state != "split")


def test_a_node_without_a_family_is_refused(model: GeneralizedModel, graph: ConceptGraph) -> None:
    node = next(one for one in graph.nodes("generalized") if one.label == "what an edit merged")
    with pytest.raises(DataError, match="has no family"):
        ConceptTargets(graph, model).target(node)


def test_a_class_is_meant_by_its_name_in_any_case() -> None:
    opened = OpenedNetwork("x", None, ("Car", "dog"))  # type: ignore[arg-type]
    assert [opened.class_number(word) for word in ("car", "DOG", "1")] == [0, 1, 1]
    with pytest.raises(SettingsError, match="no class 'do'") as raised:
        opened.class_number("do")
    assert "Did you mean 'dog'" in raised.value.mend
