"""Meshes from disk become shapes in the canonical frame, with metric sizes; what cannot be used is named and never
stops anything.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from clipose_ros.core.categories import CATEGORIES, MEAN_SIZES
from training.data.meshes import (
    SYNSETS,
    MeshConfig,
    MeshShapes,
    UnusableMesh,
    canonical,
    heading,
    list_meshes,
    read_mesh,
    surface_points,
    turned_back,
)
from training.data.shapes import make_shape
from training.data.shapes.mesh import Mesh
from training.data.shapes.shape import BODY, ORIENTING
from training.views import Body, ViewConfig, draw_view


def generated(category: str, seed: int = 4) -> Mesh:
    """A generated shape as a mesh in its canonical frame [m]."""
    shape = make_shape(category, np.random.default_rng(seed))
    return Mesh(shape.vertices.astype(float), shape.faces)


def write(path: Path, mesh: Mesh) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)
    return path


def unit(mesh: Mesh) -> Mesh:
    """As ShapeNet stores it: a box diagonal of 1, somewhere, turned by a quarter."""
    return Mesh(
        turned_back(mesh.vertices, 1) / np.linalg.norm(np.ptp(mesh.vertices, axis=0)) + (0.3, -0.1, 2.0), mesh.faces
    )


def config(folder: Path, **options) -> MeshConfig:
    return MeshConfig(folder, **({"share": 1.0} | options))


@pytest.mark.parametrize("quarter", range(4))
def test_turning_back_brings_a_quarter_to_plus_x(quarter):
    directions = np.array([[1.0, 0, 0], [0, 0, -1], [-1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(turned_back(directions[quarter : quarter + 1], quarter), [[1, 0, 0]])
    np.testing.assert_allclose(turned_back(np.array([[0.0, 1, 0]]), quarter), [[0, 1, 0]])


@pytest.mark.parametrize("category", ["mug", "laptop"])
def test_heading_of_mugs_and_laptops_is_found_from_any_side(category):
    unclear = 0
    for seed in range(20):
        points = surface_points(generated(category, seed))
        try:
            assert [heading(category, turned_back(points, -quarter % 4)) for quarter in range(4)] == [0, 1, 2, 3]
        except UnusableMesh:
            unclear += 1
    assert unclear <= 1  # the handle of a mug that narrows a lot towards its foot


@pytest.mark.parametrize("length", [0.03, 0.06, 0.12])
def test_heading_of_a_camera_is_that_of_its_lens(length):
    body = trimesh.creation.box((0.05, 0.09, 0.13))
    lens = trimesh.creation.cylinder(0.032, length).apply_transform(
        trimesh.geometry.align_vectors((0, 0, 1), (1, 0, 0))
    )
    lens.apply_translation((0.025 + length / 2, -0.005, 0.01))
    both = trimesh.util.concatenate([body, lens])
    points = surface_points(Mesh(np.asarray(both.vertices), np.asarray(both.faces)))
    assert [heading("camera", turned_back(points, -quarter % 4)) for quarter in range(4)] == [0, 1, 2, 3]


def test_shapes_without_a_heading_are_left_out():
    can = surface_points(generated("can"))
    for category in ("mug", "laptop", "camera"):
        with pytest.raises(UnusableMesh, match="heading not clear"):
            heading(category, can)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb", ".stl"])
def test_meshes_of_all_formats_keep_their_surface(tmp_path, suffix):
    mesh = generated("laptop")
    read = read_mesh(write(tmp_path / f"laptop/a{suffix}", mesh), config(tmp_path))
    np.testing.assert_allclose(read.vertices[read.faces], mesh.vertices[mesh.faces], atol=1e-6)


def test_shapenet_layout_is_found_in_both_versions(tmp_path):
    for synset, category in SYNSETS.items():
        write(tmp_path / synset / "a" / "models/model_normalized.obj", generated(category))
        write(tmp_path / synset / "b" / "models/model.obj", generated(category))
        write(tmp_path / synset / "c" / "model.obj", generated(category))
    (tmp_path / "02691156").mkdir()  # another category
    found = list_meshes(tmp_path)
    assert tuple(found) == CATEGORIES
    assert [path.parent.name for path in found["mug"]] == ["models", "models", "c"]
    assert all(path.is_file() for paths in found.values() for path in paths)


@pytest.mark.parametrize("category", ["mug", "laptop", "bowl"])
def test_a_mesh_becomes_a_metric_shape_in_the_canonical_frame(tmp_path, category):
    original = generated(category)
    write(tmp_path / category / "a.obj", unit(original))
    shapes = MeshShapes(config(tmp_path))
    sizes = []
    for seed in range(20):
        shape = shapes.make_shape(category, np.random.default_rng(seed))
        low, high = (
            shape.vertices[np.unique(shape.faces)].min(axis=0),
            shape.vertices[np.unique(shape.faces)].max(axis=0),
        )
        np.testing.assert_allclose(low + high, 0, atol=1e-6)
        np.testing.assert_allclose(shape.size, high - low, atol=1e-6)
        sizes.append(np.linalg.norm(shape.size))
        if category != "bowl":  # its heading is free
            expected = np.ptp(original.vertices, axis=0)
            np.testing.assert_allclose(shape.size[0] / shape.size[2], expected[0] / expected[2], rtol=1e-4)
    assert np.median(sizes) == pytest.approx(np.linalg.norm(MEAN_SIZES[category]), rel=0.15)
    assert np.std(sizes) > 0.05 * np.mean(sizes)
    assert not shapes.skipped


def test_handles_of_mugs_tell_the_heading(tmp_path):
    write(tmp_path / "mug/a.ply", unit(generated("mug")))
    shape = MeshShapes(config(tmp_path)).make_shape("mug", np.random.default_rng(0))
    centres = shape.vertices[shape.faces].mean(axis=1)
    assert {BODY, ORIENTING} == set(shape.parts)
    assert centres[shape.parts == ORIENTING][:, 0].min() > centres[shape.parts == BODY][:, 0].mean()


def test_models_of_nocs_have_their_z_turned_round():
    mesh = generated("camera")
    np.testing.assert_array_equal(canonical("camera", mesh, "nocs_models").vertices, mesh.vertices * (1, 1, -1))
    assert canonical("camera", mesh, "canonical") is mesh


def test_shapes_from_disk_can_be_rendered(tmp_path):
    write(tmp_path / "mug/a.obj", unit(generated("mug")))
    body = Body.of(MeshShapes(config(tmp_path)).make_shape("mug", np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    views = [view for view in (draw_view(body, [], ViewConfig(), rng) for _ in range(8)) if view is not None]
    assert views and any(view["cue"] > 0 for view in views)


def bad_meshes(folder: Path) -> dict[str, str]:
    """Files of mugs that cannot be used, and why."""
    write(folder / "mug/no_handle.obj", generated("can"))
    flat = generated("mug")
    write(folder / "mug/flat.obj", Mesh(flat.vertices * (1, 1, 0), flat.faces))
    (folder / "mug/empty.obj").write_text("")
    (folder / "mug/text.ply").write_text("no mesh")
    (folder / "mug/nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n")
    (folder / "mug/astray.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 9\n")
    (folder / "mug/large.stl").write_bytes(b"x" * 2_000_001)
    return {
        "no_handle.obj": "heading not clear",
        "flat.obj": "flat",
        "empty.obj": "no faces",
        "text.ply": "not readable",
        "nan.obj": "numbers that are not finite",
        "astray.obj": "not readable",
        "large.stl": "larger than 2000000 bytes",
    }


def test_bad_meshes_are_named_and_passed_over(tmp_path):
    expected = bad_meshes(tmp_path)
    good = write(tmp_path / "mug/good.obj", generated("mug"))
    shapes = MeshShapes(config(tmp_path, maximum_bytes=2_000_000))
    drawn = [shapes.make_shape("mug", np.random.default_rng(seed)) for seed in range(20)]
    ratio = np.ptp(generated("mug").vertices, axis=0)
    for shape in drawn:  # all are the good one
        np.testing.assert_allclose(shape.size[0] / shape.size[2], ratio[0] / ratio[2], rtol=1e-4)
    assert {path.name: reason for path, reason in shapes.skipped.items()} == expected
    assert good not in shapes.skipped


def test_same_seed_gives_the_same_shape_whatever_was_drawn_before(tmp_path):
    bad_meshes(tmp_path)
    for seed in range(3):
        write(tmp_path / f"mug/good_{seed}.obj", generated("mug", seed))
    fresh, used = (MeshShapes(config(tmp_path, share=0.6)) for _ in range(2))
    for seed in range(10):
        used.make_shape("mug", np.random.default_rng(seed))
    for seed in (3, 4, 5):
        a, b = (shapes.make_shape("mug", np.random.default_rng(seed)) for shapes in (fresh, used))
        assert a.vertices.tobytes() == b.vertices.tobytes() and a.parts.tobytes() == b.parts.tobytes()


def test_what_the_folder_or_the_share_leaves_out_is_generated(tmp_path):
    write(tmp_path / "bowl/a.obj", generated("bowl"))
    never, always = (MeshShapes(config(tmp_path, share=share)) for share in (0.0, 1.0))
    assert (
        always.make_shape("can", np.random.default_rng(2)).vertices.tobytes()
        == make_shape("can", np.random.default_rng(2)).vertices.tobytes()
    )
    counts = {len(never.make_shape("bowl", np.random.default_rng(seed)).faces) for seed in range(6)}
    assert (
        {len(always.make_shape("bowl", np.random.default_rng(seed)).faces) for seed in range(6)}
        == {len(generated("bowl").faces)}
        != counts
    )


def test_what_contradicts_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder: expected folders of meshes"):
        MeshShapes(config(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"share: expected 0\.\.1, got 2"):
        config(tmp_path, share=2)
