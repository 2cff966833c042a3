"""Containers of recordings: what rosbag2 writes is read, and what is damaged costs no more than itself."""

import sqlite3
import struct
import tracemalloc

import numpy as np
import pytest

from clipose_ros.formats.mcap_files import MAGIC, RECORD_HEAD
from clipose_ros.formats.message_definitions import IMAGE, INSTANCE_ARRAY, TYPES, is_known, message_definition
from clipose_ros.formats.recorded_topics import TopicNames, find_topics
from clipose_ros.formats.recordings import RecordedMessages, is_recording

zstandard = pytest.importorskip("zstandard")


@pytest.fixture
def whole(recorded, tmp_path):
    """An MCAP file of three frames."""
    return recorded.write(tmp_path / "whole.mcap")


def read(path):
    """The messages of a recording as tuples, and what was left out."""
    recording = RecordedMessages(path)
    found = [(m.topic, m.kind, m.data, m.time_ns) for m in recording.messages(lambda topic, kind: True)]
    return found, recording.tally.lines()


def compressed(rows):
    return [(topic, kind, zstandard.compress(data), time_ns) for topic, kind, data, time_ns in rows]


@pytest.mark.parametrize("form", ["NONE", "LZ4", "ZSTD", "chunkless", "small chunks", "messages"])
def test_an_mcap_file_is_read_however_it_is_compressed(recorded, whole, tmp_path, form):
    rows = recorded.messages(whole)
    options = {"chunkless": {"use_chunking": False}, "small chunks": {"chunk_size": 100, "compression": "ZSTD"}}
    given = compressed(rows) if form == "messages" else rows
    chosen = options.get(form, {"compression": form} if form.isupper() else {})
    assert read(recorded.rewrite(tmp_path / "a.mcap", given, **chosen)) == (rows, [])
    assert len(rows) == 12


@pytest.mark.parametrize("definitions", [True, False])
@pytest.mark.parametrize("form", ["plain", "messages", "file"])
def test_a_db3_file_is_read_however_it_is_compressed(recorded, whole, tmp_path, form, definitions):
    rows = recorded.messages(whole)
    path = recorded.write_db3(tmp_path / "a.db3", compressed(rows) if form == "messages" else rows, definitions)
    if form == "file":
        plain, path = path, path.with_name("a.db3.zstd")
        path.write_bytes(zstandard.compress(plain.read_bytes()))
    assert read(path) == (rows, [])


