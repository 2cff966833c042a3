"""From process start to a clean end, whatever ends it."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from clipose_ros.formats.text_files import print_in_any_encoding
from clipose_ros.ros.console_scripts import HELP

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long one thread may keep another from running Python. With Python's 5 ms, a worker that a callback wakes waits
# until the executor has prepared its next wait, about 1 ms; with this, 0.3 ms.
SWITCH_INTERVAL_S = 1e-4
# Larger pieces of memory, which are depth images, go back to the system when they are done with. Else those that once
# waited for late masks leave holes behind in the heap: 40 of them 24 MB, and the process stays as large as its worst
# moment. Half of this takes in the label images, too, which come last: that costs 1 ms a frame, from the newest message
# to the poses.
LARGE_BYTES = 512 * 1024
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Spin one node until SIGINT, SIGTERM or a shutdown.

    Parameters
    ----------
    make_node : callable
        Makes the node, once ROS has started.
    args : list of str, optional
        Of the command line. By default those of the process.

    Returns
    -------
    int
        Exit status: 2 for arguments that ROS would ignore in silence, 1 where ROS does not start or the node refuses
        its configuration, which is said, else 0.
    """
    print_in_any_encoding()
    try:
        command, *others = remove_ros_args(sys.argv if args is None else ["node", *args])
        if others:
            return _answer(Path(command).name, others)
        executor = _let_rclpy_answer_signals(args)
    except Exception as error:  # ROS's own errors, of its arguments and of what surrounds it
        print(f"ROS cannot start: {_one_line(error)}. Try: {HELP}", file=sys.stderr)
        return 1
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    give_back_large_memory()
    node = None
    try:
        node = make_node()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except Exception as error:
        if rclpy.ok():  # otherwise a signal came while the node was being made, and rclpy complains about that
            if not isinstance(error, (ValueError, RuntimeError, OSError)):  # of files that a node cannot read
                raise
            get_logger(make_node.__name__).fatal(_one_line(error))
            return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        for number in SIGNALS:  # so late, one more Ctrl-C must not tear Python's own end apart
            signal.signal(number, signal.SIG_IGN)
    return 0


def give_back_large_memory() -> None:
    """From now on, where the C library is glibc: see LARGE_BYTES."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def _answer(command: str, arguments: list[str]) -> int:
    """Answer arguments that ROS does not take: usage for help, else what is wrong with them. Exit status."""
    usage = f"{command} --ros-args -p PARAMETER:=VALUE … -r TOPIC:=OTHER_TOPIC … --params-file FILE"
    if {"-h", "--help"} & set(arguments):
        print(
            f"usage: {usage}\nlaunch/params.yaml has the pose node's parameters; docs/node.md the topics and adapters."
        )
        return 0
    print(f"arguments: expected them after --ros-args ({usage}), got {' '.join(arguments)}", file=sys.stderr)
    return 2


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _let_rclpy_answer_signals(args: list[str] | None) -> SingleThreadedExecutor:
    """Start rclpy, which answers signals by a shutdown that ends the spinning.

    A KeyboardInterrupt would tear apart what is under way, cleaning up too.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # what comes before rclpy listens waits for it
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)
    rclpy.init(args=args)
    # now: after a shutdown, rclpy makes half of one, and complains about it at the end
    executor = SingleThreadedExecutor()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return executor
