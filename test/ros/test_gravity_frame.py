"""Which way is up, by TF. The node is the real one, over DDS.

tf2_ros is not on PyPI: a stand-in for its buffer is tried, and tf2_ros itself where it is installed.
"""

import json
import os
import signal
import time

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, TransformStamped
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from clipose_ros import estimators
from clipose_ros.bench.latency import TABLE_NORMAL
from clipose_ros.core.support import SupportSettings
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.camera_transforms import NoTransform
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message
from clipose_ros.ros.gravity_frame import WITHOUT_SUPPORT, GravityFrame, up_in_camera
from clipose_ros.ros.node import WARNING_PERIOD_S

GRAVITY = "odom"
LEVEL, LYING, UNKNOWN = "optical", "lying_optical", "unknown_optical"
SIDEWAYS = np.cross(TABLE_NORMAL, [1.0, 0.0, 0.0])  # along the table
STAMP_NS = 10_000_000_000
OPTICAL = Rotation.from_matrix(
    [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
)  # of a camera that looks along x, in a frame with z up

STAND_IN = """
import json
from pathlib import Path

from geometry_msgs.msg import Quaternion, Transform, TransformStamped

KNOWN = json.loads((Path(__file__).parent / "known.json").read_text())


class TransformException(Exception):
    pass


class Buffer:
    def __init__(self, node):
        pass

    def lookup_transform(self, target, source, time, timeout):
        if target != "odom" or source not in KNOWN:
            raise TransformException(f'"{source}" does not exist')
        rotation = Quaternion(**dict(zip("xyzw", KNOWN[source])))
        return TransformStamped(transform=Transform(rotation=rotation))

    def clear(self):
        pass  # what is known is static


class TransformListener:
    def __init__(self, buffer, node):
        pass
"""


def message(rotation):
    return Quaternion(**dict(zip("xyzw", map(float, rotation.as_quat()))))


def rotation_to(up):
    """Of a camera that has up there, in a frame whose z axis points up."""
    return Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])[0]


@pytest.mark.parametrize("heading", [0, 70, -160])
@pytest.mark.parametrize(
    ("pitch", "up"),
    [
        (0, (0, -1, 0)),
        (40, (0, -np.cos(np.radians(40)), -np.sin(np.radians(40)))),
        (90, (0, 0, -1)),
        (-90, (0, 0, 1)),
    ],
)
def test_up_is_the_z_axis_of_the_frame_at_any_heading(heading, pitch, up):
    """Of a camera that looks down by the pitch."""
    rotation = Rotation.from_euler("ZY", [heading, pitch], degrees=True) * OPTICAL
    np.testing.assert_allclose(up_in_camera(message(rotation)), up, atol=1e-12)


def test_a_camera_on_its_side_has_up_at_its_side():
    rotation = OPTICAL * Rotation.from_euler("z", 90, degrees=True)  # clockwise, as it sees itself
    np.testing.assert_allclose(up_in_camera(message(rotation)), [-1, 0, 0], atol=1e-12)


class Transforms:
    """What TF knows: a transform at one time, or none."""

    def __init__(self, known_ns=None, rotation=OPTICAL):
        self.asked = []
        self._known_ns = known_ns
        self._rotation = rotation

    def look_up(self, frame, camera, stamp, timeout_s=0.0):
        self.asked.append((frame, camera, stamp, timeout_s))
        if self._known_ns is None:
            raise NoTransform("it does not exist")
        if stamp not in (None, stamp_message(self._known_ns)):
            raise NoTransform("Lookup would require extrapolation into the future")
        header = Header(stamp=stamp_message(self._known_ns), frame_id=frame)
        return TransformStamped(header=header, transform=Transform(rotation=message(self._rotation)))


def header(time_ns=STAMP_NS, frame_id=LEVEL):
    return Header(stamp=stamp_message(time_ns), frame_id=frame_id)


def test_up_is_taken_at_the_stamp_and_not_waited_for():
    transforms = Transforms(STAMP_NS)
    np.testing.assert_allclose(GravityFrame(transforms, GRAVITY).up(header(frame_id="/optical")), [0, -1, 0], atol=1e-9)
    assert transforms.asked == [(GRAVITY, LEVEL, stamp_message(STAMP_NS), 0.0)]


@pytest.mark.parametrize("apart_ns", [-100_000_000, -20_000_000, 100_000_000])
def test_the_newest_transform_stands_in_near_the_stamp(apart_ns):
    transforms = Transforms(STAMP_NS + apart_ns)
    np.testing.assert_allclose(GravityFrame(transforms, GRAVITY).up(header()), [0, -1, 0], atol=1e-9)
    assert [asked[2:] for asked in transforms.asked] == [(stamp_message(STAMP_NS), 0.0), (None, 0.0)]


@pytest.mark.parametrize(
    ("known_ns", "got"),
    [
        (STAMP_NS - 350_000_000, "one 0.35 s earlier"),
        (STAMP_NS + 120_000_000, "one 0.12 s later"),
        (None, "none: it does not exist"),
    ],
)
def test_without_a_transform_near_the_stamp_up_is_not_known(known_ns, got):
    gravity = GravityFrame(Transforms(known_ns), GRAVITY)
    expected = "gravity_frame: expected a transform from optical to odom within 0.1 s of the image's stamp"
    with pytest.raises(ValueError, match=f"^{expected}, got {got}$"):
        gravity.up(header())
    assert "tf2_echo odom optical" in gravity.cure(header())


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (header(time_ns=0), "stamp: expected the time of the image, for gravity_frame, got 0"),
        (
            header(frame_id=""),
            "frame_id: expected the camera's frame in the header of the depth image, for gravity_frame",
        ),
    ],
)
def test_without_stamp_or_frame_nobody_is_asked(asked, expected):
    transforms = Transforms(STAMP_NS)
    gravity = GravityFrame(transforms, GRAVITY)
    with pytest.raises(ValueError, match=f"^{expected}"):
        gravity.up(asked)
    assert transforms.asked == [] and "tf2_echo odom" in gravity.cure(asked)


