"""Part of step 3: gates that hold the cue alone, where the network rests on cue and object together, and which side of
them is exchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.network.modes import frozen
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.network.training import predict_logits
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.gates import gates, swap_of
from conceptnet_ml.steps.records import ProbeResult, Site, Trained
from conceptnet_ml.steps.signs import iota_of, mean_of, places_score, sure_of_places, weigh_sides
from conceptnet_ml.swap.interchangeability import above_chance
from conceptnet_ml.swap.representation import open_cells
from conceptnet_ml.swap.stop_rule import residual_hits
from conceptnet_ml.swap.sureness import Sureness, sure_words
from conceptnet_ml.swap.views import DonatedViews, PartViews, Swap, Views

STEPS = 64
"""Least steps of a training, however few images there are."""

LEARNED = 0.5
"""Share above chance of held-out images that a network must answer rightly, to be asked for gates."""

LOST = 0.05
"""By how much less a network may learn from what purified gates take over than from what they took over before: what it
learns less than that is a part of the cue that they lost."""

PRICE = 2.0
"""λ of the gates that are asked for the places they have in common: so low that they open what is seldom needed too."""

TURNS = 5
"""Most networks that are asked for fixed places."""

DRAWS = 4
"""Views of each held-out image by which the sides of a swap are judged."""

SOMETIMES, MOSTLY = 0.15, 0.4
"""The share of the images in which a fixed place is open, for the network that opens it most; and that of all that is
open, in the mean (:func:`_standing`)."""

FIRST = 1 / 3
"""Share of ``round.places`` from which a second network is asked: the first one opens less."""

MOVING = 0.25
"""Where the swap's own gates stand still less than this, nobody is asked for fixed places."""


def purify(ctx: Context, site: Site, swap: Swap, probed: ProbeResult) -> Swap:
    """The swap with gates found by a network that is fonder of the cue than the one that was probed.

    Where some images contradict a cue, ordinary training uses cue and object together, and so do the gates: to change
    the answer they must take something of both. Views under such gates take the object away, too. Therefore:

    1. A fresh network is trained on the *other side* of the views: what the swap takes over from an image, shown in a
       random host, with the image's label. The cue lies inside the gates as a whole, the object in part and never with
       the rest of itself, so this network rests on the cue more than the probed one does.
    2. Its gates, found as always, take the place of the swap's.
    3. Again, ``round.purify`` times in all: each network sees less of the object than the one before.

    Only for a place gate at the top stage that all classes share; another swap is returned as it is. So is the last one
    where the network that it gives something to see has not learned it, or where its gates are shut, and the one before
    where such a network learns less from the purified gates than from those: there is more in a part of the cue than in
    none, so gates may lose it part by part. And so is one before where the probed network no longer answers by what the
    purified gates take over.

    Cost: each time ``round.cue`` epochs, the gates of all images and ``DRAWS`` passes over the held-out ones.
    """
    pure = site.readout.told is not None  # what is probed reads the cue alone
    shared = probed.measured.gate != "whole" and probed.decision.classes is None
    if pure or not (site.at_top and shared and ctx.settings.round.purify):
        return swap
    before, read, told = swap, _read(ctx, site, swap), 0.0
    for turn in range(1, ctx.settings.round.purify + 1):
        at = replace(site, name=f"{site.name}/cue-{turn}")
        cue, hits = train_cue(ctx, at, swap)
        was_told, told = told, mean_of(hits)
        if told < was_told - LOST:
            return before
        if cue is None:
            break
        found = swap_of(ctx, replace(at, readout=Readout("classes", cue, swaps=site.readout.swaps)), probed)
        if _open_share(found) < _open_share(swap) / 2:
            break
        was, read = read, _read(ctx, site, found)
        if read < was - ctx.settings.round.unread:
            break
        before, swap = swap, replace(found, name=swap.name)
    return swap


def _read(ctx: Context, site: Site, swap: Swap) -> float:
    """The share of views of held-out images, shown in random hosts, in which the probed network answers as what the
    swap takes over says. Where one class's sticker tells as much as both, a network that is asked for gates may read
    that alone (docs/decisions/0049-gates-that-are-read.md)."""
    views = DonatedViews(
        ctx.data.train, ctx.held, [*site.readout.swaps, swap], ctx.classes, ctx.device, partners=ctx.partners
    )
    with frozen(*site.readout.modules()):
        return mean_of(_hits(ctx, site.readout.network, views, f"{site.name}/read"))


