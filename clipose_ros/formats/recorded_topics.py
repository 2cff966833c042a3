"""Which topics of a recording are the camera's and the segmenter's: by their types, encodings and names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, NamedTuple

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.formats.camera_info import camera_info_shape
from clipose_ros.formats.colour_encodings import COLOUR_ENCODINGS
from clipose_ros.formats.compressed_images import compressed_size, is_compressed_depth
from clipose_ros.formats.image_messages import DEPTH_ENCODINGS
from clipose_ros.formats.message_definitions import CAMERA_INFO_TYPE, COMPRESSED_IMAGE, IMAGE, INSTANCE_ARRAY
from clipose_ros.formats.recorded_bytes import RecordedMessage
from clipose_ros.formats.recordings import RecordedMessages
from clipose_ros.formats.serialized_messages import (
    MessageReader,
    SerializedCameraInfo,
    SerializedInstances,
    read_serialized,
)

FIELDS: dict[str, tuple[Callable[[MessageReader], Any], str]] = {
    IMAGE: (MessageReader.image, "Image"),
    COMPRESSED_IMAGE: (MessageReader.compressed_image, "CompressedImage"),
    CAMERA_INFO_TYPE: (MessageReader.camera_info, "CameraInfo"),
    INSTANCE_ARRAY: (MessageReader.instances, "InstanceArray"),
}
ROLES = {
    "depth": "a depth image (sensor_msgs/Image of 16UC1, 32FC1 or mono16, compressedDepth, or a PNG of 16 bits)",
    "camera_info": "a sensor_msgs/CameraInfo",
    "instances": "masks (clipose_ros/InstanceArray)",
    "colour": "a colour image",
}
NEEDED = frozenset({"depth", "camera_info", "instances"})
TRANSPORTS = ("/compressedDepth", "/compressed")  # that image_transport appends
DEPTH_IN_NAME = "depth"
REGISTERED = ("registered", "aligned")  # in the names of depth that lies in the colour image
LOOK_NS = NS_PER_S  # and when every role has been seen, so long for others that may be meant
LOOK_MESSAGES = 1000
MOST_TOPICS = 1000  # that are told apart
MOST_LISTED = 8
MOST_REASONS_TOLD = 3


@dataclass(frozen=True)
class TopicNames:
    """Topics of a recording; what is empty is found.

    Parameters
    ----------
    depth_topic : str
        Of a recording: the depth image, registered to colour, sensor_msgs/Image (16UC1, 32FC1, mono16),
        compressedDepth, or compressed as PNG.
        Where topics are not given, they are found by type and name.
    camera_info_topic : str
        Of a recording: the calibration of the image that depth is registered to.
    instances_topic : str
        Of a recording: the masks, clipose_ros/InstanceArray.
    colour_topic : str
        Of a recording: the colour image, where there is one, sensor_msgs/Image or CompressedImage.
    """

    depth_topic: str = ""
    camera_info_topic: str = ""
    instances_topic: str = ""
    colour_topic: str = ""


class TopicSample(NamedTuple):
    """The first message of a topic.

    Attributes
    ----------
    topic : str
        Its name.
    role : str
        One of `ROLES`.
    message : object
        What it holds, without pixels and instances.
    size : (int, int)
        Height and width of the image, or of the calibrated one; (0, 0) for instances [px].
    data_bytes : int
        Of the message.
    """

    topic: str
    role: str
    message: Any
    size: tuple[int, int]
    data_bytes: int

    @property
    def frame_id(self) -> str:
        """Name of the optical frame."""
        return self.message.header.frame_id

    @property
    def base(self) -> str:
        """The name without that of a transport."""
        return next((self.topic.removesuffix(end) for end in TRANSPORTS if self.topic.endswith(end)), self.topic)


def read_message(message: RecordedMessage) -> Any:
    """Read a recorded message.

    Parameters
    ----------
    message : RecordedMessage
        Of one of the types in `FIELDS`.

    Returns
    -------
    object
        With the fields of the ROS message.

    Raises
    ------
    ValueError
        As `read_serialized`.
    """
    return read_serialized(message.data, *FIELDS[message.kind])


def find_topics(recording: RecordedMessages, names: TopicNames, with_masks: bool = True) -> dict[str, TopicSample]:
    """Find the topics of one camera.

    The recording is read until each kind has been seen, and a second longer.

    Parameters
    ----------
    recording : RecordedMessages
        To look at.
    names : TopicNames
        What is known.
    with_masks : bool
        Whether masks are needed.

    Returns
    -------
    dict of str to TopicSample
        By role; without colour where there is none, or none that fits.

    Raises
    ------
    ValueError
        Where one is missing, or several may be meant, with their names.
    """
    samples = _samples(recording, names, NEEDED if with_masks else NEEDED - {"instances"})
    try:
        return _topics(str(recording.path), names, samples, with_masks)
    except ValueError as error:  # what was left out may be what is missing
        tally = recording.tally
        told = {"listed without a message": tally.silent(), "not read": tally.passed_over()}
        left_out = [f"{what}: {topics}" for what, topics in told.items() if topics]
        raise ValueError("; ".join([str(error), *left_out, *tally.lines()[:MOST_REASONS_TOLD]])) from error


def _topics(where: str, names: TopicNames, samples: list[TopicSample], with_masks: bool) -> dict[str, TopicSample]:
    depth = _chosen(where, "depth", names.depth_topic, samples, _depth_candidates)
    chosen = {
        "depth": depth,
        "camera_info": _chosen(
            where, "camera_info", names.camera_info_topic, samples, lambda found: _calibrations(found, depth)
        ),
    }
    if with_masks:
        chosen["instances"] = _chosen(where, "instances", names.instances_topic, samples, lambda found: found)
    colours = _colours(samples, depth)
    if names.colour_topic:
        chosen["colour"] = _chosen(where, "colour", names.colour_topic, samples, lambda found: found)
    elif len(colours) == 1:
        chosen["colour"] = colours[0]
    return chosen


def _samples(recording: RecordedMessages, names: TopicNames, needed: Collection[str]) -> list[TopicSample]:
    """The first whole message of each topic that may have a role."""
    given = {_plain(name) for name in vars(names).values() if name}
    samples: dict[str, TopicSample] = {}
    ended_ns, since = None, 0
    for message in recording.messages(lambda topic, kind: True):
        recording.tally.hear(message.topic)
        if message.topic not in samples and len(samples) < MOST_TOPICS:
            try:
                sample = _sample(message, names.depth_topic)
            except ValueError as error:
                recording.tally.reject(f"{message.topic}: {error}")
                continue
            if sample is not None:
                samples[message.topic] = sample
        seen = {sample.role for sample in samples.values()}
        if seen.issuperset(needed) and given <= {_plain(topic) for topic in samples}:
            ended_ns = message.time_ns if ended_ns is None else ended_ns
            since += 1
            if message.time_ns - ended_ns > LOOK_NS or since > LOOK_MESSAGES:
                break
    return sorted(samples.values())


def _sample(message: RecordedMessage, depth_topic: str) -> TopicSample | None:
    """A topic by one of its messages; None where it has no role."""
    content = read_message(message)
    if message.kind == IMAGE:
        role = _role_of_image(message.topic, content.encoding, depth_topic)
        size = content.height, content.width
    elif message.kind == COMPRESSED_IMAGE:
        depth = is_compressed_depth(content, _is_named_depth(message.topic, depth_topic))
        role, size = ("depth", (0, 0)) if depth else ("colour", compressed_size(content))
    elif message.kind == CAMERA_INFO_TYPE:
        role, size = "camera_info", camera_info_shape(content)
    else:
        role, size = "instances", (0, 0)
    return TopicSample(message.topic, role, _without_data(content), size, len(message.data)) if role else None


def _without_data(content: Any) -> Any:
    """The message without what takes memory."""
    if isinstance(content, SerializedInstances):
        return replace(content, label_image=_without_data(content.label_image), instances=())
    return content if isinstance(content, SerializedCameraInfo) else replace(content, data=memoryview(b""))


def _role_of_image(topic: str, encoding: str, depth_topic: str) -> str:
    """What an image is; what may be grey as well as depth (mono16) is told by its name."""
    if encoding in DEPTH_ENCODINGS and encoding in COLOUR_ENCODINGS:
        return "depth" if _is_named_depth(topic, depth_topic) else "colour"
    return "depth" if encoding in DEPTH_ENCODINGS else "colour" if encoding in COLOUR_ENCODINGS else ""


def _is_named_depth(topic: str, depth_topic: str) -> bool:
    """Whether its name says that a topic is depth, or somebody."""
    return _plain(topic) == _plain(depth_topic) or DEPTH_IN_NAME in topic


def _chosen(
    where: str,
    role: str,
    given: str,
    samples: list[TopicSample],
    choose: Callable[[list[TopicSample]], list[TopicSample]],
) -> TopicSample:
    """The topic of a role: the one that was given, else the only one that may be meant."""
    found = [sample for sample in samples if sample.role == role]
    option = f"--{role.replace('_', '-')}-topic"
    if given:
        named = [sample for sample in found if _plain(sample.topic) == _plain(given)]
        expect(
            option, named, f"a topic with {ROLES[role]}{_listed(found, ': ')}", f"{given}{_what_it_is(given, samples)}"
        )
        return named[0]
    expect(where, found, ROLES[role], f"none; topics that are read:{_listed(samples, ' ') or ' none'}")
    candidates = choose(found)
    expect(
        where,
        len(candidates) == 1,
        f"one topic with {ROLES[role]}",
        f"several; name it by {option}{_listed(candidates, ': ')}",
    )
    return candidates[0]


def _depth_candidates(found: list[TopicSample]) -> list[TopicSample]:
    found = _without_transports(found)
    registered = [sample for sample in found if any(word in sample.topic for word in REGISTERED)]
    return registered if len(registered) == 1 else found


def _calibrations(found: list[TopicSample], depth: TopicSample) -> list[TopicSample]:
    """Those that may be depth's: the one in its namespace, else those of its frame and size."""
    beside = f"{depth.base.rpartition('/')[0]}/camera_info".lstrip("/")
    for fits in (
        lambda sample: sample.topic.lstrip("/") == beside,
        lambda sample: sample.frame_id == depth.frame_id and depth.size in ((0, 0), sample.size),
    ):
        fitting = [sample for sample in found if fits(sample)]
        if len(fitting) == 1:
            return fitting
        found = fitting or found
    return _nearest_by_name(found, depth)


