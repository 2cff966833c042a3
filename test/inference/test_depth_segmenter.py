"""The depth segmenter around networks that a test can understand: see `write_tiny_segmenter`."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from clipose_ros.bench.latency import INTRINSICS, TABLE_NORMAL, spheres_on_table
from clipose_ros.core.backprojection import pinhole
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.support import Surface
from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.inference.session import SessionConfig
from clipose_ros.segmenters.centre_votes import (
    OFFSET_UNIT,
    STEP_M,
    VoteSettings,
    cells_z,
    instances_of,
    sharpened,
    without_surface,
)
from clipose_ros.segmenters.choice import load_segmenter, segmenter_of
from clipose_ros.segmenters.depth import box_of, quarters_to_upright, turned_frame
from clipose_ros.segmenters.depth_channels import (
    LOW_M,
    DepthGrid,
    depth_grid,
    image_channels,
    lowest_table,
    object_crops,
)


@pytest.fixture
def segmenter(write_segmenter):
    return segmenter_of(write_segmenter())


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_spheres_on_a_table_are_found_one_by_one_and_the_table_is_left_alone(segmenter):
    frame, truth = spheres_on_table(5, ["can"])
    found = segmenter.segment(frame)
    assert found.masks.shape == frame.depth.shape and len(found.instances) == 5
    assert {instance.category for instance in found.instances} == {"can"}
    scores = [instance.score for instance in found.instances]
    assert scores == sorted(scores, reverse=True) and all(0 < score <= 1 for score in scores)
    for true in range(1, 6):
        best = max(iou(truth.masks == true, found.masks == instance.label) for instance in found.instances)
        assert best > 0.7  # of a sphere the lowest 1.5 cm belong to the table, for the tiny network


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_camera_that_is_rolled_finds_what_it_finds_upright(segmenter, quarters):
    frame, _ = spheres_on_table(5, ["can"])
    rolled = turned_frame(frame, quarters)
    assert quarters_to_upright(depth_grid(frame)) == 0
    assert quarters_to_upright(depth_grid(rolled)) == 4 - quarters
    points = pinhole(*np.nonzero(np.ones_like(frame.depth))[::-1], frame.depth.ravel() / 1000.0, frame.intrinsics)
    turned = pinhole(*np.nonzero(np.ones_like(rolled.depth))[::-1], rolled.depth.ravel() / 1000.0, rolled.intrinsics)
    back = np.linalg.matrix_power(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), quarters)
    order = np.rot90(np.arange(frame.depth.size).reshape(frame.depth.shape), quarters).ravel()
    np.testing.assert_allclose(turned @ back.T, points[order], atol=1e-5)  # the same points, in the rolled camera
    upright, found = segmenter.segment(frame), segmenter.segment(rolled)
    assert found.instances == upright.instances
    assert (found.masks == np.rot90(upright.masks, quarters)).all()


def test_a_patch_that_happens_to_face_up_is_not_what_things_stand_on():
    """A table seen by a camera that is rolled by a quarter, and a few samples that a plane meets which faces up."""
    table = Surface(np.array([-0.94, 0.03, -0.33]), -0.3, np.zeros((1400, 3)))
    patch = Surface(np.array([-0.48, -0.55, -0.68]), -0.33, np.zeros((60, 3)))
    shelf = Surface(np.array([0.0, -0.9, -0.44]), -0.5, np.zeros((300, 3)))
    assert lowest_table([table, patch]) is table
    assert lowest_table([table, shelf, patch]) is shelf  # beside a wall, say
    assert lowest_table([]) is None


def test_the_same_frame_gives_the_same_detections(segmenter):
    frame, _ = spheres_on_table(3, ["can"])
    one, other = segmenter.segment(frame), segmenter.segment(frame)
    assert one.instances == other.instances and (one.masks == other.masks).all()


def test_any_number_of_cores_finds_the_same(tiny_segmenter):
    frame, _ = spheres_on_table(3, ["can"])
    one, two = (segmenter_of(tiny_segmenter, SessionConfig(threads=n)).segment(frame) for n in (1, 2))
    assert one.instances == two.instances and (one.masks == two.masks).all()


@pytest.mark.parametrize("shape", [(480, 640), (240, 320), (360, 640), (640, 360), (61, 83)])
def test_other_sizes_show_the_same_objects(segmenter, shape):
    frame, _ = spheres_on_table(2, ["can"])
    rows, columns = (((np.arange(n) + 0.5) * full / n).astype(int) for n, full in zip(shape, (480, 640)))
    by_x, by_y = shape[1] / 640, shape[0] / 480
    seen = Intrinsics(
        INTRINSICS.fx * by_x,
        INTRINSICS.fy * by_y,
        (INTRINSICS.cx + 0.5) * by_x - 0.5,
        (INTRINSICS.cy + 0.5) * by_y - 0.5,
    )
    found = segmenter.segment(Frame(0, "camera", np.ascontiguousarray(frame.depth[np.ix_(rows, columns)]), seen))
    assert found.masks.shape == shape and len(found.instances) == 2


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (1, 700), (3, 2), (17, 33), (900, 5)])
@pytest.mark.parametrize("kind", ["zero", "nan", "inf", "negative", "noise", "far", "wall"])
def test_bad_pixels_never_raise(segmenter, shape, kind):
    rng = np.random.default_rng(1)
    depth = {
        "zero": np.zeros(shape),
        "nan": np.full(shape, np.nan),
        "inf": np.full(shape, np.inf),
        "negative": np.full(shape, -1.0),
        "noise": rng.choice([0.0, np.nan, np.inf, -3.0, 1e30, 0.2, 0.9], shape),
        "far": np.full(shape, 60.0),
        "wall": np.full(shape, 1.0),
    }[kind].astype(np.float32)
    found = segmenter.segment(Frame(0, "camera", depth, INTRINSICS))
    assert found.masks.shape == shape
    assert set(np.unique(found.masks)) <= {0, *(instance.label for instance in found.instances)}


def test_a_table_alone_has_no_objects(segmenter):
    frame, _ = spheres_on_table(0, ["can"])
    assert segmenter.segment(frame).instances == ()


def test_what_the_second_network_takes_for_nothing_is_left_out(write_segmenter):
    frame, _ = spheres_on_table(3, ["can"])
    found = segmenter_of(write_segmenter(surest="nothing")).segment(frame)
    assert found.instances == () and not found.masks.any()


def test_an_object_at_the_border_is_kept(segmenter):
    frame, _ = spheres_on_table(5, ["can"])  # in a row
    cut = Frame(0, "camera", np.ascontiguousarray(frame.depth[:, 40:]), Intrinsics(600.0, 600.0, 279.5, 239.5))
    left = int(np.flatnonzero(spheres_on_table(5, ["can"])[1].masks.any(axis=0))[0])
    narrow = left + 30  # through the first sphere
    cut = Frame(
        0, "camera", np.ascontiguousarray(frame.depth[:, narrow:]), Intrinsics(600.0, 600.0, 319.5 - narrow, 239.5)
    )
    found = segmenter.segment(cut)
    assert len(found.instances) == 5 and (found.masks[:, 0] > 0).any()


def test_height_is_measured_from_the_table_and_up_is_its_normal():
    frame, truth = spheres_on_table(3, ["can"])
    grid = depth_grid(frame)
    assert grid.z.shape == (240, 320) and grid.up @ TABLE_NORMAL > 0.9999
    channels = image_channels(grid)
    on_grid = truth.masks[np.ix_(grid.rows, grid.columns)]
    assert abs(channels[1][on_grid == 0]).max() < 0.1  # in decimetres
    assert channels[1][on_grid > 0].max() == pytest.approx(1.0, abs=0.03)  # spheres of 10 cm
    assert np.median(channels[4][on_grid == 0]) == pytest.approx(1.0, abs=1e-2)  # the table faces up
    thin = replace(grid, offset=grid.offset - 0.004)  # of a table that lies 4 mm lower
    assert np.median(image_channels(thin)[7][on_grid == 0]) == pytest.approx(0.004 / LOW_M, abs=0.05)
    assert (image_channels(thin)[7][on_grid > 0] <= 4).all()
    assert (image_channels(thin, low_heights=False)[7] == (grid.z > 0)).all()


def test_a_crop_is_metric_whatever_the_distance():
    """The channels of a ball do not change with its distance, but for the size of its pixels."""
    crops = []
    for far in (0.6, 1.2):
        v, u = np.indices((240, 320))
        x, y = (u - 159.5) / 300, (v - 119.5) / 300
        inside = (x * far) ** 2 + (y * far) ** 2 < 0.04**2
        z = np.where(inside, far, far + 0.2).astype(np.float32)
        grid = depth_grid(Frame(0, "", z, Intrinsics(300.0, 300.0, 159.5, 119.5)))
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        box = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        crops.append(object_crops(grid, [(inside, box)])[0])
    for crop in crops:
        mask = crop[0] > 0
        assert np.ptp(crop[2][mask]) == pytest.approx(0.8, abs=0.08)  # 8 cm across, in decimetres
    assert crops[1][7, 0, 0] > crops[0][7, 0, 0] - 0.3


def test_votes_gather_around_centres():
    answer = np.full((4, 40, 60), -9.0, np.float32)
    answer[2:] = 0
    truth = np.zeros((40, 60), int)
    truth[10:20, 10:22], truth[10:20, 22:34] = 1, 2  # two that touch
    for number, (v, u) in {1: (15, 16), 2: (15, 28)}.items():
        rows, columns = np.nonzero(truth == number)
        answer[0, rows, columns] = 4.0
        answer[2, rows, columns], answer[3, rows, columns] = (u - columns) / OFFSET_UNIT, (v - rows) / OFFSET_UNIT
        answer[1, v, u] = 3.0
    labels, scores = instances_of(answer)
    assert len(scores) == 2 and all(0.9 < score < 1 for score in scores)
    for number in (1, 2):
        (label,) = np.unique(labels[truth == number])
        assert label > 0
    assert not labels[truth == 0].any()


def test_answers_that_are_no_numbers_give_nothing():
    assert instances_of(np.full((4, 8, 8), np.nan, np.float32))[1] == []


def test_edges_follow_the_depth():
    """A box whose edge runs through the middle of the cells."""
    depth = np.full((64, 64), 1000, np.uint16)
    depth[:, 22:] = 800
    cells = np.zeros((16, 16), np.uint8)
    cells[:, 6:] = 1  # columns 24 and on
    cell_z = depth[2::4, 2::4].astype(np.float32) / 1000
    frame = Frame(0, "", depth, Intrinsics(60.0, 60.0, 31.5, 31.5))
    labels = sharpened(cells, cell_z, frame)
    assert (labels[:, 22:] == 1).mean() > 0.95 and (labels[:, :22] == 0).all()


def test_pixels_of_the_table_are_taken_out_of_masks_and_flat_things_keep_theirs():
    frame, truth = spheres_on_table(2, ["can"])
    grid = depth_grid(frame)
    labels = (truth.masks > 0).astype(np.uint8)
    table = np.zeros(labels.shape, bool)
    table[300:330, 100:200] = True
    assert not (labels[table]).any()
    labels[table] = 1  # what leaked
    labels[400:440, 100:200] = 2  # a sheet of paper
    cleaned = without_surface(labels, grid, frame)
    assert (cleaned[table] == 0).all() and (cleaned[400:440, 100:200] == 2).all()
    spheres = truth.masks > 0
    assert (cleaned[spheres] == 1).mean() > 0.95


def test_the_table_between_the_parts_of_a_flat_object_is_taken_out_of_its_mask():
    """A laptop's base, 6 mm high, as a scan shows it: with holes, through which the table is seen."""
    frame, truth = spheres_on_table(2, ["can"])
    grid, rays = depth_grid(frame), pixel_rays(frame.intrinsics, frame.depth.shape)
    along = np.stack([ray.reshape(-1) for ray in rays[:2]], axis=-1) @ grid.up[:2] + grid.up[2]
    raised = ((grid.offset + 0.006) / along * 1000).reshape(frame.depth.shape).round().astype(np.uint16)
    base = np.zeros(frame.depth.shape, bool)
    base[380:460, 100:200] = True
    holes = base & (np.indices(base.shape) // 8 % 3 == 0).all(axis=0)
    frame = replace(frame, depth=np.where(base & ~holes, raised, frame.depth))
    cleaned = without_surface(base.astype(np.uint8), grid, frame)
    assert holes.sum() > 500 and (cleaned[holes] == 0).mean() > 0.95 and (cleaned[base & ~holes] == 1).all()


@pytest.mark.parametrize("change", [{"object": 0.0}, {"apart": 4}, {"reach": -1.0}, {"least_cells": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}: expected"):
        VoteSettings(**change)


def test_a_segmenter_is_chosen_by_a_word(write_segmenter, tiny_model):
    models = write_segmenter().parent
    assert load_segmenter("none") is None
    assert load_segmenter("depth", models).names[-1] == "other"
    with pytest.raises(ValueError, match="segmenter: expected one of none, depth, mask_rcnn, objects, got colour"):
        load_segmenter("colour")
    with pytest.raises(
        ValueError,
        match="estimator: expected one of depth-segmenter, mask-rcnn-segmenter, objects-segmenter, got clipose",
    ):
        segmenter_of(tiny_model)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (1, 1)])
def test_a_cell_has_the_depth_of_its_nearest_pixel(shape):
    z = np.random.default_rng(3).choice([0.0, 0.4, 0.7, 2.0], shape).astype(np.float32)
    grid = DepthGrid(z, *map(np.arange, shape), Intrinsics(60.0, 60.0, 3.0, 3.0), np.array([0.0, -1.0, 0.0]), np.nan)
    for (row, column), found in np.ndenumerate(cells_z(grid)):
        cell = z[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert found == min(cell[cell > 0], default=0)


def test_edges_are_those_of_a_plain_search_of_the_four_cells():
    rng = np.random.default_rng(4)
    depth, cells = rng.uniform(0.5, 0.9, (31, 45)).astype(np.float32), rng.integers(0, 4, (8, 12)).astype(np.uint8)
    depth[rng.random(depth.shape) < 0.1] = 0
    cell_z = rng.choice([0.0, 0.6, 0.8], cells.shape).astype(np.float32)
    made = sharpened(cells, cell_z, Frame(0, "", depth, Intrinsics(60.0, 60.0, 22.0, 15.0)))
    wrong = 0
    for (v, u), z in np.ndenumerate(depth):
        own = cells[int((v + 0.5) * 8 / 31), int((u + 0.5) * 12 / 45)]
        y, x = (v + 0.5) * 8 / 31 - 0.5, (u + 0.5) * 12 / 45 - 0.5
        options = {}
        for r, c in itertools.product(
            (int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(x)), int(np.floor(x)) + 1)
        ):
            at = min(max(r, 0), 7), min(max(c, 0), 11)
            if z > 0 and cell_z[at] > 0:
                cost = (y - r) ** 2 + (x - c) ** 2 + ((z - cell_z[at]) / (STEP_M * max(z, 0.3) ** 2)) ** 2
                options.setdefault(cost, cells[at])  # of two that are as near, the first
        wrong += made[v, u] != (options[min(options)] if options else own)
    assert wrong == 0


def test_crops_start_at_the_median_and_the_lowest_points():
    frame, truth = spheres_on_table(2, ["can"])
    grid = depth_grid(frame)
    mask = truth.masks[np.ix_(grid.rows, grid.columns)] == 1
    crop = object_crops(grid, [(mask, box_of(mask))])[0]
    seen = (crop[0] > 0) & (crop[1] > 0)
    assert np.median(crop[2][seen]) == pytest.approx(0, abs=1e-5) == np.median(crop[4][seen])
    assert np.quantile(crop[5][seen], 0.03) == pytest.approx(0, abs=1e-5)
