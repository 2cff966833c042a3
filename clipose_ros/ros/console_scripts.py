"""The nodes' console scripts.

Signals wait while Python imports, about a second, and then end the node as they do later: cleanly, without a traceback.
"""

from __future__ import annotations

import signal
from functools import partial
from importlib import import_module


def _start(module: str) -> None:
    # until rclpy listens: see `clipose_ros.ros.spinning`
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    import_module(module).main()


pose_node = partial(_start, "clipose_ros.ros.node")
player = partial(_start, "clipose_ros.ros.lab.player")
yolo_adapter = partial(_start, "clipose_ros.ros.adapters.yolo")
mask_adapter = partial(_start, "clipose_ros.ros.adapters.single_mask")
label_adapter = partial(_start, "clipose_ros.ros.adapters.label_image")
moveit_bridge = partial(_start, "clipose_ros.ros.examples.moveit_bridge")