def rests_outside(ctx: Context, site: Site, swap: Swap, wide: Swap, probed: ProbeResult) -> tuple[bool, str]:
    """Whether the class hangs on what lies *outside* the gates, so that this is to be exchanged; and what says so.

    A cheap gate holds what is small. Where the cue is large, a background, that is the object: it can be exchanged, the
    scene behind it cannot at that price. To exchange what is inside such gates would teach the network the scene. Both
    sides tell the class, and nothing in the images says which is meant. Three signs together mark the rest as the cue:

    - the probed network rests on it: of the views, which show an image's rest with another's part, more are answered as
      the rest says than as the part does;
    - it is learned as soon or sooner: of two fresh networks, trained for ``round.fresh`` epochs on one side each, the
      one of the rest does not answer fewer of its held-out views rightly;
    - gates that were widened as far as the closure check asks do not hold it either: the answer still goes with the
      rest in ``round.rest`` of the views, above chance. Where gates hold a part of a cue, its other part shows the
      first two signs as well, but is inside the widened gates.

    Asked with ``round.outside``, and where the stop rule itself keeps the swap: it refuses what errs, so each side fits
    nearly all labels. Not asked of a cue with exceptions: outside is the object then, and an easy object is learned as
    soon as such a cue. Of fewer than ``FEW`` held-out images nothing outside is exchanged: the exceptions of so few are
    learned by heart, so that nothing errs, and the sides tie.

    Args:
        swap: Before it was widened, purified.
        wide: The same widened.

    Returns:
        Whether, and what was found; empty where the network rests on what is inside.

    Cost: twice ``DRAWS`` passes over the held-out images; where the first sign holds, twice ``round.fresh`` epochs and
    ``DRAWS`` passes more.
    """
    top = site.at_top and swap.codec.gate == "place" and probed.decision.classes is None
    settled = probed.measured.told is not None or ctx.override_rule.has_overruled(site.name, probed)
    if settled or not (top and ctx.settings.round.outside):
        return False, ""
    name, network = f"{site.name}/side", site.readout.network

    def views(kind: type[Views], pool: Tensor, seen: Swap) -> Views:
        return kind(ctx.data.train, pool, [*site.readout.swaps, seen], ctx.classes, ctx.device, partners=ctx.partners)

    def hits(network: nn.Module, kind: type[Views], seen: Swap) -> Tensor:
        return _hits(ctx, network, views(kind, ctx.held, seen), name)

    with frozen(*site.readout.modules()):
        found = {f"by_{side}": hits(network, kind, swap) for side, kind in (("rest", Views), ("part", DonatedViews))}
    if mean_of(found["by_rest"]) > mean_of(found["by_part"]):
        epochs = ctx.epochs(ctx.settings.round.fresh, STEPS)
        for side, kind in (("rest", Views), ("part", DonatedViews)):
            fresh = ctx.train_auxiliary(f"{name}/{side}", views(kind, ctx.fit, swap), epochs)
            found[side] = hits(fresh, kind, swap)
        with frozen(*site.readout.modules()):
            found["by_wider_rest"] = hits(network, Views, wide)
    outside, sure = weigh_sides(found, ctx.labels[ctx.held], ctx.classes, ctx.settings.round.rest)
    means = {side: mean_of(one) for side, one in found.items()}
    ctx.run.log(event="side", name=site.name, **means, sureness=sure.record())
    if len(found) == 2:
        return False, ""
    reason = (
        f"the answer goes with what is outside the gates ({means['by_rest']:.2f}) more than with what is inside "
        f"({means['by_part']:.2f}) and with what is outside the widened ones in {means['by_wider_rest']:.2f}; "
        f"a short training tells {means['rest']:.2f} by the one, {means['part']:.2f} by the other"
    )
    return outside, f"{reason}: what is {'out' if outside else 'in'}side is exchanged ({sure_words(sure.record())})"


def turn(swap: Swap) -> Swap:
    """The swap that exchanges what is outside the gates; grown, these would leave more of it in the image."""
    return replace(swap, outside=True, again=0.0, grow=0)


