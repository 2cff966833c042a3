"""What RViz shows of each object: the edges of its box, its axes (x red, y green, z blue) and a label."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from geometry_msgs.msg import Point, Vector3
from rclpy.duration import Duration
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Instance, PoseEstimate, TrackedPose, TrackState
from clipose_ros.ros.conversions import pose_message

EDGE_WIDTH_M = 0.002
AXIS_WIDTH_M = 0.004
LABEL_HEIGHT_M = 0.025
EDGE_COLOUR = ColorRGBA(r=1.0, g=0.85, b=0.2, a=0.9)
COASTING_COLOUR = ColorRGBA(r=0.6, g=0.6, b=0.6, a=0.5)  # of what is predicted
LABEL_COLOUR = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
AXIS_COLOURS = (ColorRGBA(r=1.0, a=1.0), ColorRGBA(g=1.0, a=1.0), ColorRGBA(b=1.0, a=1.0))

# Pairs of corners of the unit box, as signs, that differ in one coordinate.
EDGES = tuple(
    (a, b) for a, b in combinations(tuple(product((-0.5, 0.5), repeat=3)), 2) if sum(i != j for i, j in zip(a, b)) == 1
)


class Markers:
    """Marker arrays of successive frames: an object keeps its ids, and only what is gone is deleted.

    Parameters
    ----------
    lifetime_s : float
        RViz drops a marker that is not renewed for so long [s].
    """

    def __init__(self, lifetime_s: float) -> None:
        self._shown: set[tuple[str, int]] = set()
        self.set_lifetime(lifetime_s)

    def set_lifetime(self, lifetime_s: float) -> None:
        """Change the lifetime of the markers, from the next message on.

        Parameters
        ----------
        lifetime_s : float
            As of the constructor [s].
        """
        self._lifetime = Duration(seconds=lifetime_s).to_msg()

    def message(self, poses: list[tuple[Instance, PoseEstimate]], header: Header) -> MarkerArray:
        """Make the markers of a frame.

        Parameters
        ----------
        poses : list of (Instance, PoseEstimate)
            Measured and predicted ones.
        header : Header
            Of the poses.

        Returns
        -------
        MarkerArray
            ADD for every pose, DELETE for every marker of the message before that has no successor.
        """
        added = [marker for instance, estimate in poses for marker in self._object(instance, estimate, header)]
        shown = {(marker.ns, marker.id) for marker in added}
        deleted = [Marker(header=header, ns=ns, id=id, action=Marker.DELETE) for ns, id in sorted(self._shown - shown)]
        self._shown = shown
        return MarkerArray(markers=deleted + added)

    def _object(self, instance: Instance, estimate: PoseEstimate, header: Header) -> list[Marker]:
        markers = [box(estimate), axes(estimate), label(instance, estimate)]
        for marker in markers:
            marker.header, marker.id, marker.action, marker.lifetime = (
                header,
                marker_id(instance, estimate),
                Marker.ADD,
                self._lifetime,
            )
            marker.pose = pose_message(estimate.rotation, estimate.translation)
        return markers


def marker_id(instance: Instance, estimate: PoseEstimate) -> int:
    """Number an object's markers.

    Parameters
    ----------
    instance : Instance
        The object.
    estimate : PoseEstimate
        Its pose.

    Returns
    -------
    int
        Number of its track; without a track, one that follows from the detector's id, or else its label.
    """
    if isinstance(estimate, TrackedPose):
        return estimate.track
    return zlib.crc32(instance.id.encode()) & 0x7FFFFFFF if instance.id else instance.label


def box(estimate: PoseEstimate) -> Marker:
    """Draw the twelve edges of the box.

    Parameters
    ----------
    estimate : PoseEstimate
        The pose.

    Returns
    -------
    Marker
        Lines in the object's frame.
    """
    marker = Marker(
        ns="box",
        type=Marker.LINE_LIST,
        scale=Vector3(x=EDGE_WIDTH_M),
        color=COASTING_COLOUR if is_coasting(estimate) else EDGE_COLOUR,
    )
    marker.points = [_point(np.multiply(corner, estimate.size)) for edge in EDGES for corner in edge]
    return marker


def axes(estimate: PoseEstimate) -> Marker:
    """Draw half extents along x, y and z.

    Parameters
    ----------
    estimate : PoseEstimate
        The pose.

    Returns
    -------
    Marker
        Lines in the object's frame.
    """
    marker = Marker(ns="axes", type=Marker.LINE_LIST, scale=Vector3(x=AXIS_WIDTH_M))
    for axis, colour in enumerate(AXIS_COLOURS):
        tip = [0.0, 0.0, 0.0]
        tip[axis] = estimate.size[axis] / 2
        marker.points += [Point(), _point(tip)]
        marker.colors += [colour, colour]
    return marker


def label(instance: Instance, estimate: PoseEstimate) -> Marker:
    """Write category, id and score at the centre of the box; for a predicted pose, its age.

    Parameters
    ----------
    instance : Instance
        The object.
    estimate : PoseEstimate
        Its pose.

    Returns
    -------
    Marker
        Text.
    """
    name = f"{estimate.category} {instance.id}".strip()
    text = (
        f"{name} not seen for {estimate.age_ns / NS_PER_S:.1f} s"
        if is_coasting(estimate)
        else f"{name} {estimate.score:.2f}"
    )
    return Marker(
        ns="label", type=Marker.TEXT_VIEW_FACING, scale=Vector3(z=LABEL_HEIGHT_M), color=LABEL_COLOUR, text=text
    )


def is_coasting(estimate: PoseEstimate) -> bool:
    """Say whether a pose is predicted, not measured.

    Parameters
    ----------
    estimate : PoseEstimate
        The pose.

    Returns
    -------
    bool
        Whether it is.
    """
    return isinstance(estimate, TrackedPose) and estimate.state is TrackState.COASTING


def _point(xyz: Sequence[float]) -> Point:
    x, y, z = (float(value) for value in xyz)
    return Point(x=x, y=y, z=z)
