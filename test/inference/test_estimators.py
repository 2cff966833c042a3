"""The door to the estimators: the card chooses, several share the objects, and each gets what it needs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros import estimators
from clipose_ros.bench.latency import TABLE_CENTRE, TABLE_NORMAL, spheres_on_table
from clipose_ros.core.resting import Rest
from clipose_ros.core.support import SupportSettings
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, Observation, PoseEstimate, Rejection
from clipose_ros.estimators.cleanpose import CleanPose
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.estimators.estimator import Needs
from clipose_ros.estimators.router import Router
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.inference.card import find_model
from clipose_ros.pipeline import Pipeline
from clipose_ros.tracking.tracker import Tracker


class Witness:
    """Answers some names with the middle of the points, and keeps what it saw."""

    def __init__(self, name, names, needs=Needs()):
        self.name, self.names, self.needs, self.seen, self.warm = name, names, needs, [], 0

    def symmetry(self, name):
        return Symmetry.Y if name == "cup" else Symmetry.NONE

    def rests(self, name):
        return (Rest.Y,)

    def diagonal_m(self, name):
        return 0.2

    def facts(self):
        return {"model": self.name, "provider": "cpu"}

    def warm_up(self):
        self.warm += 1

    def estimate(self, observations, stopwatch=None):
        self.seen.append(list(observations))
        return [
            PoseEstimate(seen.name, 0.5, np.eye(3), seen.points.sum(axis=0) / max(len(seen.points), 1), np.full(3, 0.1))
            for seen in observations
        ]


def observation(name):
    return Observation(np.ones((50, 3), np.float32), name)


def test_the_card_chooses_the_estimator(write_model, tmp_path):
    assert isinstance(estimators.load("tiny", write_model().parent), Clipose)
    with pytest.raises(ValueError, match="estimator: expected one of cleanpose, clipose, gspose, got oracle"):
        estimators.load(str(write_model(estimator="oracle")))
    with pytest.raises(ValueError, match="models: expected at least one name or path, got none"):
        estimators.load_all([])


def test_a_segmenter_is_no_model_that_estimates_and_is_not_offered_as_one(write_model, write_segmenter):
    models = write_model().parent
    write_segmenter()
    for model in ("segmenter-depth", f"{models}/segmenter-depth"):
        refused = (
            rf"model: expected one that estimates poses \(tiny\), got {model}, a segmenter; give it by --segmenter"
        )
        with pytest.raises(ValueError, match=refused):
            estimators.load(model, models)
    with pytest.raises(ValueError, match="model: expected one of tiny in"):
        estimators.load("huge", models)
    with pytest.raises(ValueError, match="model: expected one of segmenter-depth in .*, got huge"):
        find_model("huge", models, segmenters=True)
    (models / "broken").mkdir()
    (models / "broken" / "card.yaml").write_text("nonsense")  # its own error is told when it is asked for
    with pytest.raises(ValueError, match="model: expected one of broken, tiny in"):
        estimators.load("huge", models)


def test_a_model_of_cleanpose_answers_as_its_network_says_and_works_beside_others(write_model):
    """Its networks have CLIPose's interface: the same one gives the same poses under either name."""
    folders = [str(write_model(name, estimator=name)) for name in ("cleanpose", "clipose")]
    own, other = (estimators.load(folder) for folder in folders)
    assert isinstance(own, CleanPose) and own.needs == other.needs
    points = np.random.default_rng(0).normal((0.1, 0.0, 0.9), 0.03, (500, 3)).astype(np.float32)
    seen = [Observation(points, "mug"), Observation(points[:10], "can"), Observation(points, "spoon")]
    for got, expected in zip(own.estimate(seen), other.estimate(seen), strict=True):
        assert type(got) is type(expected)
        if isinstance(got, PoseEstimate):
            assert got.rotation.tobytes() == expected.rotation.tobytes() and got.score == expected.score
        else:
            assert got == expected
    assert estimators.load_all(folders).names == own.names


