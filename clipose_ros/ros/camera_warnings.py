"""Warnings about a camera whose frames can still be estimated. Each is logged once, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from clipose_ros.core.object_sizes import ObjectSizes, range_warning, unit_warning
from clipose_ros.core.types import Detections, Frame
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.formats.camera_info import distortion_warning, geometry_warning
from clipose_ros.ros.settings import PoseNodeParameters
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH
from clipose_ros.ros.transforms import frame_id_warning, tf_name

UNIT_PERIOD_S = 1.0  # between two frames in which objects are measured; each takes a millisecond
MOST_SAID = 64  # different warnings in the log: a part of each may come from a message
# To the calibration before, each after a few messages: more rarely, somebody may have changed the camera's settings,
# or a message was damaged.
LEAST_RETURNS, MOST_IN_TURN = 10, 3
MOST_UNIT_FRAMES = 60  # after so many frames without suspicion the unit is right


class CameraWarnings:
    """Warns of a camera's calibration, frame_id and unit of depth.

    Parameters
    ----------
    node : Node
        Which logs.
    count : callable
        Takes a kind and a reason, as `Health.count`.
    parameters : PoseNodeParameters
        Of the node.
    estimator : Estimator
        Knows how large objects are.
    """

    def __init__(
        self, node: Node, count: Callable[[str, str], None], parameters: PoseNodeParameters, estimator: Estimator
    ) -> None:
        self._node = node
        self._count = count
        self._parameters = parameters
        self._estimator = estimator
        self._said: set[tuple[str, str]] = set()
        self._frame_id = ""  # of the last image that has one
        self._lens: tuple[str | float, ...] = ()
        self._geometry: tuple[float, ...] = ()
        self._geometry_before: tuple[float, ...] = ()
        self._returns = 0  # to a calibration that another one had followed
        self._in_turn = 0  # messages with the same calibration
        self._sizes = ObjectSizes()
        self._unit_frames = 0
        self._next_unit_s = 0.0

    def of_calibration(self, info: CameraInfo) -> None:
        """Warn of a distortion that is ignored or removed twice, of intrinsics that are hardly those of the image, and
        of two cameras on one topic.

        Called by the thread of the inputs.

        A calibration that comes again is not counted again.

        Parameters
        ----------
        info : CameraInfo
            An accepted calibration.
        """
        rectified = self._parameters.rectified
        numbers = (info.distortion_model, *info.d)
        if numbers != self._lens:
            self._lens = numbers
            self._warn(distortion_warning(info, self._node.resolve_topic_name(DEPTH), rectified))
        roi = info.roi
        numbers = (info.width, info.height, *info.k, *info.p, roi.x_offset, roi.y_offset, roi.width, roi.height)
        self._in_turn += 1
        if numbers != self._geometry:
            soon = numbers == self._geometry_before and self._in_turn <= MOST_IN_TURN
            self._returns, self._in_turn = self._returns + 1 if soon else 0, 0
            self._geometry_before, self._geometry = self._geometry, numbers
            self._warn(geometry_warning(info, rectified))
            if self._returns >= LEAST_RETURNS:
                text = "expected the calibration of one camera, got two in turns: poses of either are wrong in turns"
                self._warn((text, "do two cameras publish on it? Give each a namespace, and a node"), f"{CAMERA_INFO} ")

    def of_header(self, header: Header) -> None:
        """Warn of a frame_id that TF refuses, and of one that changes, and count each frame. Called by the worker.

        Parameters
        ----------
        header : Header
            Of a depth image.
        """
        self._warn(frame_id_warning(header.frame_id), f"{DEPTH} ")
        camera = tf_name(header.frame_id)
        if camera and self._frame_id not in ("", camera):
            text = f"frame_id: expected {self._frame_id!r} as before, got {camera!r}: tracking begins anew"
            self._warn((text, "is it another camera? Give each a node of its own"), f"{DEPTH} ")
        self._frame_id = camera or self._frame_id

    def of_unit(self, frame: Frame, detections: Detections) -> None:
        """Warn of a wrong unit of depth if objects are impossibly large or small, or all of it is out of range.

        Called by the worker.

        It measures one frame a second, until a minute of frames was sound.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        detections : Detections
            What is in it.
        """
        now_s = time.monotonic()
        if self._unit_frames == MOST_UNIT_FRAMES or now_s < self._next_unit_s:
            return
        self._next_unit_s = now_s + UNIT_PERIOD_S
        if warning := range_warning(frame, self._parameters.depth_range()):
            self._warn(warning)
            return
        if not detections.instances:
            return
        self._unit_frames += 1
        self._sizes.add_frame(frame, detections, self._parameters.depth_range(), self._estimator.diagonal_m)
        factor = self._sizes.suspicion()
        if factor is not None:
            self._warn(unit_warning(factor, self._sizes.unit_m))
            self._unit_frames = MOST_UNIT_FRAMES

    def _warn(self, warning: tuple[str, str] | None, subject: str = "") -> None:
        if warning is None:
            return
        text, cure = warning
        self._count("warned", f"{subject}{text}")
        if warning not in self._said and len(self._said) < MOST_SAID:
            self._said.add(warning)
            self._node.get_logger().warning(f"{subject}{text}; {cure}")
