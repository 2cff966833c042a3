"""The node's outputs: one frame's results as 9DoF poses, plain poses and markers, all with the header of the depth image."""

from __future__ import annotations

from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from clipose_ros.core.types import PoseEstimate
from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.conversions import object_pose_message, pose_array_message
from clipose_ros.ros.markers import Markers
from clipose_ros.ros.qos import advertise


class PosePublishers:
    """`~/poses_9dof`, `~/poses` and `~/markers` of a node. Called by one thread."""

    def __init__(self, node: Node, marker_lifetime_s: float) -> None:
        self._poses_9dof = advertise(node, ObjectPoseArray, "~/poses_9dof")
        self._poses = advertise(node, PoseArray, "~/poses")
        self._marker_arrays = advertise(node, MarkerArray, "~/markers")
        self._markers = Markers(marker_lifetime_s)

    def publish(self, result: FrameResult, header: Header) -> None:
        """Publish a frame, also when it is empty; markers only where somebody looks."""
        message = pose_array_message(result.results, header)
        message.coasting = [object_pose_message(instance, pose) for instance, pose in result.coasting]
        message.lost = list(result.lost)
        self._poses_9dof.publish(message)
        # A plain pose cannot say that it is predicted: only what this frame measured.
        measured = [pose.pose for pose in message.poses if pose.tracking != ObjectPose.COASTING]
        self._poses.publish(PoseArray(header=header, poses=measured))
        if self._marker_arrays.get_subscription_count():
            poses = [(instance, pose) for instance, pose in (*result.results, *result.coasting) if isinstance(pose, PoseEstimate)]
            self._marker_arrays.publish(self._markers.message(poses, header))
