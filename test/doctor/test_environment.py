"""What surrounds a process, judged without ROS: each thing that keeps ROS from starting, or costs something."""

import os
import pwd
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clipose_ros.doctor import distributions, environment, middleware, shared_memory
from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.findings import Level

ROOT = Path(__file__).resolve().parents[2]
HERE = f"{sys.version_info.major}{sys.version_info.minor}"


def expect_finding(finding, level, text=""):
    assert finding.level == level and text in finding.text, finding
    assert bool(finding.cure) == (level != Level.OK)


# The middleware.


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        *(("", 0), ("0", 0), (" 5 ", 5), ("+7", 7), ("232", 232)),
        *((wrong, None) for wrong in ("233", "300", "-1", "abc", "5x", "1.0", "0x1", "٣", "9" * 30)),
    ],
)
def test_a_domain_is_a_number_that_dds_has_ports_for(text, domain):
    assert middleware.domain_id({"ROS_DOMAIN_ID": text}) == domain
    finding = middleware.domain_finding({"ROS_DOMAIN_ID": text})
    assert finding.level == (Level.FAIL if domain is None else Level.WARN if domain > 101 else Level.OK)
    assert domain is not None or repr(text) in finding.text


def test_the_domain_is_0_where_none_is_named():
    assert middleware.domain_id({}) == 0 and middleware.domain_finding({}).level == Level.OK


