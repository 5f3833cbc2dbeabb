"""What a run does, step by step in plain words, and about how much is still to come.

A run cannot know how many rounds it will make. So the plan is what runs do as a rule, and is made again at each step:
at the top stage a round that is kept and one that is refused; below, one that is refused for each kept round above and
for what is left there. Each kind of step has a weight, in steps of ordinary training; how long such a step takes is
measured as the run goes, by kind where one of the kind is done. The estimate is rough at first and gets better.
"""

from __future__ import annotations

import re

from conceptnet_ml.config.settings import Settings
from conceptnet_ml.graph.naming import round_called
from conceptnet_ml.network.training import enough_epochs, steps_per_epoch
from conceptnet_ml.runtime.progress import Task

_ROUND = re.compile(
    r"(?P<stage>[^ ]+)/(?P<readout>[^/ ]+)/(?P<number>\d+)(?P<part>/(?:cue|closure)-\d+|/side|/refused|/reader)?[ /]"
)
"""How the name of a step of a round begins; after it comes what is done."""

_IN_ROUND = (
    ("gates", r"cue.*\|dream gates", "find again the places to exchange in every picture"),
    ("cue", r"cue.*\|train", "train a test network on what would be exchanged"),
    ("check", r"closure.*\|probe (.+)", "check whether that test network still finds it in {0}"),
    ("cue", r".*\|.*parts-\d+/train", "train a test network on parts of what would be exchanged"),
    ("gates", r".*\|.*parts-\d+ dream gates", "find again the places to exchange in every picture"),
    ("control", r"refused\|train-.*", "train the control 'refused round'"),
    ("side", r"side\|.*", "train a test network on what lies in the places, or around them"),
    ("side", r"reader\|rest/train", "train a test network on what lies outside the places"),
    ("fresh", r"reader\|first/train(?:-\d+)?", "train a test network for a short while"),
    ("cue", r"reader\|\w+-\d+/train", "train a test network to read what contradicting pictures show"),
    ("cue", r".*\|left(?:-\d+)?/train", "train a test network on what is left of the cue"),
    ("fresh", r".*\|fresh/train", "train a test network on the same pictures, from fresh weights"),
    ("check", r".*\|fresh probe (.+)", "test whether exchanging {0} changes that test network's answers"),
    ("find", r".*\|find", "find the features that the answers hang on"),
    ("places", r".*\|own places", "find where in each picture the feature from above shows"),
    ("channels", r".*\|channels", "find the channels that carry the answer"),
    ("probe", r".*\|probe (.+)", "test whether exchanging {0} changes the answers"),
    ("gates", r".*\|dream gates", "find the places to exchange in every picture"),
    ("fresh", r".*\|fresh", "train a test network on pictures with this exchanged"),
    ("train", r".*\|train-(.+?)-\d+(?:-outside|-anew)?", "train the network with {0} exchanged"),
    ("cue", r".*\|target-.+/cue/train", "train a test network on what would be exchanged"),
    ("side", r".*\|(?:target-.+/)?rest-\d+", "train a test network on what is left of the pictures"),
    ("probe", r".*\|new world", "compare with the pictures of the new world"),
    ("merge", r".*\|merge", "generalize: one detector for all classes"),
    ("specialize", r".*\|specialize", "specialize: a variant for each class"),
    ("descend", r".*\|descend to (.+)", "find the units of {0} that the answers are built from"),
)
"""Kinds of steps of a round; what a name is after the round's, the part of the round first; what that is in words."""

_ELSE = (
    ("head", r"ordinary/head", "train the last layers of the ordinary network"),
    ("ordinary", r"ordinary", "train the ordinary network"),
    ("directions", r"(.+) directions", "learn directions that describe the maps of {0}"),
    ("train", r"(edit\d+/train)", "train the network as it was edited ({0})"),
    ("control", r"control/(.+)", "train the control {0}"),
    ("pictures", r"draw pictures", "draw what the rounds exchanged"),
    ("evaluate", r"evaluate", "measure the accuracy on all test sets"),
    ("graph", r"draw graph", "build the concept graph"),
    ("witness", r"witness/network", "train the witness, a second network that judges dreams"),
    ("compare", r"compare the witness with real images", "show the witness real images, to compare dreams with"),
    ("dreams", r"dream of every node", "dream of every concept"),
    ("album", r"draw the album", "draw the pictures of every concept"),
    ("write", r"write graph and model", "write graph and model"),
    ("report", r"write report", "write the report page"),
)

