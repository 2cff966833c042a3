"""Triangle meshes from rings of points: lofts, lathes, sweeps and slabs. Lengths in metres, y up.

Nearly everything a household object shows is a stack of closed rings joined by quads and closed by two flat caps, so
`loft` is the only function that makes faces. Parts may overlap: the renderer casts rays and sees the nearest surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

COLUMNS = 48  # points around a ring
QUARTERS = 0.5 * np.pi * np.arange(4)[:, None]
QUADRANTS = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])


class Mesh(NamedTuple):
    """Triangles.

    Attributes
    ----------
    vertices : (V, 3) float64 ndarray
        [m].
    faces : (F, 3) int32 ndarray
        Into the vertices.
    """

    vertices: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """Shift the mesh.

        Parameters
        ----------
        x, y, z : float
            [m].

        Returns
        -------
        Mesh
            Shifted.
        """
        return Mesh(self.vertices + (x, y, z), self.faces)

    def scaled(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Mesh:
        """Scale the mesh about the origin.

        Parameters
        ----------
        x, y, z : float
            Factors; a negative one mirrors.

        Returns
        -------
        Mesh
            Scaled.
        """
        return Mesh(self.vertices * (x, y, z), self.faces)

    def turned(self, axis: str, angle: float) -> Mesh:
        """Turn the mesh about a coordinate axis through the origin, right-handed.

        Parameters
        ----------
        axis : "x", "y" or "z"
            The axis.
        angle : float
            [rad].

        Returns
        -------
        Mesh
            Turned.
        """
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        vertices = self.vertices.copy()
        a, b = self.vertices[:, first], self.vertices[:, second]
        vertices[:, first] = np.cos(angle) * a - np.sin(angle) * b
        vertices[:, second] = np.sin(angle) * a + np.cos(angle) * b
        return Mesh(vertices, self.faces)


def loft(rings: np.ndarray) -> Mesh:
    """Put a skin over closed rings of points, with a flat cap (a fan around its mean) on the first and on the last.

    Parameters
    ----------
    rings : (R, C, 3) float
        One after the other [m].

    Returns
    -------
    Mesh
        Closed.
    """
    rows, columns = rings.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    following = np.concatenate([index[:, 1:], index[:, :1]], axis=1)
    quads = np.stack([index[:-1], following[:-1], following[1:], index[1:]], axis=-1).reshape(-1, 4)
    hubs = rows * columns + np.arange(2)[:, None]
    fans = [
        np.stack([np.broadcast_to(hub, columns), index[row], following[row]], axis=-1)
        for hub, row in zip(hubs, (0, -1), strict=True)
    ]
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], *fans])
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    return Mesh(vertices, faces.astype(np.int32))


def superellipse(exponent: float = 2.0, aspect: float = 1.0, columns: int = COLUMNS) -> np.ndarray:
    """Draw an outline between ellipse and rectangle.

    Parameters
    ----------
    exponent : float
        2 is an ellipse; larger is squarer.
    aspect : float
        Half extent along the second axis; along the first it is 1.
    columns : int
        Points.

    Returns
    -------
    (columns, 2) float
        Counter-clockwise.
    """
    angle = 2 * np.pi * np.arange(columns) / columns
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    radius = (np.abs(direction) ** exponent).sum(axis=-1) ** (-1.0 / exponent)
    return direction * radius[:, None] * (1.0, aspect)


def rectangle(length: float, width: float, corner: float, columns: int = COLUMNS) -> np.ndarray:
    """Draw the outline of a rectangle around the origin with rounded corners.

    Parameters
    ----------
    length, width : float
        Extents along the first and the second axis [m].
    corner : float
        Radius of the corners [m].
    columns : int
        Points.

    Returns
    -------
    (columns, 2) float
        Counter-clockwise [m].
    """
    corner = min(corner, 0.49 * length, 0.49 * width)
    angle = (np.linspace(0, np.pi / 2, columns // 4) + QUARTERS).ravel()
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return QUADRANTS.repeat(columns // 4, axis=0) * (0.5 * length - corner, 0.5 * width - corner) + corner * direction


def resampled(outline: np.ndarray, columns: int) -> np.ndarray:
    """Put points at equal distances along a closed outline.

    Parameters
    ----------
    outline : (C, 2) float
        Closed.
    columns : int
        Points.

    Returns
    -------
    (columns, 2) float
        On the outline.
    """
    closed = np.concatenate([outline, outline[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    stations = along[-1] * np.arange(columns) / columns
    return np.stack([np.interp(stations, along, closed[:, axis]) for axis in (0, 1)], axis=-1)


def inward(outline: np.ndarray) -> np.ndarray:
    """Find the unit normals of a closed outline towards its inside.

    Parameters
    ----------
    outline : (C, 2) float
        Counter-clockwise.

    Returns
    -------
    (C, 2) float
        At its points.
    """
    closed = np.concatenate([outline[-1:], outline, outline[:1]])
    tangent = closed[2:] - closed[:-2]
    normal = tangent[:, ::-1] * (-1.0, 1.0)
    return normal / np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-12)[:, None]


def fillet(polyline: np.ndarray, radius: float | np.ndarray, steps: int = 4) -> np.ndarray:
    """Replace the inner corners of an open polyline by parabolic arcs.

    Parameters
    ----------
    polyline : (P, 2) float
        [m].
    radius : float or (P - 2,) float
        Of all corners, or of each [m]. It is cut to fit the neighbouring edges, so a large one gives smooth shoulders.
    steps : int
        Points of an arc.

    Returns
    -------
    (2 + steps * (P - 2), 2) float
        [m].
    """
    before, corner, after = polyline[:-2], polyline[1:-1], polyline[2:]
    to_before, to_after = before - corner, after - corner
    edges = np.linalg.norm(np.stack([to_before, to_after]), axis=-1)
    fraction = np.minimum(0.48, np.asarray(radius) / np.maximum(edges, 1e-9))[..., None]
    start, end = corner + fraction[0] * to_before, corner + fraction[1] * to_after
    t = np.linspace(0, 1, steps)[None, :, None]
    arcs = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * corner[:, None] + t**2 * end[:, None]
    return np.concatenate([polyline[:1], arcs.reshape(-1, 2), polyline[-1:]])


def lathe(profile: np.ndarray, section: np.ndarray | None = None) -> Mesh:
    """Make a solid of revolution about y, or one of a section that is not round.

    Parameters
    ----------
    profile : (R, 2) float
        Radius and height [m].
    section : (C, 2) or (R, C, 2) float, optional
        In x, z, times the radius; the unit circle without.

    Returns
    -------
    Mesh
        Closed.
    """
    section = superellipse() if section is None else section
    section = np.broadcast_to(section, (len(profile), *section.shape[-2:]))
    radius, height = profile[:, 0, None], profile[:, 1, None]
    rings = np.stack(
        [radius * section[..., 0], np.broadcast_to(height, section.shape[:2]), radius * section[..., 1]], axis=-1
    )
    return loft(rings)


def sweep(path: np.ndarray, section: np.ndarray) -> Mesh:
    """Make a tube along a curve in the xy plane.

    Parameters
    ----------
    path : (P, 2) float
        x and y [m].
    section : (C, 2) or (P, C, 2) float
        First coordinate across the path in its plane, second along z [m].

    Returns
    -------
    Mesh
        Closed.
    """
    tangent = np.gradient(path, axis=0)
    across = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    section = np.broadcast_to(section, (len(path), *section.shape[-2:]))
    in_plane = path[:, None] + section[..., :1] * across[:, None]
    return loft(np.concatenate([in_plane, section[..., 1:]], axis=-1))


def raised(outlines: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Raise outlines to heights.

    Parameters
    ----------
    outlines : (R, C, 2) float
        In x, z [m].
    heights : (R,) float
        [m].

    Returns
    -------
    (R, C, 3) float
        Rings [m].
    """
    rings = np.empty((*outlines.shape[:2], 3))
    rings[..., 0], rings[..., 1], rings[..., 2] = outlines[..., 0], np.asarray(heights)[:, None], outlines[..., 1]
    return rings


