"""Units are matched beyond what networks that know nothing have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted import planted_data, settings, workbench

from conceptnet_ml.concepts.readout import Readout
from conceptnet_ml.steps import analogies


def test_a_users_pretrained_network_is_compared_with_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are drawn again: else what it knew before would count as nothing, and hide what was learned."""
    (tmp_path / "known_net.py").write_text(
        "import torch\n"
        "from conceptnet_plugins.backbones.small import SmallNet\n\n\n"
        "def build(classes):\n"
        "    torch.manual_seed(7)\n"
        "    return SmallNet(classes, (32, 32))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    chosen = settings(network={"backbone": "known_net:build", "pretrained": True}, training={"head_epochs": 0})
    ctx = workbench(tmp_path / "run", planted_data(count=32), chosen)
    given = ctx.network()
    compared = analogies._untrained(ctx, "name", Readout("classes", given)).network
    for (name, one), other in zip(given.named_parameters(), compared.parameters(), strict=True):
        if name.endswith("conv1.weight"):
            assert not torch.equal(one, other), name
    ctx.run.close()
