"""What a node that says nothing says about it: each state has its sentence, in the log and on /diagnostics."""

import itertools
import re
import signal
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from clipose_ros.bench.latency import Scene, spheres_on_table
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.ros.calibration_input import QUIET_S, Repeats
from clipose_ros.ros.conversions import frame_messages, stamp_message, stamp_ns
from clipose_ros.ros.health import CLOCK, LATE, STALLED, Health
from clipose_ros.ros.lab.faults import NO_FOCAL_LENGTH
from clipose_ros.ros.qos import LATCHED_QOS, Offer
from clipose_ros.ros.silence import Reminder, input_cure, input_reason, input_sentence, uncalibrated_sentence

SILENCE_S = 0.5
LOOK_S = SILENCE_S / 2  # between two looks at the inputs
BUFFER_SIZE = 10
MS = NS_PER_S // 1000
PERIOD_NS = 33 * MS
DEPTH, CAMERA_INFO, INSTANCES = "depth_registered/image_rect", "rgb/camera_info", "instances"
WARN, OK, STALE = DiagnosticStatus.WARN, DiagnosticStatus.OK, DiagnosticStatus.STALE

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
OFFERS = {
    "nobody publishes": (Offer(), "start its publisher, with this ROS_DOMAIN_ID, or remap the input to its topic"),
    f"published as {COMPRESSED}": (
        Offer((f"reliable {COMPRESSED}, not {IMAGE}",), types=(COMPRESSED,)),
        "remap the input to a topic of its type; compressed images need a republisher",
    ),
    "incompatible reliability": (
        Offer(("best_effort",), refused="reliability"),
        "let it publish reliable, or set reliable_inputs to false",
    ),
    "published, but nothing arrives": (
        Offer(("reliable", "best_effort"), matching=1, refused="reliability"),
        "is the publisher paused? Else start it with the Fast DDS profile of the node",
    ),
}


@pytest.mark.parametrize(("reason", "offer", "cure"), [(reason, *rest) for reason, rest in OFFERS.items()])
def test_a_silent_input_has_a_reason_and_a_cure(reason, offer, cure):
    assert input_reason(offer) == reason and input_cure(offer).startswith(cure)
    said = input_sentence("/depth", 5.0, "reliable, depth 5", offer)
    offered = ", ".join(offer.publishers) or "nobody publishes"
    assert said.startswith(
        f"/depth: expected messages, got none for 5 s (subscribed reliable, depth 5; offered: {offered}): {cure}"
    )


def test_another_users_shared_memory_takes_the_place_of_a_guess():
    offer, others = (
        OFFERS["published, but nothing arrives"][0],
        "processes of other users are on this domain: camera (1)",
    )
    assert input_cure(offer, f"{others}: run all as one") == f"{others}: run all as one"
    assert input_reason(offer, others) == f"published, but nothing arrives: {others}"
    assert "camera" not in input_cure(Offer(), others) + input_reason(Offer(), others)


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def all_is_well(health, clock):
    health.done({}, 1.0)


def disabled(health, clock):
    health.enabled = False


def silent(health, clock):
    health.note("depth", "nobody publishes")
    clock.now_s += 3.0
    health.heard("masks")
    health.heard("info")


def all_fail(health, clock):
    health.failed(ValueError("depth encoding: expected 16UC1"))


def busy(health, clock):
    health.begun()
    clock.now_s += 3.0
    for topic in ("depth", "masks", "info"):
        health.heard(topic)


def stalled(health, clock):
    clock.now_s += 3.0
    for topic in ("depth", "masks", "info"):
        health.heard(topic)


def stalled_for_a_reason(health, clock):
    health.note(STALLED, "masks come late")
    stalled(health, clock)


def partly_late(health, clock):
    all_is_well(health, clock)
    health.note(LATE, "masks come late")


def without_clock(health, clock):
    all_is_well(health, clock)
    health.note(CLOCK, "no time comes")


