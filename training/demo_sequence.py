"""Render the demo: procedural objects on a table, seen by a moving depth camera, as a NOCS folder with truth.

python -m training.demo_sequence --output launch/demo
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from training.command import run
from training.data.renderer import CastShape, Placed, Plane, pixel_rays, render
from training.data.sensor import SensorConfig, detected_mask, measured_depth
from training.data.shapes import make_shape
from training.storage import made_folder

WIDTH, HEIGHT = 640, 480
INTRINSICS = Intrinsics(605.0, 605.0, 320.0, 240.0)
OVERSAMPLING = 2  # colour rays per pixel and axis
TABLE_ALBEDO, WALL_ALBEDO = (0.64, 0.53, 0.42), (0.62, 0.66, 0.68)
LIGHT_TABLE = np.array([0.45, 1.0, 0.55]) / np.linalg.norm([0.45, 1.0, 0.55])  # towards the light, table frame

# A RealSense-like camera and an ordinary detector: calmer than what training draws.
SENSOR = SensorConfig(
    shift_px=(0.0, 1.5),
    boundary_level=(0.35, 0.6),
    cheese=0.0,
    cut=0.0,
    axial_noise=(0.001, 0.0015),
    disparity_step=(0.0015, 0.002),
    wave_m=(0.001, 0.002),
    strong_wave=0.0,
    bias=0.002,
    hole_share=(0.01, 0.02),
    speckle_share=0.0,
    outlier_share=0.001,
    edge_mix=(0.3, 0.5),
    smoothed=0.0,
)


@dataclass(frozen=True)
class Standing:
    """An object of the scene: where it stands on the table and what it looks like.

    Parameters
    ----------
    category : str
        Of the object.
    seed : int
        Of its shape.
    x_m, z_m : float
        Place on the table [m].
    yaw_deg : float
        Turn about the vertical [deg].
    albedo : (float, float, float)
        RGB in 0..1.
    """

    category: str
    seed: int
    x_m: float
    z_m: float
    yaw_deg: float
    albedo: tuple[float, float, float]  # RGB


SCENE = (
    Standing("laptop", 3, -0.20, -0.14, -60.0, (0.55, 0.57, 0.60)),
    Standing("mug", 3, 0.17, 0.16, -12.0, (0.85, 0.30, 0.22)),
    Standing("bowl", 2, -0.10, 0.24, 0.0, (0.30, 0.60, 0.45)),
    Standing("bottle", 3, 0.12, -0.17, 0.0, (0.20, 0.45, 0.75)),
    Standing("can", 2, 0.27, -0.10, 0.0, (0.90, 0.70, 0.20)),
    Standing("camera", 4, 0.36, 0.10, -70.0, (0.30, 0.30, 0.34)),
)


def camera_pose(phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Place the camera on an arc about the table.

    Parameters
    ----------
    phase : float
        0..1 along the arc.

    Returns
    -------
    rotation : (3, 3) float
        R_camera_table.
    translation : (3,) float
        Of the table, camera frame [m].
    """
    azimuth = np.deg2rad(-24 + 48 * phase)
    elevation = np.deg2rad(36 + 6 * np.sin(np.pi * phase))
    rotation = Rotation.from_euler("x", np.pi + elevation).as_matrix() @ Rotation.from_euler("y", azimuth).as_matrix()
    distance = 1.02 - 0.08 * np.sin(np.pi * phase)
    return rotation, np.array([-0.05 * (1 - 2 * phase), -0.02, distance]) - rotation @ np.array([0.04, 0.04, 0.0])


