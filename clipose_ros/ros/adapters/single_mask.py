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

from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.adapters.adapter import Adapter, AdapterParameters, instance, instances_of, rank
from clipose_ros.ros.adapters.stamp_pairs import StampPairs
from clipose_ros.ros.conversions import image_message, image_view, stamp_ns
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.spinning import run

MASK = "mask"
DETECTIONS = "detections"
MASK_ENCODINGS = {"mono8": (np.uint8, 1), "8UC1": (np.uint8, 1)}


@dataclass(frozen=True)
class SingleMaskParameters(AdapterParameters):
    """As `AdapterParameters`. category: of the object; empty: that of the most probable detection of the same stamp,
    from `detections`.
    """

    category: str = ""


class SingleMaskAdapter(Adapter):
    """`mask`, and where no category is given `detections` (vision_msgs/Detection2DArray), to `instances`."""

    def __init__(self, **options) -> None:
        super().__init__("mask_adapter", SingleMaskParameters, **options)
        self._class_names = self.parameters.class_names()
        self._pairs = StampPairs(MASK, DETECTIONS, self.parameters.buffer_size)
        if self.parameters.category:
            self.listen(Image, MASK, self._on_mask)
            return
        vision_msgs = optional_messages("vision_msgs", "Detection2DArray", f"{DETECTIONS}, since category is empty")
        self.drops = self._pairs.drops
        self.listen(Image, MASK, lambda message: self._on_part(MASK, message))
        self.listen(vision_msgs.Detection2DArray, DETECTIONS, lambda message: self._on_part(DETECTIONS, message))

    def _on_mask(self, mask: Image) -> None:
        self.publish(instances_from_mask, mask, instance(1, self.parameters.category, 1.0, ""))

    def _on_part(self, kind: str, message: Any) -> None:
        pair = self._pairs.add(kind, stamp_ns(message.header.stamp), message)
        if pair is not None:
            self.publish(instances_from_mask_and_detections, pair[MASK], pair[DETECTIONS], self._class_names)


def instances_from_mask(mask: Image, of: ObjectInstance) -> InstanceArray:
    """A mask, mono8 or 8UC1, as the instance `of` with the label 1, with the mask's header: what is not 0 is the
    object.
    """
    labels = (image_view(MASK, mask, MASK_ENCODINGS) != 0).astype(np.uint8) * of.label
    return InstanceArray(header=mask.header, label_image=image_message(labels, "mono8", mask.header), instances=[of])


def instances_from_mask_and_detections(mask: Image, message: Any, class_names: Mapping[str, str]) -> InstanceArray:
    """As `instances_from_mask`, of the most probable detection of a vision_msgs/Detection2DArray; without any there is
    no instance.
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
