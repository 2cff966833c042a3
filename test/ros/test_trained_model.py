"""The model that we ship, on the sequence that we ship, over DDS."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from std_msgs.msg import Header

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import pose_error
from clipose_ros.core.types import PoseEstimate
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import read_poses
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message

DEMO = Path(__file__).resolve().parents[2] / "launch" / "demo"


@pytest.fixture(scope="module")
def node(dds, start_process):
    process = start_process("node", "--params-file", str(DEMO.parent / "params.yaml"))
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_best_seen_object_is_where_the_truth_says(node, client):
    """Loose bounds: that the pose went through camera, labels, network and messages in one piece; accuracy is measured
    elsewhere.
    """
    client.connect()
    folder, truth = NocsFolder(DEMO), read_poses(DEMO / "truth.json")
    name = folder.names[0]
    frame, detections = folder.read(name)
    header = Header(stamp=stamp_message(time.time_ns()), frame_id="camera_color_optical_frame")
    answer = client.ask(*frame_messages(frame, detections, header))
    assert answer.header == header
    assert len(answer.poses) + len(answer.rejections) == len(detections.instances) >= 3

    best = max(detections.instances, key=lambda instance: np.count_nonzero(detections.masks == instance.label))
    (pose,) = [pose for pose in answer.poses if pose.id == best.id]
    true = truth[name, int(best.id)]
    assert isinstance(true, PoseEstimate)
    error = pose_error(pose_estimate_from(pose), true, nocs_symmetry(true.category))
    assert error.rotation_deg < 20 and error.translation_m < 0.03 and error.size_relative < 0.3, error
