"""Estimators: observations in, poses out. `load` finds the right one for a model."""

from clipose_ros.estimators.loading import load, load_all

__all__ = ["load", "load_all"]
