"""ROS packages that the node can do without, and that PyPI does not have.

They are imported only if a parameter or an image asks for them.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from rclpy.type_support import NoTypeSupportImportedException, check_for_type_support
from rosidl_generator_py.import_type_support_impl import UnsupportedTypeSupport


def optional_package(name: str, wanted_by: str) -> ModuleType:
    """Import a package.

    Parameters
    ----------
    name : str
        Of the package.
    wanted_by : str
        What it is needed for, in words.

    Returns
    -------
    module
        The package.

    Raises
    ------
    RuntimeError
        If it is not installed; the message names it, `wanted_by` and the cure.
    """
    return _imported(name, name, wanted_by)


def optional_messages(package: str, message: str, wanted_by: str) -> ModuleType:
    """Import the messages of a package.

    Parameters
    ----------
    package : str
        Name of the package.
    message : str
        Name of the message that is wanted.
    wanted_by : str
        What it is needed for, in words.

    Returns
    -------
    module
        `<package>.msg`.

    Raises
    ------
    RuntimeError
        As `optional_package`, and if the libraries of the message do not load.
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
