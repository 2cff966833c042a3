"""What the containers of recordings share: a message as bytes, bounds of memory, a tally of what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import BinaryIO

from clipose_ros.core.validation import expect
from clipose_ros.formats.extras import extra_module

MOST_BYTES = 2**28  # of a record, a chunk or a message: images of 8192x8192 with 32 bits
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # a serialised message never begins so
LONGEST_TOPIC = 512  # characters; ROS's own names end sooner
NAMED = 3  # of what was left out for one reason
MAY_BE_MEANT = ("image", "camera", "depth", "detection", "mask")  # in the names of types
MOST_PASSED_OVER = MOST_SILENT = 8  # topics
MOST_REASONS = 100  # that are told apart: a damaged file may have as many as it has bytes


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message as a recording holds it.

    Parameters
    ----------
    topic : str
        Its topic.
    kind : str
        Its type, such as `sensor_msgs/msg/Image`.
    data : bytes
        Serialised.
    time_ns : int
        When it was recorded [ns].
    """

    topic: str
    kind: str
    data: bytes
    time_ns: int


Wanted = Callable[[str, str], bool]  # topic and type: whether messages are read


class Tally:
    """Counts what is left out, by reason, with the first few names.

    Attributes
    ----------
    counts : Counter of str
        By reason.
    cuts : list of str
        Where files end before they should, in sentences.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.cuts: list[str] = []
        self._names: dict[str, list[str]] = {}
        self._passed_over: dict[str, str] = {}
        self._silent: dict[str, str] = {}

    def __len__(self) -> int:
        return self.counts.total()

    def reject(self, reason: str, name: str = "", count: int = 1) -> None:
        """Count something that is left out.

        Parameters
        ----------
        reason : str
            Why; without numbers that differ from one to the next.
        name : str
            Of what it is.
        count : int
            How many it is.
        """
        if reason not in self.counts and len(self.counts) >= MOST_REASONS:
            reason = "other reasons"
        self.counts[reason] += count
        names = self._names.setdefault(reason, [])
        if name and len(names) < NAMED:
            names.append(name)

    def pass_over(self, topic: str, kind: str) -> None:
        """Note a topic that is not read. That is nothing wrong, unless something is missed.

        Parameters
        ----------
        topic : str
            Its name.
        kind : str
            Its type; empty where the recording does not say.
        """
        meant = not kind or any(word in kind.lower() for word in MAY_BE_MEANT)
        if meant and len(self._passed_over) < MOST_PASSED_OVER:
            self._passed_over[topic[:LONGEST_TOPIC]] = kind[:LONGEST_TOPIC] or "its type is not said"

    def passed_over(self) -> str:
        """Write which topics are not read that may be meant.

        Returns
        -------
        str
            With their types; empty where there are none.
        """
        return ", ".join(f"{topic} ({kind})" for topic, kind in self._passed_over.items())

    def list_topic(self, topic: str, kind: str) -> None:
        """Note that a file lists a topic that can be read.

        Parameters
        ----------
        topic : str
            Its name.
        kind : str
            Its type.
        """
        if len(self._silent) < MOST_SILENT:
            self._silent[topic] = kind

    def hear(self, topic: str) -> None:
        """Note that a topic has a message.

        Parameters
        ----------
        topic : str
            Its name.
        """
        self._silent.pop(topic, None)

    def silent(self) -> str:
        """Write which topics are listed and have not been heard, as where the recorder's QoS did not fit.

        Returns
        -------
        str
            With their types; empty where there are none.
        """
        return ", ".join(f"{topic} ({kind})" for topic, kind in self._silent.items())

    def cut(self, text: str) -> None:
        """Note that a file ends before it should.

        Parameters
        ----------
        text : str
            Where.
        """
        self.cuts.append(text)

    def lines(self) -> list[str]:
        """Write a line for each cut and each reason.

        Returns
        -------
        list of str
            Cuts first, then the reasons, the most frequent first.
        """
        return [*self.cuts, *(self._line(reason, count) for reason, count in self.counts.most_common())]

    def _line(self, reason: str, count: int) -> str:
        names = self._names[reason]
        named = f" ({', '.join(names)}{', …' * (count > len(names))})" if names else ""
        return f"{count} × {reason}{named}"


def recording_library(name: str) -> ModuleType:
    """Import what recordings need and the node does not.

    Parameters
    ----------
    name : str
        Of the module.

    Returns
    -------
    module
        It.

    Raises
    ------
    RuntimeError
        Where it is not installed, with the cure.
    """
    return extra_module(name, "recordings")


def inflate_zstd(data: bytes, most: int = MOST_BYTES) -> bytes:
    """Decompress, and never more than a number of bytes.

    Parameters
    ----------
    data : bytes
        Compressed by zstd.
    most : int
        That may come out.

    Returns
    -------
    bytes
        What it holds.

    Raises
    ------
    ValueError
        Where it does not decompress, or holds more.
    """
    zstandard = recording_library("zstandard")
    try:
        source = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        inflated = _read_up_to(source, most + 1)
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd: expected compressed data, got damaged data ({error})") from error
    expect("zstd", len(inflated) <= most, f"at most {most} bytes in it", "more")
    return inflated


def inflate_lz4(data: bytes, most: int = MOST_BYTES) -> bytes:
    """Decompress, and never more than a number of bytes.

    Parameters
    ----------
    data : bytes
        A frame of lz4.
    most, Returns, Raises
        As of `inflate_zstd`.

    Returns
    -------
    bytes
        What it holds.
    """
    frame = recording_library("lz4.frame")
    try:
        inflated = frame.LZ4FrameDecompressor().decompress(data, max_length=most + 1)
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"lz4: expected compressed data, got damaged data ({error})") from error
    expect("lz4", len(inflated) <= most, f"at most {most} bytes in it", "more")
    return inflated


def _read_up_to(source: BinaryIO, most: int) -> bytes:
    """Read block by block: memory grows with what is there, not with what is allowed."""
    blocks, left = [], most
    while left and (block := source.read(min(left, 2**20))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
