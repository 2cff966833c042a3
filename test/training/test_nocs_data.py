"""REAL275 and CAMERA25 as published: rendered scenes, written in their formats, come back as rows with the poses that
they were rendered with.
"""

from __future__ import annotations

import os
import pickle
import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from training.data.renderer import CastShape, Placed, Plane, pixel_rays, render
from training.data.row_format import BACKGROUND, DEPTH_UNIT_M, OTHER, TARGET
from training.data.rows import DatasetRows, ShardRows, ViewPool
from training.data.shapes import Shape
from training.data.shapes.mesh import Mesh
from training.data.shapes.shape import BODY, assembled
from training.nocs import SPLITS, NocsConfig, NocsViews, Unusable
from training.nocs.files import read_detections, read_meta
from training.nocs.poses import tight_mug
from training.nocs.shards import write_shards
from training.similarity import residuals, robust_similarity, umeyama

WIDTH, HEIGHT = 640, 480
SYNSETS = {"mug": "03797390", "can": "02946921", "laptop": "03642806", "bowl": "02880940"}
REAL_FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "real_frames" / "nocs"


@dataclass(frozen=True)
class Item:
    """An object of a test scene; class 0 makes it a distractor."""

    shape: Shape
    rotation: np.ndarray
    translation: np.ndarray
    class_id: int

    @property
    def diagonal(self) -> float:
        return float(np.linalg.norm(self.shape.size))

    @property
    def model(self) -> str:
        return f"{self.shape.category}_test_norm"


@dataclass(frozen=True)
class Scene:
    """A rendered frame: depth (H, W) [m], labels (H, W): 0 background, i + 1 the item i; coordinates (H, W, 3)
    [diagonal].
    """

    items: tuple[Item, ...]
    depth: np.ndarray
    labels: np.ndarray
    coordinates: np.ndarray


def fixed_shapes() -> dict[str, Shape]:
    """One plain object of each kind, which no change of the generated shapes moves."""
    across = trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0))  # z to y
    cup = trimesh.creation.annulus(0.036, 0.04, 0.09, sections=48).apply_transform(across)
    floor = (
        trimesh.creation.cylinder(0.04, 0.006, sections=48).apply_transform(across).apply_translation((0, -0.042, 0))
    )
    handle = trimesh.creation.torus(0.024, 0.005).apply_translation((0.05, 0, 0))
    can = trimesh.creation.cylinder(0.033, 0.12, sections=48).apply_transform(across)
    base = trimesh.creation.box((0.22, 0.02, 0.31))
    screen = trimesh.creation.box((0.008, 0.21, 0.31)).apply_transform(
        trimesh.transformations.rotation_matrix(0.3, (0, 0, 1))
    )
    screen.apply_translation((-0.14, 0.1, 0))
    bowl = trimesh.creation.icosphere(radius=0.07)
    parts = {"mug": (cup, floor, handle), "can": (can,), "laptop": (base, screen), "bowl": (bowl,)}
    meshes = {
        category: [(Mesh(np.asarray(part.vertices), np.asarray(part.faces)), BODY) for part in whole]
        for category, whole in parts.items()
    }
    return {category: assembled(category, whole) for category, whole in meshes.items()}


def rendered(intrinsics: Intrinsics) -> Scene:
    """A mug with its handle in sight, a can cut by the left border, a laptop and a distractor, seen from above."""
    shapes = fixed_shapes()
    places = {
        "mug": (-0.16, 0.1, 0.75, 200),
        "can": (-0.42, 0.12, 0.8, 40),
        "laptop": (0.02, -0.12, 1.1, 250),
        "bowl": (0.24, 0.1, 0.8, 0),
    }
    items = []
    for category, (x, y, z, heading) in places.items():
        rotation = (
            Rotation.from_euler("x", 215, degrees=True) * Rotation.from_euler("y", heading, degrees=True)
        ).as_matrix()
        class_id = 0 if category == "bowl" else CATEGORIES.index(category) + 1
        items.append(Item(shapes[category], rotation, np.array([x, y, z]), class_id))
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    directions = pixel_rays(u.ravel(), v.ravel(), intrinsics)
    placed = [Placed(CastShape(item.shape), item.rotation, item.translation) for item in items]
    depth, index, _ = render(directions, placed, [Plane(np.array([0.0, 0.0, 1.0]), 1.8)])
    points = directions * depth[:, None]
    coordinates = np.full((HEIGHT * WIDTH, 3), (0.5, 0.5, -0.5))
    for i, item in enumerate(items):
        coordinates[index == i] = (points[index == i] - item.translation) @ item.rotation / item.diagonal
    return Scene(
        tuple(items),
        depth.reshape(HEIGHT, WIDTH),
        np.maximum(index + 1, 0).reshape(HEIGHT, WIDTH),
        coordinates.reshape(HEIGHT, WIDTH, 3),
    )


