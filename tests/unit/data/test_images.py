"""Loading pictures: what is converted, what is refused, and that reading on demand gives the same as holding all."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.config.values import trap_arguments
from conceptnet_ml.data.class_subset import class_numbers, select_classes
from conceptnet_ml.data.dataset import Data
from conceptnet_ml.data.files import fit_to_size, read_image, to_rgb
from conceptnet_ml.data.images import ImageSet, StreamedImages
from conceptnet_ml.data.load import load_data
from conceptnet_ml.data.sampling import by_class, limit_per_class, split_by_class
from conceptnet_ml.errors import DataError, SettingsError
from conceptnet_ml.plugins import load_plugins

PLUGINS = load_plugins(use_entry_points=False)


def load(source: str, **data: object) -> Data:
    return load_data(Settings.model_validate({"data": {"source": source, **data}}), PLUGINS)


def save(path: Path, value: int = 100, size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 255 - value, value // 2)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, 12 training and 4 test images each; each image has a colour of its own."""
    for part, count, start in (("train", 12, 0), ("test", 4, 100)):
        for label, name in enumerate(("cat", "dog")):
            for index in range(count):
                save(tmp_path / part / name / f"{index:02d}.png", start + 40 * label + index)
    return tmp_path


def test_folder_with_train_and_test(folder: Path) -> None:
    data = load(f"folder:{folder}")
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 16, 16), "images of one square size keep it"
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12
    assert data.train.images[:, 0, 0, 0].tolist() == [*range(12), *range(40, 52)]
    assert data.tests["test"].images[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 140, 141, 142, 143]
    assert data.train.images.dtype == torch.uint8
    assert (data.skipped, data.train.resident) == (0, True)


def test_val_serves_as_test_and_class_folders_are_split(folder: Path) -> None:
    (folder / "test").rename(folder / "Val")
    assert len(load(f"folder:{folder}").tests["test"]) == 8
    data = load(f"folder:{folder / 'train'}", test_share=0.25)
    assert torch.bincount(data.tests["test"].labels).tolist() == [3, 3]
    assert torch.bincount(data.train.labels).tolist() == [9, 9]
    seen = data.train.images[:, 0, 0, 0].tolist() + data.tests["test"].images[:, 0, 0, 0].tolist()
    assert sorted(seen) == [*range(12), *range(40, 52)], "every image once, none in both"
    again = load(f"folder:{folder / 'train'}", test_share=0.25)
    assert torch.equal(again.train.images, data.train.images)


def test_where_nothing_is_trained_a_flat_folder_is_all_test(folder: Path) -> None:
    data = load(f"folder:{folder / 'train'}", minimum=0)
    assert data.tests["test"].images[:, 0, 0, 0].tolist() == [*range(12), *range(40, 52)]
    assert len(load(f"folder:{folder}", minimum=0).tests["test"]) == 8
    for file in sorted((folder / "train" / "cat").iterdir())[3:]:
        file.unlink()
    with pytest.raises(DataError, match="at least 8"):
        load(f"folder:{folder / 'train'}")
    few = load(f"folder:{folder / 'train'}", minimum=1)
    assert torch.bincount(few.train.labels).tolist() == [2, 10]


