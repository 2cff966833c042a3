"""Other packages' segmentations as instances: what is converted, and how it passes through the adapters over DDS.

yolo_msgs and vision_msgs are not on PyPI: what needs them is skipped where they are not built.
"""

import itertools
import time

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.formats.image_messages import label_view
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.adapters.adapter import AdapterParameters, instances_of, unanswered
from clipose_ros.ros.adapters.label_image import instances_from_label_image
from clipose_ros.ros.adapters.single_mask import (
    SingleMaskParameters,
    instances_from_mask,
    instances_from_mask_and_detections,
)
from clipose_ros.ros.adapters.stamp_pairs import StampPairs
from clipose_ros.ros.adapters.yolo import instances_from_polygons, painted
from clipose_ros.ros.conversions import frame_messages, image_message, stamp_message
from clipose_ros.ros.optional_packages import optional_messages
from clipose_ros.ros.parameters import read_parameters

PATIENCE_S = 30
NAMES = {"cup": "mug"}
STAMPS_NS = itertools.count(time.time_ns(), 100_000_000)


@pytest.fixture
def header():
    """Every test is at another time."""
    return Header(stamp=stamp_message(next(STAMPS_NS)), frame_id="optical")


@pytest.fixture(scope="session")
def vision_msgs():
    return pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not on PyPI")


@pytest.fixture(scope="session")
def yolo_msgs():
    return pytest.importorskip("yolo_msgs.msg", reason="yolo_msgs, of yolo_ros, is not on PyPI")


@pytest.fixture
def polygons(yolo_msgs, header):
    """A yolo_msgs/DetectionArray of (class, score, id, corners [px]) on an image of 60 x 80."""

    def detection(name, score, id, corners):
        points = [yolo_msgs.Point2D(x=float(x), y=float(y)) for x, y in corners]
        return yolo_msgs.Detection(
            class_name=name, score=score, id=id, mask=yolo_msgs.Mask(height=60, width=80, data=points)
        )

    return lambda *rows: yolo_msgs.DetectionArray(header=header, detections=[detection(*row) for row in rows])


@pytest.fixture
def detections(vision_msgs, header):
    """A vision_msgs/Detection2DArray of (id, (class, score), …)."""

    def detection(id, *hypotheses):
        hypotheses = [vision_msgs.ObjectHypothesis(class_id=name, score=score) for name, score in hypotheses]
        return vision_msgs.Detection2D(
            id=id, results=[vision_msgs.ObjectHypothesisWithPose(hypothesis=hypothesis) for hypothesis in hypotheses]
        )

    return lambda *rows: vision_msgs.Detection2DArray(header=header, detections=[detection(*row) for row in rows])


def corners(u, v, width, height):
    """Of the rectangle whose pixels are u <= x < u + width, v <= y < v + height."""
    return [(u, v), (u + width - 1, v), (u + width - 1, v + height - 1), (u, v + height - 1)]


def rectangle(u, v, width, height, label=1):
    labels = np.zeros((60, 80), np.uint8)
    labels[v : v + height, u : u + width] = label
    return labels


# Pairs


def test_partners_meet_in_any_order_and_each_pair_is_handed_out():
    pairs = StampPairs("mask", "detections", capacity=2)
    assert pairs.add("mask", 1, "m1") == [] and pairs.add("mask", 2, "m2") == []
    assert pairs.add("detections", 2, "d2") == [{"mask": "m2", "detections": "d2"}]
    assert pairs.add("detections", 1, "d1") == [{"mask": "m1", "detections": "d1"}]
    assert not pairs.drops


def test_what_never_meets_is_counted():
    pairs = StampPairs("mask", "detections", capacity=2)
    for stamp in (5, 6, 1, 2):  # a clock that went back
        assert pairs.add("mask", stamp, stamp) == []
    assert pairs.drops == {"mask without detections": 2}
    assert pairs.add("detections", 5, "late") == []
    assert pairs.add("mask", 2, "again") == []
    assert pairs.drops == {"mask without detections": 2, "mask twice": 1}
    assert pairs.add("detections", 2, "d2") == [{"mask": "again", "detections": "d2"}]


