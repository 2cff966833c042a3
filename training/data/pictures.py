"""Pictures of generated views: the same square of the scene as the depth crop, in colour.

Lights of many kinds (a window, a lamp, the sky), shadows, reflections, textured tables and walls, and what a camera
adds: exposure, white balance, blur, noise, compression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from training.data.appearance import Look, LookConfig, Material, drawn_colour, drawn_material
from training.data.renderer import CastShape, Placed, Plane, render

TABLE_PATTERNS = {"plain": 0.35, "waves": 0.4, "stripes": 0.1, "checks": 0.1, "spots": 0.05}
SMOOTH = 0.75  # cosine between a face and the mean of its neighbours, from which on an edge is meant to be one
LIFT_M = 1e-3  # above the surface, from where a light is looked for


@dataclass(frozen=True)
class PictureConfig:
    """How pictures are taken.

    Parameters
    ----------
    look : LookConfig
        Of objects.
    shadowed : float
        Share of the pictures in which the first light casts shadows.
    blurred : float
        Share that is blurred.
    compressed : float
        Share that has been JPEG.
    noise : (float, float)
        Standard deviation of a pixel, least and greatest [of white].
    """

    look: LookConfig = LookConfig()
    shadowed: float = 0.4
    blurred: float = 0.5
    compressed: float = 0.5
    noise: tuple[float, float] = (0.0, 0.03)


@dataclass(frozen=True)
class Lights:
    """What lights a scene, camera frame.

    Parameters
    ----------
    up : (3,) float32 ndarray
        Unit.
    directions : (L, 3) float32 ndarray
        Towards lights far away, unit.
    colours : (L, 3) float32 ndarray
        Linear RGB of these.
    spread : (L,) float32 ndarray
        Exponents of their lobes as reflections show them: large for small lights.
    sky, ground : (3,) float32 ndarray
        What comes from above and from below.
    """

    up: np.ndarray
    directions: np.ndarray
    colours: np.ndarray
    spread: np.ndarray
    sky: np.ndarray
    ground: np.ndarray

    def around(self, directions: np.ndarray, roughness: np.ndarray) -> np.ndarray:
        """Say what reflections show.

        Parameters
        ----------
        directions : (P, 3) float32
            Where they look, unit.
        roughness : (P,) float32
            Of what reflects.

        Returns
        -------
        (P, 3) float32
            Linear RGB.
        """
        share = 0.5 + 0.5 * np.tanh(directions @ self.up / (np.float32(0.1) + roughness))
        seen = self.ground + share[:, None] * (self.sky - self.ground)
        for towards, colour, spread in zip(self.directions, self.colours, self.spread, strict=True):
            power = 1 / (1 / spread + roughness * roughness)  # a rough surface widens the light and dims it
            lobe = np.exp(power * np.log(np.maximum(directions @ towards, np.float32(1e-6))))
            seen += (lobe * (1 + np.float32(0.05) * power))[:, None] * colour
        return seen

    def diffuse(self, normals: np.ndarray, lit: np.ndarray) -> np.ndarray:
        """Say how much light falls on surfaces.

        Parameters
        ----------
        normals : (P, 3) float32
            Of the surfaces, unit.
        lit : (P,) float32
            Share of the first light that comes through.

        Returns
        -------
        (P, 3) float32
            Linear RGB.
        """
        share = 0.5 + 0.5 * (normals @ self.up)[:, None]
        fall = np.maximum(normals @ self.directions.T, 0)
        fall[:, 0] *= lit
        return self.ground + share * (self.sky - self.ground) + fall @ self.colours


def drawn_lights(up: np.ndarray, rng: np.random.Generator) -> Lights:
    """Draw lights.

    Parameters
    ----------
    up : (3,) float
        Camera frame.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Lights
        One to three, and what comes from all around.
    """
    count = rng.integers(1, 4)
    directions = rng.normal(size=(count, 3)) + up * rng.uniform(0.3, 2.0, (count, 1))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    warm = rng.uniform(-0.25, 0.25, (count, 1)) * np.array([1.0, 0.1, -1.0])
    strength = rng.uniform(0.2, 1.0, (count, 1)) * np.array([[1.0], [0.5], [0.3]])[:count]
    sky = rng.uniform(0.1, 0.6) * (1 + rng.uniform(-0.15, 0.15) * np.array([1.0, 0.0, -1.0]))
    return Lights(
        up=up.astype(np.float32),
        directions=directions.astype(np.float32),
        colours=(strength * (1 + warm)).astype(np.float32),
        spread=np.exp(rng.uniform(2.0, 6.0, count)).astype(np.float32),
        sky=sky.astype(np.float32),
        ground=(sky * rng.uniform(0.2, 0.9)).astype(np.float32),
    )


def smooth_normals(shape_vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute normals of faces and of vertices. Their sides are arbitrary: windings are not consistent.

    Parameters
    ----------
    shape_vertices : (V, 3) float
        Of the mesh.
    faces : (F, 3) int
        Into the vertices.

    Returns
    -------
    of_faces : (F, 3) float32
        Unit.
    of_vertices : (V, 3) float32
        Unit, of the faces around each.
    """
    a, b, c = shape_vertices[faces].transpose(1, 0, 2).astype(np.float64)
    cross = np.cross(b - a, c - a)
    of_vertices = np.zeros(shape_vertices.shape)
    for corner in range(3):
        np.add.at(of_vertices, faces[:, corner], cross)
    cross, of_vertices = (v / (np.linalg.norm(v, axis=1, keepdims=True) + 1e-20) for v in (cross, of_vertices))
    return cross.astype(np.float32), of_vertices.astype(np.float32)


