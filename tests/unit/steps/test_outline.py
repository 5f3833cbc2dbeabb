"""The plan of a run in words: steps of a recorded run, at other speeds, and of runs that go another way."""

from __future__ import annotations

from typing import Any

import pytest

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.runtime.progress import Progress
from conceptnet_ml.steps.outline import RunOutline, _read

RECORDED = """\
ordinary	28
block3/classes/1 find	3
block3/classes/1 probe colour	1
block3/classes/1 probe exposure	1
block3/classes/1 probe sharpness	1
block3/classes/1 probe fourier	1
block3/classes/1 probe blocks	3
block3/classes/1 probe waves	6
block3/classes/1 probe pixels	4
block3/classes/1 dream gates	16
block3/classes/1/cue-1/train	6
block3/classes/1/cue-1 dream gates	17
block3/classes/1/cue-2/train	10
block3/classes/1/cue-2 dream gates	15
block3/classes/1/closure-1/fresh	6
block3/classes/1/closure-1 probe pixels	4
block3/classes/1/train-pixels-30	50
block3/classes/1 merge	14
block3/classes/1 specialize	1
block3/classes/1 descend to block2	8
block3/classes/2 find	3
block3/classes/2 probe colour	1
block3/classes/2 probe exposure	1
block3/classes/2 probe sharpness	1
block3/classes/2 probe fourier	1
block3/classes/2 probe blocks	3
block3/classes/2 probe waves	0
block3/classes/2 probe pixels	3
block3/classes/2 descend to block2	8
block2/block3.1/1 find	8
block2/block3.1/1 own places	25
block2/block3.1/1 channels	8
block2/block3.1/1 probe colour	6
block2/block3.1/1 descend to block1	16
block2/block3.leaf/1 find	7
block2/block3.leaf/1 own places	26
block2/block3.leaf/1 channels	8
block2/block3.leaf/1 probe colour	6
block2/block3.leaf/1 descend to block1	16
control/random-box	48
draw pictures	2
evaluate	2
draw graph	0
witness/network	23
compare the witness with real images	13
dream of every node	70
draw the album	6
write graph and model	0
write report	2
"""
"""Names of the steps of the README's run and their seconds, on two shared cores: two stages, one round kept of four."""

STEPS = [(name, float(seconds)) for name, seconds in (line.split("\t") for line in RECORDED.splitlines())]
WHOLE = sum(seconds for _, seconds in STEPS)


def outline(depth: int = 2, **plugins: Any) -> RunOutline:
    return RunOutline(Settings.model_validate({"depth": depth, "plugins": plugins}), 2100)


def told(one: RunOutline, steps: list[tuple[str, float]], speed: float = 1.0) -> list[tuple[int, int, float | None]]:
    """After each step: its number, how many there are about, and the seconds that are said to be left."""
    found = []
    for name, seconds in steps:
        said = one.begin(name).split(":")[0]
        number, planned = int(said.split()[1]), one.planned
        assert said == (f"step {number}" if one.is_open else f"step {number} of about {planned}")
        one.end(seconds / speed)
        found.append((number, planned, one.left()))
    return found


READERS = [
    f"block3/classes/1/{part}/train"
    for part in (
        "reader/rest",
        "reader/first",
        "reader/places-1",
        "left",
        "left-1",
        "closure-1/left",
        "fresh",
        "target-fourier/cue",
    )
]
"""Trainings that look for images which contradict a cue, for what is left of it, and for what fresh weights hang on."""


@pytest.mark.parametrize(
    "name",
    [
        *dict(STEPS),
        *READERS,
        "block3/classes/1/fresh probe pixels",
        "block3/classes/1/target-fourier/rest-1",
        "control/jtt",
        "block3 directions",
        "block3/classes/1/side/rest",
    ],
)
def test_every_step_is_said_in_plain_words(name: str) -> None:
    kind, words = _read(name)
    assert kind
    assert "/" not in words
    assert words != name or name == "write graph and model"


def test_words_say_which_round_and_what_is_done() -> None:
    one = outline()
    assert (
        one.words("block3/classes/1 probe pixels")
        == "round 1, block3: test whether exchanging places (pixels) changes the answers"
    )
    assert one.words("block3/classes/1 probe fourier").endswith(
        "the strength of repeating patterns (fourier) changes the answers"
    )
    assert one.words("block3/classes/1 probe colour").endswith("exchanging colour changes the answers")
    for how in ("", "-outside", "-anew"):
        assert one.words(f"block3/classes/1/train-fourier-30{how}").endswith("(fourier) exchanged")
    assert one.words("block3/classes/1/closure-1 probe pixels").endswith(
        "that test network still finds it in places (pixels)"
    )
    assert one.words("block3/classes/1/train-pixels-30").endswith("train the network with places (pixels) exchanged")
    assert one.words("block2/block3.1/2/train-colour-30").startswith(
        "round 2, block2, below what block3.1 found: train"
    )
    assert one.words("edit2/train") == "train the network as it was edited (edit2/train)"
    assert one.words("somebody's own work") == "somebody's own work"


