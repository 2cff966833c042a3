"""Masks of views that have none are found, by depth or by colour, and refused where they cannot be trusted."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipose_ros.cli import main as command
from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView, ReferenceViews, read_posed_views, read_reference_views
from clipose_ros.objects.found_masks import find_masks
from clipose_ros.objects.meeting_place import agreement, meeting_place
from clipose_ros.objects.outline_cut import cut_outline, outline_told

spec = importlib.util.spec_from_file_location("box_scene", Path(__file__).with_name("conftest.py"))
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)

WIDTH, HEIGHT, FOCAL = 160, 120, 170.0
INTRINSICS = Intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
TABLE_Y = box_scene.CENTRE[1] - box_scene.SIZE[1] / 2
CLUTTER = (np.array([0.19, TABLE_Y + 0.04, 0.06]), np.array([-0.17, TABLE_Y + 0.04, -0.12]))
BLACK_TABLE = np.full((64, 64, 3), 60.0)


def wood(seed=0):
    """A table's colours (64, 64, 3), in stripes."""
    stripes = cv2.resize(np.random.default_rng(seed).uniform(0.7, 1.1, (8, 64)), (64, 64))
    return stripes[..., None] * np.array([120.0, 85, 55])


def picture_on_table(rotation, translation, table, clutter=CLUTTER, box=True, seed=0):
    """RGB, depth [m] and mask of the box on a table without an end, among other boxes."""
    v, u = np.indices((HEIGHT, WIDTH))
    rays = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones((HEIGHT, WIDTH))], axis=-1) @ rotation
    eye = -rotation.T @ translation
    depth = np.where(rays[..., 1] < -0.05, (TABLE_Y - eye[1]) / np.minimum(rays[..., 1], -0.05), 3.0)
    place = np.floor((eye + depth[..., None] * rays) * 150).astype(int) % 64
    colour, mask = table[place[..., 0], place[..., 2]], np.zeros((HEIGHT, WIDTH), bool)
    for at in [*([box_scene.CENTRE] if box else []), *clutter]:
        other, other_m, seen = box_scene.picture_of_box(rotation, translation, centre=at)
        seen &= other_m < depth
        paint = other if at is box_scene.CENTRE else other[..., ::-1] // 2 + 60
        colour, depth = np.where(seen[..., None], paint, colour), np.where(seen, other_m, depth)
        mask = np.where(seen, at is box_scene.CENTRE, mask)
    rng = np.random.default_rng(seed)
    colour = np.clip(cv2.GaussianBlur(colour, (0, 0), 0.5) + rng.normal(scale=2, size=colour.shape), 0, 255)
    depth = depth * (1 + rng.normal(scale=0.001)) + rng.normal(scale=0.0003, size=depth.shape)
    return colour.astype(np.uint8), depth.astype(np.float32), mask


def table_views(count=8, table=None, with_depth=True, poses=None, **options):
    """Views of the box with its true masks."""
    table = wood() if table is None else table
    poses = poses or [box_scene.looking_at_box(137.5 * i, 25 + 30 * (i % 2), 0.45) for i in range(count)]
    views = []
    for i, pose in enumerate(poses):
        colour, depth, mask = picture_on_table(*pose, table, seed=i, **options)
        views.append(ReferenceView(f"{i:04d}", colour, depth if with_depth else None, mask, *pose))
    return ReferenceViews(INTRINSICS, tuple(views))


def blind(references):
    """The views without masks, and their names."""
    views = tuple(replace(view, mask=np.zeros_like(view.mask)) for view in references.views)
    return replace(references, views=views), [view.name for view in views]


def overlaps(found, references):
    true = {view.name: view.mask for view in references.views}
    masks = [(view.mask, true[view.name]) for view in found.references.views]
    return np.array([np.count_nonzero(a & b) / np.count_nonzero(a | b) for a, b in masks])


def write_views(folder, references):
    """A folder of the views without masks."""
    folder.mkdir()
    for view in references.views:
        cv2.imwrite(str(folder / f"{view.name}_color.png"), cv2.cvtColor(view.colour, cv2.COLOR_RGB2BGR))
        if view.depth_m is not None:
            cv2.imwrite(str(folder / f"{view.name}_depth.png"), np.rint(1000 * view.depth_m).astype(np.uint16))
    poses = {v.name: {"R": v.rotation.tolist(), "t": v.translation.tolist()} for v in references.views}
    (folder / "poses.json").write_text(json.dumps(poses))
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return folder


@pytest.fixture(scope="module")
def deep():
    return table_views()


