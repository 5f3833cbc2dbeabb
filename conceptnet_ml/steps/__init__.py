"""The five steps, one a module. :mod:`conceptnet_ml.learner` calls them in order."""

from conceptnet_ml.steps import closure as close
from conceptnet_ml.steps import descend, find, generalize, probe, specialize

__all__ = ["close", "descend", "find", "generalize", "probe", "specialize"]
