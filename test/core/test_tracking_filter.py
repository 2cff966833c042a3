import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.types import PoseEstimate
from clipose_ros.tracking.filter import COVARIANCE, RATE_VARIANCE, VARIANCE, MotionModel, PoseFilters, turn_between
from clipose_ros.tracking.measurement import POSITION, ROTATION, SIZE, Measurements, NoiseModel, measure, normal_limit

MOTION = MotionModel(acceleration=0.3, angular_acceleration=0.5)
NO = np.array([False])


def measurement(position, rotation, size=(0.1, 0.2, 0.3), variance=(1e-4, 4e-4, 2e-3)):
    """One measurement, or M of equal size and variance."""
    position, rotation = np.reshape(position, (-1, 3)).astype(float), np.reshape(rotation, (-1, 3, 3))
    rows = len(position)
    value = np.stack([position, np.zeros((rows, 3)), np.log(np.tile(size, (rows, 1)))], axis=1)
    return Measurements(value, rotation, np.full(rows, 0.9), np.tile(variance, (rows, 1)))


def step(filters, measured, dt_s):
    """Predict and take in one measurement per row."""
    rows = np.arange(len(filters))
    filters.predict(dt_s)
    difference, _ = filters.innovation(rows, measured)
    filters.update(rows, measured, difference, np.ones((len(rows), 3), dtype=bool))


def test_turns_are_those_of_scipy_and_half_turns_keep_their_angle():
    rng = np.random.default_rng(0)
    first = Rotation.random(200, random_state=1)
    vectors = rng.normal(size=(200, 3))
    vectors *= (rng.uniform(0, np.pi - 1e-4, 200) / np.linalg.norm(vectors, axis=1))[:, None]
    vectors[:3] = 0.0, 1e-7, 1e-4
    second = Rotation.from_rotvec(vectors) * first
    found = turn_between(first.as_matrix(), second.as_matrix(), np.zeros(200, dtype=bool))
    np.testing.assert_allclose(found, vectors, atol=1e-9)

    half = (Rotation.from_rotvec(np.pi * np.eye(3)) * first[:3]).as_matrix()
    np.testing.assert_allclose(
        np.linalg.norm(turn_between(first[:3].as_matrix(), half, np.zeros(3, dtype=bool)), axis=1), np.pi, atol=1e-6
    )


def test_of_a_symmetric_object_the_smallest_turn_between_the_y_axes_counts():
    first, second = Rotation.random(50, random_state=2).as_matrix(), Rotation.random(50, random_state=3).as_matrix()
    vectors = turn_between(first, second, np.ones(50, dtype=bool))
    np.testing.assert_allclose(Rotation.from_rotvec(vectors).apply(first[..., 1]), second[..., 1], atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(vectors, axis=1), np.arccos(np.sum(first[..., 1] * second[..., 1], axis=1)), atol=1e-9
    )
    spun = first @ Rotation.from_euler("y", 100, degrees=True).as_matrix()
    np.testing.assert_allclose(turn_between(first, spun, np.ones(50, dtype=bool)), 0, atol=1e-9)
    upside_down = first @ np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(
        np.linalg.norm(turn_between(first, upside_down, np.ones(50, dtype=bool)), axis=1), np.pi, atol=1e-6
    )


def test_the_position_is_filtered_as_by_the_matrices_of_the_textbook():
    """One component of [position, velocity] by F, Q, H and R, at uneven times."""
    rng, variance = np.random.default_rng(4), 1e-4
    filters = PoseFilters(MOTION)
    filters.append(measurement([0.5, 0, 1], np.eye(3)), NO)
    state, P, H = np.array([0.5, 0.0]), np.diag([variance, MOTION.velocity**2]), np.array([[1.0, 0.0]])
    for dt in rng.uniform(0.01, 0.1, 25):
        x = rng.normal(0.5, 0.05)
        step(filters, measurement([x, 0, 1], np.eye(3)), dt)
        F = np.array([[1, dt], [0, 1]])
        Q = MOTION.acceleration**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        state, P = F @ state, F @ P @ F.T + Q
        K = P @ H.T / (H @ P @ H.T + variance)
        state, P = state + (K * (x - state[0])).ravel(), (np.eye(2) - K @ H) @ P
        np.testing.assert_allclose([filters.value[0, POSITION, 0], filters.rate[0, POSITION, 0]], state, atol=1e-12)
        found = filters.noise[0, POSITION, [VARIANCE, COVARIANCE, RATE_VARIANCE]]
        np.testing.assert_allclose(found, [P[0, 0], P[0, 1], P[1, 1]], rtol=1e-9)


