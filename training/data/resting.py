"""How generated objects come to rest: dropped onto a table, laid down in one of the usual ways, or in free space."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from clipose_ros.core.resting import Rest
from training.data.shapes.shape import Shape, drawn

FALLS = 64  # edges that a body rolls over, at most: round ones roll over dozens


class Dropped:
    """The sides of its convex hull on which a thin-walled body comes to rest after a quasi-static fall.

    It rolls over an edge as long as its centre of mass lies beyond that, as in `trimesh.poses.compute_stable_poses`
    (Goldberg et al., 1999). Drawn and not weighed, the poses take milliseconds and not a quarter of a second.

    Parameters
    ----------
    vertices : (V, 3) float
        Object frame [m].
    faces : (F, 3) int
        Into the vertices.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        corners = vertices[faces].astype(np.float64)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        centre = area @ corners.mean(axis=1) / area.sum()
        hull = ConvexHull(vertices)
        self.normals = hull.equations[:, :3]
        self.distance_m = -(self.normals @ centre + hull.equations[:, 3])
        below = centre + self.distance_m[:, None] * self.normals
        self.sink = _rolled(hull.points[hull.simplices], hull.neighbors, self.normals, below)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Drop the body in a random orientation.

        Parameters
        ----------
        rng : np.random.Generator
            Decides.

        Returns
        -------
        (3,) float
            Direction of the body that points down in the end, object frame.
        """
        down = rng.normal(size=3)
        towards = self.normals @ (down / np.linalg.norm(down))
        with np.errstate(divide="ignore"):
            first = np.where(towards > 0, self.distance_m / towards, np.inf).argmin()
        return self.normals[self.sink[first]]


def _rolled(corners: np.ndarray, neighbours: np.ndarray, normals: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The side on which a body rests in the end, for each of the S that it falls onto.

    Of these there are the corners (S, 3, 3) [m], the side opposite each corner (S, 3), the outward normal (S, 3) and
    the point below the centre of mass (S, 3) [m].
    """
    start, end = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)  # of the edge opposite each corner
    inwards = np.cross(normals[:, None], end - start)
    inwards *= np.sign(np.einsum("sij,sij->si", corners - start, inwards))[..., None]
    inwards /= np.linalg.norm(inwards, axis=-1, keepdims=True).clip(1e-12)
    inside = np.einsum("sij,sij->si", below[:, None] - start, inwards)
    sides = np.arange(len(neighbours))
    worst = inside.argmin(axis=1)
    following = np.where(inside[sides, worst] < 0, neighbours[sides, worst], sides)
    for _ in range(FALLS.bit_length()):
        following = following[following]
    return following


# How often people lay objects down in one of the ways in which their category rests (`NOCS_RESTS`): few bottles and
# cans stand on their heads, and few cameras on their lenses.
LAID_DOWN = {
    "bottle": {Rest.SIDE: 0.9, Rest.MINUS_Y: 0.1},
    "bowl": {Rest.MINUS_Y: 1.0},
    "camera": {Rest.X: 0.8, Rest.MINUS_X: 0.2},
    "can": {Rest.SIDE: 0.92, Rest.MINUS_Y: 0.08},
    "laptop": {Rest.Y: 1.0},
    "mug": {Rest.SIDE: 0.7, Rest.MINUS_Y: 0.3},
}
ASIDE = 0.5  # of what lies on its side has its handle, or its narrow side, level
ASIDE_DEG = 10.0  # standard deviation of that


def laid_down(category: str, rng: np.random.Generator) -> np.ndarray:
    """Lay an object down as people do, in one of the ways in which its category rests.

    Parameters
    ----------
    category : str
        Of CATEGORIES.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (3,) float
        Direction of the object that points down, object frame.
    """
    rest = drawn(rng, LAID_DOWN[category])
    if rest is Rest.SIDE:
        angle = rng.uniform(0, 2 * np.pi)
        if rng.random() < ASIDE:
            angle = rng.choice([-0.5, 0.5]) * np.pi + np.radians(rng.normal(0, ASIDE_DEG))
        return np.array([np.cos(angle), 0.0, np.sin(angle)])
    up = np.eye(3)["xyz".index(rest[-1])]
    return up if rest.startswith("-") else -up


def turned(down: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn an object so that one of its directions points down, at a random heading.

    Parameters
    ----------
    down : (3,) float
        Object frame, unit.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (3, 3) float
        R_table_object; the table's y axis is up.
    """
    onto, _ = Rotation.align_vectors([[0.0, -1.0, 0.0]], down[None])
    return (Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)) * onto).as_matrix()


def resting_rotation(shape: Shape, dropped: Dropped, rng: np.random.Generator) -> np.ndarray:
    """Draw an orientation in which an object that was not set up rests: dropped, or laid down, as often.

    Parameters
    ----------
    shape : Shape
        The object.
    dropped : Dropped
        Of its mesh.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (3, 3) float
        R_table_object; the table's y axis is up.
    """
    return turned(dropped.draw(rng) if rng.random() < 0.5 else laid_down(shape.category, rng), rng)