def test_a_folder_of_rosbag2_is_read_in_the_order_of_its_metadata_or_else_of_its_numbers(recorded, whole, tmp_path):
    rows, folder = recorded.messages(whole), tmp_path / "bag"
    folder.mkdir()
    names = [f"bag_{number}.mcap" for number in (9, 10, 11)]
    for name, part in zip(names, (rows[:4], rows[4:8], rows[8:]), strict=True):
        recorded.rewrite(folder / name, part)
    assert is_recording(folder) and read(folder) == (rows, [])  # a recorder that was killed wrote no metadata
    recorded.write_metadata(folder, *(f"somewhere/else/{name}" for name in reversed(names)))
    assert read(folder)[0] == rows[8:] + rows[4:8] + rows[:4]
    recorded.write_metadata(folder, "bag_12.mcap")
    cure = "got no bag_12.mcap, but bag_9.mcap, bag_10.mcap, bag_11.mcap; give that file, or: ros2 bag reindex"
    with pytest.raises(ValueError, match=f"expected the files that metadata.yaml lists, {cure}"):  # renamed
        RecordedMessages(folder)
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [a")
    with pytest.raises(ValueError, match="metadata.yaml: expected rosbag2_bagfile_information"):
        RecordedMessages(folder)


def test_files_compressed_as_a_whole_are_read(recorded, tmp_path):
    path, whole = tmp_path / "a.mcap.zstd", recorded.write(tmp_path / "whole.mcap", 300)
    whole = recorded.rewrite(tmp_path / "a.mcap", recorded.messages(whole), chunk_size=1000)
    data = zstandard.compress(whole.read_bytes())
    path.write_bytes(data)
    assert read(path) == (recorded.messages(whole), [])
    path.write_bytes(data[: len(data) // 2])
    found, (cut,) = read(path)
    assert found and found == recorded.messages(whole)[: len(found)] and "cut off after" in cut


def test_the_share_that_is_read_grows_to_one(recorded, whole, tmp_path):
    for path in (whole, recorded.write_db3(tmp_path / "a.db3", recorded.messages(whole))):
        recording = RecordedMessages(path)
        shares = [recording.share for _ in recording.messages(lambda topic, kind: True)]
        assert shares == sorted(shares) and shares[0] >= 0 and recording.share == 1


def test_a_file_that_is_cut_off_anywhere_is_read_up_to_where_it_is_whole(recorded, whole, tmp_path):
    rows = recorded.messages(whole)
    path = recorded.rewrite(tmp_path / "a.mcap", rows, chunk_size=1, compression="ZSTD")
    data = path.read_bytes()
    ends = sorted({int(at) for at in np.random.default_rng(0).integers(9, len(data) - 8, 40)})
    counts = []
    for end in ends:
        path.write_bytes(data[:end])
        found, said = read(path)
        assert found == rows[: len(found)]
        assert len(said) == 1 and "cut off after" in said[0] and int(said[0].split(" after ")[1].split()[0]) <= end
        counts.append(len(found))
    assert counts == sorted(counts) and counts[-1] == len(rows)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_db3_file_that_is_cut_off_is_refused_with_its_sizes(recorded, whole, tmp_path, share):
    """SQLite would read what is missing as zeros."""
    path = recorded.write_db3(tmp_path / "a.db3", recorded.messages(whole) * 20)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        ValueError, match=f"whole, got one that is cut off, {int(share * len(data))} of {len(data)} bytes"
    ):
        read(path)


def test_a_db3_file_with_damaged_pages_is_read_up_to_there(recorded, whole, tmp_path):
    rows = recorded.messages(whole) * 20
    path = recorded.write_db3(tmp_path / "a.db3", rows)
    data = bytearray(path.read_bytes())
    at = len(data) // 4096 * 3 // 4 * 4096
    data[at:] = b"\xff" * (len(data) - at)
    path.write_bytes(data)
    try:
        found, (said,) = read(path)
    except ValueError as error:
        assert "got a damaged one (database disk image is malformed)" in str(error)
    else:
        assert "damaged after" in said and len(found) < len(rows)


def test_messages_that_a_recorder_left_in_the_log_of_sqlite_are_told_with_the_cure(recorded, whole, tmp_path):
    rows = recorded.messages(whole)
    path, empty = recorded.write_db3(tmp_path / "a.db3", rows), tmp_path / "b.db3"
    with sqlite3.connect(empty) as bag:
        bag.execute("CREATE TABLE topics(id INTEGER)")
    log = path.with_name("a.db3-wal")
    log.touch()  # as sqlite leaves it where everything has been moved
    assert read(path) == (rows, [])
    log.write_bytes(b"x")
    said = "messages in {0.name}-wal are not read; let sqlite3 move them: sqlite3 {0} .tables"
    assert read(path) == (rows, [f"{path}: {said.format(path)}"])
    empty.with_name("b.db3-wal").write_bytes(b"x")
    expected = f"expected the tables topics and messages of rosbag2, got no messages; {said.format(empty)}"
    with pytest.raises(ValueError, match=expected):
        read(empty)


def test_one_damaged_chunk_costs_its_own_messages_alone(recorded, whole, tmp_path):
    rows = recorded.messages(whole)
    path = recorded.rewrite(tmp_path / "a.mcap", rows, chunk_size=1, compression="NONE")
    data = bytearray(path.read_bytes())
    at = data.index(rows[5][2][-40:])
    data[at] ^= 1
    path.write_bytes(data)
    found, (said,) = read(path)
    assert found == rows[:5] + rows[6:]
    assert said.startswith("1 × chunk: checksum: expected that of its bytes, got another (byte ")


def test_random_damage_ends_in_messages_and_a_tally_or_in_a_sentence(recorded, whole, tmp_path):
    rng, path = np.random.default_rng(1), tmp_path / "a.mcap"
    for compression in ("NONE", "ZSTD", "LZ4"):
        data = recorded.rewrite(path, recorded.messages(whole), chunk_size=500, compression=compression).read_bytes()
        for _ in range(60):
            broken = bytearray(data)
            for at in rng.integers(0, len(broken), rng.integers(1, 30)):
                broken[at] = rng.integers(256)
            path.write_bytes(broken)
            try:
                read(path)
            except ValueError as error:
                assert str(error).startswith(f"{path}: expected an MCAP file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mcap", b"", "expected an MCAP file, got an empty file"),
        ("a.mcap", b"\x89PNG\r\n\x1a\n" * 9, "expected an MCAP file, got another one: it begins with 89 50 4e 47"),
        ("a.db3", b"", "expected a .db3 file of rosbag2, got an empty file"),
        ("a.db3", b"no database at all", "expected a .db3 file of rosbag2, got another"),
        (
            "a.db3",
            b"SQLite format 3\x00" + b"\x01" * 99,
            "a .db3 file of rosbag2 that is whole, got one that is cut off",
        ),
        ("a.bin", b"\n", r"expected a recording .*, got a file with another ending, .bin"),
    ],
)
def test_another_file_is_said(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_database_of_something_else_is_said(recorded, tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("CREATE TABLE topics(id)")
        database.execute("CREATE VIEW messages AS SELECT 1 AS data")  # what is computed is no recording
    with pytest.raises(ValueError, match="expected the tables topics and messages of rosbag2, got no messages"):
        read(tmp_path / "a.db3")


def chunk(compression, data, size):
    """A chunk that claims to hold `size` bytes."""
    name = compression.encode()
    return struct.pack("<QQQII", 0, 0, size, 0, len(name)) + name + struct.pack("<Q", len(data)) + data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # 16 MiB of zeros in 0.5 KB, and what claims to be more
        (lambda bomb: chunk("zstd", bomb, 2**30), "size: expected at most"),
        (lambda bomb: chunk("zstd", bomb, 1000), "zstd: expected at most 1000 bytes in it, got more"),
        (lambda bomb: chunk("zstd", b"nothing", 1000), "zstd: expected compressed data, got damaged data"),
        (lambda bomb: chunk("lz4", b"nothing", 1000), "lz4: expected compressed data, got damaged data"),
        (lambda bomb: chunk("brotli", b"", 0), "compression: expected zstd, lz4 or none, got 'brotli'"),
        (lambda bomb: chunk("", RECORD_HEAD.pack(5, 2**60), 9), "all whole, got more, or a part"),
        (lambda bomb: chunk("zstd", bomb, 2**24), "all whole, got more, or a part"),  # zeros are no records
        (lambda bomb: chunk("", RECORD_HEAD.pack(99, 0) * 2**19, 9 * 2**19), "all whole, got more, or a part"),
        (lambda bomb: chunk("", b"ab", 2**63), "size: expected at most"),
        (lambda bomb: struct.pack("<QQQII", 0, 0, 9, 0, 2**32 - 1), "expected a whole one, got a part"),
    ],
)
def test_a_chunk_that_lies_about_its_size_takes_no_memory(tmp_path, content, said):
    record = content(zstandard.compress(bytes(2**24)))
    path = tmp_path / "a.mcap"
    path.write_bytes(MAGIC + RECORD_HEAD.pack(6, len(record)) + record)
    tracemalloc.start()
    found, lines = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [] and any(said in line for line in lines), lines
    assert peak < 2**26


