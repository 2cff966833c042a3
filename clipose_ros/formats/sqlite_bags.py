"""Reads the messages of a rosbag2 file in sqlite3 (.db3), row by row, in bounded memory.

Format: the tables `topics` and `messages` of rosbag2_storage_sqlite3, and `message_definitions` since Iron.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.formats.message_definitions import TYPES, is_known
from clipose_ros.formats.recorded_bytes import LONGEST_TOPIC, MOST_BYTES, RecordedMessage, Tally, Wanted

MAGIC = b"SQLite format 3\x00"
HEAD_BYTES = 100  # of a database
TABLES = ("topics", "messages")
MOST_TOPICS = 10_000


class SqliteBag:
    """The messages of one file, in the order in which they were written.

    Parameters
    ----------
    path : Path
        Of the file.
    name : str
        What warnings call it.
    tally : Tally
        Gets what is left out, and where the file is cut off.

    Attributes
    ----------
    share : float
        How much has been read, 0 to 1.
    """

    def __init__(self, path: Path, name: str, tally: Tally) -> None:
        self._path = path
        self._name = name
        self._tally = tally
        self.share = 0.0

    def messages(self, wanted: Wanted) -> Iterator[RecordedMessage]:
        """See `McapFile.messages`."""
        with self._path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        magic = head[: len(MAGIC)]
        expect(self._name, magic, "a .db3 file of rosbag2", "an empty file")
        expect(
            self._name, magic == MAGIC, "a .db3 file of rosbag2", f"another one: it begins with {magic[:8].hex(' ')}"
        )
        self._check_size(head)
        count = 0
        try:
            # immutable: a log (.db3-wal) that a recorder left beside would ask for the right to write
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as bag:
                bag.execute("PRAGMA trusted_schema = OFF")
                bag.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
                channels = self._channels(bag, wanted)
                for topic_id, data, time_ns in self._rows(bag, channels):
                    if not isinstance(data, bytes) or not isinstance(time_ns, int):
                        self._tally.reject(f"message: expected a row with at most {MOST_BYTES} bytes, got another")
                        continue
                    count += 1
                    yield RecordedMessage(*channels[topic_id], data, time_ns)
        except sqlite3.Error as error:
            expect(self._name, count, "a .db3 file of rosbag2 that is whole", f"a damaged one ({error})")
            self._tally.cut(f"{self._name}: damaged after {count} messages ({error}); what comes before is read")
        if unread := self._unread_log():
            self._tally.cut(f"{self._name}: {unread}")

    def _unread_log(self) -> str:
        """What a recorder that did not end properly has left beside, and the cure; empty where it left nothing."""
        log = Path(f"{self._path}-wal")
        if not log.is_file() or not log.stat().st_size:
            return ""
        return f"messages in {log.name} are not read; let sqlite3 move them: sqlite3 {self._path} .tables"

    def _check_size(self, head: bytes) -> None:
        """Refuse a file that is shorter than its pages, as sqlite does: it would read what is missing as zeros."""
        page_bytes, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        whole, there = (2**16 if page_bytes == 1 else page_bytes) * pages, self._path.stat().st_size
        got = f"one that is cut off, {there} of {whole} bytes; sqlite3 and its command .recover may save the rest"
        expect(self._name, there >= whole, "a .db3 file of rosbag2 that is whole", got)

    def _rows(self, bag: sqlite3.Connection, channels: dict[int, tuple[str, str]]) -> Iterator[tuple]:
        """Topic, bytes and time, in the order of rows: no sorting, which would need memory."""
        last = bag.execute("SELECT max(rowid) FROM messages").fetchone()[0] or 1
        rows = bag.execute(
            "SELECT rowid, topic_id, CASE WHEN length(data) <= ? THEN data END, timestamp FROM messages ORDER BY rowid",
            (MOST_BYTES // 2,),
        )
        for row, topic_id, data, time_ns in rows:
            self.share = min(max(row / last, 0.0), 1.0)
            if topic_id in channels:
                yield topic_id, data, time_ns

    def _channels(self, bag: sqlite3.Connection, wanted: Wanted) -> dict[int, tuple[str, str]]:
        """Topic and type by number, of the topics that are read."""
        real = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0"
        tables = {name for (name,) in bag.execute(real).fetchmany(MOST_TOPICS)}
        missing = [name for name in TABLES if name not in tables]
        got = "; ".join([f"no {' and no '.join(missing)}", *filter(None, [self._unread_log()])])
        expect(self._name, not missing, "the tables topics and messages of rosbag2", got)
        others = self._other_definitions(bag) if "message_definitions" in tables else set()
        channels = {}
        topics = bag.execute("SELECT id, name, type, serialization_format FROM topics ORDER BY id").fetchmany(
            MOST_TOPICS
        )
        for number, topic, kind, encoding in topics:
            if kind not in TYPES or not isinstance(topic, str) or len(topic) > LONGEST_TOPIC:
                self._tally.pass_over(str(topic), str(kind))
                continue
            if kind in others:
                self._tally.reject(f"{kind}: expected its definition as ROS 2 has it, got another")
            elif encoding != "cdr":
                self._tally.reject(f"{topic}: expected messages in cdr, got {str(encoding)[:32]!r}")
            else:
                self._tally.list_topic(topic, kind)
                if wanted(topic, kind):
                    channels[number] = topic, kind
        return channels

    def _other_definitions(self, bag: sqlite3.Connection) -> set[str]:
        """Types that the file defines in another way than ROS 2 does."""
        rows = bag.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
        return {
            kind
            for kind, encoding, definition in rows.fetchmany(MOST_TOPICS)
            if kind in TYPES and encoding == "ros2msg" and not is_known(kind, str(definition))
        }
