"""Learned objects need compiled code, also where nothing may be written."""

import os
import subprocess
import sys

import pytest

from clipose_ros.estimators import compiled_code

IMPORT = """
import sys, tempfile
make = tempfile.TemporaryFile
def refuse(dir):
    if str(dir).startswith(sys.argv[1]):
        raise OSError("Read-only file system")
    return make(dir=dir)
tempfile.TemporaryFile = refuse
import numba.core.caching as caching
for name in ("InTreeCacheLocator", "UserWideCacheLocator"):  # as numba finds them where nothing may be written
    getattr(caching, name).from_function = classmethod(lambda kind, function, path: None)
from clipose_ros.estimators.compiled_code import find_place_for_compiled_code
place = find_place_for_compiled_code()
import clipose_ros.rendering.kernels
print(place)
"""


def test_a_read_only_install_without_a_home_compiles_in_a_folder_of_its_own(tmp_path):
    """numba#4908, #5566: `cannot cache function: no locator available`."""
    pytest.importorskip("numba")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    said = subprocess.run(
        [sys.executable, "-c", IMPORT, str(compiled_code.PACKAGE)],
        capture_output=True, text=True, check=True, env=environment | {"HOME": "/dev/null", "XDG_CACHE_HOME": ""},
    ).stdout.strip()  # fmt: skip
    assert "clipose_ros_numba_" in said and not os.path.exists(said)


def test_nothing_is_changed_where_code_can_be_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(compiled_code, "PACKAGE", tmp_path)
    assert compiled_code.find_place_for_compiled_code() is None and "NUMBA_CACHE_DIR" not in os.environ


COMPOSITE = """
import numpy as np
from clipose_ros.estimators.compiled_code import find_place_for_compiled_code
find_place_for_compiled_code()
from clipose_ros.rendering.kernels import ELLIPSE, composite
for _ in range(2):
    composite(
        np.zeros(0, np.int64), np.zeros((0, ELLIPSE), np.float32), np.zeros((0, 4), np.int32),
        np.zeros((0, 4), np.float32), np.zeros((2, 2, 4), np.float32), *np.zeros((2, 2, 2), np.float32),
    )
"""


def test_compiling_is_said_once_and_not_done_again(tmp_path):
    pytest.importorskip("numba")
    first, second = (
        subprocess.run(
            [sys.executable, "-c", COMPOSITE], capture_output=True, text=True, check=True,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        ).stderr
        for _ in range(2)
    )  # fmt: skip
    assert first.strip() == compiled_code.COMPILING and second == ""


LOADED = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from numba.core.dispatcher import Dispatcher
from clipose_ros.core.types import Detections, Instance
from clipose_ros.estimators import load
from clipose_ros.formats.reference_views import read_reference_views
from clipose_ros.core.types import Frame
from clipose_ros.pipeline import Pipeline
from clipose_ros.tracking.tracker import Tracker

def compiled():
    ours = [module for name, module in sys.modules.items() if name.startswith("clipose_ros.")]
    functions = {id(one): one for module in ours for one in vars(module).values() if isinstance(one, Dispatcher)}
    return {one.py_func.__name__: len(one.overloads) for one in functions.values()}

views, library = map(Path, sys.argv[1:])
estimator = load("gspose", objects_dir=library)
before = compiled()
references = read_reference_views(views)
view = references.views[0]
frame = Frame(0, "", view.depth_m, references.intrinsics, view.colour)
detections = Detections((Instance(1, "box"),), view.mask.astype(np.uint8))
pipeline = Pipeline(estimator, tracker=Tracker(symmetry=estimator.symmetry))
for blind in (False, True):
    for _ in range(3):
        frame = replace(frame, stamp_ns=frame.stamp_ns + 33_000_000)
        given = replace(frame, depth=np.zeros_like(frame.depth)) if blind else frame
        pipeline.process(given, detections)
assert len(before) > 5 and compiled() == before, (before, compiled())
"""


def test_all_that_frames_need_is_compiled_at_the_start(box_folder, box_library):
    said = subprocess.run(
        [sys.executable, "-c", LOADED, str(box_folder), str(box_library)], capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr


MISSING, TOO_NEW = "No module named 'numba'", "Numba needs NumPy 2.3 or less. Got NumPy 2.4."
BLOCK = """
import importlib.abc, sys
reason = sys.argv.pop(1)
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise ImportError(reason)
sys.meta_path.insert(0, Block())
from clipose_ros.cli.command import main
main()
"""


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        (MISSING, ("learn", "box", "views", "--objects", "lib")),
        (TOO_NEW, ("estimate", "views", "--output", "o.json", "--model", "gspose", "--objects", "lib")),
        (MISSING, ("estimate", "views", "--output", "o.json", "--segmenter", "objects", "--objects", "lib")),
        (TOO_NEW, ("bench", "--model", "gspose")),
    ],
)
def test_an_install_without_numba_or_with_one_that_does_not_fit_is_told_the_cure(
    reason, arguments, box_folder, tmp_path
):
    """numba refuses a numpy that is newer than itself. clipose_ros[cpu] brings none at all."""
    (tmp_path / "views").symlink_to(box_folder)
    ended = subprocess.run(
        [sys.executable, "-c", BLOCK, reason, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"gspose: expected the package numba, got none ({reason}); pip install clipose_ros[gspose]" in ended.stderr


def test_a_module_that_measures_ends_in_a_sentence(tmp_path):
    module = "clipose_ros.evaluation.steadiness"
    ended = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1 and ended.stderr.startswith(
        f"{module}: launch/demo: expected a folder with NNNN_depth"
    )
