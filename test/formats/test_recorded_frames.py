"""Frames of recordings: found, joined and checked as the node does it."""

import sqlite3
import struct

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Instance
from clipose_ros.formats.message_definitions import CAMERA_INFO_TYPE, COMPRESSED_IMAGE
from clipose_ros.formats.recorded_frames import JoinSettings, RecordedFrames
from clipose_ros.formats.recorded_topics import TopicNames
from clipose_ros.formats.recording_files import RECORDED_TOPICS, RecordingWriter, image_fields
from clipose_ros.ros import topics

DEPTH, INFO, MASKS, COLOUR = (RECORDED_TOPICS[role] for role in ("depth", "camera_info", "instances", "colour"))
MS = 1_000_000


@pytest.fixture
def write(recorded, tmp_path):
    """Writes frames with changes: `change(topic, kind, fields, time_ns)` gives what is written instead, a list."""

    def write(change=lambda *message: [message], count=3, **options):
        path = tmp_path / "a.mcap"
        with RecordingWriter(path) as writer:
            original = writer.write
            writer.write = lambda *message: [original(*one) for one in change(*message)]
            for number in range(count):
                writer.write_frame(*recorded.frame(number, **options))
        return path

    return write


def header(time_ns, frame_id="eye"):
    return {"stamp": {"sec": time_ns // 10**9, "nanosec": time_ns % 10**9}, "frame_id": frame_id}


def restamped(fields, by_ns):
    stamp = fields["header"]["stamp"]
    time_ns = stamp["sec"] * 10**9 + stamp["nanosec"] + by_ns
    return {**fields, "header": header(time_ns, fields["header"]["frame_id"])}


def only(wanted, **changes):
    """A change of the messages of one topic: fields, or None to leave it out."""

    def change(topic, kind, fields, time_ns):
        if topic != wanted:
            return [(topic, kind, fields, time_ns)]
        return [] if None in changes.values() else [(topic, kind, {**fields, **changes}, time_ns)]

    return change


def test_the_topics_are_those_of_the_node():
    names = {"depth": topics.DEPTH, "camera_info": topics.CAMERA_INFO, "instances": topics.INSTANCES}
    assert {**names, "colour": topics.COLOUR} == {role: topic.lstrip("/") for role, topic in RECORDED_TOPICS.items()}


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("container", ["mcap", "db3"])
def test_frames_are_what_was_written(recorded, write, tmp_path, dtype, container):
    path = write(dtype=dtype)
    if container == "db3":
        path = recorded.write_db3(tmp_path / "a.db3", recorded.messages(path))
    frames = RecordedFrames(path)
    read = list(frames.read())
    assert [one.name for one in read] == ["0000", "0001", "0002"]
    for number, (_, frame, detections) in enumerate(read):
        expected, found = recorded.frame(number, dtype)
        np.testing.assert_array_equal(frame.depth, expected.depth)
        np.testing.assert_array_equal(frame.colour, expected.colour)
        np.testing.assert_array_equal(detections.masks, found.masks)
        assert frame.depth.dtype == dtype and detections.instances == found.instances
        assert (frame.stamp_ns, frame.frame_id, frame.intrinsics) == (expected.stamp_ns, "eye", expected.intrinsics)
    assert frames.tally.lines() == [] and frames.remarks == {} and frames.depth_images == 3 and frames.share == 1
    assert [one.name for one in frames.read()] == ["0000", "0001", "0002"]  # from the first again


def test_labels_of_16_bits_are_read(write):
    wide = (np.arange(12 * 16).reshape(12, 16) * 300).astype(np.uint16)
    change = only(MASKS, label_image=image_fields(wide, "16UC1", header(0)))
    for _, _, detections in RecordedFrames(write(change)).read():
        np.testing.assert_array_equal(detections.masks, wide)


def test_instances_of_one_id_or_none_get_different_ones(write):
    ids = ("cup", "cup", "", "5", "5")
    listed = [{"label": n + 1, "category": "mug", "score": 0.5, "id": name} for n, name in enumerate(ids)]
    _, _, detections = next(RecordedFrames(write(only(MASKS, instances=listed))).read())
    assert detections.instances == tuple(
        Instance(n + 1, "mug", 0.5, name) for n, name in enumerate(("cup", "2", "3", "5", "5.4"))
    )


def test_masks_that_come_late_find_their_image(write):
    """As a segmenter's that takes two frames."""
    late = []

    def change(topic, kind, fields, time_ns):
        if topic != MASKS:
            return [(topic, kind, fields, time_ns)]
        late.append((topic, kind, fields, time_ns))
        return late[-3:-2]

    frames = RecordedFrames(write(change, count=6))
    assert [one.name for one in frames.read()] == ["0000", "0001", "0002", "0003"]
    assert frames.tally.lines() == ["2 × messages whose partners had not come by the end"]
    soon = RecordedFrames(write(change, count=6), settings=JoinSettings(buffer_size=1))
    assert list(soon.read()) == []
    assert any("set buffer_size to 10" in line for line in soon.tally.lines())


def test_images_without_masks_are_counted_and_numbers_stay(write):
    seen = iter(range(99))

    def change(topic, kind, fields, time_ns):
        return [] if topic == MASKS and next(seen) % 2 == 0 else [(topic, kind, fields, time_ns)]

    frames = RecordedFrames(write(change, count=6))
    assert [one.name for one in frames.read()] == ["0001", "0003", "0005"]
    assert frames.tally.lines() == ["3 × depth without partners"] and frames.depth_images == 6


def test_near_stamps_are_joined_where_that_is_asked_for(write):
    def change(topic, kind, fields, time_ns):
        return [(topic, kind, restamped(fields, 3 * MS) if topic in (MASKS, COLOUR) else fields, time_ns)]

    path = write(change, count=6)
    equal = RecordedFrames(path)
    assert list(equal.read()) == []
    assert any("set max_stamp_difference_s to 0.005" in line for line in equal.tally.lines())
    near = list(RecordedFrames(path, settings=JoinSettings(max_stamp_difference_s=0.005)).read())
    assert [one.name for one in near] == [f"{number:04d}" for number in range(6)]
    assert all(one.frame.colour is not None for one in near)


def test_stamps_that_go_back_begin_a_new_run(write, recorded):
    """As where a recording was played again into another."""

    def change(topic, kind, fields, time_ns):
        begin = time_ns >= recorded.BEGIN_NS + 3 * recorded.STEP_NS
        return [(topic, kind, restamped(fields, -100 * recorded.STEP_NS) if begin else fields, time_ns)]

    frames = RecordedFrames(write(change, count=6))
    read = list(frames.read())
    assert [one.name for one in read] == [f"{number:04d}" for number in range(6)]
    assert read[3].frame.stamp_ns < read[0].frame.stamp_ns and frames.tally.lines() == []


def test_a_calibration_that_comes_once_or_last_holds_for_all(write):
    once = []

    def change(topic, kind, fields, time_ns):
        once.append(topic)
        return [] if topic == INFO and len(once) != 9 else [(topic, kind, fields, time_ns)]

    assert len(list(RecordedFrames(write(change)).read())) == 3


def test_a_calibration_that_fits_no_image_is_counted_and_the_one_before_holds(write, recorded):
    def change(topic, kind, fields, time_ns):
        bad = topic == INFO and time_ns > recorded.BEGIN_NS
        return [(topic, kind, {**fields, "k": [0.0] * 9, "p": [0.0] * 12} if bad else fields, time_ns)]

    frames = RecordedFrames(write(change))
    assert [one.frame.intrinsics for one in frames.read()] == [recorded.K] * 3
    assert frames.tally.lines()[0].startswith("2 × camera_info: intrinsics: expected finite values")


def test_raw_images_have_the_distortion_of_the_calibration_and_others_are_warned_of(write):
    change = only(INFO, d=[0.1, 0.0, 0.0, 0.0, 0.0])

    def raw(topic, kind, fields, time_ns):
        return [
            ("/cam/image_raw" if topic == DEPTH else topic, *rest) for _, *rest in change(topic, kind, fields, time_ns)
        ]

    frames = RecordedFrames(write(raw), settings=JoinSettings(raw_images=True))
    assert next(frames.read()).frame.intrinsics.distortion.coefficients == (0.1, 0, 0, 0, 0)
    frames = RecordedFrames(write(raw))
    assert all(one.frame.intrinsics.distortion is None for one in frames.read())
    ((remark, count),) = frames.remarks.items()
    assert count == 3 and "expected a rectified image" in remark and "--raw-images undistorts it" in remark


def test_depth_that_is_out_of_range_all_over_deserves_a_remark_with_the_option_that_cures_it(write):
    def change(topic, kind, fields, time_ns):
        if topic != DEPTH:
            return [(topic, kind, fields, time_ns)]
        millimetres = np.full((fields["height"], fields["width"]), 873.0, np.float32)
        return [(topic, kind, image_fields(millimetres, "32FC1", fields["header"]), time_ns)]

    frames = RecordedFrames(write(change))
    assert sum(1 for _ in frames.read()) == 3
    ((remark, count),) = frames.remarks.items()
    assert count == 3 and "nearly all of the image nearer or further" in remark and "--depth-scale-m 0.001" in remark


def test_depth_of_another_size_than_masks_or_calibration_is_left_out_and_counted(write, recorded):
    wrong = image_fields(np.ones((6, 8), np.uint8), "mono8", header(0))
    frames = RecordedFrames(write(only(MASKS, label_image=wrong)))
    assert list(frames.read()) == []
    (line,) = frames.tally.lines()
    assert line.startswith("3 × frame: labels: expected (12, 16) as depth, got (6, 8); segment the image that depth is")
    frames = RecordedFrames(write(only(INFO, width=640, height=480)))
    assert list(frames.read()) == []
    assert "3 × frame: camera_info: expected the size of the depth image, 16x12, got 640x480" in frames.tally.lines()[0]


def test_strict_raises_for_the_first_that_cannot_be_read(write):
    wrong = image_fields(np.ones((6, 8), np.uint8), "mono8", header(0))
    with pytest.raises(ValueError, match="frame 0000: labels: expected"):
        list(RecordedFrames(write(only(MASKS, label_image=wrong))).read(strict=True))


def test_messages_that_are_cut_short_or_broken_are_counted(write, recorded, tmp_path):
    rows = recorded.messages(write(count=4))
    for broken in (b"", b"\x00\x01", b"\x00\x01\x00\x00" + b"\xff" * 60, b"\x00\x03\x00\x00abc", None):
        changed, seen = [], 0
        for topic, kind, data, time_ns in rows:
            seen += topic == DEPTH
            spoilt = topic == DEPTH and seen == 2
            changed.append((topic, kind, (data[:-50] if broken is None else broken) if spoilt else data, time_ns))
        frames = RecordedFrames(recorded.rewrite(tmp_path / "b.mcap", changed))
        assert [one.name for one in frames.read()] == ["0000", "0002", "0003"]
        lines = frames.tally.lines()
        assert any("1 × depth: message: expected" in line and "(0001)" in line for line in lines), lines


def test_a_message_much_larger_than_the_first_of_its_topic_is_left_out(write, recorded, tmp_path):
    rows = recorded.messages(write(count=2))
    rows = [(*row[:2], row[2] + bytes(2**23), row[3]) if i == 6 else row for i, row in enumerate(rows)]
    frames = RecordedFrames(recorded.rewrite(tmp_path / "b.mcap", rows))
    assert rows[6][0] == DEPTH and [one.name for one in frames.read()] == ["0000"]
    assert "expected at most 8388608 bytes" in frames.tally.lines()[0]


def compressed(kept):
    """Images as PNG, beside the others where both are kept; as "colour", depth by the transport for colour, too."""

    def change(topic, kind, fields, time_ns):
        if topic not in (DEPTH, COLOUR):
            return [(topic, kind, fields, time_ns)]
        scalar, channels = (np.uint16, 1) if topic == DEPTH else (np.uint8, 3)
        image = np.frombuffer(fields["data"], scalar).reshape(fields["height"], fields["width"], channels)
        png = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
        own = ("/compressedDepth", "16UC1; compressedDepth png", struct.pack("<iff", 0, 0, 0) + png)
        plain = ("/compressed", "16UC1; png compressed ", png)
        of_depth = {"colour": [plain], "every way": [own, plain]}.get(kept, [own])
        new = [
            (topic + end, COMPRESSED_IMAGE, {"header": fields["header"], "format": text, "data": data}, time_ns)
            for end, text, data in (of_depth if topic == DEPTH else [("/compressed", "rgb8; png compressed bgr8", png)])
        ]
        return [*new, (topic, kind, fields, time_ns)] if kept == "both" else new

    return change


@pytest.mark.parametrize("kept", ["compressed", "colour", "every way", "both"])
def test_compressed_images_are_read_where_there_are_no_others(write, recorded, kept):
    frames = RecordedFrames(write(compressed(kept)))
    end = {"both": ("", ""), "colour": ("/compressed", "/compressed")}.get(kept, ("/compressedDepth", "/compressed"))
    assert frames.topics["depth"].topic == DEPTH + end[0] and frames.topics["colour"].topic == COLOUR + end[1]
    for number, (_, frame, _) in enumerate(frames.read()):
        np.testing.assert_array_equal(frame.depth, recorded.frame(number)[0].depth)
        np.testing.assert_array_equal(frame.colour, recorded.frame(number)[0].colour)
    assert number == 2


def test_colour_that_cannot_be_read_is_left_out_and_the_frame_stays(write):
    frames = RecordedFrames(write(only(COLOUR, encoding="rgb8", step=3)), TopicNames(colour_topic=COLOUR))
    assert [one.frame.colour for one in frames.read()] == [None] * 3
    assert list(frames.remarks.values()) == [3] and "colour is left out: colour step" in next(iter(frames.remarks))


def second_camera(topic, kind, fields, time_ns):
    other = {**fields, "header": {**fields["header"], "frame_id": "other_eye"}}
    return [(topic, kind, fields, time_ns), *([(f"/other{topic}", kind, other, time_ns)] if topic != MASKS else [])]


def test_of_two_cameras_one_must_be_named_and_brings_its_calibration_and_colour(write):
    path = write(second_camera)
    with pytest.raises(ValueError) as raised:
        RecordedFrames(path)
    assert f"several; name it by --depth-topic: {DEPTH}, /other{DEPTH}" in str(raised.value)
    for before in ("", "/other"):
        frames = RecordedFrames(path, TopicNames(depth_topic=before + DEPTH))
        topics = {role: sample.topic for role, sample in frames.topics.items()}
        assert topics == {
            "depth": before + DEPTH,
            "camera_info": before + INFO,
            "colour": before + COLOUR,
            "instances": MASKS,
        }
    shortened = RecordedFrames(path, TopicNames(depth_topic=("/other" + DEPTH).lstrip("/")))
    assert shortened.topics["depth"].topic == "/other" + DEPTH  # the slash in front may be left out
    assert len(list(frames.read())) == 3
    assert frames.remarks == {"instances frame_id: expected 'other_eye' as depth, got 'eye'": 3}


def test_of_two_cameras_with_one_frame_id_namespaces_tell(write):
    def change(topic, kind, fields, time_ns):
        return [(topic, kind, fields, time_ns), *([(f"/other{topic}", kind, fields, time_ns)] * (topic != MASKS))]

    frames = RecordedFrames(write(change), TopicNames(depth_topic="/other" + DEPTH))
    assert (frames.topics["camera_info"].topic, frames.topics["colour"].topic) == ("/other" + INFO, "/other" + COLOUR)
    with pytest.raises(
        ValueError, match="expected one topic with a sensor_msgs/CameraInfo, got several; name it by --cam"
    ):
        RecordedFrames(write(change), TopicNames(depth_topic=DEPTH))


def test_depth_called_mono16_is_told_from_grey_images_by_its_name(write):
    """Some drivers call depth mono16, as others call infrared images: both may be in one recording."""

    def change(topic, kind, fields, time_ns):
        if topic != DEPTH:
            return [(topic, kind, fields, time_ns)]
        grey = {**fields, "encoding": "mono16"}
        return [(DEPTH, kind, grey, time_ns), ("/camera/ir/image_raw", kind, grey, time_ns)]

    frames = RecordedFrames(write(change))
    assert frames.topics["depth"].topic == DEPTH and sum(1 for _ in frames.read()) > 0


def test_depth_called_mono16_under_any_name_is_read_where_it_is_named(write):
    def change(topic, kind, fields, time_ns):
        name, extra = ("/tof/image_raw", {"encoding": "mono16"}) if topic == DEPTH else (topic, {})
        return [(name, kind, {**fields, **extra}, time_ns)]

    with pytest.raises(ValueError, match="expected a depth image"):
        RecordedFrames(write(change))
    assert sum(1 for _ in RecordedFrames(write(change), TopicNames(depth_topic="/tof/image_raw")).read()) > 0


def test_registered_depth_is_taken_before_the_cameras_own(write):
    def change(topic, kind, fields, time_ns):
        own = [("/camera/depth/image_rect_raw", kind, fields, time_ns)] if topic == DEPTH else []
        return [*own, (topic, kind, fields, time_ns)]

    assert RecordedFrames(write(change)).topics["depth"].topic == DEPTH


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        (
            DEPTH,
            r"expected a depth image \(sensor_msgs/Image of 16UC1.*, got none; topics that are read: /instances, /rgb",
        ),
        (INFO, "expected a sensor_msgs/CameraInfo, got none"),
        (MASKS, r"expected masks \(clipose_ros/InstanceArray\), got none; topics that are read: /depth_registered"),
    ],
)
def test_a_recording_without_what_is_needed_says_what_it_has(write, topic, said):
    with pytest.raises(ValueError, match=said):
        RecordedFrames(write(only(topic, header=None)))