@dataclass(frozen=True)
class Painted:
    """A shape with its look, ready for pictures.

    Parameters
    ----------
    cast : CastShape
        The shape.
    look : Look
        How it looks.
    of_faces, of_vertices : (F, 3) and (V, 3) float32 ndarray
        Normals.
    """

    cast: CastShape
    look: Look
    of_faces: np.ndarray
    of_vertices: np.ndarray

    @classmethod
    def of(cls, cast: CastShape, look: Look) -> Painted:
        """Compute the normals.

        Parameters
        ----------
        cast : CastShape
            The shape.
        look : Look
            How it looks.

        Returns
        -------
        Painted
            Both.
        """
        return cls(cast, look, *smooth_normals(cast.shape.vertices, cast.shape.faces))

    def normals(self, points: np.ndarray, face: np.ndarray) -> np.ndarray:
        """Compute normals of points, smooth where the shape is.

        Parameters
        ----------
        points : (P, 3) float32
            Frame of the object [m].
        face : (P,) int
            On which each lies.

        Returns
        -------
        (P, 3) float32
            Unit, of either side.
        """
        corners = self.cast.shape.faces[face]
        a, b, c = self.cast.shape.vertices[corners].transpose(1, 0, 2)
        flat = self.of_faces[face]
        ab, ac, ap = b - a, c - a, points - a
        dot = lambda x, y: np.einsum("ij,ij->i", x, y)  # noqa: E731
        d00, d01, d11, d20, d21 = dot(ab, ab), dot(ab, ac), dot(ac, ac), dot(ap, ab), dot(ap, ac)
        scale = 1 / (d00 * d11 - d01 * d01 + np.float32(1e-20))
        v, w = (d11 * d20 - d01 * d21) * scale, (d00 * d21 - d01 * d20) * scale
        weights = np.stack([1 - v - w, v, w], axis=1)
        bent = np.einsum("ik,ikj->ij", weights, self.of_vertices[corners])
        bent /= np.linalg.norm(bent, axis=1, keepdims=True) + np.float32(1e-12)
        smooth = np.abs(dot(bent, flat)) > SMOOTH
        return np.where(smooth[:, None], bent, flat)


def take_picture(
    directions: np.ndarray,
    inside: np.ndarray,
    bodies: Sequence[tuple[Painted, Placed]],
    planes: list[Plane],
    R_camera_table: np.ndarray,
    rng: np.random.Generator,
    config: PictureConfig = PictureConfig(),
) -> np.ndarray:
    """Take a picture of a scene.

    Parameters
    ----------
    directions : (S * S, 3) float
        Rays through its pixels, row by row, with z = 1.
    inside : (S * S,) bool
        Pixels within the image; others are black.
    bodies : sequence of (Painted, Placed)
        Objects and where they are.
    planes : list of Plane
        The table, and what is behind it.
    R_camera_table : (3, 3) float
        y of the table is up.
    rng : np.random.Generator
        Decides on tables, lights and the camera.
    config : PictureConfig
        How pictures are taken.

    Returns
    -------
    (S, S, 3) uint8
        RGB.
    """
    side = round(len(directions) ** 0.5)
    placed = [place for _, place in bodies]
    directions = directions.astype(np.float32)
    depth, index, face = render(directions, placed, planes, narrowed=True)
    points = directions * depth[:, None]
    view = directions / np.sqrt(np.einsum("ij,ij->i", directions, directions))[:, None]
    lights = drawn_lights(R_camera_table[:, 1], rng)
    shadows = rng.random() < config.shadowed

    normals, albedo = np.zeros_like(points), np.zeros_like(points)
    surface = np.zeros((3, len(points)), np.float32)  # reflection, roughness, metal
    nothing = index == -1 - len(planes)
    behind = drawn_colour(rng)
    for j, plane in enumerate(planes):
        of_plane = LookConfig(TABLE_PATTERNS, metal=0.02, glossy=0.3)
        material = drawn_material(rng, of_plane, float(np.exp(rng.uniform(-1.5, 0.5))))
        hit = np.flatnonzero(index == -1 - j)
        if len(hit):
            normals[hit] = plane.normal
            albedo[hit] = material.albedo(points[hit] @ R_camera_table.astype(np.float32))
            surface[:, hit] = np.array(_surface(material))[:, None]
    for i, (painted, place) in enumerate(bodies):
        hit = np.flatnonzero(index == i)
        if not len(hit):
            continue
        rotation, translation = place.rotation.astype(np.float32), place.translation.astype(np.float32)
        local = (points[hit] - translation) @ rotation
        of_object = painted.normals(local, face[hit])
        parts = painted.cast.shape.parts[face[hit]]
        normals[hit] = of_object @ rotation.T
        albedo[hit] = painted.look.albedo(local, of_object, parts)
        surfaces = np.array([_surface(material) for material in painted.look.materials], np.float32)
        surface[:, hit] = surfaces[painted.look.of_part[parts]].T
    cosine = np.einsum("ij,ij->i", normals, view)
    normals *= -np.sign(cosine)[:, None]  # towards the camera
    lit = _lit(points, normals, lights, placed) if shadows else np.ones(len(points), np.float32)
    colour = _shaded(albedo, surface, normals, np.abs(cosine), view, lights, lit)
    colour[nothing] = behind * (1 + 0.5 * view[nothing, 1:2])
    colour[~inside] = 0
    return _developed(colour.reshape(side, side, 3), inside.reshape(side, side), rng, config)