_EXCHANGED = {
    "fourier": "the strength of repeating patterns (fourier)",
    "waves": "repeating patterns (waves)",
    "exposure": "light and contrast (exposure)",
    "blocks": "grain and compression (blocks)",
    "pixels": "places (pixels)",
}
"""What the built-in representations exchange, where their names do not say it."""

_KEPT = ("gates", "cue", "gates", "cue", "gates", "fresh", "check", "train", "merge", "specialize")
"""What a round does that exchanges something, beyond probing."""

_LAST = ("control", "pictures", "evaluate", "graph", "album", "write", "report")
"""What comes after all rounds; dreams before their album."""

_WEIGHTS = {
    "find": 30.0,
    "directions": 30.0,
    "channels": 75.0,
    "probe": 28.0,
    "check": 37.0,
    "side": 80.0,
    "merge": 130.0,
    "specialize": 10.0,
    "descend": 75.0,
    "pictures": 18.0,
    "evaluate": 18.0,
    "graph": 1.0,
    "compare": 120.0,
    "dreams": 640.0,
    "album": 55.0,
    "write": 2.0,
    "report": 18.0,
}
"""In steps of ordinary training, as one run of the README's took them; those of trainings are their steps."""

_WEIGHTS_PER_IMAGE = {"places": 0.11, "gates": 0.07}
"""Of what is done for every image that is trained on."""

_BRIEF = 0.15
"""Of the weight of dreams where no round was kept."""

_CUE = 64
"""Least steps of a test network's training."""

LEAST = 0.5
"""Seconds a step took, at least, for its pace to count: a resumed run reads back in no time what is done."""


