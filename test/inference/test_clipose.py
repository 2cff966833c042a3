import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest

from clipose_ros import estimators
from clipose_ros.core.calibration import Calibration
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Observation, PoseEstimate, Rejection
from clipose_ros.core.uncertainty import FREE_SPIN, POSITION_SHARE, Uncertainty, tilt_variance, turn_variance
from clipose_ros.estimators.clipose import NETWORK, CliposeSettings
from clipose_ros.estimators.estimator import Needs
from clipose_ros.inference.card import read_card, write_card
from clipose_ros.inference.session import SessionConfig


@pytest.fixture
def load(write_model):
    def load(seed=0, **network):
        return estimators.load(str(write_model(**network)), seed=seed)

    return load


def cloud(count, seed=0, centre=(0.0, 0.0, 1.0), radius=0.05):
    return (np.random.default_rng(seed).uniform(-radius, radius, (count, 3)) + centre).astype(np.float32)


def test_pose_on_the_optical_axis_is_what_the_network_says(load):
    """On the axis the view frame is the camera's: x right, y axis up (-y of the camera)."""
    points = cloud(5000)
    (pose,) = load().estimate([Observation(points, "mug")])
    np.testing.assert_allclose(pose.rotation, np.diag([1, -1, -1]), atol=5e-3)
    np.testing.assert_allclose(pose.translation, points.mean(axis=0), atol=5e-3)
    np.testing.assert_allclose(pose.size, [0.146, 0.083, 0.114], atol=1e-6)
    assert pose.category == "mug" and pose.score == pytest.approx(np.sqrt(0.81 * 0.25))


def test_off_the_axis_the_pose_turns_with_the_line_of_sight(load):
    (pose,) = load().estimate([Observation(cloud(5000, centre=(1.0, 0.0, 1.0)), "mug")])
    s = np.sqrt(0.5)
    np.testing.assert_allclose(pose.rotation, [[s, 0, -s], [0, -1, 0], [-s, 0, -s]], atol=5e-3)
    np.testing.assert_allclose(pose.translation, [1, 0, 1], atol=5e-3)


def test_axis_symmetric_objects_get_the_canonical_rotation_and_the_score_of_y(load):
    # x parallel to y does not matter here
    (pose,) = load(x_axis=(0.0, -1.0, 0.0)).estimate([Observation(cloud(2000), "can")])
    np.testing.assert_allclose(pose.rotation, np.diag([1, -1, -1]), atol=5e-3)
    assert pose.score == pytest.approx(0.81)


def test_rejections_keep_order_and_length(load):
    broken = cloud(100)
    broken[3, 1] = np.nan
    observations = [
        Observation(cloud(500), "mug"),
        Observation(cloud(500), "banana"),
        Observation(np.zeros((0, 3), np.float32), "can"),
        Observation(cloud(12), "bowl"),
        Observation(broken, "camera"),
        Observation(cloud(500, centre=(0, 0, 0)), "laptop"),
        Observation(cloud(32), "bottle"),
    ]
    results = load().estimate(observations)
    assert [type(result) for result in results] == [PoseEstimate, *[Rejection] * 5, PoseEstimate]
    assert [result.category for result in results] == [observation.name for observation in observations]
    assert [result.reason for result in results[1:4]] == [
        "category: expected one of bottle, bowl, camera, can, laptop, mug, got banana",
        "points: expected at least 32, got 0",
        "points: expected at least 32, got 12",
    ]
    assert results[4].reason == "points: expected finite coordinates, got 1 without"
    assert results[5].reason.startswith("points: expected z > 0")


def test_no_objects_and_no_hope_need_no_network(load):
    estimator = load()
    assert estimator.estimate([]) == []
    assert estimator.estimate([Observation(cloud(3), "mug")]) == [
        Rejection("mug", "points: expected at least 32, got 3")
    ]


def test_background_behind_the_object_moves_nothing(load):
    points = cloud(3000)
    leaked = np.concatenate([points, cloud(400, seed=1, centre=(0, 0, 1.5))])
    clean, with_leak = load().estimate([Observation(points, "mug"), Observation(leaked, "mug")])
    np.testing.assert_allclose(with_leak.translation, clean.translation, atol=5e-3)


