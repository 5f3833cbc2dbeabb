"""When to stop: is what the probe swapped one thing among others in a class, or the object itself?"""

from __future__ import annotations

from functools import partial

from conceptnet_ml import Compared, Decision, SwapMeasurement
from conceptnet_ml.config.settings import RoundSettings


def decide(measured: SwapMeasurement, settings: RoundSettings) -> Decision:
    """Keep a swap that moves the decision by something that can be exchanged; leave the object itself alone.

    A place-gated swap is judged by ι (any donor's material serves, a class-mate's changes nothing), less the network's
    errors on held-out images. A swap without a place gate is always interchangeable, so it is judged by how much more
    often it flips the answer than a class-mate's does: by that alone where it decides alone, and, for a swap of the
    whole image, together with the errors where it decides in part.
    """
    if measured.phi < settings.flips:
        found = "no cheap gate changes the answer" if measured.gate == "place" else "exchanging it changes few answers"
        compared = Compared("φ", settings.flips, lambda one: one.phi)
        phi, least_phi = unlike(measured.phi, settings.flips)
        return Decision(False, f"φ {phi} < {least_phi}: {found}", compared=compared)
    if measured.told is not None:
        return _decide_told(measured, measured.told, settings)
    wrong = settings.imperfection * (1 - measured.answered)
    if measured.gate != "place":
        return _decide_global(measured, wrong, settings)
    score, least = measured.iota_less_errors(settings.imperfection), settings.interchangeable
    if measured.later:  # as ι of a second cue is, and that of easy objects is not (docs/decisions/0051-later-places.md)
        least += settings.later
    found = f"ι {measured.iota:.2f} − {wrong:.2f} for errors"
    compared = Compared("ι less errors", least, lambda one: one.iota_less_errors(settings.imperfection))
    decision = partial(Decision, compared=compared)
    if score >= least:
        return decision(True, f"{found} ≥ {least:.2f}: one thing among others, it can be exchanged")
    few = sharing_classes(measured, settings)
    if few:
        _, iota = measured.within(few, 0)
        some = f"but {len(few)} of {len(measured.iotas)} classes share it, ι {iota:.2f}"
        rest = Compared(
            "ι less errors in these", strict(settings), lambda one: one.within(few, settings.imperfection)[1]
        )
        return Decision(True, f"{found} < {least:.2f}, {some}: one thing among others in these", few, compared=rest)
    if measured.iota < least:
        below, asked = unlike(measured.iota, least)
        if len(asked) > len(f"{least:.2f}"):  # rounded it would look as if the errors alone refused it
            found = f"ι {below} < {asked}, and − {wrong:.2f} for errors"
        return decision(False, f"{found} < {least:.2f}: it cannot be exchanged, this is the object")
    # Without its errors it would be kept: a cue with exceptions, or an object that is hard to learn.
    return decision(False, f"{found} < {least:.2f}: it errs too often to tell", undecided=True)


