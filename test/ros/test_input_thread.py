"""The thread that takes a node's messages, beside an executor that serves everything else."""

import threading
import time

import pytest
import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from clipose_ros.ros.input_thread import InputThread
from clipose_ros.ros.qos import unheard

RELIABLE = QoSProfile(depth=5)


class Listener:
    """A node whose messages come to an InputThread, spun by the test. `callback` gets each message."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("listener", context=self.context)
        self.publisher = self.node.create_publisher(Header, "words", 10)
        self.threads = []
        self.callback = lambda message: self.threads.append(threading.current_thread())
        self.inputs = InputThread(self.node)
        none = SubscriptionEventCallbacks(use_default_callbacks=False)
        self.node.create_subscription(
            Header,
            "words",
            lambda message: self.callback(message),
            RELIABLE,
            callback_group=self.inputs,
            event_callbacks=none,
        )
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.inputs.start()

    def close(self):
        self.inputs.stop()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def listener(dds):
    listener = Listener()
    yield listener
    listener.close()


def publish_until(listener, wait_until, condition):
    def sent():
        listener.publisher.publish(Header())
        return condition()

    wait_until(sent)


def test_messages_come_to_the_thread_and_not_to_the_executor(listener, wait_until):
    def both():
        listener.executor.spin_once(timeout_sec=0.01)
        return len(listener.threads) > 20

    publish_until(listener, wait_until, both)
    assert {thread.name for thread in listener.threads} == {"inputs"}


def test_a_subscription_that_is_made_later_is_served_too(listener, wait_until):
    heard, later = [], listener.node.create_publisher(Header, "later", 10)
    publish_until(listener, wait_until, lambda: listener.threads)
    none = SubscriptionEventCallbacks(use_default_callbacks=False)
    listener.node.create_subscription(
        Header, "later", heard.append, RELIABLE, callback_group=listener.inputs, event_callbacks=none
    )
    listener.inputs.refresh()
    wait_until(lambda: later.publish(Header()) or heard)


def test_messages_come_while_a_callback_of_the_executor_takes_its_time(listener, wait_until):
    publish_until(listener, wait_until, lambda: listener.threads)
    during = []

    def work():
        before = len(listener.threads)
        publish_until(listener, wait_until, lambda: len(listener.threads) > before)
        during.append(len(listener.threads) - before)
        timer.cancel()

    timer = listener.node.create_timer(0.01, work)
    wait_until(lambda: listener.executor.spin_once(timeout_sec=0.1) or during)
    assert during[0] > 0


def test_what_a_callback_raises_is_for_whoever_spins_the_node(listener, wait_until):
    def fail(message):
        raise OSError("the camera is gone")

    listener.callback = fail
    publish_until(listener, wait_until, lambda: not listener.inputs._thread.is_alive())
    with pytest.raises(OSError, match="the camera is gone"):
        listener.executor.spin_once(timeout_sec=5.0)


def test_publishers_that_cannot_be_heard_are_found(listener, wait_until):
    quiet = listener.node.create_publisher(
        Header, "words", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    wait_until(lambda: list(unheard(listener.node, "words", RELIABLE).values()) == ["reliability"])
    listener.node.destroy_publisher(quiet)
    wait_until(lambda: not unheard(listener.node, "words", RELIABLE))


def test_nothing_comes_once_it_has_stopped(listener, wait_until):
    publish_until(listener, wait_until, lambda: listener.threads)
    listener.inputs.stop()
    before = len(listener.threads)
    for _ in range(20):
        listener.publisher.publish(Header())
        listener.executor.spin_once(timeout_sec=0.01)
    assert len(listener.threads) == before


def test_a_shutdown_ends_it(listener, wait_until):
    publish_until(listener, wait_until, lambda: listener.threads)
    rclpy.shutdown(context=listener.context)
    wait_until(lambda: not listener.inputs._thread.is_alive())


def test_stopping_does_not_wait_for_a_message(listener):
    begin_s = time.monotonic()
    listener.inputs.stop()
    assert time.monotonic() - begin_s < 5.0