@pytest.mark.parametrize("speed", [1.0, 0.25, 10.0])
def test_the_rest_is_measured_by_what_is_done(speed: float) -> None:
    """On a machine of any speed; the weights are of this run, so this is how well the plan fits, and not how well a run
    of other data is foreseen."""
    found, gone = told(outline(), STEPS, speed), 0.0
    for (name, seconds), (_, _, left) in zip(STEPS, found, strict=True):
        gone += seconds / speed
        true = WHOLE / speed - gone
        assert left is not None
        if true > 0.2 * WHOLE / speed:
            assert left == pytest.approx(true, rel=0.25), name
    assert found[-1][2] == 0


def test_steps_are_counted_to_as_many_as_were_foreseen() -> None:
    found = told(outline(), STEPS)
    assert [number for number, _, _ in found] == [*range(1, len(STEPS) + 1)]
    assert {about for _, about, _ in found} == {len(STEPS)}


def test_nothing_is_said_of_the_rest_before_anything_is_measured() -> None:
    one = outline()
    one.begin("ordinary")
    assert one.left() is None
    one.end(0.01)
    assert one.left() is None, "a step that a resumed run reads back says nothing of the pace"
    with Progress(quiet=True) as progress, progress.task("ordinary", total=256) as task:
        task.started -= 28
        task.advance(128)
        half = one.left(task)
    assert half == pytest.approx(28 + 2 * (WHOLE - 28), rel=0.2), "twice as slow as the recorded run"


def test_a_first_round_that_is_refused_takes_what_was_to_follow_off_the_plan() -> None:
    one = outline()
    one.begin("ordinary")
    one.end(28)
    before = one.left()
    probes = [
        f"block3/classes/1 probe {name}"
        for name in ("colour", "exposure", "sharpness", "fourier", "blocks", "waves", "pixels")
    ]
    steps = [
        ("block3/classes/1 find", 3.0),
        *((name, 3.0) for name in probes),
        ("block3/classes/1 descend to block2", 8.0),
    ]
    found = told(one, steps)
    assert before is not None
    assert found[-1][2] is not None
    assert found[-1][2] < before - 150
    assert found[-1][1] < found[0][1] - 20
    (_, about, _) = told(one, [("block2/block3.leaf/1 find", 8.0)])[0]
    assert about == found[-1][1], "one round below is left, below the object"


def test_a_round_that_is_kept_after_all_adds_steps() -> None:
    one = outline(depth=1)
    kept = [step for step in STEPS if step[0].startswith(("ordinary", "block3/classes/1"))]
    first = told(one, kept)
    second = [(name.replace("classes/1", "classes/2"), seconds) for name, seconds in kept[1:]]
    found = told(one, second)
    train = next(place for place, (name, _) in enumerate(second) if name.endswith("dream gates"))
    assert {about for _, about, _ in found[:train]} == {first[-1][1]}
    assert found[train][1] > first[-1][1] + 10
    assert told(one, [("block3/classes/3 find", 3.0)])[0][1] == found[-1][1]


def test_where_nothing_is_kept_no_witness_is_foreseen() -> None:
    one, kept = outline(depth=1), outline(depth=1)
    refused = [step for step in STEPS if step[0].startswith(("ordinary", "block3/classes/2"))]
    told(one, [(name.replace("classes/2", "classes/1"), seconds) for name, seconds in refused])
    told(kept, [step for step in STEPS if step[0].startswith(("ordinary", "block3"))])
    last = [("draw pictures", 2.0), ("evaluate", 2.0), ("draw graph", 0.0)]
    (*_, (at, few, short)), (*_, (then, all_, long)) = told(one, last), told(kept, last)
    assert (all_ - then) - (few - at) == 2, "the witness, and its look at real images"
    assert short is not None
    assert long is not None
    assert short < long / 3


def test_a_run_without_dreams_and_controls_ends_earlier() -> None:
    bare = outline(dreamer="none", controls=())
    assert outline().planned - bare.planned == 4
