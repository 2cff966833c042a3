"""The node's outputs: one frame's results as 9DoF poses, plain poses, detections, markers and transforms, all with the
header of the depth image.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

from geometry_msgs.msg import PoseArray
from rclpy.event_handler import QoSPublisherMatchedInfo
from rclpy.node import Node
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from clipose_ros.core.types import Detections, PoseEstimate
from clipose_ros.core.workspace import CameraPlace
from clipose_ros.msg import InstanceArray, ObjectPose, ObjectPoseArray
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.camera_transforms import CameraTransforms
from clipose_ros.ros.conversions import instance_array_message, object_pose_message, pose_array_message
from clipose_ros.ros.detections import detections
from clipose_ros.ros.markers import Markers
from clipose_ros.ros.qos import advertise
from clipose_ros.ros.settings import PoseNodeParameters
from clipose_ros.ros.target_frame import TargetFrame
from clipose_ros.ros.transforms import object_transforms
from clipose_ros.segmenters.choice import SEGMENTER_DEFAULT

UNHEARD_S = 1.0  # so long an answer that nobody heard waits for a subscriber that is just being discovered


class PosePublishers:
    """`~/poses_9dof`, `~/poses` and `~/markers` of a node, and if wanted, `~/detections` and transforms.

    With a segmenter, `~/instances`, too. The poses of a frame that nobody heard go to the first subscriber of
    `~/poses_9dof` that is discovered within `UNHEARD_S`: who subscribes before sending an image gets its answer.

    Called by one thread.

    Parameters
    ----------
    node : Node
        Which publishes.
    parameters : PoseNodeParameters
        Of the node.
    transforms : CameraTransforms or None
        Of the node; None without a target frame.

    Raises
    ------
    RuntimeError
        If a package is missing that the parameters ask for.
    """

    def __init__(self, node: Node, parameters: PoseNodeParameters, transforms: CameraTransforms | None) -> None:
        self._unheard: tuple[float, bytes] | None = None  # when it was published, and the message
        self._order = threading.Lock()  # no answer after a newer one
        self._poses_9dof = advertise(node, ObjectPoseArray, "~/poses_9dof", on_matched=self._on_matched)
        self._poses = advertise(node, PoseArray, "~/poses")
        self._marker_arrays = advertise(node, MarkerArray, "~/markers")
        found = parameters.segmenter != SEGMENTER_DEFAULT
        self._instances = advertise(node, InstanceArray, "~/instances") if found else None
        self._markers = Markers(parameters.marker_lifetime_s)
        self._detections = detections(node, parameters.detections)
        self._transforms = object_transforms(node, parameters.tf_prefix) if parameters.tf else None
        self._target_frame = (
            TargetFrame(transforms, parameters.target_frame, parameters.transform_timeout_s)
            if parameters.target_frame
            else None
        )
        self._lost: list[int] = []
        self._made: list[ObjectPose] = []  # filled again in every frame: making them takes longer than filling them

    def configure(self, parameters: PoseNodeParameters) -> None:
        """Go on with other parameters, from any thread.

        Parameters
        ----------
        parameters : PoseNodeParameters
            Of the node from now on.
        """
        self._markers.set_lifetime(parameters.marker_lifetime_s)

    def camera(self, header: Header) -> CameraPlace | None:
        """Look up where the camera was, in the frame of the poses.

        Parameters
        ----------
        header : Header
            Of the depth image.

        Returns
        -------
        CameraPlace or None
            None where poses are in the camera's frame.

        Raises
        ------
        ValueError
            If there is no transform to the target frame.
        """
        return None if self._target_frame is None else self._target_frame.camera(header)

    def publish_instances(self, detections: Detections, header: Header) -> None:
        """Publish what the segmenter found in a frame, also if that is nothing.

        Parameters
        ----------
        detections : Detections
            Of the frame.
        header : Header
            Of the depth image.
        """
        if self._instances is not None and self._instances.get_subscription_count():
            self._instances.publish(instance_array_message(detections, header))

    def publish(self, result: FrameResult, header: Header) -> None:
        """Publish a frame, also if it is empty; plain poses and markers only if somebody listens.

        Parameters
        ----------
        result : FrameResult
            Of the frame, camera frame.
        header : Header
            Of the depth image.

        Raises
        ------
        ValueError
            If there is no transform to the target frame. The tracks that ended are told with the next frame.
        """
        self._lost += result.lost
        if self._target_frame is not None:
            result, header = self._target_frame.place(result, header)
        made = itertools.chain(self._made, self._more())
        message = pose_array_message(result.results, header, made.__next__)
        message.coasting = [object_pose_message(instance, pose, made.__next__) for instance, pose in result.coasting]
        message.lost, self._lost = self._lost, []
        self._publish_poses(message)
        if self._poses.get_subscription_count():
            # A plain pose cannot say that it is predicted: only what this frame measured.
            measured = [pose.pose for pose in message.poses if pose.tracking != ObjectPose.COASTING]
            self._poses.publish(PoseArray(header=header, poses=measured))
        if self._detections is not None:
            self._detections.publish(message)
        if self._transforms is not None:
            self._transforms.publish(message)
        if self._marker_arrays.get_subscription_count():
            poses = [
                (instance, pose)
                for instance, pose in (*result.results, *result.coasting)
                if isinstance(pose, PoseEstimate)
            ]
            self._marker_arrays.publish(self._markers.message(poses, header))

    def subscribers(self) -> dict[str, int]:
        """Count who hears the node.

        Returns
        -------
        dict of str to int
            Matched subscriptions by topic, of what a node may publish.
        """
        publishers = {"poses_9dof": self._poses_9dof, "poses": self._poses, "markers": self._marker_arrays}
        if self._instances is not None:
            publishers["instances"] = self._instances
        return {f"~/{topic}": publisher.get_subscription_count() for topic, publisher in publishers.items()}

    def _publish_poses(self, message: ObjectPoseArray) -> None:
        with self._order:
            heard = self._poses_9dof.get_subscription_count()
            # As bytes: what the message is made of is filled again for the next frame.
            self._unheard = None if heard else (time.monotonic(), serialize_message(message))
            self._poses_9dof.publish(message)

    def _on_matched(self, event: QoSPublisherMatchedInfo) -> None:
        with self._order:
            if event.current_count and self._unheard is not None:
                published_s, message = self._unheard
                if time.monotonic() - published_s < UNHEARD_S:
                    self._poses_9dof.publish(message)
                self._unheard = None

    def _more(self) -> Iterator[ObjectPose]:
        while True:
            self._made.append(ObjectPose())
            yield self._made[-1]
