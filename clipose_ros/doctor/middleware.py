"""What the environment tells ROS's middleware: which one it is, whom it finds, and how images travel.

No ROS is imported: with some of these values it would end the process.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.distributions import installed_middlewares
from clipose_ros.doctor.findings import Finding, fail, ok, warn

# of Fast DDS 2 (Jazzy), of later ones
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
KNOWN_TRANSPORTS = ("NONE", "DEFAULT", "DEFAULTv6", "SHM", "UDPv4", "UDPv6", "LARGE_DATA", "LARGE_DATAv6", "P2P")
FAST_DDS = "rmw_fastrtps"  # begins the names of its two middlewares
DEFAULT_MIDDLEWARE = "rmw_fastrtps_cpp"
DEFAULT_SEGMENT_BYTES = 512 * 1024
LARGEST_IMAGE_BYTES = 1280 * 720 * 4  # 32FC1, as many depth cameras send it
MAXIMUM_PROFILE_BYTES = 1024 * 1024
PROFILE_ROOTS = ("profiles", "dds", "types", "log")
DISCOVERY_RANGES = ("SYSTEM_DEFAULT", "SUBNET", "LOCALHOST", "OFF")
# of Linux: above the first, ports are those that programs get for outgoing connections
LAST_SAFE_DOMAIN, LAST_DOMAIN = 101, 232


def domain_id(environment: Mapping[str, str] = os.environ) -> int | None:
    """Read ROS_DOMAIN_ID.

    Parameters
    ----------
    environment : mapping of str to str
        0 where it does not name one.

    Returns
    -------
    int or None
        None where it is no number, or none that DDS has ports for.
    """
    text = environment.get("ROS_DOMAIN_ID", "").strip() or "0"
    number = int(text) if re.fullmatch(r"\+?[0-9]{1,9}", text) else None
    return number if number is not None and number <= LAST_DOMAIN else None


def uses_fast_dds(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether Fast DDS is the middleware, as far as that can be told without asking it.

    Parameters
    ----------
    environment : mapping of str to str
        RMW_IMPLEMENTATION of it counts, else what is installed.

    Returns
    -------
    bool
        True where nothing is known: it is ROS's default.
    """
    wanted = environment.get("RMW_IMPLEMENTATION")
    installed = installed_middlewares(environment)
    default = installed[0] if installed and DEFAULT_MIDDLEWARE not in installed else DEFAULT_MIDDLEWARE
    return (wanted or default).startswith(FAST_DDS)


def middleware_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge RMW_IMPLEMENTATION: with one that is not installed, ROS ends the process.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Finding
        FAIL where it is not installed.
    """
    subject, wanted = "ros: RMW_IMPLEMENTATION", environment.get("RMW_IMPLEMENTATION")
    installed = installed_middlewares(environment)
    names = ", ".join(installed)
    if wanted and installed and wanted not in installed:
        package = f"ros-{environment.get('ROS_DISTRO', 'jazzy')}-{wanted.replace('_', '-')}"
        cure = f"unset RMW_IMPLEMENTATION, or, where ROS is from apt: sudo apt install {package}"
        return fail(subject, f"expected one that is installed ({names}), got {wanted}", cure)
    return ok(subject, f"{wanted or 'not set'}; installed: {names or 'not known'}")


def domain_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge ROS_DOMAIN_ID: with one that has no ports, Fast DDS ends the process.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Finding
        FAIL for what is no number from 0 to 232, WARN for one whose ports others may have.
    """
    subject, domain = "ros: ROS_DOMAIN_ID", domain_id(environment)
    if domain is None:
        text = f"expected a number from 0 to {LAST_DOMAIN}, got {environment['ROS_DOMAIN_ID']!r}"
        return fail(subject, text, "export ROS_DOMAIN_ID=0, in every terminal")
    if domain > LAST_SAFE_DOMAIN:
        cure = f"choose one of 0 to {LAST_SAFE_DOMAIN}"
        return warn(subject, f"{domain}: its ports may be taken by other programs", cure)
    return ok(subject, f"{domain}; the camera, the segmenter and the node must have the same")


