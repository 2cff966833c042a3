"""Real DDS on this machine only, on a domain of this run's own, with the node in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client as ServiceClient
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import MarkerArray

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.msg import InstanceArray, ObjectPoseArray

ROOT = Path(__file__).resolve().parents[2]
INPUTS = {
    "depth": (Image, "depth_registered/image_rect"),
    "camera_info": (CameraInfo, "rgb/camera_info"),
    "instances": (InstanceArray, "instances"),
}
OUTPUTS = {
    "poses_9dof": (ObjectPoseArray, "clipose/poses_9dof"),
    "poses": (PoseArray, "clipose/poses"),
    "markers": (MarkerArray, "clipose/markers"),
    "diagnostics": (DiagnosticArray, "/diagnostics"),
}
PATIENCE_S = 30.0  # this machine may be busy; a test that passes does not wait


def wait_for(condition, seconds=PATIENCE_S):
    """Whether the condition became true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Output:
    """The lines of a process, read while it runs: it never waits for a reader."""

    def __init__(self, process):
        self.lines = []
        self._process = process
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        self.lines.extend(self._process.stdout)

    def said(self, text, since=0):
        """Whether a line holds the text, from a number of lines on."""
        return any(text in line for line in self.lines[since:])

    def of_ended(self, seconds=PATIENCE_S):
        """Everything, once the process has ended."""
        self._process.wait(seconds)
        self._thread.join()
        return "".join(self.lines)


def stamp_of(message):
    """Stamp of a message; a marker array has those of its markers."""
    if isinstance(message, MarkerArray):
        return message.markers[0].header.stamp if message.markers else None
    return message.header.stamp


class Client:
    """A camera, a segmenter and a consumer of poses in one node."""

    inputs, outputs = INPUTS, OUTPUTS

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("client", context=self.context)
        self.publishers = {key: self.node.create_publisher(kind, topic, 10) for key, (kind, topic) in INPUTS.items()}
        self.received = {key: [] for key in OUTPUTS}
        self._subscriptions = [
            self.node.create_subscription(kind, topic, self.received[key].append, 10)
            for key, (kind, topic) in OUTPUTS.items()
        ]
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self):
        self._executor.shutdown()  # first: without its context, the thread could not begin its next wait
        self._thread.join()
        self.node.destroy_node()  # now, not when Python collects it: the next module's client would see its publishers
        rclpy.shutdown(context=self.context)

    def destroy(self, *entities):
        """End publishers, subscriptions and clients, in the thread that waits for them: rclpy cannot bear it from
        another.
        """
        kinds = {
            Publisher: self.node.destroy_publisher,
            Subscription: self.node.destroy_subscription,
            ServiceClient: self.node.destroy_client,
        }

        def end():
            for entity in entities:
                kinds[type(entity)](entity)

        future = self._executor.create_task(end)
        assert wait_for(future.done)

    def connect(self, *more_inputs):
        """Wait until the node that was started last hears this client, and is heard by it.

        What is published before is lost: the node's subscriptions are best effort. And an answer to it may be lost, for
        the node may not know our subscriptions yet when we know it. So both sides are asked for what they have matched.
        """
        self.received["diagnostics"].clear()  # of a node before
        heard = [topic for _, topic in INPUTS.values()] + list(more_inputs)
        hearing = [topic.replace("clipose/", "~/") for _, topic in OUTPUTS.values() if topic != "/diagnostics"]
        peers = [f"publishers: {topic}" for topic in heard] + [f"subscribers: {topic}" for topic in hearing]

        def missing():
            counters = self.counters()
            ours = {f"our publisher: {key}": one.get_subscription_count() for key, one in self.publishers.items()}
            ours |= {f"our subscription: {one.topic_name}": one.get_publisher_count() for one in self._subscriptions}
            return [peer for peer, count in ours.items() if not count] + [
                peer for peer in peers if not int(counters.get(peer, 0))
            ]

        # twice: where nothing has been compiled yet, a node starts late
        assert wait_for(lambda: not missing(), 2 * PATIENCE_S), f"not connected: {missing()}, {self.counters()}"

    def send(self, depth=None, camera_info=None, instances=None):
        for key, message in (("camera_info", camera_info), ("depth", depth), ("instances", instances)):
            if message is not None:
                self.publishers[key].publish(message)

    def answer(self, stamp, output="poses_9dof"):
        """The output with this stamp, or None."""
        return next((message for message in list(self.received[output]) if stamp_of(message) == stamp), None)

    def answer_soon(self, stamp, output):
        """The output with this stamp, which must come."""
        assert wait_for(lambda: self.answer(stamp, output)), f"no {output} for stamp {stamp}"
        return self.answer(stamp, output)

    def ask(self, depth, camera_info, instances, output="poses_9dof", more=()):
        """The output for a frame. Best effort may lose a message, so they are sent again until the answer is there.

        `more` has further publishers, with their messages.
        """
        stamp = depth.header.stamp
        for _ in range(int(PATIENCE_S)):
            self.send(depth, camera_info, instances)
            for publisher, message in more:
                publisher.publish(message)
            if wait_for(lambda: self.answer(stamp, output), seconds=1.0):
                return self.answer(stamp, output)
        pytest.fail(f"no {output} for stamp {stamp}")

    def counters(self):
        """The node's last word about itself."""
        return (
            {value.key: value.value for value in self.received["diagnostics"][-1].status[0].values}
            if self.received["diagnostics"]
            else {}
        )


@pytest.fixture(scope="session", autouse=True)
def dds():
    profile = str(ROOT / "launch" / "fastdds_shm.xml")
    os.environ.update(ROS_DOMAIN_ID=str(1 + os.getpid() % 100), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    os.environ.update(FASTRTPS_DEFAULT_PROFILES_FILE=profile, FASTDDS_DEFAULT_PROFILES_FILE=profile)


@pytest.fixture(scope="module")
def start_command():
    """Starts a command as a process; what still runs at the end of the test module is killed."""
    processes = []

    def start(*command):
        processes.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def start_process(start_command):
    """Starts a module of clipose_ros.ros as a process."""

    def start(module, *ros_arguments):
        return start_command(sys.executable, "-m", f"clipose_ros.ros.{module}", "--ros-args", *ros_arguments)

    return start


@pytest.fixture(scope="session")
def output_of():
    """Begins to read what a process says, see `Output`."""
    return Output


@pytest.fixture(scope="session")
def wait_until():
    """Waits until a condition is true, and fails when it does not become so."""

    def wait(condition):
        assert wait_for(condition), f"waited {PATIENCE_S:g} s in vain"

    return wait


@pytest.fixture(scope="session")
def spheres():
    """A frame of two objects."""
    return spheres_on_table(2, ("can", "mug"))


@pytest.fixture(scope="module")
def client(dds):
    client = Client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def node(start_process, tiny_model, client):
    """The process of a pose node with the tiny model, which the client has found. It must end cleanly."""
    process = start_process("node", "-p", f"models:={tiny_model}", "-p", "diagnostics_s:=0.2")
    client.connect()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def call(client, wait_until):
    """The answer of a service of the node."""

    def call(kind, name, **fields):
        service = client.node.create_client(kind, f"clipose/{name}")
        wait_until(service.service_is_ready)
        future = service.call_async(kind.Request(**fields))
        wait_until(future.done)
        client.destroy(service)
        return future.result()

    return call


@pytest.fixture
def set_parameter(call):
    """What the node answers to the wish to set a parameter."""

    def set_parameter(name, value):
        message = Parameter(name, value=value).to_parameter_msg()
        return call(SetParameters, "set_parameters", parameters=[message]).results[0]

    return set_parameter
