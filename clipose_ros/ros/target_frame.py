"""Poses in another frame than the camera's: by TF, at the time of the image."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from clipose_ros.core.types import PoseEstimate, Rejection, TrackedPose
from clipose_ros.core.validation import expect
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.optional_packages import optional_package


class TargetFrame:
    """Looks up where the camera was when an image was taken. Called by the worker, while the executor hears TF.

    Parameters: node, which listens; name of the frame; timeout_s, how long a transform may be late [s].
    Raises RuntimeError when tf2_ros is not there.
    """

    def __init__(self, node: Node, name: str, timeout_s: float) -> None:
        self._tf2: ModuleType = optional_package("tf2_ros", f"target_frame: {name}")
        self._name = name
        self._timeout_s = timeout_s
        self._buffer = self._tf2.Buffer(node=node)
        self._listener = self._tf2.TransformListener(self._buffer, node)

    def place(self, result: FrameResult, header: Header) -> tuple[FrameResult, Header]:
        """The result in the target frame, and its header.

        Raises ValueError when there is no transform at the stamp: neither another time's nor identity could take its
        place.
        """
        # to tf2 it would mean the latest
        expect("stamp", stamp_ns(header.stamp) != 0, "the time of the image, for target_frame", 0)
        time, timeout = Time.from_msg(header.stamp), Duration(seconds=self._timeout_s)
        try:
            found = self._buffer.lookup_transform(self._name, header.frame_id, time, timeout).transform
        except self._tf2.TransformException as error:
            expected = (
                f"a transform from {header.frame_id} to {self._name} at the image's stamp within {self._timeout_s:g} s"
            )
            raise ValueError(f"target_frame: expected {expected}, got none: {error}") from error
        q, t = found.rotation, found.translation
        rotation, translation = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), np.array([t.x, t.y, t.z])
        return placed(result, rotation, translation, self._name), Header(stamp=header.stamp, frame_id=self._name)


def placed(result: FrameResult, rotation: np.ndarray, translation: np.ndarray, frame_id: str) -> FrameResult:
    """A frame's result in the frame `frame_id`, in which the camera has this rotation (3, 3) and translation (3,) [m]."""

    def moved(answer: PoseEstimate | Rejection) -> PoseEstimate | Rejection:
        return answer if isinstance(answer, Rejection) else moved_pose(answer, rotation, translation)

    results = tuple((instance, moved(answer)) for instance, answer in result.results)
    return replace(
        result,
        frame_id=frame_id,
        results=results,
        coasting=tuple((instance, moved(pose)) for instance, pose in result.coasting),
    )


def moved_pose(pose: PoseEstimate, rotation: np.ndarray, translation: np.ndarray) -> PoseEstimate:
    """A pose, with its covariance, turned by a rotation (3, 3) about the origin and then shifted (3,) [m]."""
    pose = replace(pose, rotation=rotation @ pose.rotation, translation=rotation @ pose.translation + translation)
    if isinstance(pose, TrackedPose):
        both = np.kron(np.eye(2), rotation)  # position and turns are about the axes of the same frame
        pose = replace(pose, covariance=both @ pose.covariance @ both.T)
    return pose
