"""Error-state Kalman filters of many poses at once: position, rotation and size of T objects, in arrays.

Each object moves with constant velocity and angular velocity in the camera frame, disturbed by white accelerations.
Its size hardly changes. The camera's own motion is unknown: without odometry, the filter cannot tell a moving object
from a moving camera.

The rotation lives on SO(3): R = exp(error) R_mean, where the error is a small turn about the camera's axes. ROS states
the covariance of a pose in the same way. Of axis-symmetric objects only the y axis is measured; the spin about it is
carried along.

Errors are alike in all directions (measurement.py). So each of the three quantities needs only one 2 x 2 covariance,
of value and rate, for all its components.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from clipose_ros.core.rotation import CROSS, turned
from clipose_ros.core.validation import expect
from clipose_ros.core.vectors import dot
from clipose_ros.tracking.measurement import ROTATION, SIZE, Measurements

# What is kept of the noise: the variance of the value, the covariance of value and rate, the variance of the rate; and
# the variances that rate and value gain in a second.
VARIANCE, COVARIANCE, RATE_VARIANCE, ACCELERATION, WALK = range(5)

# The product of a flattened matrix (9,) and this is the axis of its antisymmetric part, and its trace.
AXIS_AND_TRACE = np.column_stack([CROSS.reshape(3, 9).T, np.eye(3).ravel()])
Y_AXIS = np.array([False, True, False])
HALF_TURN = np.array([np.pi, 0.0, 0.0])

FASTEST = 1000.0  # limit of all motion, in units of m, rad and s: beyond it variances lose all their digits


@dataclass(frozen=True)
class MotionModel:
    """How objects move in the camera frame.

    Accelerations are white noise: within a second, a velocity changes by about these.

    Parameters
    ----------
    acceleration : float
        Change of the velocity [m/s per sqrt(s)].
    angular_acceleration : float
        Change of the angular velocity [rad/s per sqrt(s)].
    size_change : float
        Relative change of the extents [1 per sqrt(s)].
    velocity : float
        Standard deviation of the velocity before any motion was seen [m/s].
    angular_velocity : float
        Standard deviation of the angular velocity before any motion was seen [rad/s].

    Raises
    ------
    ValueError
        If a value is not more than 0, or more than `FASTEST`.
    """

    acceleration: float = 0.2
    angular_acceleration: float = 0.4
    size_change: float = 0.01
    velocity: float = 0.4
    angular_velocity: float = 0.8

    def __post_init__(self) -> None:
        for field in fields(self):
            expect(
                field.name,
                0 < getattr(self, field.name) <= FASTEST,
                f"more than 0, at most {FASTEST:g}",
                getattr(self, field.name),
            )


class PoseFilters:
    """The filters of T objects. A row is one object.

    The second axis of most arrays is the quantity: position, rotation, size.

    Parameters
    ----------
    motion : MotionModel
        How the objects move.
    independent : float
        Share of a measurement's variance that averaging removes, 0..1.

    Attributes
    ----------
    value : (T, 3, 3) float
        Position [m]; zero, because the rotation takes up its error; logarithm of the size in [m].
    rate : (T, 3, 3) float
        Velocity [m/s]; angular velocity [rad/s]; zero. Camera frame.
    rotation : (T, 3, 3) float
        R_camera_object.
    noise : (T, 3, 5) float
        Variances and their growth for one component of each quantity. The columns are VARIANCE to WALK.
    common : (T, 3) float
        The part of the values' variances that averaging does not remove.
    axis_symmetric : (T,) bool
        Whether only the y axis of the rotation is meaningful.
    """

    ARRAYS = ("value", "rate", "rotation", "noise", "common", "axis_symmetric")

    def __init__(self, motion: MotionModel = MotionModel(), independent: float = 1.0) -> None:
        moving = (0.0, 0.0, motion.velocity, motion.acceleration, 0.0)
        turning = (0.0, 0.0, motion.angular_velocity, motion.angular_acceleration, 0.0)
        self._initial_noise = np.array([moving, turning, (0.0, 0.0, 0.0, 0.0, motion.size_change)]) ** 2
        self._independent = independent
        self.value, self.rate, self.rotation = (np.zeros((0, 3, 3)) for _ in range(3))
        self.noise, self.common = np.zeros((0, 3, 5)), np.zeros((0, 3))
        self.axis_symmetric = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def variance(self) -> np.ndarray:
        """The part of the values' variances that averaging removes, (T, 3), for one component of each quantity."""
        return self.noise[..., VARIANCE]

    def append(self, measured: Measurements, axis_symmetric: np.ndarray) -> None:
        """Add rows at the end. Each knows one measurement and no motion.

        Parameters
        ----------
        measured : Measurements
            D measurements of new objects.
        axis_symmetric : (D,) bool
            Whether only the y axis of the object's rotation is meaningful.
        """
        D, independent = len(measured), self._independent
        noise = np.tile(self._initial_noise, (D, 1, 1))
        noise[..., VARIANCE] = independent * measured.variance
        rows = (
            measured.value,
            np.zeros((D, 3, 3)),
            measured.rotation,
            noise,
            (1 - independent) * measured.variance,
            axis_symmetric,
        )
        for name, values in zip(self.ARRAYS, rows, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but some.

        Parameters
        ----------
        rows : (K,) int
            Indices of the rows to keep, in their new order.
        """
        for name in self.ARRAYS:
            setattr(self, name, getattr(self, name)[rows])

    def predict(self, dt_s: float) -> None:
        """Move all objects on in time.

        Parameters
        ----------
        dt_s : float
            Time by which they move on [s].
        """
        # The rate is constant, and white noise is integrated twice: F P F^T + Q for [value, rate]. That is linear in
        # everything that is kept of the noise.
        parts = [
            [1, 0, 0, 0, 0],
            [2 * dt_s, 1, 0, 0, 0],
            [dt_s**2, dt_s, 1, 0, 0],
            [dt_s**3 / 3, dt_s**2 / 2, dt_s, 1, 0],
            [dt_s, 0, 0, 0, 1],
        ]
        self.noise = self.noise @ np.array(parts)
        self.value += dt_s * self.rate
        self._take_up_error()

    def innovation(self, rows: np.ndarray | slice, measured: Measurements) -> tuple[np.ndarray, np.ndarray]:
        """Compare measurements with the predictions.

        Parameters
        ----------
        rows : (M,) int or slice
            Rows of the objects.
        measured : Measurements
            One measurement for each row.

        Returns
        -------
        difference : (M, 3, 3) float
            Measurement less prediction of the three quantities: [m], [rad], logarithm. For axis-symmetric objects, the
            second is the turn between the y axes alone.
        distance : (M, 3) float
            Squared Mahalanobis distance of each difference. If the measurement is of the object, it is chi-square with
            3 degrees of freedom (2 for a y axis).
        """
        difference = measured.value - self.value[rows]
        difference[:, ROTATION] = turn_between(self.rotation[rows], measured.rotation, self.axis_symmetric[rows])
        # The whole error counts here, also the part that is the same in every frame: when the view changes, an object
        # may look different.
        return difference, dot(difference, difference) / (self.variance[rows] + measured.variance)

    def update(
        self, rows: np.ndarray | slice, measured: Measurements, difference: np.ndarray, accepted: np.ndarray
    ) -> None:
        """Correct objects by measurements, as a Kalman filter.

        Parameters
        ----------
        rows : (M,) int or slice
            Rows of the objects, each at most once.
        measured : Measurements
            One measurement for each row.
        difference : (M, 3, 3) float
            From `innovation`.
        accepted : (M, 3) bool
            Quantities to correct. The others stay as predicted.
        """
        noise = self.noise[rows]
        gains = (accepted / (noise[..., VARIANCE] + self._independent * measured.variance))[..., None] * noise[
            ..., :RATE_VARIANCE
        ]
        gain, rate_gain = gains[..., :1], gains[..., 1:]
        noise[..., RATE_VARIANCE] -= gains[..., COVARIANCE] * noise[..., COVARIANCE]
        noise[..., :RATE_VARIANCE] *= 1 - gain
        self.noise[rows] = noise
        self.value[rows] += gain * difference
        self.rate[rows] += rate_gain * difference
        self.common[rows] = np.where(accepted, (1 - self._independent) * measured.variance, self.common[rows])
        self._take_up_error()
        self._stop_spin()

    def restart_rotation(self, row: int, rotation: np.ndarray, variance: float) -> None:
        """Replace the rotation of an object.

        The angular velocity stays, because it is mostly the camera's.

        Parameters
        ----------
        row : int
            Row of the object.
        rotation : (3, 3) float
            R_camera_object to believe from now on.
        variance : float
            Its variance [rad^2].
        """
        self.rotation[row] = rotation
        self.noise[row, ROTATION, :RATE_VARIANCE] = self._independent * variance, 0.0
        self.common[row, ROTATION] = (1 - self._independent) * variance
        self._stop_spin()

    def pose_covariance(self, free_spin: float) -> np.ndarray:
        """Give the covariances of all poses: what averaging removes and what it does not, together.

        Parameters
        ----------
        free_spin : float
            Variance to state for the spin of axis-symmetric objects [rad^2].

        Returns
        -------
        (T, 6, 6) float
            Covariance of the position [m] and of small turns about the camera's axes [rad].
        """
        y, variance = self.rotation[..., 1], self.variance + self.common
        free = (free_spin - variance[:, ROTATION]) * self.axis_symmetric
        covariance = np.zeros((len(self), 6, 6))
        covariance.reshape(-1, 36)[:, ::7] = variance[:, :SIZE].repeat(3, axis=1)
        covariance[:, 3:, 3:] += free[:, None, None] * (y[:, :, None] * y[:, None, :])
        return covariance

    def _take_up_error(self) -> None:
        """Move the rotation's error from the state into the rotation."""
        error = self.value[:, ROTATION]
        self.rotation = turned(self.rotation, error)
        error[:] = 0.0

    def _stop_spin(self) -> None:
        """Stop the spin of axis-symmetric objects: nothing measures it, so it must not go on by itself."""
        y, angular_velocity = self.rotation[..., 1], self.rate[:, ROTATION]
        angular_velocity -= (dot(y, angular_velocity) * self.axis_symmetric)[:, None] * y


def turn_between(rotation: np.ndarray, other: np.ndarray, axis_symmetric: np.ndarray) -> np.ndarray:
    """Find the turns from rotations to others.

    Half a turn has two vectors, and rounding decides between them. For exactly half a turn the axis is not looked for:
    the vector is pi along x.

    Parameters
    ----------
    rotation, other : (M, 3, 3) float
        Rotations R_camera_object, before and after the turn.
    axis_symmetric : (M,) bool
        Where true, the turn is the smallest one that takes the y axis to the other's.

    Returns
    -------
    (M, 3) float
        Rotation vectors, camera frame [rad].
    """
    counts = ~axis_symmetric[:, None, None] | Y_AXIS
    # R' R^T is the sum of the outer products b a^T of the axes. Its antisymmetric part is sin(angle) axis, its trace is
    # 1 + 2 cos(angle). For the y axes alone, they are a x b and a . b.
    found = ((counts * other) @ rotation.swapaxes(-1, -2)).reshape(-1, 9) @ AXIS_AND_TRACE
    axis = found[:, :3]
    length = np.sqrt(dot(axis, axis))
    angle = np.arctan2(length, found[:, 3] - ~axis_symmetric)
    vector = axis * (angle / np.maximum(length, 1e-12))[:, None]
    vector[(length < 1e-9) & (angle > 1)] = HALF_TURN
    return vector
