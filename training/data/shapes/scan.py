"""What a scanner makes of an object: one smooth skin over all parts.

Gaps are filled, edges rounded, and there are bumps and holes where it saw badly.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from scipy.sparse import csr_array, diags_array
from scipy.spatial import ConvexHull

from training.data.shapes.mesh import Mesh
from training.data.shapes.shape import BODY, ORIENTING, Parts, Shape

POINTS = 2500


@cache
def sphere() -> tuple[np.ndarray, np.ndarray, csr_array]:
    """Spread points evenly over the unit sphere.

    Returns
    -------
    points : (V, 3) float
        On the sphere.
    faces : (F, 3) int32
        Wound outwards.
    mean : (V, V) csr_array
        Averages each point and its neighbours.
    """
    index = np.arange(POINTS) + 0.5
    height, angle = 1 - 2 * index / POINTS, np.pi * (1 + np.sqrt(5)) * index
    ring = np.sqrt(1 - height**2)
    points = np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=-1)
    faces = ConvexHull(points).simplices.astype(np.int32)
    corners = points[faces]
    inside_out = np.linalg.det(corners) < 0
    faces[inside_out] = faces[inside_out][:, ::-1]
    # each edge once in each direction
    rows, columns = faces[:, [0, 1, 2, 0, 1, 2]].ravel(), faces[:, [0, 1, 2, 1, 2, 0]].ravel()
    linked = csr_array((np.ones(len(rows)), (rows, columns)), shape=(POINTS, POINTS))
    linked.data[:] = 1.0
    return points, faces, diags_array(1 / linked.sum(axis=1)) @ linked


def skin(shape: Shape, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the outermost points of a shape along the rays of `sphere`.

    What cannot be seen from the centre is bridged, as a scanner bridges what it cannot look into.

    Parameters
    ----------
    shape : Shape
        The object.
    centre : (3,) float
        From where the rays go [m].

    Returns
    -------
    points : (V, 3) float
        [m].
    parts : (V,) uint8
        Of each point.

    Raises
    ------
    ValueError
        Where a ray meets nothing, because the centre is outside.
    """
    scene = EmbreeScene()
    TriangleMesh(scene, shape.vertices, shape.faces)
    rays = sphere()[0] * shape.size  # denser towards the long ends
    outwards = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    reach = 2 * np.linalg.norm(shape.size)
    origins = (centre + reach * outwards).astype(np.float32)
    hit = scene.run(origins, np.ascontiguousarray(-outwards, dtype=np.float32), output=True)
    if (hit["primID"] < 0).any() or (hit["tfar"] > reach).any():
        raise ValueError(f"centre: expected a point inside the shape, got {centre}")
    return origins - hit["tfar"][:, None] * outwards, shape.parts[hit["primID"]]


def bumps(rng: np.random.Generator, times: int) -> np.ndarray:
    """Draw smooth noise over the sphere, of unit deviation.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    times : int
        The bumps grow with its square root.

    Returns
    -------
    (V,) float
        At the points of `sphere`.
    """
    mean, noise = sphere()[2], rng.normal(size=POINTS)
    for _ in range(times):
        noise = mean @ noise
    return (noise - noise.mean()) / noise.std()


def holes(
    rng: np.random.Generator, vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, parts: np.ndarray
) -> np.ndarray:
    """Draw what the scanner missed: dark glass in front, the shining display at the back, the side on which it stood.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    vertices : (V, 3) float
        [m].
    normals : (F, 3) float
        Unit.
    faces : (F, 3) int
        Into the vertices.
    parts : (F,) uint8
        Of each face.

    Returns
    -------
    (F,) bool
        True for the faces that it missed.
    """
    centres, extent = vertices[faces].mean(axis=1), np.ptp(vertices, axis=0)
    ragged = 1 + 0.2 * bumps(rng, 6)[faces[:, 0]]
    missed = np.zeros(len(faces), bool)
    front = (parts == ORIENTING) & (normals[:, 0] > 0.5)
    if rng.random() < 0.3 and front.any():
        axis = centres[front].mean(axis=0)
        missed |= front & (
            np.linalg.norm((centres - axis)[:, 1:], axis=1) < ragged * rng.uniform(0.1, 0.25) * extent[1]
        )
    if rng.random() < 0.35:
        middle = vertices.mean(axis=0)[1:] + rng.uniform(-0.2, 0.1, 2) * extent[1:]
        away = np.abs((centres[:, 1:] - middle) / (rng.uniform((0.15, 0.12), (0.45, 0.36)) * extent[1:]))
        missed |= (normals[:, 0] < -0.6) & ((away**3).sum(axis=1) < ragged)
    if rng.random() < 0.5:
        missed |= (normals[:, 1] < -0.7) & (centres[:, 1] < vertices[:, 1].min() + 0.15 * extent[1])
    return missed


def scanned(rng: np.random.Generator, shape: Shape) -> Parts:
    """Make the skin of a shape with a front at +x: smoothed, bumpy, with holes.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    shape : Shape
        As drawn.

    Returns
    -------
    list of (Mesh, int)
        Parts.

    Raises
    ------
    ValueError
        Where a ray slips through a crack between its parts.
    """
    body = shape.vertices[np.unique(shape.faces[shape.parts == BODY])]
    centre = 0.5 * (body.min(axis=0) + body.max(axis=0))
    # towards the centre of the box: bridges the corner between body and lens
    centre[0] *= 1 - rng.triangular(0.0, 0.0, 0.7)
    points, part_of_point = skin(shape, centre)
    directions, faces, mean = sphere()
    for _ in range(rng.integers(2, 6)):
        points = mean @ points
    points += min(rng.lognormal(-7.8, 0.7), 0.0018) * bumps(rng, rng.integers(1, 12))[:, None] * directions

    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    parts = part_of_point[faces[:, 0]]
    seen = ~holes(rng, points, normals, faces, parts)
    skins: Parts = []
    for part in np.unique(parts):
        used, index = np.unique(faces[seen & (parts == part)], return_inverse=True)
        skins.append((Mesh(points[used], index.reshape(-1, 3).astype(np.int32)), int(part)))
    return skins