class RunOutline:
    """The steps of a run as they come, for :class:`~conceptnet_ml.runtime.progress.Progress`.

    Args:
        settings: The run's.
        images: How many images are trained on.
    """

    def __init__(self, settings: Settings, images: int) -> None:
        self._settings = settings
        training, round, each = settings.training, settings.round, steps_per_epoch(images, settings.training)
        ordinary, train = (enough_epochs(n, images, training) * each for n in (training.epochs, round.epochs))
        trainings = {"ordinary": ordinary, "witness": ordinary, "train": train, "control": train}
        trainings |= {"cue": max(_CUE, round.cue * each), "fresh": round.fresh * each}
        trainings["head"] = enough_epochs(training.head_epochs, images, training) * each // 2  # there is no way back
        each_image = {kind: weight * images for kind, weight in _WEIGHTS_PER_IMAGE.items()}
        self._weights = {**_WEIGHTS, **each_image, **trainings}
        self._paces: dict[str, list[float]] = {}
        self._step, self._kind = 0, ""
        self._stages: list[str] = []
        self._round: tuple[str, ...] | None = None
        self._kept = self._found = self._ended = False
        deeper = [depth for depth in range(1, settings.depth) for _ in range(2)]
        self._rounds = [*([0] if round.limit > 1 else []), *deeper]  # how far below the top each round to come is
        head = ["head"] if settings.network.trained and training.head_epochs and training.epochs else []
        self._ahead = [*head, "ordinary", *self._steps_of(0, kept=True)]  # kinds of steps to come before those rounds

    def words(self, name: str) -> str:
        """What a step does, in plain words: ``round 1, block3: find the features that answers hang on``."""
        return _read(name)[1]

    def begin(self, name: str) -> str:
        """Count a step of this name: ``step 31 of about 41: draw what the rounds exchanged``.

        While there may be more rounds or fewer, without a total: one that is kept adds ten steps, one that is refused
        takes them away, and the total would jump.
        """
        self._step += 1
        self._kind, words = _read(name)
        if found := _ROUND.match(name):
            self._in_round((found["stage"], found["readout"], found["number"]))
        elif self._kind in _LAST and not self._ended:
            self._ended, self._ahead, self._rounds = True, self._last_steps(), []
            self._weights["dreams"] *= 1 if self._found else _BRIEF
        self._found = self._found or self._kind == "merge"
        if self._kind in self._ahead:
            self._ahead = self._ahead[self._ahead.index(self._kind) + 1 :]
        return f"step {self._step}{'' if self.is_open else f' of about {self.planned}'}: {words}"

    @property
    def planned(self) -> int:
        """How many steps there are, with those to come."""
        return self._step + len(self._to_come())

    @property
    def is_open(self) -> bool:
        """Whether there may be more rounds than planned, or fewer."""
        return not self._ended

    def end(self, seconds: float) -> None:
        """The step that was begun last is done, and took so long."""
        if seconds >= LEAST and self._kind in self._weights:
            self._measured(self._paces, seconds, 1.0)

    def left(self, task: Task | None = None) -> float | None:
        """About how many seconds the run still takes; None where no pace is known yet.

        Args:
            task: The step under way, whose rest is in it.
        """
        paces, rest = {kind: [*pace] for kind, pace in self._paces.items()}, 0.0
        if task is not None and task.total and task.left is not None:
            rest = task.left
            if task.seconds >= LEAST and self._kind in self._weights:
                self._measured(paces, task.seconds, task.done / task.total)
        seconds, weight = (sum(pace[place] for pace in paces.values()) for place in (0, 1))
        if not weight:
            return None
        rates = {kind: pace[0] / pace[1] for kind, pace in paces.items() if pace[1]}
        return rest + sum(self._weights[kind] * rates.get(kind, seconds / weight) for kind in self._to_come())

    def _measured(self, paces: dict[str, list[float]], seconds: float, share: float) -> None:
        pace = paces.setdefault(self._kind, [0.0, 0.0])
        pace[0] += seconds
        pace[1] += self._weights[self._kind] * share

    # ------------------------------------------------------------------------------------------------ the plan

    def _in_round(self, round: tuple[str, ...]) -> None:
        """The plan of a round, where it is another one; and where it exchanges something after all, or does not."""
        if round[0] not in self._stages:
            self._stages.append(round[0])
        depth, settings = self._stages.index(round[0]), self._settings
        if round != self._round:
            self._kept, self._round = self._round is None, round
            self._rounds = [one for one in self._rounds if one >= depth]
            if not self._kept and depth in self._rounds:
                self._rounds.remove(depth)
            self._ahead = self._steps_of(depth, self._kept)
        after = [depth] if int(round[2]) < settings.round.limit else []
        after += [depth + 1] if depth + 1 < settings.depth else []
        if self._kind in _KEPT and not self._kept:
            self._kept, self._rounds = True, sorted([*self._rounds, *after])
            self._ahead = [*_KEPT[_KEPT.index(self._kind) :], "descend"]
        elif self._kind == "descend" and self._kept and "merge" in self._ahead:
            self._kept = False
            for one in after:
                if one in self._rounds:
                    self._rounds.remove(one)

    def _steps_of(self, depth: int, kept: bool = False) -> list[str]:
        probes = 1 if depth else len(self._settings.plugins.representations)
        return [
            "find",
            *(("places", "channels") if depth else ()),
            *["probe"] * probes,
            *(_KEPT if kept else ()),
            "descend",
        ]

    def _last_steps(self) -> list[str]:
        plugins = self._settings.plugins
        judged = ("witness", "compare") if self._found or "merge" in self._ahead else ()
        dreams = () if plugins.dreamer == "none" else (*judged, "dreams")
        return [*["control"] * len(plugins.controls), *_LAST[1:4], *dreams, *_LAST[4:]]

    def _to_come(self) -> list[str]:
        """The kinds of all steps after the one that was begun last."""
        rounds = (kind for depth in self._rounds for kind in self._steps_of(depth))
        return [*self._ahead, *rounds, *([] if self._ended else self._last_steps())]


def _read(name: str) -> tuple[str, str]:
    """The kind of a step by its name, and what it does in words; a name that is none of these stands for itself."""
    found = _ROUND.match(name)
    text = name if found is None else f"{(found['part'] or '').lstrip('/')}|{name[found.end() :]}"
    for kind, pattern, words in _ELSE if found is None else _IN_ROUND:
        if (match := re.fullmatch(pattern, text)) is not None:
            said = words.format(*(_EXCHANGED.get(one, one) for one in match.groups()))
            if found is None:
                return kind, said
            whole = f"{found['stage']}/{found['readout']}/{found['number']}"
            return kind, f"{round_called(whole, found['stage'])}: {said}"
    return "", name
