"""What tracking is worth: error, jitter and identities on a sequence with truth, each frame for itself and tracked,
without ROS.

    python -m clipose_ros.evaluation.steadiness --folder launch/demo
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clipose_ros import estimators
from clipose_ros.cli.quiet_end import run_module
from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import pose_error
from clipose_ros.core.support import SUPPORT_DEFAULT, Support, support_settings
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import PoseEstimate, TrackedPose, TrackState
from clipose_ros.core.validation import expect
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import read_truth
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.session import SessionConfig
from clipose_ros.pipeline import Pipeline
from clipose_ros.tracking.filter import turn_between
from clipose_ros.tracking.tracker import Tracker

TRUTH_FILE = "truth.json"


@dataclass(frozen=True)
class SteadinessConfig:
    """What is run.

    Parameters
    ----------
    folder : Path
        NOCS format with truth.json, the frames in the order of time.
    rate_hz : float
        Of the frames.
    model : str
        Name in the models folder, or path (with a slash) of a model folder.
    threads : int
        Cores for the network; 0 takes all.
    support : str
        auto tells networks of surfaces, and sets poses onto them, as the node does; off does neither.
    """

    folder: Path = Path("launch/demo")
    rate_hz: float = 15.0
    model: str = DEFAULT_MODEL
    threads: int = SessionConfig.threads
    support: Support = SUPPORT_DEFAULT


@dataclass
class ErrorSeries:
    """Errors of one object, frame by frame; of an axis-symmetric one those of the axis.

    Parameters
    ----------
    turn : list of (3,) float
        From the truth to the pose, about the camera frame's axes [deg].
    shift : list of (3,) float
        Likewise, camera frame [m].
    size : list of float
        Mean relative errors.
    """

    turn: list[np.ndarray] = field(default_factory=list)
    shift: list[np.ndarray] = field(default_factory=list)
    size: list[float] = field(default_factory=list)

    def add(self, pose: PoseEstimate, truth: PoseEstimate) -> None:
        """Add a frame.

        Parameters
        ----------
        pose, truth : PoseEstimate
            Of the object; the symmetry is that of NOCS for the truth's category.
        """
        symmetry = nocs_symmetry(truth.category)
        symmetric = np.array([symmetry is Symmetry.Y])
        self.turn.append(np.degrees(turn_between(truth.rotation[None], pose.rotation[None], symmetric)[0]))
        self.shift.append(pose.translation - truth.translation)
        self.size.append(pose_error(pose, truth, symmetry).size_relative)

    def row(self) -> tuple[float, ...]:
        """Sum the errors up.

        Returns
        -------
        tuple of float
            Mean error [deg, cm, %], 95th percentile [deg, cm], jitter [deg, cm]: root mean square change of the error
            from frame to frame.
        """
        degrees, centimetres = np.linalg.norm(self.turn, axis=1), 100 * np.linalg.norm(self.shift, axis=1)
        worst = (float(np.percentile(degrees, 95)), float(np.percentile(centimetres, 95)))
        return (
            degrees.mean(),
            centimetres.mean(),
            100 * float(np.mean(self.size)),
            *worst,
            _jitter(self.turn),
            100 * _jitter(self.shift),
        )


@dataclass
class Steadiness:
    """What tracking is worth on a sequence, by (id, category) of the objects.

    Parameters
    ----------
    alone, tracked : dict of (str, str) to ErrorSeries
        Errors of each frame for itself, and tracked.
    tracks : dict of (str, str) to set of int
        Numbers that an object had.
    coasting : dict of (str, str) to int
        How many of its frames were predicted.
    times_ms : list of float
        Of the tracker, by frame [ms].
    """

    alone: dict[tuple[str, str], ErrorSeries]
    tracked: dict[tuple[str, str], ErrorSeries]
    tracks: dict[tuple[str, str], set[int]]
    coasting: dict[tuple[str, str], int]
    times_ms: list[float]


def measure_steadiness(pipeline: Pipeline, folder: Path, rate_hz: float) -> Steadiness:
    """Run a sequence through a stateless pipeline and its results through a tracker.

    Parameters
    ----------
    pipeline : Pipeline
        Without a tracker.
    folder : Path
        NOCS format with truth.json, whose frames are named as the folder's.
    rate_hz : float
        Of the frames.

    Returns
    -------
    Steadiness
        Frames without a pose of an object count in neither series.

    Raises
    ------
    ValueError
        Where the truth has none of the objects.
    """
    frames, truth = NocsFolder(folder), read_truth(folder / TRUTH_FILE).poses
    tracker = Tracker(symmetry=pipeline.estimator.symmetry)
    found = Steadiness(defaultdict(ErrorSeries), defaultdict(ErrorSeries), defaultdict(set), defaultdict(int), [])
    for number, name in enumerate(frames.names):
        results = pipeline.process(*frames.read(name)).results
        start = time.perf_counter()
        tracked = tracker.update(round(number / rate_hz * NS_PER_S), results).results
        found.times_ms.append((time.perf_counter() - start) * 1e3)
        for (instance, alone), (_, pose) in zip(results, tracked):
            true = truth.get((name, int(instance.id)))
            if isinstance(pose, TrackedPose) and true is not None:
                key = (instance.id, instance.category)
                found.alone[key].add(alone, true)
                found.tracked[key].add(pose, true)
                found.tracks[key].add(pose.track)
                found.coasting[key] += pose.state is TrackState.COASTING
    expect(str(folder / TRUTH_FILE), found.alone, "poses of the frames' instances, by their names", "none")
    return found


def steadiness_table(found: Steadiness) -> Table:
    """Show a row per object and their mean: each value for single frames, then tracked.

    Parameters
    ----------
    found : Steadiness
        Of a sequence.

    Returns
    -------
    Table
        For a terminal.
    """
    columns = ("°", "cm", "size %", "p95 °", "p95 cm", "jitter °", "jitter cm")
    table = Table(
        "id",
        "class",
        *columns,
        "tracks",
        "coasts",
        title="Errors of each frame for itself, below it tracked; jitter: from frame to frame",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    rows = {key: np.array([found.alone[key].row(), found.tracked[key].row()]) for key in sorted(found.alone)}
    for key, row in rows.items():
        table.add_row(*key, *_stacked(row), str(len(found.tracks[key])), str(found.coasting[key]))
    table.add_section()
    table.add_row("", "mean", *_stacked(np.mean(list(rows.values()), axis=0)))
    return table


def main() -> None:
    """Print the table."""
    config = tyro.cli(SteadinessConfig, description=__doc__)
    estimator = estimators.load(config.model, config=SessionConfig(threads=config.threads))
    pipeline = Pipeline(estimator, support=support_settings(config.support))
    found = measure_steadiness(pipeline, config.folder, config.rate_hz)
    console = Console()
    console.print(steadiness_table(found))
    console.print(
        f"tracking takes p50 {np.median(found.times_ms):.2f} ms, p95 {np.percentile(found.times_ms, 95):.2f} ms a frame"
    )


def _jitter(errors: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.sum(np.diff(errors, axis=0) ** 2, axis=1))))


def _stacked(row: np.ndarray) -> list[str]:
    """Each frame for itself, and below it tracked."""
    return [f"{alone:.2f}\n{tracked:.2f}" for alone, tracked in row.T]


if __name__ == "__main__":
    run_module("clipose_ros.evaluation.steadiness", main)
