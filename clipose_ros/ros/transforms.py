"""Objects as frames of TF: `<prefix>/<class>_<track>`, a child of the camera's optical frame, at the stamp of the
image.
"""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from std_msgs.msg import Header

from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.optional_packages import optional_package


class ObjectTransforms:
    """Broadcasts the confirmed objects that a frame measured.

    Neither coasting nor tentative ones: a transform cannot say that it is a guess, and tf2 answers for a while with the
    last one that it has. An object that is not seen gets no newer transform, so that a look-up at the time of a newer
    image fails, as it should.
    broadcaster: a tf2_ros.TransformBroadcaster.
    """

    def __init__(self, broadcaster: Any, prefix: str) -> None:
        self._broadcaster = broadcaster
        self._prefix = f"{prefix}/" if prefix else ""

    def publish(self, message: ObjectPoseArray) -> None:
        """Broadcast what a frame confirmed; nothing when there is nothing."""
        confirmed = [pose for pose in message.poses if pose.tracking == ObjectPose.CONFIRMED]
        if confirmed:
            self._broadcaster.sendTransform([self._transform(pose, message.header) for pose in confirmed])

    def _transform(self, pose: ObjectPose, header: Header) -> TransformStamped:
        position = pose.pose.position
        transform = Transform(
            translation=Vector3(x=position.x, y=position.y, z=position.z), rotation=pose.pose.orientation
        )
        return TransformStamped(
            header=header, child_frame_id=f"{self._prefix}{pose.category}_{pose.track}", transform=transform
        )


def object_transforms(node: Node, prefix: str) -> ObjectTransforms:
    """Raises RuntimeError when tf2_ros is not there."""
    return ObjectTransforms(optional_package("tf2_ros", "tf: true").TransformBroadcaster(node), prefix)
