"""Poses on disk: `poses.json` as `clipose estimate` writes it and `truth.json`, which has the same fields and more."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipose_ros.core.types import Instance, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.formats.text_files import read_json
from clipose_ros.formats.whole_files import whole_file

if TYPE_CHECKING:  # whoever reads poses needs no pipeline
    from clipose_ros.pipeline import FrameResult

ROTATION_TOLERANCE = 0.01  # of R Rᵀ: files have few digits
FARTHEST_M = 50.0  # of the median object
MOST_IN_MEMORY = 2**24  # bytes of a file that is being written; of what is longer, the rest waits on the disk
# (frame name, instance number), as the file has them: other programs write numbers as text, or text as numbers
InstanceKey = tuple[str | int, str | int]
PosesByInstance = dict[InstanceKey, PoseEstimate | Rejection]


@dataclass(frozen=True)
class HiddenObject:
    """An object that is there and too hidden to count: who finds it is not wrong.

    Parameters
    ----------
    category : str
        Its class.
    translation : (3,) float
        Where it is, camera frame [m].
    """

    category: str
    translation: np.ndarray


@dataclass(frozen=True)
class Truth:
    """The true poses of a sequence.

    Parameters
    ----------
    poses : mapping of (frame, instance) to PoseEstimate
        Of the objects that count.
    hidden_handles : frozenset of (frame, instance)
        Mugs whose handle the camera does not see (`handle_visibility` 0).
    hidden_objects : mapping of frame to tuple of HiddenObject
        What is too hidden to count.
    lying : frozenset of (frame, instance)
        Objects that lie (`lying` true). The others stand.
    """

    poses: Mapping[InstanceKey, PoseEstimate]
    hidden_handles: frozenset[InstanceKey] = frozenset()
    hidden_objects: Mapping[str | int, tuple[HiddenObject, ...]] = field(default_factory=dict)
    lying: frozenset[InstanceKey] = frozenset()


def write_poses(
    path: Path,
    frames: Iterable[tuple[str, FrameResult]],
    stamps: bool = False,
    reference_origins: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the results of named frames one by one; folders that the path names and that are not there are made.

    Parameters
    ----------
    path : Path
        Of `poses.json`. It is written when the last frame has come: nothing is, if `frames` raises or the disk is
        full, and what was there before stays.
    frames : iterable of (str, FrameResult)
        Name and result; `Instance.id` is the name of the instance, a number where it is one.
    stamps : bool
        Write `stamp_ns` beside `frame`: a recording's frames have stamps, those of a folder do not.
    reference_origins : mapping of str to (3,) float, optional
        Of learned objects: the origin of the frame of their reference poses, in the object's frame [m]. Their entries
        get `t_reference`, where that origin is in the camera frame [m].
    """
    origins = reference_origins or {}
    with tempfile.SpooledTemporaryFile(MOST_IN_MEMORY, "w+", encoding="utf-8") as written:
        between = "[\n"
        for name, result in frames:
            stamp = {"stamp_ns": result.stamp_ns} if stamps else {}
            entries = [_entry(instance, pose, origins) for instance, pose in result.results]
            text = json.dumps({"frame": name, **stamp, "instances": entries}, indent=1)
            written.write(between + textwrap.indent(text, " "))
            between = ",\n"
        written.write("[]\n" if between == "[\n" else "\n]\n")
        written.seek(0)
        with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            shutil.copyfileobj(written, file)


def read_poses(path: Path) -> PosesByInstance:
    """Read poses and rejections by frame and instance; keys that a pose does not need are ignored.

    Parameters
    ----------
    path : Path
        Of `poses.json` or `truth.json`.

    Returns
    -------
    dict of (frame, instance) to PoseEstimate or Rejection
        In the order of the file.

    Raises
    ------
    ValueError
        With the path, for a broken file or one that is not there.
    """
    return _reading(path, _poses)


def read_truth(path: Path) -> Truth:
    """Read true poses, with what the file says of hidden handles, of hidden objects and of what lies.

    Parameters
    ----------
    path : Path
        Of `truth.json`. Instances may carry `handle_visibility` and `lying`, frames `hidden`: [{class, t}]; `up` and
        others are ignored.

    Returns
    -------
    Truth
        All poses.

    Raises
    ------
    ValueError
        With the path, for a broken file or one that holds rejections.
    """
    return _reading(path, _truth)


def read_reference_origins(path: Path) -> dict[InstanceKey, np.ndarray]:
    """Read where the origins of learned objects' references are, camera frame.

    Parameters
    ----------
    path : Path
        Of `poses.json` or `truth.json`.

    Returns
    -------
    dict of (frame, instance) to (3,) float
        `t_reference`, or `t` where an entry has none, of the entries that have a pose [m].

    Raises
    ------
    ValueError
        With the path, for a broken file or one that is not there.
    """
    return _reading(path, _reference_origins)


def read_view_truth(path: Path, name: str) -> Truth:
    """Read the poses of reference views as the truth of what was estimated on them.

    Parameters
    ----------
    path : Path
        Of the `poses.json` of reference views: a mapping.
    name : str
        Of the object.

    Returns
    -------
    Truth
        Instance 1 of each view; `t` is the origin of the references' frame, and the size is not known.

    Raises
    ------
    ValueError
        With the path, for a broken file or one that is not there.
    """

    def parse(data: Any) -> Truth:
        expect("truth", isinstance(data, dict), "a mapping of views to poses", type(data).__name__)
        return Truth({(view, 1): _pose({"class": name, "size": [1, 1, 1], **entry}) for view, entry in data.items()})

    return _reading(path, parse)