def test_near_partners_meet_within_the_tolerance_and_none_twice():
    pairs = StampPairs("mask", "detections", capacity=5, tolerance_ns=2)
    assert pairs.add("mask", 100, "m") == [] and pairs.add("detections", 103, "too far") == []
    assert pairs.add("detections", 101, "d") == [{"mask": "m", "detections": "d"}]
    assert pairs.add("mask", 100, "m, again") == [] and pairs.add("detections", 101, "d, again") == []
    assert pairs.drops == {"mask twice": 1, "detections twice": 1}
    assert pairs.add("mask", 104, "next") == [{"mask": "next", "detections": "too far"}]


@given(
    st.lists(st.tuples(st.sampled_from(["mask", "detections"]), st.integers(0, 60)), max_size=60),
    st.integers(1, 5),
    st.sampled_from([0, 3, 100]),
)
def test_every_message_is_handed_out_once_or_counted_or_waits(messages, capacity, tolerance):
    pairs, handed = StampPairs("mask", "detections", capacity, tolerance), []
    for number, (kind, stamp) in enumerate(messages):
        for pair in pairs.add(kind, stamp, (stamp, number)):
            assert abs(pair["mask"][0] - pair["detections"][0]) <= tolerance
            handed += pair.values()
    assert len(set(handed)) == len(handed)
    waiting = sum(len(waits) for waits in pairs._waiting.values())
    assert waiting <= 2 * capacity and len(messages) == len(handed) + pairs.drops.total() + waiting


def test_why_partners_never_meet_is_known():
    pairs = StampPairs("mask", "detections", capacity=5)
    for i in range(20):
        pairs.add("mask", i * 33_000_000, "m")
        pairs.add("detections", i * 33_000_000 + 1_000_000, "d")
    assert "detections and mask differ in their stamps, the nearest by 1 ms (median): set" in pairs.evidence.explain()


# Parameters


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cup",), "classes: expected entries of the form from:to, got 'cup'"),
        (("",), "classes: expected entries of the form from:to, got ''"),
        ((":mug",), "classes: expected entries of the form from:to, got ':mug'"),
        (("cup:mug", "cup:bowl"), "classes: expected every class once, got 'cup'"),
    ],
)
def test_wrong_class_names_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        AdapterParameters(classes=classes)


def test_class_names_come_from_the_command_line(dds):
    context = rclpy.Context()
    rclpy.init(context=context)
    cli_args = ["--ros-args", "-p", 'classes:=["wine glass:mug", "can:can"]']
    node = rclpy.create_node("adapter", context=context, cli_args=cli_args)
    assert read_parameters(node, AdapterParameters).class_names() == {"wine glass": "mug", "can": "can"}
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("parameters", "unknown"),
    [
        (AdapterParameters(), None),
        (AdapterParameters(classes=()), None),
        (AdapterParameters(classes=("cup:mug", "vase:vase", "41:cup")), "'cup', 'vase'"),
        (SingleMaskParameters(), None),
        (SingleMaskParameters(category="mug"), None),
        (SingleMaskParameters(category="cup"), "'cup'"),
        (SingleMaskParameters(category="mug", classes=("cup:vase",)), None),  # which nobody asks for
    ],
)
def test_categories_that_no_model_here_answers_are_told_with_those_that_are(parameters, unknown):
    text = unanswered(parameters.categories())
    assert (unknown is None) == (text == "")
    if unknown:
        assert text == (
            "categories: expected some of bottle, bowl, camera, can, laptop, mug, which the models here answer, "
            f"got {unknown}: the pose node rejects them, unless one of its models answers them"
        )


