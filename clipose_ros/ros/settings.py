"""Parameters of the pose node; launch/params.yaml explains them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clipose_ros.core.admission import MAX_INSTANCES
from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.session import SessionConfig
from clipose_ros.ros.detections import CHOICES
from clipose_ros.ros.transforms import AUTO_PREFIX
from clipose_ros.tracking.filter import MotionModel
from clipose_ros.tracking.tracker import TrackerSettings

LONGEST_S = 3600.0  # of a time that somebody waits for
# Facts on /diagnostics by their keys, which the doctor reads.
NAMES, RECTIFIED, DEPTH_SCALE = "names", "rectified", "depth_scale_m"
MOST_BUFFERED = 1000  # images of 640x480: 0.6 GB


@dataclass(frozen=True)
class PoseNodeParameters:
    """Parameters of the pose node.

    models: names of folders in `models_dir`, or paths; each instance goes to the first model that answers its name.
    models_dir: empty for the package's own. provider, threads,
    allow_cpu, precision: as `SessionConfig`.
    seed: of the point sampling. min_depth_m, max_depth_m: depths outside are invalid [m]. depth_scale_m: what 1 in
    the depth image means; 0: as its encoding says [m]. rectified: whether the depth image is; else its pixels are
    undistorted by K and D of the calibration. buffer_size: images of each
    kind that wait for their masks.
    max_instances: of one frame; of more, those with the highest scores are estimated and the others rejected.
    min_score: poses below are rejected, 0..1.
    reliable_inputs: subscribe with reliable instead of best-effort QoS. silence_s: warn about an input that is silent
    for so long, and look as often for publishers that cannot be heard [s].
    diagnostics_s: time between messages on /diagnostics [s].
    marker_lifetime_s: after that RViz drops a marker that is not renewed [s]. detections: publish `~/detections`
    always, never, or where vision_msgs is there (auto). tf, tf_prefix: broadcast each confirmed object as the frame
    tf_prefix/class_track; auto: the node's name with its namespace.
    target_frame: of all poses, by TF at the image's stamp, waited for up to transform_timeout_s
    [s]; empty: the camera's. tracking: follow objects over frames; false: each frame for itself.
    confirm_after, coast_s: as `TrackerSettings`. acceleration, angular_acceleration: as `MotionModel`.
    """

    models: tuple[str, ...] = (DEFAULT_MODEL,)
    models_dir: str = ""
    provider: str = SessionConfig.provider
    threads: int = SessionConfig.threads
    allow_cpu: bool = SessionConfig.allow_cpu
    precision: str = SessionConfig.precision
    seed: int = 0
    min_depth_m: float = DepthRange.minimum
    max_depth_m: float = DepthRange.maximum
    depth_scale_m: float = 0.0
    rectified: bool = True
    buffer_size: int = 60
    max_instances: int = MAX_INSTANCES
    min_score: float = 0.0
    reliable_inputs: bool = False
    silence_s: float = 5.0
    diagnostics_s: float = 1.0
    marker_lifetime_s: float = 1.0
    detections: str = "auto"
    tf: bool = False
    tf_prefix: str = AUTO_PREFIX
    target_frame: str = ""
    transform_timeout_s: float = 0.1
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
            "marker_lifetime_s",
            "tracking",
            "confirm_after",
            "coast_s",
            "acceleration",
            "angular_acceleration",
        }
    )

    def __post_init__(self) -> None:
        named = self.models and all(self.models) and len(set(self.models)) == len(self.models)
        expect("models", named, "different names or paths, at least one", list(self.models))
        expect(
            "models_dir",
            self.models_dir == "" or Path(self.models_dir).expanduser().is_dir(),
            "a folder, or empty",
            self.models_dir,
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
        unslashed = not self.target_frame.startswith("/")
        expect("target_frame", unslashed, "a name without / in front, as tf2 has it, or empty", self.target_frame)
        self.session()
        self.tracker()

    def session(self) -> SessionConfig:
        """How the network is to run."""
        return SessionConfig(
            provider=self.provider, threads=self.threads, allow_cpu=self.allow_cpu, precision=self.precision
        )

    def depth_range(self) -> DepthRange:
        """Which depths are valid."""
        return DepthRange(self.min_depth_m, self.max_depth_m)

    def depth_unit_m(self) -> float | None:
        """What 1 in the depth image means [m]; None: as its encoding says."""
        return self.depth_scale_m or None

    def tracker(self) -> TrackerSettings:
        """How objects are followed, where `tracking` asks for it."""
        motion = MotionModel(acceleration=self.acceleration, angular_acceleration=self.angular_acceleration)
        return TrackerSettings(motion=motion, confirm_after=self.confirm_after, coast_s=self.coast_s)