def held_and_silent(health, clock):
    all_is_well(health, clock)
    health.hold("info")
    for _ in range(3):
        clock.now_s += 1.0
        health.heard("depth")
        health.heard("masks")
    health.done({}, 1.0)


STATES = {  # of a node: what happens, level, sentence
    lambda health, clock: None: ("waiting", OK, "waiting for the first frame"),
    all_is_well: ("running", OK, "running"),
    held_and_silent: ("running", OK, "running"),
    disabled: ("disabled", OK, "disabled by ~/enable: frames are ignored until ~/enable is called with true"),
    all_fail: ("failing", DiagnosticStatus.ERROR, "every frame fails: depth encoding: expected 16UC1"),
    silent: ("silent", WARN, "no input on depth (nobody publishes)"),
    busy: ("busy", STALE, "one frame has been worked on for 3 s"),
    stalled: (
        "stalled",
        STALE,
        "every input is heard, but no frame was complete for 2 s: no image has had all of its partners; "
        "the counters 'dropped:' say what became of them",
    ),
    stalled_for_a_reason: (
        "stalled",
        STALE,
        "every input is heard, but no frame was complete for 2 s: masks come late",
    ),
    partly_late: ("late", WARN, "masks come late"),
    without_clock: ("clock", WARN, "no time comes"),
}


@pytest.mark.parametrize(("happens", "expected"), STATES.items(), ids=[name for name, *_ in STATES.values()])
def test_each_state_has_a_level_and_a_sentence(happens, expected):
    clock = Clock()
    health = Health(("depth", "masks", "info"), silence_s=2.0, clock=clock)
    happens(health, clock)
    state = health.state()
    assert (state.name, state.level, state.text) == expected
    status = health.message("/node", Header(), {}, {}, 0).status[0]
    assert (status.level, status.message) == expected[1:]


def test_what_is_over_is_not_said_any_more():
    health = Health(("depth",), silence_s=2.0, clock=Clock())
    health.note(LATE, "masks come late")
    health.note(LATE, "")
    assert health.state().name == "waiting"


def test_a_frame_that_is_done_or_fails_is_no_longer_worked_on():
    for end in (lambda health: health.done({}, 1.0), lambda health: health.failed(ValueError("x"))):
        clock = Clock()
        health = Health(("depth",), silence_s=2.0, clock=clock)
        health.begun()
        end(health)
        clock.now_s += 60.0
        health.heard("depth")
        assert health.state().name == "stalled"


def test_without_a_calibration_the_refusal_is_told():
    assert uncalibrated_sentence("/info", "").startswith("no usable calibration on /info: none has come: calibrate")
    assert "fx, fy > 0" in uncalibrated_sentence("/info", "intrinsics: expected finite values with fx, fy > 0")


def test_what_still_holds_is_said_again_after_a_while():
    clock = Clock()
    reminder, said = Reminder(5.0, clock), []
    for _ in range(12):
        said.append((reminder.due("depth"), reminder.due("masks")))
        clock.now_s += 1.0
    assert [a for a, _ in said] == [i % 5 == 0 for i in range(12)] and all(a == b for a, b in said)


def test_what_two_subscriptions_hear_is_taken_once_and_what_is_kept_only_where_it_is_newer():
    repeats = Repeats()
    assert repeats.new(100, latched=True)  # from before the node was there
    assert repeats.new(200, latched=False) and not repeats.new(200, latched=True)
    assert repeats.new(300, latched=True) and not repeats.new(300, latched=False)
    assert not repeats.new(250, latched=True)  # an old one that comes late
    assert repeats.new(250, latched=False)  # of a second publisher, whose clock is behind
    assert [repeats.new(0, latched) for latched in (True, False, False)] == [True] * 3  # it is not said when


# Over DDS


def small_spheres():
    full, found = spheres_on_table(2, ("can", "mug"))
    k = full.intrinsics
    frame = Frame(0, "optical", full.depth[::4, ::4].copy(), Intrinsics(k.fx / 4, k.fy / 4, k.cx / 4, k.cy / 4))
    return Scene(frame, Detections(found.instances, found.masks[::4, ::4].copy()))


