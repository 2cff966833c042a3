"""Objects over time: identities that last, filtered poses, and which of them were measured.

    tentative --measured often enough--> confirmed <--measured | not--> coasting --not measured for long--> lost
        `--not measured once--> dropped

A pose that was not measured in a frame is never given as if it had been. It is predicted, and marked as coasting.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.symmetry import Symmetry, closest_to
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Instance, PoseEstimate, Rejection, TrackedPose, TrackState
from clipose_ros.core.uncertainty import FREE_SPIN
from clipose_ros.core.validation import expect
from clipose_ros.core.vectors import dot
from clipose_ros.tracking.association import associate
from clipose_ros.tracking.filter import MotionModel, PoseFilters, turn_between
from clipose_ros.tracking.measurement import POSITION, ROTATION, SIZE, Measurements, NoiseModel, measure

LONGEST_COAST_S = 60.0  # a constant velocity predicts nothing for longer


@dataclass(frozen=True)
class TrackerSettings:
    """How tracks begin, go on and end.

    Parameters
    ----------
    motion : MotionModel
        How objects move.
    noise : NoiseModel
        How wrong estimates are.
    gate : float
        Largest squared Mahalanobis distance of an estimate that may move a track. Chi-square with 3 degrees of freedom
        exceeds 16.3 once in a thousand.
    same_object : float
        Largest squared Mahalanobis distance of the positions. An estimate beyond it is of another object.
    reach : float
        Largest distance of the positions, in diagonals of the track's box. An estimate beyond it is of another object,
        however unsure the track is.
    same_id : float
        How much the detector's own id counts in the assignment, in squared Mahalanobis distance. It decides between
        near objects and never joins far ones.
    confirm_after : int
        Frames until a track is confirmed.
    coast_s : float
        A track that is not measured for longer is lost [s]. At most a minute.
    gap_s : float
        After a longer time without any frame, everything is forgotten [s].
    memory_s : float
        Time constant of a track's memory of which rotations the estimates supported [s].
    switch_ratio : float
        A contradicting rotation is believed when it has this many times the support of the one believed so far.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    motion: MotionModel = MotionModel()
    noise: NoiseModel = NoiseModel()
    gate: float = 16.3
    same_object: float = 50.0
    reach: float = 0.75
    same_id: float = 4.0
    confirm_after: int = 3
    coast_s: float = 0.5
    gap_s: float = 2.0
    memory_s: float = 0.5
    switch_ratio: float = 1.5

    def __post_init__(self) -> None:
        for name in ("gate", "same_object", "reach", "gap_s", "memory_s"):
            expect(name, getattr(self, name) > 0, "more than 0", getattr(self, name))
        expect(
            "coast_s", 0 < self.coast_s <= LONGEST_COAST_S, f"more than 0, at most {LONGEST_COAST_S:g}", self.coast_s
        )
        expect("same_id", self.same_id >= 0, "0 or more", self.same_id)
        expect("confirm_after", self.confirm_after >= 1, "1 or more", self.confirm_after)
        expect("switch_ratio", self.switch_ratio >= 1, "1 or more", self.switch_ratio)


@dataclass(frozen=True)
class TrackedFrame:
    """A frame's results, tracked.

    Parameters
    ----------
    results : tuple of (Instance, TrackedPose or Rejection)
        For each instance, in order, a tracked pose or the estimator's rejection.
    coasting : tuple of (Instance, TrackedPose)
        Confirmed tracks without an estimate, each with the instance that it was last.
    lost : tuple of int
        Numbers of the confirmed tracks that ended since the frame before.
    """

    results: tuple[tuple[Instance, TrackedPose | Rejection], ...]
    coasting: tuple[tuple[Instance, TrackedPose], ...]
    lost: tuple[int, ...]


