"""Which way is up in the camera's image: by TF, from a frame whose z axis points up."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time as Stamp
from geometry_msgs.msg import Quaternion, TransformStamped
from std_msgs.msg import Header

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.ros.camera_transforms import CameraTransforms, NoTransform, camera_of, rotation_matrix
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.settings import GRAVITY_FRAME
from clipose_ros.ros.transforms import tf_name

MOST_APART_S = 0.1  # of an image and the transform that stands in for one at its stamp
WITHOUT_SUPPORT = (
    f"{GRAVITY_FRAME}: expected support auto, without which it has no effect, got off; set support to auto, or leave "
    f"{GRAVITY_FRAME} empty"
)


class GravityFrame:
    """Looks up where up was when an image was taken. Called by the worker, while the executor hears TF.

    It never waits: up is a help, and a frame is answered without it, too. By the time that an image and its masks are
    here, TF mostly knows the camera at their stamp, and always where the camera stands still by static transforms.
    Where it does not yet, the newest transform stands in, if it is within `MOST_APART_S` of the image: only the tilt
    counts, not the place, nor turns about the vertical. A camera that an arm or a neck tilts at 1 rad/s is then wrong
    by 6° at worst, half of the 12° by which a level surface may seem to lean, and one on a driving robot by next to
    nothing. An older transform is not taken: a wrong up would make the table a slope and tilt every pose, while
    without one the frame is as good as without `gravity_frame`.

    Parameters
    ----------
    transforms : CameraTransforms
        Of the node.
    name : str
        Of a frame whose z axis points up.
    """

    def __init__(self, transforms: CameraTransforms, name: str) -> None:
        self._transforms = transforms
        self._name = name

    def up(self, header: Header) -> np.ndarray:
        """Say where up was.

        Parameters
        ----------
        header : Header
            Of the depth image.

        Returns
        -------
        (3,) float
            Unit vector against gravity, camera frame.

        Raises
        ------
        ValueError
            When TF does not know it.
        """
        camera = camera_of(header, GRAVITY_FRAME)
        try:
            found = self._transforms.look_up(self._name, camera, header.stamp)
        except NoTransform:
            found = self._newest(camera, header.stamp)
        return up_in_camera(found.transform.rotation)

    def cure(self, header: Header) -> str:
        """Say what to do about a frame whose up is not known, and what becomes of it.

        Parameters
        ----------
        header : Header
            Of the depth image.

        Returns
        -------
        str
            For the log.
        """
        shown = f"ros2 run tf2_ros tf2_echo {self._name} {tf_name(header.frame_id) or 'CAMERA_FRAME'}"
        return f"until it comes, frames are estimated as without {GRAVITY_FRAME}: see what TF has with {shown}"

    def _newest(self, camera: str, stamp: Stamp) -> TransformStamped:
        expected = f"a transform from {camera} to {self._name} within {MOST_APART_S:g} s of the image's stamp"
        try:
            newest = self._transforms.look_up(self._name, camera, None)
        except NoTransform as error:
            raise ValueError(f"{GRAVITY_FRAME}: expected {expected}, got none: {error}") from error
        later_s = (stamp_ns(newest.header.stamp) - stamp_ns(stamp)) / NS_PER_S
        got = f"one {abs(later_s):.2f} s {'later' if later_s > 0 else 'earlier'}"
        expect(GRAVITY_FRAME, abs(later_s) <= MOST_APART_S, expected, got)
        return newest


def up_in_camera(rotation: Quaternion) -> np.ndarray:
    """Turn the z axis of a frame into the camera's.

    Parameters
    ----------
    rotation : Quaternion
        From the camera to the frame.

    Returns
    -------
    (3,) float
        Unit vector, camera frame.
    """
    return rotation_matrix(rotation)[2]  # the rows of R_frame_camera are the frame's axes, as the camera has them