SCENE = small_spheres()
STAMPS_NS = itertools.count(time.time_ns(), 1_000 * NS_PER_S)  # of tests that know nothing of each other


def messages(stamp, frame_id="optical"):
    return frame_messages(*SCENE, Header(stamp=stamp_message(stamp), frame_id=frame_id))


class Sender:
    """Sends images to a namespace, at 30 Hz from a thread, as a test says: `step(i)` publishes the i-th."""

    def __init__(self, client, namespace):
        self.client, self._over, self._thread = client, threading.Event(), None
        self.publishers = {
            key: client.node.create_publisher(kind, f"/{namespace}/{topic}", 10)
            for key, (kind, topic) in client.inputs.items()
        }

    def begin(self, step):
        self.end()
        self._over.clear()

        def send():
            for i in itertools.count():
                step(i)
                if self._over.wait(0.033):
                    return

        self._thread = threading.Thread(target=send)
        self._thread.start()

    def end(self):
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    def send(self, depth=None, camera_info=None, instances=None):
        for key, message in (("camera_info", camera_info), ("depth", depth), ("instances", instances)):
            if message is not None:
                self.publishers[key].publish(message)

    def close(self):
        self.end()
        self.client.destroy(*self.publishers.values())


class Said:
    """What a node in a namespace says in its log and on /diagnostics."""

    def __init__(self, process, output, client, namespace, wait_until):
        self.process, self.output, self._client, self._wait_until = process, output, client, wait_until
        self._name, self.namespace = f"/{namespace}/clipose", namespace

    def status(self):
        statuses = [message.status[0] for message in list(self._client.received["diagnostics"])[-400:]]
        return next((status for status in reversed(statuses) if status.name == self._name), None)

    def values(self):
        return {value.key: value.value for value in self.status().values} if self.status() else {}

    def held_s(self):
        """How long ago the calibration came that holds, as the node says; negative where there is none."""
        held = re.match(r"held since (.*) s: ", self.values().get(CAMERA_INFO, ""))
        return float(held[1]) if held else -1.0

    def wait_for(self, sentence, level=None, in_log=True, in_diagnostics=True):
        since = len(self.output.lines)
        self._wait_until(lambda: not in_log or self.output.said(sentence, since))
        self._wait_until(lambda: not in_diagnostics or (self.status() and sentence in self.status().message))
        assert level is None or self.status().level == level


@pytest.fixture(scope="module")
def start_node(start_process, output_of, tiny_model, client, wait_until):
    """Starts a node in a namespace; all must end cleanly."""
    started = []

    def start(namespace, *arguments):
        settings = ("-p", f"models:={tiny_model}", "-p", f"silence_s:={SILENCE_S}", "-p", "diagnostics_s:=0.05")
        settings += ("-p", f"buffer_size:={BUFFER_SIZE}", "-r", f"__ns:=/{namespace}", *arguments)
        process = start_process("node", *settings)
        started.append(Said(process, output_of(process), client, namespace, wait_until))
        wait_until(lambda: started[-1].output.said("ready"))
        return started[-1]

    yield start
    for said in started:
        said.process.send_signal(signal.SIGINT)
    for said in started:
        assert "Traceback" not in said.output.of_ended() and said.process.returncode == 0


@pytest.fixture(scope="module")
def node(start_node):
    """Whose every silent state is tried, one after the other."""
    return start_node("quiet")


@pytest.fixture
def sender(client, node):
    sender = Sender(client, node.namespace)
    yield sender
    sender.close()


def test_nobody_publishes(node):
    for topic in (DEPTH, CAMERA_INFO, INSTANCES):
        node.wait_for(f"/quiet/{topic}: expected messages, got none for 0.5 s", in_diagnostics=False)
    reasons = ", ".join(f"{topic} (nobody publishes)" for topic in (DEPTH, CAMERA_INFO, INSTANCES))
    node.wait_for(f"no input on {reasons}", WARN, in_log=False)


