"""Dependencies point one way: an import runs in a process of its own, which is asked what came along."""

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules_of(package):
    files = (ROOT / "clipose_ros" / package).glob("*.py")
    return [f"clipose_ros.{package.replace('/', '.')}.{file.stem}" for file in sorted(files) if file.stem != "__init__"]


def everything():
    """All modules of the package."""
    files = sorted((ROOT / "clipose_ros").rglob("*.py"))
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    return [".".join(names[:-1] if names[-1] == "__init__" else names) for names in parts]


def imported_with(*modules, deep=False):
    """Names of the top-level packages that importing the modules brings in; deep: of all modules."""
    names = "sorted(sys.modules)" if deep else "sorted({name.split('.')[0] for name in sys.modules})"
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps({names}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


# What a machine without ROS lacks, the package's own messages among it.
ROS = """rclpy clipose_ros.msg ament_index_python rosidl_parser rosidl_generator_py rpyutils launch_ros std_msgs
sensor_msgs geometry_msgs visualization_msgs diagnostic_msgs shape_msgs std_srvs builtin_interfaces rcl_interfaces"""
IMPORT_WITHOUT = """
import importlib, json, sys

class Absent:
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent, modules = json.loads(sys.argv[1])
for name in [name for name in sys.modules if name.split(".")[0] in absent]:
    del sys.modules[name]  # of what a start-up hook has brought
sys.meta_path.insert(0, Absent(absent))
failed = {}
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed[module] = repr(error)
print(json.dumps(failed))
"""


def import_without(absent, modules):
    """Errors of the modules that cannot be imported in a process in which some packages cannot be found."""
    command = [sys.executable, "-c", IMPORT_WITHOUT, json.dumps([absent, modules])]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_core_needs_numpy_alone():
    brought = imported_with(*modules_of("core"))
    assert "numpy" in brought and not brought & {
        "torch",
        "rclpy",
        "onnxruntime",
        "cv2",
        "matplotlib",
        "yaml",
        "tyro",
        "rich",
        "training",
    }


def test_the_runtime_needs_neither_torch_nor_ros():
    brought = imported_with(
        *modules_of("inference"), *modules_of("estimators"), "clipose_ros.pipeline", "clipose_ros.cli.main"
    )
    assert {"numpy", "cv2"} <= brought and not brought & {"torch", "rclpy", "matplotlib", "training"}


def test_torch_is_named_in_one_module_alone_and_imported_when_that_rasteriser_is_made():
    named = {}
    for file in (ROOT / "clipose_ros").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {"torch", "gsplat"}:
                named.setdefault(str(file.relative_to(ROOT / "clipose_ros")), set()).add(node.col_offset > 0)
    assert named == {"rendering/cuda.py": {True}}  # within its constructor; for type checkers besides


def test_what_only_feeds_or_hears_the_node_brings_no_network():
    feeders = [*modules_of("ros/adapters"), *modules_of("ros/examples"), "clipose_ros.ros.lab.player"]
    brought = imported_with(*feeders, deep=True)
    assert "rclpy" in brought and not brought & {"onnxruntime", "torch", "clipose_ros.inference.session"}


def test_every_module_can_be_imported_without_onnxruntime():
    """It is imported when a network is loaded: the builds are extras of this package."""
    assert import_without(["onnxruntime"], everything()) == {}


def test_every_module_outside_ros_can_be_imported_without_ros():
    outside = [name for name in everything() if not name.startswith("clipose_ros.ros")]
    assert import_without(ROS.split(), outside) == {}


def test_no_module_needs_what_only_training_has():
    assert import_without(["torch", "training", "trimesh", "embreex"], everything()) == {}


def test_numba_comes_with_learned_objects_alone():
    """It is heavy, and an extra: what the other models run imports none of it, and no command needs it to start."""
    doors = ["clipose_ros.pipeline", "clipose_ros.estimators.clipose", "clipose_ros.cli.main", *modules_of("formats")]
    assert "numba" not in imported_with(*doors)
    numba = [f"clipose_ros.{name}" for name in ("rendering.kernels", "rendering.cpu")]
    rooms = (
        "gspose",
        "hypothesis_search",
        "pose_refinement",
        "render_comparison",
        "shading",
        "sightings",
        "surface_alignment",
    )
    numba += [f"clipose_ros.estimators.{name}" for name in rooms]
    numba += [f"clipose_ros.segmenters.{name}" for name in ("colour_recognition", "object_segmenter", "recognition")]
    assert import_without(["numba"], [name for name in everything() if name not in numba]) == {}


def test_tracking_needs_arrays_alone():
    brought = imported_with(*modules_of("tracking"))
    assert {"numpy", "scipy"} <= brought and not brought & {
        "torch",
        "rclpy",
        "onnxruntime",
        "cv2",
        "yaml",
        "tyro",
        "rich",
        "training",
    }