@pytest.fixture(scope="module")
def real() -> Scene:
    return rendered(SPLITS["real_train"].intrinsics)


@pytest.fixture(scope="module")
def camera() -> Scene:
    return rendered(SPLITS["camera_train"].intrinsics)


def with_alpha(image: np.ndarray) -> np.ndarray:
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


def write_frame(scene: Scene, root: Path, folder: str, name: str = "0000") -> Path:
    """The files of a frame: those of Real with 16-bit depth, those of CAMERA with four channels throughout."""
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    scanned = folder.startswith("Real")
    mm = (scene.depth * 1000).round().astype(np.uint16)
    x, y, z = np.moveaxis(scene.coordinates, -1, 0)
    # blue, green, red
    coordinates = (np.stack([0.5 - z, y + 0.5, x + 0.5], axis=-1) * 255).round().clip(0, 255).astype(np.uint8)
    mask = np.where(scene.labels == 0, 255, scene.labels).astype(np.uint8)
    if scanned:
        depth = mm
    else:
        objects_mm = np.where(scene.labels == 0, 125 * 256 + 255, mm)
        depth = with_alpha(np.dstack([np.zeros_like(mm), objects_mm // 256, objects_mm % 256]).astype(np.uint8))
        coordinates, mask = with_alpha(coordinates), with_alpha(np.dstack([mask] * 3))
    colour = np.dstack([np.full_like(mm, 10), scene.labels * 40, scene.labels > 0]).astype(np.uint8)  # blue, green, red
    for kind, image in (("color", colour), ("depth", depth), ("mask", mask), ("coord", coordinates)):
        assert cv2.imwrite(str(path / f"{name}_{kind}.png"), image)
    lines = [
        f"{i + 1} {item.class_id} {'' if scanned else SYNSETS[item.shape.category] + ' '}{item.model}"
        for i, item in enumerate(scene.items)
    ]
    (path / f"{name}_meta.txt").write_text("\n".join(lines) + "\n")
    return path


def write_models(scene: Scene, root: Path, models: str) -> None:
    for item in scene.items:
        size = item.shape.size.astype(float)
        if models.startswith("real"):
            path, text = root / "obj_models" / models / f"{item.model}.txt", " ".join(map(str, size))
        else:
            path = root / "obj_models" / models / SYNSETS[item.shape.category] / item.model / "bbox.txt"
            text = "\n".join(" ".join(map(str, sign * size / 2 / item.diagonal)) for sign in (1, -1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def real_root(real, tmp_path) -> Path:
    write_frame(real, tmp_path, "Real/train/scene_1")
    write_models(real, tmp_path, "real_train")
    return tmp_path


@pytest.fixture
def camera_root(camera, tmp_path) -> Path:
    write_frame(camera, tmp_path, "CAMERA/train/00000")
    write_models(camera, tmp_path, "train")
    return tmp_path


def views(root: Path, split: str = "real_train", **options) -> NocsViews:
    return NocsViews(NocsConfig(root, split, **options))


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(Rotation.from_matrix(a.T @ b).magnitude()))


def assert_pose(row: dict[str, np.ndarray], item: Item, angle: float = 0.1, metres: float = 0.001) -> None:
    assert CATEGORIES[row["category"]] == item.shape.category
    assert degrees(row["rotation"].astype(float), item.rotation) < angle
    np.testing.assert_allclose(row["translation"], item.translation, atol=metres)
    np.testing.assert_allclose(row["size"], item.shape.size, atol=2 * metres)


def reason(dataset: NocsViews, item: int = 0) -> str:
    with pytest.raises(Unusable) as error:
        dataset[item]
    return error.value.reason


# Similarity


def cloud(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    source = rng.uniform(-0.5, 0.5, (2000, 3)) * (0.6, 0.3, 0.7)
    rotation, translation, scale = Rotation.random(random_state=rng).as_matrix(), rng.normal(0, 0.5, 3), 0.31
    return source, scale * source @ rotation.T + translation, rotation, translation, scale


def test_umeyama_inverts_a_similarity_for_every_set_of_a_batch():
    rng = np.random.default_rng(0)
    source, target, rotation, translation, scale = cloud(rng)
    fit = umeyama(source.reshape(20, 100, 3), target.reshape(20, 100, 3))
    for got, expected in zip(fit, (rotation, translation, scale), strict=True):
        np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), atol=1e-12)


def test_umeyama_of_a_mirrored_cloud_is_still_a_rotation():
    source = np.random.default_rng(1).normal(size=(50, 3))
    rotation, _, _ = umeyama(source, source * (1, 1, -1))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_umeyama_keeps_a_known_scale():
    source = np.random.default_rng(2).normal(size=(50, 3))
    rotation, translation, scale = umeyama(source, 3 * source + 1, scale=2.0)
    assert scale == 2.0
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(translation, (3 * source + 1).mean(0) - 2 * source.mean(0), atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_outliers_do_not_move_the_robust_similarity(share):
    rng = np.random.default_rng(3)
    source, target, rotation, translation, scale = cloud(rng)
    target += rng.normal(0, 0.0005, target.shape)
    astray = rng.random(len(target)) < share
    # all behind the object, as background is
    target[astray] += rng.uniform(0.02, 0.5, (astray.sum(), 1)) * (0.1, 0.1, 1.0)
    fit = robust_similarity(source, target)
    assert degrees(fit.rotation, rotation) < 0.1
    np.testing.assert_allclose(fit.translation, translation, atol=2e-4)
    assert fit.scale == pytest.approx(scale, rel=1e-3)
    assert not fit.inliers[astray].any() and fit.inliers[~astray].mean() > 0.95
    if share:  # which the closed form alone does not survive
        robust = residuals(source, target, fit.rotation, fit.translation, np.array(fit.scale))
        assert np.median(residuals(source, target, *umeyama(source, target))) > 3 * np.median(robust)


def test_robust_similarity_is_the_same_every_time():
    source, target, *_ = cloud(np.random.default_rng(4))
    target[::7] += 0.2
    first, second = robust_similarity(source, target), robust_similarity(source, target)
    assert first.rotation.tobytes() == second.rotation.tobytes() and first.scale == second.scale


@pytest.mark.parametrize("source", [np.zeros((4, 3)), np.zeros((50, 2)), np.ones((50, 3))])
def test_hopeless_correspondences_are_refused(source):
    with pytest.raises(ValueError, match="expected"):
        robust_similarity(source, source)


# Rows


@pytest.mark.parametrize("with_models", [True, False])
def test_poses_of_scanned_objects(real, real_root, with_models):
    if not with_models:
        shutil.rmtree(real_root / "obj_models")
    dataset = views(real_root)
    assert len(dataset) == 3 and dataset.category.tolist() == [5, 3, 4]
    for row, item in zip(dataset, real.items, strict=False):
        # of the visible half, rims and corners may be hidden
        assert_pose(row, item, metres=0.001 if with_models else 0.004)
        assert row["measured"]
    assert len(dataset.missing_models) == (0 if with_models else 3)


def test_poses_of_rendered_objects(camera, camera_root):
    dataset = views(camera_root, "camera_train")
    for row, item in zip(dataset, camera.items, strict=False):
        assert_pose(row, item)
        assert not row["measured"]
    assert "objects only" in dataset.sources


def test_a_tenth_of_background_in_the_mask_does_not_move_the_pose(real, real_root):
    rng = np.random.default_rng(0)
    bleeding = np.where(
        (real.labels > 0) & (rng.random(real.labels.shape) < 0.1),
        real.depth + rng.uniform(0.02, 0.4, real.depth.shape),
        real.depth,
    )
    write_frame(replace(real, depth=bleeding), real_root, "Real/train/scene_1")
    for row, item in zip(views(real_root), real.items, strict=False):
        assert_pose(row, item)


def test_crops_show_the_frame_along_their_rays(real, real_root):
    for number, (row, item) in enumerate(zip(views(real_root), real.items, strict=False)):
        rows, columns = np.nonzero(row["label"] == TARGET)
        z = row["depth"][rows, columns] * DEPTH_UNIT_M
        r0, r1, r2, r3 = row["rays"]
        points = np.stack([(r0 + columns * r1) * z, (r2 + rows * r3) * z, z], axis=-1)
        inside = np.abs((points - item.translation) @ item.rotation) <= item.shape.size / 2 + 0.003
        assert inside.all()  # half a pixel and half a millimetre
        expected = (real.labels == number + 1).sum() / row["pixels"] ** 2
        assert len(z) == pytest.approx(expected, rel=0.03)
        # there is a margin all around
        assert (row["label"][[0, -1]] != TARGET).all() and (row["label"][:, [0, -1]] != TARGET).all()
        intrinsics = SPLITS["real_train"].intrinsics
        u, v = (
            np.rint((r0 + 36 * r1) * intrinsics.fx + intrinsics.cx),
            np.rint((r2 + 36 * r3) * intrinsics.fy + intrinsics.cy),
        )
        label = real.labels[int(v), int(u)]
        assert row["label"][36, 36] == (BACKGROUND if label == 0 else TARGET if label == number + 1 else OTHER)


def test_what_lies_outside_the_image_is_empty(real, real_root):
    row = views(real_root, colour=True)[1]
    intrinsics = SPLITS["real_train"].intrinsics
    outside = np.rint((row["rays"][0] + np.arange(72) * row["rays"][1]) * intrinsics.fx + intrinsics.cx) < 0
    assert 3 < outside.sum() < 60
    assert (row["depth"][:, outside] == 0).all() and (row["label"][:, outside] == BACKGROUND).all()
    assert (row["depth"][:, ~outside] > 0).all()
    assert (row["colour"][:, 0] == 0).all()


def test_colour_shows_the_same_crop(real, real_root):
    """The test's images carry the label of a pixel in green, and in red whether there is one."""
    for number, row in enumerate(views(real_root, colour=True)):
        colour = row["colour"]
        assert colour.shape == (224, 224, 3) and colour.dtype == np.uint8
        label = cv2.resize(row["label"], (224, 224), interpolation=cv2.INTER_NEAREST)
        assert np.mean((np.abs(colour[..., 1].astype(int) - 40 * (number + 1)) < 8) == (label == TARGET)) > 0.98


def test_small_pictures_show_the_same_and_are_means_of_what_they_cover(real_root):
    pairs = zip(views(real_root, colour=True), views(real_root, colour=True, colour_px=48), strict=True)
    for large, small in pairs:
        assert small["colour"].shape == (48, 48, 3)
        expected = cv2.resize(large["colour"], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(small["colour"].astype(int) - expected).mean() < 3
    with pytest.raises(ValueError, match="colour_px: expected 16 to 224, got 300"):
        views(real_root, colour=True, colour_px=300)


def test_near_objects_are_not_sampled_more_finely_than_the_image(real, real_root):
    assert min(row["pixels"] for row in views(real_root)) >= 1


def test_cue_of_a_mug_is_the_share_of_its_handle(real, real_root):
    mug = real.items[0]
    cue = views(real_root)[0]["cue"]
    body = real.labels == 1
    local = real.coordinates[body] * mug.diagonal
    assert 0.02 < cue < 0.5
    assert cue == pytest.approx(
        (local[:, 0] > -mug.shape.size[0] / 2 + mug.shape.size[2] + 0.02 * mug.diagonal).mean(), abs=0.02
    )
    assert [row["cue"] for row in views(real_root)][1:] == [1.0, 1.0]
    handle = body & (real.coordinates[..., 0] * mug.diagonal > -mug.shape.size[0] / 2 + mug.shape.size[2])
    write_frame(replace(real, labels=np.where(handle, 0, real.labels)), real_root, "Real/train/scene_1")
    assert views(real_root)[0]["cue"] == 0


def test_rows_feed_the_training_pool(real, real_root):
    dataset = views(real_root, colour=True)
    arrays, skipped = ViewPool([DatasetRows(dataset, dataset.category)]).read(np.arange(3))
    assert not skipped and arrays["measured"].all() and arrays["colour"].any()


def test_frames_come_in_the_published_order(real, tmp_path):
    for folder, name in (("scene_2", "0001"), ("scene_1", "0003"), ("scene_1", "0000"), ("scene_10", "0000")):
        write_frame(real, tmp_path, f"Real/train/{folder}", name)
    names = [str(frame) for frame in views(tmp_path).frames]
    assert names == ["scene_1/0000", "scene_1/0003", "scene_10/0000", "scene_2/0001"]


# Other people's poses


def similarity(item: Item) -> np.ndarray:
    transform = np.eye(4)
    transform[:3] = np.column_stack([item.diagonal * item.rotation, item.translation])
    return transform


def pixel_box(scene: Scene, label: int) -> list[int]:
    rows, columns = np.nonzero(scene.labels == label)
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def write_pickle(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_published_truth_is_matched_by_class_and_box(real, tmp_path):
    write_frame(real, tmp_path, "Real/test/scene_1")
    write_models(real, tmp_path, "real_test")
    order = (2, 0, 1)
    truth = {
        "gt_class_ids": np.array([real.items[i].class_id for i in order], np.int32),
        "gt_bboxes": np.array([pixel_box(real, i + 1) for i in order], np.int32) + [0, 1, 0, -1],
        "gt_RTs": np.stack([similarity(real.items[i]) for i in order]),
        "gt_handle_visibility": np.ones(3, np.int64),
    }
    file = tmp_path / "gts/real_test/results_real_test_scene_1_0000.pkl"
    write_pickle(file, truth)
    for row, item in zip(views(tmp_path, "real_test", poses="published"), real.items, strict=False):
        assert_pose(row, item, angle=1e-3, metres=1e-6)
    write_pickle(file, truth | {"gt_bboxes": truth["gt_bboxes"] + 4})
    assert reason(views(tmp_path, "real_test", poses="published")) == "truth: no such instance"
    file.unlink()
    assert reason(views(tmp_path, "real_test", poses="published")) == "truth: file missing"


def test_recentred_mugs_of_label_files_come_back_to_their_tight_box(real, real_root):
    """The labels are made as object-deformnet makes them: the body's axis moved to x = 0, and the box around that to a
    diagonal of 1.
    """
    mug = real.items[0]
    half = mug.shape.size / 2 / mug.diagonal
    shift = np.array([half[0] - half[2], 0, 0])
    factor = 1 / np.linalg.norm(2 * np.array([half[0] + shift[0], half[1], half[2]]))
    write_pickle(real_root / "obj_models/mug_meta.pkl", {mug.model: [shift, factor]})
    scales = np.array([item.diagonal for item in real.items[:3]])
    translations = np.array([item.translation for item in real.items[:3]])
    translations[0] -= scales[0] * mug.rotation @ shift
    scales[0] /= factor
    rotations = np.array([item.rotation for item in real.items[:3]])
    label = {
        "instance_ids": [1, 2, 3],
        "rotations": rotations,
        "translations": translations,
        "scales": scales,
        "model_list": ["a", "b", "c"],
    }
    write_pickle(real_root / "Real/train/scene_1/0000_label.pkl", label)
    for row, item in zip(views(real_root, poses="labels"), real.items, strict=False):
        assert_pose(row, item, angle=1e-3, metres=1e-6)


def test_tight_mug_inverts_the_recentring():
    rng = np.random.default_rng(0)
    rotation, shift = Rotation.random(random_state=rng).as_matrix(), np.array([0.12, 0.0, 0.01])
    points = rng.normal(size=(20, 3))
    recentred = 0.9 * (points + shift)
    R, t, s = tight_mug(rotation, np.array([0.1, 0.2, 0.9]), 0.25, shift, 0.9)
    np.testing.assert_allclose(s * points @ R.T + t, 0.25 * recentred @ rotation.T + (0.1, 0.2, 0.9), atol=1e-12)


def test_detections_of_mask_rcnn(tmp_path):
    masks = np.zeros((4, 5, 2), bool)
    masks[1:3, 2:, 1] = True
    boxes = np.array([[0, 0, 1, 1], [1, 2, 3, 5]])
    content = {"rois": boxes, "class_ids": np.array([6, 1]), "scores": np.array([0.9, 0.8], np.float32), "masks": masks}
    write_pickle(tmp_path / "results.pkl", content)
    found = read_detections(tmp_path / "results.pkl")
    assert found.categories == ("mug", "bottle") and found.masks.shape == (2, 4, 5) and found.masks[1, 1:3, 2:].all()
    for broken in (
        content | {"scores": np.zeros(3)},
        content | {"class_ids": np.array([6, 7])},
        {"rois": content["rois"]},
        [1, 2],
    ):
        write_pickle(tmp_path / "results.pkl", broken)
        with pytest.raises(Unusable, match="results.pkl") as error:
            read_detections(tmp_path / "results.pkl")
        assert error.value.reason == "detections: file broken"


def test_pickles_are_not_run(real, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'run'}",)

    write_frame(real, tmp_path, "Real/test/scene_1")
    write_pickle(tmp_path / "gts/real_test/results_real_test_scene_1_0000.pkl", Malicious())
    assert reason(views(tmp_path, "real_test", poses="published")) == "truth: file broken"
    assert not (tmp_path / "run").exists()


# What is broken or missing


def huge(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "spoil", "expected"),
    [
        ("0000_coord.png", Path.unlink, "coord: file missing"),
        ("0000_depth.png", lambda path: path.write_bytes(path.read_bytes()[:60]), "depth: file broken"),
        ("0000_depth.png", lambda path: path.write_bytes(b"no image"), "depth: file broken"),
        ("0000_mask.png", huge, "mask: file broken"),
        ("0000_mask.png", lambda path: cv2.imwrite(str(path), np.zeros((48, 64), np.uint8)), "images: sizes differ"),
        (
            "0000_mask.png",
            lambda path: cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 255, np.uint8)),
            "instance: not in the mask",
        ),
        (
            "0000_mask.png",
            lambda path: cv2.imwrite(str(path), np.ones((HEIGHT, WIDTH), np.uint8)),
            "instance: fills the image",
        ),
        (
            "0000_depth.png",
            lambda path: cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH), np.uint16)),
            "instance: too few points",
        ),
        (
            "0000_depth.png",
            lambda path: cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 65_000, np.uint16)),
            "instance: too few points",
        ),
        (
            "0000_coord.png",
            lambda path: cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 255, np.uint8)),
            "pose: coordinates contradict the depth",
        ),
    ],
)
def test_broken_images_are_named(real_root, file, spoil, expected):
    spoil(real_root / "Real/train/scene_1" / file)
    dataset = views(real_root)
    with pytest.raises(Unusable, match="scene_1/0000 instance 1") as error:
        dataset[0]
    assert error.value.reason == expected


