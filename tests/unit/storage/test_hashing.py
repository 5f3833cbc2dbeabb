"""The digests are part of the run format: they stay the same to the bit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from conceptnet_ml.storage.files import link, replace_by_link
from conceptnet_ml.storage.hashing import digest, fingerprint, seed_of, sha256, tensor_digest


def of(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_text_is_hashed_as_utf_8() -> None:
    assert sha256("é") == sha256("é".encode()) == of(b"\xc3\xa9")
    assert sha256("é", 12) == of(b"\xc3\xa9")[:12]


def test_a_seed_is_the_first_63_bits() -> None:
    assert seed_of("7/probe/12") == int(of(b"7/probe/12")[:16], 16) >> 1 < 2**63


def test_a_digest_covers_texts_numbers_and_tensors_with_type_and_shape() -> None:
    tensor = torch.tensor([[1.0, -2.0]])
    bits = b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert digest("zoom", 3, tensor) == of(b"'zoom'\0", b"3\0", b"torch.float32(1, 2)", bits, b"\0")
    others = [tensor.view(2), tensor.view(torch.int32), tensor + 1]
    assert len({digest(one) for one in (tensor, *others)}) == 4


def test_the_memory_format_does_not_matter() -> None:
    tensor = torch.arange(24.0).view(1, 2, 3, 4)
    turned = tensor.to(memory_format=torch.channels_last)
    assert digest(turned) == digest(tensor)
    assert tensor_digest(turned) == tensor_digest(tensor) == of(tensor.numpy().tobytes())
    assert tensor_digest(torch.tensor(1.0)) == of(b"\x00\x00\x80\x3f")


def test_a_fingerprint_is_that_of_names_and_weights_in_the_order_of_names() -> None:
    state = {"b": torch.tensor([1], dtype=torch.int64), "a": torch.tensor(1.0)}
    expected = of(b"a", b"\x00\x00\x80\x3f", b"b", b"\x01" + b"\0" * 7)[:16]
    assert fingerprint(state) == expected == fingerprint(dict(reversed(state.items())))


def test_a_linked_file_keeps_its_content_when_the_other_name_is_replaced(tmp_path: Path) -> None:
    run, kept, new = tmp_path / "graph.json", tmp_path / "edits" / "graph.json", tmp_path / "new.json"
    run.write_text("old")
    new.write_text("new")
    link(run, kept)
    assert os.path.samefile(run, kept)
    replace_by_link(new, run)
    assert (run.read_text(), kept.read_text()) == ("new", "old")
    replace_by_link(kept, run)
    replace_by_link(kept, run)
    assert (run.read_text(), kept.read_text(), new.read_text()) == ("old", "old", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edits", "graph.json", "new.json"]


def test_half_a_pair_can_be_hashed():
    assert sha256("a\ud800") != sha256("a") != sha256("")
    assert seed_of("\udcff") != seed_of("")
