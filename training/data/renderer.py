"""Ray-cast views of table-top scenes with Embree: clean depth, instance labels and the pose of what is seen.

A mesh is put into an Embree scene once, in its own frame; to render it, the rays are moved into that frame. The table,
the floor and the wall are planes and are intersected in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from clipose_ros.core.types import Intrinsics
from training.data.row_format import FAR_M
from training.data.shapes import Shape


class CastShape:
    """A shape ready for ray casting.

    Parameters
    ----------
    shape : Shape
        In metres.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.radius_m = float(np.linalg.norm(shape.vertices, axis=1).max())
        self.scene = EmbreeScene()
        self._mesh = TriangleMesh(self.scene, shape.vertices, shape.faces)

    def cast(
        self,
        directions: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
        start: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cast camera rays at the shape in a pose.

        Parameters
        ----------
        directions : (P, 3) float
            With z = 1, so that the ray parameter is the depth.
        rotation : (3, 3) float
            R_camera_object.
        translation : (3,) float
            Of the object [m].
        start : (P,) float, optional
            Depth from which on each ray sees [m].

        Returns
        -------
        depth : (P,) float
            Along the optical axis [m]; inf where missed.
        face : (P,) int64
            That was hit; -1 where missed.
        """
        # rays of float32 stay what they are
        local = np.ascontiguousarray(directions @ rotation.astype(directions.dtype), dtype=np.float32)
        origin = np.broadcast_to((-translation @ rotation).astype(np.float32), local.shape)
        if start is not None:
            origin = origin + local * start[:, None].astype(np.float32)
        hit = self.scene.run(np.ascontiguousarray(origin), local, output=True)
        face = hit["primID"].astype(np.int64)
        missed = (face < 0) | (hit["tfar"] <= 0)
        depth = hit["tfar"] if start is None else hit["tfar"] + start
        return np.where(missed, np.inf, depth), np.where(missed, -1, face)

    def blocks(
        self, points: np.ndarray, direction: np.ndarray, rotation: np.ndarray, translation: np.ndarray
    ) -> np.ndarray:
        """Say from where the shape lies in a direction.

        Parameters
        ----------
        points : (P, 3) float
            Camera frame [m].
        direction : (3,) float
            Camera frame.
        rotation : (3, 3) float
            R_camera_object.
        translation : (3,) float
            Of the object [m].

        Returns
        -------
        (P,) bool
            True where it does.
        """
        origins = ((points - translation) @ rotation).astype(np.float32)
        directions = np.broadcast_to((direction @ rotation).astype(np.float32), origins.shape)
        return self.scene.run(np.ascontiguousarray(origins), np.ascontiguousarray(directions), query="OCCLUDED") == 0


@dataclass(frozen=True)
class Placed:
    """A shape with its pose in the camera frame.

    Parameters
    ----------
    cast_shape : CastShape
        The shape.
    rotation : (3, 3) ndarray
        R_camera_object.
    translation : (3,) ndarray
        Of the object [m].
    """

    cast_shape: CastShape
    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True)
class Plane:
    """Points p of the camera frame with normal · p = offset.

    Parameters
    ----------
    normal : (3,) ndarray
        Unit.
    offset : float
        From the camera [m].
    """

    normal: np.ndarray
    offset: float


def pixel_rays(u: np.ndarray, v: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Give the rays through pixels.

    Parameters
    ----------
    u, v : (P,) float
        Column and row [px].
    intrinsics : Intrinsics
        Of the camera.

    Returns
    -------
    (P, 3) float
        Directions with z = 1.
    """
    return np.stack(
        [(u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy, np.ones_like(u, dtype=float)],
        axis=-1,
    )


def render(
    directions: np.ndarray,
    placed: list[Placed],
    planes: list[Plane],
    narrowed: bool = False,
    first: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find what is first along each ray.

    Parameters
    ----------
    directions : (P, 3) float
        With z = 1.
    placed : list of Placed
        Objects.
    planes : list of Plane
        Table, floor, walls.
    narrowed : bool
        Cast only rays that meet the sphere around a shape. It is faster; depths may differ in their last bits.
    first : (ndarray, ndarray), optional
        What `CastShape.cast` gave for these rays and the first of `placed`, where that is known.

    Returns
    -------
    depth : (P,) float32
        Along the optical axis [m], at most FAR_M.
    index : (P,) int16
        i for placed[i], -1 - j for planes[j], -1 - len(planes) for nothing.
    face : (P,) int64
        Of a shape; else -1.
    """
    depth = np.full(len(directions), FAR_M)
    index = np.full(len(directions), -1 - len(planes), dtype=np.int16)
    face = np.full(len(directions), -1, dtype=np.int64)
    for j, plane in enumerate(planes):
        cosine = directions @ plane.normal
        with np.errstate(divide="ignore"):
            z = plane.offset / cosine
        nearer = (z > 0) & (z < depth)
        depth[nearer], index[nearer] = z[nearer], -1 - j
    square = np.einsum("ij,ij->i", directions, directions) if narrowed else None
    for i, item in enumerate(placed):
        if narrowed:
            centre = item.translation.astype(directions.dtype)
            beside = centre @ centre - directions.dtype.type((1.01 * item.cast_shape.radius_m) ** 2)
            along = directions @ centre
            rays = np.flatnonzero((along > 0) & (along * along >= beside * square))
            z, hit_face = item.cast_shape.cast(directions[rays], item.rotation, item.translation)
            nearer = z < depth[rays]
            rays, z, hit_face = rays[nearer], z[nearer], hit_face[nearer]
            depth[rays], index[rays], face[rays] = z, i, hit_face
            continue
        known = first if i == 0 else None
        z, hit_face = known or item.cast_shape.cast(directions, item.rotation, item.translation)
        nearer = z < depth
        depth[nearer], index[nearer], face[nearer] = z[nearer], i, hit_face[nearer]
    return depth.astype(np.float32), index, face
