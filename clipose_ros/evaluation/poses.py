"""Estimated poses against the truth: one row per category, with misses and rejections counted as wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import PoseError, pose_error, success_rates
from clipose_ros.core.types import Rejection
from clipose_ros.formats.pose_files import PosesByInstance


@dataclass(frozen=True)
class Evaluation:
    """errors: by category in the order of the truth, None for an object without a pose.

    rejected, missing: how many of those None, by category.
    """

    errors: dict[str, list[PoseError | None]]
    rejected: dict[str, int]
    missing: dict[str, int]

    @property
    def rates(self) -> dict[str, dict[str, float]]:
        """Share of the objects within n degrees and m centimetres by category, and the mean of the categories, 0..1."""
        return success_rates(self.errors)

    @property
    def medians(self) -> dict[str, dict[str, float | None]]:
        """Median errors of the objects that have a pose, by category; None where none has."""
        return {
            category: _medians([error for error in errors if error is not None])
            for category, errors in self.errors.items()
        }

    def as_json(self) -> dict:
        """What `clipose evaluate --json` prints."""
        counts = {category: len(errors) for category, errors in self.errors.items()}
        return {
            "pose": self.rates,
            "median": self.medians,
            "instances": counts,
            "rejected": self.rejected,
            "missing": self.missing,
        }


def evaluate(poses: PosesByInstance, truth: PosesByInstance) -> Evaluation:
    """Compare poses with the truth by frame and instance.

    A pose of another category is missing; poses without a truth are not scored.
    """
    categories = sorted({true.category for true in truth.values()})
    errors: dict[str, list[PoseError | None]] = {category: [] for category in categories}
    rejected, missing = dict.fromkeys(categories, 0), dict.fromkeys(categories, 0)
    for key, true in truth.items():
        if isinstance(true, Rejection):
            raise ValueError(f"truth: expected a pose for {key}, got a rejection")
        pose = poses.get(key)
        if pose is None or pose.category != true.category:
            missing[true.category] += 1
            errors[true.category].append(None)
        elif isinstance(pose, Rejection):
            rejected[true.category] += 1
            errors[true.category].append(None)
        else:
            errors[true.category].append(pose_error(pose, true, nocs_symmetry(true.category)))
    return Evaluation(errors, rejected, missing)


def _medians(errors: list[PoseError]) -> dict[str, float | None]:
    def median(values: list[float]) -> float | None:
        return float(np.median(values)) if values else None

    return {
        "rotation_deg": median([error.rotation_deg for error in errors]),
        "translation_cm": median([error.translation_m * 100 for error in errors]),
        "size_relative": median([error.size_relative for error in errors]),
    }
