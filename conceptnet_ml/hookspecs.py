"""The hooks a plugin may implement: one plural noun per kind of record, each returns a list of records."""

from __future__ import annotations

import pluggy

from conceptnet_ml import records

PROJECT = "conceptnet_ml"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def conceptnet_datasets() -> list[records.Dataset]:
    """Data sets, chosen by ``--data NAME:ARGUMENT``."""


@hookspec
def conceptnet_traps() -> list[records.Trap]:
    """Traps that plant a cue in any data set, chosen by ``--trap NAME`` or ``--trap A+B``."""


@hookspec
def conceptnet_backbones() -> list[records.Backbone]:
    """Networks, chosen by ``--backbone NAME:ARGUMENT``."""


@hookspec
def conceptnet_representations() -> list[records.Representation]:
    """Invertible views of an image in which a feature can be exchanged."""


@hookspec
def conceptnet_discoverers() -> list[records.Discoverer]:
    """The find step."""


@hookspec
def conceptnet_stop_rules() -> list[records.StopRule]:
    """What the probe step keeps."""


@hookspec
def conceptnet_generalizers() -> list[records.Generalizer]:
    """The generalize step."""


@hookspec
def conceptnet_specializers() -> list[records.Specializer]:
    """The specialize step."""


@hookspec
def conceptnet_dreamers() -> list[records.Dreamer]:
    """Pictures of a unit, a feature or a variant."""


@hookspec
def conceptnet_exporters() -> list[records.Exporter]:
    """Formats of the concept graph, chosen by ``graph export --format NAME``."""


@hookspec
def conceptnet_baselines() -> list[records.Baseline]:
    """Baselines, chosen by ``learn --control NAME``."""


@hookspec
def conceptnet_commands() -> list[records.Command]:
    """Extra commands of the command line."""
