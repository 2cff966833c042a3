"""Numba's compiled code: a place for it where its own places may not be written, and a word while it is made."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from clipose_ros.formats.extras import extra_module

PACKAGE = Path(__file__).resolve().parents[1]
VARIABLE = "NUMBA_CACHE_DIR"
COMPILING = (
    "compiling the code of learned objects: about 40 s of one core, more on a busy machine, and only once where it can "
    "be kept"
)

log = logging.getLogger(__name__)
_hearers: list[Callable[[str], None]] = []  # of this process, as numba's events are
_listeners: list[object] = []


def tell_of_compiling(tell: Callable[[str], None]) -> None:
    """Have somebody told as soon as code is compiled, instead of the log.

    Parameters
    ----------
    tell : callable
        Takes one sentence, once in a process, from the thread that compiles.
    """
    _hearers.append(tell)


def find_place_for_compiled_code() -> str | None:
    """Give numba a folder for this process alone, if it can write neither beside the code nor in the user's cache.

    In a container whose files are read-only, and for a user without a home, numba refuses to compile at all. A folder
    that outlives the process would be quicker the next time, but numba runs what it finds there, and others may write
    to a shared place. From now on it is said when code is compiled, see `tell_of_compiling`.

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
    _listen()
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


def _listen() -> None:
    """Have numba say when it compiles this package's code: what comes out of a cache is not compiled."""
    if _listeners:
        return
    event = sys.modules["numba.core.event"]

    class FirstCompiling(event.Listener):
        """Hears of all, and tells of the first one."""

        told = False

        def on_start(self, started) -> None:
            module = started.data["dispatcher"].py_func.__module__ or ""
            if module.startswith(f"{PACKAGE.name}.") and not self.told:
                self.told = True
                for tell in _hearers or (log.warning,):
                    tell(COMPILING)

        def on_end(self, ended) -> None:
            """Nothing is said of the others."""

    _listeners.append(FirstCompiling())
    event.register("numba:compile", _listeners[0])


def _writable(folder: Path) -> bool:
    """Whether files can be written into a folder, which is made where it is not there: tried, as numba tries it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
