"""What `clipose estimate` reads: folders of images and recordings, with one way to go through their frames."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

from clipose_ros.cli.tables import tracked, tracked_by_share
from clipose_ros.core.types import Detections, Frame
from clipose_ros.core.validation import expect
from clipose_ros.formats.bop_scenes import BopScenes, ObjectNames, is_bop_folder
from clipose_ros.formats.intrinsics import JSON_FILE, TEXT_FILE
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.recorded_frames import JoinSettings, RecordedFrames
from clipose_ros.formats.recorded_topics import TopicNames
from clipose_ros.formats.recordings import is_recording
from clipose_ros.formats.reference_views import POSES_FILE, ReferenceFrames, is_reference_folder

TRUTH_FILE = "truth.json"
IMAGE_NAME = re.compile(r"_(color|depth|mask)\.(png|jpe?g)$|_meta\.txt$", re.IGNORECASE)
NamedFrame = tuple[str, Frame, Detections | None]


class FrameSource(Protocol):
    """Frames with names, and what cannot be read of them.

    Attributes
    ----------
    stamped : bool
        Whether the frames' stamps are those of a camera.
    scenes : BopScenes or None
        Of which the frames are, if they are of any.
    """

    stamped: bool
    scenes: BopScenes | None

    def frames(self, strict: bool = False) -> Iterator[NamedFrame]:
        """Go through the frames that can be read, from the first, with a progress bar.

        Parameters
        ----------
        strict : bool
            Raise for the first that cannot be read, instead of noting why.

        Yields
        ------
        (str, Frame, Detections or None)
            Name, what the camera saw, and what is in it: None where no masks are read.
        """

    def first_reason(self) -> str:
        """Say why no frame can be read.

        Returns
        -------
        str
            The number of those that cannot, and the reason of the first.
        """

    def know(self, objects: Collection[str]) -> None:
        """Tell which learned objects are known, see `NocsFolder.objects`.

        Parameters
        ----------
        objects : collection of str
            Their names.
        """

    def report(self) -> int:
        """Print on stderr what was left out and what deserves a remark.

        Returns
        -------
        int
            How many frames were left out.
        """


class FolderSource:
    """Frames of a NOCS-format folder, of a folder of reference views, or of BOP scenes.

    Parameters
    ----------
    path : Path
        Of the folder.
    with_masks : bool
        Whether to read what is in the frames.
    name : str, optional
        Of the object that reference views show; the folder's name without it.
    with_colour : bool
        Whether a frame without colour is none.
    objects : ObjectNames
        Names of the objects of BOP scenes.

    Attributes
    ----------
    scenes : BopScenes or None
        None where it is another folder.

    Raises
    ------
    ValueError
        Where it is none of these, or has names given and is no such folder.
    """

    stamped = False

    def __init__(
        self,
        path: Path,
        with_masks: bool = True,
        name: str | None = None,
        with_colour: bool = False,
        objects: ObjectNames = ObjectNames(),
    ) -> None:
        self._folder: NocsFolder | ReferenceFrames | BopScenes
        self.scenes: BopScenes | None = None
        if is_reference_folder(path):
            self._folder = ReferenceFrames(path, name or path.resolve().name)
        elif is_bop_folder(path):
            expect("--name", name is None, f"none for {path}, whose objects --object-names names", name)
            self._folder = self.scenes = BopScenes(path, objects)
        else:
            expect("--name", name is None, f"none for {path}, whose meta files name its objects", name)
            self._folder = NocsFolder(path)
        named = self.scenes is not None or not objects.by_id
        expect("--object-names", named, f"none for {path}, which is no BOP scene", len(objects.by_id))
        self._with_masks, self._with_colour = with_masks, with_colour
        self._skipped: dict[str, str] = {}

    def frames(self, strict: bool = False) -> Iterator[NamedFrame]:
        """See `FrameSource.frames`."""
        for name in tracked(self._folder.names, "poses"):
            try:
                frame, detections = self._read(name)
                check_colour(frame, self._with_colour)
            except (ValueError, OSError) as error:
                if strict:
                    raise
                self._skipped[name] = str(error)
            else:
                yield name, frame, detections

    def _read(self, name: str) -> tuple[Frame, Detections | None]:
        if self._with_masks:
            return self._folder.read(name)
        # the masks of reference views are part of these
        views = isinstance(self._folder, ReferenceFrames)
        return (self._folder.read(name)[0] if views else self._folder.read_frame(name)), None

    def first_reason(self) -> str:
        """See `FrameSource.first_reason`."""
        name, reason = next(iter(self._skipped.items()))
        return f"{len(self._skipped)} that cannot; {name}: {reason}"

    def know(self, objects: Collection[str]) -> None:
        """See `FrameSource.know`."""
        self._folder.objects = objects
        if self.scenes is not None and self._with_masks:
            self.scenes.check_names()

    def report(self) -> int:
        """See `FrameSource.report`."""
        for name, reason in self._skipped.items():
            print(f"skipped {name}: {reason}", file=sys.stderr)
        for remark, count in self._folder.remarks.items():
            print(f"{count} of {len(self._folder)} frames: {remark}", file=sys.stderr)
        return len(self._skipped)


class RecordingSource:
    """Frames of a recording.

    Parameters
    ----------
    path, names, settings, with_masks, with_colour
        As of `RecordedFrames`.
    doing : str
        Name of the progress bar.
    """

    stamped = True
    scenes = None

    def __init__(
        self,
        path: Path,
        names: TopicNames,
        settings: JoinSettings,
        with_masks: bool = True,
        with_colour: bool = False,
        doing: str = "poses",
    ) -> None:
        self._doing = doing
        self._recorded = RecordedFrames(path, names, settings, with_masks, with_colour)
        self._read = 0
        topics = ", ".join(f"{role} {sample.topic}" for role, sample in self._recorded.topics.items())
        print(f"{path}: {topics}", file=sys.stderr)

    def frames(self, strict: bool = False) -> Iterator[NamedFrame]:
        """See `FrameSource.frames`."""
        self._read = 0
        for one in tracked_by_share(self._recorded.read(strict), lambda: self._recorded.share, self._doing):
            self._read += 1
            yield one

    def first_reason(self) -> str:
        """See `FrameSource.first_reason`."""
        return f"none in {self._recorded.depth_images} depth images; {'; '.join(self._recorded.tally.lines())}"

    def know(self, objects: Collection[str]) -> None:
        """See `FrameSource.know`; what is in a recording has the names of its objects."""

    def report(self) -> int:
        """See `FrameSource.report`."""
        for line in self._recorded.tally.lines():
            print(f"left out: {line}" if line[0].isdigit() else line, file=sys.stderr)
        for remark, count in self._recorded.remarks.items():
            print(f"{count} of {self._read} frames: {remark}", file=sys.stderr)
        return self._recorded.depth_images - self._read


def check_colour(frame: Frame, needed: bool) -> None:
    """Refuse a frame that lacks the colour image which is needed.

    Parameters
    ----------
    frame : Frame
        As it was read.
    needed : bool
        Whether it needs one.

    Raises
    ------
    ValueError
        Where it has none.
    """
    expect("colour", not needed or frame.colour is not None, "an image, as the segmenter needs it", "none")


def input_files(path: Path) -> list[Path]:
    """List the files of what somebody gave that no output may replace.

    Parameters
    ----------
    path : Path
        A folder of images or a recording.

    Returns
    -------
    list of Path
        The files of the recording, or the images of the folder and what belongs to them; poses.json only where it is
        that of reference views, since a folder of images may keep the poses that were estimated on it.
    """
    if not path.is_dir():
        return [path]
    if is_recording(path):
        return [file for file in path.iterdir() if file.is_file()]
    known = {JSON_FILE, TEXT_FILE, TRUTH_FILE} | ({POSES_FILE} if is_reference_folder(path) else set())
    return [file for file in path.iterdir() if file.name in known or IMAGE_NAME.search(file.name)]


def open_frames(
    path: Path,
    names: TopicNames,
    settings: JoinSettings,
    with_masks: bool = True,
    name: str | None = None,
    with_colour: bool = False,
    objects: ObjectNames = ObjectNames(),
) -> FrameSource:
    """Open what somebody gave: a folder of images or a recording.

    Parameters
    ----------
    path : Path
        Of either.
    names : TopicNames
        Topics of a recording.
    settings : JoinSettings
        How its messages become frames.
    with_masks : bool
        Whether to read what is in the frames.
    name : str, optional
        Of the object that reference views show.
    with_colour : bool
        Whether a frame without colour is none.
    objects : ObjectNames
        Names of the objects of BOP scenes.

    Returns
    -------
    FrameSource
        Its frames.

    Raises
    ------
    ValueError
        With the path, where it is neither, and for options of recordings with a folder.
    RuntimeError
        Where the packages that read recordings are not installed.
    """
    if is_recording(path):
        expect("--name", name is None, f"none for {path}, which has the names of its objects", name)
        expect("--object-names", not objects.by_id, f"none for {path}, which is no BOP scene", len(objects.by_id))
        return RecordingSource(path, names, settings, with_masks, with_colour)
    if names != TopicNames() or settings != JoinSettings():
        raise ValueError(f"{path}: expected a recording, since there are options of one, got something else")
    return FolderSource(path, with_masks, name, with_colour, objects)
