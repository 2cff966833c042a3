"""Parameter files that a node was given and that have nothing for it: ROS passes over them without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PARAMETERS = "ros__parameters"
MAXIMUM_BYTES = 1024 * 1024  # of a file that is looked at


def unread_files(arguments: Sequence[str], node: str) -> list[str]:
    """Find the parameter files without a section for a node.

    Parameters
    ----------
    arguments : sequence of str
        Command line.
    node : str
        Full name of the node, such as /robot/clipose.

    Returns
    -------
    list of str
        A warning for each, with the cure.
    """
    texts = []
    for path in parameter_files(arguments):
        found = sections(path)
        if found and not any(matches(section, node) for section in found):
            texts.append(
                f"{path}: expected a section for {node}, got {', '.join(found)}: nothing of it is used. "
                f"Name its section {node} or /**, or start the node under the name that is written there"
            )
    return texts


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """List the files that `--params-file` names.

    Parameters
    ----------
    arguments : sequence of str
        Command line.

    Returns
    -------
    list of Path
        In order.
    """
    files, of_ros = [], False
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        if argument in ("--ros-args", "--"):
            of_ros = argument == "--ros-args"
        elif of_ros and argument == "--params-file" and following:
            files.append(Path(following))
    return files


def sections(path: Path) -> list[str]:
    """List the nodes that a parameter file is for.

    Parameters
    ----------
    path : Path
        YAML that ROS has read.

    Returns
    -------
    list of str
        As they are written, such as /**/clipose; of nested ones the whole name. Empty where it cannot be read.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            return []
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # ROS has its own words for that, and ends the node
        return []
    return list(_sections(content, ""))


def matches(section: str, node: str) -> bool:
    """Tell whether ROS takes a section for a node.

    Parameters
    ----------
    section : str
        Name with wildcards: * for one part of a name, ** for any number of them.
    node : str
        Full name of the node.

    Returns
    -------
    bool
        As rcl does it.
    """
    pattern = re.escape("/" + section.lstrip("/"))
    pattern = pattern.replace(r"/\*\*", r"(/\w+)*").replace(r"/\*", r"(/\w+)")
    return re.fullmatch(pattern, node) is not None


def _sections(content: Any, name: str) -> Iterator[str]:
    if not isinstance(content, Mapping):
        return
    for key, inner in content.items():
        if key == PARAMETERS:
            yield name
        else:
            yield from _sections(inner, f"{name}/{key}" if name else str(key))
