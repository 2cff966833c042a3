"""From process start to a clean end, whatever ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Spin one node until SIGINT, SIGTERM or a shutdown; exit status 1 when the node refuses its configuration, else 0."""
    rclpy.init(args=args)
    node = None
    try:
        executor = SingleThreadedExecutor()
        node = make_node()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (ValueError, RuntimeError) as error:
        if rclpy.ok():  # otherwise a signal came while the node was being made, and rclpy complains about that
            get_logger(make_node.__name__).fatal(str(error))
            return 1
    finally:
        # A second Ctrl-C while we clean up must not tear the cleaning apart.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0

