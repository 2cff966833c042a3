"""One object per image, as Isaac ROS has it: a mask becomes an instance.

Start it with scripts/mask_adapter, or `ros2 run clipose_ros mask_adapter`.

    ros2 run clipose_ros mask_adapter --ros-args -r mask:=/segmentation -p category:=mug
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from clipose_ros.core.validation import expect
from clipose_ros.formats.image_messages import LABEL_ENCODINGS, image_view
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.adapters.adapter import Adapter, AdapterParameters, instance, instances_of, rank
from clipose_ros.ros.conversions import image_message, stamp_ns
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.spinning import run

MASK = "mask"
DETECTIONS = "detections"
COLOURED_ENCODINGS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}  # black is the background
MASK_ENCODINGS = (
    LABEL_ENCODINGS
    | {"32SC1": (np.int32, 1)}
    | {encoding: (np.uint8, channels) for encoding, channels in COLOURED_ENCODINGS.items()}
)
MOST_COLOURED = 0.95  # of the pixels of a mask in colours; a photograph has next to no black ones


@dataclass(frozen=True)
class SingleMaskParameters(AdapterParameters):
    """As `AdapterParameters`, and the category of the object.

    Parameters
    ----------
    category : str
        Empty: that of the most probable detection of the same stamp, from `detections`.
    """

    category: str = ""

    def categories(self) -> tuple[str, ...]:
        """See `AdapterParameters.categories`."""
        return (self.category,) if self.category else super().categories()


class SingleMaskAdapter(Adapter):
    """`mask`, and where no category is given `detections` (vision_msgs/Detection2DArray), to `instances`.

    Parameters
    ----------
    **options
        As of rclpy's Node.

    Raises
    ------
    RuntimeError
        When no category is given and vision_msgs is not there.
    """

    def __init__(self, **options) -> None:
        super().__init__("mask_adapter", SingleMaskParameters, **options)
        self._class_names = self.parameters.class_names()
        if self.parameters.category:
            self.listen(Image, MASK, self._on_mask)
            return
        vision_msgs = optional_messages("vision_msgs", "Detection2DArray", f"{DETECTIONS}, since category is empty")
        self.pair(MASK, DETECTIONS)
        self.listen(Image, MASK, lambda message: self._on_part(MASK, message))
        self.listen(vision_msgs.Detection2DArray, DETECTIONS, lambda message: self._on_part(DETECTIONS, message))

    def _on_mask(self, mask: Image) -> None:
        self.publish(instances_from_mask, mask, instance(1, self.parameters.category, 1.0, ""))

    def _on_part(self, kind: str, message: Any) -> None:
        for pair in self._pairs.add(kind, stamp_ns(message.header.stamp), message):
            self.publish(instances_from_mask_and_detections, pair[MASK], pair[DETECTIONS], self._class_names)


def instances_from_mask(mask: Image, of: ObjectInstance) -> InstanceArray:
    """Make instances of one mask.

    Parameters
    ----------
    mask : Image
        In one of `MASK_ENCODINGS`; what is not 0 is the object. In colours, what is not black, whatever alpha says.
    of : ObjectInstance
        The object, whose label its pixels get.

    Returns
    -------
    InstanceArray
        With the header of the mask.

    Raises
    ------
    ValueError
        For other encodings, and for a photograph in place of a mask.
    """
    pixels = image_view(MASK, mask, MASK_ENCODINGS)
    seen = pixels != 0 if pixels.ndim == 2 else (pixels[:, :, :3] != 0).any(axis=2)
    whole = pixels.ndim == 3 and np.count_nonzero(seen) > MOST_COLOURED * seen.size
    expect(MASK, not whole, "black around the object", "colours all over; is it the image, not its mask?")
    labels = seen.astype(np.uint8) * of.label
    return InstanceArray(header=mask.header, label_image=image_message(labels, "mono8", mask.header), instances=[of])


def instances_from_mask_and_detections(mask: Image, message: Any, class_names: Mapping[str, str]) -> InstanceArray:
    """Make instances of one mask and the most probable detection.

    Parameters
    ----------
    mask : Image
        As of `instances_from_mask`.
    message : vision_msgs/Detection2DArray
        The detections; without any there is no instance.
    class_names : mapping of str to str
        Our name of a class by the segmenter's.

    Returns
    -------
    InstanceArray
        With the header of the mask.

    Raises
    ------
    ValueError
        As `instances_from_mask`.
    """
    best = max(instances_of(message.detections, class_names), key=lambda instance: rank(instance.score), default=None)
    if best is None:
        return InstanceArray(header=mask.header)
    best.label = 1
    return instances_from_mask(mask, best)


def main() -> None:
    """Console script."""
    sys.exit(run(SingleMaskAdapter))


if __name__ == "__main__":
    main()
