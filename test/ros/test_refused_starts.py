"""An environment in which ROS does not start, with real processes: every node ends with one sentence that has the cure,
and clipose doctor with all its findings, that one among them.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clipose_ros.doctor.environment import STARTED, start_finding
from clipose_ros.doctor.findings import Level

ROOT = Path(__file__).resolve().parents[2]
NODES = ("ros.node", "ros.lab.player", "ros.adapters.yolo", "ros.adapters.single_mask", "ros.adapters.label_image")
ENTRIES = {
    **{path.name: [sys.executable, str(path)] for path in sorted((ROOT / "scripts").iterdir())},
    **{name: [sys.executable, "-m", f"clipose_ros.{name}"] for name in (*NODES, "ros.examples.moveit_bridge")},
}
BOTH = ("pose_node", "ros.node")
HOME = ("HOME", "ROS_HOME", "ROS_LOG_DIR")


@pytest.fixture(scope="module")
def cases(dds, tmp_path_factory):
    """Variables, None to unset one, and what must be said of them."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "fake" / "rclpy").mkdir(parents=True)
    (folder / "fake" / "rclpy" / "__init__.py").write_text('raise ModuleNotFoundError("No module named rclpy._rclpy")')
    (folder / "humble" / "sensor_msgs").mkdir(parents=True)
    (folder / "humble" / "sensor_msgs" / "__init__.py").touch()
    (folder / "humble" / "sensor_msgs" / "sensor_msgs_s.cpython-27-x86_64-linux-gnu.so").touch()
    (folder / "lib").mkdir()
    (folder / "lib" / "librcl.so").touch()
    (folder / "broken.xml").write_text("<profiles>")
    return {
        "middleware": (
            {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
            "ros: RMW_IMPLEMENTATION",
            "unset RMW_IMPLEMENTATION",
        ),
        "domain": ({"ROS_DOMAIN_ID": "300"}, "ros: ROS_DOMAIN_ID", "export ROS_DOMAIN_ID=0"),
        "no domain": ({"ROS_DOMAIN_ID": "abc"}, "ros: ROS_DOMAIN_ID", "export ROS_DOMAIN_ID=0"),
        "no home": (dict.fromkeys(HOME), "ros: log folder", "export ROS_LOG_DIR"),
        "home": ({**dict.fromkeys(HOME), "HOME": "/proc/1/x"}, "ros: log folder", "export ROS_LOG_DIR"),
        "log": ({"ROS_LOG_DIR": "/dev/null/x"}, "ros: log folder", "export ROS_LOG_DIR"),
        "rclpy": ({"PYTHONPATH": str(folder / "fake")}, "ros: rclpy", "unset PYTHONPATH"),
        "messages": ({"PYTHONPATH": str(folder / "humble")}, "ros: sensor_msgs", "unset PYTHONPATH"),
        "libraries": ({"LD_LIBRARY_PATH": str(folder / "lib")}, "ros: libraries", "unset LD_LIBRARY_PATH"),
        "no profile": (profile("/nowhere.xml"), "ros: Fast DDS profile", "fastdds_shm.xml"),
        "profile": (profile(str(folder / "broken.xml")), "ros: Fast DDS profile", "fastdds_shm.xml"),
    }


def profile(path):
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": path}


def run(command, variables, **options):
    """A process with these variables. What the start-up hook of the wheels has set here is set anew in it."""
    hook = {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": None, "LD_LIBRARY_PATH": None}
    changes = hook | variables
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    given = {name: value for name, value in changes.items() if value is not None}
    return subprocess.run(command, env=kept | given, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


def runs(jobs):
    """Processes side by side, in the order of their (command, variables)."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda job: run(*job), jobs))


def test_every_node_ends_with_one_sentence_and_its_cure(cases):
    names = [(name, entry) for name in cases for entry in BOTH]
    names += [(name, entry) for name in ("middleware", "domain", "no home") for entry in ENTRIES if entry not in BOTH]
    said = runs([(ENTRIES[entry], cases[name][0]) for name, entry in names])
    for (name, entry), process in zip(names, said):
        _, subject, cure = cases[name]
        assert process.returncode == 1 and not process.stdout, (name, entry, process)
        (line,) = process.stderr.splitlines()
        assert line.startswith(f"{subject}: ") and ". Try: " in line and cure in line, (name, entry, line)


UNKNOWN = {
    "peer": {"ROS_STATIC_PEERS": "no.such.peer.invalid", "ROS_AUTOMATIC_DISCOVERY_RANGE": None},
    "security": {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"},
}


def test_what_nobody_has_looked_for_ends_a_node_without_a_traceback(dds):
    arguments = {"peer": [], "security": [], "arguments": ["--ros-args", "-r", "__node:=no-name"]}
    said = runs([([*ENTRIES["ros.node"], *words], UNKNOWN.get(name, {})) for name, words in arguments.items()])
    for name, process in zip(arguments, said):
        assert process.returncode == 1 and "Traceback" not in process.stderr, (name, process)
        assert "ROS cannot start: " in process.stderr or "[FATAL]" in process.stderr, (name, process)


WITHOUT_RUNTIME = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from clipose_ros.ros.console_scripts import pose_node
pose_node()
"""


def test_a_node_without_onnxruntime_names_the_extras(dds):
    process = run([sys.executable, "-c", WITHOUT_RUNTIME], {})
    assert process.returncode == 1 and "Traceback" not in process.stderr, process
    assert "onnxruntime: expected one of its builds, got none" in process.stderr
    assert "pip install clipose_ros[cpu], or clipose_ros[gpu]" in process.stderr


def test_measuring_nodes_is_refused_before_anything_is_measured(cases):
    code = "from clipose_ros.cli.command import main; main()"
    process = run([sys.executable, "-c", code, "bench", "--dds"], cases["middleware"][0])
    assert process.returncode == 1 and not process.stdout
    assert process.stderr.startswith("clipose: --dds: ros: RMW_IMPLEMENTATION: expected one that is installed"), process


def test_an_import_that_fails_is_one_sentence(dds):
    process = run(ENTRIES["pose_node"], {"PYTHONWARNINGS": "error"})
    assert process.returncode == 1 and "clipose_ros.ros.node: cannot be imported: DeprecationWarning" in process.stderr
    assert "Traceback" not in process.stderr and "clipose doctor" in process.stderr


def doctor(models, *arguments):
    code = "from clipose_ros.cli.command import main; main()"
    return [sys.executable, "-c", code, "doctor", "--json", "--models-dir", str(models), "--seconds", "0", *arguments]


def findings(process):
    assert "Traceback" not in process.stderr, process.stderr
    return {finding["subject"]: finding for finding in json.loads(process.stdout)["findings"]}


def test_doctor_finds_it_and_everything_else(cases, tiny_model):
    """Wherever ROS would have ended the process, and with everything wrong at once."""
    names = ["middleware", "domain", "no home", "rclpy"]
    everything = {"PYTHONOPTIMIZE": "2", "CONDA_PREFIX": sys.prefix}
    for name in ("domain", "log", "messages", "libraries", "no profile"):
        everything |= cases[name][0]
    jobs = [(doctor(tiny_model.parent), variables) for variables in (*(cases[name][0] for name in names), everything)]
    jobs[-1][0][:0] = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    *said, of_everything = runs(jobs)
    for name, process in zip(names, said):
        _, subject, cure = cases[name]
        found = findings(process)
        wrong = [finding for finding in found.values() if finding["level"] == "FAIL"]
        assert process.returncode == 1 and len(wrong) == 1, (name, wrong)
        assert f"{wrong[0]['subject']}: {wrong[0]['text']}".startswith(subject) and cure in wrong[0]["cure"], wrong
        assert found["ros: not started"]["level"] == "WARN"
        assert {"python", "packages", "provider: cpu", "model: tiny"} <= found.keys()
    found = findings(of_everything)
    failed = {subject for subject, finding in found.items() if finding["level"] == "FAIL"}
    subjects = {"ros: ROS_DOMAIN_ID", "ros: log folder", "ros: libraries", "ros: Fast DDS profile"}
    assert failed == {"ros", *subjects}
    assert {found[subject]["level"] for subject in ("cores", "python: options")} == {"WARN"}
    assert "sensor_msgs: expected modules for Python" in found["ros"]["text"]


def test_doctor_starts_a_node_where_all_is_well_and_reads_what_it_says(dds, tiny_model):
    sound, noisy = runs(
        [(doctor(tiny_model.parent), {}), (doctor(tiny_model.parent), {"RCUTILS_LOGGING_USE_STDOUT": "x"})]
    )
    assert findings(sound)["ros: start"]["level"] == "OK"
    assert "RCUTILS_LOGGING_USE_STDOUT" in findings(noisy)["ros: start"]["text"]
    assert {"ros: middleware", "messages"} <= findings(noisy).keys()


def test_a_start_that_fails_is_a_finding_with_its_last_words(dds):
    finding = start_finding(os.environ | UNKNOWN["security"])
    assert finding.level == Level.FAIL and "failed to initialize rcl" in finding.text, finding
    assert STARTED not in finding.text