def _surface(material: Material) -> tuple[float, float, float]:
    """Reflection, roughness, and whether it is a metal."""
    return material.reflection, material.roughness, float(material.metal)


def _lit(points: np.ndarray, normals: np.ndarray, lights: Lights, placed: list[Placed]) -> np.ndarray:
    """Share (P,) of the first light that reaches points."""
    lit, towards = np.ones(len(points), np.float32), lights.directions[0]
    facing = np.flatnonzero(normals @ towards > 0)  # on others it does not fall anyhow
    raised = points[facing] + np.float32(LIFT_M) * normals[facing]
    for place in placed:
        lit[facing[place.cast_shape.blocks(raised, towards, place.rotation, place.translation)]] = 0.15
    return lit


def _shaded(
    albedo: np.ndarray,
    surface: np.ndarray,
    normals: np.ndarray,
    cosine: np.ndarray,
    view: np.ndarray,
    lights: Lights,
    lit: np.ndarray,
) -> np.ndarray:
    """Light (P, 3) that comes from surfaces (3, P): reflection, roughness, metal."""
    colour = albedo * lights.diffuse(normals, lit)
    glossy = np.flatnonzero(surface[0] > 0)
    if len(glossy):
        reflection, roughness, metal = surface[:, glossy]
        straight = cosine[glossy]
        around = lights.around(view[glossy] + 2 * straight[:, None] * normals[glossy], roughness)
        # a metal has the colour of what it reflects, all else a colour below what it reflects
        share = np.where(metal > 0, 1, reflection + (1 - reflection) * (1 - straight) ** 5 * (1 - roughness))[:, None]
        tint = np.where(metal[:, None] > 0, albedo[glossy], 1)
        colour[glossy] = (1 - share) * colour[glossy] + share * tint * around
    return colour


@cache
def _grains() -> np.ndarray:
    """Noise of unit variance, from which that of each picture is cut: drawing it anew takes as long as the light."""
    return np.random.default_rng(0).standard_normal(((1 << 20),), np.float32)


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (S, S, 3) float32 of unit variance."""
    count = side * side * 3
    start = int(rng.integers(len(_grains()) - count))
    return _grains()[start : start + count].reshape(side, side, 3)


def _developed(colour: np.ndarray, inside: np.ndarray, rng: np.random.Generator, config: PictureConfig) -> np.ndarray:
    """What a camera makes of light (S, S, 3): (S, S, 3) uint8."""
    mean = float(colour[inside].mean()) if inside.any() else 1.0
    balance = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    colour = colour * (balance * np.float32(np.exp(rng.uniform(np.log(0.08), np.log(0.45))) / max(mean, 1e-4)))
    colour = cv2.pow(np.clip(colour, 0, 1), 1 / 2.2)
    if rng.random() < config.blurred:
        colour = cv2.GaussianBlur(colour, (3, 3), float(rng.uniform(0.3, 1.0)))
    colour += _noise(colour.shape[0], rng) * np.float32(rng.uniform(*config.noise))
    picture = np.clip(255 * colour, 1, 255).astype(np.uint8)
    if rng.random() < config.compressed:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    picture[~inside] = 0
    return picture