@dataclass
class Track:
    """What is known of an object beside its filter.

    `estimates`, `support` and `turn_support` fade with time.

    Parameters
    ----------
    number : int
        Number of the object.
    category : str
        Category of the object.
    instance : Instance
        The instance that it was last.
    measured_ns : int
        Stamp of the last frame that measured its position and its rotation [ns].
    frames : int
        How many frames measured both.
    estimates : float
        How many estimates it had of late.
    support : float
        Sum of the scores of those that agreed with its rotation.
    turn : (3, 3) float, optional
        Turn to another rotation, which is rotation @ turn. It is in the object's frame, where a confusion of front and
        back stays the same however camera and object move.
    turn_support : float
        Sum of the scores of the estimates that agreed with that other rotation.
    """

    number: int
    category: str
    instance: Instance
    measured_ns: int
    frames: int = 0
    estimates: float = 0.0
    support: float = 0.0
    turn: np.ndarray | None = None
    turn_support: float = 0.0

    def fade(self, factor: float) -> None:
        """Forget a part of the estimates and of their support.

        Parameters
        ----------
        factor : float
            The part that is left, 0..1.
        """
        self.estimates *= factor
        self.support *= factor
        self.turn_support *= factor

    @property
    def score(self) -> float:
        """How probable it is that the pose is right: the mean of the late scores; those that disagreed count as 0."""
        return self.support / self.estimates if self.estimates else 0.0  # all has faded


def no_symmetry(name: str) -> Symmetry:
    """Say of any object that no turn leaves it looking the same.

    Parameters
    ----------
    name : str
        Name of the object.

    Returns
    -------
    Symmetry
        Always `Symmetry.NONE`.
    """
    return Symmetry.NONE


