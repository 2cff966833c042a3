import re
from dataclasses import asdict
from pathlib import Path

import pytest
import rclpy
import yaml
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from clipose_ros.ros.adapters.adapter import AdapterParameters
from clipose_ros.ros.lab.player import PlayerParameters
from clipose_ros.ros.parameter_files import matches, sections, unread_files
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
        nodes.append(rclpy.create_node(name, context=context, cli_args=cli_args, **options))
        return read_parameters(nodes[-1], kind)

    read.nodes = nodes
    yield read
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_file_says_what_the_node_does_without_it():
    """launch/params.yaml lists every parameter, and none with another value than the default."""
    written = yaml.safe_load(PARAMS_FILE.read_text())["/**/clipose"]["ros__parameters"]
    lists = {name: tuple(value) for name, value in written.items() if isinstance(value, list)}
    assert {**written, **lists} == asdict(PoseNodeParameters())


@pytest.mark.parametrize("text", ["clipose-lite", "[clipose-lite]", "['clipose-lite']"])
def test_one_model_may_be_written_without_a_list(read, text):
    assert read("-p", f"models:={text}").models == ("clipose-lite",)


@pytest.mark.parametrize(("text", "word"), [("off", "off"), ("'off'", "off"), ("OFF", "off"), ("Auto", "auto")])
def test_off_is_a_word_though_yaml_takes_it_for_false(read, text, word):
    assert read("-p", f"support:={text}").support == word


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


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("threads:=2.0", "threads", 2),
        ("seed:=1e3", "seed", 1000),
        ("silence_s:=5", "silence_s", 5.0),
        ("tf:=True", "tf", True),
        ("tracking:=off", "tracking", False),
        ("provider:=CPU", "provider", "cpu"),
        ("precision:=FP16", "precision", "fp16"),
        ("detections:=Never", "detections", "never"),
        ("target_frame:='3'", "target_frame", "3"),
    ],
)
def test_values_are_taken_as_people_write_them(read, argument, name, value):
    """And ROS shows them as the node has them."""
    assert getattr(read("-p", argument), name) == value
    shown = read.nodes[0].get_parameter(name).value
    assert (type(shown), shown) == (type(value), value)


@pytest.mark.parametrize("text", ["[]", "''", "[[]]"])
def test_an_empty_list_is_a_list(read, text):
    """rcl has no type for one; launch files can write an empty text instead."""
    assert read("-p", f"classes:={text}", kind=AdapterParameters, name="adapter").classes == ()
    assert read.nodes[0].get_parameter("classes").value == ()


