"""Poses of learned objects against the truth: ADD, ADD-S, and n degrees n centimetres, by object."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from clipose_ros.core.metrics import rotation_error_deg
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate
from clipose_ros.core.validation import expect
from clipose_ros.evaluation.poses import frame_of, match_keys, pairs_by_place
from clipose_ros.formats.pose_files import InstanceKey, PosesByInstance, Truth

SHARE = 0.1  # of the diameter: ADD and ADD-S below it are right
LIMITS = ((5, 2), (5, 5), (10, 2), (10, 5))  # degrees, centimetres
MOST_POINTS, MOST_BYTES = 100_000, 64 * 1024 * 1024
SUFFIX = "_points"
TURNS = {axis: np.diag([1.0 if axis == other else -1.0 for other in "xyz"]) for axis in "xyz"}


@dataclass(frozen=True)
class ObjectModel:
    """Points of an object, in the frame of its poses.

    Parameters
    ----------
    points : (N, 3) float
        On its surface [m].
    diameter_m : float
        Largest distance of two of its points [m].
    """

    points: np.ndarray
    diameter_m: float


@dataclass(frozen=True)
class NovelError:
    """How far a pose of a learned object is from the truth.

    Parameters
    ----------
    add_m : float
        Mean distance of the model's points, estimated and true [m].
    adds_m : float
        Mean distance of each true point to the nearest estimated one [m].
    rotation_deg, translation_cm : float
        Of the pose; the translation is that of the origin of the model's frame.
    diameter_m : float
        Of the model [m].
    """

    add_m: float
    adds_m: float
    rotation_deg: float
    translation_cm: float
    diameter_m: float


@dataclass(frozen=True)
class NovelEvaluation:
    """What poses of learned objects are worth.

    Parameters
    ----------
    errors : dict of str to list of (NovelError or None)
        By object, None where there is no pose.
    scores : list of (float, bool)
        Of each pose its score, and whether ADD finds it right.
    false, frames : int, optional
        Poses that belong to no true object, and the frames that were counted; None where poses and truth were matched
        by their numbers.
    """

    errors: dict[str, list[NovelError | None]]
    scores: list[tuple[float, bool]]
    false: int | None = None
    frames: int | None = None

    def as_json(self) -> dict:
        """Give what `clipose evaluate --json` prints.

        Returns
        -------
        dict
            Rates 0..1 and medians by object and of all instances together. `found`, where they were matched by place:
            how many poses are of no object, in how many frames.
        """
        everything = [error for errors in self.errors.values() for error in errors]
        return {
            "objects": {name: novel_rates(errors) for name, errors in self.errors.items()},
            "all": novel_rates(everything),
            "scores": {
                "mean_right": _mean([score for score, right in self.scores if right]),
                "mean_wrong": _mean([score for score, right in self.scores if not right]),
            },
            "found": None if self.false is None else {"false": self.false, "frames": self.frames},
        }


def read_models(path: Path) -> dict[str, ObjectModel]:
    """Read the points of objects.

    Parameters
    ----------
    path : Path
        Of an npz file with NAME_points (N, 3) [m], and NAME_diameter [m] where it is known.

    Returns
    -------
    dict of str to ObjectModel
        By name.

    Raises
    ------
    ValueError
        With the path, where it is no such file, or one that is too large.
    """
    expect(str(path), path.is_file(), "a file NAME_points, NAME_diameter", "none")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
            expect("models", size <= MOST_BYTES, f"at most {MOST_BYTES} bytes", size)
        with np.load(path, allow_pickle=False) as data:
            names = [key.removesuffix(SUFFIX) for key in data.files if key.endswith(SUFFIX)]
            expect("models", names, "at least one NAME_points", ", ".join(data.files) or "nothing")
            return {name: _model(name, data) for name in names}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}") from error


def _model(name: str, data: Mapping[str, np.ndarray]) -> ObjectModel:
    points = np.asarray(data[name + SUFFIX], np.float64)
    shaped = points.ndim == 2 and points.shape[1] == 3 and 1 <= len(points) <= MOST_POINTS
    expect(name + SUFFIX, shaped and np.isfinite(points).all(), f"finite (N, 3), N up to {MOST_POINTS}", points.shape)
    key = f"{name}_diameter"
    if key in data:
        diameter = float(data[key])
    else:
        some = points[:: max(1, len(points) // 1000)]
        diameter = float(np.linalg.norm(some[:, None] - some[None], axis=2).max())
    expect(key, 0 < diameter < np.inf, "a positive length", diameter)
    return ObjectModel(points, diameter)


def parse_half_turns(given: Collection[str]) -> dict[str, str]:
    """Read which half turns leave objects looking the same.

    Parameters
    ----------
    given : collection of str
        NAME:AXES, such as `milk:y` or `box:xyz`.

    Returns
    -------
    dict of str to str
        Axes by name.

    Raises
    ------
    ValueError
        If one is written otherwise.
    """
    found = {}
    for text in given:
        name, _, axes = text.rpartition(":")
        sound = name and axes and set(axes) <= set("xyz")
        expect("--half-turn", sound, "NAME:AXES with axes of x, y, z, such as milk:y", text)
        found[name] = "".join(sorted({*found.get(name, ""), *axes}))  # given in parts, too
    return found


def novel_error(
    rotation: np.ndarray,
    origin: np.ndarray,
    true_rotation: np.ndarray,
    true_origin: np.ndarray,
    model: ObjectModel,
    half_turns: str = "",
) -> NovelError:
    """Measure how far a pose is from the truth.

    Parameters
    ----------
    rotation, true_rotation : (3, 3) float
        R_camera_object.
    origin, true_origin : (3,) float
        Of the model's frame, camera frame [m].
    model : ObjectModel
        The object.
    half_turns : str
        Axes about which half a turn of the object is right, too.

    Returns
    -------
    NovelError
        Against the truth, or the turned truth, whichever is nearer by ADD.
    """
    points = model.points @ rotation.T + origin
    errors = []
    for turn in (np.eye(3), *(TURNS[axis] for axis in half_turns)):
        turned = true_rotation @ turn
        true = model.points @ turned.T + true_origin
        errors.append(
            NovelError(
                float(np.linalg.norm(points - true, axis=1).mean()),
                float(cKDTree(points).query(true)[0].mean()),
                rotation_error_deg(rotation, turned, Symmetry.NONE),
                float(np.linalg.norm(origin - true_origin) * 100),
                model.diameter_m,
            )
        )
    return min(errors, key=lambda error: error.add_m)


def evaluate_novel(
    poses: PosesByInstance,
    origins: Mapping[InstanceKey, np.ndarray],
    truth: Truth,
    true_origins: Mapping[InstanceKey, np.ndarray],
    models: Mapping[str, ObjectModel],
    half_turns: Mapping[str, str] | None = None,
    by_place: bool = False,
) -> NovelEvaluation:
    """Compare poses of learned objects with the truth.

    Misses and rejections are wrong.

    Parameters
    ----------
    poses : dict of (frame, instance) to PoseEstimate or Rejection
        What was estimated.
    origins, true_origins : mapping of (frame, instance) to (3,) float
        Where the origin of the model's frame is, estimated and true, camera frame [m].
    truth : Truth
        What is right.
    models : mapping of str to ObjectModel
        Of the objects; the truth's other objects are not counted.
    half_turns : mapping of str to str
        Axes, by object, about which half a turn is right, too.
    by_place : bool
        Whether numbers mean nothing, as those of objects that were found without masks: in each frame, true objects and
        poses of one name are paired so that the sum of their ADD is least, none further apart than the diameter.

    Returns
    -------
    NovelEvaluation
        Of every true object.

    Raises
    ------
    ValueError
        Where the truth has none of the objects, or half turns are for an object that is none.
    """
    turns = half_turns or {}
    counted = {key: true for key, true in truth.poses.items() if true.category in models}
    present = sorted({true.category for true in counted.values()})
    expect("--truth", counted, f"objects among {', '.join(models)}", "none")
    unknown = sorted(set(turns) - set(models))
    expect("--half-turn", not unknown, f"some of {', '.join(models)}", ", ".join(unknown))
    errors: dict[str, list[NovelError | None]] = {name: [] for name in present}
    measured: dict[tuple[InstanceKey, InstanceKey], NovelError] = {}

    def error(mine: InstanceKey, key: InstanceKey) -> NovelError:
        if (mine, key) not in measured:
            true = counted[key]
            measured[mine, key] = novel_error(
                poses[mine].rotation,
                origins[mine],
                true.rotation,
                true_origins.get(key, true.translation),
                models[true.category],
                turns.get(true.category, ""),
            )
        return measured[mine, key]

    of_models = [key for key, pose in poses.items() if isinstance(pose, PoseEstimate) and pose.category in models]

    def apart(mine: InstanceKey, key: InstanceKey) -> float:
        one = error(mine, key)
        return one.add_m / one.diameter_m

    pairs = pairs_by_place(poses, counted, apart) if by_place else match_keys(poses, counted)
    scores = []
    for key, true in counted.items():
        pose = poses.get(pairs.get(key))
        if not isinstance(pose, PoseEstimate) or pose.category != true.category:
            errors[true.category].append(None)
            continue
        one = error(pairs[key], key)
        errors[true.category].append(one)
        scores.append((pose.score, one.add_m < SHARE * one.diameter_m))
    if not by_place:
        return NovelEvaluation(errors, scores)
    return NovelEvaluation(errors, scores, len(of_models) - len(pairs), len({frame_of(key) for key in truth.poses}))


def novel_rates(errors: Collection[NovelError | None]) -> dict[str, float | int | None]:
    """Count how many poses are right.

    Parameters
    ----------
    errors : collection of NovelError or None
        None for an object without a pose.

    Returns
    -------
    dict of str to number
        `add` and `adds`: share below a tenth of the diameter; `5deg2cm` and the like; `instances`; and the medians of
        those that have a pose (None without any): `rotation_deg`, `translation_cm`, `add_share` of the diameter.
    """
    found = [error for error in errors if error is not None]
    count = max(len(errors), 1)
    rates: dict[str, float | int | None] = {
        "instances": len(errors),
        "add": sum(error.add_m < SHARE * error.diameter_m for error in found) / count,
        "adds": sum(error.adds_m < SHARE * error.diameter_m for error in found) / count,
    }
    for degrees, centimetres in LIMITS:
        within = sum(error.rotation_deg < degrees and error.translation_cm < centimetres for error in found)
        rates[f"{degrees}deg{centimetres}cm"] = within / count
    rates["rotation_deg"] = _median([error.rotation_deg for error in found])
    rates["translation_cm"] = _median([error.translation_cm for error in found])
    rates["add_share"] = _median([error.add_m / error.diameter_m for error in found])
    return rates


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
