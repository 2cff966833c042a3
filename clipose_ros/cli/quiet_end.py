"""How a command ends when nobody reads on, somebody interrupts it, or its folder is gone: without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells tell of SIGINT and SIGPIPE


def run_module(name: str, main: Callable[[], None]) -> None:
    """Run what `python -m` starts, so that what a user got wrong ends it with a sentence.

    Parameters
    ----------
    name : str
        Of the module.
    main : callable
        Its entry point.

    Raises
    ------
    SystemExit
        With the sentence, and as of `quiet_end`.
    """
    try:
        with quiet_end(name):
            main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{name}: {error}")


@contextmanager
def quiet_end(name: str) -> Iterator[None]:
    """End the process where its reader has gone (`| head`), Ctrl-C is pressed, or its working folder was deleted.

    Parameters
    ----------
    name : str
        Of the command.

    Yields
    ------
    None
        To run the command.

    Raises
    ------
    SystemExit
        With the status that shells give to a process that SIGPIPE or SIGINT ends; with a sentence where the process
        has no working folder, which paths without one are looked for in.
    """
    try:
        os.getcwd()
    except OSError as error:
        cure = "cd to a folder that there is; where it was made anew: cd $PWD"
        sys.exit(f"{name}: working folder: expected one, got one that was deleted ({error.strerror}); {cure}")
    try:
        yield
        sys.stdout.flush()  # now: at the end of Python, an error has no one to catch it
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