@pytest.mark.parametrize(("share", "needed"), [(0.2, 10), (0.5, 16), (0.02, 9)])
def test_a_folder_without_a_test_part_needs_what_is_split_off_too(tmp_path: Path, share: float, needed: int) -> None:
    for name, count in (("cat", needed), ("dog", needed - 1)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{number}.png")
    words = (
        f"'dog' has {needed - 1}; each class needs at least 8 to train on, beside the {share:.0%} split off for testing"
    )
    words += f": {needed} in all"
    with pytest.raises(DataError, match=words) as caught:
        load(f"folder:{tmp_path}", test_share=share)
    assert "or give a test folder" in caught.value.mend
    Image.new("RGB", (8, 8)).save(tmp_path / "dog" / "more.png")
    assert len(load(f"folder:{tmp_path}", test_share=share).train) >= 16
    (tmp_path / "dog" / "more.png").write_text("no picture")
    with pytest.raises(DataError, match=words):
        load(f"folder:{tmp_path}", test_share=share, skip_bad=True)


def test_split_depends_on_the_seed_only() -> None:
    labels = torch.arange(100) % 2
    first, same, other = (split_by_class(labels, 0.2, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_streamed_images_equal_resident_ones(folder: Path) -> None:
    held = load(f"folder:{folder}", trap="wheels+tint", image_size=32)
    streamed = load(f"folder:{folder}", trap="wheels+tint", image_size=32, memory=1e-6)
    assert isinstance(streamed.train, StreamedImages)
    assert not streamed.train.resident
    places = torch.tensor([3, 20, 0])
    assert torch.equal(streamed.train.take(places), held.train.take(places))
    assert (len(streamed.train), streamed.train.shape) == (len(held.train), held.train.shape) == (24, (3, 32, 32))
    for name in held.tests:
        part, whole = streamed.tests[name].subset(places[[0, 2]]), held.tests[name].subset(places[[0, 2]])
        assert part.labels.tolist() == whole.labels.tolist()
        assert torch.equal(part.take(torch.tensor([1, 0])), whole.take(torch.tensor([1, 0]))), name


def test_train_limit_counts_per_class(folder: Path) -> None:
    data = load(f"folder:{folder}", train_limit=9)
    assert torch.bincount(data.train.labels).tolist() == [9, 9]
    assert len(data.tests["test"]) == 8
    assert limit_per_class(data.train, None, 0) is data.train


def test_images_keep_the_names_of_their_files(folder: Path) -> None:
    """Whatever becomes of a set: a part of it, other labels, another device; in memory and read when used."""
    for memory in (1.0, 1e-9):
        data = load(f"folder:{folder}", memory=memory)
        train = data.train
        assert train.resident == (memory == 1.0)
        assert train.files is not None
        assert all((folder / file).is_file() for file in train.files)
        assert [Path(file).parent.name for file in train.files] == [data.classes[c] for c in train.labels.tolist()]
        chosen = torch.tensor([2, 0])
        part = train.subset(chosen).with_labels(torch.zeros(2, dtype=torch.int64)).with_groups(None).to("cpu")
        assert part.files == (train.files[2], train.files[0])
        with pytest.raises(ValueError, match="names of 1 files"):
            train.with_files(["a.png"])
    trapped = load(f"folder:{folder}", trap="border").train
    assert trapped.files == load(f"folder:{folder}").train.files


def test_image_set_keeps_images_labels_and_masks_together() -> None:
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 2, 2).contiguous()
    marks = torch.arange(5, dtype=torch.uint8).view(5, 1, 1).expand(5, 2, 2)
    part = ImageSet(images, torch.arange(5), {"mark": marks}).subset(torch.tensor([4, 1]))
    assert part.images[:, 0, 0, 0].tolist() == part.labels.tolist() == part.masks["mark"][:, 0, 0].tolist() == [4, 1]
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(images.float(), torch.arange(5))
    with pytest.raises(ValueError, match="labels"):
        ImageSet(images, torch.arange(4))
    with pytest.raises(ValueError, match="mask"):
        ImageSet(images, torch.arange(5), {"mark": marks[:, :1]})


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (0, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 77, (77, 77, 77)),
        ("F", 0.2, (51, 51, 51)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_modes_become_rgb(mode: str, fill: object, expected: tuple[int, int, int]) -> None:
    image = to_rgb(Image.new(mode, (3, 2), fill))  # type: ignore[arg-type]
    assert (image.mode, image.getpixel((1, 1))) == ("RGB", expected)


def test_16_bit_and_palette_files(tmp_path: Path) -> None:
    deep = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", (2, 2))[0].tolist() == [[0, 100], [200, 255]]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 200, 50, 20])
    palette.save(tmp_path / "plain.png")
    palette.save(tmp_path / "clear.png", transparency=1)
    assert read_image(tmp_path / "plain.png", (4, 4))[:, 0, 0].tolist() == [200, 50, 20]
    assert read_image(tmp_path / "clear.png", (4, 4))[:, 0, 0].tolist() == [255, 255, 255], (
        "transparent parts are white"
    )


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), "black")
    image.paste((255, 255, 255), (0, 0, 16, 8))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png", (16, 16))
    assert (int(upright[0, 2, 5]), int(upright[0, 13, 5])) == (0, 255)


def test_other_sizes_scale_the_shorter_side_and_keep_the_centre() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 200
    assert fit_to_size(Image.fromarray(wide), (10, 10))[:, :, 1:-1].min() >= 195


def test_mixed_sizes_become_64_px(folder: Path) -> None:
    save(folder / "train" / "cat" / "big.png", size=(90, 40))
    data = load(f"folder:{folder}")
    assert data.shape == (3, 64, 64)
    assert any("33 images resized" in note for note in data.notes)


def test_unreadable_images_are_named_or_skipped_and_counted(folder: Path) -> None:
    whole = folder / "train" / "cat" / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(whole)
    whole.write_bytes(whole.read_bytes()[:200])
    (folder / "test" / "dog" / "02.png").write_text("not a picture")
    with pytest.raises(DataError) as caught:
        load(f"folder:{folder}")
    text = str(caught.value)
    assert "2 of 33 images cannot be read" in text
    assert str(whole) in text
    assert str(folder / "test" / "dog" / "02.png") in text
    assert "--skip-bad" in text
    data = load(f"folder:{folder}", skip_bad=True)
    assert (data.skipped, len(data.train), len(data.tests["test"])) == (2, 24, 7)
    assert "2 unreadable images left out" in data.notes


def test_only_ten_unreadable_images_are_named(folder: Path) -> None:
    for index in range(13):
        (folder / "train" / "cat" / f"bad{index}.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(f"folder:{folder}")
    assert str(caught.value).count("bad") == 10 + 1, "ten files and the flag's name"
    assert "and 3 more" in str(caught.value)


def test_skipping_must_leave_enough(folder: Path) -> None:
    for index in range(6):
        (folder / "train" / "cat" / f"{index:02d}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="'cat' has 6"):
        load(f"folder:{folder}", skip_bad=True)


def test_folders_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            load(f"folder:{path}")
        assert str(path) in str(caught.value)
        assert caught.value.mend

    refused(tmp_path / "nowhere", "no such folder")
    refused(folder / "train" / "cat" / "00.png", "a file, not a folder")
    refused(folder / "train" / "cat", "no folders of classes")
    (folder / "empty").mkdir()
    refused(folder / "empty", "is empty")
    save(folder / "one" / "cat" / "0.png")
    refused(folder / "one", "one class only")
    (folder / "train" / "bird").mkdir()
    refused(folder / "train", "'bird' has 0; each class needs at least 8")
    refused(folder, "'bird' only in training")
    (folder / "train" / "bird").rmdir()
    (folder / "train" / "Cat").mkdir()
    refused(folder / "train", "duplicate class names: 'Cat', 'cat'")
    (folder / "train").rename(folder / "trian")
    refused(folder, "no 'train' folder")


def test_classes_are_chosen_by_name_in_the_order_given(folder: Path) -> None:
    for label, name in enumerate(("ant", "Bee")):
        for part, count in (("train", 10), ("test", 3)):
            for index in range(count):
                save(folder / part / name / f"{index:02d}.png", 150 + 30 * label + index)
    assert load(f"folder:{folder}").classes == ("Bee", "ant", "cat", "dog")
    for memory in (2.0, 1e-9):
        data = load(f"folder:{folder}", classes=("dog", "bee"), memory=memory)
        assert data.classes == ("dog", "Bee")
        assert data.train.labels.tolist() == [0] * 12 + [1] * 10
        shown = data.train.take(torch.arange(22))[:, 0, 0, 0].tolist()
        assert shown == [*range(40, 52), *range(180, 190)]
        assert data.tests["test"].labels.tolist() == [0] * 4 + [1] * 3
    assert load(f"folder:{folder}", classes=("cat", "ant"), train_limit=9).train.labels.tolist() == [0] * 9 + [1] * 9


def test_only_the_chosen_classes_are_looked_at(folder: Path) -> None:
    (folder / "train" / "worm").mkdir()
    (folder / "train" / "cat" / "bad.png").write_bytes(b"")
    save(folder / "train" / "bee" / "0.png")
    with pytest.raises(DataError, match="'worm' only in training"):
        load(f"folder:{folder}")
    with pytest.raises(DataError, match="1 of 33 images cannot be read"):
        load(f"folder:{folder}", classes=("cat", "dog"))
    with pytest.raises(SettingsError, match="test has no class 'bee'"):
        load(f"folder:{folder}", classes=("bee", "dog"))


def test_classes_of_a_data_set_that_does_not_choose_itself() -> None:
    plain, turned = load("glyphs:3", train_limit=9), load("glyphs:3", classes=("sign2", "ring"), train_limit=9)
    assert turned.classes == ("sign2", "ring")
    assert torch.equal(turned.train.images, plain.train.images[plain.train.labels != 1])
    assert torch.bincount(turned.train.labels).tolist() == [9, 9]
    assert (turned.train.labels[:9] == 1).all(), "the images keep their order"
    # A test set that has none of the classes is left out; a world is kept where no image drops out of it.
    own = replace(plain, tests={**plain.tests, "bars": plain.tests["test"].subset(torch.arange(100, 200))})
    own = replace(own, worlds={"unbiased": lambda: plain.train})
    assert set(select_classes(own, ("ring", "sign2")).tests) == {"test"}
    assert select_classes(own, ("ring", "sign2")).worlds == {}
    turned = select_classes(own, ("bar", "sign2", "ring"))
    assert (turned.tests["bars"].labels == 0).all()
    assert torch.equal(turned.worlds["unbiased"]().labels, turned.train.labels)


def test_wrong_classes_are_settings_errors(folder: Path) -> None:
    def refused(words: str, mend: str, *names: str) -> None:
        with pytest.raises(SettingsError, match=words) as caught:
            load(f"folder:{folder}", classes=names)
        assert mend in caught.value.mend

    refused("no class 'dogs'", "Did you mean 'dog'? Known: cat, dog.", "cat", "dogs")
    refused("'cat' twice", "once", "cat", "dog", "Cat")
    refused("fewer than two", "at least two", "cat")
    known = ("0 - zero", "1 - one", "zero - 0")
    assert class_numbers(known, ("ONE", "zero - 0"), "it") == [1, 2]
    with pytest.raises(SettingsError, match="'zero' may be '0 - zero' or 'zero - 0' of it"):
        class_numbers(known, ("zero", "1"), "it")


def test_wrong_names_are_settings_errors(folder: Path) -> None:
    with pytest.raises(SettingsError, match="Did you mean 'folder'"):
        load(f"foldr:{folder}")
    with pytest.raises(SettingsError, match="folder:PATH"):
        load("folder")
    with pytest.raises(SettingsError, match="Did you mean 'wheels'"):
        load(f"folder:{folder}", trap="wheel")
    with pytest.raises(SettingsError, match="name of its own"):
        trap_arguments("wheels+wheels")


def write_mnist(root: Path, count: int = 80) -> None:
    """MNIST's own file format each image filled with its digit times 25."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.broadcast_to((labels * 25)[:, None, None], (count, 28, 28))
        for name, magic, array in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            head = struct.pack(f">{1 + array.ndim}i", magic, *array.shape)
            content = head + array.tobytes()
            (raw / f"{part}-{name}-ubyte").write_bytes(content)
            with gzip.open(raw / f"{part}-{name}-ubyte.gz", "wb") as packed:
                packed.write(content)


def test_torchvision_reads_what_lies_there(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    data = load("torchvision:MNIST", root=str(tmp_path))
    assert (data.shape, len(data.classes), len(data.train)) == ((3, 28, 28), 10, 80)
    assert data.classes[0].startswith("0")
    assert torch.equal(data.train.images[:, 2, 5, 5].long(), data.train.labels * 25)
    streamed = load("torchvision:MNIST", root=str(tmp_path), memory=1e-7)
    assert torch.equal(streamed.tests["test"].take(torch.arange(80)), data.tests["test"].images)
    assert load("torchvision:MNIST", root=str(tmp_path), image_size=16).shape == (3, 16, 16)
    for memory in (2.0, 1e-9):
        pair = load("torchvision:MNIST", root=str(tmp_path), classes=("8", "three"), memory=memory)
        assert pair.classes == ("8 - eight", "3 - three")
        assert len(pair.train) == 16
        shown = pair.train.take(torch.arange(16))[:, 2, 5, 5].long()
        assert torch.equal(shown, torch.tensor([200, 75])[pair.train.labels])
    with pytest.raises(SettingsError, match="no class '10'"):
        load("torchvision:MNIST", root=str(tmp_path), classes=("1", "10"))


def test_torchvision_without_a_test_part_is_split(tmp_path: Path) -> None:
    for name in ("Forest", "River"):
        for index in range(10):
            save(tmp_path / "eurosat" / "2750" / name / f"{index}.jpg", 20 * index)
    data = load("torchvision:EuroSAT", root=str(tmp_path))
    assert data.classes == ("Forest", "River")
    assert torch.bincount(data.train.labels).tolist() == [8, 8]
    assert torch.bincount(data.tests["test"].labels).tolist() == [2, 2]


def test_torchvision_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Add --download"):
        load("torchvision:MNIST", root=str(tmp_path))
    with pytest.raises(DataError, match="Add --download"):
        load("torchvision:SVHN", root=str(tmp_path))
    with pytest.raises(SettingsError, match="Did you mean 'MNIST'"):
        load("torchvision:MNITS", root=str(tmp_path))
    with pytest.raises(SettingsError, match="--root"):
        load("torchvision:MNIST")
    assert not any(tmp_path.rglob("*.gz")), "nothing is downloaded unasked"


def test_numbers_are_parted_by_class_in_their_order() -> None:
    labels, numbers = torch.tensor([3, 0, 3, 5, 0, 3]), torch.tensor([5, 4, 0, 1, 2])
    assert [part.tolist() for part in by_class(numbers, labels)] == [[4, 1], [5, 0, 2]]
