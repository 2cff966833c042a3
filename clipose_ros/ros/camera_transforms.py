"""Where the camera is in other frames, by TF: one listener for all parts of a node that ask."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from clipose_ros.core.validation import expect
from clipose_ros.joining.synchroniser import JUMP_NS
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.optional_packages import optional_package
from clipose_ros.ros.settings import GRAVITY_FRAME, TARGET_FRAME, PoseNodeParameters
from clipose_ros.ros.transforms import tf_name


class NoTransform(Exception):
    """TF does not know a transform; the text says why, in tf2's words."""


class CameraTransforms:
    """Hears TF. Asked by the worker, while the executor listens.

    tf2 takes no transform that is 10 s older than the newest it has, and forgets that one only when simulated time
    jumps. A recording that is played again would get none until it is over, so what is known is forgotten when the
    images go back in time. Static transforms stay.

    Parameters
    ----------
    node : Node
        Which listens.
    wanted_by : str
        What it is needed for, in words.

    Raises
    ------
    RuntimeError
        When tf2_ros is not there.
    """

    def __init__(self, node: Node, wanted_by: str) -> None:
        self._tf2: ModuleType = optional_package("tf2_ros", wanted_by)
        self._buffer = self._tf2.Buffer(node=node)
        self._listener = self._tf2.TransformListener(self._buffer, node)
        self._newest_ns = 0  # of the images that were asked for

    def look_up(self, frame: str, camera: str, stamp: Stamp | None, timeout_s: float = 0.0) -> TransformStamped:
        """Look up where the camera was.

        Parameters
        ----------
        frame : str
            Name of the frame in which.
        camera : str
            Name of the camera's frame.
        stamp : builtin_interfaces.msg.Time or None
            When; None: the newest time that is known.
        timeout_s : float
            So long the transform is waited for [s].

        Returns
        -------
        TransformStamped
            From the camera to the frame, with its time.

        Raises
        ------
        NoTransform
            When there is none.
        """
        time = Time() if stamp is None else Time.from_msg(stamp)
        if stamp is not None:
            self._forget_what_is_to_come(time.nanoseconds)
        try:
            return self._buffer.lookup_transform(frame, camera, time, Duration(seconds=timeout_s))
        except self._tf2.TransformException as error:
            raise NoTransform(str(error)) from error

    def _forget_what_is_to_come(self, time_ns: int) -> None:
        if time_ns < self._newest_ns - JUMP_NS:
            self._buffer.clear()
            self._newest_ns = 0
        self._newest_ns = max(time_ns, self._newest_ns)


def camera_transforms(node: Node, parameters: PoseNodeParameters) -> CameraTransforms | None:
    """Listen to TF, where a parameter asks for it.

    Parameters
    ----------
    node : Node
        Which listens.
    parameters : PoseNodeParameters
        Of the node.

    Returns
    -------
    CameraTransforms or None
        One for all; None where none is needed.

    Raises
    ------
    RuntimeError
        When tf2_ros is needed and not there.
    """
    wanted = {name: getattr(parameters, name) for name in (TARGET_FRAME, GRAVITY_FRAME)}
    wanted_by = " and ".join(f"{name}: {frame}" for name, frame in wanted.items() if frame)
    return CameraTransforms(node, wanted_by) if wanted_by else None


def camera_of(header: Header, wanted_by: str) -> str:
    """Name the camera's frame, of a header that TF can be asked about.

    Parameters
    ----------
    header : Header
        Of the depth image.
    wanted_by : str
        Name of the parameter that asks.

    Returns
    -------
    str
        As tf2 has it.

    Raises
    ------
    ValueError
        For a header without stamp or frame.
    """
    # to tf2 it would mean the latest
    expect("stamp", stamp_ns(header.stamp) != 0, f"the time of the image, for {wanted_by}", 0)
    camera = tf_name(header.frame_id)
    expect("frame_id", camera, f"the camera's frame in the header of the depth image, for {wanted_by}", "none")
    return camera


def rotation_matrix(quaternion: Quaternion) -> np.ndarray:
    """Turn the rotation of a transform into a matrix.

    Parameters
    ----------
    quaternion : Quaternion
        From the camera to a frame.

    Returns
    -------
    (3, 3) float
        R_frame_camera.
    """
    return Rotation.from_quat([quaternion.x, quaternion.y, quaternion.z, quaternion.w]).as_matrix()