def test_an_object_that_moves_and_turns_evenly_is_followed_without_lag():
    velocity, angular_velocity, dt = np.array([0.2, -0.1, 0.3]), np.array([0.4, 0.6, -0.5]), 1 / 15
    start = Rotation.from_euler("xyz", [30, 200, 10], degrees=True)
    filters = PoseFilters(MOTION)
    filters.append(measurement([0, 0, 1], start.as_matrix()), NO)
    for k in range(1, 61):
        position, rotation = (
            np.array([0, 0, 1]) + k * dt * velocity,
            (Rotation.from_rotvec(k * dt * angular_velocity) * start).as_matrix(),
        )
        step(filters, measurement(position, rotation), dt)
    np.testing.assert_allclose(filters.value[0, POSITION], position, atol=2e-4)
    assert np.linalg.norm(turn_between(filters.rotation, rotation[None], NO)) < 1e-3
    np.testing.assert_allclose(filters.rate[0, POSITION], velocity, atol=2e-3)
    np.testing.assert_allclose(filters.rate[0, ROTATION], angular_velocity, atol=5e-3)
    np.testing.assert_allclose(filters.rotation[0].T @ filters.rotation[0], np.eye(3), atol=1e-12)


def test_the_stated_variance_is_the_variance_of_the_errors():
    """A thousand objects that move as the model says, measured with the noise that is stated: normalised errors are
    chi-square of three.
    """
    rng, count, dt, variance = np.random.default_rng(5), 1000, 0.05, np.array([1e-4, 9e-4, 4e-3])
    position, velocity = np.zeros((count, 3)), rng.normal(0, MOTION.velocity, (count, 3))
    rotation, angular_velocity = (
        Rotation.random(count, random_state=6),
        rng.normal(0, MOTION.angular_velocity, (count, 3)),
    )
    log_size = np.log(np.tile([0.1, 0.2, 0.3], (count, 1)))

    def measured():
        noise = rng.normal(size=(3, count, 3)) * np.sqrt(variance)[:, None, None]
        seen = (Rotation.from_rotvec(noise[ROTATION]) * rotation).as_matrix()
        value = np.stack([position + noise[POSITION], np.zeros((count, 3)), log_size + noise[SIZE]], axis=1)
        return Measurements(value, seen, np.ones(count), np.tile(variance, (count, 1)))

    filters = PoseFilters(MOTION)
    filters.append(measured(), np.zeros(count, dtype=bool))
    for _ in range(20):
        for value, rate, noise in (
            (POSITION, velocity, MOTION.acceleration),
            (ROTATION, angular_velocity, MOTION.angular_acceleration),
        ):
            change = rng.normal(size=(count, 3)) * noise * np.sqrt(dt)
            # value and rate of integrated white noise
            moved = dt * rate + dt * (change / 2 + rng.normal(size=(count, 3)) * noise * np.sqrt(dt / 12))
            rate += change
            if value == POSITION:
                position = position + moved
            else:
                rotation = Rotation.from_rotvec(moved) * rotation
        log_size = log_size + rng.normal(size=(count, 3)) * MOTION.size_change * np.sqrt(dt)
        step(filters, measured(), dt)
    turned = turn_between(filters.rotation, rotation.as_matrix(), np.zeros(count, dtype=bool))
    error = np.stack([filters.value[:, POSITION] - position, turned, filters.value[:, SIZE] - log_size], axis=1)
    normalised = (error**2).sum(axis=2) / filters.variance
    np.testing.assert_allclose(normalised.mean(axis=0), 3.0, atol=4 * np.sqrt(6 / count))


