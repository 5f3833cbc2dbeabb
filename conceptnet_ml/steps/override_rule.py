"""The user's overrides of decisions: asked wherever the stop rule decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from conceptnet_ml.config.overrides import Override, parse_overrides
from conceptnet_ml.config.settings import RoundSettings
from conceptnet_ml.steps.records import ProbeResult, RefitVariants, Round, Trained
from conceptnet_ml.storage.hashing import sha256
from conceptnet_ml.swap.stop_rule import USER, Decision

Trial = TypeVar("Trial", Trained, RefitVariants)


@dataclass
class OverrideRule:
    """The overrides of a run, and what they changed.

    Args:
        settings: With the overrides, and the weight of errors by which representations are compared.

    Attributes:
        overruled: By round, every decision that was overruled: who decided what, and what the rule would have said.

    Raises:
        SettingsError: As :func:`parse_overrides`.
    """

    settings: RoundSettings
    overruled: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._words = parse_overrides(self.settings.keep, self.settings.undo)
        self._insisted: set[tuple[str, str]] = set()
        self._given: dict[str, str] = {}
        self._changed: list[tuple[str, str, str, bool]] = []

    @property
    def basis(self) -> str:
        """Fingerprint of the decisions overruled so far, empty where there are none.

        All else that a step rests on follows from the run's settings and the rule. So a step that was recorded on
        another basis is computed anew, and one recorded on the same basis is not.
        """
        if not self._changed:
            return ""
        return sha256(json.dumps(self._changed), 16)

    def exchange(self, name: str, places: str) -> None:
        """Places that the user named are exchanged in this round: what is computed from here on rests on them."""
        self._given[name] = places
        self._changed.append((name, places, "exchange", True))

    def before_training(self, name: str, judged: ProbeResult, tried: Sequence[str]) -> ProbeResult:
        """A representation's probe, with the user's decision in place of the rule's before training.

        Args:
            name: The round.
            judged: The probe and what the rule says.
            tried: The representations of this round: one that the user names and that is not among them says nothing.
        """
        representation = judged.measured.representation
        named = [word.representation for word in self._about(name, True) if word.representation in tried]
        if any(word.representation in (None, representation) for word in self._about(name, False)):
            decision = self._decide(name, representation, judged.decision, False, "undo it")
        elif places := self._given.get(name):
            decision = self._exchanged(name, representation, judged.decision, places)
        elif representation in named:
            decision = self._decide(name, representation, judged.decision, True, "keep it")
        elif named and judged.decision.keep:
            decision = self._decide(name, representation, judged.decision, False, f"take {named[0]}")
        elif judged.decision.keep and any(word.representation is None for word in self._about(name, True)):
            decision = self._decide(name, representation, judged.decision, True, "keep it")
        else:
            decision = judged.decision
        return replace(judged, decision=decision)

    def has_overruled(self, name: str, judged: ProbeResult) -> bool:
        """Whether the rule decided otherwise on this representation, before training."""
        return any(changed[:2] == (name, judged.measured.representation) for changed in self._changed)

    def side(self, name: str, judged: ProbeResult) -> bool | None:
        """Whether the user wants what is outside the gates exchanged; None where the user named no side."""
        representation = judged.measured.representation
        named = (word.outside for word in self._about(name, True) if word.representation == representation)
        asked = next((outside for outside in named if outside is not None), None)
        if asked is not None:
            side = "outside" if asked else "inside"
            self._changed.append((name, representation, side, True))
            said = f"{representation}: the user chose the side, and what is {side} its gates is exchanged"
            self.overruled.setdefault(name, []).append(said)
        return asked

    def by_new_world(self, name: str, judged: ProbeResult, decision: Decision) -> ProbeResult:
        """A representation's probe with what pictures of the new world say in place of the rule's decision."""
        return replace(judged, decision=self._overrule(name, judged.measured.representation, "", decision))

    def kept_by_user(self, name: str, judged: list[ProbeResult]) -> ProbeResult | None:
        """Where the rule kept nothing in a round that the user keeps: its best representation, place-gated if one is.

        The best is the one that came nearest to being kept. It takes its old place in ``judged`` with the user's
        decision. None where the user said nothing, or named a representation.
        """
        asked = {word.representation for word in self._about(name, True)}
        if asked != {None}:
            return None
        undone = {word.representation for word in self._about(name, False)}
        able = [one for one in judged if one.measured.representation not in undone]
        if not able:
            return None
        best = max(able, key=self._nearness)
        representation = best.measured.representation
        self._insisted.add((name, representation))
        if best.decision.keep:
            return best  # the rule undid it after training
        decision = self._decide(name, representation, best.decision, True, "keep it")
        place = judged.index(best)
        judged[place] = replace(best, decision=decision)
        return judged[place]

    def undone_by_user(self, name: str, judged: list[ProbeResult]) -> ProbeResult | None:
        """The first representation of a round that the rule would have trained and the user undid."""
        undone = [representation for round_, representation, _, kept in self._changed if round_ == name and not kept]
        return next((one for one in judged if one.measured.representation in undone), None)

    def after_training(self, name: str, representation: str, trial: Trial) -> Trial:
        """A trained round, or a family taught anew, with the user's decision in place of the rule's."""
        asked = name in self._given
        asked = asked or any(word.representation == representation for word in self._about(name, True))
        if trial.decision.keep or not (asked or (name, representation) in self._insisted):
            return trial
        decision = self._decide(
            name,
            representation,
            trial.decision,
            True,
            "keep it",
            "Taught" if isinstance(trial, RefitVariants) else "Trained",
        )
        return replace(trial, decision=decision)

    def unused_words(self, rounds: Sequence[Round]) -> list[str]:
        """Sentences for the summary: overrides that matched no round."""
        tried = {one.name: [probe.measured.representation for probe in one.probed] for one in rounds}
        found = []
        for word in self._words:
            if word.round not in tried:
                found.append(f"{word}: there was no such round")
            elif word.representation is not None and word.representation not in tried[word.round]:
                found.append(f"{word}: {word.representation} was not tried in this round")
        return found

    def _about(self, name: str, keep: bool) -> list[Override]:
        return [word for word in self._words if word.round == name and word.keep == keep]

    def _nearness(self, judged: ProbeResult) -> tuple[bool, float]:
        measured, score = judged.measured, judged.decision.score
        if measured.gate == "place":
            return True, measured.iota_less_errors(self.settings.imperfection) if score is None else score
        return False, measured.contrast if score is None else score

    def _decide(
        self, name: str, representation: str, rule: Decision, keep: bool, what: str, when: str = ""
    ) -> Decision:
        if rule.keep == keep:
            return replace(rule, reason=f"{rule.reason}; the user says so too", evidence=USER)
        would = "keep it" if rule.keep else "undo it" if when else "refuse it"
        reason = f"the user decided to {what}; the rule would {would}: {rule.reason}"
        return self._overrule(name, representation, when, rule.instead(keep, reason, USER))

    def _exchanged(self, name: str, representation: str, rule: Decision, places: str) -> Decision:
        """In all classes, whichever share it by the rule."""
        rule = replace(rule, classes=None)
        if not rule.keep:
            return self._decide(name, representation, rule, True, f"exchange {places}")
        return rule.instead(True, f"the user decided to exchange {places}; so would the rule: {rule.reason}", USER)

    def _overrule(self, name: str, representation: str, when: str, decision: Decision) -> Decision:
        self._changed.append((name, representation, when, decision.keep))
        self.overruled.setdefault(name, []).append(f"{representation}: {decision.reason}")
        return decision