def test_what_was_left_out_is_told_where_a_topic_is_missing(write):
    path = write()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"got none; topics that are read: none; .*a.mcap: cut off after \d+ bytes"):
        RecordedFrames(path)


def test_topics_that_are_listed_without_a_message_are_told(recorded, write, tmp_path):
    """A recorder whose QoS does not fit the publisher's lists the topic and hears nothing."""
    rows = recorded.messages(write())
    path = recorded.write_db3(tmp_path / "a.db3", rows)
    with sqlite3.connect(path) as bag:
        bag.execute("DELETE FROM messages WHERE topic_id = (SELECT id FROM topics WHERE name = ?)", (INFO,))
    said = f"expected a sensor_msgs/CameraInfo, got none; .*; listed without a message: {INFO} \\({CAMERA_INFO_TYPE}\\)"
    with pytest.raises(ValueError, match=f"{said}$"):
        RecordedFrames(path)


def test_a_recording_of_nothing_says_so(recorded, tmp_path):
    with pytest.raises(ValueError, match="got none; topics that are read: none"):
        RecordedFrames(recorded.rewrite(tmp_path / "a.mcap", []))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            {"depth_topic": "/nowhere"},
            "--depth-topic: expected a topic with a depth image .*, got /nowhere, which has no",
        ),
        ({"depth_topic": COLOUR}, "--depth-topic: expected .*: /depth_registered/image_rect, got .*, a colour image"),
        ({"instances_topic": DEPTH}, "--instances-topic: expected .* got /depth_registered/image_rect, a depth image"),
    ],
)
def test_a_topic_that_is_not_what_it_should_be_is_said(write, names, said):
    with pytest.raises(ValueError, match=said):
        RecordedFrames(write(), TopicNames(**names))


@pytest.mark.parametrize(
    "settings", [{"buffer_size": 0}, {"depth_scale_m": -1.0}, {"max_stamp_difference_s": 1.0}, {"buffer_size": 10**6}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="^--"):
        JoinSettings(**settings)


def test_a_unit_other_than_the_encodings_is_told_by_an_option(write):
    scaled = [
        one.frame.depth_unit_m for one in RecordedFrames(write(), settings=JoinSettings(depth_scale_m=1e-4)).read()
    ]
    assert scaled == [1e-4] * 3
