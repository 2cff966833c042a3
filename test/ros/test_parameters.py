import re
from dataclasses import asdict
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.parameter import Parameter

from clipose_ros.ros.lab.player import PlayerParameters
from clipose_ros.ros.parameters import read_parameters
from clipose_ros.ros.settings import PoseNodeParameters

PARAMS_FILE = Path(__file__).resolve().parents[2] / "launch" / "params.yaml"


@pytest.fixture
def read(dds):
    """Reads the parameters of a node that was started with these command line arguments."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes = []

    def read(*arguments, kind=PoseNodeParameters, name="clipose", **options):
        cli_args = ["--ros-args", *arguments]
        nodes.append(
            rclpy.create_node(
                name,
                context=context,
                cli_args=cli_args,
                automatically_declare_parameters_from_overrides=True,
                **options,
            )
        )
        return read_parameters(nodes[-1], kind)

    read.nodes = nodes
    yield read
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_file_says_what_the_node_does_without_it():
    """launch/params.yaml lists every parameter, and none with another value than the default."""
    written = yaml.safe_load(PARAMS_FILE.read_text())["/**/clipose"]["ros__parameters"]
    assert {**written, "models": tuple(written["models"])} == asdict(PoseNodeParameters())


@pytest.mark.parametrize("text", ["clipose-lite", "[clipose-lite]", "['clipose-lite']"])
def test_one_model_may_be_written_without_a_list(read, text):
    assert read("-p", f"models:={text}").models == ("clipose-lite",)


def test_the_name_that_a_parameter_had_before_leads_to_the_one_that_it_has_now(read):
    with pytest.raises(ValueError, match=r"model: expected models, a list of names: models:=\[clipose-lite\], got the"):
        read("-p", "model:=clipose-lite")


@pytest.mark.parametrize("namespace", ["/", "/robot", "/robot/arm"])
def test_the_file_is_read_in_every_namespace(read, tmp_path, namespace):
    other = tmp_path / "params.yaml"
    other.write_text(PARAMS_FILE.read_text().replace("seed: 0", "seed: 7"))
    assert read("--params-file", str(other), namespace=namespace).seed == 7


def test_whole_numbers_are_metres_too(read):
    parameters = read("-p", "max_depth_m:=3")
    assert parameters.max_depth_m == 3.0 and parameters.depth_range().maximum == 3.0


WRONG = [
    ("models:=''", r"models: expected different names or paths, at least one, got \[''\]"),
    ("models:=[a, a]", "models: expected different names or paths"),
    ("models:=[1, 2]", "models: expected a list of str"),
    ("min_score:=1.5", "min_score: expected 0 to 1, got 1.5"),
    ("models_dir:=/nowhere", "models_dir: expected a folder, or empty, got /nowhere"),
    ("provider:=gpu", "provider: expected one of cpu, cuda, tensorrt, got gpu"),
    ("threads:=-1", "threads: expected 0"),
    ("allow_cpu:=1", "allow_cpu: expected bool, got 1"),
    ("precision:=int4", "precision: expected fp32 or fp16, got int4"),
    ("seed:=-1", "seed: expected 0 or more, got -1"),
    ("seed:=true", "seed: expected int, got True"),
    ("min_depth_m:=0.0", "min_depth_m: expected more than 0, got 0.0"),
    ("max_depth_m:=0.05", "max_depth_m: expected more than min_depth_m, 0.1, got 0.05"),
    ("max_depth_m:=.nan", "max_depth_m: expected a finite number, got nan"),
    ("max_depth_m:=far", "max_depth_m: expected float, got 'far'"),
    ("depth_scale_m:=-0.001", "depth_scale_m: expected 0, or metres up to 1, got -0.001"),
    ("depth_scale_m:=1000.0", "depth_scale_m: expected 0, or metres up to 1, got 1000.0"),
    ("rectified:=no_idea", "rectified: expected bool, got 'no_idea'"),
    ("buffer_size:=0", "buffer_size: expected 1 to 1000, got 0"),
    ("buffer_size:=1001", "buffer_size: expected 1 to 1000, got 1001"),
    ("buffer_size:=2.5", "buffer_size: expected int, got 2.5"),
    ("max_instances:=0", "max_instances: expected 1 or more, got 0"),
    ("reliable_inputs:=yes_please", "reliable_inputs: expected bool, got 'yes_please'"),
    ("silence_s:=0.0", "silence_s: expected more than 0, at most 3600, got 0.0"),
    ("diagnostics_s:=0.0", "diagnostics_s: expected more than 0, at most 3600, got 0.0"),
    ("marker_lifetime_s:=-1.0", "marker_lifetime_s: expected more than 0, at most 3600, got -1.0"),
    ("marker_lifetime_s:=1.0e+300", r"marker_lifetime_s: expected more than 0, at most 3600, got 1e\+300"),
    ("detections:=sometimes", "detections: expected one of auto, always, never, got sometimes"),
    ("tf:=1", "tf: expected bool, got 1"),
    ("tf_prefix:=/objects", "tf_prefix: expected a name without / in front, or empty, got /objects"),
    ("target_frame:=3", "target_frame: expected str, got 3"),
    ("target_frame:=/map", "target_frame: expected a name without / in front, as tf2 has it, or empty, got /map"),
    ("transform_timeout_s:=0.0", "transform_timeout_s: expected more than 0, at most 3600, got 0.0"),
    ("tracking:=1", "tracking: expected bool, got 1"),
    ("confirm_after:=0", "confirm_after: expected 1 or more, got 0"),
    ("coast_s:=0.0", "coast_s: expected more than 0, at most 60, got 0.0"),
    ("acceleration:=-0.1", "acceleration: expected more than 0, at most 1000, got -0.1"),
    ("angular_acceleration:=0.0", "angular_acceleration: expected more than 0, at most 1000, got 0.0"),
    ("max_depth:=4.0", "max_depth: expected one of the parameters models, .*, got an unknown name"),
]


def test_a_wrong_value_of_every_parameter_is_tried():
    assert {argument.partition(":=")[0] for argument, _ in WRONG} >= asdict(PoseNodeParameters()).keys()


@pytest.mark.parametrize(("argument", "message"), WRONG)
def test_wrong_parameters_are_named(read, argument, message):
    with pytest.raises(ValueError, match=message):
        read("-p", argument)


def test_unknown_names_in_a_file_are_refused(read, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("/**:\n  ros__parameters:\n    use_sim_time: false\n    sed: 1\n")
    with pytest.raises(ValueError, match="sed: expected one of the parameters"):
        read("--params-file", str(file))


def test_required_parameters_are_asked_for(read):
    with pytest.raises(ValueError, match="folder: expected a value, got none"):
        read(kind=PlayerParameters, name="player")


def test_player_parameters_are_checked(read, tmp_path):
    assert read("-p", f"folder:={tmp_path}", "-p", "rate_hz:=10", kind=PlayerParameters, name="player").rate_hz == 10.0
    with pytest.raises(ValueError, match="rate_hz: expected more than 0, at most 1000, got 0.0"):
        read("-p", f"folder:={tmp_path}", "-p", "rate_hz:=0.0", kind=PlayerParameters, name="player")
    with pytest.raises(ValueError, match=re.escape("folder: expected a folder in NOCS format, got /nowhere")):
        read("-p", "folder:=/nowhere", kind=PlayerParameters, name="player")


def test_every_parameter_is_declared_and_a_change_is_refused(read):
    parameters = read("-p", "seed:=3")
    (node,) = read.nodes
    assert {name: node.get_parameter(name).value for name in asdict(parameters)} == asdict(parameters)
    (result,) = node.set_parameters([Parameter("seed", value=4)])
    assert not result.successful and "seed: expected at start only" in result.reason
    assert node.get_parameter("seed").value == 3
    (result,) = node.set_parameters([Parameter("use_sim_time", value=True)])
    assert result.successful
