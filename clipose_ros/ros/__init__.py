"""What is ROS's: nodes, their parameters and topics, and the laboratory that tries them."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m clipose_ros.ros.…` looks for its module, which is about to import rclpy
    from clipose_ros.ros.console_scripts import check_environment

    check_environment()
