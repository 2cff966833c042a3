"""`~/detections`: the measured poses as vision_msgs/Detection3DArray (4.x), for what knows that message and not ours."""

from __future__ import annotations

from types import ModuleType

from geometry_msgs.msg import PoseWithCovariance
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header

from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.qos import advertise

TOPIC = "~/detections"
CHOICES = ("auto", "always", "never")


class DetectionPublisher:
    """Publisher of detections, of every frame, also an empty one. vision_msgs: the module `vision_msgs.msg`."""

    def __init__(self, publisher: Publisher, vision_msgs: ModuleType) -> None:
        self._publisher = publisher
        self._vision_msgs = vision_msgs

    def publish(self, message: ObjectPoseArray) -> None:
        """Publish what a frame measured, where somebody listens."""
        if not self._publisher.get_subscription_count():
            return
        detections = [
            self._detection(pose, message.header) for pose in message.poses if pose.tracking != ObjectPose.COASTING
        ]
        self._publisher.publish(self._vision_msgs.Detection3DArray(header=message.header, detections=detections))

    def _detection(self, pose: ObjectPose, header: Header) -> object:
        kinds = self._vision_msgs
        result = kinds.ObjectHypothesisWithPose(
            hypothesis=kinds.ObjectHypothesis(class_id=pose.category, score=pose.score),
            # all zero, of an untracked pose, is unknown there, too
            pose=PoseWithCovariance(pose=pose.pose, covariance=pose.covariance),
        )
        # Some readers look at the box, some at the first result: both have the pose.
        box = kinds.BoundingBox3D(center=pose.pose, size=pose.size)
        return kinds.Detection3D(
            header=header, results=[result], bbox=box, id=str(pose.track) if pose.track else pose.id
        )


def detections(node: Node, choice: str) -> DetectionPublisher | None:
    """What publishes `~/detections`; None when that is not wanted: choice never, or auto without the package.

    Raises RuntimeError when it is always wanted and vision_msgs is not there.
    """
    if choice == "never":
        return None
    try:
        vision_msgs = optional_messages("vision_msgs", "Detection3DArray", f"{TOPIC} (detections: {choice})")
    except RuntimeError as error:
        if choice == "always":
            raise
        node.get_logger().debug(f"no {TOPIC}: {error}")
        return None
    return DetectionPublisher(advertise(node, vision_msgs.Detection3DArray, TOPIC), vision_msgs)
