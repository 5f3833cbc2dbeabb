"""Signs that parts of step 3 go by, image by image, and how sure these are: no network is asked here."""

from __future__ import annotations

from torch import Tensor

from conceptnet_ml.steps.records import Trained
from conceptnet_ml.swap.interchangeability import above_chance
from conceptnet_ml.swap.sureness import Sureness, redrawn_shares, sureness

FALL = 4
"""Of what r fell in a training, against the ι of places where a part of a cue may be left."""


def mean_of(hits: Tensor) -> float:
    """Of (N,) shares."""
    return float(hits.mean())


def weigh_sides(hits: dict[str, Tensor], labels: Tensor, classes: int, rest_least: float) -> tuple[bool, Sureness]:
    """Whether what is outside is exchanged, by the signs of :func:`conceptnet_ml.steps.purify.rests_outside`, and how
    sure that is.

    Args:
        hits: (N,) shares by name; where the first sign does not hold, those of the first two alone, and a draw in
            which it does counts as another decision.
        labels: (N,) classes of the images.
        classes: How many there are.
        rest_least: The share of the views, above chance, in which the answer must go with what is outside widened
            gates: from here on these do not hold what the class hangs on.
    """

    def signs(means: list[float]) -> list[tuple[str, float, float]]:
        """What is compared with what, in order; the first that falls short decides."""
        by_rest, by_part, *more = means
        first = ("answers as the outside says − as the inside does", by_rest - by_part, 0.0)
        if not more:
            return [first]
        rest, part, wider = more
        learned = ("learned from the outside − from the inside", rest - part, 0.0)
        return [first, learned, ("answers as the widened outside says", above_chance(wider, classes), rest_least)]

    def holds(means: list[float]) -> bool:
        (_, first, _), *others = signs(means)
        return first > 0 and all(value >= least for _, value, least in others)

    means = [mean_of(one) for one in hits.values()]
    found, outside = signs(means), holds(means)
    place = next((n for n, (_, value, least) in enumerate(found) if value < least), len(found) - 1)
    figure, value, least = found[place]
    again = redrawn_shares([*hits.values()], labels, classes)
    figures, same = (signs(one)[place][1] for one in again), (holds(one) == outside for one in again)
    return outside, sureness(figure, least, value, figures, same, len(labels))


def iota_of(right: float, others: float, mates: float) -> float:
    """ι, from how many views are answered rightly and how many of these the material of others and of mates changes."""
    return (others - mates) / (right or 1)


def places_score(iota: float, before: float, after: float) -> float:
    """How much of a cue is left at some places: their ι, less what r fell in the training. A part of the object that
    lies there changes the answer, too, but then the cue as a whole is gone, and a part of the object with it. Where a
    part of the cue is left r hardly falls, so ``FALL`` times that (docs/decisions/0073-no-harm.md)."""
    return iota - FALL * max(0.0, before - after)


def sure_of_places(views: Tensor, trained: Trained, least: float, labels: Tensor, classes: int) -> Sureness | None:
    """How sure it is that :func:`places_score` reaches this or not. None where nobody kept who is behind r.

    Args:
        views: (3, N) what :func:`iota_of` takes, as shares of each image's views.
        trained: Whose r fell.
        least: What is asked.
        labels, classes: As in :func:`weigh_sides`.
    """
    if trained.hits is None:
        return None

    def figure(right: float, others: float, mates: float, before: float, after: float) -> float:
        return places_score(iota_of(right, others, mates), before, after)

    hits = [*views.double(), *(one.double() for one in trained.hits)]
    value = figure(*map(mean_of, hits))
    again = [figure(*one) for one in redrawn_shares(hits, labels, classes)]
    same = [None] * len(again)  # the figure alone
    return sureness(f"ι of the places − {FALL} × what r fell", least, value, again, same, len(labels))
