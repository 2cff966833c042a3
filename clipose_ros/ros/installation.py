"""What must be right with ROS on this machine before a topic is looked at: middleware, messages, discovery, room for
images, optional packages.
"""

from __future__ import annotations

import importlib.util
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.utilities import get_rmw_implementation_identifier

import clipose_ros.msg
from clipose_ros.doctor.findings import Finding, fail, ok, warn
from clipose_ros.ros.lab.processes import launch_folder

# of Fast DDS 2 (Jazzy), of later ones
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
LARGEST_IMAGE_BYTES = 1280 * 720 * 4  # 32FC1, as many depth cameras send it
MAXIMUM_PROFILE_BYTES = 1024 * 1024
DISCOVERY_RANGES = ("SYSTEM_DEFAULT", "SUBNET", "LOCALHOST", "OFF")
# of Linux: above the first, ports are those that programs get for outgoing connections
LAST_SAFE_DOMAIN, LAST_DOMAIN = 101, 232
OPTIONAL_PACKAGES = {
    "vision_msgs": "no Detection3DArray on ~/detections",
    "tf2_ros": "no frames on TF and no target_frame",
    "moveit_msgs": "no bridge to MoveIt's planning scene",
}
FIELD = re.compile(r"^[A-Za-z][\w/<>=]*(?:\[[<=\d]*\])?\s+([a-z]\w*)(?:\s|#|$)")


def examine() -> list[Finding]:
    """Findings about ROS in this process's environment."""
    rmw = get_rmw_implementation_identifier()
    distribution = os.environ.get("ROS_DISTRO", "not named by ROS_DISTRO")
    found = [
        ok("ros", f"distribution {distribution}, middleware {rmw}"),
        messages_finding(),
        *discovery_findings(os.environ),
    ]
    if rmw.startswith("rmw_fastrtps"):
        found.append(transport_finding(os.environ))
    return found + [optional_finding(package, lost) for package, lost in OPTIONAL_PACKAGES.items()]


def messages_finding(folder: Path | None = None) -> Finding:
    """Whether the built messages have the fields of their definitions. folder: of *.msg, by default the checkout's or
    the installed package's.
    """
    folder = folder or definitions_folder()
    cure = "build again: make env, or colcon build --packages-select clipose_ros, and source the workspace"
    definitions = sorted(folder.glob("*.msg"))
    for path in definitions:
        built = getattr(clipose_ros.msg, path.stem, None)
        expected = declared_fields(path.read_text(encoding="utf-8"))
        if built is None or list(built.get_fields_and_field_types()) != expected:
            got = "no such message" if built is None else ", ".join(built.get_fields_and_field_types())
            return fail(
                "messages", f"{path.stem}: expected the fields {', '.join(expected)} as {path} says, got {got}", cure
            )
    if not definitions:
        return warn("messages", f"no definitions in {folder} to compare with", cure)
    return ok("messages", f"{len(definitions)} built as defined in {folder}")


def definitions_folder() -> Path:
    """msg/ of the checkout, else of the installed package."""
    checkout = launch_folder().parent / "msg"
    if checkout.is_dir():
        return checkout
    try:
        return Path(get_package_share_directory("clipose_ros")) / "msg"
    except PackageNotFoundError:
        return checkout


def declared_fields(definition: str) -> list[str]:
    """Names of the fields of a message definition; constants are none."""
    return [match[1] for match in map(FIELD.match, definition.splitlines()) if match]


def discovery_findings(environment: Mapping[str, str]) -> list[Finding]:
    """Who is found: the domain, and how far discovery reaches."""
    subject, text = "ros: ROS_DOMAIN_ID", environment.get("ROS_DOMAIN_ID") or "0"
    if not text.isdecimal() or int(text) > LAST_DOMAIN:
        domain = fail(subject, f"expected 0 to {LAST_DOMAIN}, got {text!r}", "export ROS_DOMAIN_ID=0")
    elif int(text) > LAST_SAFE_DOMAIN:
        domain = warn(
            subject, f"{text}: its ports may be taken by other programs", f"choose one of 0 to {LAST_SAFE_DOMAIN}"
        )
    else:
        domain = ok(subject, f"{text}; the camera, the segmenter and the node must have the same")
    subject, reach = "ros: discovery", environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    if reach.upper() not in DISCOVERY_RANGES:
        text = f"ROS_AUTOMATIC_DISCOVERY_RANGE: expected one of {', '.join(DISCOVERY_RANGES)}, got {reach}"
        return [domain, fail(subject, text, "export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET")]
    if reach.upper() == "OFF":
        text = "switched off: no node finds another, unless ROS_STATIC_PEERS names it"
        return [domain, fail(subject, text, "export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET")]
    local = reach.upper() == "LOCALHOST" or environment.get("ROS_LOCALHOST_ONLY") == "1"
    return [
        domain,
        ok(subject, "this machine only" if local else f"{reach.upper()}: also other machines of the network"),
    ]


def transport_finding(environment: Mapping[str, str]) -> Finding:
    """Whether images fit through Fast DDS: its default shared memory segment of 0.5 MB does not hold one, and best
    effort drops what does not fit.
    """
    subject = "ros: Fast DDS"
    cure = f"export {PROFILE_VARIABLES[0]}={launch_folder() / 'fastdds_shm.xml'} in every terminal, that of the camera driver first of all"
    if environment.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA"):
        return ok(
            subject,
            f"FASTDDS_BUILTIN_TRANSPORTS={environment['FASTDDS_BUILTIN_TRANSPORTS']}: every process needs the same",
        )
    path = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), None)
    if path is None:
        return warn(subject, "no profile: large images will be lost between processes", cure)
    try:
        segments = shared_memory_segments(Path(path))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        return fail(subject, f"{path}: {error}", cure)
    if not segments:
        return warn(subject, f"{path}: no shared memory of a size of its own; large images may be lost", cure)
    if max(segments) < 2 * LARGEST_IMAGE_BYTES:
        text = f"{path}: shared memory of {max(segments) / 1e6:.1f} MB holds no two images of 1280x720, 32FC1"
        return warn(subject, text, f"let segment_size be {2 * LARGEST_IMAGE_BYTES} or more, or: {cure}")
    return ok(subject, f"{path}: {max(segments) / 1e6:.1f} MB of shared memory for images")


def shared_memory_segments(profile: Path) -> list[int]:
    """Sizes of the shared memory transports of a profile [bytes].

    Raises OSError, ValueError or ParseError for what is no profile.
    """
    if (size := profile.stat().st_size) > MAXIMUM_PROFILE_BYTES:
        raise ValueError(f"expected at most {MAXIMUM_PROFILE_BYTES} bytes, got {size}")
    root = ElementTree.fromstring(profile.read_text(encoding="utf-8"))
    return [int(element.text or 0) for element in root.iter() if element.tag.rpartition("}")[2] == "segment_size"]


def optional_finding(
    package: str, lost: str, find: Callable[[str], object | None] = importlib.util.find_spec
) -> Finding:
    """A package that the node can do without; `lost`: what without it there is not."""
    present = find(package) is not None
    return ok(f"optional: {package}", "installed" if present else f"not installed: {lost}")