def render_frame(
    scene: list[tuple[Standing, Placed]], planes: list[Plane], R_camera_table: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render a frame of the scene.

    Parameters
    ----------
    scene : list of (Standing, Placed)
        Objects.
    planes : list of Plane
        Table and wall.
    R_camera_table : (3, 3) float
        Tells where the light is.

    Returns
    -------
    colour : (H, W, 3) uint8
        RGB.
    depth : (H, W) float32
        Clean [m].
    index : (H, W) int
        Of the object; negative where there is none.
    """
    step = 1 / OVERSAMPLING
    u, v = np.meshgrid(
        np.arange(WIDTH * OVERSAMPLING) * step - 0.5 + step / 2,
        np.arange(HEIGHT * OVERSAMPLING) * step - 0.5 + step / 2,
    )
    placed = [item for _, item in scene]
    directions = pixel_rays(u.ravel(), v.ravel(), INTRINSICS)
    depth, index, face = render(directions, placed, planes)
    # -1 table, -2 wall, -3 nothing
    albedo = np.array([standing.albedo for standing, _ in scene] + [WALL_ALBEDO, WALL_ALBEDO, TABLE_ALBEDO])[index]
    normals = np.zeros_like(directions)
    for i, item in enumerate(placed):
        hit = index == i
        shape = item.cast_shape.shape
        corners = shape.vertices[shape.faces[face[hit]]].astype(float)
        normals[hit] = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ item.rotation.T
    for j, plane in enumerate(planes):
        normals[index == -1 - j] = plane.normal
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    normals *= -np.sign(np.sum(normals * directions, axis=1, keepdims=True))  # towards the camera
    light = R_camera_table @ LIGHT_TABLE
    points = directions * depth[:, None] + 1e-3 * normals
    lit = np.maximum(normals @ light, 0) * ~shadowed(points, light, placed)
    shade = (0.45 + 0.15 * np.maximum(-normals[:, 2], 0) + 0.55 * lit)[:, None] * albedo
    colour = (
        (255 * np.clip(shade, 0, 1) ** (1 / 1.6))
        .astype(np.float32)
        .reshape(HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING, 3)
    )
    colour = cv2.resize(colour, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).round().astype(np.uint8)

    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    depth, index, _ = render(pixel_rays(u.ravel(), v.ravel(), INTRINSICS), placed, planes)
    return colour, depth.reshape(HEIGHT, WIDTH), index.reshape(HEIGHT, WIDTH)


def shadowed(points: np.ndarray, light: np.ndarray, placed: list[Placed]) -> np.ndarray:
    """Say which points an object hides from the light.

    Parameters
    ----------
    points : (P, 3) float
        Camera frame [m].
    light : (3,) float
        Direction towards the light, camera frame.
    placed : list of Placed
        Objects.

    Returns
    -------
    (P,) bool
        True in the shadow.
    """
    hidden = np.zeros(len(points), dtype=bool)
    for item in placed:
        hidden |= item.cast_shape.blocks(points, light, item.rotation, item.translation)
    return hidden


def render_sequence(output: Path, frames: int = 32, seed: int = 7) -> None:
    """Write the NOCS folder: colour, noisy depth, imperfect masks, meta, intrinsics and truth.

    Parameters
    ----------
    output : Path
        The folder.
    frames : int
        Along the arc.
    seed : int
        Of the sensor's errors.
    """
    made_folder(output)
    generator = torch.Generator().manual_seed(seed)
    shapes = [CastShape(make_shape(standing.category, np.random.default_rng(standing.seed))) for standing in SCENE]
    truth = []
    for number in track(range(frames), "frames"):
        R_camera_table, t_camera_table = camera_pose(number / (frames - 1))
        scene = []
        for standing, shape in zip(SCENE, shapes, strict=True):
            R_table_object = Rotation.from_euler("y", standing.yaw_deg, degrees=True).as_matrix()
            centre = np.array([standing.x_m, shape.shape.size[1] / 2, standing.z_m])
            scene.append(
                (standing, Placed(shape, R_camera_table @ R_table_object, R_camera_table @ centre + t_camera_table))
            )
        up, back = R_camera_table[:, 1], R_camera_table[:, 2]
        planes = [Plane(up, float(up @ t_camera_table)), Plane(back, float(back @ t_camera_table) - 0.75)]
        colour, depth, index = render_frame(scene, planes, R_camera_table)

        measured = measured_depth(torch.from_numpy(depth)[None], SENSOR, generator)[0].numpy()
        depth_mm = (1000 * measured).round().astype(np.uint16)
        targets = torch.stack([torch.from_numpy(index == i) for i in range(len(scene))])
        detected = detected_mask(targets, torch.ones(len(scene)), SENSOR, generator).numpy()
        mask = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
        for i, found in enumerate(detected):
            mask[found] = i + 1
        name = f"{number:04d}"
        cv2.imwrite(str(output / f"{name}_color.png"), colour[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        cv2.imwrite(str(output / f"{name}_depth.png"), depth_mm, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        cv2.imwrite(str(output / f"{name}_mask.png"), mask, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        lines = [
            f"{i + 1} {CATEGORIES.index(standing.category) + 1} {standing.category}_{standing.seed}"
            for i, (standing, _) in enumerate(scene)
        ]
        (output / f"{name}_meta.txt").write_text("\n".join(lines) + "\n")
        instances = [
            {
                "instance": i + 1,
                "class": standing.category,
                "model": f"{standing.category}_{standing.seed}",
                "R": item.rotation.round(6).tolist(),
                "t": item.translation.round(6).tolist(),
                "size": item.cast_shape.shape.size.astype(float).round(6).tolist(),
                "visible": round(float((index == i).sum() / alone_pixels(item)), 3),
            }
            for i, (standing, item) in enumerate(scene)
        ]
        truth.append(
            {
                "frame": name,
                "intrinsics": [INTRINSICS.fx, INTRINSICS.fy, INTRINSICS.cx, INTRINSICS.cy],
                "instances": instances,
            }
        )
    (output / "truth.json").write_text(json.dumps(truth, indent=1))
    (output / "intrinsics.json").write_text(
        json.dumps({"fx": INTRINSICS.fx, "fy": INTRINSICS.fy, "cx": INTRINSICS.cx, "cy": INTRINSICS.cy})
    )


def alone_pixels(item: Placed) -> int:
    """Count the pixels of an object in an unbounded image without the others.

    Parameters
    ----------
    item : Placed
        The object.

    Returns
    -------
    int
        At least 1.
    """
    margin = 200
    u, v = np.meshgrid(np.arange(-margin, WIDTH + margin, 2), np.arange(-margin, HEIGHT + margin, 2))
    depth, _ = item.cast_shape.cast(pixel_rays(u.ravel(), v.ravel(), INTRINSICS), item.rotation, item.translation)
    return max(1, 4 * int(np.isfinite(depth).sum()))


if __name__ == "__main__":
    run(render_sequence)
