"""Poses on disk: `poses.json` as `clipose estimate` writes it and `truth.json`, which has the same fields."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipose_ros.core.types import Instance, PoseEstimate, Rejection

if TYPE_CHECKING:  # whoever reads poses needs no pipeline
    from clipose_ros.pipeline import FrameResult

# (frame name, instance number) -> pose or rejection
PosesByInstance = dict[tuple[str, int], PoseEstimate | Rejection]


def write_poses(path: Path, frames: Iterable[tuple[str, FrameResult]]) -> None:
    """Write the results of named frames. `Instance.id` must be a number, as `NocsFolder` gives it."""
    data = [
        {"frame": name, "instances": [_entry(instance, pose) for instance, pose in result.results]}
        for name, result in frames
    ]
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_poses(path: Path) -> PosesByInstance:
    """Poses and rejections by frame and instance; keys that a pose does not need are ignored.

    Raises ValueError, with the path, for a broken file.
    """
    poses: PosesByInstance = {}
    try:
        for frame in json.loads(path.read_text(encoding="utf-8")):
            for entry in frame["instances"]:
                key = (frame["frame"], entry["instance"])
                if key in poses:
                    raise ValueError(f"instance: expected each once per frame, got {key} again")
                poses[key] = _pose(entry)
    except KeyError as error:
        raise ValueError(f"{path}: expected the key {error} in every entry, got none") from error
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path}: {error}") from error
    return poses


def _entry(instance: Instance, pose: PoseEstimate | Rejection) -> dict[str, Any]:
    entry = {"instance": int(instance.id), "class": instance.category}
    if isinstance(pose, Rejection):
        return {**entry, "rejected": pose.reason}
    return {
        **entry,
        "score": pose.score,
        "R": pose.rotation.tolist(),
        "t": pose.translation.tolist(),
        "size": pose.size.tolist(),
    }


def _pose(entry: dict[str, Any]) -> PoseEstimate | Rejection:
    if "rejected" in entry:
        return Rejection(entry["class"], entry["rejected"])
    arrays = {key: np.asarray(entry[key], dtype=np.float64) for key in ("R", "t", "size")}
    for key, shape in (("R", (3, 3)), ("t", (3,)), ("size", (3,))):
        if arrays[key].shape != shape or not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key}: expected finite {shape}, got {entry[key]}")
    return PoseEstimate(entry["class"], entry.get("score", 1.0), arrays["R"], arrays["t"], arrays["size"])
