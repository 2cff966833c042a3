"""A node that takes long to load says so on /diagnostics, before it spins."""

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from clipose_ros.ros.loading_notice import LoadingNotice

LOADING, LONG = "loading gspose", "compiling the code: about 40 s"


def test_what_is_done_is_said_until_it_is_done(client, wait_until):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("slow", context=context)
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def last():
        return [one.status[0] for one in client.received["diagnostics"] if one.status[0].name == "/slow"][-1:]

    with LoadingNotice(node, publisher, 0.05, LOADING) as notice:
        wait_until(lambda: last() and last()[0].message == LOADING)
        notice.tell(LONG)
        wait_until(lambda: last()[0].message == LONG)
        assert last()[0].level == DiagnosticStatus.OK
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_ros_may_end_before_all_is_loaded():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("ended", context=context)
    with LoadingNotice(node, node.create_publisher(DiagnosticArray, "/diagnostics", 10), 0.01, LOADING) as notice:
        rclpy.shutdown(context=context)
        notice._thread.join(10)
        assert not notice._thread.is_alive()
