"""The marker of a plugin's functions, ``conceptnet_traps() -> list[Trap]`` and so on: a plural noun for each of
:data:`conceptnet_ml.records.KINDS`, which returns records of that kind.
"""

from __future__ import annotations

import pluggy

PROJECT = "conceptnet_ml"
hookimpl = pluggy.HookimplMarker(PROJECT)
