"""A pose node with a segmenter and a workspace: what is outside is left alone, and counted."""

import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from std_msgs.msg import Header

from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message
from clipose_ros.ros.target_frame import TargetFrame

PATIENCE_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def watching_node(start_process, tiny_model, tiny_segmenter, client):
    """A node that looks at the right half of space."""
    words = (
        f"models:={tiny_model}",
        f"models_dir:={tiny_segmenter.parent}",
        "segmenter:=depth",
        "tracking:=false",
        "workspace:='0 inf -inf inf 0 5'",
    )
    process = start_process("node", *(word for parameter in words for word in ("-p", parameter)))
    client.connect()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_objects_outside_are_left_alone_and_counted(client, spheres, wait_until):
    header = Header(stamp=stamp_message(time.time_ns()), frame_id="some_optical_frame")
    depth, camera_info, _ = frame_messages(*spheres, header)
    answer = client.ask(depth, camera_info, None)
    assert not answer.rejections
    assert [pose_estimate_from(pose).translation[0] > 0 for pose in answer.poses] == [True]
    wait_until(lambda: any("outside of the workspace" in key for key in client.counters()))


def test_the_camera_is_where_tf_says():
    turned = Transform(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(x=1.0, y=0.0, z=0.0, w=0.0))
    transforms = SimpleNamespace(look_up=lambda *_: SimpleNamespace(transform=turned))
    camera = TargetFrame(transforms, "table", 0.1).camera(Header(stamp=stamp_message(1), frame_id="camera"))
    np.testing.assert_allclose(camera.translation, [1, 2, 3])
    np.testing.assert_allclose(camera.rotation, np.diag([1.0, -1.0, -1.0]), atol=1e-12)
