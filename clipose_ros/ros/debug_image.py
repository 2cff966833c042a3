"""`~/debug_image`: what a frame gave, drawn on its colour image. Costs nothing while nobody looks."""

from __future__ import annotations

from collections import deque

import numpy as np
from rclpy.event_handler import QoSPublisherMatchedInfo
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clipose_ros.core.types import Frame
from clipose_ros.drawing import depth_picture, draw_results
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.conversions import colour_view, image_message
from clipose_ros.ros.image_inputs import ImageInput
from clipose_ros.ros.qos import advertise

TOPIC = "~/debug_image"
KEPT_COLOURS = 30  # masks may come so many images late; later ones are drawn on the depth image
WARNING_PERIOD_S = 5.0


class DebugImage:
    """Publisher of pictures, which subscribes to the colour image as long as it has a subscriber itself.

    The poses never wait for colour: if the colour image of a frame is not there, or does not fit, the depth image
    takes its place. The executor's thread keeps colour images; the worker's converts, draws and publishes.

    Parameters
    ----------
    node : Node
        Which publishes.
    colour : ImageInput
        The colour images.
    """

    def __init__(self, node: Node, colour: ImageInput) -> None:
        self._node, self._colour = node, colour
        self._colours: deque[Image | CompressedImage] = deque(maxlen=KEPT_COLOURS)
        self._subscription: Subscription | None = None
        self._publisher = advertise(node, Image, TOPIC, QoSProfile(depth=1), self._on_matched)

    def publish(self, frame: Frame, result: FrameResult, header: Header) -> None:
        """Draw and publish a frame, if somebody looks.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        result : FrameResult
            What it gave, camera frame.
        header : Header
            Of the depth image.
        """
        if self._publisher.get_subscription_count():
            picture = self._background(frame, header)
            draw_results(picture, frame.intrinsics, result.detections, result.results, result.coasting)
            self._publisher.publish(image_message(picture, "rgb8", header))

    def _on_matched(self, event: QoSPublisherMatchedInfo) -> None:
        if event.current_count and self._subscription is None:
            self._subscription = self._node.create_subscription(
                self._colour.kind, self._colour.topic, self._on_colour, qos_profile_sensor_data
            )
        elif not event.current_count and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._colours.clear()

    def _on_colour(self, image: Image | CompressedImage) -> None:
        self._colours.append(image)

    def _background(self, frame: Frame, header: Header) -> np.ndarray:
        """A picture to draw on, (H, W, 3) uint8 RGB, of the size of the depth image."""
        if frame.colour is not None:
            return np.array(frame.colour, order="C")
        colour = next((image for image in self._colours.copy() if image.header.stamp == header.stamp), None)
        if colour is None:
            return depth_picture(frame.depth)
        try:
            pixels = colour_view(colour)
            if pixels.shape[:2] != frame.depth.shape:
                raise ValueError(f"colour: expected {frame.depth.shape} as depth, got {pixels.shape[:2]}")
        except ValueError as error:
            self._node.get_logger().warning(f"{TOPIC} shows depth: {error}", throttle_duration_sec=WARNING_PERIOD_S)
            return depth_picture(frame.depth)
        return np.array(pixels, order="C")