def test_where_no_model_is_nothing_is_said_of_categories(monkeypatch, tmp_path):
    monkeypatch.setattr("clipose_ros.ros.adapters.adapter.models_folders", lambda: [tmp_path, tmp_path / "nowhere"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.yaml").write_text("no card")
    assert unanswered(["cup"]) == ""


def test_a_missing_package_and_a_missing_message_are_named():
    with pytest.raises(
        RuntimeError, match="^nowhere_msgs: expected the ROS package, for detections, got none .*ros-.*-nowhere-msgs"
    ):
        optional_messages("nowhere_msgs", "Detections", "detections")
    with pytest.raises(
        RuntimeError, match="^sensor_msgs: expected Nothing with its libraries, for detections, got none"
    ):
        optional_messages("sensor_msgs", "Nothing", "detections")
    assert optional_messages("sensor_msgs", "Image", "images").Image is Image


def test_messages_whose_libraries_do_not_load_are_named(tmp_path, monkeypatch):
    """As of a package that was built for another Python."""
    code = """
class Support(type):
    _TYPE_SUPPORT = None

    @classmethod
    def __import_type_support__(cls):
        from rosidl_generator_py import import_type_support

        import_type_support("bare_msgs")


class Bare(metaclass=Support):
    pass
"""
    (tmp_path / "bare_msgs").mkdir()
    (tmp_path / "bare_msgs" / "__init__.py").touch()
    (tmp_path / "bare_msgs" / "msg.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="^bare_msgs: expected Bare with its libraries, for detections, got none"):
        optional_messages("bare_msgs", "Bare", "detections")


# Polygons


def test_a_polygon_fills_its_pixels_and_the_higher_score_is_on_top():
    polygons = [np.array(corners(*box), np.int32) for box in ((10, 10, 30, 20), (30, 20, 30, 20), (5, 5, 2, 2))]
    labels = painted(polygons, [0.5, 0.9, 0.7], (60, 80))
    expected = rectangle(10, 10, 30, 20)
    expected[20:40, 30:60] = 2
    expected[5:7, 5:7] = 3
    assert np.array_equal(labels, expected)
    # of equals the first
    assert np.array_equal(painted(polygons[:2], [0.9, 0.9], (60, 80))[20:30, 30:40], np.full((10, 10), 1))


def test_many_polygons_need_more_than_a_byte():
    polygons = [np.array(corners(k % 80, k // 80, 1, 1), np.int32) for k in range(300)]
    assert np.array_equal(painted(polygons, [0.5] * 300, (60, 80)).ravel()[:300], np.arange(1, 301))


@pytest.mark.parametrize("shape", [(0, 10), (-1, 10), (10, 1 << 30)])
def test_sizes_of_masks_are_checked_before_memory_is_taken(shape):
    with pytest.raises(ValueError, match="masks: expected sizes from 1 to"):
        painted([np.zeros((0, 2), np.int32)], [0.5], shape)


def test_yolo_polygons_become_the_masks_that_they_outline(polygons, header):
    """A mask's outline, as ultralytics finds it, gives the mask again."""
    mask = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 15, 1, cv2.FILLED)
    (outline,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    message = instances_from_polygons(
        polygons(("cup", 0.5, "7", outline[:, 0]), ("bowl", 0.25, "", corners(0, 0, 80, 10))), NAMES
    )
    assert message.header == header and message.label_image.header == header
    assert message.instances == [
        ObjectInstance(label=1, category="mug", score=0.5, id="7"),
        ObjectInstance(label=2, category="bowl", score=0.25),
    ]
    labels = label_view(message.label_image)
    assert np.array_equal(labels == 1, mask) and np.array_equal(labels == 2, rectangle(0, 0, 80, 10))


def test_a_yolo_detection_without_mask_stays_without_pixels(polygons):
    message = instances_from_polygons(polygons(("cup", 0.5, "a", []), ("cup", 0.5, "b", corners(0, 0, 5, 5))), NAMES)
    assert [instance.label for instance in message.instances] == [1, 2]
    assert np.array_equal(np.unique(label_view(message.label_image)), [0, 2])


def test_no_yolo_detections_are_no_instances(polygons, header):
    assert instances_from_polygons(polygons(), NAMES) == InstanceArray(header=header)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e9])
def test_a_yolo_detection_with_corners_that_are_no_pixels_costs_itself_only(polygons, wrong):
    rows = ("cup", 0.9, "a", [(0, 0), (wrong, 5), (5, 5)]), ("cup", 0.5, "b", corners(0, 0, 5, 5))
    message = instances_from_polygons(polygons(*rows), NAMES)
    assert [instance.id for instance in message.instances] == ["a", "b"]
    assert np.array_equal(label_view(message.label_image), rectangle(0, 0, 5, 5, label=2))


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1e300])
def test_a_yolo_detection_with_a_score_that_is_none_is_below_the_others(polygons, score):
    message = instances_from_polygons(
        polygons(("cup", score, "a", corners(0, 0, 9, 9)), ("cup", 0.5, "b", corners(0, 0, 5, 5))), NAMES
    )
    assert not np.isfinite(message.instances[0].score) and message.instances[1].score == 0.5
    assert label_view(message.label_image)[0, 0] == 2


def test_yolo_detections_without_any_mask_are_refused(polygons):
    with pytest.raises(
        ValueError, match=r"masks: expected polygons of a segmentation model, all for one size of image, got sizes \[\]"
    ):
        instances_from_polygons(polygons(("cup", 0.5, "", [])), NAMES)


# Single masks


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_what_is_not_0_in_a_mask_is_the_object(header, encoding):
    mask = image_message(rectangle(5, 5, 10, 10, label=255), encoding, header)
    message = instances_from_mask(mask, ObjectInstance(label=1, category="mug", score=1.0))
    assert message.header == header and message.instances == [ObjectInstance(label=1, category="mug", score=1.0)]
    assert np.array_equal(label_view(message.label_image), rectangle(5, 5, 10, 10))


def test_the_most_probable_detection_names_the_mask(header, detections):
    mask = image_message(rectangle(5, 5, 10, 10), "mono8", header)
    rows = ("a", ("bowl", 0.25)), ("b", ("cup", 0.75), ("bowl", 0.25))
    message = instances_from_mask_and_detections(mask, detections(*rows), NAMES)
    assert message.instances == [ObjectInstance(label=1, category="mug", score=0.75, id="b")]
    assert np.array_equal(label_view(message.label_image), rectangle(5, 5, 10, 10))
    assert instances_from_mask_and_detections(mask, detections(), NAMES) == InstanceArray(header=header)


# Label images


def test_the_kth_detection_has_the_label_k(header, detections):
    labels = image_message(rectangle(5, 5, 10, 10, label=2), "mono8", header)
    message = instances_from_label_image(labels, detections(("a", ("bowl", 0.25)), ("b", ("cup", 0.75))), NAMES)
    assert message.header == header and message.label_image == labels
    assert [(i.label, i.category, i.score, i.id) for i in message.instances] == [
        (1, "bowl", 0.25, "a"),
        (2, "mug", 0.75, "b"),
    ]


def test_a_detection_without_a_class_stays(detections):
    (instance,) = instances_of(detections(("a",)).detections, NAMES)
    assert (instance.label, instance.category, instance.score, instance.id) == (1, "", 0.0, "a")


def test_signed_labels_become_unsigned_ones(header, detections):
    """JSK's label images are 32SC1."""
    labels = np.full((60, 80), -1, np.int32)
    labels[5:10, 5:10] = 1
    message = instances_from_label_image(
        image_message(labels, "32SC1", header), detections(("a", ("cup", 0.75))), NAMES
    )
    assert np.array_equal(label_view(message.label_image), labels.clip(0))
    labels[0, 0] = 70000
    with pytest.raises(ValueError, match="label_image: expected labels of at most 65535, got 70000"):
        instances_from_label_image(image_message(labels, "32SC1", header), detections(), NAMES)
    with pytest.raises(ValueError, match="label_image encoding: expected mono8 or .* got 'rgb8'"):
        instances_from_label_image(image_message(np.zeros((60, 80, 3), np.uint8), "rgb8", header), detections(), NAMES)


# Over DDS


class Segmenter:
    """Publishes what an adapter subscribes to, and keeps what it says."""

    def __init__(self, client, wait_until, **inputs):
        self.node, self.wait_until = client.node, wait_until
        self.publishers = {topic: self.node.create_publisher(kind, topic, 10) for topic, kind in inputs.items()}
        self.instances, self.diagnostics, self.messages = [], {}, {}
        self.node.create_subscription(InstanceArray, "instances", self.instances.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message):
        self.messages[message.status[0].name] = message.status[0].message
        self.diagnostics[message.status[0].name] = {value.key: value.value for value in message.status[0].values}

    def connect(self):
        self.wait_until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))
        return self

    def ask(self, **messages):
        """The instances with the stamp of the messages.

        Best effort may lose a message, so they are sent again until the answer is there.
        """
        stamp = next(iter(messages.values())).header.stamp
        for _ in range(10 * PATIENCE_S):
            for topic, message in messages.items():
                self.publishers[topic].publish(message)
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                if answer := next(
                    (instances for instances in list(self.instances) if instances.header.stamp == stamp), None
                ):
                    return answer
                time.sleep(0.005)
        pytest.fail(f"no instances for stamp {stamp}")