def test_coordinates_that_contradict_the_depth_give_no_pose(real, real_root):
    random = np.random.default_rng(0).uniform(-0.5, 0.5, real.coordinates.shape)
    write_frame(replace(real, coordinates=random), real_root, "Real/train/scene_1")
    assert reason(views(real_root)) == "pose: coordinates contradict the depth"


def test_a_broken_model_file_is_named(real_root):
    for path in (real_root / "obj_models/real_train").iterdir():
        path.write_text("0.1 nan 0.2")
    assert reason(views(real_root)) == "model: file broken"


def test_the_improper_mug_of_camera25_is_left_out(camera, tmp_path):
    path = write_frame(camera, tmp_path, "CAMERA/train/00000") / "0000_meta.txt"
    path.write_text("1 6 03797390 b9be7cfe653740eb7633a2dd89cec754\n")
    assert reason(views(tmp_path, "camera_train")) == "model: known to be improper"


@pytest.mark.parametrize("line", ["1", "x 6 mug", "1 7 mug", "300 6 mug", "1 6 ../../etc", "1 6 a b c", "1 6 a\n1 5 b"])
def test_broken_meta_lines_are_refused(tmp_path, line):
    path = tmp_path / "0000_meta.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match="expected"):
        read_meta(path)


def test_composed_depth_has_the_background_and_its_absence_is_named(camera, camera_root):
    target = camera_root / "camera_full_depths/train/00000/0000_composed.png"
    target.parent.mkdir(parents=True)
    cv2.imwrite(str(target), (camera.depth * 1000).round().astype(np.uint16))
    row = views(camera_root, "camera_train")[2]
    assert (row["depth"][row["label"] == BACKGROUND] > 0).any()
    target.unlink()
    assert reason(views(camera_root, "camera_train")) == "depth: file missing"


