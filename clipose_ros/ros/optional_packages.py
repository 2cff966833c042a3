"""ROS packages that the node can do without, and that PyPI does not have: imported only where a parameter asks for what they are for."""

from __future__ import annotations

import importlib
import os
from types import ModuleType


def optional_package(module: str, wanted_by: str) -> ModuleType:
    """A module of such a package, for example `vision_msgs.msg`.

    Raises RuntimeError, which names the package and `wanted_by`, what it is needed for, when it is not there.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        cure = f"apt: ros-{distribution}-{package.replace('_', '-')}"
        raise RuntimeError(f"{package}: expected the ROS package, for {wanted_by}, got none ({error}; {cure})") from error
