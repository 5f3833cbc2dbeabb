"""What a dream maximizes: units, directions, classes, whole layers, another picture's features, or a weighted sum."""

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
"""The layer of the class scores, before the softmax."""

CENTRE, EVERYWHERE = "centre", "everywhere"

Members = Sequence[tuple[int, "Term"]]
"""Terms of one kind and layer, each with the number of its image in the batch."""


@dataclass(frozen=True, eq=False)
class Term:
    """One summand of an objective, at one layer.

    Args:
        layer: A stage, any module's path, or :data:`LOGITS`.
        kind: ``linear``, ``energy``, ``guide`` or ``module``.
        key: A digest of its content.
        weight: Its factor in the sum.
        vector: Of a linear term: weights of the channels, (C,), or the number of one unit.
        place: Of a linear term: ``everywhere`` (the mean over the maps), ``centre``, or a cell (row, column).
        image: Of a guide: uint8 (C, H, W).
        module: Of a module term: maps (B, C, h, w) to (B, K); ``column`` is the one of K that counts.
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
    """A weighted sum of terms to maximize; made by the functions below.

    Args:
        name: For labels.
        terms: The summands.
        expects: The class that the picture should show, None where it is no class's.
    """

    name: str
    terms: tuple[Term, ...]
    expects: int | None = field(default=None, kw_only=True)

    @property
    def key(self) -> str:
        """A digest of the terms, without the name."""
        return digest(*(part for term in self.terms for part in (term.key, repr(term.weight), repr(term.place))))

    @property
    def layers(self) -> frozenset[str]:
        """The layers it needs."""
        return frozenset(term.layer for term in self.terms)

    @staticmethod
    def unit(layer: str, unit: int, name: str | None = None) -> Objective:
        """The mean of one channel's map."""
        if unit < 0:
            raise SettingsError(f"unit {unit} of '{layer}' does not exist", "Units are counted from 0.")
        return Objective(name or f"{layer}:{unit}", (Term(layer, "linear", digest(layer, unit), vector=int(unit)),))

    @staticmethod
    def direction(layer: str, vector: Tensor | Sequence[float], name: str | None = None) -> Objective:
        """The mean over the positions of ``⟨vector, maps⟩``; the vector (C,) is scaled to length one.

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
        """Several units of a layer with ``channels`` channels together, each with its weight."""
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
        """All of a layer: half the mean square of its maps (Mordvintsev et al., *Inceptionism*, 2015)."""
        return Objective(layer, (Term(layer, "energy", digest(layer, "energy")),))

    @staticmethod
    def guide(layer: str, image: Tensor, name: str | None = None) -> Objective:
        """A layer's features of another picture, uint8 (C, H, W): ``mean_p max_q ⟨maps[p], guide[q]⟩``, as in the
        Inceptionism notebook."""
        term = Term(layer, "guide", digest(layer, "guide", image), image=image.detach().cpu())
        return Objective(name or f"{layer}, guided", (term,))

    @staticmethod
    def module(layer: str, module: Callable[[Tensor], Tensor], column: int, name: str) -> Objective:
        """A column of a module's output on the layer's maps, as of a variant or a probe.

        Stored dreams are found by the module's class and weights; ``dream_key`` on the class stands for its name.
        """
        state = module.state_dict() if isinstance(module, nn.Module) else {}
        kind = getattr(module, "dream_key", repr(type(module)))
        key = digest(layer, "module", kind, column, *state, *state.values())
        return Objective(name, (Term(layer, "module", key, module=module, column=column),))

    @staticmethod
    def mix(parts: Sequence[tuple[Objective, float]], name: str | None = None) -> Objective:
        """A weighted sum of objectives; what has a negative weight is avoided."""
        terms = tuple(replace(term, weight=term.weight * weight) for part, weight in parts for term in part.terms)
        if not terms:
            raise SettingsError("a mix of objectives is empty", "Give at least one (objective, weight).")
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


class ObjectiveBatch:
    """Objectives of a batch, an image each, evaluated together: ``batch(maps) -> (B,)``; guides' maps are by their key.

    All linear terms of a layer are one product, whatever units they need. Images do not influence each other.
    """

    def __init__(self, objectives: Sequence[Objective], guides: Mapping[str, Tensor], device: torch.device) -> None:
        self.count = len(objectives)
        self._guides, self._device = guides, device
        self._groups: dict[tuple[Any, ...], list[tuple[int, Term]]] = {}
        for row, objective in enumerate(objectives):
            for term in objective.terms:
                group = (term.layer, term.kind, term.place if term.kind == "linear" else id(term.module))
                self._groups.setdefault(group, []).append((row, term))
        self._prepared: dict[tuple[Any, ...], Callable[[Tensor], Tensor]] = {}

    def __call__(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Each image's objective, (B,), in fp32, from the layers' maps."""
        total: Tensor | None = None
        for group, members in self._groups.items():
            layer, kind, _ = group
            if group not in self._prepared:
                prepare = {"linear": self._linear, "energy": self._energy, "guide": self._guide, "module": self._module}
                self._prepared[group] = prepare[kind](members, maps[layer].shape[1])
            part = self._prepared[group](maps[layer])
            total = part if total is None else total + part
        assert total is not None
        return total

    def _linear(self, members: Members, channels: int) -> Callable[[Tensor], Tensor]:
        weights = torch.zeros(self.count, channels)
        for row, term in members:
            if isinstance(term.vector, Tensor):
                weights[row] += term.weight * term.vector
            else:
                weights[row, term.vector] += term.weight
        weights, place = weights.to(self._device), members[0][1].place
        return lambda maps: (_at(maps, place).float() * weights).sum(1)

    def _energy(self, members: Members, _: int) -> Callable[[Tensor], Tensor]:
        weights = torch.zeros(self.count)
        for row, term in members:
            weights[row] += term.weight / 2
        weights = weights.to(self._device)
        return lambda maps: maps.float().square().flatten(1).mean(1) * weights

    def _guide(self, members: Members, _: int) -> Callable[[Tensor], Tensor]:
        guides = [self._guides[term.key].float().flatten(1).to(self._device) for _, term in members]
        rows = torch.tensor([row for row, _ in members], device=self._device)

        def evaluate(maps: Tensor) -> Tensor:
            values = []
            for (row, term), guide in zip(members, guides, strict=True):
                mine = maps[row].float().flatten(1)
                best = (guide.T @ mine.detach()).argmax(0)
                values.append(term.weight * (guide[:, best] * mine).sum(0).mean())
            return maps.new_zeros(self.count, dtype=torch.float32).index_add(0, rows, torch.stack(values))

        return evaluate

    def _module(self, members: Members, _: int) -> Callable[[Tensor], Tensor]:
        module = members[0][1].module
        assert module is not None
        rows = torch.tensor([row for row, _ in members], device=self._device)
        columns = torch.tensor([term.column for _, term in members], device=self._device)
        weights = torch.tensor([term.weight for _, term in members], device=self._device)

        def evaluate(maps: Tensor) -> Tensor:
            outputs = module(maps if len(rows) == self.count else maps[rows]).float()
            if outputs.ndim != 2 or int(columns.max()) >= outputs.shape[1]:
                raise SettingsError(
                    f"a target's module returns {tuple(outputs.shape)} for {len(rows)} images",
                    "It must return (images, columns), with the column asked for: pool maps before.",
                )
            values = outputs.gather(1, columns[:, None])[:, 0] * weights
            return maps.new_zeros(self.count, dtype=torch.float32).index_add(0, rows, values)

        return evaluate


