"""Error-state Kalman filters of many poses at once: position, rotation and size of T objects, in arrays.

Each object moves on with constant velocity and angular velocity in the camera frame, disturbed by white accelerations; its size hardly changes.
Nothing is known of the camera's own motion: without odometry an object on a table and the hand that turns the camera are the same to it. The rotation
lives on SO(3): R = exp(error) R_mean, with the error a small turn about the camera's axes, which is how ROS states the covariance of a pose. Of
axis-symmetric objects only the y axis is measured; the spin about it is carried along. Errors are alike in all directions (measurement.py), and so
each of the three quantities needs one 2 x 2 covariance, of value and rate, for all its components.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from clipose_ros.core.rotation import CROSS, IDENTITY, turns
from clipose_ros.core.vectors import dot
from clipose_ros.core.validation import expect
from clipose_ros.tracking.measurement import POSITION, ROTATION, SIZE, Measurements

HALF_TURN = np.array([np.pi, 0.0, 0.0])

FASTEST = 1000.0  # of anything that moves, in m and s or rad and s: beyond it variances lose all their digits


@dataclass(frozen=True)
class MotionModel:
    """How objects move in the camera frame. Accelerations are white: within a second a velocity changes by about these.

    acceleration [m/s per sqrt(s)], angular_acceleration [rad/s per sqrt(s)]; size_change: relative change of the extents [1 per sqrt(s)].
    velocity [m/s], angular_velocity [rad/s]: standard deviations before anything was seen to move.
    """

    acceleration: float = 0.2
    angular_acceleration: float = 0.4
    size_change: float = 0.01
    velocity: float = 0.4
    angular_velocity: float = 0.8

    def __post_init__(self) -> None:
        for field in fields(self):
            expect(field.name, 0 < getattr(self, field.name) <= FASTEST, f"more than 0, at most {FASTEST:g}", getattr(self, field.name))


class PoseFilters:
    """The filters of T objects; a row is one object.

    position (T, 3) [m]; rotation (T, 3, 3) R_camera_object; log_size (T, 3); rate (T, 3, 3): velocity [m/s], angular velocity [rad/s], zero;
    variance, covariance, rate_variance (T, 3): of a value, of a value with its rate, of a rate, for the three quantities; common (T, 3): variance of
    the values that averaging does not remove; axis_symmetric (T,) bool.
    """

    ARRAYS = ("position", "rotation", "log_size", "rate", "variance", "covariance", "rate_variance", "common", "axis_symmetric")

    def __init__(self, motion: MotionModel = MotionModel(), independent: float = 1.0) -> None:
        """independent: share of a measurement's variance that averaging removes."""
        self._initial_rate_variance = np.array([motion.velocity, motion.angular_velocity, 0.0]) ** 2
        self._acceleration = np.array([motion.acceleration, motion.angular_acceleration, 0.0]) ** 2
        self._walk = np.array([0.0, 0.0, motion.size_change]) ** 2
        self._independent = independent
        self.position, self.rotation, self.log_size, self.rate = np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros((0, 3, 3))
        self.variance, self.covariance, self.rate_variance, self.common = (np.zeros((0, 3)) for _ in range(4))
        self.axis_symmetric = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.position)

    def append(self, measured: Measurements, axis_symmetric: np.ndarray) -> None:
        """New rows at the end that know one measurement each, and no motion."""
        D, independent = len(measured), self._independent
        rates = (np.zeros((D, 3, 3)), independent * measured.variance, np.zeros((D, 3)), np.tile(self._initial_rate_variance, (D, 1)))
        rows = (measured.position, measured.rotation, measured.log_size, *rates, (1 - independent) * measured.variance, axis_symmetric)
        for name, values in zip(self.ARRAYS, rows, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    def keep(self, rows: np.ndarray) -> None:
        """Forget all rows but these."""
        for name in self.ARRAYS:
            setattr(self, name, getattr(self, name)[rows])

    def predict(self, dt_s: float) -> None:
        """Move everything on by a time [s]."""
        self.position += dt_s * self.rate[:, POSITION]
        self.rotation = turns(dt_s * self.rate[:, ROTATION]) @ self.rotation
        # A constant rate, and the double integral of white noise: F P F^T + Q for [value, rate].
        self.variance += dt_s * (2 * self.covariance + dt_s * self.rate_variance + dt_s**2 / 3 * self._acceleration + self._walk)
        self.covariance += dt_s * (self.rate_variance + dt_s / 2 * self._acceleration)
        self.rate_variance += dt_s * self._acceleration

    def innovation(self, rows: np.ndarray, measured: Measurements) -> tuple[np.ndarray, np.ndarray]:
        """What measurements (M) say beyond the predictions of rows (M,).

        Returns: difference (M, 3, 3) of the three quantities, for axis-symmetric rows the turn between the y axes alone; its squared Mahalanobis
        distance (M, 3), each chi-square with 3 degrees of freedom (2 for a y axis) when the measurement is of the object.
        """
        difference = np.empty((len(rows), 3, 3))
        difference[:, POSITION] = measured.position - self.position[rows]
        difference[:, ROTATION] = turn_between(self.rotation[rows], measured.rotation, self.axis_symmetric[rows])
        difference[:, SIZE] = measured.log_size - self.log_size[rows]
        # The whole error counts here, also the part that is the same in every frame: an object may look different as the view changes.
        return difference, dot(difference, difference) / (self.variance[rows] + measured.variance)

    def update(self, rows: np.ndarray, measured: Measurements, difference: np.ndarray, accepted: np.ndarray) -> None:
        """Kalman update of different rows (M,) by the difference that `innovation` gave, for the quantities that are accepted (M, 3) bool."""
        information, innovation = np.zeros((len(self), 3)), np.zeros((len(self), 3, 3))  # none for the other rows
        information[rows] = accepted / (self.variance[rows] + self._independent * measured.variance)
        innovation[rows] = difference
        gain, rate_gain = self.variance * information, self.covariance * information
        correction = gain[..., None] * innovation
        self.position += correction[:, POSITION]
        self.rotation = turns(correction[:, ROTATION]) @ self.rotation
        self.log_size += correction[:, SIZE]
        self.rate += rate_gain[..., None] * innovation
        self.rate_variance -= rate_gain * self.covariance
        self.covariance *= 1 - gain
        self.variance *= 1 - gain
        self.common[rows] = np.where(accepted, (1 - self._independent) * measured.variance, self.common[rows])
        self._stop_spin()

    def restart_rotation(self, row: int, rotation: np.ndarray, variance: float) -> None:
        """Believe another rotation (3, 3) with this variance [rad^2] from now on. The angular velocity, the camera's mostly, stays."""
        self.rotation[row] = rotation
        self.variance[row, ROTATION], self.common[row, ROTATION] = self._independent * variance, (1 - self._independent) * variance
        self.covariance[row, ROTATION] = 0.0
        self._stop_spin()

    def pose_covariance(self, free_spin: float) -> np.ndarray:
        """(T, 6, 6) of position [m] and of small turns about the camera's axes [rad]: what averaging removes and what it does not, together.

        Parameters: free_spin, variance to state for the spin of axis-symmetric objects [rad^2].
        """
        y, variance = self.rotation[..., 1], self.variance + self.common
        free = np.where(self.axis_symmetric, free_spin - variance[:, ROTATION], 0.0)
        covariance = np.zeros((len(self), 6, 6))
        covariance[:, :3, :3] = variance[:, POSITION, None, None] * IDENTITY
        covariance[:, 3:, 3:] = variance[:, ROTATION, None, None] * IDENTITY + free[:, None, None] * (y[:, :, None] * y[:, None, :])
        return covariance

    def _stop_spin(self) -> None:
        """Nothing measures the spin of an axis-symmetric object: it must not go on by itself."""
        y, angular_velocity = self.rotation[..., 1], self.rate[:, ROTATION]
        angular_velocity -= (dot(y, angular_velocity) * self.axis_symmetric)[:, None] * y


def turn_between(rotation: np.ndarray, other: np.ndarray, axis_symmetric: np.ndarray) -> np.ndarray:
    """Rotation vectors (M, 3) [rad], camera frame, that take rotations (M, 3, 3) to others; where axis_symmetric (M,), the y axis to the other's.

    Half a turn has two vectors, and rounding decides; of exactly half a turn the axis is not looked for: the vector is pi along x.
    """
    y_alone = axis_symmetric[:, None, None]
    turn = np.where(y_alone, other[:, :, None, 1] * rotation[:, None, :, 1], other @ rotation.swapaxes(-1, -2))
    # The antisymmetric part of a rotation is sin(angle) axis, its trace 1 + 2 cos(angle); of the outer product b a^T they are a x b and a . b.
    axis = turn.reshape(-1, 9) @ CROSS.reshape(3, 9).T
    length = np.sqrt(dot(axis, axis))
    angle = np.arctan2(length, turn.trace(axis1=1, axis2=2) - ~axis_symmetric)
    vector = axis * (angle / np.maximum(length, 1e-12))[:, None]
    vector[(length < 1e-9) & (angle > 1)] = HALF_TURN
    return vector
