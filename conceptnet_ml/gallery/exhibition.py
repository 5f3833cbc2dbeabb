"""Dreams as they come: written to a folder, then compared, drawn on sheets, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptnet_ml.data.images import ImageSet
from conceptnet_ml.drawing.animation import animation
from conceptnet_ml.drawing.cards import (
    Card,
    card_sheet,
    dream_card,
    honesty_lines,
    sheet_note,
    sprite,
    sprite_record,
    three_digits,
)
from conceptnet_ml.drawing.pictures import to_image, to_png
from conceptnet_ml.drawing.sheets import Caption
from conceptnet_ml.dreams.cache import DreamCache
from conceptnet_ml.dreams.judgement import Judgement, Standing, Witness
from conceptnet_ml.dreams.recipe import Recipe
from conceptnet_ml.dreams.render import dream
from conceptnet_ml.dreams.request import Dream, DreamRequest
from conceptnet_ml.dreams.zoom import zoom
from conceptnet_ml.gallery.node_pictures import best_examples, portrait
from conceptnet_ml.gallery.pipeline import standings
from conceptnet_ml.gallery.requests import Asked
from conceptnet_ml.gallery.sources import Real, Subject
from conceptnet_ml.network.training import predict_logits, to_float
from conceptnet_ml.storage.files import finite, pretty, write_atomic

REAL = 512
"""So many real images each dream is compared with."""


class Telling(DreamCache):
    """A cache, or none, that tells of every dream as it is found or made; one call of the engine uses it.

    The engine looks wishes up in their order, each once.
    """

    def __init__(
        self, inner: DreamCache | None, wishes: Sequence[DreamRequest], told: Callable[[int, Dream], None]
    ) -> None:
        self.inner, self.wishes, self.told = inner, wishes, told
        self._places = {id(wish.objective): place for place, wish in enumerate(wishes)}
        self._looked_up = 0

    def load(self, key: str) -> dict[str, Any] | None:
        found = None if self.inner is None else self.inner.load(key)
        wish, self._looked_up = self.wishes[self._looked_up], self._looked_up + 1
        if found is not None:
            self.told(self._places[id(wish.objective)], Dream(wish.objective, wish.seed, cached=True, **found))
        return found

    def save(self, key: str, dream: Dream) -> None:
        if self.inner is not None:
            self.inner.save(key, dream)
        self.told(self._places[id(dream.objective)], dream)


class Exhibition:
    """What was dreamt so far, and the folder it goes to."""

    def __init__(
        self,
        out: Path,
        subject: Subject,
        todo: Sequence[Asked],
        images: Real | None,
        judge: Witness | None,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.out, self.subject, self.todo, self.judge = out, subject, todo, judge
        self.images, self.device, self.dtype = images, device, dtype
        self.found: dict[int, Dream] = {}
        self.films: dict[int, str] = {}

    def dream(
        self, recipes: Mapping[str, Recipe], kept: DreamCache | None, size: int | None, options: dict[str, Any]
    ) -> None:
        """Dream all, and write each picture as it comes."""
        for side, places in self._groups(size):
            wishes = [self.todo[place].wish for place in places]

            def told(number: int, one: Dream, places: list[int] = places) -> None:
                self._keep(places[number], one)

            cache = Telling(kept, wishes, told)
            first = self.todo[places[0]]
            dream(first.network, wishes, recipes[first.dreamer], size=side, cache=cache, **options)

    def _groups(self, size: int | None) -> list[tuple[tuple[int, int], list[int]]]:
        """Dreams that can be dreamt together: in one network, in one way, of one height and width."""
        own = self.subject.network.image_size if size is None else (size, size)
        groups: dict[Any, list[int]] = {}
        for place, one in enumerate(self.todo):
            start = one.wish.start
            side = own if start is None else (int(start.shape[1]), int(start.shape[2]))
            groups.setdefault((side, id(one.network), one.dreamer), []).append(place)
        return [(key[0], places) for key, places in groups.items()]

    def _keep(self, place: int, one: Dream) -> None:
        self.found[place] = one
        write_atomic(self.out / f"{self.todo[place].file}.png", to_png(to_image(one.image)))

    def zoom(
        self, frames: int, film: str, fps: float, recipe: Recipe, kept: DreamCache | None, options: dict[str, Any]
    ) -> None:
        """A film into every dream that did not begin at a lent image, each frame written as it comes."""
        for place in sorted(self.found):
            ask, first = self.todo[place], self.found[place]
            if ask.lent:
                continue
            looked: list[Tensor] = []
            rest = {**options, "frames": frames, "recipe": recipe, "cache": kept, "seed": first.seed}
            for frame, one in enumerate(zoom(ask.network, first.objective, first.image, **rest)):
                write_atomic(self.out / f"{ask.file}-zoom" / f"{frame:04}.png", to_png(to_image(one.image)))
                looked.append(one.image)
            scale = max(1, 256 // min(first.image.shape[1:]))
            self.films[place] = f"{ask.file}-zoom{film}"
            write_atomic(self.out / self.films[place], animation(looked, film, fps, scale))

    def finish(self, head: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Compare, draw the sheets, write the record."""
        order = sorted(self.found)
        standings, judgements, answers = self._standings(order), self._judgements(order), self._answers(order)
        files: dict[str, Any] = {}
        if order:
            cards = [
                dream_card(
                    self.found[place],
                    *_own(answers.get(place)),
                    *honesty_lines(standings.get(place), judgements.get(place)),
                )
                for place in order
            ]
            cards = [self._titled(place, one) for place, one in zip(order, cards, strict=True)]
            sheet = card_sheet(cards, self._title(), note=self._note())
            write_atomic(self.out / "sheet.png", to_png(sheet))
            files["sheet"] = "sheet.png"
            files |= self._sprites(order) | self._portraits(standings, judgements)
        result = {
            **head,
            "seconds": round(seconds, 3),
            "notes": self.subject.notes,
            "files": files,
            "dreams": [
                {
                    **self._record(place, standings.get(place), judgements.get(place)),
                    "network": dict(zip(("seen", "probability", "expected"), answers[place], strict=True))
                    if place in answers
                    else None,
                }
                for place in order
            ],
        }
        result = finite(result)
        write_atomic(self.out / "dreams.json", pretty(result))
        return {"out": str(self.out), **result}

    def _title(self) -> str:
        return f"What {Path(self.subject.name).name or self.subject.name} dreams of"

    def _note(self) -> str:
        return sheet_note(0 if self.images is None else min(REAL, len(self.images.held)), self.judge)

    def _answers(self, order: Sequence[int]) -> dict[int, tuple[str, float, bool]]:
        """What the dreaming network itself says to dreams of a class: name, probability, whether it is that class."""
        found: dict[int, tuple[str, float, bool]] = {}
        for place in order:
            one, expects = self.found[place], self.found[place].objective.expects
            if expects is None:
                continue
            chances = predict_logits(self.todo[place].network, to_float(one.image[None], self.device), None)[0].softmax(
                0
            )
            seen = int(chances.argmax())
            found[place] = (self.subject.classes[seen], float(chances[seen]), seen == expects)
        return found

    def _titled(self, place: int, one: Card) -> Card:
        ask = self.todo[place]
        if ask.start is None:
            return one
        name = f"{one.name} on a real {ask.start}" if ask.lent else f"{one.name} from {ask.start}"
        return Card(one.image, name, one.lines, ask.wish.start)

    def _standings(self, order: Sequence[int]) -> dict[int, Standing]:
        """Against the same target's values on real images, at the network's own size."""
        if self.images is None or not order:
            return {}
        dreams = {place: (self.todo[place].network, self.found[place]) for place in order}
        return standings(dreams, taken(self.images.some(REAL)), self.device, self.dtype)

    def _judgements(self, order: Sequence[int]) -> dict[int, Judgement]:
        if self.judge is None:
            return {}
        found = {}
        for place in order:
            one = self.found[place]
            found[place] = self.judge.judge(one.image[None], one.objective.expects)[0]
        return found

    def _sprites(self, order: Sequence[int]) -> dict[str, Any]:
        """A sprite with its index for every layer whose units were asked for."""
        layers: dict[tuple[str, str | None], list[int]] = {}
        for place in order:
            about = self.todo[place].about
            if "unit" in about and "layer" in about:
                layers.setdefault((about["layer"], self.todo[place].start), []).append(place)
        files = {}
        for (layer, start), places in layers.items():
            found = [self.found[place] for place in places]
            if len({one.image.shape for one in found}) > 1:
                continue
            units = [self.todo[place].about["unit"] for place in places]
            image, index = sprite([o.image for o in found], units=units, records=[sprite_record(one) for one in found])
            stem = f"sprite-{layer}" + ("" if start is None else f"-from-{Path(start).stem}")
            write_atomic(self.out / f"{stem}.png", to_png(image))
            write_atomic(self.out / f"{stem}.json", pretty(finite({"image": f"{stem}.png", **index})))
            files[stem] = [f"{stem}.png", f"{stem}.json"]
        return files

    def _portraits(self, standings: dict[int, Standing], judgements: dict[int, Judgement]) -> dict[str, Any]:
        """One picture for each node of the graph."""
        nodes: dict[str, list[int]] = {}
        for place in sorted(self.found):
            node = self.todo[place].node
            if node is not None:
                nodes.setdefault(node.id, []).append(place)
        files = {}
        firsts = [self.todo[places[0]] for places in nodes.values()]
        best = best_examples(
            [ask.sought for ask in firsts if ask.sought], self.images, self.subject.classes, self.device
        )
        for (identifier, places), ask, real in zip(nodes.items(), firsts, best, strict=True):
            rows = [
                (self.todo[place], self.found[place], standings.get(place), judgements.get(place)) for place in places
            ]
            files[identifier] = f"{identifier}.png"
            drawn = portrait(ask, rows, real)
            write_atomic(self.out / files[identifier], to_png(drawn))
        return {"portraits": files} if files else {}

    def _record(self, place: int, stands: Standing | None, judged: Judgement | None) -> dict[str, Any]:
        ask, one = self.todo[place], self.found[place]
        return {
            "file": f"{ask.file}.png",
            "name": one.objective.name,
            **ask.about,
            "start": ask.start,
            "seed": one.seed,
            "size": list(one.image.shape[1:]),
            "before": one.before,
            "reached": one.reached,
            "steps": one.steps,
            "outcome": one.outcome,
            "cached": one.cached,
            "standing": None if stands is None else {**asdict(stands), "words": stands.phrase},
            "judgement": None if judged is None else _judged(judged),
            **({"film": self.films[place]} if place in self.films else {}),
            "words": f"{three_digits(one.before)} → {three_digits(one.reached)}, {one.outcome}",
        }


def _own(answer: tuple[str, float, bool] | None) -> list[Caption]:
    """The network's own answer, as a line of a card: whether a class was reached at all."""
    if answer is None:
        return []
    name, chance, right = answer
    return [Caption(f"network: {name} {chance:.0%}".replace("%", " %"), "plain" if right else "wrong")]


def _judged(one: Judgement) -> dict[str, Any]:
    return {**asdict(one), "recognised": one.recognised, "p": one.p, "unlike": one.unlike, "words": one.phrase}


def taken(images: ImageSet) -> Tensor:
    """All images of a set, uint8 (N, C, H, W), on the CPU."""
    return images.take(torch.arange(len(images))).cpu()