def test_publishers_of_another_type(node, client):
    publisher = client.node.create_publisher(CompressedImage, f"/quiet/{DEPTH}", 1)
    node.wait_for(f"{DEPTH} (published as {COMPRESSED})", WARN, in_log=False)
    node.wait_for("remap the input to a topic of its type; compressed images need a republisher", in_diagnostics=False)
    client.destroy(publisher)


def test_publishers_that_send_nothing(node, sender):
    node.wait_for(f"{DEPTH} (published, but nothing arrives)", WARN, in_log=False)
    node.wait_for("(subscribed best effort, depth 5; offered: reliable): is the pub", in_diagnostics=False)


def test_a_camera_that_is_not_calibrated(node, sender):
    begin = next(STAMPS_NS)

    def step(i):
        depth, info, instances = messages(begin + i * PERIOD_NS)
        info.k, info.p = np.zeros(9), np.zeros(12)
        sender.send(depth, info, instances)

    sender.begin(step)
    node.wait_for(f"no usable calibration on /quiet/{CAMERA_INFO}: {NO_FOCAL_LENGTH}", STALE)


def test_one_calibration_holds_and_is_no_silent_input(node, sender, wait_until):
    """Sent once, to a node that runs; from here on it has one."""
    begin = next(STAMPS_NS)
    wait_until(lambda: sender.send(camera_info=messages(begin)[1]) or "held" in node.values().get(CAMERA_INFO, ""))
    since = len(node.output.lines)
    sender.begin(lambda i: sender.send(messages(begin + i * PERIOD_NS)[0], None, messages(begin + i * PERIOD_NS)[2]))
    wait_until(lambda: node.status().message == "running")
    frames = int(node.values()["frames"])
    wait_until(lambda: node.held_s() > 2 * SILENCE_S + LOOK_S)  # then it has been looked for, and may have been missed
    assert node.status().level == OK and int(node.values()["frames"]) > frames
    assert not node.output.said(CAMERA_INFO, since)
    assert node.values()[CAMERA_INFO].partition(": ")[2] == "160x120, frame_id 'optical'"


def test_a_disabled_node(node, client, wait_until):
    service = client.node.create_client(SetBool, "/quiet/clipose/enable")
    wait_until(service.service_is_ready)
    service.call_async(SetBool.Request(data=False))
    node.wait_for("disabled by ~/enable: frames are ignored until ~/enable is called with true", OK)
    service.call_async(SetBool.Request(data=True))
    node.wait_for("enabled by ~/enable", in_diagnostics=False)
    client.destroy(service)


def test_stamps_that_are_near(node, sender):
    begin = next(STAMPS_NS)
    sender.begin(
        lambda i: sender.send(messages(begin + i * PERIOD_NS)[0], None, messages(begin + i * PERIOD_NS + MS)[2])
    )
    node.wait_for(
        "every input is heard, but no frame was complete for 0.5 s: instances and depth images differ in their stamps, "
        "the nearest by 1 ms (median): set max_stamp_difference_s to 0.002",
        STALE,
    )


def test_masks_that_come_too_late(node, sender):
    begin, late = next(STAMPS_NS), 15

    def step(i):
        sender.send(messages(begin + i * PERIOD_NS)[0])
        if i >= late:
            sender.send(instances=messages(begin + (i - late) * PERIOD_NS)[2])

    sender.begin(step)
    node.wait_for("instances arrive 0.49 s after depth images of their stamp (median); buffer_size 10 keeps", STALE)
    node.wait_for(": set buffer_size to 20", STALE)
    assert float(node.values()["instances after depth images ms"]) == pytest.approx(15 * 33, abs=35)


def test_depth_that_comes_too_late(node, sender):
    begin, late = next(STAMPS_NS), 15

    def step(i):
        sender.send(instances=messages(begin + i * PERIOD_NS)[2])
        if i >= late:
            sender.send(messages(begin + (i - late) * PERIOD_NS)[0])

    sender.begin(step)
    node.wait_for("depth images arrive 0.4", STALE)