@pytest.mark.parametrize(
    ("variables", "level", "text"),
    [
        ({}, Level.OK, "SUBNET"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, Level.OK, "this machine only"),
        ({"ROS_LOCALHOST_ONLY": "1"}, Level.OK, "this machine only"),
        ({"ROS_DISCOVERY_SERVER": "10.0.0.1:11811"}, Level.OK, "10.0.0.1:11811"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"}, Level.WARN, "which ROS takes for LOCALHOST"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "WORLD"}, Level.WARN, "which ROS takes for LOCALHOST"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, Level.FAIL, "no node finds another"),
    ],
)
def test_discovery_is_read_as_ros_reads_it(variables, level, text):
    expect_finding(middleware.discovery_finding(variables), level, text)


@pytest.fixture
def ros(tmp_path, monkeypatch):
    """A ROS of its own on Python's path; its prefix."""
    prefix = tmp_path / "ros"
    site = prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (prefix / distributions.MIDDLEWARES).mkdir(parents=True)
    for name in ("rmw_fastrtps_cpp", "rmw_connextdds", "rmw_implementation"):
        (prefix / distributions.MIDDLEWARES / name).touch()
    (prefix / "lib" / distributions.CORE_LIBRARY).parent.mkdir(parents=True)
    (prefix / "lib" / distributions.CORE_LIBRARY).touch()
    for name in distributions.PACKAGES:
        package(site, name)
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    return prefix


def package(site, name, tags=(HERE,)):
    """A compiled package; its folder."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    for tag in tags:
        (site / name / f"_{name}.cpython-{tag}-x86_64-linux-gnu.so").touch()
    return site / name


def test_a_middleware_must_be_installed(ros):
    expect_finding(middleware.middleware_finding({}), Level.OK, "rmw_connextdds, rmw_fastrtps_cpp")
    expect_finding(middleware.middleware_finding({"RMW_IMPLEMENTATION": "rmw_connextdds"}), Level.OK)
    finding = middleware.middleware_finding({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp", "ROS_DISTRO": "kilted"})
    expect_finding(
        finding, Level.FAIL, "expected one that is installed (rmw_connextdds, rmw_fastrtps_cpp), got rmw_cyc"
    )
    assert "unset RMW_IMPLEMENTATION" in finding.cure and "ros-kilted-rmw-cyclonedds-cpp" in finding.cure


def test_a_middleware_of_a_workspace_counts(ros, tmp_path):
    (tmp_path / "workspace" / distributions.MIDDLEWARES).mkdir(parents=True)
    (tmp_path / "workspace" / distributions.MIDDLEWARES / "rmw_zenoh_cpp").touch()
    variables = {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp", "AMENT_PREFIX_PATH": str(tmp_path / "workspace")}
    expect_finding(middleware.middleware_finding(variables), Level.OK)
    assert not middleware.uses_fast_dds(variables) and middleware.uses_fast_dds({})


PROFILES = {
    "images.xml": "<profiles><a><segment_size>16777216</segment_size></a></profiles>",
    "small.xml": '<dds xmlns="http://x"><segment_size>524288</segment_size></dds>',
    "none.xml": "<profiles/>",
    "cut off.xml": "<profiles>",
    "no number.xml": "<profiles><segment_size>much</segment_size></profiles>",
    "other.xml": "<robot/>",
    "no text.xml": b"\xff\xfe\x00",
}


@pytest.fixture
def profile(tmp_path):
    """Writes a profile; the environment that names it."""

    def write(name):
        content = PROFILES.get(name)
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"FASTRTPS_DEFAULT_PROFILES_FILE": str(tmp_path / name)}

    return write


@pytest.mark.parametrize("name", ["nowhere.xml", "cut off.xml", "no number.xml", "other.xml", "no text.xml", "."])
def test_a_profile_that_cannot_be_read_is_a_failure(profile, name):
    finding = middleware.profile_finding(profile(name))
    expect_finding(finding, Level.FAIL, "expected a profile, got")
    assert "fastdds_shm.xml" in finding.cure


@pytest.mark.parametrize(
    ("name", "level", "text", "size"),
    [
        ("images.xml", Level.OK, "16.8 MB", 16777216),
        ("small.xml", Level.WARN, "0.5 MB holds no two images", 524288),
        ("none.xml", Level.WARN, "no shared memory of a size", 524288),
    ],
)
def test_images_need_room_in_the_profile(profile, name, level, text, size):
    assert middleware.profile_finding(profile(name)).level == Level.OK
    expect_finding(middleware.transport_finding(profile(name)), level, text)
    assert middleware.segment_bytes(profile(name)) == size


def test_images_need_a_profile_or_another_transport():
    expect_finding(middleware.transport_finding({}), Level.WARN, "no profile")
    large = {middleware.TRANSPORTS: "LARGE_DATA?max_msg_size=2MB"}
    expect_finding(middleware.transport_finding(large), Level.OK)
    wrong = {middleware.TRANSPORTS: "UDPV4"}
    expect_finding(middleware.transport_finding(wrong), Level.WARN, "expected one of NONE, DEFAULT")
    assert middleware.segment_bytes({middleware.TRANSPORTS: "UDPv4"}) == 0 < middleware.segment_bytes({})


def test_the_shipped_profile_is_one():
    variables = {"FASTDDS_DEFAULT_PROFILES_FILE": str(share_folder("launch") / "fastdds_shm.xml")}
    assert middleware.profile_finding(variables).level == middleware.transport_finding(variables).level == Level.OK


# The distribution.


def test_one_distribution_for_this_python_is_sound(ros):
    expect_finding(distributions.packages_finding({}), Level.OK, str(ros))
    libraries = {"LD_LIBRARY_PATH": f"{ros}/lib:/nowhere", "AMENT_PREFIX_PATH": str(ros)}
    expect_finding(distributions.libraries_finding(libraries), Level.OK)


def test_no_ros_is_a_failure_only_where_it_is_needed(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    expect_finding(distributions.packages_finding({}), Level.WARN, "no rclpy")
    expect_finding(distributions.packages_finding({}, needed=True), Level.FAIL, "no rclpy")
    expect_finding(distributions.messages_finding(), Level.WARN, "not built")
    expect_finding(distributions.messages_finding(needed=True), Level.FAIL, "not built")
    assert distributions.libraries_finding({"LD_LIBRARY_PATH": "/opt/ros/humble/lib"}).level == Level.OK


@pytest.mark.parametrize("name", ["rclpy", "sensor_msgs", "std_srvs"])
@pytest.mark.parametrize(
    ("tags", "text"), [(("310", "27"), "got modules for 2.7, 3.10 in"), ((), "got no compiled modules in")]
)
def test_a_package_of_another_python_is_a_failure(ros, tmp_path, monkeypatch, name, tags, text):
    other = tmp_path / "humble"
    package(other, name, tags)
    monkeypatch.setattr(sys, "path", [str(other), *sys.path])
    finding = distributions.packages_finding({"PYTHONPATH": str(other)})
    expect_finding(finding, Level.FAIL, f"{name}: expected modules for Python")
    assert text in finding.text and finding.cure.startswith("unset PYTHONPATH")
    assert distributions.packages_finding({}).cure == "install it again, for this Python"
    assert name != "rclpy" or distributions.libraries_finding({"LD_LIBRARY_PATH": f"{ros}/lib"}).level == Level.OK
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "conda"))
    assert distributions.packages_finding({"CONDA_PREFIX": str(tmp_path / "conda")}).cure == "conda deactivate"


def test_a_package_for_several_pythons_fits(ros, tmp_path, monkeypatch):
    package(tmp_path / "more", "rclpy", ("310", HERE))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "more"), *sys.path])
    assert distributions.packages_finding({}).level == Level.OK


def test_a_folder_without_init_hides_no_package(ros, tmp_path, monkeypatch):
    (tmp_path / "more" / "sensor_msgs").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "more"), *sys.path])
    assert distributions.packages_finding({}).level == Level.OK


def test_libraries_of_another_distribution_are_a_failure(ros, tmp_path):
    for name in ("humble", "overlay"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / distributions.CORE_LIBRARY).touch()
    variables = {"LD_LIBRARY_PATH": f"{ros}/lib:{tmp_path}/humble/lib"}
    expect_finding(distributions.libraries_finding(variables), Level.FAIL, f"{tmp_path}/humble/lib")
    expect_finding(
        distributions.libraries_finding(variables | {"AMENT_PREFIX_PATH": f"{tmp_path}/humble"}), Level.FAIL, "humble"
    )
    overlay = {"LD_LIBRARY_PATH": f"{tmp_path}/overlay/lib:{ros}/lib"}
    sourced = {"AMENT_PREFIX_PATH": f"{tmp_path}/overlay:{ros}"}  # a workspace upon it
    assert distributions.libraries_finding(overlay | sourced).level == Level.OK


def test_condas_python_and_another_ros_are_told(ros, tmp_path):
    assert distributions.conda_finding({}).level == Level.OK
    conda = tmp_path / "conda"
    expect_finding(distributions.conda_finding({"CONDA_PREFIX": str(conda)}, conda), Level.WARN, "may not fit")
    assert distributions.conda_finding({"CONDA_PREFIX": str(conda)}, tmp_path / "venv").level == Level.OK
    assert distributions.conda_finding({"CONDA_PREFIX": str(ros)}, ros).level == Level.OK  # RoboStack


def test_files_of_an_installed_package_are_found_by_prefix(tmp_path, monkeypatch):
    assert share_folder("launch") == ROOT / "launch"
    monkeypatch.setattr("clipose_ros.doctor.checkout.PACKAGE_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python"))
    variables = {"AMENT_PREFIX_PATH": f"{tmp_path}/a:{tmp_path}/b"}
    assert share_folder("launch", variables) == tmp_path / "python" / "share" / "clipose_ros" / "launch"
    (tmp_path / "b" / "share" / "clipose_ros" / "launch").mkdir(parents=True)
    assert share_folder("launch", variables) == tmp_path / "b" / "share" / "clipose_ros" / "launch"


# Log, Python, cores.


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HOME": "/home/me"}, "/home/me/.ros/log"),
        ({"HOME": "/home/me", "ROS_HOME": "/r"}, "/r/log"),
        ({"HOME": "/home/me", "ROS_HOME": "/r", "ROS_LOG_DIR": "/l"}, "/l"),
        ({"HOME": "/home/me", "ROS_LOG_DIR": "~/l"}, "/home/me/l"),
        ({"ROS_LOG_DIR": "/l"}, "/l"),
        ({"HOME": "/home/me", "ROS_HOME": "", "ROS_LOG_DIR": ""}, "/home/me/.ros/log"),
        ({"HOME": ""}, None),
        ({}, None),
    ],
)
def test_the_log_folder_is_the_one_that_ros_takes(variables, folder):
    assert environment.log_folder(variables) == (folder and Path(folder))


def test_ros_must_be_able_to_write_its_log(tmp_path):
    expect_finding(environment.log_folder_finding({}), Level.FAIL, "HOME, ROS_HOME and ROS_LOG_DIR are not set")
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/1/x")):
        finding = environment.log_folder_finding({"ROS_LOG_DIR": str(wrong)})
        expect_finding(finding, Level.FAIL, f"{wrong}: expected one to write to")
        assert finding.cure == "export ROS_LOG_DIR=/tmp/ros_log"
    expect_finding(environment.log_folder_finding({"ROS_LOG_DIR": str(tmp_path / "new" / "log")}), Level.OK)
    assert not list((tmp_path / "new" / "log").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_log_folder_of_somebody_else_is_a_failure(tmp_path):
    tmp_path.chmod(0o555)
    finding = environment.log_folder_finding({"ROS_LOG_DIR": str(tmp_path)})
    tmp_path.chmod(0o755)
    expect_finding(finding, Level.FAIL, "Permission denied")


def test_options_of_python_that_change_what_runs_are_told():
    assert environment.python_options_finding(0, ["default", "ignore::DeprecationWarning"]).level == Level.OK
    expect_finding(environment.python_options_finding(2, ["default"]), Level.WARN, "asserts check nothing")
    expect_finding(environment.python_options_finding(0, ["error::DeprecationWarning"]), Level.WARN, "are errors")


def test_one_core_alone_is_told():
    expect_finding(environment.cores_finding(1), Level.WARN, "1 for this process")
    assert environment.cores_finding(2).level == Level.OK


# Shared memory.

LOCKED = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def port(tmp_path, monkeypatch):
    """Makes a port of Fast DDS, whose process runs or has ended, and is ours or another user's."""
    running = []

    def make(number, runs=True, prefix="fastrtps"):
        path = tmp_path / f"{prefix}_port{number}"
        path.touch()
        lock = path.with_name(f"{path.name}_el")
        lock.touch()
        if runs:
            command = [sys.executable, "-S", "-c", textwrap.dedent(LOCKED), str(lock)]
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert running[-1].stdout.readline() == "locked\n"
        return path

    yield make
    for process in running:
        process.communicate("")


def test_processes_of_other_users_on_the_domain_are_told(tmp_path, port, monkeypatch):
    own = os.geteuid()
    port(7400 + 250 * 5 + 11)
    port(7400 + 250 * 5 + 13, prefix="fastdds")
    port(7400 + 250 * 5 + 15, runs=False)  # left behind
    port(7400 + 250 * 6 + 11)  # of another domain
    (tmp_path / "fastrtps_port5x").touch()
    assert shared_memory.foreign_owners(5, tmp_path) == []
    assert shared_memory.foreign_owners_text(5, tmp_path) == ""
    assert shared_memory.owners_finding(5, tmp_path).level == Level.OK
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    (owner,) = shared_memory.foreign_owners(5, tmp_path)
    assert owner.processes == 2 and owner.user in (str(own), pwd.getpwuid(own).pw_name)
    finding = shared_memory.owners_finding(5, tmp_path)
    expect_finding(finding, Level.WARN, f"processes of other users are on this domain: {owner.user} (2)")
    assert "this one is 54321's" in finding.text and "as one user" in finding.cure and "UDPv4" in finding.cure
    assert shared_memory.foreign_owners(4, tmp_path) == []
    monkeypatch.setenv("ROS_DOMAIN_ID", "5")
    assert shared_memory.foreign_owners_text(folder=tmp_path) in finding.text


def test_no_shared_memory_has_no_owners(tmp_path):
    assert shared_memory.foreign_owners(0, tmp_path / "nowhere") == []


def test_shared_memory_needs_room_and_permission(tmp_path):
    assert shared_memory.room_finding(1, tmp_path).level == Level.OK
    expect_finding(shared_memory.room_finding(10**18, tmp_path), Level.WARN, "to be free, got")
    expect_finding(shared_memory.room_finding(1, tmp_path / "nowhere"), Level.WARN, "expected a folder, got none")
    expect_finding(shared_memory.room_finding(1, Path("/proc")), Level.WARN)


# All of it.


def test_a_node_refuses_to_start_with_one_sentence(ros, tmp_path):
    messages = Path(sys.path[0]) / "clipose_ros" / "msg" / "__init__.py"
    sound = {"ROS_LOG_DIR": str(tmp_path / "log")}
    assert environment.refusal(sound).startswith("ros: messages: clipose_ros.msg: not built")
    messages.parent.mkdir(parents=True)
    messages.touch()
    assert environment.refusal(sound) == ""
    for wrong in ({"ROS_DOMAIN_ID": "300"}, {"RMW_IMPLEMENTATION": "rmw_x"}, {"ROS_LOG_DIR": "/proc/x"}):
        (name, value), said = next(iter(wrong.items())), environment.refusal(sound | wrong)
        assert value in said and ". Try: " in said and "\n" not in said, (name, said)
    assert environment.refusal(sound | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}) == ""  # a remark, for the doctor


def test_the_environment_needs_nothing_but_the_standard_library():
    """What is to say that a package is broken must not need it."""
    code = (
        "import sys, clipose_ros.doctor.environment as e; e.refusal(); print(*{n.split('.')[0] for n in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    brought = {name.split(".")[0] for name in run.stdout.split()}
    assert not brought & {"numpy", "cv2", "yaml", "rich", "tyro", "psutil", "rclpy", "onnxruntime"}