def test_what_averaging_does_not_remove_stays_in_the_covariance():
    filters = PoseFilters(MOTION, independent=0.25)
    filters.append(measurement([0, 0, 1], np.eye(3)), NO)
    for _ in range(200):
        step(filters, measurement([0, 0, 1], np.eye(3)), 1e-3)
    covariance = filters.pose_covariance(free_spin=3.0)[0]
    assert 0.75e-4 < covariance[0, 0] < 0.8e-4 and 3e-4 < covariance[3, 3] < 3.2e-4


def test_the_free_spin_is_said_to_be_unknown_and_does_not_go_on_by_itself():
    """Two symmetric and one other object, in another camera frame's orientation; the estimates of the symmetric ones
    spin wildly.
    """
    rng, start = np.random.default_rng(7), Rotation.random(random_state=8)
    filters = PoseFilters(MOTION)
    symmetric = np.array([True, True, False])
    filters.append(measurement(np.zeros((3, 3)), np.tile(start.as_matrix(), (3, 1, 1))), symmetric)
    turn = np.array([0.3, -0.4, 0.2])
    for k in range(1, 40):
        true = Rotation.from_rotvec(k / 20 * turn) * start
        spun = [true * Rotation.from_euler("y", angle) for angle in (rng.uniform(0, 6), rng.uniform(0, 6), 0)]
        step(filters, measurement(np.zeros((3, 3)), [rotation.as_matrix() for rotation in spun]), 1 / 20)
    y = filters.rotation[..., 1]
    np.testing.assert_allclose(y, np.tile(true.as_matrix()[:, 1], (3, 1)), atol=2e-3)
    np.testing.assert_allclose((filters.rate[:2, ROTATION] * y[:2]).sum(axis=1), 0, atol=1e-12)

    covariance = filters.pose_covariance(free_spin=3.0)[:, 3:, 3:]
    along = np.einsum("ti,tij,tj->t", y, covariance, y)
    np.testing.assert_allclose(along[:2], 3.0)
    assert along[2] < 1e-3
    across = np.cross(y, [0.6, 0.0, 0.8])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    np.testing.assert_allclose(np.einsum("ti,tij,tj->t", across, covariance, across), filters.variance[:, ROTATION])


def test_the_noise_says_what_the_score_says():
    """Of normal errors with the variance that is derived from a score, that share stays within ten degrees."""
    rng = np.random.default_rng(9)
    for score in (0.3, 0.7, 0.95):
        estimate = PoseEstimate("mug", score, np.eye(3), np.array([0, 0, 1.0]), np.array([0.1, 0.1, 0.1]))
        deviation = np.sqrt(measure([estimate]).variance[0, ROTATION])
        angles = np.linalg.norm(rng.normal(0, deviation, (20000, 3)), axis=1)
        assert np.mean(angles < np.deg2rad(10)) == pytest.approx(score, abs=0.02)
    assert (
        np.isfinite(normal_limit(np.array([-1.0, 0.0, 1.0, 2.0]))).all()
        and (normal_limit(np.array([0.0, 1.0])) > 0).all()
    )


def test_large_and_distant_objects_are_less_certain_in_their_position():
    def deviation(size, distance):
        return np.sqrt(
            measure([PoseEstimate("mug", 0.9, np.eye(3), np.array([0, 0, distance]), np.full(3, size))]).variance[
                0, POSITION
            ]
        )

    assert deviation(0.3, 1.0) > deviation(0.1, 1.0) > 0
    assert deviation(0.1, 3.0) > deviation(0.1, 1.0)
    assert len(measure([])) == 0


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (NoiseModel, "position", 0.0),
        (NoiseModel, "independent", 1.1),
        (NoiseModel, "depth", -0.1),
        (MotionModel, "velocity", 0.0),
        (MotionModel, "acceleration", np.nan),
    ],
)
def test_impossible_models_are_refused_by_name(kind, name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .*, got {value}"):
        kind(**{name: value})
