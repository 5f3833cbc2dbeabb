"""Operations on the units of a trained network: split, merge, forget and prune them.

groups            DependencyGroup, UnitAxis, Dependency: which tensors have a row or column for each unit
dependency_graph  dependency_group, tied_stages: finds them by following the units through the network
resize            load_state, resized, FrozenConv2d: layers of another width, and layers with frozen channels
split             split_unit, prune_units, class_shares: copies of a unit; silent units
merge             merge_units: one unit in place of several
similarity        similar_units, importances: which units are alike, and what the network would lose with each
forget            forget_units: units that are constant for good
batchnorm         estimate_batch_norms, recalibrate: running statistics after an operation
"""
