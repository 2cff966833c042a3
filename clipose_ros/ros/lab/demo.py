"""`make demo`: pose node and player in processes of their own, real DDS between them; compares the poses with the truth
that the sequence carries. First with masks, then as from a camera alone, where the node finds the objects itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import rclpy
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import PoseError, pose_error
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.doctor.checkout import share_folder
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.formats.camera_info import intrinsics_from
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.conversions import colour_view, pose_estimate_from, stamp_ns
from clipose_ros.ros.lab.processes import check_running, isolate, started
from clipose_ros.ros.topics import CAMERA_INFO, COLOUR
from clipose_ros.segmenters.choice import SEGMENTER_DEFAULT, CategorySegmenterName

START_UP_S = 60.0
REPORT_PERIOD_S = 5.0
KEPT_COLOURS = 30  # images that wait for the poses of their stamp
# Worse medians than these mean that something is broken, not that the model is weak.
NEAR_M = 0.1  # a pose that is further away is not of the object
ABSURD = PoseError(rotation_deg=30.0, translation_m=0.05, size_relative=0.5)


@dataclass(frozen=True)
class DemoConfig:
    """What the demo plays, and for how long.

    Parameters
    ----------
    folder : Path, optional
        NOCS format with truth.json. By default launch/demo.
    seconds : float
        From the first pose on, of each half.
    rate_hz : float
        Of the player [Hz].
    model : str
        As in the node.
    segmenter : str
        Finds the objects in the second half, which is played without masks; none: there is no second half.
    output : Path
        Picture to write.
    """

    folder: Path | None = None
    seconds: float = 30.0
    rate_hz: float = 15.0
    model: str = DEFAULT_MODEL
    segmenter: CategorySegmenterName = "depth"
    output: Path = Path("demo.png")


@dataclass(frozen=True)
class Found:
    """What came of a true object.

    Parameters
    ----------
    category : str
        Of the pose where the object is; empty where there is none.
    error : PoseError, optional
        Of that pose, if its category is right.
    """

    category: str
    error: PoseError | None = None


@dataclass
class Record:
    """What came over DDS.

    Parameters
    ----------
    poses, truth : dict of int to ObjectPoseArray
        By stamp [ns].
    latency_ms : dict of int to float
        Time from stamp to publishing, by stamp [ns].
    picture : tuple of Image, CameraInfo, ObjectPoseArray
        The first frame with the most poses. None before the first.
    diagnostics : list of dict
        What the node said about itself, once a second.
    """

    poses: dict[int, ObjectPoseArray] = field(default_factory=dict)
    truth: dict[int, ObjectPoseArray] = field(default_factory=dict)
    latency_ms: dict[int, float] = field(default_factory=dict)
    picture: tuple[Image, CameraInfo, ObjectPoseArray] | None = None
    diagnostics: list[dict[str, str]] = field(default_factory=list)

    def errors(self) -> dict[tuple[str, str], list[PoseError | None]]:
        """Compare poses with the truth.

        Returns
        -------
        dict of (str, str) to list of PoseError or None
            By id and category, one for each true object of an answered frame. None where the object was rejected.
        """
        errors = defaultdict(list)
        for stamp in self.poses.keys() & self.truth.keys():
            poses = {pose.id: pose for pose in self.poses[stamp].poses}
            for true in self.truth[stamp].poses:
                pose = poses.get(true.id)
                errors[true.id, true.category].append(
                    pose
                    and pose_error(pose_estimate_from(pose), pose_estimate_from(true), nocs_symmetry(true.category))
                )
        return dict(sorted(errors.items()))

    def found(self) -> dict[tuple[str, str], list[Found]]:
        """Compare what was found without masks with the truth.

        Returns
        -------
        dict of (str, str) to list of Found
            By id and category, one for each true object of an answered frame. Of several poses near an object, the
            nearest is its.
        """
        found = defaultdict(list)
        for stamp in self.poses.keys() & self.truth.keys():
            for true, pose in self._matches(stamp)[0]:
                found[true.id, true.category].append(_found(pose, true))
        return dict(sorted(found.items()))

    def false_poses(self) -> int:
        """Count measured poses where there is no object.

        Returns
        -------
        int
            In all answered frames together.
        """
        left = (pose for stamp in self.poses.keys() & self.truth.keys() for pose in self._matches(stamp)[1])
        return sum(pose.tracking != ObjectPose.COASTING for pose in left)

    def _matches(self, stamp: int) -> tuple[list[tuple[ObjectPose, ObjectPose | None]], list[ObjectPose]]:
        """The true objects of a frame with the poses where they are, and the other poses."""
        left, matches = list(self.poses[stamp].poses), []
        for true in self.truth[stamp].poses:
            apart_m = [_apart_m(pose, true) for pose in left]
            nearest = int(np.argmin(apart_m)) if apart_m else -1
            matches.append((true, left.pop(nearest) if apart_m and apart_m[nearest] < NEAR_M else None))
        return matches, left

    def played(self) -> list[int]:
        """List the frames that were played since the node was there.

        Returns
        -------
        list of int
            Stamps [ns], sorted.
        """
        return sorted(stamp for stamp in self.truth if self.poses and stamp >= min(self.poses))

    def answered(self) -> list[int]:
        """List the played frames that were answered.

        An answer may come although its truth, before the first one heard, did not: it is none of them.

        Returns
        -------
        list of int
            Stamps [ns], sorted.
        """
        return [stamp for stamp in self.played() if stamp in self.poses]

    def stages_ms(self) -> dict[str, float]:
        """Time the stages of the node.

        Returns
        -------
        dict of str to float
            Median of each [ms].
        """
        stages = [key for key in (self.diagnostics[-1] if self.diagnostics else {}) if key.startswith("stage")]
        return {
            stage: float(np.median([float(said[stage]) for said in self.diagnostics if stage in said]))
            for stage in stages
        }


class DemoRecorder(Node):
    """Subscribes to what the pose node and the player publish."""

    def __init__(self) -> None:
        super().__init__("demo")
        self.record = Record()
        self._colour: dict[int, Image] = {}
        self._camera_info: CameraInfo | None = None
        self.create_subscription(ObjectPoseArray, "clipose/poses_9dof", self._on_poses, 10)
        self.create_subscription(ObjectPoseArray, "player/truth", self._on_truth, 10)
        self.create_subscription(Image, COLOUR, self._on_colour, 5)
        self.create_subscription(CameraInfo, CAMERA_INFO, self._on_camera_info, 5)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_poses(self, message: ObjectPoseArray, info: dict) -> None:
        stamp = stamp_ns(message.header.stamp)
        self.record.poses[stamp] = message
        self.record.latency_ms[stamp] = (info["source_timestamp"] - stamp) / 1e6
        self._keep_picture(stamp)

    def _on_truth(self, message: ObjectPoseArray) -> None:
        self.record.truth[stamp_ns(message.header.stamp)] = message

    def _on_colour(self, message: Image) -> None:
        stamp = stamp_ns(message.header.stamp)
        self._colour[stamp] = message
        while len(self._colour) > KEPT_COLOURS:
            del self._colour[next(iter(self._colour))]
        self._keep_picture(stamp)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _keep_picture(self, stamp: int) -> None:
        """Colour and poses of a stamp come in any order; the first frame with the most poses is the picture."""
        colour, poses = self._colour.get(stamp), self.record.poses.get(stamp)
        shown = len(self.record.picture[2].poses) if self.record.picture else 0
        if colour and poses and self._camera_info and len(poses.poses) > shown:
            self.record.picture = (colour, self._camera_info, poses)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.record.diagnostics.append({value.key: value.value for value in message.status[0].values})


def watch(recorder: DemoRecorder, processes: list[subprocess.Popen], seconds: float, console: Console) -> None:
    """Record until some time after the first poses.

    Parameters
    ----------
    recorder : DemoRecorder
        What listens.
    processes : list of subprocess.Popen
        Node and player.
    seconds : float
        From the first pose on.
    console : rich.console.Console
        Where progress is told.

    Raises
    ------
    RuntimeError
        The poses do not come, or a process ends.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    record, begin_s, first_s, reported_s = recorder.record, time.monotonic(), None, time.monotonic()
    while first_s is None or time.monotonic() - first_s < seconds:
        executor.spin_once(timeout_sec=0.1)
        now_s = time.monotonic()
        check_running(processes)
        if first_s is None and record.poses and record.truth:  # whose topics are found one after the other
            first_s = now_s
            console.print(f"first poses after {now_s - begin_s:.1f} s; recording for {seconds:g} s")
        if first_s is None and now_s - begin_s > START_UP_S:
            what = "truth" if record.poses else "poses"
            raise RuntimeError(f"{what}: expected within {START_UP_S:g} s, got none")
        if now_s - reported_s > REPORT_PERIOD_S:
            reported_s = now_s
            console.print(
                f"  {now_s - begin_s:3.0f} s: {len(record.truth)} frames played, {len(record.poses)} answered"
            )