@pytest.fixture(scope="module")
def segmenter(client, wait_until, start_process):
    start_process("adapters.single_mask", "-p", "category:=mug")
    return Segmenter(client, wait_until, mask=Image).connect()


def test_a_mask_becomes_a_pose_through_adapter_and_node(segmenter, node, client, header, wait_until):
    """Nothing but a camera and a node that publishes one mask per image."""
    sphere = spheres_on_table(1, ("mug",))
    instances = segmenter.ask(mask=image_message(sphere.detections.masks * 255, "mono8", header))
    assert instances.header == header and [instance.category for instance in instances.instances] == ["mug"]
    assert np.array_equal(label_view(instances.label_image), sphere.detections.masks)
    depth, info, _ = frame_messages(*sphere, header)

    def answered():
        client.send(depth, info)
        segmenter.publishers["mask"].publish(image_message(sphere.detections.masks * 255, "mono8", header))
        time.sleep(0.05)
        return client.answer(header.stamp)

    wait_until(answered)
    answer = client.answer(header.stamp)
    assert answer.header == header and [pose.category for pose in answer.poses] == ["mug"]


@pytest.mark.parametrize(
    ("encoding", "scalar", "channels"),
    [
        ("mono16", np.uint16, 1),
        ("32SC1", np.int32, 1),
        ("rgb8", np.uint8, 3),
        ("8UC3", np.uint8, 3),
        ("bgra8", np.uint8, 4),
    ],
)
def test_a_mask_is_what_is_not_black_in_any_encoding(header, encoding, scalar, channels):
    """isaac_ros_pose_estimation#48: masks are published as pictures of the object on black."""
    where = rectangle(5, 5, 10, 10) != 0
    pixels = np.zeros((*where.shape, channels), scalar)
    pixels[where, 0] = 200
    pixels[..., 3:] = 255  # alpha says nothing
    mask = image_message(pixels[:, :, 0] if channels == 1 else pixels, encoding, header)
    of = ObjectInstance(label=1, category="mug", score=1.0)
    np.testing.assert_array_equal(label_view(instances_from_mask(mask, of).label_image) == 1, where)


