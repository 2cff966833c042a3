"""ROS packages that the node can do without, and that PyPI does not have: imported only where a parameter asks for what
they are for.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from rclpy.type_support import NoTypeSupportImportedException, check_for_type_support
from rosidl_generator_py.import_type_support_impl import UnsupportedTypeSupport


def optional_package(name: str, wanted_by: str) -> ModuleType:
    """A package. Raises RuntimeError, which names it and `wanted_by`, what it is needed for, when it is not there."""
    return _imported(name, name, wanted_by)


def optional_messages(package: str, message: str, wanted_by: str) -> ModuleType:
    """The messages of a package, of which `message` is wanted.

    Raises RuntimeError as `optional_package`, and when their libraries do not load.
    """
    messages = _imported(package, f"{package}.msg", wanted_by)
    try:
        check_for_type_support(getattr(messages, message))
    except (AttributeError, NoTypeSupportImportedException, UnsupportedTypeSupport) as error:
        raise RuntimeError(
            f"{package}: expected {message} with its libraries, for {wanted_by}, got none ({error})"
        ) from error
    return messages


def _imported(package: str, module: str, wanted_by: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        cure = f"apt: ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"
        raise RuntimeError(
            f"{package}: expected the ROS package, for {wanted_by}, got none ({error}; {cure})"
        ) from error
