"""Writes what was seen and estimated as a Rerun recording (.rrd), frame by frame, to look at in the Rerun viewer.

In `world`, the camera's optical frame (x right, y down, z forward) [m]: the camera with colour, depth and masks, the
cloud, the boxes and axes of the poses, and the paths of the tracks. Times: `frame`, and `stamp` where there are stamps.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from clipose_ros.core.backprojection import pinhole
from clipose_ros.core.rotation import quaternion
from clipose_ros.core.types import Detections, Frame, Instance, PoseEstimate, Rejection, TrackedPose
from clipose_ros.drawing import AXIS_COLOURS, AXIS_LENGTH, BOX_COLOURS
from clipose_ros.formats.extras import extra_module

if TYPE_CHECKING:
    from clipose_ros.tracking.tracker import TrackedFrame

MOST_CLOUD_POINTS = 20_000  # of a frame: a point has 15 bytes
LONGEST_PATH = 300  # poses of a track that its path shows
MOST_PATHS = 256  # that grow; of tracks that end unconfirmed nobody tells
FARTHEST_M = 10.0  # of the cloud: beyond, depth cameras see noise
JPEG_QUALITY = 90
LABELS = 2**16

Results = tuple[tuple[Instance, PoseEstimate | Rejection], ...]


class RerunWriter:
    """A Rerun recording that is being written; a context that ends it.

    Nothing has the path's name until all is written.

    Parameters
    ----------
    path : Path
        Of the .rrd file. Folders that it names and that are not there are made.
    stamped : bool
        Whether the frames' stamps are those of a camera.

    Raises
    ------
    RuntimeError
        Where the package rerun-sdk is not installed.
    """

    def __init__(self, path: Path, stamped: bool) -> None:
        self._rerun = extra_module("rerun", "view")
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._stamped = stamped
        self._paths: dict[int, deque[np.ndarray]] = defaultdict(lambda: deque(maxlen=LONGEST_PATH))
        self._names: tuple[tuple[int, str], ...] | None = None
        self._camera: tuple | None = None
        self._count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._rerun.RecordingStream("clipose", recording_id=path.name)
        self._stream.save(self._part, default_blueprint=_blueprint())
        self._stream.log("world", self._rerun.ViewCoordinates.RDF, static=True)

    def __enter__(self) -> RerunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()
        self._stream.disconnect()
        if error is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, name: str, frame: Frame, detections: Detections, results: Results, tracked: TrackedFrame) -> None:
        """Write a frame.

        Parameters
        ----------
        name : str
            Of the frame.
        frame : Frame
            What the camera saw.
        detections : Detections
            What is in it.
        results : tuple of (Instance, PoseEstimate or Rejection)
            Of its instances.
        tracked : TrackedFrame
            What a tracker makes of them.
        """
        self._stream.set_time("frame", sequence=int(name) if name.isdecimal() else self._count)
        if self._stamped:
            self._stream.set_time("stamp", timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._count += 1
        self._write_images(frame, detections)
        self._write_cloud(frame)
        self._write_poses(results)
        self._write_paths(tracked)

    def _write_images(self, frame: Frame, detections: Detections) -> None:
        rerun, log = self._rerun, self._stream.log
        (height, width), lens = frame.depth.shape, frame.intrinsics
        camera = (lens.fx, lens.fy, lens.cx, lens.cy, width, height)
        if camera != self._camera:
            self._camera, matrix = camera, [[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]]
            pinhole_camera = rerun.Pinhole(image_from_camera=matrix, width=width, height=height)
            log("world/camera", pinhole_camera)
        unit_m = frame.depth_unit_m or (0.001 if frame.depth.dtype == np.uint16 else 1.0)
        log("world/camera/depth", rerun.DepthImage(frame.depth, meter=1 / unit_m))
        if frame.colour is not None:
            log("world/camera/colour", rerun.Image(frame.colour).compress(jpeg_quality=JPEG_QUALITY))
        flat = detections.flat()
        names = tuple((one.label, f"{one.category} {one.id}") for one in flat.instances)
        if names != self._names:
            self._names = names
            classes = {label: (label, name, _colour(i)) for i, (label, name) in enumerate(names) if 0 < label < LABELS}
            log("world/camera/masks", rerun.AnnotationContext([(0, "background", (0, 0, 0, 0)), *classes.values()]))
        known = np.isin(flat.masks, [label for label, _ in names])
        masks = np.where(known, flat.masks, 0).astype(np.uint16)
        log("world/camera/masks", rerun.SegmentationImage(masks, opacity=0.5))

    def _write_cloud(self, frame: Frame) -> None:
        unit_m = frame.depth_unit_m or (0.001 if frame.depth.dtype == np.uint16 else 1.0)
        step = int(np.ceil(np.sqrt(frame.depth.size / MOST_CLOUD_POINTS)))
        rows, columns = np.mgrid[: frame.depth.shape[0] : step, : frame.depth.shape[1] : step].reshape(2, -1)
        z = frame.depth[rows, columns].astype(np.float64) * unit_m
        seen = np.isfinite(z) & (z > 0) & (z < FARTHEST_M)
        points = pinhole(columns[seen], rows[seen], z[seen], frame.intrinsics)
        colours = None if frame.colour is None else frame.colour[rows[seen], columns[seen]]
        self._stream.log("world/cloud", self._rerun.Points3D(points, colors=colours, radii=-1.5))  # negative: px

    def _write_poses(self, results: Results) -> None:
        rerun, log = self._rerun, self._stream.log
        posed = [(i, one, pose) for i, (one, pose) in enumerate(results) if isinstance(pose, PoseEstimate)]
        if not posed:
            log("world/objects", rerun.Clear(recursive=True))
        else:
            poses = [pose for _, _, pose in posed]
            boxes = rerun.Boxes3D(
                centers=[pose.translation for pose in poses],
                sizes=[pose.size for pose in poses],
                quaternions=[rerun.Quaternion(xyzw=quaternion(pose.rotation)) for pose in poses],
                colors=[_colour(i) for i, _, _ in posed],
                labels=[f"{pose.category} {one.id} {pose.score:.2f}" for _, one, pose in posed],
            )
            lengths = [AXIS_LENGTH * float(np.mean(pose.size)) for pose in poses]
            axes = rerun.Arrows3D(
                origins=np.repeat([pose.translation for pose in poses], 3, axis=0),
                vectors=np.concatenate([pose.rotation.T * length for pose, length in zip(poses, lengths)]),
                colors=AXIS_COLOURS * len(poses),
            )
            log("world/objects/boxes", boxes)
            log("world/objects/axes", axes)
        for one, result in results:
            if isinstance(result, Rejection):
                text = f"{one.category} {one.id}: {result.reason}"
                log("rejections", rerun.TextLog(text, level=rerun.TextLogLevel.WARN))

    def _write_paths(self, tracked: TrackedFrame) -> None:
        for _, pose in tracked.results:
            if isinstance(pose, TrackedPose):
                path = self._paths[pose.track]
                path.append(pose.translation)
                line = self._rerun.LineStrips3D(
                    [np.array(path)], colors=[_colour(pose.track)], labels=[f"{pose.category} #{pose.track}"]
                )
                self._stream.log(f"world/tracks/{pose.track}", line)
        while len(self._paths) > MOST_PATHS:
            del self._paths[next(iter(self._paths))]
        for number in tracked.lost:
            self._paths.pop(number, None)
            self._stream.log(f"world/tracks/{number}", self._rerun.Clear(recursive=False))


def _colour(index: int) -> tuple[int, int, int]:
    return BOX_COLOURS[index % len(BOX_COLOURS)]


def _blueprint() -> object:
    """The scene at the left; the images, and why instances have no pose, at the right."""
    views = extra_module("rerun.blueprint", "view")
    images = [
        views.Spatial2DView(
            origin="world/camera", contents=["world/camera/colour", "world/camera/masks"], name="masks"
        ),
        views.Spatial2DView(origin="world/camera", contents=["world/camera/depth"], name="depth"),
        views.TextLogView(origin="rejections", name="rejections"),
    ]
    scene = ["+ world/**", "- world/camera/depth/**", "- world/camera/masks/**"]
    return views.Blueprint(
        views.Horizontal(
            views.Spatial3DView(origin="world", contents=scene, name="scene"),
            views.Vertical(*images),
            column_shares=[2, 1],
        )
    )