def test_masks_of_another_clock(node, sender):
    begin = next(STAMPS_NS)
    sender.begin(
        lambda i: sender.send(
            messages(begin + i * PERIOD_NS)[0], None, messages(begin + i * PERIOD_NS - 60 * NS_PER_S)[2]
        )
    )
    node.wait_for("before depth images: stamp instances with the stamp of the image that they are of", STALE)


def test_one_stamp_again_and_again(node, sender):
    sender.begin(lambda i: sender.send(messages(0)[0], None, messages(0)[2]))
    node.wait_for("depth images have one stamp again and again, 0.000 s", STALE)


def test_a_calibration_of_another_frame(node, sender, wait_until):
    """One warning, not one for each image, which names both; it is counted."""
    begin, since = next(STAMPS_NS), len(node.output.lines)

    def step(i):
        depth, _, instances = messages(begin + i * PERIOD_NS)
        sender.send(depth, messages(begin + i * PERIOD_NS, "another")[1], instances)

    sender.begin(step)
    text = f"{CAMERA_INFO} frame_id: expected 'optical' as {DEPTH}"
    wait_until(lambda: int(node.values().get(f"warned: {text}", 0)) > 5)
    assert sum(f"{text}, got 'another'; is it another camera's?" in line for line in node.output.lines[since:]) == 1


def test_two_cameras_on_one_topic(node, sender, wait_until):
    """With one frame_id, as two cameras have that were started alike: their calibrations come in turns."""
    begin = next(STAMPS_NS)

    def step(i):
        depth, info, instances = messages(begin + i * PERIOD_NS)
        if i % 2:
            info.k[0], info.p[0] = 1.01 * info.k[0], 1.01 * info.p[0]
        sender.send(depth, info, instances)

    sender.begin(step)
    text = f"{CAMERA_INFO} expected the calibration of one camera, got two in turns: poses of either are wrong in turns"
    node.wait_for(f"{text}; do two cameras publish on it? Give each a namespace", in_diagnostics=False)
    wait_until(lambda: int(node.values().get(f"warned: {text.partition(', got ')[0]}", 0)) > 2)


def test_objects_that_no_model_answers(node, sender, wait_until):
    """Each name once, however often it comes, with the name that is meant."""
    begin, since = next(STAMPS_NS), len(node.output.lines)

    def step(i):
        depth, info, instances = messages(begin + i * PERIOD_NS)
        for k, one in enumerate(instances.instances):
            one.category = ("cup", "Mug")[k % 2]
        sender.send(depth, info, instances)

    sender.begin(step)
    for said in ("got cup: rejected; rename it in the segmenter or in an adapter", "got 'Mug'; write mug: rejected"):
        wait_until(lambda said=said: node.output.said(said, since))
    rejected = "rejected: category: expected one of bottle, bowl, camera, can, laptop, mug"
    wait_until(lambda: int(node.values().get(rejected, 0)) > 10)
    assert sum("rename it in the segmenter" in line for line in node.output.lines[since:]) == 2


def test_masks_every_few_seconds(node, sender, wait_until):
    """None of its objects could be confirmed."""
    begin = next(STAMPS_NS)
    sender.begin(lambda i: sender.send(*messages(begin + i * 2500 * MS)))
    text = "frames come every 2.5 s, and after 2 s without one every object is forgotten: none is ever confirmed: "
    node.wait_for(f"{text}set coast_s to 8, or tracking to false", in_diagnostics=False)
    wait_until(lambda: node.values().get(f"warned: {text}set coast_s to 8, or tracking to false") == "1")


def latched_publisher(client, namespace):
    return client.node.create_publisher(CameraInfo, f"/{namespace}/{CAMERA_INFO}", LATCHED_QOS)


@pytest.fixture(scope="module")
def late_node(client, start_node):
    """Started after a latched calibration had been sent; joins near stamps."""
    publisher = latched_publisher(client, "late")
    publisher.publish(messages(0)[1])
    yield start_node("late", "-p", "max_stamp_difference_s:=0.002"), publisher
    client.destroy(publisher)


