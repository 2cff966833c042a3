"""A label image beside vision_msgs/Detection2DArray, as JSK and others have it, to instances.

Start it with scripts/label_adapter.

    ros2 run clipose_ros label_adapter --ros-args -r label_image:=/segmenter/label_ins -r
    detections:=/segmenter/detections
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from clipose_ros.core.validation import expect
from clipose_ros.formats.image_messages import LABEL_ENCODINGS, image_view
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.adapters.adapter import Adapter, AdapterParameters, instances_of
from clipose_ros.ros.conversions import image_message, stamp_ns
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.spinning import run

LABEL_IMAGE = "label_image"
DETECTIONS = "detections"
SIGNED_ENCODINGS = {"32SC1": (np.int32, 1)}  # JSK's


class LabelImageAdapter(Adapter):
    """`label_image`, in which k is the k-th detection and 0 the background, and `detections` to `instances`.

    Parameters
    ----------
    **options
        As of rclpy's Node.

    Raises
    ------
    RuntimeError
        When vision_msgs is not there.
    """

    def __init__(self, **options) -> None:
        super().__init__("label_adapter", AdapterParameters, **options)
        vision_msgs = optional_messages("vision_msgs", "Detection2DArray", DETECTIONS)
        self._class_names = self.parameters.class_names()
        self.pair(LABEL_IMAGE, DETECTIONS)
        self.listen(Image, LABEL_IMAGE, lambda message: self._on_part(LABEL_IMAGE, message))
        self.listen(vision_msgs.Detection2DArray, DETECTIONS, lambda message: self._on_part(DETECTIONS, message))

    def _on_part(self, kind: str, message: Any) -> None:
        for pair in self._pairs.add(kind, stamp_ns(message.header.stamp), message):
            self.publish(instances_from_label_image, pair[LABEL_IMAGE], pair[DETECTIONS], self._class_names)


def instances_from_label_image(labels: Image, message: Any, class_names: Mapping[str, str]) -> InstanceArray:
    """Make instances of a label image and the detections in it.

    Parameters
    ----------
    labels : Image
        The k-th detection, counted from 1, has its pixels k. An image of 32SC1 becomes one of 16UC1, in which what is
        negative is background, too; others stay as they are.
    message : vision_msgs/Detection2DArray
        The detections.
    class_names : mapping of str to str
        Our name of a class by the segmenter's.

    Returns
    -------
    InstanceArray
        With the header of the label image.

    Raises
    ------
    ValueError
        For other encodings and labels that are too large.
    """
    return InstanceArray(
        header=labels.header, label_image=unsigned(labels), instances=instances_of(message.detections, class_names)
    )


def unsigned(labels: Image) -> Image:
    """Give a label image one of the encodings of `InstanceArray`.

    Parameters
    ----------
    labels : Image
        Also of 32SC1.

    Returns
    -------
    Image
        The same where it has one.

    Raises
    ------
    ValueError
        For other encodings and labels that are too large.
    """
    if labels.encoding in LABEL_ENCODINGS:
        return labels
    pixels, largest = image_view(LABEL_IMAGE, labels, LABEL_ENCODINGS | SIGNED_ENCODINGS), np.iinfo(np.uint16).max
    expect(LABEL_IMAGE, pixels.max() <= largest, f"labels of at most {largest}", pixels.max())
    return image_message(pixels.clip(0).astype(np.uint16), "16UC1", labels.header)


def main() -> None:
    """Console script."""
    sys.exit(run(LabelImageAdapter))


if __name__ == "__main__":
    main()