@pytest.mark.parametrize(("model", "seen"), [("cleanpose-lite", False), ("cleanpose-rgbd", True)])
def test_the_shipped_models_of_cleanpose_find_the_objects_of_the_demo(model, seen):
    root = Path(__file__).resolve().parents[2]
    estimator = estimators.load(model, root / "models")
    assert estimator.needs.colour == seen
    pipeline = Pipeline(estimator)
    frame, detections = NocsFolder(root / "launch" / "demo").read("0000")
    truth = {one["instance"]: one for one in json.loads((root / "launch/demo/truth.json").read_text())[0]["instances"]}
    results = list(pipeline.process(frame, detections).results)
    assert len(results) == len(truth) == 6
    for instance, pose in results:
        right = truth[int(instance.id)]
        assert np.linalg.norm(pose.translation - right["t"]) < 0.03, instance
        assert np.array(right["R"])[:, 1] @ pose.rotation[:, 1] > np.cos(np.radians(10)), instance


def test_one_model_is_its_own_estimator_and_several_are_routed(write_model, caplog):
    folder = str(write_model())
    assert isinstance(estimators.load_all([folder]), Clipose)
    both = estimators.load_all([folder, f"{folder}/"])
    assert isinstance(both, Router) and both.names == estimators.load(folder).names
    assert "is never asked: those before it answer all its names" in caplog.text
    with pytest.raises(ValueError, match="models: expected each once, got"):
        estimators.load_all([folder, folder])


def test_each_object_goes_to_the_first_that_answers_its_name_and_keeps_its_place():
    first, second = Witness("first", ("mug", "can")), Witness("second", ("can", "cup"))
    router = Router([first, second])
    results = router.estimate([observation(name) for name in ("cup", "mug", "spoon", "can", "mug")])
    assert [result.category for result in results] == ["cup", "mug", "spoon", "can", "mug"]
    assert [seen.name for seen in first.seen[0]] == ["mug", "can", "mug"]  # one call for all of them
    assert [seen.name for seen in second.seen[0]] == ["cup"]
    assert results[2] == Rejection("spoon", "category: expected one of mug, can, cup, got spoon")
    assert router.estimate([]) == [] and len(first.seen) == 1


def test_a_router_says_what_its_estimators_say():
    first, second = Witness("first", ("mug",), Needs(pixels=True)), Witness("second", ("cup",), Needs(colour=True))
    router = Router([first, second])
    assert router.names == ("mug", "cup") and router.needs == Needs(pixels=True, colour=True)
    assert router.facts() == {"model": "first, second", "provider": "cpu"}
    assert [router.symmetry(name) for name in ("mug", "cup", "spoon")] == [Symmetry.NONE, Symmetry.Y, Symmetry.NONE]
    router.warm_up()
    assert (first.warm, second.warm) == (1, 1)
    second.names = ("cup", "bunny")  # learned while it runs
    assert router.names == ("mug", "cup", "bunny") and isinstance(
        router.estimate([observation("bunny")])[0], PoseEstimate
    )


def test_an_estimator_gets_what_it_needs_and_nothing_else():
    frame, detections = spheres_on_table(2, ["mug", "can"])
    colour = np.random.default_rng(0).integers(0, 256, (*frame.depth.shape, 3), dtype=np.uint8)
    frame = replace(frame, colour=colour)
    plain, greedy = (Witness("w", ("mug", "can"), needs) for needs in (Needs(), Needs(True, True, True)))
    for witness in (plain, greedy):
        Pipeline(witness).process(frame, detections)
    for seen in plain.seen[0]:
        assert seen.pixels is None and seen.colour is None and seen.prior is None
    for i, seen in enumerate(greedy.seen[0]):
        u, v = seen.pixels.T
        assert detections.mask(i)[v, u].all()
        np.testing.assert_allclose(seen.points[:, 2], frame.depth[v, u] / 1000, rtol=1e-6)
        crop = seen.colour
        height, width = crop.pixels.shape[:2]
        assert height == width and np.shares_memory(crop.pixels, colour)
        assert (
            crop.left <= u.min() and u.max() < crop.left + width and crop.top <= v.min() and v.max() < crop.top + height
        )
        np.testing.assert_array_equal(crop.pixels[v - crop.top, u - crop.left], colour[v, u])
        assert seen.prior is None  # no tracker


def test_a_crop_ends_with_the_image_and_a_frame_without_colour_or_points_has_none():
    frame, _ = spheres_on_table(1, ["mug"])
    masks = np.zeros((2, *frame.depth.shape), bool)
    masks[0, 400:, :90] = True
    found = Detections((Instance(1, "mug"), Instance(2, "mug")), masks)
    witness = Witness("w", ("mug",), Needs(colour=True))
    Pipeline(witness).process(frame, found)
    assert [seen.colour for seen in witness.seen.pop()] == [None, None]
    Pipeline(witness).process(replace(frame, colour=np.zeros((*frame.depth.shape, 3), np.uint8)), found)
    corner, nothing = witness.seen.pop()
    assert (corner.colour.left, corner.colour.top + len(corner.colour.pixels)) == (0, 480) and nothing.colour is None


