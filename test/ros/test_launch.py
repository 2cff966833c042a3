"""`launch` is not on PyPI: the launch files must compile, and load where it is installed."""

import ast
import importlib.util
import json
import py_compile
import re
import subprocess
import sys
import typing
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from clipose_ros.ros import topics
from clipose_ros.ros.settings import PoseNodeParameters

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
needs_launch = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed: it is not on PyPI"
)


def test_there_are_launch_files():
    assert [path.name for path in LAUNCH_FILES] == [
        "demo.launch.py",
        "orbbec.launch.py",
        "pose.launch.py",
        "realsense.launch.py",
    ]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_compile(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


def test_arguments_that_override_parameters_are_parameters_of_their_types():
    """Read as text: launch is not needed for it. A list has no type, so that a single name may be given, too."""
    tree = ast.parse((ROOT / "launch" / "pose.launch.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    overrides = assigned["OVERRIDES"]
    types = {key.value: getattr(value, "id", None) for key, value in zip(overrides.keys, overrides.values)}
    own = {name: kind.__name__ for name, kind in typing.get_type_hints(PoseNodeParameters).items()}
    written = {"tuple": None, "Literal": "str"}  # one of some words is a text
    assert types == {name: written.get(own[name], own[name]) for name in types}
    assert {"models", "min_score", "max_stamp_difference_s"} <= types.keys()
    arguments = {entry.elts[0].value: ast.unparse(entry.elts[1]) for entry in assigned["ARGUMENTS"].elts}
    assert {arguments[name] for name in types} == {"''"}  # which is: as params_file says


def load(name):
    """The module of a launch file."""
    spec = importlib.util.spec_from_file_location("launch_file", ROOT / "launch" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_launch
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_load(path):
    assert load(path.name).generate_launch_description().entities


@needs_launch
@pytest.mark.parametrize("given", [None, "/somewhere/mine.xml"])
def test_a_dds_profile_of_the_user_is_left_in_place(given, monkeypatch):
    from launch import LaunchContext

    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", given)
    context = LaunchContext()
    context.launch_configurations["dds_profile"] = "/shipped.xml"
    for action in load("pose.launch.py").dds_profile(context):
        action.execute(context)
    assert context.environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == (given or "/shipped.xml")


@needs_launch
def test_arguments_that_are_given_override_the_parameters_file_with_their_types():
    from launch import LaunchContext
    from launch_ros.utilities import evaluate_parameters

    module, context = load("pose.launch.py"), LaunchContext()
    context.launch_configurations.update(
        {name: "" for name, _, _ in module.ARGUMENTS}
        | {"use_sim_time": "true", "tracking": "false", "models": "clipose-lite", "min_score": "0.5"}
        | {"rectified": "false", "depth_scale_m": "0.0001"}
    )
    (node,) = module.pose_node(context)
    _, overrides, sim_time = evaluate_parameters(context, node._Node__parameters)
    expected = {"models": "clipose-lite", "tracking": False, "rectified": False, "depth_scale_m": 0.0001}
    assert overrides == expected and sim_time == {"use_sim_time": True}


@needs_launch
@pytest.mark.parametrize(
    ("name", "argument"), [("realsense", "camera:=true"), ("orbbec", "camera:=true"), ("pose", "use_rviz:=true")]
)
def test_nothing_is_left_running_where_a_package_is_missing(dds, name, argument):
    """launch does not end what it has started when it fails, so that it must fail before."""
    command = [
        sys.executable,
        "-c",
        "import sys; from ros2cli.cli import main; sys.exit(main())",
        "launch",
        str(ROOT / "launch" / f"{name}.launch.py"),
        argument,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    output = run.stdout + run.stderr
    if "not found" not in output:
        pytest.skip("the package is installed, or ros2 launch is not")
    assert run.returncode == 1 and "process started" not in output


@needs_launch
@pytest.mark.parametrize(
    ("name", "depth", "camera_info"),
    [
        (
            "realsense.launch.py",
            "/camera/camera/aligned_depth_to_color/image_raw",
            "/camera/camera/aligned_depth_to_color/camera_info",
        ),
        ("orbbec.launch.py", "/camera/depth/image_raw", "/camera/color/camera_info"),
    ],
)
def test_camera_launch_files_know_the_topics_of_their_drivers(name, depth, camera_info):
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument

    context = LaunchContext()
    for action in load(name).generate_launch_description().entities:
        if isinstance(action, DeclareLaunchArgument):
            action.execute(context)
    given = context.launch_configurations
    assert (given["depth"], given["camera_info"], given["rectified"]) == (depth, camera_info, "false")


def test_rviz_configuration_shows_the_outputs_of_the_node():
    displays = yaml.safe_load((ROOT / "launch" / "pose.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = [display.get("Topic", {}).get("Value") for display in displays]
    assert {"clipose/markers", "clipose/poses", "clipose/debug_image", "clipose/detections"} <= set(shown)


def test_package_and_python_metadata_have_one_version():
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()


def test_foxglove_layout_shows_the_outputs_of_the_node():
    """Foxglove itself is not run here: every panel has a place, and every topic is the node's or one of its inputs."""
    layout = json.loads((ROOT / "launch" / "foxglove.json").read_text())

    def panels(place):
        return {place} if isinstance(place, str) else panels(place["first"]) | panels(place["second"])

    assert panels(layout["layout"]) == layout["configById"].keys()
    text = json.dumps(layout["configById"])
    shown = set(re.findall(r'"(/[^"]+)"', text))
    inputs = {f"/{topic}" for topic in (topics.DEPTH, topics.CAMERA_INFO, topics.COLOUR)}
    outputs = {f"/clipose/{name}" for name in ("markers", "poses", "debug_image", "poses_9dof")}
    assert shown == inputs | outputs | {"/diagnostics"}
