import json
import math
import pickle
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.cli import main as cli
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.metrics import THRESHOLDS
from clipose_ros.evaluation.nocs_protocol import (
    IOU_THRESHOLDS,
    POSE_THRESHOLDS,
    NocsProtocol,
    average_precision,
    box_ious,
    evaluate,
    greedy_matches,
    recentred,
    rotation_curve,
    rotation_errors_deg,
    translation_curve,
)
from clipose_ros.formats.nocs_results import Boxes, read_results, result_files

BOTTLE, BOWL, CAMERA, CAN, LAPTOP, MUG = range(1, 7)
BOTH = pytest.mark.parametrize("variant", ["original", "catre"])


def turned(axes, degrees):
    return Rotation.from_euler(axes, degrees, degrees=True).as_matrix()


def box(
    class_id, rotation=np.eye(3), translation=(0.0, 0.0, 1.0), size=(0.2, 0.2, 0.2), scale=1.0, score=0.9, handle=1
):
    """One object as (class, RT, size, score, handle): `size` in metres, whatever the scale in RT."""
    RT = np.eye(4)
    RT[:3, :3], RT[:3, 3] = scale * np.asarray(rotation), translation
    return class_id, RT, np.array(size) / scale, score, handle


def result(truths, predictions):
    """A result as published code pickles it."""
    return {
        "gt_class_ids": np.array([b[0] for b in truths], np.int32),
        "gt_RTs": np.array([b[1] for b in truths]),
        "gt_scales": np.array([b[2] for b in truths], np.float32),
        "gt_handle_visibility": np.array([b[4] for b in truths], np.int32),
        "pred_bboxes": np.zeros((len(predictions), 4), np.int32),
        "pred_class_ids": np.array([b[0] for b in predictions], np.int32),
        "pred_RTs": np.array([b[1] for b in predictions]),
        "pred_scales": np.array([b[2] for b in predictions], np.float32),
        "pred_scores": np.array([b[3] for b in predictions], np.float32),
    }


@pytest.fixture
def folder(tmp_path):
    """Writes results, one file each in their order, and gives their folder."""

    def write(*results, protocol=2):
        path = tmp_path / "results"
        path.mkdir(exist_ok=True)
        for i, content in enumerate(results):
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
            (path / f"results_test_scene_1_{i:04d}.pkl").write_bytes(data)
        return path

    return write


@pytest.fixture
def score(folder):
    """Scores results given as (truths, predictions) by a protocol; gives what --json prints."""

    def run(*images, **protocol):
        results = read_results(result_files(folder(*(result(*image) for image in images))))
        return evaluate(results.images, NocsProtocol(**protocol)).as_json()

    return run


