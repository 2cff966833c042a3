"""Reads the messages of an MCAP file from its begin to where it is whole, in bounded memory.

The indexes at the end are not needed, so a file that was cut off is read as far as it goes. Records are parsed by the
package mcap; which record is next, how large it may be and how much a chunk may hold is decided here. Format:
https://mcap.dev/spec.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from clipose_ros.core.validation import expect
from clipose_ros.formats.message_definitions import is_known, known_type
from clipose_ros.formats.recorded_bytes import (
    LONGEST_TOPIC,
    MOST_BYTES,
    MOST_REASONS,
    RecordedMessage,
    Tally,
    Wanted,
    inflate_lz4,
    inflate_zstd,
    recording_library,
)

MAGIC = b"\x89MCAP0\r\n"
RECORD_HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 2, 3, 4, 5, 6
MOST_SCHEMA_BYTES = 2**20
MOST_RECORDS = 2**18  # of a chunk: usual ones have 1 to 4 MiB, and a record 50 bytes
BLOCK_BYTES = 2**20
OF_ROS_1 = "convert the .bag of ROS 1 by rosbags-convert (pip install rosbags), which writes those of ROS 2"


class McapFile:
    """The messages of one file, in the order in which they were written.

    Parameters
    ----------
    file : binary file
        Read forwards only.
    name : str
        What warnings call it.
    tally : Tally
        Gets what is left out, and where the file is cut off.
    """

    def __init__(self, file: BinaryIO, name: str, tally: Tally) -> None:
        self._file = file
        self._name = name
        self._tally = tally
        self._at = 0  # bytes that were read
        self._types: dict[int, str] = {}  # by schema; empty for what is not read
        self._names: dict[int, str] = {}  # of all types, by schema
        self._channels: dict[int, tuple[str, str]] = {}  # topic and type of those that are read
        self._told: set[str] = set()  # schemas and channels come twice, before their messages and at the end
        self._records = recording_library("mcap.records")
        self._streams = recording_library("mcap.data_stream")
        self._errors = (recording_library("mcap.exceptions").McapError, struct.error, ValueError, OverflowError)

    def messages(self, wanted: Wanted) -> Iterator[RecordedMessage]:
        """Read the file.

        Parameters
        ----------
        wanted : callable
            Tells by topic and type whether messages are read. It is asked for types that are in `TYPES` alone.

        Yields
        ------
        RecordedMessage
            One after the other.

        Raises
        ------
        ValueError
            With the name, where this is no MCAP file.
        """
        magic = self._file.read(len(MAGIC))
        expect(self._name, magic, "an MCAP file", "an empty file")
        expect(self._name, magic == MAGIC, "an MCAP file", f"another one: it begins with {magic.hex(' ')}")
        self._at = len(MAGIC)
        while True:
            begin, head = self._at, self._read(RECORD_HEAD.size)
            if len(head) < RECORD_HEAD.size:
                return self._cut(begin)
            kind, length = RECORD_HEAD.unpack(head)
            if kind == 0:  # which the specification forbids
                return self._cut(begin, "damaged")
            if kind not in (SCHEMA, CHANNEL, MESSAGE, CHUNK) or length > MOST_BYTES:
                if kind == FOOTER:
                    return None
                if not self._skip(length):
                    return self._cut(begin)
                if kind in (MESSAGE, CHUNK):
                    self._tally.reject(f"record: expected at most {MOST_BYTES} bytes, got more")
                continue
            content = self._read(length)
            if len(content) < length:
                return self._cut(begin)
            try:
                records = self._chunk(content) if kind == CHUNK else ((kind, content),)
                for kind_inside, inside in records:
                    message = self._take(kind_inside, inside, wanted)
                    if message is not None:
                        yield message
            except self._errors as error:
                what = "chunk" if kind == CHUNK else "record"
                self._tally.reject(f"{what}: {str(error) or 'expected a whole one, got a part'}", f"byte {begin}")

    def _take(self, kind: int, content: memoryview, wanted: Wanted) -> RecordedMessage | None:
        """Note what channels are, and give messages that somebody wants."""
        if kind == MESSAGE:
            channel, _, time_ns, _ = MESSAGE_HEAD.unpack_from(content)
            topic, type_name = self._channels.get(channel, ("", ""))
            if type_name and wanted(topic, type_name):
                return RecordedMessage(topic, type_name, bytes(content[MESSAGE_HEAD.size :]), time_ns)
        elif kind == SCHEMA and len(content) <= MOST_SCHEMA_BYTES:
            schema = self._parsed(self._records.Schema.read, content)
            self._types[schema.id] = self._type_of(schema)
            self._names[schema.id] = schema.name
        elif kind == CHANNEL and len(content) <= MOST_SCHEMA_BYTES:
            self._note(self._parsed(self._records.Channel.read, content))
        return None

    def _note(self, channel: Any) -> None:
        type_name = self._types.get(channel.schema_id, "")
        if not type_name or len(channel.topic) > LONGEST_TOPIC:
            self._channels.pop(channel.id, None)
            self._tally.pass_over(channel.topic, self._names.get(channel.schema_id, ""))
        elif channel.message_encoding != "cdr":
            cure = f"; {OF_ROS_1}" if channel.message_encoding == "ros1" else ""
            self._tell(f"{channel.topic}: expected messages in cdr, got {channel.message_encoding[:32]!r}{cure}")
        else:
            self._channels[channel.id] = channel.topic, type_name
            self._tally.list_topic(channel.topic, type_name)

    def _type_of(self, schema: Any) -> str:
        kind = known_type(schema.name)
        if kind and schema.encoding == "ros2msg" and not is_known(kind, schema.data.decode("utf-8", "replace")):
            self._tell(f"{kind}: expected its definition as ROS 2 has it, got another")
            return ""
        return kind

    def _tell(self, reason: str) -> None:
        if reason not in self._told and len(self._told) < MOST_REASONS:
            self._told.add(reason)
            self._tally.reject(reason)

    def _chunk(self, content: bytes) -> Iterator[tuple[int, memoryview]]:
        """The records in a chunk."""
        chunk = self._parsed(self._records.Chunk.read, content)
        inflate: dict[str, Callable[[bytes, int], bytes]] = {"zstd": inflate_zstd, "lz4": inflate_lz4}
        size = chunk.uncompressed_size
        expect("size", size <= MOST_BYTES, f"at most {MOST_BYTES} bytes", "more")
        expect("compression", chunk.compression in ("", *inflate), "zstd, lz4 or none", repr(chunk.compression[:32]))
        data = inflate[chunk.compression](chunk.data, size) if chunk.compression else chunk.data
        expect("size", len(data) == size, "as many bytes as it says", "another number")
        expect("checksum", chunk.uncompressed_crc in (0, zlib.crc32(data)), "that of its bytes", "another")
        at, count, view = 0, 0, memoryview(data)
        while at < len(data):
            kind, length = RECORD_HEAD.unpack_from(data, at)
            at, count = at + RECORD_HEAD.size, count + 1
            if not kind or length > len(data) - at or count > MOST_RECORDS:
                raise ValueError(f"records: expected at most {MOST_RECORDS}, all whole, got more, or a part")
            yield kind, view[at : at + length]
            at += length

    def _parsed(self, read: Callable[[Any], Any], content: bytes | memoryview) -> Any:
        return read(self._streams.ReadDataStream(io.BytesIO(content)))

    def _read(self, count: int) -> bytes:
        """Up to so many bytes; memory grows with what is there, not with what a record claims."""
        blocks, left = [], count
        while left and (block := self._file.read(min(left, BLOCK_BYTES))):
            blocks.append(block)
            left -= len(block)
        self._at += count - left
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _skip(self, count: int) -> bool:
        """Whether there were so many bytes."""
        while count and (block := self._file.read(min(count, BLOCK_BYTES))):
            count -= len(block)
            self._at += len(block)
        return count == 0

    def _cut(self, at: int, how: str = "cut off") -> None:
        self._tally.cut(f"{self._name}: {how} after {at} bytes; what comes before is read")
