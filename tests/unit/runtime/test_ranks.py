"""Several processes at work on one run: two of this machine, which talk by gloo, beside one by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from commands import ROOT, surroundings
from torch import nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.network.joint_norms import check_norms, joint_norms
from conceptnet_ml.runtime import ranks
from conceptnet_ml.runtime.signals import Stopper

BEGIN = """
import sys, torch
from torch import nn
from conceptnet_ml.runtime import ranks
from conceptnet_ml.errors import Interrupted, SettingsError
from conceptnet_ml.runtime.signals import Stopper
"""


def together(code: str, count: int = 2) -> list[str]:
    """What each of so many ranks prints that run this code within ``ranks.united()``.

    How the interpreter ends is not asked: with both cores busy a thread of torch's that still lived then was seen to
    end it with "terminate called without an active exception", twice in two runs of all tests, after all was done.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = BEGIN + "with ranks.united():\n" + textwrap.indent(textwrap.dedent(code), "    ")
    text += "\nimport os\nsys.stdout.flush()\nos._exit(0)\n"
    where = surroundings() | {"PYTHONPATH": str(ROOT), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", text],
            env=where | {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    ended = [process.communicate(timeout=300) for process in started]
    assert not any(process.returncode for process in started), [err for _, err in ended]
    return [out for out, _ in ended]


def test_a_process_by_itself_asks_nobody() -> None:
    assert (ranks.size(), ranks.rank(), ranks.is_first()) == (1, 0, True)
    with ranks.united():
        assert ranks.size() == 1
    values = torch.arange(6.0)
    assert ranks.own_part(values) is values
    assert ranks.deal(3, lambda numbers: numbers) == [0, 1, 2]
    assert ranks.any_of(7) == 7
    ranks.add_up(values)
    assert values.tolist() == [0, 1, 2, 3, 4, 5]
    network = nn.BatchNorm2d(2)
    with joint_norms(network):
        assert "forward" not in vars(network)


def test_what_ranks_tell_each_other(tmp_path: Path) -> None:
    """What is computed once, dealt out, agreed on; an error of one is all others' error."""
    code = """
    print(ranks.first(lambda: ranks.rank() + 10), ranks.first(lambda: ranks.size()))
    print(ranks.deal(5, lambda numbers: ((n, ranks.rank(), ranks.size()) for n in numbers)))
    print(ranks.any_of(ranks.rank() * 3))
    print(ranks.own_part(torch.arange(5)).tolist())
    total = torch.tensor([1.0 + ranks.rank()]); ranks.add_up(total); print(total.item())
    mine = torch.full((2,), float(ranks.rank())); ranks.like_first([mine]); print(mine.tolist())
    def fails(): raise SettingsError("only here", "mend it")
    for ask in (ranks.first, lambda f: ranks.agreed(f if ranks.rank() else int)):
        try: ask(fails)
        except SettingsError as error: print(error.message, error.mend, ranks.is_shared(error))
    own = Stopper()
    if ranks.rank(): own.exit_code = 143; own.request()
    shared = ranks.RankStopper(own)
    try: shared.check()
    except Interrupted as stop: print("stopped", stop.exit_code)
    def helped():
        print(ranks.helpers(), ranks.size())
        return ranks.with_help(divmod, [(7, 2)], lambda: print("own"))
    print(ranks.first(helped), ranks.helpers())
    try: ranks.first(lambda: ranks.with_help(divmod, [(1, 0)], lambda: None))
    except ZeroDivisionError as error: print(type(error).__name__)
    try: ranks.first(lambda: ranks.with_help(divmod, [(1, 1)], fails))
    except SettingsError as error: print(error.message)
    ranks.check_alike({"data": "a"}, {"data": ""})
    try: ranks.check_alike({"data": str(ranks.rank())}, {"data": "mend"})
    except SettingsError as error: print(error)
    """
    first, second = together(code)
    assert first.splitlines() == [
        "10 1",
        "[(0, 0, 1), (1, 1, 1), (2, 0, 1), (3, 1, 1), (4, 0, 1)]",
        "3",
        "[0, 1, 2]",
        "3.0",
        "[0.0, 0.0]",
        "only here mend it True",
        "only here mend it True",
        "stopped 143",
        "1 1",
        "own",
        "[(3, 1)] 0",
        "ZeroDivisionError",
        "only here",
        "rank 1 has other data than rank 0: 1, not 0",
        "  mend",
    ]
    assert second == first.replace("[0, 1, 2]\n", "[3, 4]\n").replace("1 1\nown\n", "")


TRAIN = """
from conceptnet_ml.config.settings import TrainingSettings
from conceptnet_ml.network.joint_norms import joint_norms
from conceptnet_ml.network.training import TrainingJob, train
torch.set_default_dtype(torch.float64)
torch.manual_seed(ranks.rank() if SAME is None else 0)
NORM = {norm}
last = nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)
network = nn.Sequential(nn.Conv2d(3, 8, 3), NORM, nn.ReLU(), *last)
images = torch.rand(48, 3, 16, 16, generator=torch.Generator().manual_seed(1))
labels = torch.arange(48) % 3
settings = TrainingSettings(batch=15, precision="fp32")
loss_of = lambda network, images, labels: nn.functional.cross_entropy(network(images.double()), labels)
job = TrainingJob(48, 5, 0.1, 3, torch.device("cpu"), settings=settings, objective=loss_of)
with joint_norms(network):
    report = train(network, lambda numbers, generator: (images[numbers], labels[numbers]), job)
torch.save((network.state_dict(), report["loss"]), PATH + str(ranks.rank()))
"""


@pytest.mark.parametrize("norm", ["nn.BatchNorm2d(8)", "nn.GroupNorm(2, 8)", "nn.BatchNorm2d(8, momentum=None)"])
def test_two_ranks_train_as_one_process_does(tmp_path: Path, norm: str) -> None:
    """In double precision, where rounding is far below any step: 15 steps, batches of 15 in parts of 8 and 7."""
    text = TRAIN.replace("{norm}", norm)
    exec(BEGIN + f"PATH, SAME = {str(tmp_path / 'one')!r}, 1\n" + text, {})
    torch.set_default_dtype(torch.float32)
    # the second begins with other weights: the first one's count
    together(f"PATH, SAME = {str(tmp_path / 'two')!r}, {None if 'None' in norm else 1}\n" + text)
    (one, loss), (two, same), (other, _) = (torch.load(tmp_path / name) for name in ("one0", "two0", "two1"))
    assert same == pytest.approx(loss, abs=1e-6)  # it is told in single precision
    for name, value in one.items():
        assert torch.equal(two[name], other[name]), name  # bit for bit: ranks never drift apart
        assert torch.allclose(two[name], value, rtol=0, atol=1e-10), name


class OwnNorm(nn.BatchNorm2d):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values).relu()


def test_a_norm_that_computes_by_itself_is_refused() -> None:
    check_norms(nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.SyncBatchNorm(2)))
    with pytest.raises(SettingsError, match="OwnNorm, whose statistics several ranks cannot share"):
        check_norms(nn.Sequential(OwnNorm(2)))


def test_a_stopper_that_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    import signal

    with Stopper(says="") as stopper:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.requested
    assert capfd.readouterr().err == ""
