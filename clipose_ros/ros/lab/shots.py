"""What camera and segmenter send of images, and what the node must answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clipose_ros.bench.latency import Scene
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.conversions import frame_messages, stamp_message, stamp_ns


@dataclass(frozen=True)
class Shot:
    """What camera and segmenter send of one image, in this order.

    Parameters
    ----------
    camera_info, depth, instances : message, optional
        None is not sent.
    """

    camera_info: CameraInfo | None = None
    depth: Image | None = None
    instances: InstanceArray | None = None


@dataclass(frozen=True)
class Answer:
    """What the node makes of one image.

    Parameters
    ----------
    poses, rejections : int
        How many of them the answer has.
    counted : mapping of str to int
        By how much counters of /diagnostics grow.
    """

    poses: int
    rejections: int
    counted: Mapping[str, int]


@dataclass(frozen=True)
class Case:
    """A damaged stream.

    Parameters
    ----------
    sent : tuple of Shot
        What is sent, in this order.
    answers : mapping of int to Answer
        By stamp [ns]; what is not in it must not be answered.
    counted : mapping of str to int
        By how much counters of /diagnostics grow beside those of the answers, at the latest when a good frame has
        followed.
    """

    sent: tuple[Shot, ...]
    answers: Mapping[int, Answer]
    counted: Mapping[str, int] = field(default_factory=dict)


def good_shot(scene: Scene, time_ns: int) -> Shot:
    """Make the messages of a frame.

    Parameters
    ----------
    scene : Scene
        Frame, and what is in it.
    time_ns : int
        Stamp of all messages [ns].

    Returns
    -------
    Shot
        All three messages.
    """
    header = Header(stamp=stamp_message(time_ns), frame_id=scene.frame.frame_id)
    depth, info, instances = frame_messages(*scene, header)
    return Shot(info, depth, instances)


def good_answer(shot: Shot) -> Answer:
    """Give the answer to a shot that nothing is wrong with.

    Parameters
    ----------
    shot : Shot
        The shot.

    Returns
    -------
    Answer
        A pose for every instance.
    """
    return Answer(len(shot.instances.instances), 0, {"frames": 1})


def stamp_of(shot: Shot) -> int:
    """Give the stamp of a shot's depth image.

    Parameters
    ----------
    shot : Shot
        With depth.

    Returns
    -------
    int
        Stamp [ns].
    """
    return stamp_ns(shot.depth.header.stamp)


def expected_growth(case: Case) -> dict[str, int]:
    """Add up by how much the counters grow when every answer comes.

    Parameters
    ----------
    case : Case
        The damaged stream.

    Returns
    -------
    dict of str to int
        Growth by counter.
    """
    growth = dict(case.counted)
    for answer in case.answers.values():
        for key, number in answer.counted.items():
            growth[key] = growth.get(key, 0) + number
    return growth