def _reference_origins(frames: Any) -> dict[InstanceKey, np.ndarray]:
    return {
        (frame["frame"], entry["instance"]): _numbers("t_reference", entry.get("t_reference", entry["t"]), (3,))
        for frame in frames
        for entry in frame["instances"]
        if "rejected" not in entry
    }


def _reading(path: Path, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(read_json(path))
    except KeyError as error:
        raise ValueError(f"{path}: expected the key {error} in every entry, got none") from error
    except OSError as error:
        raise ValueError(f"{path}: expected a file with poses, got {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected frames as clipose estimate writes them, got another form ({error})"
        ) from error


def _poses(frames: Any) -> PosesByInstance:
    expect("poses", isinstance(frames, list), "a list of frames", type(frames).__name__)
    poses: PosesByInstance = {}
    for frame in frames:
        for entry in frame["instances"]:
            key = (_name("frame", frame["frame"]), _name("instance", entry["instance"]))
            expect("instance", key not in poses, "each once per frame", f"{key} again")
            poses[key] = _pose(entry)
    _expect_before_camera(poses)
    return poses


def _truth(frames: Any) -> Truth:
    poses = _poses(frames)
    rejected = next((key for key, pose in poses.items() if isinstance(pose, Rejection)), None)
    expect(
        "truth",
        rejected is None,
        "a pose for every instance",
        f"a rejection for {rejected}; are --poses and --truth exchanged?",
    )
    hidden_handles = frozenset(
        (frame["frame"], entry["instance"])
        for frame in frames
        for entry in frame["instances"]
        if entry["class"] == "mug" and entry.get("handle_visibility") == 0
    )
    hidden = {frame["frame"]: tuple(map(_hidden_object, frame["hidden"])) for frame in frames if frame.get("hidden")}
    lying = frozenset(
        (frame["frame"], entry["instance"]) for frame in frames for entry in frame["instances"] if _lies(entry)
    )
    return Truth(poses, hidden_handles, hidden, lying)


def _lies(entry: Mapping[str, Any]) -> bool:
    lies = entry.get("lying")
    expect("lying", lies is None or isinstance(lies, bool), "true or false", repr(lies))
    return bool(lies)


def _hidden_object(entry: Mapping[str, Any]) -> HiddenObject:
    return HiddenObject(entry["class"], _numbers("t", entry["t"], (3,)))


def _name(key: str, value: Any) -> str | int:
    expect(key, isinstance(value, (str, int)) and not isinstance(value, bool), "a name or a number", repr(value))
    return value


def _entry(instance: Instance, pose: PoseEstimate | Rejection, origins: Mapping[str, np.ndarray]) -> dict[str, Any]:
    number = instance.id.isdecimal() and len(instance.id) < 19 and str(int(instance.id)) == instance.id
    entry = {"instance": int(instance.id) if number else instance.id, "class": instance.category}
    if isinstance(pose, Rejection):
        return {**entry, "rejected": pose.reason}
    if pose.category in origins:
        entry["t_reference"] = (pose.rotation @ origins[pose.category] + pose.translation).tolist()
    return {
        **entry,
        "score": pose.score,
        "R": pose.rotation.tolist(),
        "t": pose.translation.tolist(),
        "size": pose.size.tolist(),
    }


def _pose(entry: Mapping[str, Any]) -> PoseEstimate | Rejection:
    if "rejected" in entry:
        return Rejection(entry["class"], entry["rejected"])
    rotation, translation, size = (
        _numbers(key, entry[key], shape) for key, shape in (("R", (3, 3)), ("t", (3,)), ("size", (3,)))
    )
    score = entry.get("score", 1.0)
    turns = np.allclose(rotation @ rotation.T, np.eye(3), atol=ROTATION_TOLERANCE) and np.linalg.det(rotation) > 0
    expect("R", turns, "a rotation matrix, without scale and mirror", rotation.tolist())
    expect("size", (size > 0).all(), "lengths of more than 0 [m]", size.tolist())
    real = isinstance(score, (int, float)) and not isinstance(score, bool)
    expect("score", real and math.isfinite(score), "a finite number", repr(score))
    return PoseEstimate(entry["class"], score, rotation, translation, size)


def _expect_before_camera(poses: PosesByInstance) -> None:
    """Refuse positions in millimetres or in OpenGL's axes: each would count as wrong, and nobody would know why."""
    positions = [pose.translation for pose in poses.values() if isinstance(pose, PoseEstimate)] or [np.zeros(3)]
    median_m = float(np.median(np.linalg.norm(positions, axis=1)))
    before = np.median(positions, axis=0)[2] >= 0
    turned = "turn OpenGL's axes: negate the 2nd and 3rd row of R and t; or invert poses of the camera"
    expect("t", before, "objects before the camera", f"z < 0; {turned}")
    cure = "divide t and size by 1000 if they are in millimetres"
    expect("t", median_m <= FARTHEST_M, "metres", f"objects {median_m:.0f} away; {cure}")


def _numbers(key: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    expect(key, array.shape == shape and np.isfinite(array).all(), f"finite {shape}", value)
    return array