def test_an_object_gets_the_same_pose_alone_and_in_any_company(load):
    estimator = load()
    observation = Observation(cloud(3000, seed=5), "mug")
    others = [
        Observation(cloud(700, seed=6), "laptop"),
        Observation(cloud(5), "can"),
        Observation(cloud(2000, seed=7), "mug"),
    ]
    (alone,) = estimator.estimate([observation])
    *_, in_company = estimator.estimate([*others, observation])
    # Other points would move the mean by 1e-4 m; the batch size may change the last bits of a float32 sum.
    np.testing.assert_allclose(alone.translation, in_company.translation, rtol=0, atol=1e-6)
    np.testing.assert_allclose(alone.rotation, in_company.rotation, rtol=0, atol=1e-6)


def test_two_runs_are_identical_and_the_seed_matters(load):
    observation = Observation(cloud(3000), "mug")
    first, again, other = (load(seed=seed).estimate([observation])[0].translation for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ({"y_axis": (np.nan, 1, 0)}, "finite values"),
        ({"size_factor": np.inf}, "finite values"),
        ({"x_axis": (0.0, 1.0, 0.0)}, "degenerate rotation"),
        ({"confidence": (0.0, 0.0)}, "degenerate rotation"),
        ({"size_factor": -1.0}, "positive extents"),
    ],
)
def test_an_answer_that_is_no_pose_is_a_rejection(load, network, reason):
    (result,) = load(**network).estimate([Observation(cloud(500), "mug")])
    assert isinstance(result, Rejection) and reason in result.reason


def test_several_draws_are_averaged(load):
    """The network of this test answers with the mean of its points: over 16 draws that comes closer to the mean of the
    cloud than over one.
    """
    observation = Observation(cloud(5000), "mug")
    centre = observation.points.mean(axis=0)
    one, many = (
        [load(seed=seed, draws=draws).estimate([observation])[0].translation for seed in range(8)] for draws in (1, 16)
    )
    assert np.abs(np.array(many) - centre).mean() < 0.5 * np.abs(np.array(one) - centre).mean()


def test_a_second_pass_leaves_out_what_lies_outside_the_first_box(load):
    """The network of this test answers with the mean of its points, which a wall behind the object draws back."""
    wall = cloud(1200, seed=1, centre=(0.0, 0.0, 1.14), radius=0.01)
    observation = Observation(np.concatenate([cloud(3000, radius=0.04), wall]), "mug")
    once, twice = (load(passes=passes).estimate([observation])[0].translation[2] - 1 for passes in (1, 2))
    assert once > 0.02 and abs(twice) < 0.1 * once


def test_a_box_that_holds_hardly_a_point_cuts_nothing(load):
    observation = Observation(cloud(3000, radius=0.1), "mug")
    once, twice = (load(passes=passes, size_factor=0.01).estimate([observation])[0].translation for passes in (1, 2))
    np.testing.assert_array_equal(once, twice)


def test_the_score_is_what_the_calibration_makes_of_the_confidence(load):
    knots = {"mug": Calibration((0.0, 0.45, 1.0), (0.0, 0.9, 1.0))}  # sqrt(0.81 * 0.25) = 0.45
    mug, can = load(calibration=knots).estimate([Observation(cloud(500), "mug"), Observation(cloud(500), "can")])
    assert mug.score == pytest.approx(0.9)
    assert can.score == pytest.approx(0.81)


@pytest.mark.parametrize("draws", [1, 4])
def test_the_covariance_is_what_both_confidences_stand_for(load, draws):
    mug, can = load(draws=draws).estimate([Observation(cloud(500), "mug"), Observation(cloud(500), "can")])
    about_x, about_y, about_z = np.diag(mug.covariance)[3:]  # y points along the camera's
    assert about_x == pytest.approx(tilt_variance(0.81), rel=0.01) == pytest.approx(about_z, rel=0.01)
    assert about_y == pytest.approx(turn_variance(0.25), rel=0.01)
    np.testing.assert_allclose(np.diag(can.covariance)[3:], [about_x, FREE_SPIN, about_x], rtol=0.01)
    np.testing.assert_allclose(np.diag(mug.covariance)[:3], (POSITION_SHARE * np.linalg.norm(mug.size)) ** 2)