def object_table(
    errors: Mapping[tuple[str, str], list[PoseError | None]],
    found: Mapping[tuple[str, str], list[Found]] | None = None,
) -> Table:
    """Show the errors of each object, with masks and without side by side.

    Parameters
    ----------
    errors : dict
        Of `Record.errors`.
    found : dict, optional
        Of `Record.found`, of the half without masks.

    Returns
    -------
    rich.table.Table
        A row for each object: medians over its frames, how many these are, and how many have no pose (missed) or one
        of another category (misnamed).
    """
    table = Table("id", "category", title="Median error against the truth, by object: rotation °, centre cm, size %")
    table.add_column("masks given")
    table.add_column("frames, rejected")
    for name in ("no masks", "frames, missed, misnamed") if found is not None else ():
        table.add_column(name)
    for id, category in sorted({*errors, *(found or {})}):
        given = errors.get((id, category), [])
        cells = [_median_text(given), f"{len(given)}, {given.count(None)}"]
        if found is not None:
            seen = found.get((id, category), [])
            missed = sum(not one.category for one in seen)
            misnamed = sum(one.category not in ("", category) for one in seen)
            cells += [_median_text([one.error for one in seen]), f"{len(seen)}, {missed}, {misnamed}"]
        table.add_row(id, category, *cells)
    return table


