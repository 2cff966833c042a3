"""Writes frames as an MCAP recording, as `ros2 bag record` would have recorded a camera and a segmenter."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.message_definitions import (
    CAMERA_INFO_TYPE,
    IMAGE,
    INSTANCE_ARRAY,
    TYPES,
    message_definition,
)
from clipose_ros.formats.recorded_bytes import recording_library
from clipose_ros.formats.whole_files import whole_file

# The pose node's own names, see `ros.topics`.
RECORDED_TOPICS = {
    "camera_info": "/rgb/camera_info",
    "colour": "/rgb/image_rect_color",
    "depth": "/depth_registered/image_rect",
    "instances": "/instances",
}
BEGIN_NS = 1_700_000_000 * NS_PER_S  # of recordings of images without time


class RecordingWriter:
    """An MCAP file that is being written, in chunks compressed by zstd; a context that ends it.

    Parameters
    ----------
    path : Path
        Of the file, which is there once it is whole. Folders that it names and that are not there are made.

    Raises
    ------
    OSError
        With the path, where it cannot be written, as on a full disk.
    RuntimeError
        Where the packages that write recordings are not installed.
    """

    def __init__(self, path: Path) -> None:
        library = recording_library("mcap_ros2.writer")
        self._whole = whole_file(path)
        self._file = self._whole.__enter__().open("wb")
        self._writer = library.Writer(self._file)
        self._schemas = {kind: self._writer.register_msgdef(kind, message_definition(kind)) for kind in TYPES}

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                if error is None:
                    self._writer.finish()
            finally:
                self._file.close()
        except OSError as full:  # what is not written yet finds the disk full
            kind, error, trace = type(full), full, full.__traceback__
        self._whole.__exit__(kind, error, trace)

    def write(self, topic: str, kind: str, message: dict[str, Any], time_ns: int) -> None:
        """Write a message.

        Parameters
        ----------
        topic : str
            Of the message.
        kind : str
            Its type, such as `sensor_msgs/msg/Image`.
        message : dict of str to object
            Its fields.
        time_ns : int
            When it is recorded [ns].
        """
        self._writer.write_message(topic, self._schemas[kind], message, time_ns, time_ns)

    def write_frame(self, frame: Frame, detections: Detections) -> None:
        """Write the messages of a frame, all with its stamp: calibration, colour if there is one, depth, masks.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        detections : Detections
            What is in it.

        Raises
        ------
        ValueError
            For a raw image, whose lens is not written.
        """
        expect("frame", frame.intrinsics.distortion is None, "a rectified image", "one with a distortion")
        header = {"stamp": _stamp(frame.stamp_ns), "frame_id": frame.frame_id}
        encoding = "16UC1" if frame.depth.dtype == np.uint16 else "32FC1"
        flat = detections.flat()
        small = flat.masks.size == 0 or flat.masks.max() < 256
        labels = flat.masks.astype(np.uint8 if small else np.uint16)
        found = [{"label": i.label, "category": i.category, "score": i.score, "id": i.id} for i in flat.instances]
        label_image = image_fields(labels, "mono8" if small else "16UC1", header)
        messages = (
            ("camera_info", CAMERA_INFO_TYPE, _camera_info(frame.intrinsics, frame.depth.shape, header)),
            *([("colour", IMAGE, image_fields(frame.colour, "rgb8", header))] if frame.colour is not None else []),
            ("depth", IMAGE, image_fields(frame.depth, encoding, header)),
            ("instances", INSTANCE_ARRAY, {"header": header, "label_image": label_image, "instances": found}),
        )
        for role, kind, message in messages:
            self.write(RECORDED_TOPICS[role], kind, message, frame.stamp_ns)


def write_recording(path: Path, frames: Iterable[tuple[Frame, Detections]]) -> int:
    """Write frames as a recording.

    Parameters
    ----------
    path : Path
        Of the file to write.
    frames : iterable of (Frame, Detections)
        With increasing stamps.

    Returns
    -------
    int
        How many frames there were.

    Raises
    ------
    ValueError, RuntimeError
        As `RecordingWriter`.
    """
    count = 0
    with RecordingWriter(path) as writer:
        for frame, detections in frames:
            writer.write_frame(frame, detections)
            count += 1
    return count


def image_fields(pixels: np.ndarray, encoding: str, header: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of an image message.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C) array
        In this machine's order of bytes.
    encoding : str
        By its name in sensor_msgs.
    header : dict of str to object
        Fields of its header.

    Returns
    -------
    dict of str to object
        By the names of `sensor_msgs/Image`.
    """
    pixels = np.ascontiguousarray(pixels)
    return {
        "header": header,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": int(sys.byteorder == "big"),
        "step": pixels.strides[0],
        "data": pixels.tobytes(),
    }


def _camera_info(intrinsics: Intrinsics, shape: tuple[int, ...], header: dict[str, Any]) -> dict[str, Any]:
    fx, fy, cx, cy = (float(value) for value in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy))
    return {
        "header": header,
        "height": shape[0],
        "width": shape[1],
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": {},
    }


def _stamp(time_ns: int) -> dict[str, int]:
    return {"sec": time_ns // NS_PER_S, "nanosec": time_ns % NS_PER_S}
