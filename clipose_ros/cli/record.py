"""`clipose record`: a folder of frames as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from clipose_ros.cli.frame_sources import FolderSource, input_files
from clipose_ros.cli.output_paths import check_not_read, check_output_file
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame
from clipose_ros.core.validation import expect
from clipose_ros.formats.recording_files import BEGIN_NS, RECORDED_TOPICS, write_recording
from clipose_ros.objects.library import ObjectLibrary


def record(
    folder: Annotated[Path, tyro.conf.Positional], /, output: Path, rate_hz: float = 30.0, objects: Path | None = None
) -> None:
    """Write a NOCS-format folder as a recording, with the topics of the pose node.

    `clipose estimate` gives the same poses for both; `ros2 bag play` and Foxglove can play it. A frame that cannot be
    read is skipped and counted.

    Parameters
    ----------
    folder
        As of `clipose estimate`.
    output
        The .mcap file to write. Folders that are not there are made.
    rate_hz
        Frames a second: folders hold no time, and the first frame gets a time in November 2023.
    objects
        Folder of learned objects (see clipose learn): instances of class 0 of their names are recorded, too.
    """
    expect("--rate-hz", 0 < rate_hz <= 1000, "more than 0, at most 1000", rate_hz)
    expect("--output", output.suffix == ".mcap", "a file that ends with .mcap", output)
    check_output_file("--output", output)
    check_not_read("--output", output, input_files(folder))
    names = () if objects is None else ObjectLibrary(objects).names
    expect("--objects", objects is None or names, "a folder with learned objects (clipose learn)", objects)
    source = FolderSource(folder)
    source.know(names)
    if next(source.frames(), None) is None:
        raise ValueError(f"{folder}: expected at least one frame that can be read, got {source.first_reason()}")
    count = write_recording(output, _stamped(source, rate_hz))
    skipped = source.report()
    print(f"{output}: {count} frames on {', '.join(RECORDED_TOPICS.values())}, {skipped} skipped")


def _stamped(source: FolderSource, rate_hz: float) -> Iterator[tuple[Frame, Detections]]:
    for i, (_, frame, detections) in enumerate(source.frames()):
        yield replace(frame, stamp_ns=BEGIN_NS + round(i * NS_PER_S / rate_hz)), detections
