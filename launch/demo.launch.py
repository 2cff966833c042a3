"""Pose node and player on a folder in NOCS format, with RViz: ros2 launch clipose_ros demo.launch.py
folder:=/path/to/scene

The arguments of pose.launch.py work here, too.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

LAUNCH = PathJoinSubstitution([FindPackageShare("clipose_ros"), "launch"])


def generate_launch_description() -> LaunchDescription:
    player = Node(
        package="clipose_ros",
        executable="player",
        name="player",
        parameters=[
            {
                "folder": ParameterValue(LaunchConfiguration("folder"), value_type=str),
                "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
            }
        ],
        output="screen",
    )
    pose = IncludeLaunchDescription(PythonLaunchDescriptionSource(PathJoinSubstitution([LAUNCH, "pose.launch.py"])))
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "folder", default_value=PathJoinSubstitution([LAUNCH, "demo"]), description="in NOCS format"
            ),
            DeclareLaunchArgument("rate_hz", default_value="15.0", description="frames a second"),
            DeclareLaunchArgument("use_rviz", default_value="true", description="start RViz"),
            pose,  # first: it sets the DDS profile, which the player needs even more
            player,
        ]
    )
