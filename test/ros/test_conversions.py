import array
from dataclasses import replace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from clipose_ros.core.types import (
    Detections,
    Frame,
    Instance,
    Intrinsics,
    PoseEstimate,
    Rejection,
    TrackedPose,
    TrackState,
)
from clipose_ros.formats import image_messages
from clipose_ros.formats.camera_info import intrinsics_from
from clipose_ros.msg import InstanceArray, ObjectInstance, ObjectPose
from clipose_ros.ros import conversions

DEPTH_MM = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300


def image(pixels, encoding, padding=0, big_endian=False):
    """Message of (H, W[, C]) pixels whose rows end with `padding` bytes of garbage."""
    wire = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [row.tobytes() + b"\xee" * padding for row in wire]
    height, width = pixels.shape[:2]
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=len(rows[0]),
        is_bigendian=int(big_endian),
        data=array.array("B", b"".join(rows)),
    )


def camera_info(width=4, height=3, **fields):
    k = [500.0, 0.0, 2.0, 0.0, 510.0, 1.0, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=height, k=k, **fields)


@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_survives_padding_and_byte_order(padding, big_endian):
    for encoding in ("16UC1", "mono16"):  # drivers of time-of-flight cameras and OpenNI's name it mono16
        view = image_messages.depth_view(image(DEPTH_MM, encoding, padding, big_endian))
        np.testing.assert_array_equal(view, DEPTH_MM)
        assert view.dtype == np.uint16

    depth_m = DEPTH_MM.astype(np.float32) / 1000
    depth_m[1, 2] = np.nan
    view = image_messages.depth_view(image(depth_m, "32FC1", padding, big_endian))
    np.testing.assert_array_equal(view, depth_m)
    assert view.dtype == np.float32


def test_views_share_the_memory_of_the_message():
    message = image(DEPTH_MM, "16UC1")
    assert np.shares_memory(image_messages.depth_view(message), np.frombuffer(message.data, np.uint8))


def test_colour_is_rgb_whatever_the_order_on_the_wire():
    rgb = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    np.testing.assert_array_equal(conversions.colour_view(image(rgb, "rgb8", padding=3)), rgb)
    np.testing.assert_array_equal(conversions.colour_view(image(rgb[:, :, ::-1], "bgr8", padding=3)), rgb)


def test_a_frame_of_compressed_images_is_that_of_the_raw_ones():
    rgb = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    raw = conversions.frame_from(image(DEPTH_MM, "16UC1"), camera_info(), image(rgb, "rgb8"))
    depth, colour = (cv2.imencode(".png", pixels)[1].tobytes() for pixels in (DEPTH_MM, rgb[:, :, ::-1]))
    depth = CompressedImage(format="16UC1; compressedDepth png", data=bytes(12) + depth)
    colour = CompressedImage(format="rgb8; png compressed bgr8", data=colour)
    compressed = conversions.frame_from(depth, camera_info(), colour)
    np.testing.assert_array_equal(compressed.depth, raw.depth)
    np.testing.assert_array_equal(compressed.colour, raw.colour)
    assert compressed.intrinsics == raw.intrinsics


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_labels_of_eight_bits(encoding):
    labels = np.eye(3, 4, dtype=np.uint8)
    np.testing.assert_array_equal(image_messages.label_view(image(labels, encoding)), labels)