def _median_text(errors: Sequence[PoseError | None]) -> str:
    known = [error for error in errors if error]
    if not known:
        return "-"
    median = median_error(known)
    return f"{median.rotation_deg:4.1f} {median.translation_m * 100:4.1f} {median.size_relative * 100:3.0f}"


def timing_table(*records: Record) -> Table:
    """Show rates, latency and losses of the runs.

    Parameters
    ----------
    *records : Record
        With masks, and without; each with at least one pose.

    Returns
    -------
    rich.table.Table
        A row for each figure.
    """
    table = Table("measured", *("masks given", "no masks")[: len(records)], title="Over DDS, this machine")
    columns = [timing_figures(record, segmented) for record, segmented in zip(records, (False, True))]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "-") for column in columns))
    return table


def timing_figures(record: Record, segmented: bool = False) -> dict[str, str]:
    """Gather rates, latency and losses of a run.

    Parameters
    ----------
    record : Record
        With at least one pose.
    segmented : bool
        Whether the node found the objects itself.

    Returns
    -------
    dict of str to str
        By what was measured.
    """
    p50, p95 = np.percentile(list(record.latency_ms.values()), [50, 95])
    figures = {
        "frames played": f"{len(record.played())} ({rate_hz(record.played()):.1f} Hz)",
        "frames answered": f"{len(record.answered())} ({rate_hz(record.answered()):.1f} Hz)",
        "stamp to publish": f"p50 {p50:.1f} ms, p95 {p95:.1f} ms",
    }
    if segmented:
        figures["poses of nothing"] = str(record.false_poses())
    figures |= {stage.removesuffix(" ms"): f"p50 {ms:.1f} ms" for stage, ms in record.stages_ms().items()}
    said = record.diagnostics[-1] if record.diagnostics else {}
    return figures | {key: count for key, count in said.items() if key.startswith(("dropped", "failures"))}


def rate_hz(stamps: list[int]) -> float:
    """Count frames a second.

    Parameters
    ----------
    stamps : list of int
        Sorted [ns].

    Returns
    -------
    float
        0 of fewer than two [Hz].
    """
    return (len(stamps) - 1) / ((stamps[-1] - stamps[0]) / NS_PER_S) if len(stamps) > 1 else 0.0


def median_error(errors: list[PoseError]) -> PoseError:
    """Take the median of each of the three errors.

    Parameters
    ----------
    errors : list of PoseError
        At least one.

    Returns
    -------
    PoseError
        Of no single object.
    """
    rows = np.array([(error.rotation_deg, error.translation_m, error.size_relative) for error in errors])
    return PoseError(*np.median(rows, axis=0).tolist())