def test_a_record_that_claims_to_be_larger_than_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "a.mcap"
    for length in (2**27, 2**40, 2**63):
        path.write_bytes(MAGIC + RECORD_HEAD.pack(5, length) + b"abc")
        assert read(path) == ([], [f"{path}: cut off after 8 bytes; what comes before is read"])


def test_other_definitions_encodings_and_types_are_counted_or_passed_over(recorded, whole, tmp_path):
    rows = recorded.messages(whole)
    images = [row for row in rows if row[1] == IMAGE]
    other = message_definition(IMAGE).replace("uint32 width\n", "uint64 width\n")
    found, (said,) = read(recorded.rewrite(tmp_path / "a.mcap", rows, definitions={IMAGE: other}))
    assert len(found) == len(rows) - len(images)
    assert said == f"1 × {IMAGE}: expected its definition as ROS 2 has it, got another"


@pytest.mark.parametrize("what", ["the name alone", "no parts"])
def test_definitions_that_say_little_are_those_of_ros(recorded, whole, tmp_path, what):
    """foxglove/mcap#223, cloudini#21: some writers leave parts out of a definition, or all but the name."""
    little = {kind: kind if what == "the name alone" else message_definition(kind).split("===")[0] for kind in TYPES}
    rows = recorded.messages(whole)
    assert read(recorded.rewrite(tmp_path / "a.mcap", rows, definitions=little)) == (rows, [])


