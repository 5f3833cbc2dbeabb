"""What the core relies on in plugins, kind by kind, as checks; :mod:`conceptnet_ml.testing` calls them for anyone's.

trial           Trial, noise, soft_images: a record that is tried, and the pictures it is tried on
image_kinds     check_dataset, check_trap, check_built_backbone, check_representation: what takes or makes images
step_kinds      check_discoverer, check_basis, check_stop_rule, check_decisions, check_generalizer, ...: the steps
output_kinds    check_dreamer, check_exporter, check_logger, check_command: what comes out
baseline_kind   check_baseline, check_training, check_stops, check_views, small_context, trained_weights: rivals
"""
