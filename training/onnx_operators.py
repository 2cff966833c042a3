"""Operators of our own in ONNX: what the exporter writes in place of each."""

from __future__ import annotations

from collections.abc import Callable

from onnxscript import FLOAT, INT64, script
from onnxscript import opset18 as op

from training.networks.pointnet2 import FARTHEST_POINTS


@script()
def farthest_points(points: FLOAT, count: int) -> INT64:
    """Choose points as `training.networks.pointnet2.farthest_points` does, in a loop.

    Squares are summed in the same order, so that rounding chooses no others.

    Parameters
    ----------
    points : (B, N, 3) float32
        In any unit.
    count : int
        How many.

    Returns
    -------
    (B, count) int64
        Indices into N.
    """
    planes = op.Transpose(points, perm=[2, 0, 1])
    batch = op.Shape(points, start=0, end=1)
    one, none, zero = op.Constant(value_ints=[1]), op.Constant(value_ints=[0]), op.Constant(value_int=0)
    nearest = op.Expand(op.Constant(value_float=float("inf")), op.Shape(points, start=0, end=2))
    last = op.Expand(zero, op.Concat(batch, one, axis=0))
    chosen = op.Expand(zero, op.Concat(batch, none, axis=0))
    of_planes = op.Concat(op.Constant(value_ints=[3]), batch, one, axis=0)
    for _ in range(count):
        chosen = op.Concat(chosen, last, axis=1)
        apart = planes - op.GatherElements(planes, op.Expand(last, of_planes), axis=2)
        x, y, z = op.Split(apart * apart, axis=0, num_outputs=3)
        nearest = op.Min(nearest, op.Squeeze(x + y + z, none))
        last = op.ArgMax(nearest, axis=1, keepdims=1)
    return chosen


TRANSLATIONS: dict[Callable, Callable] = {FARTHEST_POINTS: farthest_points}
