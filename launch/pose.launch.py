"""The pose node on a real ROS 2 install, with topics of your camera and segmenter.

RealSense (ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true enable_sync:=true):

    ros2 launch clipose_ros pose.launch.py instances:=/segmenter/instances \
        depth:=/camera/camera/aligned_depth_to_color/image_raw camera_info:=/camera/camera/aligned_depth_to_color/camera_info

The values of `params_file` count; model, models_dir and provider override them when given.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("clipose_ros")
OVERRIDES = ("model", "models_dir", "provider")

ARGUMENTS = (
    ("model", "", "a folder of models_dir, or a path; empty: as params_file says"),
    ("models_dir", "", "where models lie; empty: as params_file says"),
    ("provider", "", "cpu, cuda or tensorrt; empty: as params_file says"),
    ("depth", "depth_registered/image_rect", "depth registered to colour, 16UC1 [mm] or 32FC1 [m]"),
    ("camera_info", "rgb/camera_info", "calibration of the colour camera"),
    ("colour", "rgb/image_rect_color", "drawn on by ~/debug_image while somebody looks at it; not needed for the poses"),
    ("instances", "instances", "clipose_ros/InstanceArray with the stamp of the segmented image"),
    ("namespace", "", "of the node and its relative topics"),
    ("params_file", PathJoinSubstitution([SHARE, "launch", "params.yaml"]), "parameters of the node"),
    ("use_sim_time", "false", "take the time from /clock"),
    ("use_rviz", "false", "start RViz"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
)


def pose_node(context) -> list[Node]:
    """The node with the parameters that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    return [
        Node(
            package="clipose_ros",
            executable="pose_node",
            name="clipose",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {name: value for name, value in given.items() if value},
                {"use_sim_time": LaunchConfiguration("use_sim_time").perform(context).lower() == "true"},
            ],
            remappings=[
                ("depth_registered/image_rect", LaunchConfiguration("depth")),
                ("rgb/camera_info", LaunchConfiguration("camera_info")),
                ("rgb/image_rect_color", LaunchConfiguration("colour")),
                ("instances", LaunchConfiguration("instances")),
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", PathJoinSubstitution([SHARE, "launch", "pose.rviz"])],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
    arguments = [DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS]
    return LaunchDescription([*arguments, OpaqueFunction(function=pose_node), rviz])