def _colours(samples: list[TopicSample], depth: TopicSample) -> list[TopicSample]:
    found = [sample for sample in samples if sample.role == "colour" and sample.frame_id == depth.frame_id]
    fitting = [sample for sample in found if depth.size in ((0, 0), sample.size)]
    return _nearest_by_name(_without_transports(fitting), depth)


def _nearest_by_name(found: list[TopicSample], depth: TopicSample) -> list[TopicSample]:
    """Those whose names begin with the most namespaces of depth: cameras have namespaces of their own."""

    def shared(sample: TopicSample) -> int:
        pairs = zip(sample.topic.strip("/").split("/")[:-1], depth.topic.strip("/").split("/")[:-1])
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(shared, found), default=0)
    return [sample for sample in found if shared(sample) == most]


def _without_transports(found: list[TopicSample]) -> list[TopicSample]:
    """Without what is there in several ways: uncompressed before compressedDepth before compressed."""
    best: dict[str, TopicSample] = {}
    for sample in sorted(found, key=lambda sample: [sample.topic.endswith(end) for end in reversed(TRANSPORTS)]):
        best.setdefault(sample.base, sample)
    return [sample for sample in found if best[sample.base] is sample]


def _plain(topic: str) -> str:
    """A name of a topic without the slash in front, which people leave out."""
    return topic.lstrip("/")


def _listed(samples: list[TopicSample], before: str) -> str:
    names = [f"{sample.topic}" for sample in samples]
    return before + ", ".join(names[:MOST_LISTED]) + ", …" * (len(names) > MOST_LISTED) if names else ""


def _what_it_is(topic: str, samples: list[TopicSample]) -> str:
    role = next((sample.role for sample in samples if _plain(sample.topic) == _plain(topic)), None)
    return f", {ROLES[role]}" if role else ", which has no message that is read"