@pytest.fixture(scope="module")
def plain():
    return table_views(with_depth=False)


def test_cameras_meet_at_the_object(deep):
    place = meeting_place(deep.views)
    np.testing.assert_allclose(place.point, box_scene.CENTRE, atol=1e-3)
    assert place.distance_m == pytest.approx(0.45, abs=1e-3)


@pytest.mark.parametrize("given, by", [("deep", "depth"), ("plain", "colour")])
def test_the_object_among_others_on_a_table_is_found(given, by, request):
    references = request.getfixturevalue(given)
    found = find_masks(*blind(references))
    assert found.by == by and len(found.found) == 8 and not found.left_out
    right = overlaps(found, references)
    assert right.min() > 0.85 and np.median(right) > 0.93
    assert min(found.covered) > 0.95
    assert "masks of 8 views found by " + by in found.summary()
    assert found.quality()["masks_found"] == 8 and found.quality()["mask_agreement"] > 0.95


@pytest.mark.parametrize("with_depth", [True, False])
def test_the_same_views_give_the_same_masks(with_depth):
    references = blind(table_views(poses=box_scene.ring(4, 35.0), with_depth=with_depth))
    one, other = find_masks(*references), find_masks(*references)
    for a, b in zip(one.references.views, other.references.views):
        np.testing.assert_array_equal(a.mask, b.mask)


@pytest.mark.parametrize("with_depth", [True, False])
def test_four_views_are_enough(with_depth):
    references = table_views(poses=box_scene.ring(4, 35.0), with_depth=with_depth)
    assert np.median(overlaps(find_masks(*blind(references)), references)) > 0.9


def test_depth_of_the_object_alone_needs_no_plane(deep):
    bare = replace(deep, views=tuple(replace(v, depth_m=np.where(v.mask, v.depth_m, 0)) for v in deep.views))
    assert np.median(overlaps(find_masks(*blind(bare)), deep)) > 0.9


def test_depth_tells_an_object_of_the_tables_colours():
    """No colour tells it: its outline is where depth ends."""
    references = table_views(table=BLACK_TABLE)
    grey = tuple(replace(view, colour=np.full_like(view.colour, 90)) for view in references.views)
    references = replace(references, views=grey)
    assert np.median(overlaps(find_masks(*blind(references)), references)) > 0.75


def test_masks_that_are_given_stay(plain):
    references, names = blind(plain)
    kept = (*plain.views[:3], *references.views[3:])
    found = find_masks(replace(references, views=kept), names[3:])
    assert found.found == tuple(names[3:])
    for view, given in zip(found.references.views, plain.views[:3]):
        np.testing.assert_array_equal(view.mask, given.mask)


def with_one_wrong_pose(references):
    """The views without masks, of which one looks elsewhere than its pose says, and their names."""
    references, names = blind(references)
    wrong = references.views[5]
    shifted = replace(wrong, translation=wrong.translation + np.array([0.12, 0.0, 0]))
    return replace(references, views=(*references.views[:5], shifted, *references.views[6:])), names


def test_a_view_that_the_others_contradict_is_left_out_and_named(deep):
    found = find_masks(*with_one_wrong_pose(deep))
    assert list(found.left_out) == ["0005"] and "left out: 0005 (" in found.summary()
    assert len(found.found) == 7 and min(found.covered) > 0.9


def test_by_colour_a_wrong_pose_is_refused(plain):
    with pytest.raises(ValueError, match=r"none found by colour: masks: .* 0005 \(\d+%\).*give NNNN_mask.png"):
        find_masks(*with_one_wrong_pose(plain))


def test_two_things_where_the_cameras_look_are_named():
    twins = (np.array([0.06, TABLE_Y + 0.04, 0.06]), np.array([-0.09, TABLE_Y + 0.04, -0.06]))
    references = table_views(clutter=twins, box=False)
    with pytest.raises(ValueError, match=r"none found by depth: .* got two things, at .* give NNNN_mask.png"):
        find_masks(*blind(references))


def test_a_wall_is_no_object(deep):
    wall = tuple(replace(v, depth_m=np.full_like(v.depth_m, 0.45)) for v in deep.views)
    with pytest.raises(
        ValueError, match="none found by depth: .*cuts off in 8 of 8 views.*step back, or give NNNN_mask.png"
    ):
        find_masks(*blind(replace(deep, views=wall)))


def test_an_object_of_its_surroundings_colours_is_refused(plain):
    rng = np.random.default_rng(0)
    noisy = tuple(
        replace(v, colour=np.clip(90 + rng.normal(scale=4, size=v.colour.shape), 0, 255).astype(np.uint8))
        for v in plain.views
    )
    with pytest.raises(ValueError, match=r"no masks of 0000, .*, and none found by colour: .*give NNNN_mask.png"):
        find_masks(*blind(replace(plain, views=noisy)))


