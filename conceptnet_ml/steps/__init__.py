"""The five steps, one a module. :mod:`conceptnet_ml.learner` calls them in order."""

from conceptnet_ml.steps import choose, descend, find, generalize, probe, specialize

__all__ = ["choose", "descend", "find", "generalize", "probe", "specialize"]