def write_picture(record: Record, path: Path) -> None:
    """Draw boxes and axes on the colour image of the frame with the most poses.

    Parameters
    ----------
    record : Record
        With a picture.
    path : Path
        Where it is written.

    Raises
    ------
    RuntimeError
        It cannot be written there.
    """
    image, info, message = record.picture
    pixels = colour_view(image).copy()
    intrinsics = intrinsics_from(info, pixels.shape[:2])
    for i, pose in enumerate(message.poses):
        draw_pose(pixels, pose_estimate_from(pose), intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    if not cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
        raise RuntimeError(f"{path}: expected a place to write a picture, got a refusal")


def check(errors: dict[tuple[str, str], list[PoseError | None]]) -> None:
    """Make sure that the poses can be those of these objects.

    Parameters
    ----------
    errors : dict
        Of `Record.errors`.

    Raises
    ------
    RuntimeError
        There are none, or the median of an error is absurd.
    """
    known = [error for of_object in errors.values() for error in of_object if error]
    if not known:
        raise RuntimeError("poses: expected some with a truth to compare, got none")
    median = median_error(known)
    for name in ("rotation_deg", "translation_m", "size_relative"):
        if not getattr(median, name) <= getattr(ABSURD, name):
            raise RuntimeError(
                f"median {name}: expected at most {getattr(ABSURD, name):g}, got {getattr(median, name):.3g}"
            )


def demo(config: DemoConfig) -> None:
    """Run, record, print, draw.

    Parameters
    ----------
    config : DemoConfig
        What is played.

    Raises
    ------
    RuntimeError
        The result is not to be trusted.
    """
    console = Console()
    isolate()
    rclpy.init()
    console.print("with masks" if config.segmenter == SEGMENTER_DEFAULT else "first half: with masks")
    with_masks = play(config, SEGMENTER_DEFAULT, console)
    records, found = [with_masks], None
    if config.segmenter != SEGMENTER_DEFAULT:
        console.print(f"second half: without masks, segmenter:={config.segmenter}")
        records.append(play(config, config.segmenter, console))
        found = records[1].found()
    rclpy.try_shutdown()
    errors = with_masks.errors()
    console.print(object_table(errors, found), timing_table(*records))
    if with_masks.picture:
        write_picture(with_masks, config.output)
        console.print(f"picture: {config.output.resolve()}")
    check(errors)
    if found is not None:
        check({key: [one.error for one in of_object] for key, of_object in found.items()})


def play(config: DemoConfig, segmenter: CategorySegmenterName, console: Console) -> Record:
    """Run node and player, and record.

    Parameters
    ----------
    config : DemoConfig
        What is played.
    segmenter : str
        Of the node; none: the masks are played, too.
    console : rich.console.Console
        Where progress is told.

    Returns
    -------
    Record
        What came.

    Raises
    ------
    RuntimeError
        The poses do not come, or a process ends.
    """
    folder = config.folder or share_folder("launch") / "demo"
    masks = str(segmenter == SEGMENTER_DEFAULT).lower()
    parameters = str(share_folder("launch") / "params.yaml")
    pose_arguments = "--params-file", parameters, "-p", f"models:={config.model}", "-p", f"segmenter:={segmenter}"
    player_arguments = "-p", f"folder:={folder}", "-p", f"rate_hz:={float(config.rate_hz)}", "-p", f"masks:={masks}"
    recorder = DemoRecorder()
    try:
        with (
            started("clipose_ros.ros.node", *pose_arguments) as pose_node,
            started("clipose_ros.ros.lab.player", *player_arguments) as player,
        ):
            watch(recorder, [pose_node, player], config.seconds, console)
    finally:
        recorder.destroy_node()
    return recorder.record


def _apart_m(pose: ObjectPose, true: ObjectPose) -> float:
    """How far the centres of two objects are apart [m]."""
    one, other = (pose_estimate_from(message).translation for message in (pose, true))
    return float(np.linalg.norm(one - other))


def _found(pose: ObjectPose | None, true: ObjectPose) -> Found:
    if pose is None:
        return Found("")
    if pose.category != true.category:
        return Found(pose.category)
    symmetry = nocs_symmetry(true.category)
    return Found(pose.category, pose_error(pose_estimate_from(pose), pose_estimate_from(true), symmetry))


def main() -> None:
    """Exit status 1 when no poses came or they are absurd."""
    try:
        demo(tyro.cli(DemoConfig, description=__doc__))
    except RuntimeError as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
