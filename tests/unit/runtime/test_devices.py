"""Where the work runs: seeds, devices, number formats, threads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.runtime import devices, layout, ranks, seeding

CPU = torch.device("cpu")


def test_seed_is_the_first_63_bits_of_the_hash() -> None:
    bits = bin(int(hashlib.sha256(b"7/probe/12").hexdigest(), 16))[2:].zfill(256)
    assert seeding.seed_for(7, "probe", 12) == int(bits[:63], 2)


def test_seeds_differ_by_run_and_item_and_fit_a_generator() -> None:
    seeds = {seeding.seed_for(run, "item", number) for run in range(5) for number in range(200)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    seeding.generator(max(seeds))


def test_generator_repeats() -> None:
    first, second = (torch.rand(5, generator=seeding.generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(5, generator=seeding.generator(4)))


def test_choose_device() -> None:
    assert devices.choose_device("cpu") == CPU
    assert devices.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", ""])
def test_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="--device"):
        devices.choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card")
def test_cuda_without_a_card_names_the_flag_and_the_mend(name: str) -> None:
    with pytest.raises(SettingsError, match=r"--device") as caught:
        devices.choose_device(name)
    assert "--device cpu" in caught.value.mend


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_cuda_card_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        devices.choose_device("cuda:99")


def test_choose_precision() -> None:
    assert devices.choose_precision("fp32", CPU) is None
    assert devices.choose_precision("bf16", CPU) is torch.bfloat16
    with pytest.raises(SettingsError, match="fp16"):
        devices.choose_precision("fp16", CPU)
    with pytest.raises(SettingsError, match="bf17") as caught:
        devices.choose_precision("bf17", CPU)
    assert "'bf16'" in caught.value.mend


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_is_bf16_only_where_the_processor_has_it(
    native: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(layout, "cpu_has_bf16", lambda: native)
    monkeypatch.setattr(layout, "user_cache_folder", lambda: tmp_path)
    monkeypatch.setattr(layout, "_step", lambda network, images, dtype: 1.0 if dtype is None else 0.5)
    layout.measured.cache_clear()
    assert devices.choose_precision("auto", CPU) is expected
    layout.measured.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_auto_on_a_card() -> None:
    major, _ = torch.cuda.get_device_capability()
    expected = torch.bfloat16 if major >= 8 else torch.float16
    assert devices.choose_precision("auto", torch.device("cuda", 0)) is expected


def test_autocast() -> None:
    weights = torch.ones(4, 4)
    with devices.autocast(CPU, torch.bfloat16):
        assert (weights @ weights).dtype is torch.bfloat16
    with devices.autocast(CPU, None):
        assert (weights @ weights).dtype is torch.float32


def test_scaler_only_works_for_fp16() -> None:
    assert not devices.grad_scaler(CPU, None).is_enabled()
    assert not devices.grad_scaler(CPU, torch.bfloat16).is_enabled()
    weight = torch.ones(1, requires_grad=True)
    scaler = devices.grad_scaler(CPU, None)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    scaler.scale((weight * 2).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.item() == 0.0  # 1 - 0.5 · 2: the gradient went through unscaled


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        for given, wanted in (("2", 2), ("", devices.usable_cores())):
            monkeypatch.setenv("OMP_NUM_THREADS", given)
            devices.setup_threads()
            assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(before)


def test_peak_memory_and_environment() -> None:
    assert 0.01 < devices.peak_memory() < 1000
    found = devices.environment(CPU, torch.bfloat16)
    assert found["torch"] == torch.__version__
    assert found["device"] == "cpu"
    assert found["precision"] == "bfloat16"
    assert found["threads"] == torch.get_num_threads()


def test_each_rank_of_a_machine_takes_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("auto") == devices.choose_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setattr(ranks, "_joined", ranks._World(3, 4, 1))
    assert devices.choose_device("auto") == devices.choose_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setattr(ranks, "_joined", ranks._World(2, 4, 2))
    for name in ("auto", "cuda"):
        with pytest.raises(SettingsError, match="3 or more ranks on this machine have 2 cards"):
            devices.choose_device(name)
    assert devices.choose_device("cpu") == CPU
