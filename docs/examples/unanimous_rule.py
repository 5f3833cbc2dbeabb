"""A stop rule: the built-in one, but what only some classes share is refused.

It pays with many classes that are alike, where a search for those that share something finds a part of the object.
"""

from __future__ import annotations

from dataclasses import replace

from conceptnet_ml import Decision, StopRule, SwapMeasurement, hookimpl
from conceptnet_ml.config.settings import RoundSettings
from conceptnet_plugins.stop_rules import interchangeable


def decide(measured: SwapMeasurement, settings: RoundSettings) -> Decision:
    """The built-in decision, turned where it names classes."""
    decision = interchangeable.decide(measured, settings)
    if decision.classes is None:
        return decision
    return replace(decision, keep=False, reason=f"{decision.reason}; all must share it", classes=None)


@hookimpl
def conceptnet_stop_rules() -> list[StopRule]:
    return [
        StopRule(name="unanimous", api="1", decide=decide, summary="as interchangeable, where all classes share it")
    ]
