"""The nodes' console scripts. Signals wait while Python imports, about a second, and then end the node as they do later: cleanly, without a traceback."""

from __future__ import annotations

import signal
from importlib import import_module


def pose_node() -> None:
    """Depth and instances to poses."""
    _start("clipose_ros.ros.node")


def player() -> None:
    """A recording as a camera and a segmenter would send it."""
    _start("clipose_ros.ros.player")


def yolo_adapter() -> None:
    """Instances of yolo_ros."""
    _start("clipose_ros.ros.adapters.yolo")


def mask_adapter() -> None:
    """Instances of one mask without a class."""
    _start("clipose_ros.ros.adapters.single_mask")


def label_adapter() -> None:
    """Instances of a label image and detections."""
    _start("clipose_ros.ros.adapters.label_image")


def moveit_bridge() -> None:
    """Poses to collision objects."""
    _start("clipose_ros.ros.examples.moveit_bridge")


def _start(module: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # until rclpy listens: see `clipose_ros.ros.spinning`
    import_module(module).main()
