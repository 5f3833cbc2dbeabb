"""What a dream is to bring up: units, directions, classes, whole layers, another picture's features, or a mix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.errors import SettingsError
from conceptnet_ml.storage.hashing import digest

LOGITS = "logits"
"""The layer of the classes' answers, before the softmax."""

CENTRE = "centre"

EVERYWHERE = "everywhere"


@dataclass(frozen=True, eq=False)
class Term:
    """One thing at one layer.

    Args:
        layer: A stage, any module's path, or :data:`LOGITS`.
        kind: ``linear``, ``energy``, ``guide`` or ``module``.
        weight: Its share in the target.
        vector: Of a linear term: what is summed over the channels, (C,); or a unit's number.
        place: Of a linear term: ``everywhere`` (the mean over the maps), ``centre``, or a cell (row, column).
        image: Of a guide: uint8 (C, H, W).
        module: Of a module term: maps (B, C, h, w) to (B, K); ``column`` says which.
        key: Tells terms of other content apart.
    """

    layer: str
    kind: str
    key: str
    weight: float = 1.0
    vector: Tensor | int | None = None
    place: str | tuple[int, int] = EVERYWHERE
    image: Tensor | None = None
    module: Callable[[Tensor], Tensor] | None = None
    column: int = 0


@dataclass(frozen=True, eq=False)
class Objective:
    """What is to grow: a weighted sum of terms. Made by the functions below, not by hand.

    Args:
        name: For labels.
        terms: What is added up.
        expects: The class that the picture should show, if it is one's.
    """

    name: str
    terms: tuple[Term, ...]
    expects: int | None = field(default=None, kw_only=True)

    @property
    def key(self) -> str:
        """A digest of what is sought, whatever it is called."""
        return digest(*(part for term in self.terms for part in (term.key, repr(term.weight), repr(term.place))))

    @property
    def layers(self) -> frozenset[str]:
        """The layers it looks at."""
        return frozenset(term.layer for term in self.terms)

    @staticmethod
    def unit(layer: str, unit: int, name: str | None = None) -> Objective:
        """The mean of one channel's map."""
        if unit < 0:
            raise SettingsError(f"unit {unit} of '{layer}' does not exist", "Units are counted from 0.")
        return Objective(name or f"{layer}:{unit}", (Term(layer, "linear", digest(layer, unit), vector=int(unit)),))

    @staticmethod
    def direction(layer: str, vector: Tensor | Sequence[float], name: str | None = None) -> Objective:
        """The mean over the positions of ``⟨vector, maps⟩``; the vector (C,) is brought to length one.

        Raises:
            SettingsError: The vector is zero or not finite.
        """
        values = torch.as_tensor(vector, dtype=torch.float32).detach().cpu().flatten()
        length = float(values.norm())
        if not math.isfinite(length) or length == 0:
            raise SettingsError(
                f"a direction of '{layer}' has length {length}", "Give a finite vector other than zero."
            )
        term = Term(layer, "linear", digest(layer, values), vector=values / length)
        return Objective(name or f"{layer}: a direction", (term,))

    @staticmethod
    def feature(layer: str, units: Mapping[int, int], channels: int, name: str | None = None) -> Objective:
        """Several units of a layer with ``channels`` channels at once, each with its weight."""
        vector = torch.zeros(channels)
        for unit, weight in units.items():
            if not 0 <= unit < channels:
                raise SettingsError(f"'{layer}' has no unit {unit}", f"It has {channels} units, 0 to {channels - 1}.")
            vector[unit] = weight
        return Objective.direction(layer, vector, name)

    @staticmethod
    def logit(index: int, name: str) -> Objective:
        """A class's logit."""
        term = Term(LOGITS, "linear", digest(LOGITS, index), vector=int(index))
        return Objective(name, (term,), expects=int(index))

    @staticmethod
    def layer(layer: str) -> Objective:
        """Whatever the layer sees: half the mean square of its maps (Mordvintsev et al., *Inceptionism*, 2015)."""
        return Objective(layer, (Term(layer, "energy", digest(layer, "energy")),))

    @staticmethod
    def guide(layer: str, image: Tensor, name: str | None = None) -> Objective:
        """What the layer sees in another picture: at every position the guide's position that fits best counts.

        ``mean_p max_q ⟨maps[p], guide[q]⟩``, the guided dream of the Inceptionism notebook.

        Args:
            layer: Where the two are compared.
            image: The guide, uint8 (C, H, W).
        """
        term = Term(layer, "guide", digest(layer, "guide", image), image=image.detach().cpu())
        return Objective(name or f"{layer}, guided", (term,))

    @staticmethod
    def module(layer: str, module: Callable[[Tensor], Tensor], column: int, name: str) -> Objective:
        """A column of what a module makes of the layer's maps: a variant, a probe.

        Stored dreams are found by the module's class and weights; ``dream_key`` on the class stands for its name.
        """
        state = module.state_dict() if isinstance(module, nn.Module) else {}
        kind = getattr(module, "dream_key", repr(type(module)))
        key = digest(layer, "module", kind, column, *state, *state.values())
        return Objective(name, (Term(layer, "module", key, module=module, column=column),))

    @staticmethod
    def mix(parts: Sequence[tuple[Objective, float]], name: str | None = None) -> Objective:
        """A weighted sum of targets; a negative weight is a thing to avoid."""
        terms = tuple(replace(term, weight=term.weight * weight) for part, weight in parts for term in part.terms)
        if not terms:
            raise SettingsError("a mix of targets is empty", "Give at least one (target, weight).")
        label = " ".join(f"{'+' if weight >= 0 else '−'}{abs(weight):g}·{part.name}" for part, weight in parts)
        return Objective(name or label.removeprefix("+"), terms)

    @staticmethod
    def turn(old: int, new: int, names: Sequence[str]) -> Objective:
        """One class turned into another: the new class's logit less the old one's."""
        mixed = Objective.mix([(Objective.logit(new, names[new]), 1.0), (Objective.logit(old, names[old]), -1.0)])
        return replace(mixed, name=f"{names[old]} → {names[new]}", expects=new)

    def at(self, place: str | tuple[int, int]) -> Objective:
        """The same at one cell of the maps, (row, column) or ``centre``, in place of the mean over all.

        Raises:
            SettingsError: Another word.
        """
        if isinstance(place, str) and place not in (CENTRE, EVERYWHERE):
            raise SettingsError(f"'{place}' is no place of a layer's maps", "Use centre, everywhere or (row, column).")
        where = place if isinstance(place, str) else f"{place[0]},{place[1]}"
        terms = tuple(replace(term, place=place) for term in self.terms)
        return replace(self, name=f"{self.name} @ {where}", terms=terms)

    def named(self, name: str) -> Objective:
        """The same under another name."""
        return replace(self, name=name)