@pytest.fixture
def late_sender(client, late_node):
    sender = Sender(client, "late")
    client.destroy(sender.publishers.pop("camera_info"))
    yield sender
    sender.close()


def test_a_latched_calibration_from_before_the_node_is_heard(late_node, late_sender, client, wait_until):
    """And near stamps make frames, which have the depth images'."""
    node, _ = late_node
    poses = []
    subscription = client.node.create_subscription(
        client.outputs["poses_9dof"][0], "/late/clipose/poses_9dof", poses.append, 10
    )
    begin = next(STAMPS_NS)
    late_sender.begin(
        lambda i: late_sender.send(messages(begin + i * PERIOD_NS)[0], None, messages(begin + i * PERIOD_NS + MS)[2])
    )
    wait_until(lambda: len(poses) > 10)
    assert all((stamp_ns(message.header.stamp) - begin) % PERIOD_NS == 0 for message in poses)
    assert all(len(message.poses) == 2 for message in poses)
    wait_until(lambda: node.held_s() > SILENCE_S + LOOK_S)
    assert node.status().message == "running"
    wait_until(lambda: float(node.values()["input Hz: rgb/camera_info"]) < 1)
    assert node.values()["instances apart from depth images ms"] == "1.000"
    client.destroy(subscription)


def test_the_next_latched_calibration_takes_the_place_of_the_first(late_node, late_sender, client, wait_until):
    """Also of another publisher, which comes and goes."""
    node, publisher = late_node
    publisher.publish(messages(0, "second")[1])
    wait_until(lambda: node.values()[CAMERA_INFO].endswith("'second'"))
    other = latched_publisher(client, "late")
    other.publish(messages(0, "third")[1])
    wait_until(lambda: node.values()[CAMERA_INFO].endswith("'third'"))
    client.destroy(other)


def test_a_message_that_two_subscriptions_hear_counts_once(late_node, client, wait_until):
    """Refusals are counted one by one; what is held in the end has come after all of them, by either."""
    (node, publisher), times = late_node, 10
    wait_until(lambda: publisher.get_subscription_count() == 2)
    refusals = f"refused: {NO_FOCAL_LENGTH}"
    for i in range(times):
        bad = messages(i * PERIOD_NS)[1]
        bad.k, bad.p = np.zeros(9), np.zeros(12)
        publisher.publish(bad)
        wait_until(lambda: int(node.values().get(refusals, 0)) > i)
    publisher.publish(messages(0, "end")[1])
    wait_until(lambda: node.values()[CAMERA_INFO].endswith("'end'"))
    assert node.values()[refusals] == str(times)


def test_simulated_time_without_a_clock(start_node, client):
    node = start_node("simulated", "-p", "use_sim_time:=true")
    sender, begin = Sender(client, "simulated"), next(STAMPS_NS)
    sender.begin(lambda i: sender.send(*messages(begin + i * PERIOD_NS)))
    node.wait_for("use_sim_time is true, and no time comes on /clock: ages and latencies are unknown", WARN)
    sender.close()


def test_a_volatile_publisher_is_asked_for_nothing_that_it_lacks(client, start_node, wait_until):
    """Its own log would warn of a subscription that wants more."""
    node = start_node("volatile")
    publisher = client.node.create_publisher(
        CameraInfo, f"/volatile/{CAMERA_INFO}", QoSProfile(depth=5, durability=DurabilityPolicy.VOLATILE)
    )
    publisher.publish(messages(0)[1])
    wait_until(publisher.get_subscription_count)
    wait_until(lambda: publisher.publish(messages(0)[1]) or "held" in node.values().get(CAMERA_INFO, ""))
    wait_until(lambda: node.held_s() > QUIET_S + 2 * LOOK_S)  # it would have been asked for what it keeps
    subscriptions = client.node.get_subscriptions_info_by_topic(f"/volatile/{CAMERA_INFO}")
    assert [s.qos_profile.durability for s in subscriptions] == [DurabilityPolicy.VOLATILE]
    client.destroy(publisher)