def test_what_was_measured_of_a_category_is_in_its_covariance_and_in_nothing_else(load):
    errors = {"mug": Uncertainty(0.004, tilt=2.0, turn=0.5)}
    observations = [Observation(cloud(500), "mug"), Observation(cloud(500), "can")]
    (mug, can), (measured, same) = load().estimate(observations), load(uncertainty=errors).estimate(observations)
    factors = np.diag(measured.covariance)[3:] / np.diag(mug.covariance)[3:]
    np.testing.assert_allclose(factors, [4, 0.25, 4], rtol=0.01)
    np.testing.assert_allclose(np.diag(measured.covariance)[:3], 0.004**2)
    np.testing.assert_array_equal(can.covariance, same.covariance)
    assert mug.score == measured.score and mug.rotation.tobytes() == measured.rotation.tobytes()


@pytest.fixture
def with_view(write_model):
    """Writes a model of two networks: `pose` has sizes as they are, `view` twice as large; `view` settings as given."""

    def write(ground=True, view_ground=False, **view):
        folder, twice = write_model(ground=ground), write_model("twice", size_factor=2.0, ground=view_ground)
        card, other = read_card(folder), read_card(twice).network(NETWORK)
        (folder / "view.onnx").write_bytes((twice / other.file).read_bytes())
        networks = card.networks | {"view": replace(other, file="view.onnx")}
        write_card(replace(card, networks=networks, settings={**card.settings, "view": view}), folder)
        return folder

    return write