def test_views_of_one_colour_are_refused(plain):
    flat = tuple(replace(view, colour=np.full_like(view.colour, 128)) for view in plain.views)
    with pytest.raises(ValueError, match="nothing that all views tell from what is around it: use a plain background"):
        find_masks(*blind(replace(plain, views=flat)))


def test_an_object_that_fills_the_pictures_is_refused():
    views = []
    for i in range(8):
        pose = box_scene.looking_at_box(45 * i, 30, 0.13)
        colour, _, mask = box_scene.picture_of_box(*pose)
        views.append(ReferenceView(f"{i:04d}", colour, None, mask, *pose))
    with pytest.raises(ValueError, match="none found by colour: .*give NNNN_mask.png"):
        find_masks(*blind(ReferenceViews(INTRINSICS, tuple(views))))


def test_depth_of_some_views_is_refused(deep):
    references, names = blind(deep)
    mixed = (replace(references.views[0], depth_m=None), *references.views[1:])
    said = r"NNNN_depth.png for each view without a mask, or for none, got it for 7 of 8"
    with pytest.raises(ValueError, match=said):
        find_masks(replace(references, views=mixed), names)


def test_true_masks_agree_and_wrong_ones_do_not(plain):
    masks = [view.mask for view in plain.views]
    overlap, covered = agreement(plain.views, masks, INTRINSICS)
    assert covered.min() > 0.95 and np.median(overlap) > 0.8
    masks[4] = np.roll(masks[4], 30, axis=1)
    assert agreement(plain.views, masks, INTRINSICS)[1].argmin() == 4
    masks[4] = np.zeros_like(masks[4])
    overlap, covered = agreement(plain.views, masks, INTRINSICS)
    assert overlap[4] == covered[4] == 0 and covered[np.arange(8) != 4].min() > 0.95


def test_an_outline_moves_to_where_colours_change():
    image, mask = np.full((80, 100, 3), 200, np.uint8), np.zeros((80, 100), bool)
    image[20:60, 30:70] = (30, 60, 90)
    mask[23:57, 33:67] = True
    moved = cut_outline(image, mask)
    truth = (image[..., 0] == 30) > 0
    assert np.count_nonzero(moved ^ truth) < 20
    assert outline_told(image, moved) > 0.95 and outline_told(image, np.roll(truth, 15, axis=0)) < 0.7
    blank = np.full_like(image, 77)
    assert cut_outline(blank, mask).any() and outline_told(blank, mask) == 0
    assert not cut_outline(image, np.zeros_like(mask)).any() and outline_told(image, np.zeros_like(mask)) == 0


def test_views_without_masks_are_read_and_named(plain, tmp_path):
    folder = write_views(tmp_path / "views", plain)
    references, blank = read_posed_views(folder)
    assert len(blank) == 8 and not any(view.mask.any() for view in references.views)
    with pytest.raises(ValueError, match="0000_mask.png: expected a mask, 255 on the object, got none"):
        read_reference_views(folder)


@pytest.mark.parametrize("with_depth", [True, False])
def test_an_object_is_learned_without_masks(with_depth, tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba")
    from clipose_ros.objects.library import ObjectLibrary

    poses = [*box_scene.ring(6, 20.0), *box_scene.ring(6, 55.0)]
    folder = write_views(tmp_path / "views", table_views(poses=poses, with_depth=with_depth))
    arguments = ["clipose", "learn", "box", str(folder), "--objects", str(tmp_path / "objects"), "--backbone", "none"]
    monkeypatch.setattr("sys.argv", arguments)
    command.main()
    told = capsys.readouterr()
    assert "no masks of 12 of 12 views: finding them" in told.err
    assert "box: masks of 12 views were found by" in told.out and "look at their outlines in" in told.out
    box = ObjectLibrary(tmp_path / "objects").read("box")
    larger = box.size - box_scene.SIZE  # a hull is, by what no view from the side excludes
    assert larger.min() > -0.01 and larger.max() < (0.01 if with_depth else 0.025)
    np.testing.assert_allclose(box.centre, box_scene.CENTRE, atol=0.008 if with_depth else 0.015)
    assert box.quality["masks_found"] == 12
    picture = cv2.imread(str(tmp_path / "objects" / "box.png"))
    assert picture.shape[1] == 8 * picture.shape[0] // 2  # more views than where masks are given
