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
