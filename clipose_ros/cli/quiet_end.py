"""How a command ends when nobody reads on, or somebody interrupts it: without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells tell of SIGINT and SIGPIPE


@contextmanager
def quiet_end(name: str) -> Iterator[None]:
    """End the process where its reader has gone (`| head`), or Ctrl-C is pressed.

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
        With the status that shells give to a process that SIGPIPE or SIGINT ends.
    """
    try:
        yield
        sys.stdout.flush()  # now: at the end of Python, an error has no one to catch it
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