def edge_steps(bottom: float, top: float, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the steps that take a side wall around rounded edges. Without an edge there are no extra ones.

    Parameters
    ----------
    bottom, top : float
        Heights [m].
    edge : float
        Radius of the edges [m].

    Returns
    -------
    heights : (R,) float
        [m].
    insets : (R,) float
        [m].
    """
    edge = min(edge, 0.49 * (top - bottom))
    if edge <= 0:
        return np.array([bottom, top]), np.zeros(2)
    turn = np.linspace(0, np.pi / 2, 3)
    rise, inset = edge * (1 - np.cos(turn)), edge * (1 - np.sin(turn))
    return np.concatenate([bottom + rise, top - rise[::-1]]), np.concatenate([inset, inset[::-1]])


def slab_rings(outline: np.ndarray, bottom: float, top: float, edge: float) -> np.ndarray:
    """Put rings over an outline, with rounded edges.

    Parameters
    ----------
    outline : (C, 2) float
        In x, z [m].
    bottom, top : float
        Heights [m].
    edge : float
        Radius of the edges [m].

    Returns
    -------
    (R, C, 3) float
        Rings [m].
    """
    heights, insets = edge_steps(bottom, top, edge)
    return raised(outline + insets[:, None, None] * inward(outline), heights)


def slab(outline: np.ndarray, bottom: float, top: float, edge: float = 0.0) -> Mesh:
    """Make a plate over an outline, with rounded edges.

    Parameters
    ----------
    outline : (C, 2) float
        In x, z [m].
    bottom, top : float
        Heights [m].
    edge : float
        Radius of the edges [m].

    Returns
    -------
    Mesh
        Closed.
    """
    return loft(slab_rings(outline, bottom, top, edge))


def box(length: float, height: float, width: float, edge: float = 0.0) -> Mesh:
    """Make a block, centred in x and z and standing on y = 0, with rounded edges.

    Parameters
    ----------
    length, height, width : float
        Extents in x, y and z [m].
    edge : float
        Radius of the edges [m].

    Returns
    -------
    Mesh
        Closed.
    """
    return slab(rectangle(length, width, edge, columns=16 if edge > 0 else 4), 0.0, height, edge)