# The node


@pytest.fixture(scope="module", params=["stand-in", "tf2_ros"])
def output(request, tmp_path_factory, leaning_model, start_process, output_of, client):
    """What a node says whose TF knows two cameras."""
    known = {LEVEL: rotation_to(TABLE_NORMAL), LYING: rotation_to(SIDEWAYS)}
    arguments = (f"models:={leaning_model}", "tracking:=false", f"gravity_frame:={GRAVITY}")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "stand-in":
            folder = tmp_path_factory.mktemp("stand_in")
            (folder / "tf2_ros.py").write_text(STAND_IN)
            quaternions = {camera: list(rotation.as_quat()) for camera, rotation in known.items()}
            (folder / "known.json").write_text(json.dumps(quaternions))
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        else:
            tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not on PyPI")
            client.cameras = tf2_ros.StaticTransformBroadcaster(client.node)  # its publisher lives as long as this
            client.cameras.sendTransform([transform(camera, rotation) for camera, rotation in known.items()])
        process = start_process("node", *(word for argument in arguments for word in ("-p", argument)))
    output = output_of(process)
    client.connect()
    yield output
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def transform(camera, rotation):
    """Of a camera that always stands so."""
    return TransformStamped(
        header=header(0, GRAVITY), child_frame_id=camera, transform=Transform(rotation=message(rotation))
    )


@pytest.fixture
def rotations(client, spheres):
    """Of the poses that the node gives for a camera."""

    def rotations(frame_id):
        answer = client.ask(*frame_messages(*spheres, header(time.time_ns(), frame_id)))
        return [pose_estimate_from(pose).rotation for pose in answer.poses]

    return rotations


@pytest.fixture(scope="module")
def expected(leaning_model, spheres):
    """Of the poses by the pipeline, set onto the table or not."""

    def expected(up, support=SupportSettings()):
        results = Pipeline(estimators.load(str(leaning_model)), support=support).process(*spheres, up=up).results
        return [pose.rotation for _, pose in results]

    return expected


def warned(client):
    return {key: int(count) for key, count in client.counters().items() if key.startswith("warned: gravity_frame")}


def test_the_pipeline_is_told_where_up_is(output, client, rotations, expected, wait_until):
    standing, leaning = expected(TABLE_NORMAL), expected(SIDEWAYS)
    assert np.abs(np.subtract(standing, leaning)).max() > 0.05
    wait_until(lambda: np.allclose(rotations(LYING), leaning, atol=1e-6))  # once TF has been heard
    np.testing.assert_allclose(rotations(LEVEL), standing, atol=1e-6)
    resting = sum(np.abs(before - after).max() > 1e-6 for before, after in zip(leaning, standing))
    said = f"{resting} of {len(standing)}"
    wait_until(lambda: client.counters().get("objects at rest on a surface") == said)


def test_a_frame_without_transform_is_answered_counted_and_said(output, client, rotations, expected, wait_until):
    begin_s = time.monotonic()
    np.testing.assert_allclose(rotations(UNKNOWN), expected(None), atol=1e-6)
    cause = f"gravity_frame: expected a transform from {UNKNOWN} to {GRAVITY} within 0.1 s of the image's stamp"
    shown = f"ros2 run tf2_ros tf2_echo {GRAVITY} {UNKNOWN}"
    wait_until(lambda: warned(client).get(f"warned: {cause}"))
    wait_until(lambda: output.said(f"{cause}, got none: "))
    assert output.said(f"until it comes, frames are estimated as without gravity_frame: see what TF has with {shown}")
    for _ in range(3):
        rotations(UNKNOWN)
    wait_until(lambda: warned(client)[f"warned: {cause}"] >= 4)
    most = 1 + (time.monotonic() - begin_s) // WARNING_PERIOD_S
    assert 1 <= sum(cause in line for line in output.lines) <= most
    assert client.counters()["failures"] == "0"


def test_without_support_it_has_no_effect_and_that_is_said(
    output, client, rotations, expected, set_parameter, wait_until
):
    assert set_parameter("support", "off").successful
    wait_until(lambda: output.said(WITHOUT_SUPPORT))
    wait_until(lambda: f"warned: {WITHOUT_SUPPORT.partition(', got ')[0]}" in client.counters())
    before = warned(client)
    for camera in (LEVEL, UNKNOWN):
        np.testing.assert_allclose(rotations(camera), expected(None, support=None), atol=1e-6)
    assert set_parameter("min_score", 0.01).successful  # of another change, nothing is said
    since = len(client.received["diagnostics"])
    wait_until(lambda: len(client.received["diagnostics"]) > since + 1)
    assert warned(client) == before
    assert sum(WITHOUT_SUPPORT in line for line in output.lines) == 1
    assert set_parameter("support", "auto").successful
    np.testing.assert_allclose(rotations(LYING), expected(SIDEWAYS), atol=1e-6)
