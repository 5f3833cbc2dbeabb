"""Folders as people have them: what lies about in them, what links, names and files may do."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import BUDGET, _Budget, _reduced, check_files, fit_to_size, read_image
from conceptnet_ml.data.images import PictureFiles, StreamedImages
from conceptnet_ml.data.load import load_data
from conceptnet_ml.errors import DataError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def pictures(folder: Path, classes: tuple[str, ...] = ("a", "b"), count: int = 12, suffix: str = ".png") -> None:
    noise = np.random.default_rng(len(str(folder)) + count)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = noise.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            kind = "JPEG" if suffix in (".jfif", ".jpe") else None
            Image.fromarray(pixels).save(folder / name / f"{index}{suffix}", format=kind)


def load(folder: Path, **more: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": f"folder:{folder}", **more}}), PLUGINS)


def images(data: Data) -> int:
    return len(data.train) + sum(len(one) for one in data.tests.values())


# ------------------------------------------------------------------------------------------------ what is read


def test_hidden_and_system_folders_within_classes_are_left_out_and_said(tmp_path: Path) -> None:
    pictures(tmp_path)
    pictures(tmp_path / "a" / ".ipynb_checkpoints", ("",))
    pictures(tmp_path / "b" / "@eaDir", ("1.png",))
    pictures(tmp_path / "b" / "day" / ".Trash-1000", ("files",))
    data = load(tmp_path)
    assert images(data) == 24
    assert "3 hidden or system folders left out: .Trash-1000, .ipynb_checkpoints, @eaDir" in data.notes


def test_pictures_that_are_in_training_and_in_a_test_set_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path / "train")
    pictures(tmp_path / "test", count=6)
    pictures(tmp_path / "test-new", ("a",), count=5)
    for name in ("test/b/x.png", "test/b/y.png", "test-new/a/z.png"):
        (tmp_path / name).write_bytes((tmp_path / "train/a/0.png").read_bytes())
    notes = load(tmp_path).notes
    assert any(note.startswith("2 of the 14 pictures of the test set 'test' are among the training") for note in notes)
    assert any(note.startswith("1 of the 6 pictures of the test set 'new' are among the training") for note in notes)


@pytest.mark.parametrize(
    ("train", "test"),
    [("Training", "Testing"), ("training_set", "test_set"), ("TRAIN", "Validation"), ("train-images", "test images")],
)
def test_parts_are_known_by_their_other_names(tmp_path: Path, train: str, test: str) -> None:
    pictures(tmp_path / train)
    pictures(tmp_path / test, count=5)
    data = load(tmp_path)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.tests["test"])) == (24, 10)


@pytest.mark.parametrize("names", [("seg_train", "seg_test"), ("my train", "my train 2", "my test")])
def test_what_may_be_parts_or_classes_is_asked(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        pictures(tmp_path / name)
    with pytest.raises(DataError, match="parts of the data or classes"):
        load(tmp_path)


def test_classes_may_be_called_like_parts(tmp_path: Path) -> None:
    pictures(tmp_path / "more", ("training", "testing"))
    assert load(tmp_path / "more").classes == ("testing", "training")
    for name in ("car", "dog"):
        pictures(tmp_path / "groups" / name, ("day", "night"))
    assert load(tmp_path / "groups").classes == ("car", "dog")


def test_linked_folders_are_followed_once_and_not_in_circles(tmp_path: Path) -> None:
    pictures(tmp_path / "data")
    pictures(tmp_path / "store", count=6)
    for name in "ab":
        (tmp_path / "data" / name / "more").symlink_to(tmp_path / "store" / name)
        (tmp_path / "data" / name / "again").symlink_to(tmp_path / "store" / name)
        (tmp_path / "store" / name / "up").symlink_to(tmp_path / "data" / name)
    assert images(load(tmp_path / "data")) == 36


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".avif"])
def test_endings_of_pictures(tmp_path: Path, suffix: str) -> None:
    if suffix == ".avif" and not (Image.init() or ".avif" in Image.registered_extensions()):
        pytest.skip("this Pillow reads no AVIF")
    pictures(tmp_path, suffix=suffix)
    assert images(load(tmp_path)) == 24


def test_files_that_are_not_read_are_named_by_their_endings(tmp_path: Path) -> None:
    pictures(tmp_path)
    for index in range(3):
        (tmp_path / "a" / f"{index}.HEIC").touch()
    (tmp_path / "b" / "README").touch()
    assert "files that are not images left alone: 3 .heic, 1 without a suffix" in load(tmp_path).notes
    for name in "ab":
        for index in range(12):
            (tmp_path / name / f"{index}.png").rename(tmp_path / name / f"{index}.dng")
    with pytest.raises(DataError, match=r"Beside them lie files that are not read: 24 \.dng, 3 \.heic"):
        load(tmp_path)


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be there")
@pytest.mark.parametrize("name", ["a\tb", "a\nb", " a", "a ", "\x1b[31mred", "a\u2028b", os.fsdecode(b"caf\xe9")])
@pytest.mark.parametrize("least", [0, 8])
def test_names_that_the_graph_cannot_hold_are_refused_when_data_load(tmp_path: Path, name: str, least: int) -> None:
    pictures(tmp_path, (name, "c"))
    with pytest.raises(DataError, match="cannot name a class") as error:
        load(tmp_path, minimum=least)
    assert error.value.message.isprintable()


@pytest.mark.parametrize("name", ["<b>&amp;", "a'b\"c", "🚗", "\u202eevil", "n" * 120, "a,b;c|d", "[red]", "%41"])
def test_names_that_look_odd_are_fine(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, (name, "c"))
    assert set(load(tmp_path).classes) == {name, "c"}


# ------------------------------------------------------------------------------------------------ files that do harm


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG of black pixels, whose file takes next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.png", 13_300, 7_000)
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    began = time.process_time()
    with pytest.raises(DataError, match=r"13300×7000 px are more than 90 million \(data\.megapixels\)"):
        read_image(tmp_path / "bomb.png", (64, 64))
    assert "data.megapixels" in check_files([tmp_path / "bomb.png"])[1][0]
    assert time.process_time() - began < 0.5
    assert read_image(tmp_path / "bomb.png", (64, 64), most=100).shape == (3, 64, 64)


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    pictures(tmp_path)
    bomb(tmp_path / "a" / "large.png", 1000, 1000)
    assert images(load(tmp_path)) == 25
    with pytest.raises(DataError, match=r"1000×1000 px are more than 0\.5 million"):
        load(tmp_path, megapixels=0.5)
    assert images(load(tmp_path, megapixels=0.5, skip_bad=True)) == 24


def test_large_pictures_are_decoded_one_after_another() -> None:
    budget = _Budget(100)
    with budget.of(Image.new("L", (9, 9))):
        assert budget._free == 19
        with budget.of(Image.new("L", (4, 4))):
            assert budget._free == 3
    with budget.of(Image.new("L", (50, 50))):
        assert budget._free == 0
    assert budget._free == 100
    assert BUDGET < 90e6


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16", "I", "PA", "F", "F in [0, 1]"])
def test_a_large_picture_is_reduced_and_looks_the_same(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("conceptnet_ml.data.files.LARGE", 0)
    rising = np.linspace(0, 255, 640).astype(np.uint8)
    image = Image.fromarray(np.stack([np.tile(rising, (480, 1))] * 3, 2))
    if mode[0] == "I":
        image = Image.fromarray(np.tile(rising.astype(np.uint16) * 257, (480, 1)))
    if mode[0] == "F":
        values = np.tile(rising.astype(np.float32) / (255 if "1" in mode else 1), (480, 1))
        values[:3] = np.nan
        image = Image.fromarray(values)
    else:
        image = image.convert("L").convert(mode) if mode[0] == "P" else image.convert(mode)
    image.getexif()[0x0112] = 6
    small = _reduced(image, (32, 24))
    assert small.size == (92, 69)  # a seventh: at least twice the size asked for
    assert (fit_to_size(small, (32, 24)).float() - fit_to_size(image, (32, 24)).float()).abs().max() <= 4


@pytest.mark.parametrize("shape", [(2000, 2000), (40, 100_000)], ids=["square", "strip"])
@pytest.mark.parametrize("mode", ["F", "I;16", "RGBA"])
def test_a_large_picture_costs_a_few_bands_of_memory(
    monkeypatch: pytest.MonkeyPatch, mode: str, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr("conceptnet_ml.data.files.LARGE", 2**20)
    kind = {"F": np.float32, "I;16": np.uint16, "RGBA": np.uint8}[mode]
    image = Image.fromarray(np.ones((*shape, 4) if mode == "RGBA" else shape, kind))
    tracemalloc.start()  # sees what numpy takes, which were several times 32 MB
    try:
        assert _reduced(image, (16, 16)).mode in ("RGB", "RGBA")
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


def test_a_large_picture_with_a_transparent_colour_becomes_white_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptnet_ml.data.files.LARGE", 0)
    image = Image.new("RGB", (640, 480), (10, 20, 30))
    image.paste((200, 0, 0), (0, 0, 320, 480))
    image.info["transparency"] = (10, 20, 30)
    small = np.asarray(_reduced(image, (32, 24)).convert("RGB"))
    assert (small[:, -1] == 255).all()
    assert (small[:, 0] == (200, 0, 0)).all()


def test_pictures_in_no_class_and_in_two_are_said(tmp_path: Path) -> None:
    pictures(tmp_path)
    assert not [note for note in load(tmp_path).notes if "class" in note]
    first, *_ = sorted((tmp_path / "a").iterdir())
    for place in ("b/copied.png", "b/again.png", "loose.png"):
        shutil.copy(first, tmp_path / place)
    (tmp_path / ".hidden.png").touch()
    notes = load(tmp_path, test_share=0.1).notes
    assert "1 picture lies beside the class folders, in no class, and left out: loose.png" in notes
    (said,) = [note for note in notes if "more than one class" in note]
    assert said.startswith("1 training picture is in more than one class, the same to the byte, as ")


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"\x01\xda" + bytes(510)]
)
def test_a_format_that_is_not_named_is_not_read_whatever_its_ending(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="not an image Pillow can read"):
        read_image(tmp_path / "a.png", (8, 8))
    assert "not an image" in check_files([tmp_path / "a.png"])[1][0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_among_the_pictures_is_not_waited_for(tmp_path: Path) -> None:
    pictures(tmp_path)
    os.mkfifo(tmp_path / "a" / "x.png")
    with pytest.raises(DataError, match=r"x\.png: not a regular file"):
        load(tmp_path)


# ------------------------------------------------------------------------------------------------ streams


def streamed(folder: Path) -> StreamedImages:
    pictures(folder)
    files = sorted(folder.rglob("*.png"))
    items = torch.arange(len(files))
    return StreamedImages(PictureFiles(files, (16, 16)), items, torch.zeros_like(items), (16, 16))


def shifted(images: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    return images + items[:, None, None, None].to(torch.uint8)


def test_streamed_images_can_be_pickled(tmp_path: Path) -> None:
    given = streamed(tmp_path).with_change(shifted, (16, 16)).subset(torch.arange(3, 9))
    some = torch.arange(4)
    taken = given.take(some)
    assert torch.equal(pickle.loads(pickle.dumps(given)).take(some), taken)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_streamed_images_can_be_taken_in_a_forked_child(tmp_path: Path) -> None:
    given = streamed(tmp_path)
    for _ in range(3):  # its threads are idle now: a child would wait for them for ever
        given.take(torch.arange(24))
    child = os.fork()
    if not child:
        os._exit(len(given.take(torch.arange(24))))
    end = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(done[1]) == 24