def test_objects_without_a_known_surface_go_to_the_network_that_knows_none(with_view):
    estimator = estimators.load(str(with_view(draws=3)))
    up, points = np.array([0.0, -1.0, 0.0, np.nan]), cloud(500)
    clouds = [points, points, np.zeros((0, 3), np.float32), points]
    seen = [Observation(one, "mug", surface=up if i == 1 else None) for i, one in enumerate(clouds)]
    first, second, third, fourth = estimator.estimate(seen)
    (alone,) = estimator.estimate(seen[1:2])
    mug = np.array([0.146, 0.083, 0.114])
    np.testing.assert_allclose([first.size, second.size, fourth.size], [2 * mug, mug, 2 * mug], atol=1e-6)
    assert isinstance(third, Rejection) and alone.rotation.tobytes() == second.rotation.tobytes()
    assert estimator.needs == Needs(surface=True)
    assert estimator.facts()["view sha256"] != estimator.facts()["model sha256"]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_pose_is_refined_in_its_own_frame(write_model, times):
    """What refines says always the same of the axes: turned by 20 degrees about x, in the frame of the pose so far."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    folder = write_model(ground=True, x_axis=(c, 0.0, s))
    other = write_model("refining", ground=True, y_axis=(0.0, c, s), x_axis=(1.0, 0.0, 0.0))
    card = read_card(folder)
    network = replace(read_card(other).network(NETWORK), file="refine.onnx")
    network = replace(network, inputs={**network.inputs, "ground": ("batch", 9)})
    graph = onnx.load(other / "model.onnx")
    graph.graph.input[2].type.tensor_type.shape.dim[1].dim_value = 9
    (folder / "refine.onnx").write_bytes(graph.SerializeToString())
    digest = hashlib.sha256((folder / "refine.onnx").read_bytes()).hexdigest()
    settings = {**card.settings, "refinements": times}
    networks = {**card.networks, "refine": replace(network, sha256=digest)}
    write_card(replace(card, networks=networks, settings=settings), folder)
    points = cloud(3000, centre=(0.1, 0.0, 1.0))
    seen = [Observation(points, "mug", surface=surface) for surface in (np.array([0, -1.0, 0, np.nan]), None)]
    pose, unknown = estimators.load(str(folder)).estimate(seen)
    angle = np.radians(20 * times)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    write_card(replace(card, networks=networks, settings={**settings, "refinements": 0}), folder)
    before, same = estimators.load(str(folder)).estimate(seen)
    np.testing.assert_allclose(pose.rotation, before.rotation @ tilt, atol=1e-3)
    np.testing.assert_allclose(pose.translation, points.mean(axis=0), atol=5e-3)
    np.testing.assert_array_equal(unknown.rotation, same.rotation)  # no surface is known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ground": False}, "view: card networks: expected ground among the inputs of pose beside a network view, got"),
        ({"view_ground": True}, "view: card networks: expected no ground among the inputs of view, got ground"),
        ({"draws": 0}, "view: settings.draws: expected an integer from 1 to 16, got 0"),
        ({"scale": {}}, "settings.view: expected a mapping of some of draws, passes, calibration, uncertainty, got"),
    ],
)
def test_a_second_network_that_does_not_fit_is_refused(with_view, arguments, message):
    with pytest.raises(ValueError, match=message):
        estimators.load(str(with_view(**arguments)))


def test_a_model_with_another_contract_is_refused(write_model):
    with pytest.raises(ValueError, match="card outputs: expected confidence, offset, size, x_axis, y_axis, got y_axis"):
        estimators.load(str(write_model(outputs={"y_axis": ("batch", 3)})))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": {"mug": 0.2}}, "settings.scale: expected the keys bottle"),
        ({"scale": dict.fromkeys(CATEGORIES, -1.0)}, "settings.scale.bottle: expected a positive length"),
        ({"scale": dict.fromkeys(CATEGORIES, "x")}, "settings.scale.bottle: expected a positive length"),
        ({"scale": 3}, "settings.scale: expected a length for each name, got 3"),
        ({"outlier_radius": 0}, "settings.outlier_radius: expected a positive number, got 0"),
        ({"points": "many"}, "settings.points: expected an integer from 1 to 65536, got many"),
        ({"passes": 9}, "settings.passes: expected an integer from 1 to 4, got 9"),
        ({"draws": 0}, "settings.draws: expected an integer from 1 to 16, got 0"),
        ({"calibration": {"jug": {"confidence": [0], "probability": [1]}}}, "settings.calibration: expected some of"),
        ({"calibration": {"mug": {"confidence": [0.1]}}}, "settings.calibration.mug: expected lists confidence and"),
        ({"uncertainty": 3}, "settings.uncertainty: expected a mapping of names, got 3"),
        ({"uncertainty": {"jug": {"position_m": 0.01}}}, "settings.uncertainty: expected some of bottle.*, got jug"),
        ({"uncertainty": {"mug": {"tilt": 2.0}}}, "settings.uncertainty.mug: expected position_m, tilt and turn, got"),
        ({"uncertainty": {"mug": 0.01}}, "settings.uncertainty.mug: expected position_m, tilt and turn, got 0.01"),
        (
            {"uncertainty": {"mug": {"position_m": 0}}},
            "settings.uncertainty.mug: expected .* between 0 and 1000, got 0",
        ),
        ({"colour": 1}, "settings.keys: expected only scale, .* got colour"),
    ],
)
def test_malformed_settings_are_refused_with_their_key(write_model, settings, message):
    card = read_card(write_model())
    with pytest.raises(ValueError, match=message):
        CliposeSettings.of(replace(card, settings={**card.settings, **settings}))


def test_settings_read_back_as_they_were_written():
    knots = {"mug": Calibration((0.1, 0.9), (0.0, 0.8))}
    errors = {"can": Uncertainty(0.004, 1.2, 1.0)}
    settings = CliposeSettings(
        dict.fromkeys(CATEGORIES, 0.2), 0.8, points=512, draws=2, passes=3, calibration=knots, uncertainty=errors
    )
    assert CliposeSettings(**settings.as_mapping()) == settings


def test_it_says_what_runs_and_what_is_symmetric(write_model):
    estimator = estimators.load(str(write_model()), config=SessionConfig(threads=1))
    facts = estimator.facts()
    assert (facts["model"], facts["provider"], facts["precision"], facts["threads"]) == ("tiny", "cpu", "fp32", 1)
    assert estimator.names == CATEGORIES and estimator.needs == Needs()
    assert (estimator.symmetry("can"), estimator.symmetry("mug")) == (Symmetry.Y, Symmetry.NONE)
