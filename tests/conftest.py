"""One thread in each of a few processes, and one memory format: sums are taken in the same order on every machine,
and small tensors are quicker by it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded, which reads it then
os.environ.setdefault("CONCEPTNET_MEMORY_FORMAT", "contiguous")

# Whoever runs the suite under nohup, or in the background of a script: the programs that are tested hear their signals.
for _name, _handler in (("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No process but this one where one file is asked for: a file is one process's work. Else one a core."""
    files = {word.partition("::")[0] for word in config.args}
    return 0 if len(files) == 1 and all(file.endswith(".py") for file in files) else None


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws does not depend on the tests before it, which are others in every run."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="module")
def hasty() -> Iterator[None]:
    """For whole runs that do not judge how well gates are predicted, units merged, variants told apart and edges
    ranked: each of these small fits takes a few steps, each comparison a few images. Else they are a good part of a
    run's time."""
    with pytest.MonkeyPatch.context() as patch:
        _shorten(patch)
        patch.setattr("conceptnet_ml.swap.gate_predictor.STEPS", 20)
        yield


@pytest.fixture
def hasty_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test that does not judge how units are merged and edges ranked, in a file that judges gates."""
    _shorten(monkeypatch)


def _shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("conceptnet_plugins.generalizers.detector.STEPS", 20)
    patch.setattr("conceptnet_plugins.specializers.attention.STEPS", 20)
    patch.setattr("conceptnet_ml.steps.analogies.PAIRS", 32)
    patch.setattr("conceptnet_ml.steps.analogies.LEAST", 64)
    patch.setattr("conceptnet_ml.concepts.null_models.COPIES", 1)
    patch.setattr("conceptnet_ml.concepts.attribution.RANKED", 8)