def test_an_empty_list_in_a_file_is_a_list(read, tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("adapter:\n  ros__parameters:\n    classes: []\n")
    assert read("--params-file", str(file), kind=AdapterParameters, name="adapter").classes == ()


WRONG = [
    ("models:=''", r"models: expected different names or paths, at least one, got \[\]"),
    ("models:=[]", r"models: expected different names or paths, at least one, got \[\]"),
    ("models:=['']", r"models: expected different names or paths, at least one, got \[''\]"),
    ("models:=[a, a]", "models: expected different names or paths"),
    ("models:=[1, 2]", "models: expected a list of str"),
    ("max_stamp_difference_s:=-0.001", "max_stamp_difference_s: expected 0 to 0.5, got -0.001"),
    ("max_stamp_difference_s:=2", "max_stamp_difference_s: expected 0 to 0.5, got 2.0"),
    ("min_score:=1.5", "min_score: expected 0 to 1, got 1.5"),
    ("support:=on", "support: expected one of auto, off, got True"),
    ("support:=table", "support: expected one of auto, off, got 'table'"),
    ("segmenter:=colour", "segmenter: expected one of none, depth, mask_rcnn, objects, got 'colour'"),
    ("segmenter_model:=mine", "segmenter_model: expected nothing without a segmenter, got mine"),
    ("segmenter_classes:=[mug]", "segmenter_classes: expected entries of the form from:to, got 'mug'"),
    ("segmenter_min_score:=1.5", "segmenter_min_score: expected 0 to 1, got 1.5"),
    ("models_dir:=/nowhere", "models_dir: expected a folder, or empty, got /nowhere"),
    (
        "objects_dir:=/nowhere",
        "objects_dir: expected a folder of learned objects",
    ),
    ("provider:=gpu", "provider: expected one of cpu, cuda, tensorrt, got gpu"),
    ("image_transport:=compressedDepth", "image_transport: expected one of raw, compressed, got 'compressedDepth'"),
    ("threads:=-1", "threads: expected 0"),
    ("allow_cpu:=1", r"allow_cpu: expected bool \(true or false\), got 1"),
    ("precision:=int4", "precision: expected fp32 or fp16, got int4"),
    ("seed:=-1", "seed: expected 0 or more, got -1"),
    ("threads:=two", "threads: expected int, got 'two'"),
    ("threads:='2'", "threads: expected int, got '2'"),
    ("threads:=.inf", "threads: expected int, got inf"),
    ("seed:=[]", "seed: expected int, got an empty list"),
    ("seed:=true", "seed: expected int, got True"),
    ("min_depth_m:=0.0", "min_depth_m: expected more than 0, got 0.0"),
    ("max_depth_m:=0.05", "max_depth_m: expected more than min_depth_m, 0.1, got 0.05"),
    ("max_depth_m:=.nan", "max_depth_m: expected a finite number, got nan"),
    ("max_depth_m:=far", "max_depth_m: expected float, got 'far'"),
    ("depth_scale_m:=-0.001", "depth_scale_m: expected 0, or metres up to 1, got -0.001"),
    ("depth_scale_m:=1000.0", "depth_scale_m: expected 0, or metres up to 1, got 1000.0"),
    ("rectified:=no_idea", "rectified: expected bool \\(true or false\\), got 'no_idea'"),
    ("buffer_size:=0", "buffer_size: expected 1 to 1000, got 0"),
    ("buffer_size:=1001", "buffer_size: expected 1 to 1000, got 1001"),
    ("buffer_size:=2.5", "buffer_size: expected int, got 2.5"),
    ("max_instances:=0", "max_instances: expected 1 or more, got 0"),
    ("reliable_inputs:=yes_please", r"reliable_inputs: expected bool \(true or false\), got 'yes_please'"),
    ("silence_s:=0.0", "silence_s: expected more than 0, at most 3600, got 0.0"),
    ("diagnostics_s:=0.0", "diagnostics_s: expected more than 0, at most 3600, got 0.0"),
    ("marker_lifetime_s:=-1.0", "marker_lifetime_s: expected more than 0, at most 3600, got -1.0"),
    ("marker_lifetime_s:=1.0e+300", r"marker_lifetime_s: expected more than 0, at most 3600, got 1e\+300"),
    ("detections:=sometimes", "detections: expected one of auto, always, never, got sometimes"),
    ("tf:=1", r"tf: expected bool \(true or false\), got 1"),
    ("tf_prefix:=/objects", "tf_prefix: expected a name without / in front, or empty, got /objects"),
    ("target_frame:=3", r"target_frame: expected str \(in quotes of its own: \"target_frame:='…'\"\), got 3"),
    ("target_frame:=/map", "target_frame: expected a name without / in front, as tf2 has it, or empty, got /map"),
    ("gravity_frame:=/map", "gravity_frame: expected a name without / in front, as tf2 has it, or empty, got /map"),
    ("workspace:='0 1 0 1 0 1'", "workspace: expected a segmenter that it holds for, got segmenter none"),
    ("workspace_mask:=/nowhere.png", "workspace: expected a segmenter that it holds for, got segmenter none"),
    ("transform_timeout_s:=0.0", "transform_timeout_s: expected more than 0, at most 3600, got 0.0"),
    ("tracking:=1", r"tracking: expected bool \(true or false\), got 1"),
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
    with pytest.raises(ValueError, match="folder: expected a folder in NOCS format, or a recording .*, got none"):
        read(kind=PlayerParameters, name="player")
    with pytest.raises(ValueError, match="recording: expected either a folder or a recording, got both"):
        read("-p", "folder:=.", "-p", "recording:=a.mcap", kind=PlayerParameters, name="player")


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


class Changeable:
    """A node with parameters that a test sets, and what it heard of changes."""

    def __init__(self, context, on_set=None):
        self.heard = []
        self.node = rclpy.create_node("clipose", context=context)
        read_parameters(self.node, PoseNodeParameters, PoseNodeParameters.CHANGEABLE, self.heard.append)
        if on_set is not None:
            self.node.add_on_set_parameters_callback(on_set)

    def set(self, **values):
        return self.node.set_parameters_atomically(
            [value if isinstance(value, Parameter) else Parameter(name, value=value) for name, value in values.items()]
        )

    def shown(self, name):
        return self.node.get_parameter(name).value


@pytest.fixture
def changeable(dds):
    """Makes such nodes."""
    context, made = rclpy.Context(), []
    rclpy.init(context=context)

    def make(**options):
        made.append(Changeable(context, **options))
        return made[-1]

    yield make
    for one in made:
        one.node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 0},
        {"models": ["clipose-lite"]},
        {"models": "clipose-lite"},
        {"threads": 0.0},
        {"provider": "CPU"},
        {"silence_s": 5},
        {"coast_s": 0.5, "seed": 0, "tf": False},
    ],
)
def test_the_present_value_may_be_set_again_and_nothing_happens(changeable, values):
    """Also of what is fixed, as tools do that write all parameters back."""
    node = changeable()
    before = {name: node.shown(name) for name in asdict(PoseNodeParameters())}
    assert node.set(**values).successful
    assert {name: node.shown(name) for name in before} == before and node.heard == []


