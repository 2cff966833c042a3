"""Which ROS this Python would load, and whether all of it is one: its packages, its libraries, its middlewares.

No ROS is imported: one that was built for another Python, or whose libraries are another's, does not survive that.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path

from clipose_ros.doctor.findings import Finding, fail, ok, warn

# rclpy, and whose messages the nodes use.
PACKAGES = ("rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "diagnostic_msgs", "visualization_msgs", "std_srvs")
PACKAGES += ("builtin_interfaces", "rcl_interfaces", "shape_msgs")
MESSAGES = "ros: messages"
CORE_LIBRARY = "librcl.so"
MIDDLEWARES = Path("share/ament_index/resource_index/rmw_typesupport")
SWITCH = "rmw_implementation"  # registers itself beside the middlewares among which it chooses
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = re.compile(r"\.cpython-(\d)(\d+)[^.]*\.so$")


def package_folder(name: str) -> Path | None:
    """Find a package as `import` would, without importing it.

    Parameters
    ----------
    name : str
        Of a top-level package.

    Returns
    -------
    Path or None
        Its folder. None where there is none; a folder without __init__.py is none.
    """
    spec = PathFinder.find_spec(name, sys.path)
    return Path(spec.origin).parent.resolve() if spec and spec.origin else None  # the files may be links to sources


def built_for(folder: Path) -> list[str]:
    """List the versions of Python for which the compiled modules of a package were built.

    Parameters
    ----------
    folder : Path
        Of the package.

    Returns
    -------
    list of str
        Such as 3.12, sorted. Modules that do not say it are left out.
    """
    tags = (TAG.search(path.name) for path in folder.glob("*.so"))
    return sorted({f"{tag[1]}.{tag[2]}" for tag in tags if tag})


def packages_finding(environment: Mapping[str, str] = os.environ, needed: bool = False) -> Finding:
    """Judge whether rclpy and the messages are there, and were built for this Python.

    Parameters
    ----------
    environment : mapping of str to str
        PYTHONPATH and CONDA_PREFIX of it say where a wrong one comes from.
    needed : bool
        Whether it is a failure that there is no ROS at all.

    Returns
    -------
    Finding
        FAIL where another Python's or half a package would be loaded.
    """
    subject, source = "ros", "make env, or source the ROS installation and the workspace"
    folders = {name: folder for name in PACKAGES if (folder := package_folder(name))}
    if "rclpy" not in folders:
        return (fail if needed else warn)(subject, "not here: no rclpy for this Python", source)
    for name, folder in folders.items():
        if not _fits(folder):
            versions = ", ".join(built_for(folder))
            got = f"modules for {versions}" if versions else "no compiled modules"
            text = f"{name}: expected modules for Python {HERE}, got {got} in {folder}"
            return fail(subject, text, _wrong_package_cure(folder, environment))
    distribution = environment.get("ROS_DISTRO", "not named by ROS_DISTRO")
    return ok(subject, f"distribution {distribution}, rclpy in {folders['rclpy']}")


def messages_finding(needed: bool = False) -> Finding:
    """Judge whether this package's messages can be found.

    Parameters
    ----------
    needed : bool
        Whether it is a failure that they cannot.

    Returns
    -------
    Finding
        Whether they are what their definitions say is another question.
    """
    subject, cure = MESSAGES, "make env, or build the package with colcon and source the workspace"
    folders = [Path(entry) / "clipose_ros" / "msg" for entry in sys.path]
    found = next((folder for folder in folders if (folder / "__init__.py").is_file()), None)
    if found is None:
        return (fail if needed else warn)(subject, "clipose_ros.msg: not built, or not on Python's path", cure)
    return ok(subject, str(found))


def libraries_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge whether the libraries that would be loaded are those of rclpy's own distribution.

    Parameters
    ----------
    environment : mapping of str to str
        LD_LIBRARY_PATH of it names folders of libraries, AMENT_PREFIX_PATH the prefixes that are sourced.

    Returns
    -------
    Finding
        FAIL where those of another distribution are on the path, too.
    """
    subject, rclpy = "ros: libraries", package_folder("rclpy")
    entries = [Path(entry).resolve() for entry in _entries(environment, "LD_LIBRARY_PATH")]
    sourced = {Path(entry).resolve() for entry in _entries(environment, "AMENT_PREFIX_PATH")}
    own = set(rclpy.parents) if rclpy else set()
    if own & sourced:  # workspaces upon the distribution that rclpy is of
        own |= sourced
    foreign = [entry for entry in entries if (entry / CORE_LIBRARY).exists() and entry.parent not in own]
    if rclpy is None or not _fits(rclpy):
        return ok(subject, "no rclpy to compare them with")
    if foreign:
        text = f"expected those of the ROS in which rclpy is, got {foreign[0]} on LD_LIBRARY_PATH, too"
        return fail(subject, text, "a terminal where no other ROS is sourced; or unset LD_LIBRARY_PATH")
    return ok(subject, "one distribution")


def conda_finding(environment: Mapping[str, str] = os.environ, prefix: Path = Path(sys.prefix)) -> Finding:
    """Judge whether conda's Python meets a ROS that is not conda's: their C++ libraries may not fit.

    Parameters
    ----------
    environment : mapping of str to str
        CONDA_PREFIX of it names the conda environment that is active.
    prefix : Path
        Of this Python.

    Returns
    -------
    Finding
        WARN where they are mixed.
    """
    subject, conda = "conda", environment.get("CONDA_PREFIX")
    rclpy = package_folder("rclpy")
    if not conda:
        return ok(subject, "not active")
    folder = Path(conda).resolve()
    if prefix.resolve() == folder and rclpy is not None and folder not in rclpy.parents:
        text = f"its Python ({folder}) meets a ROS that is not conda's ({rclpy}): their C++ libraries may not fit"
        return warn(subject, text, "conda deactivate")
    return ok(subject, f"{folder} is active; this Python is {prefix}")


def installed_middlewares(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """List the middlewares that ROS can load here.

    Parameters
    ----------
    environment : mapping of str to str
        AMENT_PREFIX_PATH of it names the prefixes that are sourced.

    Returns
    -------
    tuple of str
        Sorted. Empty where the installation does not say it.
    """
    rclpy = package_folder("rclpy")
    sourced = map(Path, _entries(environment, "AMENT_PREFIX_PATH"))
    prefixes = [*sourced, Path(sys.prefix), *(rclpy.parents if rclpy else ())]
    found = {entry.name for prefix in prefixes for entry in (prefix / MIDDLEWARES).glob("*")}
    return tuple(sorted(found - {SWITCH}))


def _fits(folder: Path) -> bool:
    """Tell whether a package has compiled modules for this Python."""
    versions = built_for(folder)
    return HERE in versions or not versions and any(folder.glob("*.so"))


def _wrong_package_cure(folder: Path, environment: Mapping[str, str]) -> str:
    """Say how to get rid of a package that this Python cannot load."""
    if environment.get("CONDA_PREFIX") and Path(sys.prefix).resolve() == Path(environment["CONDA_PREFIX"]).resolve():
        return "conda deactivate"
    if any(Path(entry).resolve() in folder.parents for entry in _entries(environment, "PYTHONPATH")):
        return "unset PYTHONPATH, or start it with the Python of that ROS"
    return "install it again, for this Python"


def _entries(environment: Mapping[str, str], name: str) -> list[str]:
    return [entry for entry in environment.get(name, "").split(os.pathsep) if entry]
