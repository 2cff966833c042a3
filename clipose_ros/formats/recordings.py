"""Recordings of rosbag2: an .mcap or .db3 file, or the folder of one with metadata.yaml; message by message."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import yaml

from clipose_ros.core.validation import expect
from clipose_ros.formats.frame_files import in_natural_order
from clipose_ros.formats.mcap_files import McapFile
from clipose_ros.formats.recorded_bytes import (
    ZSTD_MAGIC,
    RecordedMessage,
    Tally,
    Wanted,
    inflate_zstd,
    recording_library,
)
from clipose_ros.formats.sqlite_bags import SqliteBag

METADATA = "metadata.yaml"
SUFFIXES = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")
SUFFIXES_OF_IMAGES = (".png", ".jpg", ".txt", ".json")  # of the files of a folder of images
ROS_1 = "a recording of ROS 1; convert it: pip install rosbags; rosbags-convert --src FILE.bag --dst FOLDER"
WHAT = "a recording (.mcap, .db3, or a folder of rosbag2)"
MOST_METADATA_BYTES = 2**22
LEAST_FREE_BYTES = 2**30  # on the disk, when a .db3.zstd has been unpacked
BLOCK_BYTES = 2**20


class RecordedMessages:
    """The files of a recording, read one after the other.

    Files compressed as a whole (.zstd), chunks compressed by zstd or lz4 and messages compressed by zstd are read, too.

    Parameters
    ----------
    path : Path
        Of the file, or of the folder.

    Attributes
    ----------
    tally : Tally
        What was left out when it was read last, and where files are cut off.

    Raises
    ------
    ValueError
        With the path, where this is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tally = Tally()
        self._files = _files(path)
        sizes = [file.stat().st_size for file in self._files]
        self._begins = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self._read_bytes = 0.0

    @property
    def share(self) -> float:
        """How much of the recording has been read, 0 to 1."""
        return min(self._read_bytes / max(self._begins[-1], 1), 1.0)

    def messages(self, wanted: Wanted) -> Iterator[RecordedMessage]:
        """Read the recording from its begin.

        Parameters
        ----------
        wanted : callable
            As of `McapFile.messages`.

        Yields
        ------
        RecordedMessage
            In the order in which they were written.

        Raises
        ------
        ValueError
            With the path, where a file is none of a recording.
        RuntimeError
            Where the packages that read recordings are not installed.
        """
        self.tally = Tally()
        for file, begin, end in zip(self._files, self._begins, self._begins[1:]):
            read = self._sqlite if ".db3" in file.name.lower() else self._mcap
            for message in read(file, begin, end, wanted):
                if message.data[: len(ZSTD_MAGIC)] == ZSTD_MAGIC:
                    try:
                        message = replace(message, data=inflate_zstd(message.data))
                    except ValueError as error:
                        self.tally.reject(f"{message.topic}: {error}")
                        continue
                yield message
            self._read_bytes = end

    def _mcap(self, path: Path, begin: int, end: int, wanted: Wanted) -> Iterator[RecordedMessage]:
        with path.open("rb") as raw, _unpacked(path, raw, self.tally) as file:
            for message in McapFile(file, str(path), self.tally).messages(wanted):
                self._read_bytes = begin + raw.tell()
                yield message

    def _sqlite(self, path: Path, begin: int, end: int, wanted: Wanted) -> Iterator[RecordedMessage]:
        with _unpacked_file(path, self.tally) as plain:
            bag = SqliteBag(plain, str(path), self.tally)
            for message in bag.messages(wanted):
                self._read_bytes = begin + bag.share * (end - begin)
                yield message


def is_recording(path: Path) -> bool:
    """Tell a recording from a folder of images and its files, by names alone.

    Parameters
    ----------
    path : Path
        That somebody gave.

    Returns
    -------
    bool
        Whether it is one, or a file that is none of a folder of images.
    """
    if path.is_dir():
        # a recording of a folder of images may lie beside them
        of_images = any(file.name.lower().endswith("_depth.png") for file in path.iterdir())
        return (path / METADATA).is_file() or bool(_bag_files(path) and not of_images)
    return _is_recorded(path) or (path.is_file() and path.suffix.lower() not in SUFFIXES_OF_IMAGES)


def _is_recorded(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _files(path: Path) -> list[Path]:
    expect(str(path), path.exists(), WHAT, "nothing there")
    if path.is_file():
        other = ROS_1 if path.suffix.lower() == ".bag" else f"a file with another ending, {path.suffix or 'none'}"
        expect(str(path), _is_recorded(path), WHAT, other)
        return [path]
    files = _listed(path / METADATA) or _bag_files(path)  # a recorder that was killed has written no metadata
    expect(str(path), files, WHAT, "a folder without .mcap and .db3 files")
    missing = [file.name for file in files if not file.is_file()]
    there = ", ".join(file.name for file in _bag_files(path)[:3])
    cure = f", but {there}; give that file, or: ros2 bag reindex {path}" if there else ""
    expect(str(path), not missing, f"the files that {METADATA} lists", f"no {', '.join(missing[:3])}{cure}")
    unknown = [file.name for file in files if not _is_recorded(file)]
    expect(str(path), not unknown, WHAT, f"files of another storage: {', '.join(unknown[:3])}")
    return files


def _listed(metadata: Path) -> list[Path]:
    """The files of metadata.yaml in its order: by name in its folder, wherever they lay when it was written."""
    if not metadata.is_file():
        return []
    expect(str(metadata), metadata.stat().st_size <= MOST_METADATA_BYTES, "the metadata of a recording", "a large file")
    try:
        names = yaml.safe_load(metadata.read_bytes())["rosbag2_bagfile_information"]["relative_file_paths"]
        return [metadata.parent / Path(name).name for name in names]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{metadata}: expected rosbag2_bagfile_information with relative_file_paths, got something else ({error}); "
            "give one of the files"
        ) from error


def _bag_files(folder: Path) -> list[Path]:
    """By the numbers in their names, as rosbag2 splits recordings."""
    files = {file.name: file for file in folder.iterdir() if _is_recorded(file) and not file.name.startswith(".")}
    return [files[name] for name in in_natural_order(list(files))]


@contextmanager
def _unpacked(path: Path, raw: BinaryIO, tally: Tally) -> Iterator[BinaryIO]:
    """A file to read forwards, decompressed where it is compressed as a whole."""
    if path.suffix.lower() != ".zstd":
        yield raw
        return
    zstandard = recording_library("zstandard")
    yield _Forwards(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), zstandard.ZstdError)


class _Forwards:
    """Reads what decompresses; damaged data ends it, as the end of a file would."""

    def __init__(self, source: BinaryIO, error: type[Exception]) -> None:
        self._source = source
        self._error = error

    def read(self, count: int) -> bytes:
        try:
            return self._source.read(count)
        except self._error:
            return b""


@contextmanager
def _unpacked_file(path: Path, tally: Tally) -> Iterator[Path]:
    """A file that sqlite can open; what is compressed as a whole is unpacked beside, as long as the disk has room."""
    if path.suffix.lower() != ".zstd":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, path.open("rb") as raw, _unpacked(path, raw, tally) as source:
        plain = Path(folder) / path.stem
        with plain.open("wb") as target:
            while block := source.read(BLOCK_BYTES):
                free = shutil.disk_usage(folder).free
                expect(str(path), free > LEAST_FREE_BYTES, f"room to unpack it in {folder}", "a full disk; set TMPDIR")
                target.write(block)
        yield plain
