"""Several processes at work on one run, as ``torchrun --nproc-per-node N cli.py learn`` starts them: *ranks*.

All ranks run the same program. What is computed once is computed by the first rank, and the others are told
(:func:`first`); independent items are dealt out (:func:`deal`); a training step's batch is cut, and gradients are
added up (:func:`own_part`, :func:`add_up`). The first rank alone writes and prints. In a process by itself, which most
are, each of these is what it would be without ranks, and ``torch.distributed`` is not loaded.
"""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from conceptnet_ml.errors import Interrupted, SettingsError
from conceptnet_ml.runtime.signals import Stopper

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a rank waits for the others: what the first does by itself may take hours. torchrun ends those that wait for
one that died."""


@dataclass(frozen=True)
class _World:
    rank: int
    size: int
    local: int


@dataclass(frozen=True)
class _Asked:
    """Work for the ranks that wait, in the order of their numbers."""

    function: Callable[..., Any]
    arguments: tuple[tuple[Any, ...], ...]


_ALONE = _World(0, 1, 0)
_joined = _now = _ALONE
_waiting = 0
_stopper: Stopper | None = None


def size() -> int:
    """How many ranks work together at this place of the program: 1 within what a rank does by itself."""
    return _now.size


def rank() -> int:
    """The number of this process among all that were started together, from 0."""
    return _joined.rank


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return _joined.rank == 0


def local_rank() -> int:
    """The number of this process among those of its machine: that of its card."""
    return _joined.local


@contextmanager
def united() -> Iterator[None]:
    """While entered, this process is one of those that torchrun started; nothing where it was started by itself.

    Raises:
        SettingsError: This torch has no ``torch.distributed``.
    """
    global _joined, _now
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if any(name not in os.environ for name in names) or int(os.environ["WORLD_SIZE"]) == 1 or _joined is not _ALONE:
        yield
        return
    from torch import distributed

    if not distributed.is_available():
        raise SettingsError("this torch cannot be run by torchrun: it was built without torch.distributed")
    local = int(os.environ["LOCAL_RANK"])
    cards = torch.cuda.is_available() and distributed.is_nccl_available()
    if cards and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cards else "gloo", timeout=PATIENCE)
    _joined = _now = _World(distributed.get_rank(), distributed.get_world_size(), local)
    try:
        yield
        distributed.barrier()  # none goes while another still talks to it; not after an error: it may not come to it
        distributed.destroy_process_group()
        gc.collect()  # ends the threads of what still holds the group, before the interpreter does
    finally:
        _joined = _now = _ALONE


@contextmanager
def alone() -> Iterator[None]:
    """While entered, this process works by itself: nothing is shared, nobody is waited for."""
    global _now
    before, _now = _now, _ALONE
    try:
        yield
    finally:
        _now = before


def first(compute: Callable[[], T]) -> T:
    """What the first rank computes by itself; the others wait, help where they are asked to (:func:`with_help`), and
    get the same value, or the same error."""
    global _waiting
    if _now.size == 1:
        return compute()
    from torch import distributed

    if is_first():
        _waiting = _now.size - 1
        with alone():
            tried = _tried(compute)
        _waiting = 0
        distributed.broadcast_object_list([tried])
        return _value(tried)
    while True:
        sent: list[Any] = [None]
        distributed.broadcast_object_list(sent)
        if not isinstance(sent[0], _Asked):
            return _value(sent[0])
        with alone():
            function, mine = sent[0].function, sent[0].arguments[rank() - 1]
            answer = _tried(lambda: function(*mine))  # noqa: B023
        distributed.gather_object(answer)


def helpers() -> int:
    """How many ranks wait and can help with what this one does by itself."""
    return _waiting


def with_help(function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], own: Callable[[], Any]) -> list[T]:
    """``function(*arguments)`` on each rank that waits, one tuple of arguments for each, while this one does its own
    part. The function is one of a module; it, its arguments and its values can be sent (:func:`can_be_sent`), tensors
    lie on the CPU. Where this rank fails or is stopped the others' work is waited for; the first error is raised."""
    from torch import distributed

    distributed.broadcast_object_list([_Asked(function, tuple(arguments))])
    mine = _tried(own)
    found: list[Any] = [None] * (len(arguments) + 1)
    distributed.gather_object(mine if mine[1] is not None else (None, None), found)
    return [_value(part) for part in found][1:]