def test_missing_folders_and_options_that_contradict_are_refused(tmp_path):
    with pytest.raises(ValueError, match="root: expected a folder Real/train"):
        views(tmp_path)
    with pytest.raises(ValueError, match="split: expected one of camera_train.*, got test"):
        views(tmp_path, "test")
    with pytest.raises(ValueError, match="poses: expected coordinates or labels for real_train"):
        views(tmp_path, poses="published")


# Shards


def test_shards_hold_what_can_be_used_and_report_the_rest(real, real_root):
    for name in ("0001", "0002", "0003"):
        write_frame(real, real_root, "Real/train/scene_1", name)
    scene = real_root / "Real/train/scene_1"
    (scene / "0001_coord.png").unlink()
    (scene / "0003_meta.txt").write_text("nonsense")
    config = NocsConfig(real_root)
    report = write_shards(config, real_root / "out", shard_views=4, workers=1)
    assert report.rows == 6
    assert report.skipped == {"coord: file missing": 3, "meta: file broken": 1}
    assert (
        "scene_1/0001 instance 1" in report.examples["coord: file missing"][0]
        and "0003_meta.txt" in report.examples["meta: file broken"][0]
    )
    shards = sorted((real_root / "out").glob("shard_*.npz"))
    assert len(shards) == 3
    parts = [ShardRows(shard) for shard in shards]
    assert np.concatenate([part.category for part in parts]).tolist() == [5, 3, 4, 5, 3, 4]
    assert not any(part.skipped for part in parts)
    direct = NocsViews(config)[0]
    for name, array in parts[0].arrays.items():
        np.testing.assert_array_equal(array[0], direct[name])

    shards[0].write_bytes(b"kept")
    assert write_shards(config, real_root / "out", shard_views=4, workers=1) == report
    assert shards[0].read_bytes() == b"kept"  # what is finished is not written again
    with pytest.raises(ValueError, match="output: expected an empty folder"):
        write_shards(config, real_root / "out", shard_views=5, workers=1)