@pytest.mark.parametrize("rows", [slice(0, 60), slice(420, 480)])
@pytest.mark.parametrize("columns", [slice(0, 40), slice(600, 640)])
def test_a_crop_in_a_corner_of_the_image_is_square_too(rows, columns):
    frame, _ = spheres_on_table(1, ["mug"])
    masks = np.zeros((1, *frame.depth.shape), bool)
    masks[0, rows, columns] = True
    witness = Witness("w", ("mug",), Needs(colour=True))
    plain = replace(frame, depth=np.full_like(frame.depth, 900), colour=np.zeros((*frame.depth.shape, 3), np.uint8))
    Pipeline(witness).process(plain, Detections((Instance(1, "mug"),), masks))
    ((seen,),) = witness.seen
    assert seen.colour.pixels.shape == (78, 78, 3)
    assert (seen.colour.top == 0) == (rows.start == 0) and (seen.colour.left == 0) == (columns.start == 0)


def test_with_a_tracker_an_estimator_that_asks_for_it_gets_the_predicted_pose():
    frame, detections = spheres_on_table(2, ["mug", "can"])
    witness = Witness("w", ("mug", "can"), Needs(prior=True))
    pipeline = Pipeline(witness, tracker=Tracker())
    first = pipeline.process(frame, detections)
    swapped = Detections(detections.instances[::-1], detections.masks)
    pipeline.process(replace(frame, stamp_ns=33_000_000), swapped)
    before, after = witness.seen
    assert [seen.prior for seen in before] == [None, None]
    poses = {pose.category: pose for _, pose in first.results}
    for seen in after:
        assert (seen.prior.category, seen.prior.track) == (seen.name, poses[seen.name].track)
        np.testing.assert_allclose(seen.prior.translation, poses[seen.name].translation, atol=1e-6)


class Tilted(Witness):
    """Spheres that stand askew by 10 degrees, and 5 mm too high."""

    def estimate(self, observations, stopwatch=None):
        x = np.array([1.0, 0.0, 0.0])
        upright = np.stack([x, TABLE_NORMAL, np.cross(x, TABLE_NORMAL)], axis=1)
        askew = Rotation.from_euler("x", 10, degrees=True).as_matrix() @ upright
        centres = [TABLE_CENTRE + 0.055 * TABLE_NORMAL + np.array([shift, 0, 0]) for shift in (-0.075, 0.075)]
        return [
            PoseEstimate(seen.name, 0.5, askew, centre, np.full(3, 0.1)) for seen, centre in zip(observations, centres)
        ]


def test_poses_are_set_onto_the_table_where_that_is_wanted_and_their_estimator_knows_how_they_rest():
    scene = spheres_on_table(2, ["mug", "cup"])
    plain = Pipeline(Tilted("t", ("mug", "cup"))).process(*scene)
    rested = Pipeline(Tilted("t", ("mug", "cup")), support=SupportSettings()).process(*scene)
    assert "support" not in plain.stages_ms and "support" in rested.stages_ms
    assert (plain.at_rest, rested.at_rest) == (None, 2)
    for (_, before), (_, after) in zip(plain.results, rested.results, strict=True):
        assert before.rotation[:, 1] @ TABLE_NORMAL < 0.99 and after.rotation[:, 1] @ TABLE_NORMAL > 0.99999
        underside = (after.translation - TABLE_CENTRE) @ TABLE_NORMAL - after.size[1] / 2
        assert underside == pytest.approx(0, abs=1e-3)
    unknown = Tilted("t", ("mug", "cup"))
    unknown.rests = lambda name: ()
    unchanged = Pipeline(unknown, support=SupportSettings()).process(*scene)
    assert unchanged.at_rest == 0
    for (_, before), (_, after) in zip(plain.results, unchanged.results, strict=True):
        np.testing.assert_array_equal(before.rotation, after.rotation)


