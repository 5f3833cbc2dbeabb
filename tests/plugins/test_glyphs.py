"""The drawn signs: the same every time, no two images alike, classes that differ."""

from __future__ import annotations

import pytest
import torch

from conceptnet_ml.config.settings import DataSettings
from conceptnet_ml.errors import SettingsError
from conceptnet_plugins.datasets import glyphs


def test_what_is_drawn() -> None:
    data = glyphs.load("12", DataSettings(train_limit=10), 0)
    assert data.classes[:3] == ("ring", "bar", "sign2")
    assert (len(data.classes), len(data.train), len(data.tests["test"])) == (12, 120, 1200)
    images = data.train.images
    assert images.shape == (120, 3, 32, 32)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    assert len(images.flatten(1).unique(dim=0)) == 120
    lit = (images[:, 0] > 100).flatten(1).double().mean(1)
    assert 0.02 < lit.min() < lit.max() < 0.35, "light strokes on a dark ground"
    edges = torch.cat([images[:, 0, [0, -1]].flatten(), images[:, 0, :, [0, -1]].flatten()])
    assert (edges > 100).double().mean() < 0.01, "signs stay inside"


def test_an_image_depends_on_its_seed_and_place_alone() -> None:
    labels = torch.arange(600) % 5
    whole = glyphs.render("train", labels, 3)
    assert torch.equal(glyphs.render("train", labels[:7], 3).images, whole.images[:7])
    assert not torch.equal(glyphs.render("test", labels[:7], 3).images, whole.images[:7])
    assert not torch.equal(glyphs.render("train", labels[:7], 4).images, whole.images[:7])
    assert glyphs.render("train", labels[:2], 3, 50).shape == (3, 50, 50)


def test_a_hundred_signs_differ() -> None:
    signs = torch.stack([glyphs._ink(glyphs.sign(label)) for label in range(glyphs.MOST)])
    apart = torch.cdist(signs, signs) + 99 * torch.eye(glyphs.MOST)
    assert float(apart.min()) > 0.4 * float(signs.norm(dim=1).mean())


def test_faint_signs_lie_in_noise() -> None:
    labels = torch.zeros(200, dtype=torch.int64)
    plain = glyphs.render("train", labels, 0).images[:, 0].double() / 255
    faint = glyphs.render("train", labels, 0, faint=True).images[:, 0].double() / 255
    on, off = plain > 0.7, plain < 0.1
    assert float(faint[off].mean()) == pytest.approx(glyphs.GROUND, abs=0.01)
    assert float(faint[off].std()) == pytest.approx(glyphs.NOISE, rel=0.05)
    assert 0.7 * glyphs.CONTRAST < float(faint[on].mean() - faint[off].mean()) < glyphs.CONTRAST


@pytest.mark.parametrize("argument", ["1", "101", "ten", "-3", "5:dim", "10:faint:more"])
def test_refusals(argument: str) -> None:
    with pytest.raises(SettingsError, match="takes no argument") as caught:
        glyphs.load(argument, DataSettings(), 0)
    assert "glyphs:N:faint" in caught.value.mend