def test_a_list_of_wishes_is_granted_whole_or_not_at_all(changeable):
    node = changeable()
    assert node.set(min_depth_m=6, max_depth_m=8).successful  # neither would be possible before the other
    assert (node.heard[-1].min_depth_m, node.heard[-1].max_depth_m, len(node.heard)) == (6.0, 8.0, 1)
    for wrong, reason in (
        ({"seed": 4}, "seed: expected at start only"),
        ({"min_score": 2.0}, "min_score: expected 0 to 1"),
        ({"confirm_after": "3"}, "confirm_after: expected int, got '3'"),
        ({"tracking": 1}, "tracking: expected bool"),
        ({"coast_s": Parameter("coast_s")}, "coast_s: expected float, got an empty list"),
    ):
        result = node.set(max_depth_m=7.0, **wrong)
        assert not result.successful and result.reason.startswith(reason)
    assert len(node.heard) == 1 and node.shown("max_depth_m") == 8.0 and node.shown("coast_s") == 0.5


def test_what_somebody_else_refuses_is_not_applied(changeable):
    node = changeable(on_set=lambda wishes: SetParametersResult(successful=False, reason="no"))
    assert not node.set(min_score=0.5).successful and node.heard == [] and node.shown("min_score") == 0.0


def test_a_changed_value_has_the_type_of_the_parameter(changeable):
    node = changeable()
    assert node.set(coast_s=2, confirm_after=5.0).successful
    assert (node.shown("coast_s"), node.shown("confirm_after")) == (2.0, 5)
    assert (type(node.shown("coast_s")), type(node.shown("confirm_after"))) == (float, int)
    assert (node.heard[0].coast_s, node.heard[0].confirm_after) == (2.0, 5)


# Files


SECTIONS = ("/**", "/*", "clipose", "/clipose", "/**/clipose", "/*/clipose", "/ns/**", "/ns/*", "ns/clipose")
SECTIONS += ("/**/ns/clipose", "/a/**/clipose", "**", "*", "**/clipose", "/ns/clipose/**", "/**/**", "/**/left")
NAMES = (("/", "clipose"), ("/ns", "clipose"), ("/a/ns", "clipose"), ("/", "left"), ("/ns", "left"))


def test_sections_match_the_nodes_that_ros_takes_them_for(read, tmp_path):
    """Every section with every name: what rclpy reads, and what the warning goes by."""
    for i, section in enumerate(SECTIONS):
        file = tmp_path / f"{i}.yaml"
        file.write_text(f'"{section}":\n  ros__parameters:\n    seed: 7\n')
        assert sections(file) == [section]
        for namespace, name in NAMES:
            taken = read("--params-file", str(file), name=name, namespace=namespace).seed == 7
            assert matches(section, read.nodes[-1].get_fully_qualified_name()) == taken, (section, namespace, name)


def test_nested_sections_have_whole_names(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("ns:\n  clipose:\n    ros__parameters: {}\n  left:\n    ros__parameters: {}\n")
    assert sections(file) == ["ns/clipose", "ns/left"]


def test_a_file_without_a_section_for_the_node_is_named(tmp_path):
    for name, text in {
        "others": "/**/clipose:\n  ros__parameters: {}\n",
        "mine": "left:\n  ros__parameters: {}\n",
    }.items():
        (tmp_path / name).write_text(text)
    given = ["node", "--params-file", "of another program", "--ros-args", "--params-file", f"{tmp_path}/others"]
    (text,) = unread_files([*given, "--params-file", f"{tmp_path}/mine", "--", "--params-file", "x"], "/left")
    assert text == (
        f"{tmp_path}/others: expected a section for /left, got /**/clipose: nothing of it is used. "
        "Name its section /left or /**, or start the node under the name that is written there"
    )
    assert unread_files(given, "/robot/clipose") == []


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\xff\xfe", b"a: {", b"3"])
def test_a_file_that_is_none_is_left_to_ros(tmp_path, content):
    (tmp_path / "params.yaml").write_bytes(content)
    assert sections(tmp_path / "params.yaml") == [] and sections(tmp_path / "nowhere") == []
