"""Error-state Kalman filters of many poses at once: position, rotation and size of T objects, in arrays.

Each object moves on with constant velocity and angular velocity in the camera frame, disturbed by white accelerations;
its size hardly changes. Nothing is known of the camera's own motion: without odometry an object on a table and the hand
that turns the camera are the same to it. The rotation lives on SO(3): R = exp(error) R_mean, with the error a small
turn about the camera's axes, which is how ROS states the covariance of a pose. Of axis-symmetric objects only the y
axis is measured; the spin about it is carried along. Errors are alike in all directions (measurement.py), and so each
of the three quantities needs one 2 x 2 covariance, of value and rate, for all its components.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from clipose_ros.core.rotation import CROSS, turned
from clipose_ros.core.validation import expect
from clipose_ros.core.vectors import dot
from clipose_ros.tracking.measurement import ROTATION, SIZE, Measurements

# What is kept of the noise: variances of a value, of a value with its rate, of a rate; and what rate and value gain in
# a second.
VARIANCE, COVARIANCE, RATE_VARIANCE, ACCELERATION, WALK = range(5)

# From a matrix (9,): the axis of its antisymmetric part, and its trace.
AXIS_AND_TRACE = np.column_stack([CROSS.reshape(3, 9).T, np.eye(3).ravel()])
Y_AXIS = np.array([False, True, False])
HALF_TURN = np.array([np.pi, 0.0, 0.0])

FASTEST = 1000.0  # of anything that moves, in m and s or rad and s: beyond it variances lose all their digits


@dataclass(frozen=True)
class MotionModel:
    """How objects move in the camera frame. Accelerations are white: within a second a velocity changes by about these.

    acceleration [m/s per sqrt(s)], angular_acceleration [rad/s per sqrt(s)]; size_change: relative change of the
    extents [1 per sqrt(s)]. velocity [m/s], angular_velocity [rad/s]: standard deviations before anything was seen to
    move.
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
    """The filters of T objects; a row is one object.

    value (T, 3, 3) of the three quantities: position [m]; zero, since the rotation takes up its error; logarithm of the
    size in [m]. rate (T, 3, 3): velocity [m/s], angular velocity [rad/s], zero. rotation (T, 3, 3) R_camera_object.
    noise (T, 3, 5): of a component of the three quantities, see VARIANCE. common (T, 3): variance of the values that
    averaging does not remove; axis_symmetric (T,) bool.
    """

    ARRAYS = ("value", "rate", "rotation", "noise", "common", "axis_symmetric")

    def __init__(self, motion: MotionModel = MotionModel(), independent: float = 1.0) -> None:
        """independent: share of a measurement's variance that averaging removes."""
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
        """(T, 3) of the values' components, as far as averaging removes it."""
        return self.noise[..., VARIANCE]

    def append(self, measured: Measurements, axis_symmetric: np.ndarray) -> None:
        """New rows at the end that know one measurement each, and no motion."""
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
        """Forget all rows but these."""
        for name in self.ARRAYS:
            setattr(self, name, getattr(self, name)[rows])

    def predict(self, dt_s: float) -> None:
        """Move everything on by a time [s]."""
        # A constant rate, and the double integral of white noise: F P F^T + Q for [value, rate], which is linear in all
        # that is kept of the noise.
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
        """What measurements (M) say beyond the predictions of rows (M,).

        Returns: difference (M, 3, 3) of the three quantities, for axis-symmetric rows the turn between the y axes
        alone; its squared Mahalanobis distance (M, 3), each chi-square with 3 degrees of freedom (2 for a y axis) when
        the measurement is of the object.
        """
        difference = measured.value - self.value[rows]
        difference[:, ROTATION] = turn_between(self.rotation[rows], measured.rotation, self.axis_symmetric[rows])
        # The whole error counts here, also the part that is the same in every frame: an object may look different as
        # the view changes.
        return difference, dot(difference, difference) / (self.variance[rows] + measured.variance)

    def update(
        self, rows: np.ndarray | slice, measured: Measurements, difference: np.ndarray, accepted: np.ndarray
    ) -> None:
        """Kalman update of different rows (M,) by the difference that `innovation` gave, for the quantities that are
        accepted (M, 3) bool.
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
        """Believe another rotation (3, 3) with this variance [rad^2] from now on.

        The angular velocity, the camera's mostly, stays.
        """
        self.rotation[row] = rotation
        self.noise[row, ROTATION, :RATE_VARIANCE] = self._independent * variance, 0.0
        self.common[row, ROTATION] = (1 - self._independent) * variance
        self._stop_spin()

    def pose_covariance(self, free_spin: float) -> np.ndarray:
        """(T, 6, 6) of position [m] and of small turns about the camera's axes [rad]: what averaging removes and what
        it does not, together.

        Parameters: free_spin, variance to state for the spin of axis-symmetric objects [rad^2].
        """
        y, variance = self.rotation[..., 1], self.variance + self.common
        free = (free_spin - variance[:, ROTATION]) * self.axis_symmetric
        covariance = np.zeros((len(self), 6, 6))
        covariance.reshape(-1, 36)[:, ::7] = variance[:, :SIZE].repeat(3, axis=1)
        covariance[:, 3:, 3:] += free[:, None, None] * (y[:, :, None] * y[:, None, :])
        return covariance

    def _take_up_error(self) -> None:
        """What the state says of the rotation goes into the rotation."""
        error = self.value[:, ROTATION]
        self.rotation = turned(self.rotation, error)
        error[:] = 0.0

    def _stop_spin(self) -> None:
        """Nothing measures the spin of an axis-symmetric object: it must not go on by itself."""
        y, angular_velocity = self.rotation[..., 1], self.rate[:, ROTATION]
        angular_velocity -= (dot(y, angular_velocity) * self.axis_symmetric)[:, None] * y


def turn_between(rotation: np.ndarray, other: np.ndarray, axis_symmetric: np.ndarray) -> np.ndarray:
    """Rotation vectors (M, 3) [rad], camera frame, that take rotations (M, 3, 3) to others; where axis_symmetric (M,),
    the y axis to the other's.

    Half a turn has two vectors, and rounding decides; of exactly half a turn the axis is not looked for: the vector is
    pi along x.
    """
    counts = ~axis_symmetric[:, None, None] | Y_AXIS
    # R' R^T is the sum of the outer products b a^T of the axes. Its antisymmetric part is sin(angle) axis, its trace 1
    # + 2 cos(angle); of the y axes alone they are a x b and a . b.
    found = ((counts * other) @ rotation.swapaxes(-1, -2)).reshape(-1, 9) @ AXIS_AND_TRACE
    axis = found[:, :3]
    length = np.sqrt(dot(axis, axis))
    angle = np.arctan2(length, found[:, 3] - ~axis_symmetric)
    vector = axis * (angle / np.maximum(length, 1e-12))[:, None]
    vector[(length < 1e-9) & (angle > 1)] = HALF_TURN
    return vector
