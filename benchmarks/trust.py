"""Cuts work short at its writes and changes its files, and counts what goes wrong (docs/results/trust.md).

    python benchmarks/trust.py kills --every 1 --moments 50 --table kills.json   # every write of every kind of work
    python benchmarks/trust.py kills --what dream --count 20   # 20 of its writes
    python benchmarks/trust.py fuzz --count 1000000 --table fuzz.json   # every reader of files on changed files

Exit code 1 where anything was lost, or raised something else than an error in words. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from cut_work import WORK, Work, shorten
from torture import FAILED, KILLED, WAYS, forked, list_writes


def kills(
    what: str, count: int, seed: int = 0, moments: int = 0, every: int = 0, ways: Sequence[str] = WAYS[:2]
) -> dict[str, Any]:
    """Cut work short before some of its writes, and at moments in between; then do it again: it must come to what it
    would have. Where the work ends well though its disk failed, it must have come to that at once.

    Args:
        what: One of :data:`WORK`.
        count: Writes, drawn from all of them; one way each, by turns.
        seed: Of the draw.
        moments: How often it is killed at any moment instead.
        every: Each so manieth write instead of a draw, the last, and the first of every kind: from one line of the
            package to one kind of change. The next seed has them the other way.
        ways: What happens there, see :data:`torture.WAYS`.

    Returns:
        Counts: ``writes``, ``kinds`` of them, ``cuts`` of each way, ``codes`` that they ended with, ``seconds``, and
        ``lost``, a line for each cut after which it did not come to that.
    """
    draw, lost, done, codes = random.Random(seed), list[str](), Counter[str](), Counter[str]()
    with contextlib.ExitStack() as ends:
        ends.callback(patch.stopall)
        shorten()
        folder = ends.enter_context(tempfile.TemporaryDirectory())
        work, cut = WORK[what](Path(folder)), Path(folder, "cut")
        work.fresh(cut)
        began = time.monotonic()
        writes = list_writes(lambda: work.do(cut), cut)
        seconds = time.monotonic() - began
        wanted = work.state(cut)
        sites = draw.sample(range(1, len(writes) + 1), min(count, len(writes)))
        if every:
            sites = _sites(writes, every)
        cuts: list[tuple[str, float]] = [(ways[(seed + place) % len(ways)], at) for place, at in enumerate(sites)]
        cuts += [("moment", draw.uniform(0, seconds)) for _ in range(moments)]
        for way, at in cuts:
            code, fault = _cut(work, cut, way, at, wanted)
            done[way] += 1
            codes[{0: "done", KILLED: "killed", FAILED: "an error"}.get(code, str(code))] += 1
            if fault:
                where = f"{at:.2f} s" if way == "moment" else f"write {at} of {len(writes)}, {writes[int(at) - 1]}"
                lost.append(f"{what}, {way} at {where}: {fault}")
                print(lost[-1], flush=True)
    counts = {
        "writes": len(writes),
        "kinds": len({*map(_kind, writes)}),
        "cuts": dict(done),
        "codes": dict(codes),
        "lost": lost,
    }
    counts["seconds"] = round(time.monotonic() - began)
    print(f"{what}: { ({**counts, 'lost': len(lost)}) }", flush=True)
    return counts


def _sites(writes: Sequence[str], every: int) -> list[int]:
    """Each so manieth write, the last, and of every kind the first, from 1."""
    first = {_kind(write): at for at, write in reversed([*enumerate(writes, 1)])}
    return sorted({*range(1, len(writes) + 1, every), *first.values(), len(writes)})


def _kind(write: str) -> str:
    change, _, line = write.split()
    return f"{change} {line}"


def _cut(work: Work, cut: Path, way: str, at: float, wanted: Any) -> tuple[int, str]:
    """Cut the work short once and do it again; how it ended, and what is wrong then, empty for nothing."""
    work.fresh(cut)
    if way == "moment":
        code = _killed_after(lambda: work.do(cut), at)
    else:
        code = forked(lambda: work.do(cut), cut, int(at), way)
    if not work.between(cut):
        return code, "what was there before is not whole"
    if code == 0 and not work.same(work.state(cut), wanted):
        return code, "it said that all went well"
    if again := forked(lambda: work.do(cut), cut):
        return code, f"it cannot be done again ({again})"
    if not work.same(work.state(cut), wanted):
        return code, "done again, it is not what it was"
    return code, f"left: {_litter(cut)}" if _litter(cut) else ""


def _killed_after(work: Callable[[], object], seconds: float) -> int:
    """Do the work in a child that is killed after so many seconds; its exit code."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _litter(folder: Path) -> list[str]:
    """What no process that ended well leaves, but in a cache, which other processes may be writing to."""
    return [
        str(path.relative_to(folder)) for path in folder.rglob(".*") if path.relative_to(folder).parts[0] != "cache"
    ]


def main() -> int:
    """The part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "fuzz"))
    parser.add_argument("--count", type=int, help="of cuts (20) or inputs (20,000)")
    parser.add_argument("--what", choices=[*WORK], help="is cut short; default: all of them")
    parser.add_argument("--every", type=int, default=0, help="cut at each so manieth write instead of drawing")
    parser.add_argument("--ways", default=",".join(WAYS[:2]), help=f"what happens there, of {', '.join(WAYS)}")
    parser.add_argument("--moments", type=int, default=0, help="how often it is killed at any moment, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where the counts are kept; what is in it already is not done again")
    parser.add_argument("--only", type=int, help="the one input of 'fuzz' that is tried")
    given = parser.parse_args()
    if given.part == "fuzz":
        from fuzzing import fuzz

        return int(fuzz(given.count or 20_000, given.seed, given.table, given.only) > 0)
    table = json.loads(given.table.read_text()) if given.table and given.table.exists() else {}
    for what in [given.what] if given.what else [*WORK]:
        if what not in table:
            count = 20 if given.count is None else given.count
            table[what] = kills(what, count, given.seed, given.moments, given.every, given.ways.split(","))
            if given.table:
                given.table.write_text(json.dumps(table, indent=2))
    return int(any(counts["lost"] for counts in table.values()))


if __name__ == "__main__":
    sys.exit(main())
