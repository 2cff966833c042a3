"""Files that are whole or not there: on a full disk, what was there before stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, whose file takes its place when the block ends without an error.

    Parameters
    ----------
    path : Path
        Of the file. Folders that it names and that are not there are made. What is no file, such as /dev/stdout, is
        written itself, and so is a file in a folder where no other can be made.

    Yields
    ------
    Path
        To write to.

    Raises
    ------
    OSError
        With the path, where it cannot be written, as on a full disk.
    """
    target = path.resolve()  # of a link, what it points to
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        beside = path.is_file() and os.access(target.parent, os.W_OK | os.X_OK)
        # /dev/stdout leads to a pipe, which has no path, or to a file, of which others write to the end
        if path.is_relative_to("/dev") or path.exists() and not beside:
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        os.replace(unfinished, target)
    except OSError as error:
        if error.filename not in (None, str(unfinished), str(path)) or error.strerror is None:
            raise  # of something else: what is read while this is written
        raise OSError(f"{path}: expected a file that can be written, got: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write a picture.

    Parameters
    ----------
    path : Path
        Of a PNG or JPEG; folders that are not there are made.
    pixels : (H, W) or (H, W, 3) array
        Grey, or in OpenCV's order: B, G, R.

    Raises
    ------
    OSError
        As `whole_file`.
    """
    encoded = cv2.imencode(path.suffix, pixels)[1]
    with whole_file(path) as unfinished:
        unfinished.write_bytes(encoded.tobytes())