def fixed_places(
    ctx: Context, site: Site, swap: Swap, more: Tensor, asked: Callable[[Tensor, int], bool] = lambda *_: True
) -> Tensor:
    """The places, (1, 1, h, w), 0 or 1, where a cue stands in all images, as a frame does; none of a cue that moves.

    Where a cue says the same in many places, a network of the other side of the views (see :func:`purify`) reads the
    easiest, and so does the next one. Here it is shown a random half of what the swap takes over at a time, so that it
    must read each part. Asked for gates at a low price it opens all of the cue, and elsewhere what chance puts there,
    in each image something else: places that many images have in common are the cue's. They join the swap's gates in
    place of ``more``, and another network is asked, until there are no more, ``TURNS`` at most. Places that take up
    more than ``round.fills`` of the image are a scene's, or those of a thing that is in the middle of every image.

    Args:
        more: Gates (N, 1, h, w) in which more of the cue may be, and of the object, too.
        asked: Whether to go on, given the places found so far and how many networks were asked; of the first two.

    Cost: each time ``round.cue`` epochs and the gates of all images.
    """
    assert isinstance(swap.gates, Tensor)
    places = often = torch.zeros_like(swap.gates[:1])
    stand = False
    for turn in range(1, TURNS + 1):
        at = replace(site, name=f"{site.name}/parts-{turn}")
        cue, _ = train_cue(ctx, at, replace(swap, gates=torch.maximum(swap.gates, more)), PartViews)
        if cue is None:
            return torch.zeros_like(places)
        found = gates(ctx, replace(at, readout=Readout("classes", cue, swaps=site.readout.swaps)), swap.codec, PRICE)
        assert found is not None
        share = _common(swap, found)
        # What the first opens counts until the second is asked: it was shown ``more``, and in it the object.
        often = share if turn <= 2 else torch.maximum(often, share)
        before, places = places, (often >= SOMETIMES).float()
        standing = _standing(often)
        stand = bool(places.any()) and standing >= MOSTLY
        ctx.run.log(event="places", name=at.name, standing=standing, open=float(places.mean()))
        if places.mean() > ctx.settings.round.fills or (turn <= 2 and not asked(places, turn)):
            return torch.zeros_like(places)
        if torch.equal(before, places) or (turn > 1 and not stand):
            break
        more = places
    return places if stand else torch.zeros_like(places)


def places_left(ctx: Context, site: Site, swap: Swap, trained: Trained) -> tuple[Tensor, float, Sureness | None]:
    """Places, (1, 1, h, w), where a part of the cue is left in the views of a swap; how much the answer rests on them.

    Gates hold what is read of a cue. What is left of one that stands in the same places of all images the network of
    the round learns with the object, and the short training of a closure check may not tell the two apart. A network
    that has been trained on the views can be asked: at the places that images have in common another class's image
    changes its answer more often than a class-mate's does, by ι. So it does where a part of the object lies there; but
    then the cue as a whole is gone, and r fell: ι counts less four times that (:func:`places_score`). Places that hold
    no more of the class than the gates do already are not opened: something of the object would go with them.

    Args:
        trained: On the views of the swap.

    Returns:
        The places of :func:`fixed_places`, none where nothing is left or the cue moves; and ι of those that the second
        network opened, or the first where it is far from that; 0 where none was asked. How sure it is that this is
        enough, or too little; None where none was asked.

    Cost: where the gates stand still, ``round.cue`` epochs, the gates of all images and ``3 · DRAWS`` passes over the
    held-out ones, sometimes twice; where something is left, that of :func:`fixed_places`.
    """
    assert isinstance(swap.gates, Tensor)
    none, iota, sure = torch.zeros_like(swap.gates[:1]), 0.0, None
    if _standing(_common(swap, swap.gates)) < MOVING:
        return none, iota, sure
    least, rs = ctx.settings.round.places, (trained.r_before, trained.r_after)

    def asked(places: Tensor, turn: int) -> bool:
        nonlocal iota, sure
        counts, enough = _rests_on(ctx, site, swap, trained.network, places), least * (1 if turn > 1 else FIRST)
        iota = iota_of(*counts.sum(1).tolist())
        sure = sure_of_places(counts / DRAWS, trained, enough, ctx.labels[ctx.held], ctx.classes)
        told = {} if sure is None else {"sureness": sure.record()}
        ctx.run.log(event="places left", name=site.name, turn=turn, iota=iota, fell=rs[0] - rs[1], **told)
        return places_score(iota, *rs) >= enough

    at = replace(site, name=f"{site.name}/places")
    return fixed_places(ctx, at, swap, torch.zeros_like(swap.gates), asked), iota, sure


