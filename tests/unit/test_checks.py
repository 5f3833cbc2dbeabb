"""What is refused before an image is read."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from conceptnet_ml.checks import Checked, Session, check_plan, check_settings
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.sources import resolve_settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.pictures import to_png
from conceptnet_ml.errors import ConceptNetError, DataError, PluginError, SettingsError
from conceptnet_ml.network.build import build_network
from conceptnet_ml.plugins import Plugins, load_plugins
from conceptnet_ml.runtime.progress import Progress

PLUGINS = load_plugins(use_entry_points=False)


@pytest.mark.parametrize(
    ("data", "words", "mend"),
    [
        ({"target": "{}"}, "data.target: {} holds no pictures", "folder of pictures"),
        ({"target": "{}/absent"}, "data.target: {}/absent: no such folder", "folder of pictures"),
        ({"target": "folder:{}/absent"}, "data.target: {}/absent: no such folder", "world the network is meant for"),
        ({"trap": "stripes", "classes": ("a", "b", "c")}, "trap 'stripes' needs 2 classes, data.classes has 3", "2"),
        ({"exceptions": 0.1}, "data.exceptions is 0.1, but there is no trap", "data.trap"),
        ({"trap": "tint:red"}, "trap 'tint' takes no argument 'red'", "--trap tint"),
    ],
)
def test_settings_that_cannot_be_met(
    tmp_path: Path, data: dict[str, object], words: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conceptnet_ml.checks.load_data", lambda *_: pytest.fail("images were read"))
    filled = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in data.items()}
    settings = Settings.model_validate({"data": filled})
    for check in (lambda: check_settings(settings, PLUGINS), lambda: check_plan(settings, Session(PLUGINS))):
        with pytest.raises((DataError, SettingsError)) as caught:
            check()
        assert isinstance(caught.value, ConceptNetError)
        assert words.format(tmp_path) in caught.value.message
        assert mend in caught.value.mend


def test_a_word_that_names_no_place_is_refused_before_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptnet_ml.checks.load_data", lambda *_: pytest.fail("images were read"))
    settings = Settings.model_validate({"round": {"exchange": "corner"}})
    for check in (lambda: check_settings(settings, PLUGINS), lambda: check_plan(settings, Session(PLUGINS))):
        with pytest.raises(SettingsError, match="'corner' names no place"):
            check()


@pytest.mark.parametrize("group", [{"training": {"epochs": 0}}, {"network": {"freeze": "block1"}}])
def test_fresh_weights_that_are_not_trained(group: dict[str, dict[str, object]]) -> None:
    with pytest.raises(SettingsError, match="leaves fresh weights as they are") as caught:
        check_settings(Settings.model_validate(group), PLUGINS)
    assert "network.pretrained=true" in caught.value.mend
    trained = {"network": {"pretrained": True, **group.get("network", {})}}
    check_settings(Settings.model_validate(group | trained), PLUGINS)


@pytest.mark.parametrize(
    ("backbone", "weights", "words", "mend"),
    [
        ("torchvision:resnet18", "DEFAULT", "of 'resnet18' cannot be downloaded: no route", ".safetensors"),
        ("torchvision:resnet18", "V9", "'resnet18' has no weights named 'V9'", "IMAGENET1K_V1"),
        ("timm:tiny", "pretrained", "the weights of 'tiny' cannot be downloaded: no route", ".safetensors"),
        ("small", "DEFAULT", "the backbone 'small' has no weights by name", ".safetensors"),
    ],
)
def test_weights_by_name_are_fetched_before_images_are_read(
    backbone: str, weights: str, words: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("conceptnet_ml.checks.load_data", lambda *_: pytest.fail("images were read"))
    monkeypatch.setattr("torchvision.models.get_model", offline)
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(is_model=bool, create_model=offline))
    settings = Settings.model_validate({"network": {"backbone": backbone, "weights": weights}})
    with pytest.raises(SettingsError) as caught:
        check_plan(settings, Session(PLUGINS))
    assert words in caught.value.message
    assert mend in caught.value.mend


def test_networks_and_weights_that_do_not_fit_are_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet(noise, torch.arange(40) % 2)
    data = Data("noise", ("a", "b"), images, {"test": images})
    small = build_network(Settings(), ("a", "b"), (32, 32), PLUGINS).model.state_dict()
    norm = small.pop("block2.norm1.weight")
    torch.save({**small, "stem.0.weight": torch.zeros(1), "fc.bias": norm}, tmp_path / "other.pt")
    wrong = {
        ("small", str(tmp_path / "other.pt")): (
            "do not fit the network: 1 missing: block2.norm1.weight; 1 not of this network: fc.bias; "
            "1 of another shape: stem.0.weight (1,), not (16, 3, 3, 3)"
        ),
        ("torchvision:squeezenet1_1", str(tmp_path / "other.pt")): "52 missing: features.0.weight",
        ("torchvision:inception_v3", None): "cannot take images of 32×32 px",
        ("test_checks_networks:tokens", None): "no stages past its first layers: 'conv_proj'",
        ("test_checks_networks:flat", None): "the network has no stages",
    }
    users = types.ModuleType("test_checks_networks")
    users.tokens = lambda: VisionTransformer(32, 8, 3, 1, 8, 8, num_classes=2)  # type: ignore[attr-defined]
    users.flat = lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, users.__name__, users)
    for (backbone, weights), words in wrong.items():
        network = {"backbone": backbone, "weights": weights}
        with pytest.raises(SettingsError) as caught:
            check_plan(Settings.model_validate({"device": "cpu", "network": network}), Session(PLUGINS), data)
        assert words in caught.value.message
        assert caught.value.mend


def test_a_rule_that_is_not_there_and_none_at_all() -> None:
    settings = Settings.model_validate({"plugins": {"stop_rule": "interchangable"}})
    with pytest.raises(SettingsError, match="There is no stop_rule named 'interchangable'") as caught:
        check_settings(settings, PLUGINS)
    assert caught.value.mend == "Did you mean 'interchangeable'? Known: interchangeable."
    # A checkout that was updated knows a kind whose entry point is not installed.
    with pytest.raises(SettingsError) as caught:
        Plugins().get("stop_rule", "interchangeable")
    assert "pip install -e ." in caught.value.mend


@pytest.mark.parametrize("name", ["representations", "controls"])
def test_a_plugin_that_is_named_twice(name: str) -> None:
    settings = Settings.model_validate({"plugins": {name: ["pixels", "pixels"]}})
    with pytest.raises(SettingsError, match=f"plugins.{name} names 'pixels' twice"):
        check_settings(settings, PLUGINS)


def test_exceptions_are_no_more_than_a_half() -> None:
    with pytest.raises(SettingsError, match=r"data.exceptions: '0.6' is not allowed.* at most 0.5"):
        resolve_settings(assignments=["data.trap=tint", "data.exceptions=0.6"])
    assert resolve_settings(assignments=["data.exceptions=0.5"]).settings.data.exceptions == 0.5


def test_no_target_is_written_as_none() -> None:
    for given in ({"assignments": ["data.target=none"]}, {"flags": {"data.target": "none"}}):
        assert resolve_settings(**given).settings.data.target is None  # type: ignore[arg-type]


def test_pictures_of_the_new_world_that_are_known_already_or_too_few_are_warned_about(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (160, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train, test = (ImageSet(part, torch.arange(80) % 2) for part in noise.split(80))
    data = Data("noise", ("a", "b"), train, {"test": test, "other": test.subset(torch.arange(40))})
    settings = Settings.model_validate({"device": "cpu", "data": {"target": f"folder:{tmp_path}"}})

    def told(pictures: torch.Tensor) -> list[str]:
        for number, picture in enumerate(pictures):
            (tmp_path / f"{number}.png").write_bytes(to_png(picture))
        said = io.StringIO()
        checked = check_plan(settings, Session(PLUGINS, Progress(stream=said)), data)
        assert checked.new_world.startswith(f"{len(pictures)} unlabelled pictures")
        assert all(f"warning: {note}" in said.getvalue() for note in checked.data.notes)
        return list(checked.data.notes)

    few = "pictures, beside 10 held-out images, are too few to decide: it takes at least 36, better a few hundred"
    assert told(255 - train.images[:12]) == [f"data.target: 12 {few}"]
    assert told(255 - train.images[:35]) == [f"data.target: 35 {few}"]
    assert told(255 - train.images[:36]) == []
    less = ", on which accuracy then says less: give others"
    assert told(torch.cat([train.images[:3], test.images[38:42], 255 - train.images[:33]])) == [
        "data.target: 3 of its 40 pictures are training images, no new world: give others",
        f"data.target: 4 of its 40 pictures are images of the test set 'test'{less}",
        f"data.target: 2 of its 40 pictures are images of the test set 'other'{less}",
    ]


GOOD = {
    "encode": "(images[:, :1], images)",
    "decode": "torch.cat([encoding[0], encoding[1][:, 1:]], 1)",
    "masks": "torch.ones(1, 1, 8, 8)",
    "gate": "channel",
}
ARGUMENTS = {"encode": "images", "decode": "encoding", "masks": "encoding"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, ""),
        ({"masks": "torch.ones(2, 8, 8)"}, ""),
        ({"encode": "None"}, "encode must return a tensor (B, C, …), first of a pair or alone; here NoneType"),
        ({"encode": "images.mean()"}, "encode must return a tensor (B, C, …), first of a pair or alone; here ()"),
        ({"gate": "place", "encode": "(images[:, 0], images)"}, "(B, C, H, W) with a place gate, first of a pair or"),
        ({"encode": "images.nothing"}, "encode failed: AttributeError"),
        ({"decode": "encoding[0]"}, "decode must return images (2, 3, 8, 8), not (2, 1, 8, 8)"),
        ({"decode": "encoding[1]"}, "decode is not differentiable"),
        (
            {"decode": "encoding[0].expand(-1, 3, -1, -1)"},
            "decode(encode(x)) must be x; in two of the images it is off",
        ),
        (
            {"masks": "torch.ones(8)"},
            "masks must return (C, …), … broadcasting to one image's encoding (1, 8, 8); here (8,)",
        ),
        ({"masks": "torch.ones(4, 1, 4, 4)"}, "encoding (1, 8, 8); here (4, 1, 4, 4)"),
        ({"masks": "3"}, "encoding (1, 8, 8); here int"),
    ],
)
def test_a_representation_is_tried_before_anything_is_trained(
    tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    own = GOOD | wrong
    (tmp_path / "own.py").write_text(
        "import torch\nfrom conceptnet_ml import Representation, hookimpl\n"
        + "".join(f"def {name}({given}):\n    return {own[name]}\n" for name, given in ARGUMENTS.items())
        + "@hookimpl\ndef conceptnet_representations():\n"
        + "    return [Representation(name='own', api='1', encode=encode, decode=decode, masks=masks, "
        + f"gate={own['gate']!r})]\n"
    )
    plugins = load_plugins(tmp_path / "own.py", use_entry_points=False)
    noise = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet(noise, torch.arange(32) % 2)
    settings = Settings.model_validate({"device": "cpu", "plugins": {"representations": ["own", "pixels"]}})
    data = Data("noise", ("a", "b"), images, {"test": images})
    if not words:
        check_plan(settings, Session(plugins), data)
        return
    with pytest.raises(PluginError) as caught:
        check_plan(settings, Session(plugins), data)
    assert caught.value.message.startswith("representation 'own': ")
    assert words in caught.value.message


STEPS = {
    "Discoverer": ("find", "def find(evidence):\n    return [3]\n", "find must return Finding, not int"),
    "StopRule": (
        "decide",
        "def decide(measured, settings):\n    return True\n",
        "decide must return Decision, not bool",
    ),
    "Generalizer": (
        "merge, restore",
        "from torch import nn\ndef merge(evidence):\n    return nn.Conv2d(8, 2, 1)\n"
        "def restore(state):\n    return nn.Conv2d(8, 2, 1)\n",
        "merge: logits of maps must be (90, 1, 4, 4), not (90, 2, 4, 4)",
    ),
    "Specializer": (
        "split, restore",
        "def split(evidence):\n    return evidence.nothing\nrestore = split\n",
        "split failed: AttributeError",
    ),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_of_a_plugin_is_tried_before_anything_is_trained(tmp_path: Path, kind: str) -> None:
    functions, source, words = STEPS[kind]
    field = {"StopRule": "stop_rule"}.get(kind, kind.lower())
    given = ", ".join(f"{name}={name}" for name in functions.split(", "))
    (tmp_path / "own.py").write_text(
        f"from conceptnet_ml import {kind}, hookimpl\n{source}"
        f"@hookimpl\ndef conceptnet_{field}s():\n    return [{kind}(name='own', api='1', {given})]\n"
    )
    plugins = load_plugins(tmp_path / "own.py", use_entry_points=False)
    noise = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet(noise, torch.arange(32) % 2)
    settings = Settings.model_validate({"device": "cpu", "plugins": {field: "own"}})
    with pytest.raises(PluginError) as caught:
        check_plan(settings, Session(plugins), Data("noise", ("a", "b"), images, {"test": images}))
    assert caught.value.message.startswith(f"{field} 'own': ")
    assert words in caught.value.message


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_that_are_no_classes(label: int) -> None:
    images = ImageSet(torch.zeros(40, 3, 16, 16, dtype=torch.uint8), torch.arange(40) % 2)
    labels = images.labels.clone()
    labels[3] = label
    data = Data("mine", ("a", "b"), images, {"test": images.with_labels(labels)})
    with pytest.raises(DataError, match=f"mine: test: the label {label} is none of 2 classes"):
        check_plan(Settings(), Session(PLUGINS), data)


def test_names_of_given_data_are_checked_as_those_of_folders() -> None:
    images = ImageSet(torch.zeros(40, 3, 16, 16, dtype=torch.uint8), torch.arange(40) % 2)
    with pytest.raises(DataError, match="cannot name a class"):
        check_plan(Settings(), Session(PLUGINS), Data("mine", ("a", "b\n"), images, {"test": images}))


def test_a_depth_beyond_the_stages_is_said_to_be_all_of_them() -> None:
    images = ImageSet(torch.zeros(40, 3, 16, 16, dtype=torch.uint8), torch.arange(40) % 2)
    data, said = Data("noise", ("a", "b"), images, {"test": images}), io.StringIO()
    checked = check_plan(Settings(depth=99), Session(PLUGINS, Progress(stream=said)), data)
    (note,) = checked.data.notes
    stages = [*reversed(checked.network.stage_names)]
    assert note == f"depth 99: small has {len(stages)} stages, all are worked through: {', '.join(stages)}"
    assert note in " ".join(said.getvalue().split())
    assert not check_plan(Settings(depth=len(stages)), Session(PLUGINS), data).data.notes


def a_plan(height: int, width: int, **groups: dict[str, object]) -> Checked:
    """A plan of black images of so many px."""
    images = ImageSet(torch.zeros(8, 3, height, width, dtype=torch.uint8), torch.arange(8) % 2)
    settings = Settings.model_validate({"device": "cpu", **groups})
    return check_plan(settings, Session(PLUGINS), Data("black", ("a", "b"), images, {}))


@pytest.mark.parametrize(
    ("size", "place", "said"),
    [
        (
            (32, 32),
            "bottom,right",
            "bottom,right (x 24 to 32, y 24 to 32 px), in whole cells of 2×2 px: 6 % of an image of 32×32 px "
            "(in training 8 %, with 1 px around them), by the user's word",
        ),
        (
            (24, 48),
            "bottom,right",
            "bottom,right (x 36 to 48, y 18 to 24 px), in whole cells of 3×3 px: 6 % of an image of 48×24 px "
            "(in training 10 %, with 2 px around them), by the user's word",
        ),
        ((32, 32), "0.01,0.01,0.02,0.02", "0.01,0.01,0.02,0.02 (x 0 to 2, y 0 to 2 px)"),
        (
            (32, 32),
            "Top , left + 0.5,0.5,0.6,0.6",
            "top,left (x 0 to 8, y 0 to 8 px), 0.5,0.5,0.6,0.6 (x 16 to 20, y 16 to 20",
        ),
    ],
)
def test_a_plan_says_to_what_a_named_place_is_rounded(size: tuple[int, int], place: str, said: str) -> None:
    assert a_plan(*size, round={"exchange": place}).exchanged.startswith(said)
    assert not a_plan(*size).exchanged
    assert not a_plan(*size, round={"exchange": "none"}).exchanged


@pytest.mark.parametrize(
    ("groups", "words", "mend"),
    [
        (
            {"round": {"exchange": "0,0,1,1"}},
            "round.exchange: 0,0,1,1 is the whole image",
            "less of the image, which is 32",
        ),
        ({"round": {"exchange": "top+0,0.2,1,1"}}, "is the whole image", "less"),
        ({"round": {"exchange": "0.5,0.5,0.51,0.51"}, "probe": {"cells": 128}}, "opens not one pixel", "Name more"),
        ({"round": {"exchange": "bottom", "limit": 0}}, "round.limit is 0", "Raise round.limit"),
        (
            {"round": {"exchange": "bottom"}, "plugins": {"representations": ["colour"]}},
            "of the representations colour none has gates of places",
            "plugins.representations=colour,pixels",
        ),
    ],
)
def test_a_place_that_cannot_be_exchanged(groups: dict[str, dict[str, object]], words: str, mend: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        a_plan(32, 32, **groups)
    assert mend in caught.value.mend