class Tracker:
    """Turns the results of successive frames into tracks.

    It knows only the camera frame. Without odometry, objects are taken to move with constant velocity in it, whether
    they move or the camera does. It is not for several threads at once.

    Parameters
    ----------
    settings : TrackerSettings
        How tracks begin, go on and end.
    symmetry : callable
        Gives the `Symmetry` of a name, as `Estimator.symmetry` does.

    Attributes
    ----------
    settings : TrackerSettings
        The present ones; `configure` changes them.
    events : Counter
        How often something happened that a user may want to know, by its name: why everything was forgotten, estimates
        that contradicted their track, and so on.
    """

    def __init__(
        self, settings: TrackerSettings = TrackerSettings(), symmetry: Callable[[str], Symmetry] = no_symmetry
    ) -> None:
        self.settings = settings
        self.events: Counter[str] = Counter()
        self._symmetry = symmetry
        self._numbers = itertools.count(1)
        self._lost: list[int] = []
        self._forget()

    def __len__(self) -> int:
        return len(self._tracks)

    def reset(self, reason: str = "asked") -> None:
        """Forget all tracks.

        The next frame reports the confirmed ones as lost. No new object gets the number of an old one.

        Parameters
        ----------
        reason : str
            Why, for `events`.
        """
        self.events[f"reset: {reason}"] += 1
        self._lost += [track.number for track in self._tracks if self._confirmed(track)]
        self._forget()

    def configure(self, settings: TrackerSettings) -> None:
        """Change the settings. All tracks are forgotten.

        Parameters
        ----------
        settings : TrackerSettings
            The new ones.
        """
        self.reset("other settings")  # by the settings that the tracks lived under
        self.settings = settings
        self._forget()

    def predict(self, stamp_ns: int) -> None:
        """Move all tracks on to the time of a frame, before it is estimated.

        They are forgotten if the stamp goes back, or comes after a gap of more than `gap_s`.

        Parameters
        ----------
        stamp_ns : int
            Stamp of the frame [ns].
        """
        if self._stamp_ns is not None and stamp_ns < self._stamp_ns:
            self.reset("clock went back")
        elif self._stamp_ns is not None and stamp_ns - self._stamp_ns > self.settings.gap_s * NS_PER_S:
            self.reset("gap in time")
        if self._stamp_ns is not None and stamp_ns > self._stamp_ns:
            dt_s = (stamp_ns - self._stamp_ns) / NS_PER_S
            self._filters.predict(dt_s)
            fade = math.exp(-dt_s / self.settings.memory_s)
            for track in self._tracks:
                track.fade(fade)
        self._stamp_ns = stamp_ns

    def tracked(self) -> tuple[tuple[Instance, TrackedPose], ...]:
        """Give all tracks as they are now.

        After `predict`, they are the priors of the frame.

        Returns
        -------
        tuple of (Instance, TrackedPose)
            Each track, with the instance that it was last.
        """
        poses = self._poses() if self._tracks else {}
        return tuple((track.instance, poses[track.number]) for track in self._tracks)

    def update(self, stamp_ns: int, results: Sequence[tuple[Instance, PoseEstimate | Rejection]]) -> TrackedFrame:
        """Correct the tracks by the estimates of a frame.

        A stamp that comes again does not correct them, because the same image says nothing new.

        Parameters
        ----------
        stamp_ns : int
            Stamp of the frame [ns]. `predict` is called for it if that was not done.
        results : sequence of (Instance, PoseEstimate or Rejection)
            What the estimator gave for each instance.

        Returns
        -------
        TrackedFrame
            The results, tracked.
        """
        if stamp_ns != self._stamp_ns:
            self.predict(stamp_ns)
        again, self._updated_ns = stamp_ns == self._updated_ns, stamp_ns
        estimates = [(instance, result) for instance, result in results if isinstance(result, PoseEstimate)]
        measured = measure([estimate for _, estimate in estimates], self.settings.noise)
        rows, columns = self._associate(estimates, measured)
        if again:
            self.events["stamp twice"] += 1
        else:
            self._correct(rows, measured[columns])
        belongs = {column: self._tracks[row] for row, column in zip(rows.tolist(), columns.tolist())}
        born = [column for column in range(len(estimates)) if column not in belongs]
        if born:
            belongs |= self._begin(born, estimates, measured)
        for column, track in belongs.items():
            track.instance = estimates[column][0]
        self._end({track.number for track in belongs.values()})

        poses = self._poses()
        numbers = iter([belongs[column].number for column in range(len(estimates))])
        answered = {track.number for track in belongs.values()}
        lost, self._lost = tuple(self._lost), []
        return TrackedFrame(
            tuple(
                (instance, result if isinstance(result, Rejection) else poses[next(numbers)])
                for instance, result in results
            ),
            tuple((track.instance, poses[track.number]) for track in self._tracks if track.number not in answered),
            lost,
        )

    def _forget(self) -> None:
        """Begin without tracks."""
        self._tracks: list[Track] = []
        self._filters = PoseFilters(self.settings.motion, self.settings.noise.independent)
        self._stamp_ns: int | None = None
        self._updated_ns: int | None = None

    def _confirmed(self, track: Track) -> bool:
        """Say whether enough frames measured a track."""
        return track.frames >= self.settings.confirm_after

    def _associate(
        self, estimates: Sequence[tuple[Instance, PoseEstimate]], measured: Measurements
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the rows (P,) of the tracks and the columns (P,) of the estimates that belong together."""
        settings, filters = self.settings, self._filters
        away, size = measured.value - filters.value[:, None], np.exp(filters.value[:, SIZE])
        squared = dot(away, away)
        unlike = squared / (filters.variance[:, None] + measured.variance)
        distance = unlike[..., POSITION]
        near = (squared[..., POSITION] < settings.reach**2 * dot(size, size)[:, None]) & (
            distance < settings.same_object
        )
        cost = np.where(near, distance + np.minimum(unlike[..., SIZE], settings.gate), np.inf)
        for row, column in zip(*(indices.tolist() for indices in near.nonzero())):
            track, (instance, estimate) = self._tracks[row], estimates[column]
            if track.category != estimate.category:
                cost[row, column] = np.inf
            elif instance.id != "" and track.instance.id == instance.id:
                cost[row, column] -= settings.same_id
        return associate(cost, unmatched=settings.same_object + settings.gate)

    def _correct(self, rows: np.ndarray, measured: Measurements) -> None:
        """Correct tracks by measurements that agree; count those that contradict, which do not move a track."""
        of_filters = slice(None) if len(rows) == len(self._filters) else rows  # all, in order: views instead of copies
        difference, distance = self._filters.innovation(of_filters, measured)
        accepted = distance < self.settings.gate
        self._filters.update(of_filters, measured, difference, accepted)
        for i, (row, score) in enumerate(zip(rows.tolist(), measured.score.tolist())):
            track = self._tracks[row]
            track.estimates += 1
            if accepted[i, ROTATION]:
                track.support += score
            else:
                self.events["rotation contradicted its track"] += 1
                accepted[i, ROTATION] = self._doubt(row, measured.rotation[i], measured.variance[i, ROTATION], score)
            if not accepted[i, POSITION]:
                self.events["position contradicted its track"] += 1
            if accepted[i, POSITION] and accepted[i, ROTATION]:
                track.frames, track.measured_ns = track.frames + 1, self._stamp_ns

    def _doubt(self, row: int, rotation: np.ndarray, variance: float, score: float) -> bool:
        """Support the other rotation with which an outlier agrees.

        When that has enough more support than the track's rotation, they change places. True if they do.
        """
        track, believed = self._tracks[row], self._filters.rotation[row].copy()
        symmetric = self._filters.axis_symmetric[row : row + 1]
        if track.turn is not None:
            other = turn_between((believed @ track.turn)[None], rotation[None], symmetric)[0]
            agrees = other @ other < self.settings.gate * 2 * variance
            if not agrees and track.turn_support > score:
                return False
            track.turn_support = score + track.turn_support * bool(agrees)
        else:
            track.turn_support = score
        if symmetric[0]:
            rotation = _without_spin(rotation, believed)
        track.turn = believed.T @ rotation
        if track.turn_support <= self.settings.switch_ratio * track.support:
            return False
        self.events["rotation given up for another"] += 1
        self._filters.restart_rotation(row, rotation, variance)
        track.turn, track.support, track.turn_support = track.turn.T, track.turn_support, track.support
        return True

    def _begin(
        self, columns: list[int], estimates: Sequence[tuple[Instance, PoseEstimate]], measured: Measurements
    ) -> dict[int, Track]:
        """Begin a tentative track for each estimate that belongs to none."""
        begun = {}
        for column in columns:
            instance, estimate = estimates[column]
            begun[column] = Track(
                next(self._numbers), estimate.category, instance, self._stamp_ns, 1, 1.0, estimate.score
            )
        symmetric = np.array([self._symmetry(track.category) is Symmetry.Y for track in begun.values()], dtype=bool)
        self._filters.append(measured[np.array(columns, dtype=np.intp)], symmetric)
        self._tracks += begun.values()
        return begun

    def _end(self, answered: set[int]) -> None:
        """End tentative tracks without an estimate, and confirmed ones that were not measured for too long."""
        kept = []
        for row, track in enumerate(self._tracks):
            if track.number in answered:
                kept.append(row)
            elif not self._confirmed(track):
                self.events["tentative track dropped"] += 1
            elif self._stamp_ns - track.measured_ns > self.settings.coast_s * NS_PER_S:
                self.events["track lost"] += 1
                self._lost.append(track.number)
            else:
                kept.append(row)
        if len(kept) < len(self._tracks):
            self._filters.keep(np.array(kept, dtype=np.intp))
            self._tracks = [self._tracks[row] for row in kept]

    def _poses(self) -> dict[int, TrackedPose]:
        """Give the poses of all tracks as they are now, by number."""
        filters, covariance = self._filters, self._filters.pose_covariance(FREE_SPIN)
        arrays = zip(
            filters.rotation.copy(), filters.value[:, POSITION].copy(), np.exp(filters.value[:, SIZE]), covariance
        )
        poses = {}
        for track, (rotation, position, size, of_pose) in zip(self._tracks, arrays):
            age_ns = self._stamp_ns - track.measured_ns
            state = (
                TrackState.COASTING
                if age_ns
                else TrackState.CONFIRMED
                if self._confirmed(track)
                else TrackState.TENTATIVE
            )
            poses[track.number] = TrackedPose(
                track.category,
                track.score,
                rotation,
                position,
                size,
                track.number,
                state,
                age_ns,
                covariance=of_pose,
            )
        return poses


def _without_spin(rotation: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Turn a rotation about y until its x axis is nearest to the previous one's, unless that is parallel to y."""
    try:
        return closest_to(rotation[:, 1], previous[:, 0])
    except ValueError:
        return rotation