@pytest.fixture
def clipose(monkeypatch, capsys):
    """Runs the command with arguments and gives what it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipose", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    return run


def boxes(*objects):
    ids, poses, sizes, _, _ = zip(*objects)
    return Boxes(np.array(ids), np.array(poses), np.array(sizes), np.ones(len(ids), bool))


def iou_of(predicted, true, variant, symmetric=False):
    return box_ious(boxes(predicted), boxes(true), np.array([symmetric]), variant)[0, 0]


# Rule 1: rotation


def test_axis_symmetric_objects_and_mugs_without_visible_handle_are_scored_by_their_y_axis():
    true, spun = np.eye(4)[None], np.eye(4)[None].copy()
    spun[0, :3, :3] = 3 * turned("yx", [120, 7])  # a scale in the pose changes nothing
    spun_and_tilted = math.degrees(
        math.acos((math.cos(math.radians(120)) * (1 + math.cos(math.radians(7))) + math.cos(math.radians(7)) - 1) / 2)
    )
    assert rotation_errors_deg(spun, true, np.array([True]))[0, 0] == pytest.approx(7, abs=1e-6)
    assert rotation_errors_deg(spun, true, np.array([False]))[0, 0] == pytest.approx(spun_and_tilted, abs=1e-6)


@pytest.mark.parametrize(
    ("handle", "mugs", "expected"), [(1, "published", 0), (0, "published", 1), (1, "full", 0), (0, "full", 0)]
)
def test_a_mug_turned_about_y_is_right_only_where_no_handle_is_seen_and_the_convention_is_the_published_one(
    score, handle, mugs, expected
):
    report = score(([box(MUG, handle=handle)], [box(MUG, turned("y", 90))]), mugs=mugs)
    assert report["pose"]["mug"]["5deg_2cm"] == report["pose_ungated"]["mug"]["5deg_2cm"] == expected


def test_handle_visibility_of_other_classes_means_nothing(score):
    report = score(
        ([box(CAMERA, handle=0), box(BOWL, handle=1)], [box(CAMERA, turned("y", 90)), box(BOWL, turned("y", 90))])
    )
    assert report["pose"]["camera"]["10deg_10cm"] == 0 and report["pose"]["bowl"]["5deg_2cm"] == 1


def test_rounding_beyond_one_is_zero_degrees():
    pose = np.eye(4)[None].copy()
    pose[0, :3, :3] = turned("xyz", [10, 20, 30])
    errors = rotation_errors_deg(pose * [[[1 + 1e-9]]], pose, np.array([False]))
    assert np.isfinite(errors).all() and errors[0, 0] < 1e-4


# Rule 3: intersection over union


def test_catre_boxes_stand_along_the_axes_of_the_camera():
    true = box(CAMERA, size=(0.2, 0.4, 0.6))
    assert iou_of(
        box(CAMERA, size=(0.2, 0.4, 0.6), translation=(0.1, 0.0, 1.0), scale=0.5), true, "catre"
    ) == pytest.approx(1 / 3)
    assert iou_of(box(CAMERA, size=(0.2, 0.4, 0.6), translation=(0.2, 0.0, 1.0)), true, "catre") == 0
    # turned by 45 degrees about z, a square of 0.2 has bounds of 0.2 * sqrt(2): 0.04 of 0.08
    assert iou_of(box(CAMERA, turned("z", 45)), box(CAMERA), "catre") == pytest.approx(0.5)


def test_the_original_takes_the_bounds_of_the_three_coordinates_of_each_corner():
    # Cubes of side 0.2 around (0, 0, 1) and (0, 0, 1.05). Each corner spans from its smallest to its largest
    # coordinate: those with x = y = 0.1 from 0.1, the others from -0.1, to the z of their corner, 0.9 or 1.1 (0.95 or
    # 1.15): lengths 0.8, 1.0 once, 1.0, 1.2 three times (each 0.05 longer).
    volume = 0.8 * 1.0 * (1.0 * 1.2) ** 3
    moved = 0.85 * 1.05 * (1.05 * 1.25) ** 3
    intersection = volume  # every interval of the first lies in that of the second
    shifted = box(CAMERA, translation=(0.0, 0.0, 1.05))
    assert iou_of(shifted, box(CAMERA), "original") == pytest.approx(intersection / (volume + moved - intersection))
    assert iou_of(shifted, box(CAMERA), "catre") == pytest.approx(0.15 / 0.25)


@BOTH
def test_the_prediction_of_a_symmetric_object_is_spun_in_steps_of_18_degrees(variant):
    true = box(CAN, size=(0.2, 0.1, 0.4))
    assert iou_of(box(CAN, turned("y", 54), size=(0.2, 0.1, 0.4)), true, variant, symmetric=True) == pytest.approx(1)
    between = iou_of(box(CAN, turned("y", 63), size=(0.2, 0.1, 0.4)), true, variant, symmetric=True)
    assert between == pytest.approx(
        max(iou_of(box(CAN, turned("y", a), size=(0.2, 0.1, 0.4)), true, variant) for a in (-9, 9, 171, 189))
    )
    assert between < 0.95 and iou_of(box(CAN, turned("y", 54), size=(0.2, 0.1, 0.4)), true, variant) < 0.95


@pytest.mark.parametrize(("handle", "mugs", "expected"), [(1, "published", 0), (0, "published", 1), (0, "full", 0)])
def test_the_box_of_a_mug_is_spun_only_where_no_handle_is_seen(score, handle, mugs, expected):
    long = (0.3, 0.1, 0.1)
    report = score(
        ([box(MUG, size=long, handle=handle)], [box(MUG, turned("y", 90), size=long)]), mugs=mugs, iou="catre"
    )
    assert report["iou"]["mug"]["75"] == expected


# Rules 4 to 6: matching and precision


def test_a_second_prediction_of_one_object_is_a_false_positive(score):
    report = score(([box(CAMERA)], [box(CAMERA, score=0.9, translation=(0, 0, 1.06)), box(CAMERA, score=0.8)]))
    # 50: the better scored one (IoU 0.14 / 0.26) takes the object; 75: it does not reach it, and is then the first of
    # two to be wrong
    assert report["iou"]["camera"] == {"25": 1, "50": 1, "75": 0.5}
    # gated: the second is dropped, and 6 cm are too many for 5 but not for 10
    assert report["pose"]["camera"] == {"5deg_2cm": 0, "5deg_5cm": 0, "10deg_2cm": 0, "10deg_5cm": 0, "10deg_10cm": 1}
    assert report["pose_ungated"]["camera"] == {
        "5deg_2cm": 0.5,
        "5deg_5cm": 0.5,
        "10deg_2cm": 0.5,
        "10deg_5cm": 0.5,
        "10deg_10cm": 1,
    }


def test_misses_lower_the_ungated_precision_and_not_the_gated_one(score):
    far = (0, 0, 3)
    report = score(([box(CAMERA), box(CAMERA, translation=far)], [box(CAMERA)]), ([box(CAMERA)], []))
    assert report["pose"]["camera"]["5deg_2cm"] == 1
    assert report["pose_ungated"]["camera"]["5deg_2cm"] == pytest.approx(1 / 3)
    assert report["iou"]["camera"]["50"] == pytest.approx(1 / 3)


def test_false_alarms_lower_the_ungated_precision_and_not_the_gated_one(score):
    report = score(([box(CAMERA)], [box(CAMERA, score=0.5)]), ([], [box(CAMERA, score=0.9)]))
    assert report["pose"]["camera"]["5deg_2cm"] == 1
    assert report["pose_ungated"]["camera"]["5deg_2cm"] == report["iou"]["camera"]["50"] == 0.5


def test_an_overlap_equal_to_the_threshold_is_no_match_and_a_pose_equal_to_the_limit_is():
    iou = np.array([[0.25]])
    assert (greedy_matches(-iou, iou > IOU_THRESHOLDS[:, None, None])[:, 0] >= 0).sum() == 25  # 0.00 .. 0.24
    assert POSE_THRESHOLDS[: len(THRESHOLDS)].tolist() == [list(pair) for pair in THRESHOLDS]


def test_a_pose_just_at_the_limit_counts(score):
    report = score(
        ([box(CAMERA, translation=(0, 0, 0), size=(1, 1, 1))], [box(CAMERA, translation=(0, 0, 0.05), size=(1, 1, 1))])
    )
    assert report["pose"]["camera"]["5deg_5cm"] == 1 and report["pose"]["camera"]["5deg_2cm"] == 0


def test_each_prediction_takes_the_nearest_of_the_poses_within_both_limits():
    # 3 degrees and 1 cm to the first, 1 degree and 4 cm to the second; the next prediction gets what is left, when it
    # is within the limits
    degrees, centimetres = np.array([[3.0, 1.0], [3.0, 1.0]]), np.array([[1.0, 4.0], [1.0, 4.5]])
    for limits, expected in (((5, 5), [0, 1]), ((2, 5), [1, -1]), ((5, 2), [0, -1]), ((0.5, 5), [-1, -1])):
        allowed = (degrees <= limits[0]) & (centimetres <= limits[1])
        assert greedy_matches(degrees + centimetres, allowed[None])[0].tolist() == expected


def test_average_precision_is_the_area_under_the_envelope():
    hits = np.array([[True, False, True, False]])
    # precisions 1, 1/2, 2/3, 1/2; recall 1/4 at precision 1, 2/4 at 2/3 and never more
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), hits, 4)[0] == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    # the ranking is by score: false, true, false, true; precisions 0, 1/2, 1/3, 1/2, and the envelope lifts none above
    # 1/2
    assert average_precision(np.array([0.6, 0.7, 0.8, 0.9]), hits, 2)[0] == pytest.approx(0.5)
    assert average_precision(np.zeros(0), np.zeros((3, 0), bool), 5).tolist() == [0, 0, 0]


def test_the_mean_is_over_the_categories_that_have_ground_truth(score):
    report = score(([box(CAMERA), box(MUG)], [box(CAMERA), box(CAN)]))
    assert report["pose_ungated"]["mean"]["5deg_2cm"] == 0.5 and report["pose_ungated"]["can"]["5deg_2cm"] is None
    assert report["instances"] == {"bottle": 0, "bowl": 0, "camera": 1, "can": 0, "laptop": 0, "mug": 1}
    assert report["predictions"]["can"] == 1


def test_curves_hold_the_thresholds_of_papers(folder):
    truths, predictions = (
        [box(CAMERA, size=(1, 1, 1))],
        [box(CAMERA, turned("x", 12.5), translation=(0, 0, 1.032), size=(1, 1, 1))],
    )
    precision = evaluate(read_results(result_files(folder(result(truths, predictions)))).images)
    assert rotation_curve(precision.pose)[-1].tolist() == [0] * 13 + [1] * 48  # 0 .. 60 degrees
    assert translation_curve(precision.pose)[-1].tolist() == [0] * 7 + [1] * 14  # 0, 0.5 .. 10 cm


# Rule 8: re-centred mugs


def test_a_recentred_mug_is_symmetric_about_the_axis_of_its_body():
    # Body of radius 4 cm, handle to x = 7 cm from the axis: the tight box goes from -4 to 7 and is centred 1.5 cm from
    # the axis.
    rotation = turned("xyz", [10, 20, 30])
    tight = boxes(
        box(MUG, rotation, rotation @ [0.015, 0, 0] + [0.1, 0.2, 1.0], size=(0.11, 0.1, 0.08), scale=0.3), box(CAMERA)
    )
    moved = recentred(tight)
    np.testing.assert_allclose(moved.poses[0, :3, 3], [0.1, 0.2, 1.0], atol=1e-12)
    np.testing.assert_allclose(moved.sizes[0] * 0.3, [0.14, 0.1, 0.08])
    np.testing.assert_array_equal(moved.poses[1], tight.poses[1])
    np.testing.assert_array_equal(moved.poses[:, :3, :3], tight.poses[:, :3, :3])


def test_recentring_takes_the_turn_of_a_mug_out_of_its_position(score):
    # Right about the body, and half a turn wrong about its axis: 3 cm between the tight centres, none between the
    # bodies.
    size = (0.11, 0.1, 0.08)
    truth, prediction = (
        box(MUG, translation=(0.015, 0, 1), size=size, handle=0),
        box(MUG, turned("y", 180), (-0.015, 0, 1), size),
    )
    tight, body = (score(([truth], [prediction]), recentre_mugs=value)["pose"]["mug"] for value in (False, True))
    assert (tight["5deg_2cm"], tight["5deg_5cm"], body["5deg_2cm"]) == (0, 1, 1)


# The rules again, written as loops


def slow_box(RT, size, variant):
    corners = [
        (x * size[0] / 2, y * size[1] / 2, z * size[2] / 2, 1) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)
    ]
    coordinates = (RT @ np.transpose(corners))[:3].tolist()  # 3 lists of 8
    groups = list(zip(*coordinates)) if variant == "original" else coordinates
    return [(min(group), max(group)) for group in groups]


def slow_iou(predicted, true, y_only, variant):
    best = 0.0
    intervals = slow_box(true[1], true[2], variant)
    for degrees in range(0, 360 if y_only else 1, 18):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        mine = slow_box(predicted[1] @ [[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]], predicted[2], variant)
        intersection = math.prod(max(0.0, min(b, d) - max(a, c)) for (a, b), (c, d) in zip(mine, intervals))
        union = math.prod(b - a for a, b in mine) + math.prod(d - c for c, d in intervals) - intersection
        best = max(best, intersection / union)
    return best


def slow_error(predicted, true, y_only):
    R1, R2 = (
        Rotation.from_matrix(pose[1][:3, :3] / np.cbrt(np.linalg.det(pose[1][:3, :3]))) for pose in (predicted, true)
    )
    y1, y2 = R1.apply([0, 1, 0]), R2.apply([0, 1, 0])
    angle = math.atan2(np.linalg.norm(np.cross(y1, y2)), y1 @ y2) if y_only else (R1 * R2.inv()).magnitude()
    return math.degrees(angle), 100 * math.dist(predicted[1][:3, 3], true[1][:3, 3])


def slow_precision(ranked, truths):
    """ranked: (score, hit) of all images in order. The area, summed over each rise of the recall."""
    ranked = sorted(ranked, key=lambda entry: -entry[0])
    precisions, recalls, hits = [0.0], [0.0], 0
    for i, (_, hit) in enumerate(ranked):
        hits += hit
        precisions.append(hits / (i + 1))
        recalls.append(hits / truths)
    return sum((recalls[i] - recalls[i - 1]) * max(precisions[i:]) for i in range(1, len(recalls)))


def slow_match(iou, threshold):
    """Ground truth by prediction, for the predictions that have one."""
    match = {}
    for i, with_truths in enumerate(iou):
        free = [j for j in range(len(with_truths)) if j not in match.values() and with_truths[j] > threshold]
        if free:
            match[i] = max(free, key=lambda j: with_truths[j])
    return match


def slow_evaluation(images, class_id, variant, mugs, iou_thresholds, pose_thresholds):
    iou_ranked, truths = {t: [] for t in iou_thresholds}, 0
    pose_ranked = {(gate, t): [] for gate in (True, False) for t in pose_thresholds}
    gated_truths = 0
    for all_truths, all_predictions in images:
        true = [t for t in all_truths if t[0] == class_id]
        predicted = sorted((p for p in all_predictions if p[0] == class_id), key=lambda p: -np.float32(p[3]))
        truths += len(true)
        y_only = [
            class_id in (BOTTLE, BOWL, CAN) or (class_id == MUG and mugs == "published" and not t[4]) for t in true
        ]
        broken = [
            not (np.isfinite(p[1]).all() and np.linalg.det(p[1][:3, :3]) > 0 and (p[2] > 0).all()) for p in predicted
        ]
        iou = [
            [-1 if broken[i] else slow_iou(p, t, s, variant) for t, s in zip(true, y_only)]
            for i, p in enumerate(predicted)
        ]
        errors = [
            [(math.inf, math.inf) if broken[i] else slow_error(p, t, s) for t, s in zip(true, y_only)]
            for i, p in enumerate(predicted)
        ]
        for threshold in iou_thresholds:
            match = slow_match(iou, threshold)
            iou_ranked[threshold] += [(np.float32(p[3]), i in match) for i, p in enumerate(predicted)]
        match = slow_match(iou, 0.1)
        gated_truths += len(match)
        for gate, (degrees, centimetres) in pose_ranked:
            pool = set(match.values()) if gate else set(range(len(true)))
            for i in match if gate else range(len(predicted)):
                near = [j for j in pool if errors[i][j][0] <= degrees and errors[i][j][1] <= centimetres]
                if near:
                    pool.remove(min(near, key=lambda j: sum(errors[i][j])))
                pose_ranked[gate, (degrees, centimetres)].append((np.float32(predicted[i][3]), bool(near)))
    iou_ap = [slow_precision(iou_ranked[t], truths) for t in iou_thresholds]
    gated = [slow_precision(pose_ranked[True, t], gated_truths) for t in pose_thresholds]
    return iou_ap, gated, [slow_precision(pose_ranked[False, t], truths) for t in pose_thresholds]


def random_object(rng, class_id):
    scale = rng.uniform(0.2, 2)
    translation = [*rng.uniform(-0.2, 0.2, 2), rng.uniform(0.8, 1.2)]
    return box(
        class_id,
        Rotation.random(random_state=rng).as_matrix(),
        translation,
        rng.uniform(0.1, 0.4, 3),
        scale,
        1.0,
        int(rng.integers(2)),
    )


def random_estimate(rng, true):
    """Of a true object: near or far, sometimes of another class, seldom broken.

    Scores have one digit, so that many are equal.
    """
    class_id, RT, size, _, _ = true
    RT = RT.copy()
    angle = Rotation.from_rotvec(rng.normal(0, rng.choice([0.03, 0.1, 0.5]), 3)).as_matrix()
    spin = turned("y", rng.choice([0, 40, 90]))
    RT[:3, :3] = angle @ RT[:3, :3] @ spin
    RT[:3, 3] += rng.normal(0, rng.choice([0.005, 0.03]), 3)
    if rng.random() < 0.1:
        class_id = int(rng.integers(1, 7))
    broken = rng.random()
    if broken < 0.02:
        RT[:3, :3] = 0
    elif broken < 0.04:
        RT[:3, 0] *= -1
    elif broken < 0.06:
        RT[rng.integers(3), rng.integers(4)] = np.nan
    return class_id, RT, size * rng.uniform(0.8, 1.2, 3) * (-1 if 0.06 < broken < 0.08 else 1), rng.integers(11) / 10, 1


def random_images(seed, count):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        kinds = rng.integers(1, 7, 2)  # two classes an image, so that objects compete
        true = [random_object(rng, int(rng.choice(kinds))) for _ in range(rng.integers(0, 5))]
        estimates = [random_estimate(rng, t) for t in true for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        images.append(
            (
                true,
                estimates
                + [random_estimate(rng, random_object(rng, int(rng.choice(kinds)))) for _ in range(rng.integers(0, 2))],
            )
        )
    return images


@pytest.mark.parametrize(
    ("variant", "mugs", "seed"), [("original", "published", 1), ("catre", "published", 2), ("catre", "full", 3)]
)
def test_random_images_score_as_by_the_rules_in_loops(folder, variant, mugs, seed):
    images = random_images(seed, 100)
    for true, estimates in images:  # the files have float32 sizes
        true[:] = [(*t[:2], t[2].astype(np.float32).astype(float), *t[3:]) for t in true]
        estimates[:] = [(*p[:2], p[2].astype(np.float32).astype(float), *p[3:]) for p in estimates]
    precision = evaluate(
        read_results(result_files(folder(*(result(*image) for image in images)))).images, NocsProtocol(variant, mugs)
    )
    columns, rows = [0, 10, 25, 40, 50, 60, 75, 99], [*range(5), 12, 35, 65, 66, 70, 75, 86]
    iou_thresholds, pose_thresholds = (
        IOU_THRESHOLDS[columns].tolist(),
        [tuple(pair) for pair in POSE_THRESHOLDS[rows].tolist()],
    )
    expected = [slow_evaluation(images, i, variant, mugs, iou_thresholds, pose_thresholds) for i in range(1, 7)]
    for table, part in (
        (precision.iou[:, columns], 0),
        (precision.pose[:, rows], 1),
        (precision.pose_ungated[:, rows], 2),
    ):
        by_class = np.array([of_class[part] for of_class in expected])
        np.testing.assert_allclose(table[:-1], by_class, atol=1e-12)
        np.testing.assert_allclose(table[-1], by_class.mean(axis=0), atol=1e-12)
    # neither all right nor all wrong
    assert 0.1 < precision.iou[-1, 50] < 0.9 and precision.pose[-1, 4] > precision.pose_ungated[-1, 4] > 0.05


# Files and the command


def test_broken_files_are_skipped_by_name_and_reason(folder):
    good, few, text = (result([box(CAN)], [box(CAN)]) for _ in range(3))
    few["pred_RTs"] = few["pred_RTs"][:, :3]
    text["gt_scales"] = ["big"]
    missing = {key: value for key, value in good.items() if key != "pred_scores"}
    results = read_results(
        result_files(folder(good, few, text, missing, 7, b"\x80\x02", pickle.dumps(good)[:-20], result([], [])))
    )
    assert [image.name for image in results.images] == [
        "results_test_scene_1_0000.pkl",
        "results_test_scene_1_0007.pkl",
    ]
    reasons = list(results.skipped.values())
    starts = [
        "pred_RTs: expected (1, 4, 4), got (1, 3, 4)",
        "gt_scales: expected numbers",
        "pred_scores: expected in the result, got none",
    ]
    starts += [
        "result: expected a dictionary or a list of them, got int",
        "expected a whole pickle",
        "expected a whole pickle",
    ]
    assert all(reason.startswith(start) for reason, start in zip(reasons, starts, strict=True)), reasons
    assert results.remarks == {}


def test_lists_and_empty_arrays_of_any_shape_count_as_arrays(folder):
    lists = {key: list(value) for key, value in result([box(CAN)], []).items()}
    results = read_results(result_files(folder(lists, result([], [box(CAN)]))))
    assert not results.skipped and [len(image.predictions.class_ids) for image in results.images] == [0, 1]
    assert results.images[0].predictions.poses.shape == (0, 4, 4) and results.images[1].truths.sizes.shape == (0, 3)


def test_broken_predictions_and_truths_never_match_and_are_counted_by_reason(folder):
    flat, mirrored, unknown = box(CAN), box(CAN, np.diag([1, 1, -1])), box(CAN)
    flat[1][:3, :3], unknown[1][0, 3] = 0, np.nan
    no_score, no_size = box(CAN, score=np.nan), box(CAN, size=(0.2, 0.0, 0.2))
    images = [result([box(CAN)], [bad]) for bad in (flat, mirrored, unknown, no_size)]
    images += [result([flat], [box(CAN)]), result([box(CAN)], [no_score]), result([box(CAN), box(0)], [box(9)])]
    results = read_results(result_files(folder(*images)))
    assert results.remarks == {
        "ground truth: class is none of the six, left out": 1,
        "ground truth: pose has a determinant <= 0, matches nothing": 1,
        "prediction: class is none of the six, left out": 1,
        "prediction: pose has a determinant <= 0, matches nothing": 2,
        "prediction: pose is not finite, matches nothing": 1,
        "prediction: score is NaN, ranked last": 1,
        "prediction: size is not positive, matches nothing": 1,
    }
    precision = evaluate(results.images)
    report = precision.as_json()
    assert report["instances"]["can"] == 7 and report["predictions"]["can"] == 6
    # of seven objects one is found, by the prediction that ranks last of six
    assert report["pose_ungated"]["can"]["10deg_10cm"] == report["iou"]["can"]["25"] == pytest.approx(1 / 7 / 6)
    assert report["pose"]["can"]["5deg_2cm"] == 1 and precision.iou[-1, 0] == pytest.approx(1 / 7 / 6)


def test_without_handle_visibility_all_handles_count_as_visible_and_that_is_said(folder):
    data = result([box(MUG, handle=0)], [box(MUG, turned("y", 90))])
    del data["gt_handle_visibility"]
    results = read_results(result_files(folder(data)))
    assert results.remarks == {"image: no gt_handle_visibility, all handles taken as visible": 1}
    assert evaluate(results.images).as_json()["pose"]["mug"]["10deg_10cm"] == 0


def test_the_published_name_of_handle_visibility_is_read_too(folder):
    data = result([box(MUG, handle=0)], [box(MUG, turned("y", 90))])
    data["handle_visibility"] = data.pop("gt_handle_visibility")
    results = read_results(result_files(folder(data)))
    assert results.remarks == {} and results.images[0].handle_visible.tolist() == [False]
    assert evaluate(results.images).as_json()["pose"]["mug"]["10deg_10cm"] == 1


def test_a_list_of_images_in_one_file_scores_as_a_file_for_each(clipose, folder, tmp_path):
    images = [result(*image) for image in random_images(4, 12)]
    together = tmp_path / "all.pkl"
    together.write_bytes(pickle.dumps(images))
    one, each = (json.loads(clipose("evaluate", "--results", path, "--json")) for path in (together, folder(*images)))
    assert one == each and one["images"] == 12


def test_a_broken_image_of_a_list_is_skipped_by_its_index(folder):
    good = result([box(CAN)], [box(CAN)])
    results = read_results(result_files(folder([good, 7, {**good, "pred_RTs": np.eye(3)}, good])))
    assert [image.name for image in results.images] == [f"results_test_scene_1_0000.pkl[{i}]" for i in (0, 3)]
    assert results.skipped == {
        "results_test_scene_1_0000.pkl[1]": "result: expected a dictionary or a list of them, got int",
        "results_test_scene_1_0000.pkl[2]": "pred_RTs: expected (1, 4, 4), got (3, 3)",
    }


def test_the_plot_is_refused_before_the_evaluation_where_it_cannot_be_written(clipose, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit, match="plot .*: expected a name that ends in one of .*png"):
        clipose("evaluate", "--results", tmp_path, "--plot", tmp_path / "plot.abc")
    with pytest.raises(SystemExit, match="--plot: expected a file to write, got the folder"):
        clipose("evaluate", "--results", tmp_path, "--plot", tmp_path)


def test_evaluate_prints_what_the_architecture_promises(clipose, folder):
    path = folder(*(result(*image) for image in random_images(4, 40)), b"no pickle")
    first, second = (clipose("evaluate", "--results", path, "--iou", "original", "--json") for _ in range(2))
    assert first == second
    report = json.loads(first)
    for part, names in (("iou", ["25", "50", "75"]), ("pose", POSE_NAMES), ("pose_ungated", POSE_NAMES)):
        assert list(report[part]) == [*CATEGORIES, "mean"]
        assert all(
            list(row) == names and all(0 <= value <= 1 for value in row.values()) for row in report[part].values()
        )
    assert report["images"] == 40 and list(report["skipped"]) == ["results_test_scene_1_0040.pkl"]
    assert report["protocol"] == {"iou": "original", "mugs": "published", "recentre_mugs": False}
    assert report["pose_gate"] == {"iou": "original", "above": 0.1}
    table = clipose("evaluate", "--results", path, "--mugs", "full", "--recentre-mugs")
    words = " ".join(table.split())
    assert (
        "40 images" in words
        and "1 skipped" in words
        and "IoU: catre" in words
        and "pose of what matches at IoU 0.1 (catre), misses left out" in words
        and "always by their whole rotation, re-centred" in words
    )
    assert (
        "ungated" in words
        and "pose is not finite, matches nothing" in words
        and "skipped results_test_scene_1_0040.pkl" in words
    )


POSE_NAMES = ["5deg_2cm", "5deg_5cm", "10deg_2cm", "10deg_5cm", "10deg_10cm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--results", "{0}"), "results: expected a folder with *.pkl files, or one such file, got"),
        (("--results", "{0}", "--poses", "p.json"), "or --results (and --plot), got --poses --results"),
        (("--results", "{0}", "--either-end", "can"), "or --results (and --plot), got --results --either-end"),
        (
            ("--poses", "p.json"),
            "evaluate: expected --poses with --truth (and --either-end), --segments with --truth, or --results",
        ),
        ((), "got none"),
    ],
)
def test_wrong_arguments_end_in_one_line(clipose, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        clipose("evaluate", *(argument.format(tmp_path) for argument in arguments))
    assert message in str(stopped.value)


def test_a_folder_without_readable_results_or_without_objects_is_refused(clipose, folder):
    for content, message in (
        (b"?", "got 1 that are not; results_test_scene_1_0000.pkl"),
        (result([], [box(CAN)]), "expected ground truths"),
    ):
        with pytest.raises(SystemExit) as stopped:
            clipose("evaluate", "--results", folder(content))
        assert message in str(stopped.value)


def test_the_plot_is_written_or_says_what_it_needs(clipose, folder, tmp_path, monkeypatch):
    path = folder(result([box(CAN)], [box(CAN)]))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(SystemExit, match="matplotlib to be installed, got none; pip install matplotlib"):
            clipose("evaluate", "--results", path, "--plot", tmp_path / "plot.png")
    pytest.importorskip("matplotlib")
    clipose("evaluate", "--results", path, "--plot", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
