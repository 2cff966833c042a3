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
    """vertices (V, 3) float64 [m]; faces (F, 3) int32."""

    vertices: np.ndarray
    faces: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """The mesh shifted by (x, y, z) [m]."""
        return Mesh(self.vertices + (x, y, z), self.faces)

    def scaled(self, x: float = 1.0, y: float = 1.0, z: float = 1.0) -> Mesh:
        """The mesh scaled about the origin; a negative factor mirrors."""
        return Mesh(self.vertices * (x, y, z), self.faces)

    def turned(self, axis: str, angle: float) -> Mesh:
        """The mesh turned about a coordinate axis through the origin by `angle` [rad], right-handed."""
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        vertices = self.vertices.copy()
        a, b = self.vertices[:, first], self.vertices[:, second]
        vertices[:, first] = np.cos(angle) * a - np.sin(angle) * b
        vertices[:, second] = np.sin(angle) * a + np.cos(angle) * b
        return Mesh(vertices, self.faces)


def loft(rings: np.ndarray) -> Mesh:
    """Skin over rings (R, C, 3) of points, each closed, with a flat cap (a fan around its mean) on the first and on the
    last.
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
    """Outline (C, 2) with half extents 1 and `aspect`: exponent 2 is an ellipse, larger is squarer."""
    angle = 2 * np.pi * np.arange(columns) / columns
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    radius = (np.abs(direction) ** exponent).sum(axis=-1) ** (-1.0 / exponent)
    return direction * radius[:, None] * (1.0, aspect)


def rectangle(length: float, width: float, corner: float, columns: int = COLUMNS) -> np.ndarray:
    """Outline (C, 2) [m] of a rectangle `length` x `width` around the origin with rounded corners of radius `corner`
    [m].
    """
    corner = min(corner, 0.49 * length, 0.49 * width)
    angle = (np.linspace(0, np.pi / 2, columns // 4) + QUARTERS).ravel()
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return QUADRANTS.repeat(columns // 4, axis=0) * (0.5 * length - corner, 0.5 * width - corner) + corner * direction


def resampled(outline: np.ndarray, columns: int) -> np.ndarray:
    """The closed outline (C, 2) with `columns` points at equal distances along it."""
    closed = np.concatenate([outline, outline[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    stations = along[-1] * np.arange(columns) / columns
    return np.stack([np.interp(stations, along, closed[:, axis]) for axis in (0, 1)], axis=-1)


def inward(outline: np.ndarray) -> np.ndarray:
    """Unit normals (C, 2) of the counter-clockwise closed outline (C, 2), towards its inside."""
    closed = np.concatenate([outline[-1:], outline, outline[:1]])
    tangent = closed[2:] - closed[:-2]
    normal = tangent[:, ::-1] * (-1.0, 1.0)
    return normal / np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-12)[:, None]


def fillet(polyline: np.ndarray, radius: float | np.ndarray, steps: int = 4) -> np.ndarray:
    """The open polyline (P, 2) with its inner corners replaced by parabolic arcs.

    radius: [m], one for all corners or one for each of the P - 2; cut to fit the neighbouring edges, so a large one
    gives smooth shoulders.
    Returns: (2 + steps * (P - 2), 2).
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
    """Solid of revolution about y, or of a non-round section.

    Parameters: profile (R, 2) of (radius, height) [m]; section (C, 2) or (R, C, 2) in x, z [1], default the unit
    circle.
    """
    section = superellipse() if section is None else section
    section = np.broadcast_to(section, (len(profile), *section.shape[-2:]))
    radius, height = profile[:, 0, None], profile[:, 1, None]
    rings = np.stack(
        [radius * section[..., 0], np.broadcast_to(height, section.shape[:2]), radius * section[..., 1]], axis=-1
    )
    return loft(rings)


def sweep(path: np.ndarray, section: np.ndarray) -> Mesh:
    """Tube along a curve in the xy plane.

    Parameters: path (P, 2) of (x, y) [m]; section (C, 2) or (P, C, 2) [m]: first coordinate across the path in its
    plane, second along z.
    """
    tangent = np.gradient(path, axis=0)
    across = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    section = np.broadcast_to(section, (len(path), *section.shape[-2:]))
    in_plane = path[:, None] + section[..., :1] * across[:, None]
    return loft(np.concatenate([in_plane, section[..., 1:]], axis=-1))


def raised(outlines: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Rings (R, C, 3): outlines (R, C, 2) in x, z [m] at the heights (R,) [m]."""
    rings = np.empty((*outlines.shape[:2], 3))
    rings[..., 0], rings[..., 1], rings[..., 2] = outlines[..., 0], np.asarray(heights)[:, None], outlines[..., 1]
    return rings


def edge_steps(bottom: float, top: float, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Heights (R,) and insets (R,) [m] that take a side wall from `bottom` to `top` around edges of radius `edge` [m];
    no edge, no extra rings.
    """
    edge = min(edge, 0.49 * (top - bottom))
    if edge <= 0:
        return np.array([bottom, top]), np.zeros(2)
    turn = np.linspace(0, np.pi / 2, 3)
    rise, inset = edge * (1 - np.cos(turn)), edge * (1 - np.sin(turn))
    return np.concatenate([bottom + rise, top - rise[::-1]]), np.concatenate([inset, inset[::-1]])


def slab_rings(outline: np.ndarray, bottom: float, top: float, edge: float) -> np.ndarray:
    """Rings (R, C, 3) from `bottom` to `top` [m] over the outline (C, 2) in x, z, with edges rounded by radius `edge`
    [m].
    """
    heights, insets = edge_steps(bottom, top, edge)
    return raised(outline + insets[:, None, None] * inward(outline), heights)


def slab(outline: np.ndarray, bottom: float, top: float, edge: float = 0.0) -> Mesh:
    """Plate over the outline (C, 2) in x, z from `bottom` to `top` [m] with rounded edges [m]."""
    return loft(slab_rings(outline, bottom, top, edge))


def box(length: float, height: float, width: float, edge: float = 0.0) -> Mesh:
    """Block of x, y, z extents `length`, `height`, `width` [m] with rounded edges [m]: centred in x and z, standing on
    y = 0.
    """
    return slab(rectangle(length, width, edge, columns=16 if edge > 0 else 4), 0.0, height, edge)
