"""Lens distortion: where a raw image shows a ray.

The ray (x, y) is the direction (x, y, 1) in the camera frame. The lens shows it at another place (x, y), which the
camera matrix K turns into a pixel. The models are those of ROS, with OpenCV's equations and order of coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clipose_ros.core.validation import expect

MOST_COEFFICIENTS = 14  # k1 k2 p1 p2 k3, k4 k5 k6, s1 s2 s3 s4, tau_x tau_y
# Radial and tangential terms; with the radial denominator; with a thin prism; with a tilted sensor.
NUMBERS_OF_COEFFICIENTS = (4, 5, 8, 12, MOST_COEFFICIENTS)
FISHEYE_COEFFICIENTS = 4

FARTHEST = 8.0  # largest length of a ray (x, y), 83° off the optical axis
SAMPLES = 4097  # between the axis and the farthest ray, to find where a model turns back
MOST_STEPS = 12  # of Newton's method, which takes three to five in the usable part of an image
STEP_FOR_SLOPE = 1e-6
CLOSE = 1e-9  # the search ends when every ray is seen so near its place
NEAR_ENOUGH = 1e-6  # a ray that is seen further from its place is not accepted; about a thousandth of a pixel


@dataclass(frozen=True)
class PolynomialDistortion:
    """Radial and tangential distortion, plumb_bob and rational_polynomial in ROS.

    Parameters
    ----------
    coefficients : tuple of float
        k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tau_x tau_y]]]], in OpenCV's order.

    Raises
    ------
    ValueError
        If the number of coefficients is another, or one is not finite.
    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = ", ".join(map(str, NUMBERS_OF_COEFFICIENTS))
        expect(
            "distortion", len(self.coefficients) in NUMBERS_OF_COEFFICIENTS, f"{counts} numbers", len(self.coefficients)
        )
        _expect_finite(self.coefficients)

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """Compute where the lens shows rays.

        Parameters
        ----------
        rays : (..., 2) float
            Rays.

        Returns
        -------
        (..., 2) float64
            Where they are seen. NaN for rays so far from the axis that the model turns back.
        """
        rays = np.asarray(rays, dtype=np.float64)
        with np.errstate(all="ignore"):  # far rays overflow, and become NaN
            seen = np.stack(self._seen(rays[..., 0], rays[..., 1]), axis=-1)
        seen[np.hypot(rays[..., 0], rays[..., 1]) > self.farthest] = np.nan
        return seen

    def undistort(self, seen: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
        """Find the rays that are seen at given places, the inverse of `distort`.

        Parameters
        ----------
        seen : (..., 2) float
            Where the rays are seen.
        near : (..., 2) float, optional
            A guess of the rays, which saves time. Without it the search begins at `seen`.

        Returns
        -------
        (..., 2) float64
            Rays. NaN where the lens shows none.
        """
        seen = np.asarray(seen, dtype=np.float64)
        x, y = np.moveaxis(np.array(seen if near is None else near, dtype=np.float64, order="C"), -1, 0)
        with np.errstate(all="ignore"):  # a search that runs away becomes NaN
            for step in range(MOST_STEPS + 1):
                at = self._seen(x, y)
                off_x, off_y = at[0] - seen[..., 0], at[1] - seen[..., 1]
                if step == MOST_STEPS or max(_largest(off_x), _largest(off_y)) < CLOSE:
                    break
                x_by_x, y_by_x = _slopes(self._seen(x + STEP_FOR_SLOPE, y), at)
                x_by_y, y_by_y = _slopes(self._seen(x, y + STEP_FOR_SLOPE), at)
                determinant = x_by_x * y_by_y - x_by_y * y_by_x
                x = x - (y_by_y * off_x - x_by_y * off_y) / determinant
                y = y - (x_by_x * off_y - y_by_x * off_x) / determinant
            found = (np.abs(off_x) < NEAR_ENOUGH) & (np.abs(off_y) < NEAR_ENOUGH) & (np.hypot(x, y) <= self.farthest)
        return np.where(found[..., None], np.stack([x, y], axis=-1), np.nan)

    @cached_property
    def farthest(self) -> float:
        """Length of the farthest ray (x, y). Up to it, no two rays are seen at one place."""
        with np.errstate(all="ignore"):
            return _growing_up_to(lambda r: r * self._radial(r * r), FARTHEST)

    def _radial(self, squared: np.ndarray) -> np.ndarray:
        """Compute the radial factor of rays of a squared length."""
        k1, k2, _, _, k3, k4, k5, k6, *_ = self._padded
        factor = 1 + squared * (k1 + squared * (k2 + squared * k3))
        return factor / (1 + squared * (k4 + squared * (k5 + squared * k6))) if k4 or k5 or k6 else factor

    def _seen(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute where rays are seen, also far from the axis, where the model does not hold."""
        _, _, p1, p2, _, _, _, _, s1, s2, s3, s4, *tilt = self._padded
        squared = x * x + y * y
        radial, xy = self._radial(squared), 2 * x * y
        seen_x = x * radial + p1 * xy + p2 * (squared + 2 * x * x)
        seen_y = y * radial + p2 * xy + p1 * (squared + 2 * y * y)
        if s1 or s2 or s3 or s4:
            seen_x += squared * (s1 + s2 * squared)
            seen_y += squared * (s3 + s4 * squared)
        if any(tilt):
            m = _tilted_plane(*tilt)
            seen_x, seen_y, scale = (row[0] * seen_x + row[1] * seen_y + row[2] for row in m)
            seen_x, seen_y = seen_x / scale, seen_y / scale
        return seen_x, seen_y

    @cached_property
    def _padded(self) -> tuple[float, ...]:
        return (*self.coefficients, *(0.0,) * (MOST_COEFFICIENTS - len(self.coefficients)))


@dataclass(frozen=True)
class FisheyeDistortion:
    """Distortion of a fisheye lens: equidistant in ROS, cv2.fisheye, Kannala-Brandt.

    The distance from the centre of the image is a polynomial of the angle to the axis.

    Parameters
    ----------
    coefficients : tuple of float
        k1 k2 k3 k4. A camera with four zeros is still no pinhole camera.

    Raises
    ------
    ValueError
        If the number of coefficients is another, or one is not finite.
    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.coefficients)
        expect("distortion", count == FISHEYE_COEFFICIENTS, f"{FISHEYE_COEFFICIENTS} numbers", count)
        _expect_finite(self.coefficients)

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """See `PolynomialDistortion.distort`."""
        rays = np.asarray(rays, dtype=np.float64)
        distance = np.hypot(rays[..., 0], rays[..., 1])
        angle = np.arctan(distance)
        factor = np.divide(self._seen(angle), distance, out=np.ones_like(distance), where=distance > 0)
        factor[angle > self.widest] = np.nan
        return rays * factor[..., None]

    def undistort(self, seen: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
        """See `PolynomialDistortion.undistort`."""
        seen = np.asarray(seen, dtype=np.float64)
        distance = np.hypot(seen[..., 0], seen[..., 1])
        angle = distance if near is None else np.arctan(np.hypot(near[..., 0], near[..., 1]))
        with np.errstate(all="ignore"):
            for step in range(MOST_STEPS + 1):
                at = self._seen(angle)
                off = at - distance
                if step == MOST_STEPS or _largest(off) < CLOSE:
                    break
                angle = angle - off / _slopes((self._seen(angle + STEP_FOR_SLOPE),), (at,))[0]
            found = (np.abs(off) < NEAR_ENOUGH) & (angle >= 0) & (angle <= self.widest)
            factor = np.divide(np.tan(angle), distance, out=np.ones_like(distance), where=distance > 0)
        return np.where(found[..., None], seen * factor[..., None], np.nan)

    @cached_property
    def widest(self) -> float:
        """Largest angle to the axis [rad]. Up to it, no two rays are seen at one place."""
        return _growing_up_to(self._seen, math.atan(FARTHEST))

    def _seen(self, angle: np.ndarray) -> np.ndarray:
        """Compute the distance from the centre at which rays of an angle are seen."""
        k1, k2, k3, k4 = self.coefficients
        squared = angle * angle
        return angle * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))


