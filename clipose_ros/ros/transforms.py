"""Objects as frames of TF: `<prefix>/<class>_<track>`, children of the camera's optical frame, stamped as the image.

ROS 1's tf had frames with a slash in front. tf2 has none: it stores a transform of "/camera" as one of "camera", and
refuses to look "/camera" up.
"""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from std_msgs.msg import Header

from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.optional_packages import optional_package

AUTO_PREFIX = "auto"  # the node's name with its namespace, so that two nodes never broadcast the same child


class ObjectTransforms:
    """Broadcasts the confirmed objects that a frame measured.

    Neither coasting nor tentative ones: a transform cannot say that it is a guess, and tf2 answers for a while with the
    last one that it has. An object that is not seen gets no newer transform, so that a look-up at the time of a newer
    image fails, as it should. Without a frame_id there is no parent, and nothing is broadcast.

    Parameters
    ----------
    broadcaster : tf2_ros.TransformBroadcaster
        Of the node.
    prefix : str
        Of the objects' names; may be empty.
    """

    def __init__(self, broadcaster: Any, prefix: str) -> None:
        self._broadcaster = broadcaster
        self._prefix = f"{prefix}/" if prefix else ""

    def publish(self, message: ObjectPoseArray) -> None:
        """Broadcast the confirmed objects of a frame.

        Parameters
        ----------
        message : ObjectPoseArray
            Of the frame.
        """
        header = Header(stamp=message.header.stamp, frame_id=tf_name(message.header.frame_id))
        confirmed = [pose for pose in message.poses if pose.tracking == ObjectPose.CONFIRMED]
        if confirmed and header.frame_id:
            self._broadcaster.sendTransform([self._transform(pose, header) for pose in confirmed])

    def _transform(self, pose: ObjectPose, header: Header) -> TransformStamped:
        position = pose.pose.position
        transform = Transform(
            translation=Vector3(x=position.x, y=position.y, z=position.z), rotation=pose.pose.orientation
        )
        return TransformStamped(
            header=header, child_frame_id=f"{self._prefix}{pose.category}_{pose.track}", transform=transform
        )


def object_transforms(node: Node, prefix: str) -> ObjectTransforms:
    """Make the broadcaster of a node's objects.

    Parameters
    ----------
    node : Node
        Of the poses.
    prefix : str
        Of the objects' names, or `AUTO_PREFIX`.

    Returns
    -------
    ObjectTransforms
        Ready to publish.

    Raises
    ------
    RuntimeError
        If tf2_ros is not installed.
    """
    tf2_ros = optional_package("tf2_ros", "tf: true")
    own_prefix = object_prefix(prefix, node.get_fully_qualified_name())
    return ObjectTransforms(tf2_ros.TransformBroadcaster(node), own_prefix)


def object_prefix(wanted: str, full_name: str) -> str:
    """Choose the prefix of objects' names.

    Parameters
    ----------
    wanted : str
        Prefix of the user, or `AUTO_PREFIX`.
    full_name : str
        Of the node, with its namespace.

    Returns
    -------
    str
        The user's prefix as it is. The automatic one differs between nodes: a child with two parents would jump
        between them.
    """
    return tf_name(full_name) if wanted == AUTO_PREFIX else wanted


def tf_name(frame_id: str) -> str:
    """Name a frame as tf2 does.

    Parameters
    ----------
    frame_id : str
        Of a header, perhaps with ROS 1's slash in front.

    Returns
    -------
    str
        The name without the slash.
    """
    return frame_id.removeprefix("/")


def frame_id_warning(frame_id: str) -> tuple[str, str] | None:
    """Warn of a frame_id that TF refuses.

    Parameters
    ----------
    frame_id : str
        Of a header.

    Returns
    -------
    (str, str) or None
        What is wrong, as `name: expected …, got …`, and what to do; None if all is well.
    """
    lost = "RViz cannot place poses and markers"
    if not frame_id:
        text = f"expected the name of the camera's optical frame, got none: nothing goes to TF, and {lost}"
        return f"frame_id: {text}", "set it in the camera's driver"
    name = tf_name(frame_id)
    if name != frame_id:
        text = f"expected a name without / in front, as tf2 has it, got {frame_id!r}: on TF it is {name!r}, but {lost}"
        return f"frame_id: {text}", f"call it {name!r} in the camera's driver"
    return None