def check_objective(objective: Objective, maps: Mapping[str, Tensor]) -> None:
    """Raises SettingsError where the layers, given by maps of any image, lack the objective's units or cells."""
    for term in objective.terms:
        layer, vector, channels = term.layer, term.vector, maps[term.layer].shape[1]
        what = "classes" if layer == LOGITS else "units"
        if isinstance(vector, int) and vector >= channels:
            raise SettingsError(f"'{layer}' has no unit {vector}", f"It has {channels} {what}, 0 to {channels - 1}.")
        if isinstance(vector, Tensor) and len(vector) != channels:
            needed = f"It needs {channels}, one a unit."
            raise SettingsError(f"a direction of '{layer}' has {len(vector)} numbers", needed)
        if isinstance(term.place, tuple) and maps[layer].ndim == 4:
            height, width = maps[layer].shape[2:]
            if not (0 <= term.place[0] < height and 0 <= term.place[1] < width):
                raise SettingsError(f"'{layer}' has no cell {term.place}", f"It has {height} × {width} cells.")


def _at(maps: Tensor, place: str | tuple[int, int]) -> Tensor:
    if maps.ndim == 2:
        return maps
    if place == EVERYWHERE:
        return maps.flatten(2).mean(2)
    row, column = (maps.shape[2] // 2, maps.shape[3] // 2) if isinstance(place, str) else place
    return maps[:, :, row, column]