Distortion = PolynomialDistortion | FisheyeDistortion


def _expect_finite(coefficients: tuple[float, ...]) -> None:
    expect("distortion", np.isfinite(coefficients).all(), "finite numbers", coefficients)


def _largest(errors: np.ndarray) -> float:
    """Find the largest error, apart from NaN."""
    return float(np.fmax.reduce(np.abs(errors), axis=None, initial=0.0))


def _slopes(there: tuple[np.ndarray, ...], here: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple((a - b) / STEP_FOR_SLOPE for a, b in zip(there, here))


def _growing_up_to(function: Callable[[np.ndarray], np.ndarray], limit: float) -> float:
    """Find the end of the interval from 0 in which a function grows, at most the limit."""
    arguments = np.linspace(0, limit, SAMPLES)
    values = function(arguments)
    # Behind a pole the values are negative.
    stops = np.flatnonzero(~((np.diff(values) > 0) & (values[1:] > 0)))
    return float(arguments[stops[0]]) if len(stops) else limit


def _tilted_plane(tau_x: float, tau_y: float) -> np.ndarray:
    """Compute the projection (3, 3) to the plane of a sensor that is turned about x and y [rad]."""
    (cos_x, sin_x), (cos_y, sin_y) = ((math.cos(tau), math.sin(tau)) for tau in (tau_x, tau_y))
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = about_y @ about_x
    return np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
