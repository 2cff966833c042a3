"""Frames of a recording: depth, calibration and masks joined by stamp as the node joins them, and colour where it is.

Nothing is kept but what waits for its partners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.object_sizes import range_warning
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance
from clipose_ros.core.validation import expect
from clipose_ros.formats.camera_info import check_camera_info, distortion_warning, geometry_warning, intrinsics_from
from clipose_ros.formats.compressed_images import inflate_colour, inflate_depth
from clipose_ros.formats.image_messages import colour_view, depth_view, detections_from, stamp_ns
from clipose_ros.formats.images import unit_doubt
from clipose_ros.formats.message_definitions import COMPRESSED_IMAGE
from clipose_ros.formats.recorded_bytes import MOST_REASONS, Tally
from clipose_ros.formats.recorded_topics import TopicNames, TopicSample, find_topics, read_message
from clipose_ros.formats.recordings import RecordedMessages
from clipose_ros.joining.stamp_evidence import MOST_BUFFERED
from clipose_ros.joining.synchroniser import JUMP_NS, Bundle, Synchroniser

MOST_WAITING_BYTES = 2**31  # of all messages that wait for their partners
LEAST_MESSAGE_BYTES = 2**23  # that a message may have; else twice what the first one of its topic has
SPARE = 2
MOST_COMPLETED = 64  # frames that one message may complete
MOST_INFO_BYTES = 2**16


@dataclass(frozen=True)
class JoinSettings:
    """How the messages of a recording become frames.

    Parameters
    ----------
    raw_images : bool
        Images of a recording are not rectified: points are undistorted by K and D of the calibration.
    depth_scale_m : float
        What 1 means in depth images of a recording; 0: as the encoding says, millimetres or metres [m].
    max_stamp_difference_s : float
        In a recording, the largest difference of the stamps of depth and its masks and colour; 0: equal stamps [s].
    buffer_size : int
        Images of a recording that wait for their masks.

    Raises
    ------
    ValueError
        With the option, for values out of range.
    """

    raw_images: bool = False
    depth_scale_m: float = 0.0
    max_stamp_difference_s: float = 0.0
    buffer_size: int = 60

    def __post_init__(self) -> None:
        most_s = JUMP_NS / NS_PER_S
        expect("--depth-scale-m", 0 <= self.depth_scale_m <= 1, "0 to 1 m", self.depth_scale_m)
        difference_s = self.max_stamp_difference_s
        expect("--max-stamp-difference-s", 0 <= difference_s <= most_s, f"0 to {most_s:g} s", difference_s)
        expect("--buffer-size", 1 <= self.buffer_size <= MOST_BUFFERED, f"1 to {MOST_BUFFERED}", self.buffer_size)


class RecordedFrame(NamedTuple):
    """A frame of a recording.

    Attributes
    ----------
    name : str
        Number of its depth image in the recording, from 0000.
    frame : Frame
        What the camera saw.
    detections : Detections, optional
        What is in it. The ids of the instances are different. None where no masks are read.
    """

    name: str
    frame: Frame
    detections: Detections | None


class _Numbered(NamedTuple):
    """A depth message and its number."""

    number: int
    message: Any
    compressed: bool


class RecordedFrames:
    """The frames of one camera in a recording.

    Parameters
    ----------
    path : Path
        Of an .mcap or .db3 file, or of a folder of rosbag2.
    names : TopicNames
        Topics; what is empty is found.
    settings : JoinSettings
        How messages become frames.
    with_masks : bool
        Whether to read what is in the frames. Without, each depth image is a frame.
    with_colour : bool
        Whether a frame is complete only with its colour image. Without, it has one where one came in time.

    Attributes
    ----------
    topics : dict of str to TopicSample
        The topics that are read, by role.
    tally : Tally
        What was left out when the frames were read last, by reason.
    remarks : Counter of str
        How many of these frames deserve a remark, by remark.
    depth_images : int
        How many there were.

    Raises
    ------
    ValueError
        With the path, where this is no recording, or its topics cannot be told.
    RuntimeError
        Where the packages that read recordings are not installed.
    """

    def __init__(
        self,
        path: Path,
        names: TopicNames = TopicNames(),
        settings: JoinSettings = JoinSettings(),
        with_masks: bool = True,
        with_colour: bool = False,
    ) -> None:
        self.path = path
        self._settings = settings
        self._with_colour = with_colour
        self._recording = RecordedMessages(path)
        self.topics = find_topics(self._recording, names, with_masks)
        there = ", ".join(sample.topic for sample in self.topics.values())
        expect(str(path), not with_colour or "colour" in self.topics, "a topic of colour images", f"only {there}")
        self.tally, self.remarks, self.depth_images = Tally(), Counter(), 0
        self._roles = {sample.topic: role for role, sample in self.topics.items()}

    @property
    def share(self) -> float:
        """How much of the recording has been read, 0 to 1."""
        return self._recording.share

    def read(self, strict: bool = False) -> Iterator[RecordedFrame]:
        """Read the frames, from the first one.

        Parameters
        ----------
        strict : bool
            Raise for the first message and the first frame that cannot be read, instead of counting it.

        Yields
        ------
        RecordedFrame
            In the order in which they are complete.

        Raises
        ------
        ValueError
            With strict alone.
        """
        self.remarks.clear()
        reading = _Reading(self.topics, self._settings, self.remarks, strict, self._with_colour)
        self.depth_images = 0
        for message in self._recording.messages(lambda topic, kind: topic in self._roles):
            self.tally = self._recording.tally
            yield from reading.take(self._roles[message.topic], message, self.tally)
            self.depth_images = reading.depth_images
        self.tally = self._recording.tally
        reading.close(self.tally)
        if strict and self.tally.lines():
            raise ValueError(f"{self.path}: {self.tally.lines()[0]}")


class _Reading:
    """The state of one pass over a recording."""

    def __init__(
        self,
        topics: dict[str, TopicSample],
        settings: JoinSettings,
        remarks: Counter[str],
        strict: bool,
        with_colour: bool,
    ) -> None:
        self._with_colour = with_colour
        self._topics = topics
        self._settings = settings
        self._remarks = remarks
        self._strict = strict
        # Bounds of memory: so many bytes may a message have, so many messages may wait.
        self._most = {role: max(LEAST_MESSAGE_BYTES, SPARE * one.data_bytes) for role, one in topics.items()}
        self._most["camera_info"] = MOST_INFO_BYTES
        self._capacity = max(1, min(settings.buffer_size, MOST_WAITING_BYTES // sum(self._most.values())))
        if self._capacity < settings.buffer_size:
            remarks[f"{self._capacity} images of this size are kept waiting for their masks, not buffer_size"] = 1
        tolerance_ns = round(settings.max_stamp_difference_s * NS_PER_S)
        self._synchroniser = Synchroniser(
            self._capacity,
            with_colour,
            tolerance_ns=tolerance_ns,
            waiting_frames=MOST_COMPLETED * self._capacity,
            with_instances="instances" in topics,
        )
        with suppress(ValueError):  # said when it is read again
            # A recording may begin with images that came before the first calibration.
            self._calibrate(topics["camera_info"].message)
        self._tolerance_ns = tolerance_ns
        self._colours: dict[int, tuple[Any, bool]] = {}
        self.depth_images = 0

    def take(self, role: str, recorded: Any, tally: Tally) -> Iterator[RecordedFrame]:
        """The frames that a message completes."""
        number = self.depth_images
        self.depth_images += role == "depth"
        try:
            size, most = len(recorded.data), self._most[role]
            expect(recorded.topic, size <= most, f"at most {most} bytes, as the first ones have far fewer", "more")
            self._add(role, recorded.kind == COMPRESSED_IMAGE, read_message(recorded), number)
        except ValueError as error:
            self._leave_out(tally, error, f"{number:04d}" if role == "depth" else "", role)
        while (bundle := self._synchroniser.take(0)) is not None:
            try:
                yield self._frame(bundle)
            except ValueError as error:
                self._leave_out(tally, error, f"{bundle.depth.number:04d}", "frame")

    def close(self, tally: Tally) -> None:
        """Count what never found its partners, and say why."""
        for cause, dropped in self._synchroniser.drops.items():
            tally.reject(cause, count=dropped)
        if waiting := len(self._synchroniser):
            tally.reject("messages whose partners had not come by the end", count=waiting)
        for evidence in self._synchroniser.evidence():
            if reason := evidence.explain():
                tally.cut(reason)

    def _leave_out(self, tally: Tally, error: ValueError, name: str, what: str) -> None:
        if self._strict:
            raise ValueError(f"{what} {name}: {error}".replace(" :", ":")) from error
        tally.reject(f"{what}: {error}", name)

    def _add(self, role: str, compressed: bool, message: Any, number: int) -> None:
        time_ns = stamp_ns(message.header.stamp)
        if role == "depth":
            self._synchroniser.add_depth(time_ns, _Numbered(number, message, compressed))
        elif role == "camera_info":
            self._calibrate(message, time_ns)
        elif role == "instances":
            self._synchroniser.add_instances(time_ns, message)
        elif self._with_colour:
            self._synchroniser.add_colour(time_ns, (message, compressed))
        else:
            self._colours[time_ns] = message, compressed
            if len(self._colours) > self._capacity:
                del self._colours[next(iter(self._colours))]

    def _calibrate(self, info: Any, time_ns: int | None = None) -> None:
        """Take a calibration; one that fits no image leaves the one before in place."""
        check_camera_info(info, not self._settings.raw_images)
        self._synchroniser.set_camera_info(info, time_ns)

    def _frame(self, bundle: Bundle) -> RecordedFrame:
        numbered, settings = bundle.depth, self._settings
        depth = (inflate_depth if numbered.compressed else depth_view)(numbered.message)
        header = numbered.message.header
        frame = Frame(
            stamp_ns=bundle.stamp_ns,
            frame_id=header.frame_id,
            depth=depth,
            intrinsics=intrinsics_from(bundle.camera_info, depth.shape, not settings.raw_images),
            colour=self._colour(bundle, depth.shape),
            depth_unit_m=settings.depth_scale_m or None,
        )
        self._remark_on(bundle, frame)
        detections = None
        if bundle.instances is not None:
            found = detections_from(bundle.instances, depth.shape)
            detections = Detections(_with_different_ids(found.instances), found.masks)
        return RecordedFrame(f"{numbered.number:04d}", frame, detections)

    def _colour(self, bundle: Bundle, shape: tuple[int, int]) -> np.ndarray | None:
        """The colour image of a frame, where there is one that can be read."""
        if "colour" not in self._topics:
            return None
        if self._with_colour:
            return _read_colour(*bundle.colour, shape)
        time_ns = bundle.stamp_ns
        nearest_ns = min(self._colours, key=lambda other_ns: abs(other_ns - time_ns), default=None)
        if nearest_ns is None or abs(nearest_ns - time_ns) > self._tolerance_ns:
            self._remark("no colour image of this stamp before the frame was complete")
            return None
        try:
            return _read_colour(*self._colours[nearest_ns], shape)
        except ValueError as error:
            self._remark(f"colour is left out: {error}")
            return None

    def _remark_on(self, bundle: Bundle, frame: Frame) -> None:
        """What may be wrong without being broken."""
        message, info, rectified = bundle.depth.message, bundle.camera_info, not self._settings.raw_images
        millimetres = frame.depth.dtype == np.uint16 and not self._settings.depth_scale_m
        doubts = [unit_doubt(frame.depth)] if millimetres else []
        warnings = [
            distortion_warning(info, self._topics["depth"].topic, rectified),
            geometry_warning(info, rectified),
            None if any(doubts) else range_warning(frame, DepthRange()),
        ]
        doubts += [f"{text} ({_for_commands(cure)})" for text, cure in filter(None, warnings)]
        frame_id = message.header.frame_id
        for name, other in (("instances", bundle.instances), ("camera_info", info)):
            if other is not None and other.header.frame_id != frame_id:
                doubts.append(f"{name} frame_id: expected {frame_id!r} as depth, got {other.header.frame_id!r}")
        for doubt in filter(None, doubts):
            self._remark(doubt)

    def _remark(self, text: str) -> None:
        self._remarks[text if text in self._remarks or len(self._remarks) < MOST_REASONS else "other remarks"] += 1


def _read_colour(message: Any, compressed: bool, shape: tuple[int, int]) -> np.ndarray:
    """A colour image (H, W, 3), RGB; raises ValueError where it cannot be read or is not of the depth image's size."""
    colour = (inflate_colour if compressed else colour_view)(message)
    expect("colour", colour.shape[:2] == shape, f"the size of depth, {_size(shape)}", _size(colour.shape))
    return colour


def _with_different_ids(instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """The instances, each with an id that no other of the frame has: its own, its label, or that and a number."""
    taken: set[str] = set()
    named = []
    for instance in instances:
        numbered = (f"{instance.label}.{i}" for i in count(len(taken)))
        choices = chain((instance.id, str(instance.label)), numbered)
        name = next(choice for choice in choices if choice and choice not in taken)
        taken.add(name)
        named.append(replace(instance, id=name))
    return tuple(named)


def _for_commands(cure: str) -> str:
    """What to do, in options of a command where the node has parameters."""
    cure = cure.replace("rectified:=false", "--raw-images").replace("depth_scale_m:=", "--depth-scale-m ")
    return cure.replace("min_depth_m", "the node's min_depth_m")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
