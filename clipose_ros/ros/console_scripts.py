"""The nodes' console scripts.

What keeps ROS from starting ends a node before it is imported, with one sentence: ROS itself would end the process
without one. Signals wait while Python imports, about a second, and then end the node as they do later: cleanly, without
a traceback.
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from importlib import import_module

from clipose_ros.doctor.environment import refusal
from clipose_ros.formats.text_files import open_streams

HELP = "clipose doctor"


def check_environment() -> None:
    """End the process where ROS cannot start in it.

    Raises
    ------
    SystemExit
        With status 1 and a sentence that names the cure.
    """
    if reason := refusal():
        sys.exit(reason)


def _start(module: str) -> None:
    open_streams()
    # until rclpy listens: see `clipose_ros.ros.spinning`
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    check_environment()
    try:
        node = import_module(module)
    except Exception as error:  # whatever a package of another distribution raises: there is no node yet to log it
        sys.exit(f"{module}: cannot be imported: {type(error).__name__}: {error}. Try: {HELP}")
    node.main()


pose_node = partial(_start, "clipose_ros.ros.node")
player = partial(_start, "clipose_ros.ros.lab.player")
yolo_adapter = partial(_start, "clipose_ros.ros.adapters.yolo")
mask_adapter = partial(_start, "clipose_ros.ros.adapters.single_mask")
label_adapter = partial(_start, "clipose_ros.ros.adapters.label_image")
moveit_bridge = partial(_start, "clipose_ros.ros.examples.moveit_bridge")
