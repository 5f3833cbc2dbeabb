"""Names of devices, told without torch, which takes seconds to load."""

from __future__ import annotations

from conceptnet_ml.errors import SettingsError, nearest


def check_device_name(name: str) -> None:
    """Refuse what is none of ``auto``, ``cpu``, ``cuda`` and ``cuda:N``; whether there is such a card torch knows.
    Raises SettingsError."""
    kind, colon, index = name.partition(":")
    if name not in ("auto", "cpu") and (kind != "cuda" or (colon and not index.isdecimal())):
        raise SettingsError(f"--device '{name}' is unknown", nearest(name, ("auto", "cpu", "cuda", "cuda:0")))
