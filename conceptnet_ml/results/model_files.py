"""What a run's model.safetensors and model.json hold: networks by fingerprint, families on their trunks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from conceptnet_ml.concepts.model import Family
from conceptnet_ml.network.basis import BasisNetwork, without_basis
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.hashing import fingerprint


def save_model(ctx: Context, learned: Learned, controls: dict[str, StagedNetwork], families: dict[str, Family]) -> None:
    """Write the learned network, the ordinary one, the controls and all families into the run."""
    weights: dict[str, Any] = {}

    def add(network: Any) -> str:
        key = fingerprint(network.state_dict())
        weights.update({f"networks.{key}.{name}": value for name, value in network.state_dict().items()})
        return key

    networks = {
        name: add(network)
        for name, network in {"ordinary": learned.ordinary, "learned": learned.network, **controls}.items()
    }
    described = []
    for name, family in families.items():
        within, stage = family.trunk.network, str(family.trunk.stage)
        assert isinstance(within, StagedNetwork | BasisNetwork)
        key = add(without_basis(within))
        networks.setdefault(f"trunk {key}", key)
        for part, module in (("detector", family.detector), ("variants", family.variants)):
            weights |= {f"families.{name}.{part}.{field}": value for field, value in module.state_dict().items()}
        description = {
            "name": name,
            "stage": stage,
            "network": key,
            "generalizer": ctx.settings.plugins.generalizer,
            "specializer": ctx.settings.plugins.specializer,
        }
        if isinstance(within, BasisNetwork) and stage in within.bases:
            state = within.bases[stage].state_dict()
            weights |= {f"families.{name}.basis.{field}": value.clone() for field, value in state.items()}
            description["discoverer"] = ctx.settings.plugins.discoverer
        described.append(description)
    ctx.run.save_model(
        weights,
        {
            "classes": list(ctx.data.classes),
            "image_size": list(ctx.size),
            "networks": networks,
            "families": described,
        },
    )


def with_network(
    weights: dict[str, Tensor], description: dict[str, Any], network: StagedNetwork, without: str | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A saved model with another learned network, and without one of its families.

    Args:
        weights, description: As the run reads them.
        network: The learned network.
        without: Name of the family that goes; None for none.
    """
    key = fingerprint(network.state_dict())
    families = [family for family in description["families"] if family["name"] != without]
    networks = {**description["networks"], "learned": key}
    trunks = {family["network"] for family in families}
    networks = {name: key for name, key in networks.items() if not name.startswith("trunk ") or key in trunks}
    kept = tuple(f"networks.{used}." for used in networks.values() if used != key)
    kept += tuple(f"families.{family['name']}." for family in families)
    chosen = {name: value for name, value in weights.items() if name.startswith(kept)}
    chosen |= {f"networks.{key}.{name}": value for name, value in network.state_dict().items()}
    return chosen, {**description, "networks": networks, "families": families}