def discovery_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge how far discovery reaches.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Finding
        FAIL where no node finds another, WARN where ROS takes another range than the one that is named.
    """
    subject, reach = "ros: discovery", environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    cure = "export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET"
    if reach not in DISCOVERY_RANGES:
        expected = f"expected one of {', '.join(DISCOVERY_RANGES)}"
        text = f"ROS_AUTOMATIC_DISCOVERY_RANGE: {expected}, got {reach!r}, which ROS takes for LOCALHOST"
        return warn(subject, text, cure)
    if reach == "OFF":
        return fail(subject, "switched off: no node finds another", cure)
    if server := environment.get("ROS_DISCOVERY_SERVER"):
        return ok(subject, f"by the server {server}: only nodes that name it, too, are found")
    local = reach == "LOCALHOST" or environment.get("ROS_LOCALHOST_ONLY") == "1"
    return ok(subject, "this machine only" if local else f"{reach}: also other machines of the network")


def profile_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find the profile that Fast DDS reads.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Path or None
        None where none is named.
    """
    return next((Path(environment[name]) for name in PROFILE_VARIABLES if environment.get(name)), None)


def profile_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge whether the profile that is named can be read: Fast DDS goes on without, and loses images.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Finding
        FAIL where it is missing or broken.
    """
    subject, path = "ros: Fast DDS profile", profile_path(environment)
    if path is None or not uses_fast_dds(environment):
        return ok(subject, "none is named" if path is None else f"{path}: not read by this middleware")
    try:
        shared_memory_segments(path)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return fail(subject, f"{path}: expected a profile, got: {text}", _profile_cure(environment))
    return ok(subject, str(path))


def transport_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge whether images fit through Fast DDS.

    Its default shared memory segment of 0.5 MB does not hold one, and best effort drops what does not fit.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process. `profile_finding` has no complaint about it.

    Returns
    -------
    Finding
        WARN where images will be lost.
    """
    subject, cure, transports = "ros: Fast DDS", _profile_cure(environment), environment.get(TRANSPORTS, "")
    kind = transports.partition("?")[0]
    if kind and kind not in KNOWN_TRANSPORTS:
        return warn(subject, f"{TRANSPORTS}: expected one of {', '.join(KNOWN_TRANSPORTS)}, got {kind!r}", cure)
    if kind.startswith("LARGE_DATA"):
        return ok(subject, f"{TRANSPORTS}={transports}: every process needs the same")
    path = profile_path(environment)
    if path is None:
        return warn(subject, "no profile: large images will be lost between processes", cure)
    segments = shared_memory_segments(path)
    if not segments:
        return warn(subject, f"{path}: no shared memory of a size of its own; large images may be lost", cure)
    if max(segments) < 2 * LARGEST_IMAGE_BYTES:
        text = f"{path}: shared memory of {max(segments) / 1e6:.1f} MB holds no two images of 1280x720, 32FC1"
        return warn(subject, text, f"let segment_size be {2 * LARGEST_IMAGE_BYTES} or more, or: {cure}")
    return ok(subject, f"{path}: {max(segments) / 1e6:.1f} MB of shared memory for images")


def segment_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """Give the size of the shared memory that a process makes.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process. `profile_finding` has no complaint about it.

    Returns
    -------
    int
        0 where it makes none, because it was told to use UDP alone.
    """
    path = profile_path(environment)
    if path is not None:
        return max(shared_memory_segments(path), default=DEFAULT_SEGMENT_BYTES)
    return 0 if environment.get(TRANSPORTS, "").startswith("UDP") else DEFAULT_SEGMENT_BYTES


def shared_memory_segments(profile: Path) -> list[int]:
    """Read the sizes of the shared memory transports of a profile.

    Parameters
    ----------
    profile : Path
        Of Fast DDS, XML.

    Returns
    -------
    list of int
        One for each transport that has a size of its own [bytes].

    Raises
    ------
    OSError, ValueError, xml.etree.ElementTree.ParseError
        It is no profile.
    """
    if (size := profile.stat().st_size) > MAXIMUM_PROFILE_BYTES:
        raise ValueError(f"expected at most {MAXIMUM_PROFILE_BYTES} bytes, got {size}")
    root = ElementTree.fromstring(profile.read_text(encoding="utf-8"))
    if (kind := root.tag.rpartition("}")[2]) not in PROFILE_ROOTS:
        raise ValueError(f"expected one of the elements {', '.join(PROFILE_ROOTS)}, got {kind}")
    return [int(element.text or 0) for element in root.iter() if element.tag.rpartition("}")[2] == "segment_size"]


def _profile_cure(environment: Mapping[str, str]) -> str:
    shipped = share_folder("launch", environment) / "fastdds_shm.xml"
    return f"export {PROFILE_VARIABLES[0]}={shipped} in every terminal, that of the camera driver first of all"