def test_a_photograph_is_no_mask(header):
    photograph = image_message(np.full((60, 80, 3), 90, np.uint8), "rgb8", header)
    with pytest.raises(ValueError, match="mask: expected black around the object, got colours all over"):
        instances_from_mask(photograph, ObjectInstance(label=1, category="mug", score=1.0))


def test_a_wrong_mask_costs_itself_only_and_is_counted(segmenter, header, wait_until):
    wrong = Header(stamp=stamp_message(next(STAMPS_NS)), frame_id="optical")

    def counted():
        segmenter.publishers["mask"].publish(image_message(np.zeros((60, 80), np.float32), "32FC1", wrong))
        time.sleep(0.02)
        return int(segmenter.diagnostics.get("/mask_adapter", {}).get("dropped: cannot be converted", 0)) > 0

    wait_until(counted)
    assert segmenter.ask(mask=image_message(rectangle(5, 5, 10, 10), "mono8", header)).instances
    assert not any(instances.header == wrong for instances in segmenter.instances)


def test_a_silent_adapter_says_why(client, wait_until, start_process, output_of):
    """In its log and on /diagnostics, within silence_s."""
    namespace = ("-r", "__ns:=/quiet", "-p", "silence_s:=0.3", "-p", "classes:=[]", "-p", "category:=cup")
    output = output_of(start_process("adapters.single_mask", *namespace))
    wait_until(lambda: output.said("got 'cup': the pose node rejects them, unless one of its models answers them"))
    wait_until(lambda: output.said("/quiet/mask: expected messages, got none for 0.3 s (subscribed best effort"))
    segmenter = Segmenter(client, wait_until)
    said = segmenter.messages
    wait_until(lambda: said.get("/quiet/mask_adapter") == "no input on mask (nobody publishes)")
    compressed = client.node.create_publisher(CompressedImage, "/quiet/mask", 10)
    wait_until(lambda: said["/quiet/mask_adapter"] == "no input on mask (published as sensor_msgs/msg/CompressedImage)")
    client.destroy(compressed)