def test_an_estimator_that_asks_for_it_is_told_the_surface_of_each_object():
    frame, detections = spheres_on_table(2, ["mug", "cup"])
    held = frame.depth.copy()
    held[detections.masks == 2] -= 150  # the second is 15 cm nearer: above the table
    asking = Witness("a", ("mug", "cup"), Needs(surface=True))
    Pipeline(asking, support=SupportSettings()).process(replace(frame, depth=held), detections)
    standing, lifted = (observation.surface for observation in asking.seen[0])
    np.testing.assert_allclose(standing[:3], TABLE_NORMAL, atol=0.005)
    assert standing[3] == pytest.approx(TABLE_NORMAL @ TABLE_CENTRE, abs=2e-3)
    np.testing.assert_allclose(lifted[:3], TABLE_NORMAL, atol=0.005)  # up is known all the same
    assert np.isnan(lifted[3])
    Pipeline(asking).process(frame, detections)
    assert [observation.surface for observation in asking.seen[1]] == [None, None]


def test_gravity_decides_on_what_a_surface_is():
    """A wall is none, and up is known without any."""
    frame, detections = spheres_on_table(2, ["mug", "cup"])
    asking = Witness("a", ("mug", "cup"), Needs(surface=True))
    sideways = np.cross(TABLE_NORMAL, [1.0, 0.0, 0.0])
    pipeline = Pipeline(asking, support=SupportSettings())
    for up in (TABLE_NORMAL, sideways):
        pipeline.process(frame, detections, up=up)
    with_table, with_wall = asking.seen
    assert all(np.isfinite(seen.surface).all() for seen in with_table)
    for seen in with_wall:
        np.testing.assert_allclose(seen.surface, [*sideways, np.nan])


def test_up_may_have_any_length_and_must_be_a_direction():
    frame, detections = spheres_on_table(2, ["mug", "cup"])
    asking = Witness("a", ("mug", "cup"), Needs(surface=True))
    pipeline = Pipeline(asking, support=SupportSettings())
    pipeline.process(frame, detections, up=TABLE_NORMAL)
    pipeline.process(frame, detections, up=9.81 * TABLE_NORMAL.astype(np.float32))
    for one, other in zip(*asking.seen, strict=True):
        np.testing.assert_allclose(other.surface, one.surface, atol=1e-6)
    for up in ([0, 0, 0], [np.nan, 0, 1], [0, np.inf, 0], [0, 1], [[0, 1, 0]]):
        with pytest.raises(ValueError, match="up: expected three finite numbers that are not all 0, got"):
            pipeline.process(frame, detections, up=np.array(up, float))


@pytest.mark.parametrize(("objects", "told"), [(1, False), (4, True)])
def test_a_wall_does_not_pass_for_a_table_unless_many_objects_touch_it(objects, told):
    """A plane that faces the camera: a wall seen from the front, or a table from straight above."""
    rows, columns = np.mgrid[:480, :640]
    masks, depth = np.zeros((480, 640), np.uint8), np.full((480, 640), 1000, np.uint16)
    for i in range(objects):
        squared = (rows - 240) ** 2 + (columns - 110 - 140 * i) ** 2
        disc = squared < 50**2
        masks[disc], depth[disc] = i + 1, 940 + squared[disc] // 50
    frame = Frame(0, "camera", depth, Intrinsics(600.0, 600.0, 319.5, 239.5))
    asking = Witness("a", ("mug",), Needs(surface=True))
    instances = tuple(Instance(i + 1, "mug") for i in range(objects))
    Pipeline(asking, support=SupportSettings()).process(frame, Detections(instances, masks))
    assert all((seen.surface is not None) == told for seen in asking.seen[0])
    Pipeline(asking, support=SupportSettings()).process(frame, Detections(instances, masks), up=np.array([0, 0, -1.0]))
    assert all(np.isfinite(seen.surface).all() for seen in asking.seen[1])  # gravity knows


def test_surfaces_are_sought_only_for_poses_that_may_rest_on_them(monkeypatch):
    sought = []
    monkeypatch.setattr("clipose_ros.pipeline.find_surfaces", lambda *frame: sought.append(frame) or [])
    scene = spheres_on_table(2, ["mug", "cup"])
    pipeline = Pipeline(Tilted("t", ("mug", "cup")), support=SupportSettings())
    nothing = Detections((), np.zeros_like(scene[1].masks))
    pipeline.process(scene[0], nothing)
    pipeline.estimator.rests = lambda name: ()
    pipeline.process(*scene)
    assert not sought
    pipeline.estimator.rests = lambda name: (Rest.Y,)
    pipeline.process(*scene)
    assert len(sought) == 1
