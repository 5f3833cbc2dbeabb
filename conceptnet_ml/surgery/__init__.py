"""Operations on the units of a trained network: split, merge and forget them.

groups            DependencyGroup, UnitAxis, Dependency: which tensors have a row or column for each unit
dependency_graph  dependency_group: finds them by following the units through the network
resize            load_state, resized, FrozenConv2d: layers of another width, and layers with frozen channels
split             split_unit, class_shares: copies of a unit, and what all operations share
merge             merge_units, importances: one unit in place of several; what the network would lose with each
forget            forget_units: units that are constant for good
batchnorm         Moments, recalibrate: of activations; running statistics after an operation
"""
