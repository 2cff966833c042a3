"""The pose node on a real ROS 2 install, with topics of your camera and segmenter.

realsense.launch.py and orbbec.launch.py know the topics of their cameras. The values of `params_file` count;
the arguments that are empty by default override them when given.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("clipose_ros")
OVERRIDES = {
    "models": None,
    "models_dir": str,
    "objects_dir": str,
    "provider": str,
    "tracking": bool,
    "tf": bool,
    "target_frame": str,
    "gravity_frame": str,
    "image_transport": str,
    "rectified": bool,
    "depth_scale_m": float,
    "max_stamp_difference_s": float,
    "min_score": float,
    "support": str,
    "segmenter": str,
    "segmenter_model": str,
    "segmenter_classes": None,
    "segmenter_min_score": float,
    "workspace": str,
    "workspace_mask": str,
    "buffer_size": int,
    "coast_s": float,
    "acceleration": float,
}
# of Fast DDS 2 (Jazzy), of later ones
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

ARGUMENTS = (
    ("models", "", "folders of models_dir, or paths: clipose-lite, or [a, b]; empty: as params_file says"),
    ("models_dir", "", "where models lie; empty: as params_file says"),
    ("objects_dir", "", "learned objects, for models:=[clipose-lite, gspose]; empty: as params_file says"),
    ("provider", "", "cpu, cuda or tensorrt; empty: as params_file says"),
    ("tracking", "", "true or false; empty: as params_file says"),
    ("tf", "", "broadcast objects on TF, true or false; empty: as params_file says"),
    ("target_frame", "", "frame of the poses; empty: as params_file says"),
    ("gravity_frame", "", "frame whose z axis points up: map, odom, base_link; empty: as params_file says"),
    ("image_transport", "", "of depth and colour: raw or compressed; empty: as params_file says"),
    ("rectified", "", "whether the depth image is, true or false; empty: as params_file says"),
    ("depth_scale_m", "", "what 1 in the depth image means [m]; empty: as params_file says"),
    ("max_stamp_difference_s", "", "of depth and masks of one image; 0: equal stamps; empty: as params_file says"),
    ("min_score", "", "poses with a lower score are rejected, 0..1; empty: as params_file says"),
    ("support", "", "tell networks of surfaces, and set poses onto them: auto or off; empty: as params_file says"),
    (
        "segmenter",
        "",
        "find the objects where no masks come: depth, mask_rcnn (needs colour), objects (of objects_dir) or none; "
        "empty: as params_file says",
    ),
    ("segmenter_model", "", "folder of models_dir, or path, of the segmenter's model; empty: as params_file says"),
    ("segmenter_classes", "", "of mask_rcnn, and our names: [cup:mug, bowl:bowl]; empty: as params_file says"),
    ("segmenter_min_score", "", "what is found with less is left out, 0..1; empty: as params_file says"),
    (
        "workspace",
        "",
        "x_min x_max y_min y_max z_min z_max of what the segmenter finds [m]; empty: as params_file says",
    ),
    ("workspace_mask", "", "picture, not 0 where the segmenter looks; empty: as params_file says"),
    ("buffer_size", "", "images that wait for their masks; empty: as params_file says"),
    ("coast_s", "", "an object unseen for longer is lost [s]; empty: as params_file says"),
    ("acceleration", "", "of the objects as the camera sees them; empty: as params_file says"),
    ("depth", "depth_registered/image_rect", "depth registered to colour, 16UC1 or mono16 [mm] or 32FC1 [m]"),
    ("camera_info", "rgb/camera_info", "calibration of the colour camera"),
    (
        "colour",
        "rgb/image_rect_color",
        "needed by segmenter:=mask_rcnn; else only drawn on by ~/debug_image while somebody looks at it",
    ),
    ("instances", "instances", "clipose_ros/InstanceArray with the stamp of the segmented image"),
    ("namespace", "", "of the node and its relative topics"),
    ("params_file", PathJoinSubstitution([SHARE, "launch", "params.yaml"]), "parameters of the node"),
    ("use_sim_time", "false", "take the time from /clock"),
    ("use_rviz", "false", "start RViz"),
    ("log_level", "info", "debug, info, warn, error or fatal"),
    (
        "dds_profile",
        PathJoinSubstitution([SHARE, "launch", "fastdds_shm.xml"]),
        "for Fast DDS, unless the environment names one; empty: none",
    ),
)


def dds_profile(context) -> list[SetEnvironmentVariable]:
    """Room for images in shared memory, for all that is started from here on.

    A profile of the user's own is left in place.
    """
    path = LaunchConfiguration("dds_profile").perform(context)
    if not path or any(context.environment.get(name) for name in PROFILE_VARIABLES):
        return []
    return [SetEnvironmentVariable(name, path) for name in PROFILE_VARIABLES]


def pose_node(context) -> list[Node]:
    """The node with the parameters that were given."""
    given = [name for name in OVERRIDES if LaunchConfiguration(name).perform(context)]
    return [
        Node(
            package="clipose_ros",
            executable="pose_node",
            name="clipose",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {name: ParameterValue(LaunchConfiguration(name), value_type=OVERRIDES[name]) for name in given},
                {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
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
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS
    ]
    # RViz before the node: where it is not installed the launch fails, and would leave running what it has started.
    return LaunchDescription(
        [*arguments, OpaqueFunction(function=dds_profile), rviz, OpaqueFunction(function=pose_node)]
    )
