"""Parameters of the pose node; launch/params.yaml explains them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clipose_ros.core.admission import MAX_INSTANCES
from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.support import SUPPORT_DEFAULT, Support
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import Workspace
from clipose_ros.formats.workspace_files import read_workspace
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.session import SessionConfig
from clipose_ros.joining.stamp_evidence import MOST_BUFFERED
from clipose_ros.joining.synchroniser import JUMP_NS
from clipose_ros.ros.detections import CHOICES
from clipose_ros.ros.image_inputs import ImageTransport
from clipose_ros.ros.transforms import AUTO_PREFIX
from clipose_ros.segmenters.choice import SEGMENTER_DEFAULT, SegmenterName, SegmenterOptions
from clipose_ros.tracking.filter import MotionModel
from clipose_ros.tracking.tracker import TrackerSettings

LONGEST_S = 3600.0  # of a time that somebody waits for
LARGEST_DIFFERENCE_S = JUMP_NS / NS_PER_S  # more is a clock that was set
# Of parameters that name frames of TF.
TARGET_FRAME, GRAVITY_FRAME = "target_frame", "gravity_frame"
# Facts on /diagnostics by their keys, which the doctor reads.
NAMES, RECTIFIED, DEPTH_SCALE, STAMP_DIFFERENCE = "names", "rectified", "depth_scale_m", "max_stamp_difference_s"
IMAGE_TRANSPORT = "image_transport"


@dataclass(frozen=True)
class PoseNodeParameters:
    """Parameters of the pose node.

    Parameters
    ----------
    models : tuple of str
        Names of folders in `models_dir`, or paths; each instance goes to the first model that answers its name.
    models_dir : str
        Empty for the package's own.
    objects_dir : str
        Folder of learned objects, as `clipose learn` makes it, for the model gspose and the segmenter objects; empty:
        none.
    provider, threads, allow_cpu, precision
        As of `SessionConfig`.
    seed : int
        Of the point sampling.
    min_depth_m, max_depth_m : float
        Depths outside are invalid [m].
    depth_scale_m : float
        Unit of the depth image; 0: as its encoding says [m].
    image_transport : str
        raw hears depth and colour as images; compressed hears them below these topics, as image_transport compresses
        them: compressedDepth and compressed.
    rectified : bool
        Whether the depth image is; else its pixels are undistorted by K and D of the calibration.
    buffer_size : int
        Images of each kind that wait for their masks.
    max_stamp_difference_s : float
        The largest difference between a depth image's stamp and those of its masks and colour; 0: equal stamps [s].
    max_instances : int
        Of one frame; of more, those with the highest scores are estimated and the others rejected.
    min_score : float
        Poses below are rejected, 0..1.
    support : str
        auto tells networks of the surface below each object, and sets poses that fit onto it; off does neither.
    segmenter : str
        depth finds the objects of images for which no masks have come, by their depth; mask_rcnn by their colour;
        objects those of `objects_dir` by both; none waits for masks.
    segmenter_model, segmenter_classes, segmenter_min_score
        As of `SegmenterOptions`.
    workspace : str
        x_min x_max y_min y_max z_min z_max in `target_frame`, or in the camera's: what the segmenter finds outside is
        left alone [m]; empty: nothing is.
    workspace_mask : str
        A picture as large as the depth image, not 0 where objects are looked for; empty: everywhere.
    reliable_inputs : bool
        Subscribe with reliable instead of best-effort QoS.
    silence_s : float
        Warn about an input that is silent, and of frames that are never complete, for so long; look as often for
        publishers that cannot be heard [s].
    diagnostics_s : float
        Time between messages on /diagnostics [s].
    marker_lifetime_s : float
        After that RViz drops a marker that is not renewed [s].
    detections : str
        Publish `~/detections` always, never, or where vision_msgs is there (auto).
    tf : bool
        Broadcast each confirmed object as a frame.
    tf_prefix : str
        Its name is tf_prefix/class_track; auto: the node's name with its namespace.
    target_frame : str
        Of all poses, by TF at the image's stamp; empty: the camera's.
    transform_timeout_s : float
        So long a transform to `target_frame` is waited for [s].
    gravity_frame : str
        Whose z axis points up, by TF at the image's stamp, for `support`; empty: gravity is not known.
    tracking : bool
        Follow objects over frames; false: each frame for itself.
    confirm_after, coast_s
        As of `TrackerSettings`.
    acceleration, angular_acceleration
        As of `MotionModel`.

    Raises
    ------
    ValueError
        With the name of the parameter, for values out of range.
    """

    models: tuple[str, ...] = (DEFAULT_MODEL,)
    models_dir: str = ""
    objects_dir: str = ""
    provider: str = SessionConfig.provider
    threads: int = SessionConfig.threads
    allow_cpu: bool = SessionConfig.allow_cpu
    precision: str = SessionConfig.precision
    seed: int = 0
    min_depth_m: float = DepthRange.minimum
    max_depth_m: float = DepthRange.maximum
    depth_scale_m: float = 0.0
    image_transport: ImageTransport = "raw"
    rectified: bool = True
    buffer_size: int = 60
    max_stamp_difference_s: float = 0.0
    max_instances: int = MAX_INSTANCES
    min_score: float = 0.0
    support: Support = SUPPORT_DEFAULT
    segmenter: SegmenterName = SEGMENTER_DEFAULT
    segmenter_model: str = SegmenterOptions.segmenter_model
    segmenter_classes: tuple[str, ...] = SegmenterOptions.segmenter_classes
    segmenter_min_score: float = SegmenterOptions.segmenter_min_score
    workspace: str = ""
    workspace_mask: str = ""
    reliable_inputs: bool = False
    silence_s: float = 5.0
    diagnostics_s: float = 1.0
    marker_lifetime_s: float = 1.0
    detections: str = "auto"
    tf: bool = False
    tf_prefix: str = AUTO_PREFIX
    target_frame: str = ""
    transform_timeout_s: float = 0.1
    gravity_frame: str = ""
    tracking: bool = True
    confirm_after: int = TrackerSettings.confirm_after
    coast_s: float = TrackerSettings.coast_s
    acceleration: float = MotionModel.acceleration
    angular_acceleration: float = MotionModel.angular_acceleration

    # What older versions called them.
    RENAMED = MappingProxyType({"model": "models, a list of names: models:=[clipose-lite]"})
    # May be set while the node runs.
    CHANGEABLE = frozenset(
        {
            "min_depth_m",
            "max_depth_m",
            "min_score",
            "support",
            "marker_lifetime_s",
            "tracking",
            "confirm_after",
            "coast_s",
            "acceleration",
            "angular_acceleration",
        }
    )

    def __post_init__(self) -> None:
        for name in (
            "provider",
            "precision",
            "detections",
            "image_transport",
        ):  # of few words, which people write in capitals, too
            object.__setattr__(self, name, getattr(self, name).lower())
        named = self.models and all(self.models) and len(set(self.models)) == len(self.models)
        expect("models", named, "different names or paths, at least one", list(self.models))
        expect(
            "models_dir",
            self.models_dir == "" or Path(self.models_dir).expanduser().is_dir(),
            "a folder, or empty",
            self.models_dir,
        )
        expect(
            "objects_dir",
            self.objects_dir == "" or Path(self.objects_dir).expanduser().is_dir(),
            "a folder of learned objects (see clipose learn), or empty",
            self.objects_dir,
        )
        expect("seed", self.seed >= 0, "0 or more", self.seed)
        expect("min_depth_m", self.min_depth_m > 0, "more than 0", self.min_depth_m)
        expect(
            "max_depth_m",
            self.max_depth_m > self.min_depth_m,
            f"more than min_depth_m, {self.min_depth_m}",
            self.max_depth_m,
        )
        expect("depth_scale_m", 0 <= self.depth_scale_m <= 1, "0, or metres up to 1", self.depth_scale_m)
        expect("buffer_size", 1 <= self.buffer_size <= MOST_BUFFERED, f"1 to {MOST_BUFFERED}", self.buffer_size)
        expect(
            "max_stamp_difference_s",
            0 <= self.max_stamp_difference_s <= LARGEST_DIFFERENCE_S,
            f"0 to {LARGEST_DIFFERENCE_S:g}",
            self.max_stamp_difference_s,
        )
        expect("min_score", 0 <= self.min_score <= 1, "0 to 1", self.min_score)
        expect("max_instances", self.max_instances >= 1, "1 or more", self.max_instances)
        expect("silence_s", 0 < self.silence_s <= LONGEST_S, f"more than 0, at most {LONGEST_S:g}", self.silence_s)
        expect(
            "diagnostics_s",
            0 < self.diagnostics_s <= LONGEST_S,
            f"more than 0, at most {LONGEST_S:g}",
            self.diagnostics_s,
        )
        expect(
            "marker_lifetime_s",
            0 < self.marker_lifetime_s <= LONGEST_S,
            f"more than 0, at most {LONGEST_S:g}",
            self.marker_lifetime_s,
        )
        expect("detections", self.detections in CHOICES, f"one of {', '.join(CHOICES)}", self.detections)
        expect("tf", self.tracking or not self.tf, "false without tracking, which gives objects their numbers", self.tf)
        expect(
            "transform_timeout_s",
            0 < self.transform_timeout_s <= LONGEST_S,
            f"more than 0, at most {LONGEST_S:g}",
            self.transform_timeout_s,
        )
        expect("tf_prefix", not self.tf_prefix.startswith("/"), "a name without / in front, or empty", self.tf_prefix)
        for name in (TARGET_FRAME, GRAVITY_FRAME):
            frame = getattr(self, name)
            expect(name, not frame.startswith("/"), "a name without / in front, as tf2 has it, or empty", frame)
        given = self.workspace or self.workspace_mask
        expect(
            "workspace",
            not given or self.segmenter != SEGMENTER_DEFAULT,
            "a segmenter that it holds for",
            "segmenter none",
        )
        self.work_area()
        self.session()
        self.segmenter_options().check(self.segmenter)
        self.tracker()

    def session(self) -> SessionConfig:
        """Say how the network is to run.

        Returns
        -------
        SessionConfig
            Checked.
        """
        return SessionConfig(
            provider=self.provider, threads=self.threads, allow_cpu=self.allow_cpu, precision=self.precision
        )

    def segmenter_options(self) -> SegmenterOptions:
        """Say how objects are found, where `segmenter` asks for it.

        Returns
        -------
        SegmenterOptions
            Checked.
        """
        return SegmenterOptions(self.segmenter_model, self.segmenter_classes, self.segmenter_min_score)

    def depth_range(self) -> DepthRange:
        """Say which depths are valid.

        Returns
        -------
        DepthRange
            Checked.
        """
        return DepthRange(self.min_depth_m, self.max_depth_m)

    def depth_unit_m(self) -> float | None:
        """Say which unit the depth image has.

        Returns
        -------
        float or None
            Unit [m]; None: as the encoding says.
        """
        return self.depth_scale_m or None

    def work_area(self) -> Workspace:
        """Say where objects are looked for.

        Returns
        -------
        Workspace
            Checked.
        """
        return read_workspace(self.workspace, self.workspace_mask)

    def tolerance_ns(self) -> int:
        """Say how far apart the stamps of one image may be.

        Returns
        -------
        int
            0: not at all [ns].
        """
        return round(self.max_stamp_difference_s * NS_PER_S)

    def tracker(self) -> TrackerSettings:
        """Say how objects are followed, where `tracking` asks for it.

        Returns
        -------
        TrackerSettings
            Checked. Frames that are further apart than it likes are no reason to forget everything, as long as they
            are within `coast_s`.
        """
        motion = MotionModel(acceleration=self.acceleration, angular_acceleration=self.angular_acceleration)
        gap_s = max(TrackerSettings.gap_s, self.coast_s)
        return TrackerSettings(motion=motion, confirm_after=self.confirm_after, coast_s=self.coast_s, gap_s=gap_s)
