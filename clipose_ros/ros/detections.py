"""`~/detections`: measured poses as vision_msgs/Detection3DArray (4.x), for programs that do not know our messages."""

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
    """Publisher of the detections of every frame, also of an empty one.

    Parameters
    ----------
    publisher : Publisher
        Of `Detection3DArray`.
    vision_msgs : module
        `vision_msgs.msg`.
    """

    def __init__(self, publisher: Publisher, vision_msgs: ModuleType) -> None:
        self._publisher = publisher
        self._vision_msgs = vision_msgs

    def publish(self, message: ObjectPoseArray) -> None:
        """Publish what a frame measured, if somebody listens.

        Parameters
        ----------
        message : ObjectPoseArray
            Of the frame.
        """
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
            # all zero is unknown there, too
            pose=PoseWithCovariance(pose=pose.pose, covariance=pose.covariance),
        )
        # Some readers look at the box, some at the first result: both have the pose.
        box = kinds.BoundingBox3D(center=pose.pose, size=pose.size)
        return kinds.Detection3D(
            header=header, results=[result], bbox=box, id=str(pose.track) if pose.track else pose.id
        )


def detections(node: Node, choice: str) -> DetectionPublisher | None:
    """Make the publisher of `~/detections`, if it is wanted.

    Parameters
    ----------
    node : Node
        Which publishes.
    choice : str
        One of `CHOICES`.

    Returns
    -------
    DetectionPublisher or None
        None for never, and for auto without vision_msgs.

    Raises
    ------
    RuntimeError
        If the choice is always, and vision_msgs is not installed.
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