def test_yolo_detections_pass_through_the_adapter(client, wait_until, start_process, yolo_msgs, polygons, header):
    start_process("adapters.yolo", "-r", "detections:=yolo/detections")
    segmenter = Segmenter(client, wait_until, **{"yolo/detections": yolo_msgs.DetectionArray}).connect()
    answer = segmenter.ask(**{"yolo/detections": polygons(("cup", 0.5, "7", corners(10, 10, 20, 20)))})
    assert answer.header == header and answer.instances == [ObjectInstance(label=1, category="mug", score=0.5, id="7")]
    assert np.array_equal(label_view(answer.label_image), rectangle(10, 10, 20, 20))


def test_label_image_and_detections_meet_and_lost_partners_are_counted(
    client, wait_until, start_process, vision_msgs, detections, header
):
    start_process("adapters.label_image", "-p", "buffer_size:=2")
    segmenter = Segmenter(client, wait_until, label_image=Image, detections=vision_msgs.Detection2DArray).connect()
    labels = image_message(rectangle(5, 5, 10, 10), "mono8", header)
    answer = segmenter.ask(label_image=labels, detections=detections(("a", ("cup", 0.75))))
    assert answer.header == header and answer.label_image == labels
    assert answer.instances == [ObjectInstance(label=1, category="mug", score=0.75, id="a")]

    def counted():
        lonely = Header(stamp=stamp_message(next(STAMPS_NS)), frame_id="optical")
        segmenter.publishers["label_image"].publish(image_message(rectangle(5, 5, 10, 10), "mono8", lonely))
        time.sleep(0.02)
        return (
            int(segmenter.diagnostics.get("/label_adapter", {}).get("dropped: label_image without detections", 0)) > 0
        )

    wait_until(counted)


def test_an_adapter_without_its_package_ends_with_its_name(start_process, output_of):
    try:
        import yolo_msgs.msg  # noqa: F401
    except ImportError:
        process = start_process("adapters.yolo")
        output = output_of(process).of_ended()
        assert process.returncode == 1 and "Traceback" not in output
        assert "yolo_msgs: expected the ROS package, for detections of yolo_ros, got none" in output
    else:
        pytest.skip("yolo_msgs is here")