class ObjectiveBatch:
    """Targets of a batch of images, an image each, packed: ``objective(maps) -> (B,)``.

    Args:
        targets: One for each image.
        guides: Maps of a guide term's picture, (C, h, w), by the term's key.

    All linear terms of a layer are one product, whatever units they look at; images do not influence each other.
    """

    def __init__(self, targets: Sequence[Objective], guides: Mapping[str, Tensor], device: torch.device) -> None:
        self.count = len(targets)
        self._guides, self._device = guides, device
        groups: dict[tuple[Any, ...], list[tuple[int, Term]]] = {}
        for row, target in enumerate(targets):
            for term in target.terms:
                group = (term.layer, term.kind, term.place if term.kind == "linear" else id(term.module))
                groups.setdefault(group, []).append((row, term))
        self._groups = groups
        self._ready: dict[tuple[Any, ...], Any] = {}

    def __call__(self, maps: Mapping[str, Tensor]) -> Tensor:
        """What each image reaches of its target, (B,), in fp32."""
        total: Tensor | None = None
        for group, members in self._groups.items():
            layer, kind, place = group
            values = maps[layer]
            if group not in self._ready:
                self._ready[group] = getattr(self, f"_pack_{kind}")(members, values)
            packed = self._ready[group]
            part = getattr(self, f"_{kind}")(values, packed, place)
            total = part if total is None else total + part
        assert total is not None
        return total

    def _pack_linear(self, members: list[tuple[int, Term]], values: Tensor) -> Tensor:
        weights = torch.zeros(self.count, values.shape[1])
        for row, term in members:
            if isinstance(term.vector, Tensor):
                weights[row] += term.weight * term.vector
            else:
                weights[row, term.vector] += term.weight
        return weights.to(self._device)

    def _linear(self, values: Tensor, weights: Tensor, place: Any) -> Tensor:
        return (_at(values, place).float() * weights).sum(1)

    def _pack_energy(self, members: list[tuple[int, Term]], values: Tensor) -> Tensor:
        weights = torch.zeros(self.count)
        for row, term in members:
            weights[row] += term.weight / 2
        return weights.to(self._device)

    def _energy(self, values: Tensor, weights: Tensor, _: Any) -> Tensor:
        return values.float().square().flatten(1).mean(1) * weights

    def _pack_guide(self, members: list[tuple[int, Term]], values: Tensor) -> list[tuple[int, float, Tensor]]:
        return [(row, term.weight, self._guides[term.key].float().flatten(1).to(self._device)) for row, term in members]

    def _guide(self, values: Tensor, packed: list[tuple[int, float, Tensor]], _: Any) -> Tensor:
        parts = values.new_zeros(self.count, dtype=torch.float32)
        found = []
        for row, weight, guide in packed:
            mine = values[row].float().flatten(1)
            best = (guide.T @ mine.detach()).argmax(0)
            found.append(weight * (guide[:, best] * mine).sum(0).mean())
        rows = torch.tensor([row for row, _, _ in packed], device=values.device)
        return parts.index_add(0, rows, torch.stack(found))

    def _pack_module(self, members: list[tuple[int, Term]], values: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        rows = torch.tensor([row for row, _ in members], device=self._device)
        columns = torch.tensor([term.column for _, term in members], device=self._device)
        weights = torch.tensor([term.weight for _, term in members], device=self._device)
        return members[0][1].module, rows, columns, weights

    def _module(self, values: Tensor, packed: tuple[Any, Tensor, Tensor, Tensor], _: Any) -> Tensor:
        module, rows, columns, weights = packed
        answers = module(values if len(rows) == self.count else values[rows]).float()
        if answers.ndim != 2 or int(columns.max()) >= answers.shape[1]:
            raise SettingsError(
                f"a target's module returns {tuple(answers.shape)} for {len(rows)} images",
                "It must return (images, columns), with the column asked for: pool maps before.",
            )
        picked = answers.gather(1, columns[:, None])[:, 0] * weights
        return values.new_zeros(self.count, dtype=torch.float32).index_add(0, rows, picked)


def check_objective(target: Objective, maps: Mapping[str, Tensor]) -> None:
    """Refuse units, cells and vectors that the layers do not have.

    Args:
        target: What is asked for.
        maps: Maps of any image, by layer.

    Raises:
        SettingsError: It does not fit.
    """
    for term in target.terms:
        values = maps[term.layer]
        channels = values.shape[1]
        what = "classes" if term.layer == LOGITS else "units"
        if isinstance(term.vector, int) and term.vector >= channels:
            raise SettingsError(
                f"'{term.layer}' has no unit {term.vector}", f"It has {channels} {what}, 0 to {channels - 1}."
            )
        if isinstance(term.vector, Tensor) and len(term.vector) != channels:
            raise SettingsError(
                f"a direction of '{term.layer}' has {len(term.vector)} numbers", f"It needs {channels}, one a unit."
            )
        if isinstance(term.place, tuple) and values.ndim == 4:
            cells = tuple(values.shape[2:])
            if not all(0 <= at < size for at, size in zip(term.place, cells, strict=True)):
                raise SettingsError(
                    f"'{term.layer}' has no cell {term.place}", f"It has {cells[0]} × {cells[1]} cells."
                )


def _at(values: Tensor, place: str | tuple[int, int]) -> Tensor:
    if values.ndim == 2:
        return values
    if place == EVERYWHERE:
        return values.flatten(2).mean(2)
    row, column = (values.shape[2] // 2, values.shape[3] // 2) if isinstance(place, str) else place
    return values[:, :, row, column]