def test_image_message_is_the_inverse_of_the_view():
    header = Header(frame_id="optical")
    message = conversions.image_message(DEPTH_MM[:, 1:3], "16UC1", header)
    np.testing.assert_array_equal(image_messages.depth_view(message), DEPTH_MM[:, 1:3])
    assert (message.height, message.width, message.step, message.header.frame_id) == (3, 2, 4, "optical")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"encoding": "64FC1"},
            r"depth encoding: expected 16UC1 .*, got '64FC1'; let its publisher send 16UC1 \[mm\] or",
        ),
        ({"encoding": "16UC1; compressedDepth"}, "depth encoding: expected .*republish compressedDepth raw"),
        ({"encoding": "rgb8"}, "depth encoding: expected .*, got 'rgb8'; give the camera's depth, not a picture of it"),
        ({"step": 7}, "depth step: expected at least 8 bytes"),
        ({"data": array.array("B", bytes(23))}, "depth data: expected 24 bytes for 3 rows, got 23"),
        ({"height": 0}, "depth: expected pixels, got 4x0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    broken = image(DEPTH_MM, "16UC1")
    for name, value in change.items():
        setattr(broken, name, value)
    with pytest.raises(ValueError, match=message):
        image_messages.depth_view(broken)


def test_projection_matrix_wins_over_k_when_filled_in():
    assert intrinsics_from(camera_info(), (3, 4)) == Intrinsics(500, 510, 2, 1)
    p = [400.0, 0.0, 2.5, 0.0, 0.0, 410.0, 1.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert intrinsics_from(camera_info(p=p), (3, 4)) == Intrinsics(400, 410, 2.5, 1.5)


def test_region_of_interest_and_binning_move_and_scale_the_centre():
    info = camera_info(width=640, height=480, binning_x=2, binning_y=2)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 1, 3, 8, 6
    assert intrinsics_from(info, (3, 4)) == Intrinsics(250, 255, 0.5, -1)


def test_camera_info_of_another_size_is_refused():
    with pytest.raises(ValueError, match="camera_info: expected the size of the depth image, 4x3, got 8x3"):
        intrinsics_from(camera_info(width=8), (3, 4))


def test_uncalibrated_camera_is_refused():
    with pytest.raises(ValueError, match="intrinsics: expected"):
        intrinsics_from(CameraInfo(width=4, height=3), (3, 4))


def test_camera_info_round_trip():
    intrinsics = Intrinsics(600.5, 601.5, 3.25, 1.75)
    assert intrinsics_from(conversions.camera_info_message(intrinsics, (3, 4), Header()), (3, 4)) == intrinsics


@pytest.mark.parametrize("depth", [DEPTH_MM, DEPTH_MM / np.float32(1000)])
def test_frame_round_trip(depth):
    frame = Frame(1_700_000_000_123_456_789, "optical", depth, Intrinsics(500.0, 510.0, 2.0, 1.0))
    found = Detections((Instance(3, "mug", 0.5, "a"),), np.arange(12, dtype=np.uint8).reshape(3, 4))
    header = Header(stamp=conversions.stamp_message(frame.stamp_ns), frame_id=frame.frame_id)
    messages = conversions.frame_messages(frame, found, header)
    assert all(message.header == header for message in messages)
    again = conversions.frame_from(*messages[:2])
    assert (again.stamp_ns, again.frame_id, again.intrinsics) == (frame.stamp_ns, frame.frame_id, frame.intrinsics)
    detections = image_messages.detections_from(messages[2], depth.shape)
    assert detections.instances == found.instances
    for got, expected in ((again.depth, frame.depth), (detections.masks, found.masks)):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


def test_no_instances_need_no_label_image():
    detections = image_messages.detections_from(InstanceArray(), (3, 4))
    assert detections.instances == () and detections.masks.shape == (3, 4) and not detections.masks.any()


def test_labels_of_another_size_than_depth_are_refused():
    message = InstanceArray(instances=[ObjectInstance(label=1)], label_image=image(DEPTH_MM, "16UC1"))
    with pytest.raises(ValueError, match=r"labels: expected \(6, 8\) as depth, got \(3, 4\)"):
        image_messages.detections_from(message, (6, 8))


def test_masks_that_overlap_become_a_label_image_with_the_surer_one_on_top():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :, :3], masks[1, :, 2:] = True, True
    for scores, on_top in (((0.9, 0.2), 1), ((0.2, 0.9), 2)):
        instances = tuple(Instance(9, "mug", score, id) for score, id in zip(scores, "ab", strict=True))
        message = conversions.instance_array_message(Detections(instances, masks), Header())
        np.testing.assert_array_equal(image_messages.label_view(message.label_image)[0], [1, 1, on_top, 2])
        assert [(i.label, i.id) for i in message.instances] == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(("label", "encoding"), [(255, "mono8"), (256, "16UC1")])
def test_label_images_take_a_byte_per_pixel_where_the_labels_fit(label, encoding):
    labels = np.full((3, 4), label, np.uint16)
    labels[0] = 1
    found = Detections((Instance(1, "mug"), Instance(label, "can", 0.5, "c")), labels)
    message = conversions.instance_array_message(found, Header())
    assert message.label_image.encoding == encoding
    np.testing.assert_array_equal(image_messages.label_view(message.label_image), labels)
    assert [(i.label, i.category, i.score, i.id) for i in message.instances] == [
        (1, "mug", 1.0, ""),
        (label, "can", 0.5, "c"),
    ]


def test_stamps_are_exact_nanoseconds():
    assert conversions.stamp_ns(conversions.stamp_message(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


def test_poses_survive_the_message():
    turn = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    estimate = PoseEstimate("mug", 0.5, turn, np.array([0.1, -0.2, 0.9]), np.array([0.12, 0.1, 0.08]))
    message = conversions.object_pose_message(Instance(3, "mug", id="m"), estimate)
    back = conversions.pose_estimate_from(message)
    np.testing.assert_allclose(back.rotation, turn, atol=1e-12)
    np.testing.assert_array_equal(back.translation, estimate.translation)
    np.testing.assert_array_equal(back.size, estimate.size)
    assert (message.id, back.category, back.score) == ("m", "mug", 0.5)


def test_what_a_tracker_knows_is_in_the_message():
    covariance = np.arange(36.0).reshape(6, 6)
    tracked = TrackedPose(
        "mug",
        0.5,
        np.eye(3),
        np.zeros(3),
        np.ones(3),
        track=7,
        state=TrackState.COASTING,
        age_ns=250_000_000,
        covariance=covariance,
    )
    message = conversions.object_pose_message(Instance(3, "mug", id="m"), tracked)
    assert (message.track, message.tracking, message.age_s) == (7, ObjectPose.COASTING, 0.25)
    np.testing.assert_array_equal(message.covariance, np.arange(36.0))
    alone = conversions.object_pose_message(
        Instance(3, "mug"), PoseEstimate("mug", 0.5, np.eye(3), np.zeros(3), np.ones(3))
    )
    assert (alone.track, alone.tracking, alone.age_s) == (0, ObjectPose.UNTRACKED, 0.0) and not np.any(alone.covariance)
    assert {state.name: state.value for state in TrackState} == {
        name: getattr(ObjectPose, name) for name in ("TENTATIVE", "CONFIRMED", "COASTING")
    }


def test_an_untracked_pose_says_how_unsure_it_is_if_it_knows():
    covariance = np.arange(1.0, 37.0).reshape(6, 6)
    estimate = PoseEstimate("mug", 0.5, np.eye(3), np.zeros(3), np.ones(3), covariance=covariance)
    message = conversions.object_pose_message(Instance(3, "mug"), estimate)
    assert message.tracking == ObjectPose.UNTRACKED
    np.testing.assert_array_equal(message.covariance, np.arange(1.0, 37.0))
    np.testing.assert_array_equal(conversions.pose_estimate_from(message).covariance, covariance)
    unknown = conversions.object_pose_message(Instance(3, "mug"), replace(estimate, covariance=None), lambda: message)
    assert not np.any(unknown.covariance) and conversions.pose_estimate_from(unknown).covariance is None


def test_a_message_that_is_filled_again_keeps_nothing():
    tracked = TrackedPose(
        "mug",
        0.5,
        np.eye(3),
        np.zeros(3),
        np.ones(3),
        track=7,
        state=TrackState.COASTING,
        age_ns=9,
        covariance=np.ones((6, 6)),
    )
    estimate = PoseEstimate("can", 0.25, np.diag([1.0, -1.0, -1.0]), np.ones(3), np.full(3, 2.0))
    used = conversions.object_pose_message(Instance(3, "mug", id="m"), tracked)
    assert conversions.object_pose_message(
        Instance(4, "can"), estimate, lambda: used
    ) == conversions.object_pose_message(Instance(4, "can"), estimate)


def test_quarter_turn_about_z_is_the_quaternion_of_the_textbook():
    q = conversions.pose_message(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3)).orientation
    np.testing.assert_allclose([q.x, q.y, q.z, q.w], [0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)


def test_every_instance_is_in_one_of_the_lists():
    estimate = PoseEstimate("can", 0.5, np.eye(3), np.zeros(3), np.ones(3))
    results = ((Instance(1, "can", id="a"), estimate), (Instance(2, "shoe", id="b"), Rejection("shoe", "unknown")))
    message = conversions.pose_array_message(results, Header(frame_id="optical"))
    assert [pose.id for pose in message.poses] == ["a"]
    assert [(r.id, r.category, r.reason) for r in message.rejections] == [("b", "shoe", "unknown")]
    assert message.header.frame_id == "optical"
