"""What must be right with ROS on this machine, once it has started, before a topic is looked at: the messages as they
were built, and packages that the nodes can do without.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from rclpy.utilities import get_rmw_implementation_identifier

import clipose_ros.msg
from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.findings import Finding, fail, ok, warn

OPTIONAL_PACKAGES = {
    "vision_msgs": "no Detection3DArray on ~/detections",
    "tf2_ros": "no frames on TF, no target_frame and no gravity_frame",
    "moveit_msgs": "no bridge to MoveIt's planning scene",
}
FIELD = re.compile(r"^[A-Za-z][\w/<>=]*(?:\[[<=\d]*\])?\s+([a-z]\w*)(?:\s|#|$)")


def examine() -> list[Finding]:
    """Look at ROS in this process.

    Returns
    -------
    list of Finding
        In the order in which things are needed.
    """
    return [
        ok("ros: middleware", get_rmw_implementation_identifier()),
        definitions_finding(),
        *(optional_finding(package, lost) for package, lost in OPTIONAL_PACKAGES.items()),
    ]


def definitions_finding(folder: Path | None = None) -> Finding:
    """Compare the built messages with their definitions.

    Parameters
    ----------
    folder : Path, optional
        Of *.msg. By default the checkout's or the installed package's.

    Returns
    -------
    Finding
        FAIL where a message has other fields than its definition.
    """
    folder = folder or share_folder("msg")
    cure = "build again: make env, or colcon build --packages-select clipose_ros, and source the workspace"
    definitions = sorted(folder.glob("*.msg"))
    for path in definitions:
        built = getattr(clipose_ros.msg, path.stem, None)
        expected = declared_fields(path.read_text(encoding="utf-8"))
        if built is None or list(built.get_fields_and_field_types()) != expected:
            got = "no such message" if built is None else ", ".join(built.get_fields_and_field_types())
            text = f"{path.stem}: expected the fields {', '.join(expected)} as {path} says, got {got}"
            return fail("messages", text, cure)
    if not definitions:
        return warn("messages", f"no definitions in {folder} to compare with", cure)
    return ok("messages", f"{len(definitions)} built as defined in {folder}")


def declared_fields(definition: str) -> list[str]:
    """List the fields of a message definition.

    Parameters
    ----------
    definition : str
        Content of a *.msg file.

    Returns
    -------
    list of str
        Names in their order. Constants are none.
    """
    return [match[1] for match in map(FIELD.match, definition.splitlines()) if match]


def optional_finding(
    package: str, lost: str, find: Callable[[str], object | None] = importlib.util.find_spec
) -> Finding:
    """Look for a package that the nodes can do without.

    Parameters
    ----------
    package : str
        Its name.
    lost : str
        What there is not without it.
    find : callable
        Gives None for the name of a package that is not installed.

    Returns
    -------
    Finding
        OK in either case.
    """
    present = find(package) is not None
    return ok(f"optional: {package}", "installed" if present else f"not installed: {lost}")