def _rests_on(ctx: Context, site: Site, swap: Swap, network: nn.Module, places: Tensor) -> Tensor:
    """How a network rests on these places, (1, 1, h, w): (3, N), in how many of ``DRAWS`` views of each held-out image
    it answers rightly, and changes that for what an image of another class, and what a class-mate has there."""
    before, views = (ctx.views(ctx.held, swaps) for swaps in (site.readout.swaps, [*site.readout.swaps, swap]))
    gate = open_cells(places.to(ctx.device), ctx.size, swap.threshold, swap.grow).bool()
    counts: list[list[Tensor]] = [[], [], []]
    for draw in range(DRAWS):
        generator = ctx.generator(site.name, "places", draw)
        for hosts in ctx.held.split(512):
            images, labels = views.of(hosts, generator), ctx.labels[hosts]
            known = predict_logits(network, images, ctx.dtype).argmax(1).cpu() == labels
            counts[0].append(known)
            for row, donors in zip(counts[1:], (views.donors.foreign, views.donors.mates), strict=True):
                material = before.of(donors(hosts, generator), generator)
                seen = swap.codec.swap(images, material, gate.expand(len(hosts), -1, -1, -1))
                row.append(known & (predict_logits(network, seen, ctx.dtype).argmax(1).cpu() != labels))
    return torch.stack([torch.cat(row).view(DRAWS, -1).sum(0) for row in counts])


def _common(swap: Swap, gates: Tensor) -> Tensor:
    """The share of the images that open each place, (1, 1, h, w)."""
    return (gates > swap.threshold).float().mean(0, keepdim=True)


def _standing(often: Tensor) -> float:
    """How many images open a place, in the mean over all that is open: all of them where gates stand still."""
    return float((often * often).sum() / often.sum().clamp(min=1e-9))


def train_cue(
    ctx: Context, site: Site, swap: Swap, shown: type[DonatedViews] = DonatedViews
) -> tuple[StagedNetwork | None, Tensor]:
    """A network that has seen of each image only what the swap takes over, in random hosts, None where it learned too
    little of that; and for each held-out image, (N,), in what share of its views it answers rightly by this.

    Args:
        shown: What it learns from; what it has learned is asked of ``DonatedViews``.
    """
    (fit, _), (_, held) = (donated(ctx, site, swap, kind) for kind in (shown, DonatedViews))
    cue = ctx.train_auxiliary(f"{site.name}/train", fit, ctx.epochs(ctx.settings.round.cue, STEPS))
    hits = _hits(ctx, cue, held, site.name)
    ctx.run.log(event="cue", name=site.name, accuracy=mean_of(hits))
    return cue if above_chance(mean_of(hits), ctx.classes) >= LEARNED else None, hits


def donated(
    ctx: Context, site: Site, swap: Swap, shown: type[DonatedViews] = DonatedViews
) -> tuple[DonatedViews, DonatedViews]:
    """What a swap takes over from the images that are trained on, and from those held out."""
    swaps = [*site.readout.swaps, swap]
    fit, held = (
        shown(ctx.data.train, pool, swaps, ctx.classes, ctx.device, partners=ctx.partners)
        for pool in (ctx.fit, ctx.held)
    )
    return fit, held


def _hits(ctx: Context, network: nn.Module, views: Views, name: str) -> Tensor:
    """(N,) for each held-out image the share of ``DRAWS`` views that are answered rightly."""
    hits = residual_hits(network, views, ctx.held.repeat(DRAWS), ctx.seed(name, "r"), ctx.dtype)
    return hits.view(DRAWS, -1).double().mean(0)


def _open_share(swap: Swap) -> float:
    """The share of images whose gate is open anywhere."""
    gates = swap.gates
    assert isinstance(gates, Tensor)
    return float((gates.flatten(1).amax(1) > swap.threshold).double().mean())
