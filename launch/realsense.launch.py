"""The pose node on an Intel RealSense (realsense2_camera 4): ros2 launch clipose_ros realsense.launch.py camera:=true
instances:=/segmenter/instances

With camera:=true the driver is started, too, with depth aligned to colour and both synchronised; else start it so
yourself:

    ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true enable_sync:=true

The arguments of pose.launch.py work here, too.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

NAMESPACE, NAME = LaunchConfiguration("camera_namespace"), LaunchConfiguration("camera_name")
ALIGNED = ("/", NAMESPACE, "/", NAME, "/aligned_depth_to_color")

ARGUMENTS = (
    ("camera", "false", "start the camera's driver"),
    ("camera_namespace", "camera", "as the driver's argument"),
    ("camera_name", "camera", "as the driver's argument"),
    ("depth", (*ALIGNED, "/image_raw"), "depth aligned to colour"),
    ("camera_info", (*ALIGNED, "/camera_info"), "of the aligned depth, which is that of colour"),
    # Aligned depth lies in the raw colour image, whose lens is in camera_info (on many models with zeros only).
    ("rectified", "false", "whether the images are, as after image_proc's rectify_node"),
    ("colour", ("/", NAMESPACE, "/", NAME, "/color/image_raw"), "for ~/debug_image; segment this one"),
)


def generate_launch_description() -> LaunchDescription:
    pose = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("clipose_ros"), "launch", "pose.launch.py"])
        )
    )
    settings = {"camera_namespace": NAMESPACE, "camera_name": NAME, "align_depth.enable": "true", "enable_sync": "true"}
    wanted = IfCondition(LaunchConfiguration("camera"))
    # Looked up before anything is started: what runs when a launch file fails is left running.
    find_driver = SetLaunchConfiguration("driver", FindPackageShare("realsense2_camera"), condition=wanted)
    camera = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([LaunchConfiguration("driver"), "launch", "rs_launch.py"])),
        launch_arguments=settings.items(),
        condition=wanted,
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS
    ]
    # pose before camera: it sets the DDS profile, which the driver needs even more
    return LaunchDescription([*arguments, find_driver, pose, camera])