# The published data, where they are


@pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the published samples are not there")
def test_published_samples(tmp_path):
    places = {
        "CAMERA/val": "camera_val",
        "Real/train": "real_train",
        "gts/val": "gts",
        "camera_full_depths": "camera_full_depths",
    }
    for split, folder in places.items():
        (tmp_path / split).parent.mkdir(exist_ok=True)
        (tmp_path / split).symlink_to(REAL_FILES / folder)
    own, published = views(tmp_path, "camera_val"), views(tmp_path, "camera_val", poses="published")
    for i in (0, 1):
        assert degrees(own[i]["rotation"].astype(float), published[i]["rotation"]) < 0.05
        np.testing.assert_allclose(own[i]["translation"], published[i]["translation"], atol=0.0005)
        np.testing.assert_allclose(own[i]["size"], published[i]["size"], atol=0.001)
    assert reason(own, 2) == "instance: not in the mask"

    scanned = {CATEGORIES[row["category"]]: row for row in views(tmp_path)}
    np.testing.assert_allclose(scanned["mug"]["size"], (0.1464, 0.0837, 0.1146), atol=0.003)
    np.testing.assert_allclose(scanned["can"]["size"], (0.0689, 0.1466, 0.0721), atol=0.003)
    assert scanned["mug"]["cue"] > 0.02  # its handle is in sight
    up = np.array([row["rotation"][:, 1] for row in scanned.values()])  # all stand on one table
    assert np.rad2deg(np.arccos((up @ up.mean(0) / np.linalg.norm(up.mean(0))).min())) < 2
