"""Recordings for tests: small frames, and the containers that rosbag2 has."""

import json
import sqlite3

import numpy as np

from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.formats.message_definitions import message_definition
from clipose_ros.formats.recorded_bytes import recording_library
from clipose_ros.formats.recording_files import RecordingWriter

SHAPE = (12, 16)
STEP_NS = 100_000_000
BEGIN_NS = 1_000_000_000_000
K = Intrinsics(14.0, 15.0, 7.5, 5.5)


def frame(number=0, dtype=np.uint16, colour=True, shape=SHAPE):
    """A frame and its detections, other ones for each number."""
    rng = np.random.default_rng(number)
    depth = rng.integers(300, 5000, shape).astype(np.uint16)
    masks = np.zeros(shape, np.uint8)
    masks[2:4, 2:4], masks[6:9, 5:9] = 1, 7
    instances = (Instance(1, "mug", 0.5, "0"), Instance(7, "bottle", 0.75, "bottle_b"))
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8) if colour else None
    depth = depth if dtype == np.uint16 else (depth / np.float32(1000)).astype(np.float32)
    return Frame(BEGIN_NS + number * STEP_NS, "eye", depth, K, rgb), Detections(instances, masks)


def write(path, count=3, **options):
    """An MCAP file of some frames."""
    with RecordingWriter(path) as writer:
        for number in range(count):
            writer.write_frame(*frame(number, **options))
    return path


def messages(path):
    """All messages of an MCAP file: topic, type, bytes, time."""
    reader = recording_library("mcap.reader")
    with path.open("rb") as file:
        return [
            (channel.topic, schema.name, message.data, message.log_time)
            for schema, channel, message in reader.make_reader(file).iter_messages(log_time_order=False)
        ]


def rewrite(path, rows, profile="ros2", compression="NONE", definitions=None, **options):
    """An MCAP file of other messages; `definitions` replaces those of types."""
    library = recording_library("mcap.writer")
    with path.open("wb") as file:
        kind = getattr(library.CompressionType, compression)
        writer = library.Writer(file, compression=kind, **options)
        writer.start(profile, "test")
        schemas, channels = {}, {}
        for topic, kind, data, time_ns in rows:
            if kind not in schemas:
                text = (definitions or {}).get(kind) or message_definition(kind)
                schemas[kind] = writer.register_schema(kind, "ros2msg", text.encode())
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", schemas[kind])
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return path


def write_db3(path, rows, definitions=True):
    """A .db3 file of messages, as Jazzy writes it, or without definitions, as Foxy and Humble do."""
    with sqlite3.connect(path) as bag:
        bag.execute(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format "
            "TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)"
        )
        bag.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
            "data BLOB NOT NULL)"
        )
        bag.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        topics = {}
        for topic, kind, data, time_ns in rows:
            if topic not in topics:
                topics[topic] = len(topics) + 1
                bag.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (topics[topic], topic, kind))
            bag.execute(
                "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", (topics[topic], time_ns, data)
            )
        if definitions:
            bag.execute(
                "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, "
                "encoded_message_definition TEXT, type_description_hash TEXT)"
            )
            for kind in {kind for _, kind, _, _ in rows}:
                bag.execute(
                    "INSERT INTO message_definitions (topic_type, encoding, encoded_message_definition) "
                    "VALUES (?, 'ros2msg', ?)",
                    (kind, message_definition(kind)),
                )
    bag.close()
    return path


def write_metadata(folder, *files):
    """What rosbag2 writes beside its files; JSON is YAML."""
    content = {"rosbag2_bagfile_information": {"version": 9, "relative_file_paths": list(files)}}
    (folder / "metadata.yaml").write_text(json.dumps(content))
