"""The settings of a run and where they come from.

settings     Settings, DataSettings, RoundSettings, ...: every setting with its default and meaning
overrides    Override, parse_overrides, add_overrides, check_overrides: rounds that the user keeps or undoes
values       parse_value, show_value, allowed_values: a value from text, as text, and which there are
plugin_settings  plugin_fields, with_plugin_defaults, ...: what plugins declare, ``plugin.NAME.x``
sources      resolve_settings, resume_settings, known_settings, command, ...: defaults, TOML, ``--set``, flags
trust        remember, check_trusted: which modules may be imported because a run folder names them
"""
