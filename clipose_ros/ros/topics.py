"""Names of the pose node's inputs: what the node hears, cameras and segmenters publish, and a launch file remaps."""

from __future__ import annotations

DEPTH = "depth_registered/image_rect"
CAMERA_INFO = "rgb/camera_info"
INSTANCES = "instances"
COLOUR = "rgb/image_rect_color"
