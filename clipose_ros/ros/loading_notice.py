"""Says on /diagnostics that a node loads its models, which may take minutes, and what takes so long."""

from __future__ import annotations

import threading
from types import TracebackType

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header

PATIENCE_S = 5.0  # for the thread to end


class LoadingNotice:
    """Publishes a status again and again while the `with` block runs. Spinning has not begun then.

    Parameters
    ----------
    node : Node
        That loads.
    publisher : Publisher
        Of /diagnostics.
    period_s : float
        Between two messages [s].
    text : str
        What is done.
    """

    def __init__(self, node: Node, publisher: Publisher, period_s: float, text: str) -> None:
        self._node, self._publisher, self._period_s, self._text = node, publisher, period_s, text
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish_until_over, name="loading notice", daemon=True)

    def __enter__(self) -> LoadingNotice:
        """Begin to publish."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish no more."""
        self._over.set()
        self._thread.join(PATIENCE_S)

    def tell(self, text: str) -> None:
        """Say what takes long, in the log and from now on in the status.

        Parameters
        ----------
        text : str
            One sentence.
        """
        self._text = text
        self._node.get_logger().info(text)

    def _publish_until_over(self) -> None:
        while not self._over.is_set():
            status = DiagnosticStatus(
                level=DiagnosticStatus.OK, name=self._node.get_fully_qualified_name(), message=self._text
            )
            try:
                header = Header(stamp=self._node.get_clock().now().to_msg())
                self._publisher.publish(DiagnosticArray(header=header, status=[status]))
            except Exception:  # ROS ends while the node loads
                if self._node.context.ok():
                    raise
                return
            self._over.wait(self._period_s)
