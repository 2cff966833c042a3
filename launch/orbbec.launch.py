"""The pose node on an Orbbec (orbbec_camera, Gemini 330 series): ros2 launch clipose_ros orbbec.launch.py camera:=true
instances:=/segmenter/instances

With camera:=true the driver is started, too, with depth registered to colour; else start it so yourself:

    ros2 launch orbbec_camera gemini_330_series.launch.py depth_registration:=true

The arguments of pose.launch.py work here, too.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

NAME = LaunchConfiguration("camera_name")

ARGUMENTS = (
    ("camera", "false", "start the camera's driver"),
    ("camera_launch", "gemini_330_series.launch.py", "the driver's launch file for your model"),
    ("camera_name", "camera", "as the driver's argument"),
    ("depth", ("/", NAME, "/depth/image_raw"), "depth, which depth_registration aligns to colour"),
    ("camera_info", ("/", NAME, "/color/camera_info"), "of the colour camera, which registered depth has, too"),
    # Registered depth lies in the raw colour image, whose lens is in camera_info.
    ("rectified", "false", "whether the images are, as after image_proc's rectify_node"),
    ("colour", ("/", NAME, "/color/image_raw"), "for ~/debug_image; segment this one"),
)


def generate_launch_description() -> LaunchDescription:
    pose = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("clipose_ros"), "launch", "pose.launch.py"])
        )
    )
    settings = {"camera_name": NAME, "depth_registration": "true", "enable_frame_sync": "true"}
    wanted = IfCondition(LaunchConfiguration("camera"))
    # Looked up before anything is started: what runs when a launch file fails is left running.
    find_driver = SetLaunchConfiguration("driver", FindPackageShare("orbbec_camera"), condition=wanted)
    camera = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([LaunchConfiguration("driver"), "launch", LaunchConfiguration("camera_launch")])
        ),
        launch_arguments=settings.items(),
        condition=wanted,
    )
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS
    ]
    # pose before camera: it sets the DDS profile, which the driver needs even more
    return LaunchDescription([*arguments, find_driver, pose, camera])
