"""Example: confirmed objects as boxes in MoveIt's planning scene, so that an arm plans around them.

    ros2 run clipose_ros moveit_bridge --ros-args -r poses_9dof:=/clipose/poses_9dof

A box comes with the object, moves with it while it is measured, stays while it coasts, and goes when its track is lost.
An arm that grasps an object must have its box taken away or attached: that is for the program that grasps.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from types import ModuleType

import numpy as np
from geometry_msgs.msg import Pose
from rclpy.node import Node
from rclpy.qos import QoSProfile
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.parameters import read_parameters
from clipose_ros.ros.spinning import run
from clipose_ros.ros.transforms import frame_id_warning, tf_name

POSES = "poses_9dof"
COLLISION_OBJECT = "collision_object"  # what move_group listens to
QOS = QoSProfile(depth=100)  # a frame's objects come at once


@dataclass(frozen=True)
class MoveItBridgeParameters:
    """Parameters of the bridge.

    Parameters
    ----------
    period_s : float
        Time between moves of an object; a planning scene needs no more [s].
    padding_m : float
        Added to every side of a box [m].
    resize_m : float
        A box whose size has changed by more is added anew [m].

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    period_s: float = 0.2
    padding_m: float = 0.0
    resize_m: float = 0.01

    def __post_init__(self) -> None:
        expect("period_s", self.period_s >= 0, "0 or more", self.period_s)
        expect("padding_m", self.padding_m >= 0, "0 or more", self.padding_m)
        expect("resize_m", self.resize_m > 0, "more than 0", self.resize_m)


class Operation(Enum):
    """What is done with a box, by the names of moveit_msgs/CollisionObject."""

    ADD = "ADD"
    MOVE = "MOVE"
    REMOVE = "REMOVE"


@dataclass(frozen=True)
class SceneChange:
    """What happens to one box of the scene.

    Parameters
    ----------
    operation : Operation
        What is done.
    id : str
        Name of the box in the scene.
    pose : Pose, optional
        Of the box; None if it is removed.
    size : (float, float, float), optional
        Full extents [m]; None unless it is added.
    """

    operation: Operation
    id: str
    pose: Pose | None = None
    size: tuple[float, float, float] | None = None


class SceneBoxes:
    """The boxes that the scene has by now, by track.

    Parameters
    ----------
    parameters : MoveItBridgeParameters
        Of the bridge.
    prefix : str
        Begins the names of the boxes. Two cameras number their objects alike, and a scene has one box of each name.
    """

    def __init__(self, parameters: MoveItBridgeParameters = MoveItBridgeParameters(), prefix: str = "") -> None:
        self._parameters = parameters
        self._prefix = prefix
        self._boxes: dict[int, tuple[str, np.ndarray]] = {}  # id, size
        self._moved_ns: int | None = None

    def update(self, message: ObjectPoseArray) -> list[SceneChange]:
        """Take a frame into account.

        Objects that the frame does not list are removed, whether they were lost or forgotten by ~/reset.

        Parameters
        ----------
        message : ObjectPoseArray
            Poses of the frame.

        Returns
        -------
        list of SceneChange
            What changes. Nothing for a frame without a frame_id: MoveIt would take its poses for ones in the planning
            frame.
        """
        if not message.header.frame_id:
            return []
        known = {pose.track for pose in (*message.poses, *message.coasting) if pose.track}
        changes = [
            SceneChange(Operation.REMOVE, self._boxes.pop(track)[0])
            for track in [track for track in self._boxes if track not in known]
        ]
        stamp, confirmed = (
            stamp_ns(message.header.stamp),
            [pose for pose in message.poses if pose.tracking == ObjectPose.CONFIRMED],
        )
        # or a clock that went back
        due = self._moved_ns is None or not 0 <= stamp - self._moved_ns < self._parameters.period_s * NS_PER_S
        if due:
            self._moved_ns = stamp
        return changes + list(self._placed(confirmed, due))

    def _placed(self, poses: Iterable[ObjectPose], due: bool) -> Iterable[SceneChange]:
        for pose in poses:
            size = np.array([pose.size.x, pose.size.y, pose.size.z]) + 2 * self._parameters.padding_m
            known = self._boxes.get(pose.track)
            if known is None or (due and np.abs(size - known[1]).max() > self._parameters.resize_m):
                id = known[0] if known else f"{self._prefix}{pose.category}_{pose.track}"
                self._boxes[pose.track] = (id, size)
                yield SceneChange(Operation.ADD, id, pose.pose, tuple(size.tolist()))
            elif due:
                yield SceneChange(Operation.MOVE, known[0], pose.pose)


class MoveItBridge(Node):
    """Subscribes to 9DoF poses and publishes collision objects.

    Parameters
    ----------
    **options
        As of rclpy's Node.

    Raises
    ------
    RuntimeError
        If moveit_msgs is not installed.
    """

    def __init__(self, **options) -> None:
        super().__init__("moveit_bridge", **options)
        self._moveit_msgs = optional_messages("moveit_msgs", "CollisionObject", "the bridge to MoveIt")
        namespace = tf_name(self.get_namespace())
        prefix = f"{namespace}/" if namespace else ""
        self._boxes = SceneBoxes(read_parameters(self, MoveItBridgeParameters), prefix)
        self._publisher = self.create_publisher(self._moveit_msgs.CollisionObject, COLLISION_OBJECT, QOS)
        self.create_subscription(ObjectPoseArray, POSES, self._on_poses, 10)
        self.get_logger().info(
            f"boxes of {self.resolve_topic_name(POSES)} to {self.resolve_topic_name(COLLISION_OBJECT)}"
        )

    def _on_poses(self, message: ObjectPoseArray) -> None:
        warning = frame_id_warning(message.header.frame_id)
        if warning is not None:
            self.get_logger().warning("; ".join(warning), once=True)
        for change in self._boxes.update(message):
            self._publisher.publish(collision_object(change, message.header, self._moveit_msgs))


def collision_object(change: SceneChange, header: Header, moveit_msgs: ModuleType) -> object:
    """Make the message of a change. The object's frame is that of its pose, and the box lies at its origin.

    Parameters
    ----------
    change : SceneChange
        Of one box.
    header : Header
        Of the poses.
    moveit_msgs : module
        `moveit_msgs.msg`.

    Returns
    -------
    moveit_msgs.msg.CollisionObject
        The message.
    """
    kind = moveit_msgs.CollisionObject
    header = Header(stamp=header.stamp, frame_id=tf_name(header.frame_id))
    message = kind(header=header, id=change.id, operation=getattr(kind, change.operation.value))
    if change.pose is not None:
        message.pose = change.pose
    if change.size is not None:
        message.primitives = [SolidPrimitive(type=SolidPrimitive.BOX, dimensions=list(change.size))]
        message.primitive_poses = [Pose()]  # its orientation is the identity
    return message


def main() -> None:
    """Executable moveit_bridge."""
    sys.exit(run(MoveItBridge))


if __name__ == "__main__":
    main()