def can_be_sent(value: Any) -> bool:
    """Whether another process can be given this; costs the making of its message."""
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def heard() -> None:
    """Raise Interrupted where this rank's own stopper was asked to stop: for work that other ranks know nothing of."""
    if _stopper is not None:
        _stopper.check()


def each(compute: Callable[[], T]) -> list[T]:
    """What every rank computes by itself, by rank; the first error, where one has one, on all of them."""
    if _now.size == 1:
        return [compute()]
    with alone():
        mine = _tried(compute)
    parts: list[Any] = [None] * _now.size
    from torch import distributed

    distributed.all_gather_object(parts, mine)
    return [_value(part) for part in parts]


def agreed(compute: Callable[[], T]) -> T:
    """What this rank computes by itself, once all have; the first error, where one has one, on all of them."""
    found: list[T] = []
    each(lambda: found.append(compute()))
    return found[0]


def deal(count: int, work: Callable[[range], Iterable[T]]) -> list[T]:
    """The values of so many items, in order. They are dealt out to the ranks in turns: ``work(numbers)`` gives a value
    for each of these items. All ranks get all values, which must not depend on who works on them; tensors among them
    must be on the CPU."""
    mine = range(_now.rank, count, _now.size)
    parts = each(lambda: [*work(mine)])
    return [parts[number % len(parts)][number // len(parts)] for number in range(count)]


def any_of(value: int) -> int:
    """The largest of the ranks' numbers, each at least 0."""
    if _now.size == 1:
        return value
    from torch import distributed

    found = torch.tensor([value])
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return int(found)


def own_part(values: Tensor) -> Tensor:
    """This rank's rows of a batch (B, …); all of them for a process by itself."""
    return values if _now.size == 1 else values.tensor_split(_now.size)[_now.rank]


def add_up(*tensors: Tensor) -> None:
    """Add up tensors over the ranks, in place, all in one message for each type; nothing in a process by itself.

    The sum is the same on all ranks, bit for bit."""
    if _now.size == 1:
        return
    from torch import distributed

    kinds: dict[torch.dtype, list[Tensor]] = {}
    for one in tensors:
        kinds.setdefault(one.dtype, []).append(one)
    for members in kinds.values():
        flat = torch.cat([one.reshape(-1) for one in members])
        distributed.all_reduce(flat)
        for one, part in zip(members, flat.split([one.numel() for one in members]), strict=True):
            one.copy_(part.view_as(one))


def add_up_gradients(parameters: Iterable[Tensor], loss: Tensor) -> None:
    """Add up the gradients and the loss of the ranks' parts of a batch."""
    if _now.size > 1:
        add_up(*(one.grad for one in parameters if one.grad is not None), loss)


def like_first(tensors: Iterable[Tensor]) -> None:
    """Give tensors the first rank's values, in place."""
    if _now.size == 1:
        return
    from torch import distributed

    for one in tensors:
        whole = one.detach().contiguous()
        distributed.broadcast(whole, 0)
        one.detach().copy_(whole)


def check_alike(facts: Mapping[str, str], mends: Mapping[str, str]) -> None:
    """Raise SettingsError where a rank differs from the first in one of these facts, with the fact's mend."""
    every = each(lambda: dict(facts))
    for number, other in enumerate(every):
        for name, value in every[0].items():
            if other[name] != value:
                error = SettingsError(
                    f"rank {number} has other {name} than rank 0: {other[name]}, not {value}", mends[name]
                )
                raise _shared(error)


class RankStopper(Stopper):
    """A stopper that all ranks hear: a stop that one was asked for is asked for on all. Where ranks work together each
    question is a message to all of them, so all must ask."""

    def __init__(self, own: Stopper) -> None:
        global _stopper
        super().__init__()
        self._own = _stopper = own

    @property
    def requested(self) -> bool:
        """Whether a stop was requested of any rank."""
        code = any_of(self._own.exit_code if self._own.requested else 0)
        if code:
            self.exit_code = self._own.exit_code = code
        return code > 0

    def request(self) -> None:
        self._own.request()


def is_shared(error: BaseException) -> bool:
    """Whether all ranks have this error, so that the first alone need tell it."""
    return isinstance(error, Interrupted) or getattr(error, "of_all_ranks", False)


def _tried(compute: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A value or an error that can be sent."""
    try:
        return compute(), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _value(tried: tuple[Any, Exception | None]) -> Any:
    value, error = tried
    if error is not None:
        raise _shared(error)
    return value


def _shared(error: Exception) -> Exception:
    error.of_all_ranks = True  # type: ignore[attr-defined]
    return error