@pytest.mark.parametrize("form", ["{0}/{1}", "{0}::msg::dds_::{1}_"])
def test_types_are_known_however_their_names_are_written(recorded, whole, tmp_path, form):
    rows = recorded.messages(whole)
    named = [(topic, form.format(*kind.split("/msg/")), data, time_ns) for topic, kind, data, time_ns in rows]
    definitions = {kind: message_definition(row[1]) for (_, kind, *_), row in zip(named, rows)}
    assert read(recorded.rewrite(tmp_path / "a.mcap", named, definitions=definitions)) == (rows, [])


def test_topics_that_are_not_read_are_named_where_one_is_missing(recorded, whole, tmp_path):
    """foxglove.RawImage, a detector's masks, ROS 1 within MCAP: the file has images, and its user wonders."""
    rows = recorded.messages(whole)
    others = {kind: f"foxglove.{kind.split('/')[-1]}" for kind in TYPES} | {
        INSTANCE_ARRAY: "yolo_msgs/msg/DetectionArray"
    }
    foreign = [(topic, others[kind], data, time_ns) for topic, kind, data, time_ns in rows]
    foreign.append(("/joint_states", "sensor_msgs/msg/JointState", b"", 0))
    definitions = {kind: "uint8 it" for _, kind, *_ in foreign}
    for path in (
        recorded.rewrite(tmp_path / "a.mcap", foreign, definitions=definitions),
        recorded.write_db3(tmp_path / "a.db3", foreign, definitions=False),
    ):
        with pytest.raises(ValueError, match="topics that are read: none; not read: ") as raised:
            find_topics(RecordedMessages(path), TopicNames())
        assert "/depth_registered/image_rect (foxglove.Image)" in str(raised.value)
        assert "/instances (yolo_msgs/msg/DetectionArray)" in str(raised.value)
        assert "joint" not in str(raised.value)


@pytest.mark.parametrize("kind", TYPES)
def test_comments_and_spaces_do_not_make_another_definition(kind):
    text = message_definition(kind)
    assert is_known(kind, text) and not is_known(kind, text + "uint8 more\n")
    assert is_known(kind, "# says something\nuint8 CONSTANT=3\n" + text.replace(" ", "   ").replace("\n", "  # it\n"))
    assert not is_known(kind, text + "#" * 100_000)


def test_a_recording_is_told_from_a_folder_of_images_and_its_files(whole, tmp_path):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "0000_depth.png"
    image.touch()
    (tmp_path / "images" / "of_it.mcap").touch()
    assert not is_recording(tmp_path / "images") and not is_recording(image)
    assert is_recording(whole) and is_recording(whole.parent) and is_recording(tmp_path / "none.db3")


def test_endings_in_capitals_are_read_and_a_recording_of_ros_1_is_told_how_to_convert_it(recorded, whole, tmp_path):
    (tmp_path / "A.MCAP").write_bytes(whole.read_bytes())
    assert is_recording(tmp_path / "A.MCAP") and read(tmp_path / "A.MCAP") == (recorded.messages(whole), [])
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(
        ValueError, match="old.bag: expected a recording .*, got a recording of ROS 1; convert it: .*rosbags-c"
    ):
        RecordedMessages(tmp_path / "old.bag")


def test_hidden_files_are_no_recordings(recorded, whole, tmp_path):
    folder = tmp_path / "copied"
    folder.mkdir()
    (folder / "bag_0.mcap").write_bytes(whole.read_bytes())
    (folder / "._bag_0.mcap").write_bytes(b"\0\5\x16\7")  # as macOS leaves them
    assert read(folder) == (recorded.messages(whole), [])
