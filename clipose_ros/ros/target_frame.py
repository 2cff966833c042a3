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
from clipose_ros.ros.transforms import tf_name


class TargetFrame:
    """Looks up where the camera was when an image was taken. Called by the worker, while the executor hears TF.

    Parameters
    ----------
    node : Node
        Which listens.
    name : str
        Of the frame.
    timeout_s : float
        A transform may be so late [s].

    Raises
    ------
    RuntimeError
        When tf2_ros is not there.
    """

    def __init__(self, node: Node, name: str, timeout_s: float) -> None:
        self._tf2: ModuleType = optional_package("tf2_ros", f"target_frame: {name}")
        self._name = name
        self._timeout_s = timeout_s
        self._buffer = self._tf2.Buffer(node=node)
        self._listener = self._tf2.TransformListener(self._buffer, node)

    def place(self, result: FrameResult, header: Header) -> tuple[FrameResult, Header]:
        """Turn a frame's result into the target frame.

        Parameters
        ----------
        result : FrameResult
            In the camera frame.
        header : Header
            Of the depth image.

        Returns
        -------
        FrameResult, Header
            In the target frame.

        Raises
        ------
        ValueError
            When there is no transform at the stamp: neither another time's nor identity could take its place.
        """
        # to tf2 it would mean the latest
        expect("stamp", stamp_ns(header.stamp) != 0, "the time of the image, for target_frame", 0)
        camera = tf_name(header.frame_id)
        expect("frame_id", camera, "the camera's frame in the header of the depth image, for target_frame", "none")
        time, timeout = Time.from_msg(header.stamp), Duration(seconds=self._timeout_s)
        try:
            found = self._buffer.lookup_transform(self._name, camera, time, timeout).transform
        except self._tf2.TransformException as error:
            expected = f"a transform from {camera} to {self._name} at the image's stamp within {self._timeout_s:g} s"
            raise ValueError(f"target_frame: expected {expected}, got none: {error}") from error
        q, t = found.rotation, found.translation
        rotation, translation = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), np.array([t.x, t.y, t.z])
        return placed(result, rotation, translation, self._name), Header(stamp=header.stamp, frame_id=self._name)


def placed(result: FrameResult, rotation: np.ndarray, translation: np.ndarray, frame_id: str) -> FrameResult:
    """Turn a frame's result into another frame.

    Parameters
    ----------
    result : FrameResult
        In the camera frame.
    rotation : (3, 3) float
        R_frame_camera.
    translation : (3,) float
        Of the camera in the frame [m].
    frame_id : str
        Name of the frame.

    Returns
    -------
    FrameResult
        With all poses in that frame.
    """

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
    """Move a pose, with its covariance.

    Parameters
    ----------
    pose : PoseEstimate
        Tracked or not.
    rotation : (3, 3) float
        About the origin, first.
    translation : (3,) float
        Then [m].

    Returns
    -------
    PoseEstimate
        Of the same kind.
    """
    pose = replace(pose, rotation=rotation @ pose.rotation, translation=rotation @ pose.translation + translation)
    if isinstance(pose, TrackedPose):
        both = np.kron(np.eye(2), rotation)  # position and turns are about the axes of the same frame
        pose = replace(pose, covariance=both @ pose.covariance @ both.T)
    return pose
