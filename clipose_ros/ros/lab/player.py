"""Publishes a folder in NOCS format, or a recording, as a camera and a segmenter would: colour, depth, camera info,
instances and, where a folder has it, the truth.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clipose_ros.core.types import Detections, Frame, Instance
from clipose_ros.core.validation import expect
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import PosesByInstance, read_poses
from clipose_ros.formats.recorded_frames import JoinSettings, RecordedFrames
from clipose_ros.formats.recorded_topics import TopicNames
from clipose_ros.msg import InstanceArray, ObjectPoseArray
from clipose_ros.ros.conversions import frame_messages, image_message, pose_array_message, stamp_ns
from clipose_ros.ros.parameters import read_parameters
from clipose_ros.ros.spinning import run
from clipose_ros.ros.topics import CAMERA_INFO, COLOUR, DEPTH, INSTANCES

TRUTH = "~/truth"
TRUTH_FILE = "truth.json"

QOS = QoSProfile(depth=5)  # reliable: matches every subscriber
CACHED_FRAMES = 64  # a short sequence is decoded once, a long one does not fill the memory


@dataclass(frozen=True)
class PlayerParameters:
    """Parameters of the player.

    Parameters
    ----------
    folder : str
        In NOCS format. Empty where a recording is played.
    recording : str
        An .mcap or .db3 file, or a folder of rosbag2, which is read as `clipose estimate` reads it.
    rate_hz : float
        Frames a second [Hz].
    loop : bool
        Start again at the end.
    masks : bool
        Publish instances, too; false: as a camera alone, for a node that segments by itself. Then neither a recording
        nor a folder without truth.json need have any.
    objects : tuple of str
        Learned objects: an instance of class 0 whose model has such a name is played by it. Of a folder.
    frame_id : str
        Of all messages.
    log : str
        File that gets a line for each frame: its stamp and the time at which its last message was published [ns].
        None where it is empty.
    depth_topic, camera_info_topic, instances_topic, colour_topic : str
        Of the recording, see `TopicNames`; they are published under the node's names.
    raw_images, max_stamp_difference_s
        Of the recording, see `JoinSettings`.
    """

    folder: str = ""
    recording: str = ""
    rate_hz: float = 15.0
    loop: bool = True
    masks: bool = True
    objects: tuple[str, ...] = ()
    frame_id: str = "camera_color_optical_frame"
    log: str = ""
    depth_topic: str = TopicNames.depth_topic
    camera_info_topic: str = TopicNames.camera_info_topic
    instances_topic: str = TopicNames.instances_topic
    colour_topic: str = TopicNames.colour_topic
    raw_images: bool = JoinSettings.raw_images
    max_stamp_difference_s: float = JoinSettings.max_stamp_difference_s

    def __post_init__(self) -> None:
        given = [name for name in ("folder", "recording") if getattr(self, name)]
        expect("folder", given, "a folder in NOCS format, or a recording by its own parameter", "none")
        expect("recording", len(given) == 1, "either a folder or a recording", "both")
        if self.folder:
            expect("folder", Path(self.folder).expanduser().is_dir(), "a folder in NOCS format", self.folder)
        expect("rate_hz", 0 < self.rate_hz <= 1000, "more than 0, at most 1000", self.rate_hz)
        expect("objects", not self.objects or self.folder, "none with a recording, which has its names", self.objects)
        expect("frame_id", self.frame_id != "", "the name of an optical frame", self.frame_id)


@dataclass(frozen=True)
class PlayedMessages:
    """The messages of one frame.

    Parameters
    ----------
    depth, colour : sensor_msgs.msg.Image
        Colour is None where the folder lacks it.
    camera_info : sensor_msgs.msg.CameraInfo
        Of both.
    instances : InstanceArray
        Labels and classes; None where masks are not played.
    truth : ObjectPoseArray
        None where the folder lacks it.
    """

    depth: Image
    camera_info: CameraInfo
    instances: InstanceArray | None
    colour: Image | None
    truth: ObjectPoseArray | None


class _Folder:
    """The frames of a folder, in the order of their names."""

    def __init__(self, parameters: PlayerParameters) -> None:
        self._folder = NocsFolder(Path(parameters.folder).expanduser(), parameters.objects)
        truth_file = self._folder.path / TRUTH_FILE
        self._truth = read_poses(truth_file) if truth_file.exists() else None
        self._masks = parameters.masks
        self._messages = functools.lru_cache(CACHED_FRAMES)(self._read)
        self.text = f"{len(self._folder)} frames of {self._folder.path}"

    def frames(self) -> Iterator[PlayedMessages]:
        """From the first to the last."""
        return map(self._messages, self._folder.names)

    def remarks(self) -> list[str]:
        """What cannot be read ends the player."""
        return []

    def _read(self, name: str) -> PlayedMessages:
        if not self._masks and self._truth is None:
            return _played(self._folder.read_frame(name), None, None)
        frame, detections = self._folder.read(name)
        truth = None if self._truth is None else truth_message(name, detections, self._truth, Header())
        return _played(frame, detections if self._masks else None, truth)


class _Recording:
    """The frames of a recording, in the order in which they are complete."""

    def __init__(self, parameters: PlayerParameters) -> None:
        names = TopicNames(**{field.name: getattr(parameters, field.name) for field in dataclasses.fields(TopicNames)})
        joins = JoinSettings(raw_images=parameters.raw_images, max_stamp_difference_s=parameters.max_stamp_difference_s)
        self._recorded = RecordedFrames(Path(parameters.recording).expanduser(), names, joins, parameters.masks)
        first = next(self._recorded.read(), None)
        expect(str(self._recorded.path), first, "a frame that can be read", "; ".join(self.remarks()) or "none")
        topics = ", ".join(f"{role} {sample.topic}" for role, sample in self._recorded.topics.items())
        self.text = f"{self._recorded.path} ({topics})"

    def frames(self) -> Iterator[PlayedMessages]:
        """From the first to the last."""
        for _, frame, detections in self._recorded.read():
            yield _played(frame, detections, None)

    def remarks(self) -> list[str]:
        """What the last pass has left out."""
        return self._recorded.tally.lines()


class Player(Node):
    """Plays frames one after the other, each stamped with the time at which it is published."""

    def __init__(self, **options) -> None:
        super().__init__("player", **options)
        self.parameters = read_parameters(self, PlayerParameters)
        self._source = (_Folder if self.parameters.folder else _Recording)(self.parameters)
        self._frames = self._source.frames()
        self._told: set[str] = set()
        self._camera_info = self.create_publisher(CameraInfo, CAMERA_INFO, QOS)
        self._depth = self.create_publisher(Image, DEPTH, QOS)
        self._colour = self.create_publisher(Image, COLOUR, QOS)
        self._instances = self.create_publisher(InstanceArray, INSTANCES, QOS)
        self._truths = self.create_publisher(ObjectPoseArray, TRUTH, QOS)
        self._log = None
        if self.parameters.log:
            self._log = _open_log(Path(self.parameters.log).expanduser())
        self.create_timer(1.0 / self.parameters.rate_hz, self._play)
        self.get_logger().info(f"playing {self._source.text} at {self.parameters.rate_hz:g} Hz")

    def destroy_node(self) -> None:
        """Write what the log still keeps in memory."""
        if getattr(self, "_log", None):
            self._log.close()
        super().destroy_node()

    def _play(self) -> None:
        messages = next(self._frames, None)
        if messages is None:
            for text in self._source.remarks():
                if text not in self._told:  # each pass leaves out the same
                    self._told.add(text)
                    self.get_logger().warning(f"left out: {text}")
            if not self.parameters.loop:
                self.context.try_shutdown()
                return
            self._frames = self._source.frames()
            messages = next(self._frames)
        self._publish(messages)

    def _publish(self, messages: PlayedMessages) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.parameters.frame_id)
        outputs = (
            (self._camera_info, messages.camera_info),
            (self._depth, messages.depth),
            (self._colour, messages.colour),
            (self._truths, messages.truth),
        )
        for publisher, message in outputs:
            if message is not None:
                message.header = header
                publisher.publish(message)
        time_ns = time.time_ns()
        if messages.instances is not None:
            messages.instances.header = messages.instances.label_image.header = header
            instances = serialize_message(messages.instances)  # beforehand: the time is that at which DDS gets it
            time_ns = time.time_ns()
            self._instances.publish(instances)
        if self._log:
            self._log.write(f"{stamp_ns(header.stamp)} {time_ns}\n")


def _played(frame: Frame, detections: Detections | None, truth: ObjectPoseArray | None) -> PlayedMessages:
    header = Header()
    nothing = Detections((), np.zeros(frame.depth.shape, np.uint8))
    depth, camera_info, instances = frame_messages(frame, detections or nothing, header)
    return PlayedMessages(
        depth=depth,
        camera_info=camera_info,
        instances=None if detections is None else instances,
        colour=None if frame.colour is None else image_message(frame.colour, "rgb8", header),
        truth=truth,
    )


def truth_message(name: str, detections: Detections, truth: PosesByInstance, header: Header) -> ObjectPoseArray:
    """Make the message of the true poses of a frame.

    Parameters
    ----------
    name : str
        Of the frame.
    detections : Detections
        Whose instances are told.
    truth : mapping of (str, int) to PoseEstimate
        By name of the frame and number of the instance.
    header : std_msgs.msg.Header
        Of the message.

    Returns
    -------
    ObjectPoseArray
        An instance without truth is left out.
    """
    known: list[Instance] = [instance for instance in detections.instances if (name, int(instance.id)) in truth]
    return pose_array_message(tuple((instance, truth[name, int(instance.id)]) for instance in known), header)


def _open_log(path: Path) -> IO[str]:
    try:
        return open(path, "w", encoding="ascii")
    except OSError as error:
        raise ValueError(f"log: expected a file that can be written, got {path}: {error.strerror}") from error


def main() -> None:
    """Run the player as a console script."""
    sys.exit(run(Player))


if __name__ == "__main__":
    main()
