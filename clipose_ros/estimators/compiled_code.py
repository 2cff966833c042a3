"""A place for numba's compiled code, where its own places may not be written."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from clipose_ros.formats.extras import extra_module

PACKAGE = Path(__file__).resolve().parents[1]
VARIABLE = "NUMBA_CACHE_DIR"


def find_place_for_compiled_code() -> str | None:
    """Give numba a folder for this process alone, if it can write neither beside the code nor in the user's cache.

    In a container whose files are read-only, and for a user without a home, numba refuses to compile at all. A folder
    that outlives the process would be quicker the next time, but numba runs what it finds there, and others may write
    to a shared place.

    Returns
    -------
    str or None
        The folder; None where numba has a place.

    Raises
    ------
    OSError
        Where there is no place for temporary files, either.
    RuntimeError
        Where numba is not installed, or does not fit to what is, with the cure.
    """
    extra_module("numba", "gspose")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if (
        os.environ.get(VARIABLE)
        or _writable(PACKAGE / "rendering" / "__pycache__")
        or _writable(Path(caches) / "numba")
    ):
        return None
    folder = tempfile.mkdtemp(prefix="clipose_ros_numba_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder
    sys.modules["numba.core.config"].CACHE_DIR = folder  # which has read the environment
    return folder


def _writable(folder: Path) -> bool:
    """Whether files can be written into a folder, which is made where it is not there: tried, as numba tries it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
