"""What a run's model.safetensors and model.json hold: networks by fingerprint, families on their trunks."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from conceptnet_ml.concepts.model import Family, GeneralizedModel, Trunk
from conceptnet_ml.config.settings import Settings
from conceptnet_ml.network.basis import BasisNetwork, Network, with_basis, without_basis
from conceptnet_ml.network.build import build_network
from conceptnet_ml.network.staged_network import StagedNetwork
from conceptnet_ml.plugins import Plugins
from conceptnet_ml.runtime import layout
from conceptnet_ml.steps.context import Context
from conceptnet_ml.steps.records import Learned
from conceptnet_ml.storage.hashing import fingerprint
from conceptnet_ml.surgery.resize import load_state

TRUNK = "trunk "
"""How the name of a network begins that is kept for a family's sake only."""

BEFORE = "before "
"""How the name of a network begins that a round started from: what the round found is to be looked at there."""

SavedModel = tuple[dict[str, Tensor], dict[str, Any]]
"""The weights by their names in model.safetensors, and the content of model.json."""


def kept_families(ctx: Context, learned: Learned) -> dict[str, Family]:
    """All families of a run by name, but those that the user forgot."""
    forgotten = ctx.history.forgotten_families()
    return {
        key: readout.family
        for key, readout in learned.families.items()
        if readout.family is not None and key not in forgotten
    }


def networks_before(learned: Learned) -> dict[str, StagedNetwork]:
    """The network that each round started from, by the round's name: its features are units of that network."""
    return {round.name: without_basis(round.readout.network) for round in learned.rounds}


def save_model(ctx: Context, learned: Learned, controls: dict[str, StagedNetwork], families: dict[str, Family]) -> None:
    """Write the learned network, the ordinary one, the controls, all families and what the rounds started from."""
    weights: dict[str, Tensor] = {}

    def add(prefix: str, module: nn.Module) -> None:
        weights.update({f"{prefix}.{name}": value for name, value in module.state_dict().items()})

    def add_network(network: nn.Module) -> str:
        key = fingerprint(network.state_dict())
        add(f"networks.{key}", network)
        return key

    named = {"ordinary": learned.ordinary, "learned": learned.network, **controls}
    named |= {f"{BEFORE}{name}": network for name, network in networks_before(learned).items()}
    networks = {name: add_network(network) for name, network in named.items()}
    chosen = ctx.settings.plugins
    described = []
    for name, family in families.items():
        within, stage = family.trunk.network, str(family.trunk.stage)
        assert isinstance(within, StagedNetwork | BasisNetwork)
        key = add_network(without_basis(within))
        networks.setdefault(f"{TRUNK}{key}", key)
        add(f"families.{name}.detector", family.detector)
        add(f"families.{name}.variants", family.variants)
        described.append({"name": name, "stage": stage, "network": key})
        described[-1] |= {"generalizer": chosen.generalizer, "specializer": chosen.specializer}
        if isinstance(within, BasisNetwork) and stage in within.bases:
            state = within.bases[stage].state_dict()
            weights |= {f"families.{name}.basis.{field}": value.clone() for field, value in state.items()}
            described[-1]["discoverer"] = chosen.discoverer
    description = {"classes": list(ctx.data.classes), "image_size": list(ctx.size)}
    if ctx.data.shape[0] != 3:
        description["channels"] = ctx.data.shape[0]
    height, width = ctx.data.read_size
    if height != width:
        description["read_size"] = [height, width]
    ctx.run.save_model(weights, {**description, "networks": networks, "families": described})


def load_model(
    saved: SavedModel, settings: Settings, plugins: Plugins, device: torch.device
) -> tuple[GeneralizedModel, dict[str, StagedNetwork]]:
    """The learned model with its families, and all other networks by name, in evaluation mode.

    Args:
        saved: As the run reads it.
        settings: The run's.
        plugins: Where the backbone and the parts of the families are looked up.
        device: Where to put them.
    """
    weights, description = saved
    bare = settings.model_copy(update={"network": settings.network.model_copy(update={"weights": None})})
    size = tuple(description["image_size"])
    fresh = build_network(bare, description["classes"], size, plugins, channels=description.get("channels", 3))
    networks: dict[str, StagedNetwork] = {}
    for key in sorted(set(description["networks"].values())):
        network = load_state(copy.deepcopy(fresh), _below(weights, f"networks.{key}."))
        networks[key] = layout.to_device(network, device).eval()

    def part(family: dict[str, Any], kind: str, name: str) -> nn.Module:
        restore = plugins.get(kind, family[kind]).function("restore")
        module: nn.Module = restore(_below(weights, f"families.{family['name']}.{name}."))
        return module.to(device)

    families = {}
    for family in description["families"]:
        detector, variants = part(family, "generalizer", "detector"), part(family, "specializer", "variants")
        within: Network = networks[family["network"]]
        if "discoverer" in family:
            within = with_basis(within, family["stage"], part(family, "discoverer", "basis").requires_grad_(False))
        families[family["name"]] = Family(Trunk(within, family["stage"]), detector, variants).eval()
    named = {name: networks[key] for name, key in description["networks"].items()}
    return GeneralizedModel(named.pop("learned"), families).eval(), named


def read_size(saved: SavedModel) -> tuple[int, int]:
    """(H, W) at which a run's pictures are read; a trap may have changed their size afterwards.

    Only a size that is not square is recorded: a square is as wide as the images are after a trap, or as high.
    """
    _, description = saved
    height, width = description.get("read_size") or [min(description["image_size"])] * 2
    return height, width


def replace_network(saved: SavedModel, network: StagedNetwork, without: str | None = None) -> SavedModel:
    """A saved model with another learned network, and without the family ``without`` where one is named."""
    weights, description = saved
    key = fingerprint(network.state_dict())
    families = [family for family in description["families"] if family["name"] != without]
    networks = {**description["networks"], "learned": key}
    trunks = {family["network"] for family in families}
    networks = {name: key for name, key in networks.items() if not name.startswith(TRUNK) or key in trunks}
    kept = tuple(f"networks.{used}." for used in networks.values() if used != key)
    kept += tuple(f"families.{family['name']}." for family in families)
    chosen = {name: value for name, value in weights.items() if name.startswith(kept)}
    chosen |= {f"networks.{key}.{name}": value for name, value in network.state_dict().items()}
    return chosen, {**description, "networks": networks, "families": families}


def _below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