def _decide_global(measured: SwapMeasurement, wrong: float, settings: RoundSettings) -> Decision:
    """A swap without a place gate. A spectrum holds the object's outline, too, so there only what decides alone counts.

    Waves hold the whole object: they must decide alone through a narrow gate, and a swap of places comes first where it
    is as interchangeable (docs/decisions/0040-waves.md).

    How a picture was taken and stored may decide in part only, whatever the errors: nature gives classes hardly any of
    it (docs/decisions/0076-how-it-was-taken.md). Once something was exchanged as much more is asked as of colour.

    Colour, which is judged by a measure of its own, may decide in part only, and is a cue all the same where the
    network hardly errs: what nature gives two classes of colour is never so sure. It comes last then, since a coloured
    thing changes an image's colours, too (docs/decisions/0036-in-part.md). Nothing says so of other whole images.
    """
    contrast, decisive, partly = measured.contrast, settings.decisive, settings.partly
    decision = partial(Decision, compared=Compared("contrast", decisive, lambda one: one.contrast))
    if measured.entire and contrast >= decisive:
        share = f"contrast {contrast:.2f} ≥ {decisive:.2f} through {measured.price:.2f} of the channels"
        if measured.price > settings.narrow:
            shut = Compared("shut channels", 1 - settings.narrow, lambda one: 1 - one.price)
            return Decision(False, f"{share} > {settings.narrow:.2f}: an object takes as many", compared=shut)
        return decision(True, f"{share} ≤ {settings.narrow:.2f}: it decides by itself, and is narrow", last=True)
    if contrast >= decisive:
        return decision(True, f"contrast {contrast:.2f} ≥ {decisive:.2f}: it decides by itself")
    if measured.gate == "channel" or not measured.in_part:
        below, asked = unlike(contrast, decisive)
        return decision(False, f"contrast {below} < {asked}: it does not decide by itself")
    if measured.nature is not None:
        least = measured.nature + (settings.partly if measured.later else settings.technical)
        below, asked = unlike(contrast, least)
        compared = Compared("contrast", least, lambda one: one.contrast)
        if contrast >= least:
            reason = f"contrast {contrast:.2f} ≥ {least:.2f}: more than nature gives classes of it"
            return Decision(True, reason, last=True, compared=compared)
        return Decision(False, f"contrast {below} < {asked}: nature gives classes as much of it", compared=compared)
    found = f"contrast {contrast:.2f} − {wrong:.2f} for errors"
    less = Compared(
        "contrast less errors", partly, lambda one: one.contrast - settings.imperfection * (1 - one.answered)
    )
    if contrast - wrong >= partly:
        reason = f"{found} ≥ {partly:.2f}: it decides in part, and surer than an object's own would"
        return Decision(True, reason, last=True, compared=less)
    return Decision(False, f"{found} < {partly:.2f}: what it decides, an object's own may, too", compared=less)


def _decide_told(measured: SwapMeasurement, told: float, settings: RoundSettings) -> Decision:
    """Of a network that reads a cue with exceptions and nothing else, whose errors are the exceptions: whatever changes
    its answers is the cue. One of the whole image waits for places, which hold less of the object."""
    place, least = measured.gate == "place", settings.read
    sign, score = ("ι", measured.iota) if place else ("contrast", measured.contrast)
    compared = Compared(sign, least, lambda one: one.iota if place else one.contrast)
    wide = measured.entire and measured.price > settings.narrow
    keep = score >= least and not wide
    what = f"it changes the answers of a network that reads what contradicting images show, {told:.2f} above chance"
    through = f" through {measured.price:.2f} of the channels" if measured.entire else ""
    shown, asked = unlike(score, least) if score < least else (f"{score:.2f}", f"{least:.2f}")
    found = f"{what}: {sign} {shown} {'≥' if score >= least else '<'} {asked}{through}"
    said = "a cue with exceptions" if keep else "an object takes as many" if score >= least else "not enough"
    return Decision(keep, f"{found}, {said}", last=keep and not place, compared=compared)


def unlike(value: float, least: float) -> tuple[str, str]:
    """Both with two decimals, or with three where they would read the same: ``0.20 < 0.20`` reads as false."""
    digits = 3 if f"{value:.2f}" == f"{least:.2f}" else 2
    return f"{value:.{digits}f}", f"{least:.{digits}f}"


def strict(settings: RoundSettings) -> float:
    """What the ι of some classes, less errors, must reach: three quarters of the way from the threshold to one."""
    return (settings.interchangeable + 3) / 4


def sharing_classes(measured: SwapMeasurement, settings: RoundSettings) -> tuple[int, ...]:
    """The classes that share an exchangeable feature, where not all do; empty if there are none.

    The class with the lowest ι is left out, again and again, until the rest passes. A search over subsets finds
    something by chance, so the rest must pass :func:`strict`.
    """
    classes = tuple(range(len(measured.iotas)))
    while len(classes) > 2 and measured.met:
        iotas, _ = measured.within(classes, settings.imperfection)
        lowest = min(range(len(classes)), key=iotas.__getitem__)
        classes = (*classes[:lowest], *classes[lowest + 1 :])
        if measured.within(classes, settings.imperfection)[1] >= strict(settings):
            return classes
    return ()
