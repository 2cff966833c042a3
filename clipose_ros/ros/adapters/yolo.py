"""yolo_ros: yolo_msgs/DetectionArray with polygons becomes a label image.

Start it with scripts/yolo_adapter, or `ros2 run clipose_ros yolo_adapter`.

    ros2 run clipose_ros yolo_adapter --ros-args -r detections:=/yolo/tracking
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.adapters.adapter import Adapter, AdapterParameters, instance, rank
from clipose_ros.ros.conversions import image_message
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.spinning import run

DETECTIONS = "detections"
LARGEST_SIDE = 16384  # of a mask [px]: sizes come from a message, and memory is taken for them
FARTHEST = 32767.0  # from the image's corner that a corner of a polygon may be [px]


class YoloAdapter(Adapter):
    """`detections` of yolo_ros (a model with masks) to `instances`.

    Parameters
    ----------
    **options
        As of rclpy's Node.

    Raises
    ------
    RuntimeError
        When yolo_msgs is not there.
    """

    def __init__(self, **options) -> None:
        super().__init__("yolo_adapter", AdapterParameters, **options)
        yolo_msgs = optional_messages("yolo_msgs", "DetectionArray", f"{DETECTIONS} of yolo_ros")
        self._class_names = self.parameters.class_names()
        self.listen(yolo_msgs.DetectionArray, DETECTIONS, self._on_detections)

    def _on_detections(self, message: Any) -> None:
        self.publish(instances_from_polygons, message, self._class_names)


def instances_from_polygons(message: Any, class_names: Mapping[str, str]) -> InstanceArray:
    """Make instances of detections with polygons.

    Where masks overlap, the one of the higher score is on top. A polygon has no holes. A detection without a mask
    stays, without pixels. So does one whose corners are no pixels: for the pose node it has no points.

    Parameters
    ----------
    message : yolo_msgs/DetectionArray
        The k-th detection has label k, counted from 1.
    class_names : mapping of str to str
        Our name of a class by the segmenter's.

    Returns
    -------
    InstanceArray
        With the header of the message.

    Raises
    ------
    ValueError
        When no detection has a mask, and for sizes that differ or cannot be.
    """
    detections = message.detections
    if not detections:
        return InstanceArray(header=message.header)
    expect(
        "detections", len(detections) <= np.iinfo(np.uint16).max, f"at most {np.iinfo(np.uint16).max}", len(detections)
    )
    sizes = {(detection.mask.height, detection.mask.width) for detection in detections if detection.mask.data}
    expect(
        "masks",
        len(sizes) == 1,
        "polygons of a segmentation model, all for one size of image",
        f"sizes {sorted(sizes)}",
    )
    corners = [polygon(detection.mask) for detection in detections]
    labels = painted(corners, [detection.score for detection in detections], sizes.pop())
    instances = [
        instance(k, class_names.get(d.class_name, d.class_name), d.score, d.id)
        for k, d in enumerate(detections, start=1)
    ]
    label_image = image_message(labels, "mono8" if labels.dtype == np.uint8 else "mono16", message.header)
    return InstanceArray(header=message.header, label_image=label_image, instances=instances)


def polygon(mask: Any) -> np.ndarray:
    """Read the corners of a mask.

    Parameters
    ----------
    mask : yolo_msgs/Mask
        A polygon.

    Returns
    -------
    (N, 2) int32
        None where some are NaN or beyond all images [px].
    """
    corners = np.array([(point.x, point.y) for point in mask.data], dtype=float).reshape(-1, 2)
    return np.rint(corners if (np.abs(corners) <= FARTHEST).all() else corners[:0]).astype(np.int32)


def painted(polygons: Sequence[np.ndarray], scores: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
    """Paint polygons into a label image.

    Parameters
    ----------
    polygons : sequence of (N, 2) int32
        Corners [px].
    scores : sequence of float
        Of each; the higher one, then the earlier polygon, is on top.
    shape : (int, int)
        Height and width of the image [px].

    Returns
    -------
    (H, W) uint8 or uint16
        k in the k-th polygon, counted from 1.

    Raises
    ------
    ValueError
        For sizes that no image has.
    """
    expect("masks", min(shape) > 0 and max(shape) <= LARGEST_SIDE, f"sizes from 1 to {LARGEST_SIDE} px", shape)
    labels = np.zeros(shape, np.uint8 if len(polygons) <= np.iinfo(np.uint8).max else np.uint16)
    for index in sorted(range(len(polygons)), key=lambda index: (rank(scores[index]), -index)):
        if len(polygons[index]):
            cv2.fillPoly(labels, [polygons[index]], index + 1)
    return labels


def main() -> None:
    """Console script."""
    sys.exit(run(YoloAdapter))


if __name__ == "__main__":
    main()
