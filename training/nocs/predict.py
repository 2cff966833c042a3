"""Poses of REAL275's or CAMERA25's test frames as NOCS result pickles.

    python -m training.nocs.predict --root NOCS --detections NOCS/mrcnn_results/real_test --output results
    clipose evaluate --results results

An exported model runs through the estimator of the node. A result holds the published truth of its frame as it is, and
the poses of the detections that got one. A rejected detection is a missing prediction. A frame that cannot be read, or
without detections, has a result without predictions: its objects count as missed. One without a truth has none.

Mugs, estimated and true, stay in the frame of their tight box, as NOCS published them and as `clipose evaluate` takes
them by default. With `--recentre-mugs` it moves both to the axis of their body, as object-deformnet and its followers
do.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clipose_ros import estimators
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.support import SUPPORT_DEFAULT, Support, support_settings
from clipose_ros.core.types import Detections as Found
from clipose_ros.core.types import Frame, Instance, PoseEstimate, Rejection
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.formats.images import read_colour, read_depth, read_labels
from clipose_ros.formats.nocs_folder import FRAME_ID
from clipose_ros.formats.pickles import load_pickle
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.providers import Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.pipeline import Pipeline
from training.command import run
from training.nocs.files import (
    SPLITS,
    Detections,
    FrameFiles,
    Split,
    Unusable,
    list_frames,
    read_detections,
    read_image,
    read_meta,
    reading,
)
from training.nocs.rows import mask_box
from training.nocs.shards import Report

TRUTH_SHAPES = {"gt_class_ids": (), "gt_bboxes": (4,), "gt_RTs": (4, 4), "gt_scales": (3,)}
PREDICTION_SHAPES = {
    "pred_class_ids": (),
    "pred_bboxes": (4,),
    "pred_scores": (),
    "pred_scales": (3,),
    "pred_RTs": (4, 4),
}
# of truth and of Mask R-CNN: results_val_00000_0000, results_test_scene_1_0000
RESULT_FILE = re.compile(r"results_.*?((?:scene_)?\d+_\d{4,6})\.pkl")


@dataclass(frozen=True)
class PredictionConfig:
    """What is predicted, and by what.

    Parameters
    ----------
    root : Path
        Of the published files.
    output : Path
        A folder that is not there yet.
    detections : Path or "truth"
        Folder of Mask R-CNN's pickles of the split, or "truth" for the masks of the data set with the poses' own
        scores.
    split : "real_test" or "camera_val"
        Which frames.
    model : str
        A name, or the path (with a slash) of a model folder.
    provider : "cpu", "cuda" or "tensorrt"
        What runs it.
    threads : int
        On a CPU.
    seed : int
        Of the point sampling.
    support : "auto" or "off"
        Whether poses that fit are set onto the surface that they rest on, and networks are told of it.
    """

    root: Path
    output: Path
    detections: Literal["truth"] | Path
    split: Literal["real_test", "camera_val"] = "real_test"
    model: str = DEFAULT_MODEL
    provider: Provider = SessionConfig.provider
    threads: int = SessionConfig.threads
    seed: int = 0
    support: Support = SUPPORT_DEFAULT


@dataclass
class PredictionReport(Report):
    """What was written: `rows` are result files. Beside what was skipped stand the rejections, by reason.

    Parameters
    ----------
    predictions : int
        Poses in the results.
    """

    predictions: int = 0


def result_files(folder: Path) -> dict[str, Path]:
    """List the pickles of a folder.

    Parameters
    ----------
    folder : Path
        Of results.

    Returns
    -------
    dict of Path
        By `scene_frame`, as `FrameFiles` names them.

    Raises
    ------
    ValueError
        Where there are none.
    """
    matches = ((RESULT_FILE.fullmatch(path.name), path) for path in sorted(folder.glob("*.pkl")))
    found = {match[1]: path for match, path in matches if match}
    if not found:
        raise ValueError(f"results: expected results_*_SCENE_FRAME.pkl in {folder}, got none")
    return found


def read_published(path: Path) -> dict[str, np.ndarray]:
    """Read the truth of a frame as it is published.

    Parameters
    ----------
    path : Path
        Of the pickle.

    Returns
    -------
    dict of ndarray
        `TRUTH_SHAPES`, M objects each, and `gt_handle_visibility` (M,) where it is told.

    Raises
    ------
    ValueError
        Where their numbers differ.
    """
    content = load_pickle(path)
    objects = len(content["gt_class_ids"])
    truth = {name: np.asarray(content[name]).reshape(-1, *shape) for name, shape in TRUTH_SHAPES.items()}
    for name in ("handle_visibility", "gt_handle_visibility"):
        if name in content:
            truth["gt_handle_visibility"] = np.asarray(content[name]).reshape(-1)
    lengths = {name: len(array) for name, array in truth.items()}
    if set(lengths.values()) != {objects}:
        raise ValueError(f"expected {objects} of each, got {lengths}")
    return truth


def true_masks(frame: FrameFiles) -> Detections:
    """Find the objects of a frame by its own mask, as a perfect detector would.

    Parameters
    ----------
    frame : FrameFiles
        The frame.

    Returns
    -------
    Detections
        With scores of 1.

    Raises
    ------
    Unusable
        Where mask or meta file cannot be read.
    """
    labels = read_image(frame, "mask", read_labels)
    seen = [line for line in reading("meta", frame.path("meta.txt"), read_meta) if (labels == line.instance + 1).any()]
    masks = np.array([labels == line.instance + 1 for line in seen], bool).reshape(-1, *labels.shape)
    boxes = np.array([mask_box(mask) for mask in masks], float).reshape(-1, 4)
    return Detections(boxes, tuple(line.category for line in seen), np.ones(len(seen)), masks)


def read_frame_depth(root: Path, split: Split, frame: FrameFiles) -> np.ndarray:
    """Read the depth, with its background where the split has composed depth on disk.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : Split
        Of the frame.
    frame : FrameFiles
        The frame.

    Returns
    -------
    (H, W) uint16
        [mm].

    Raises
    ------
    Unusable
        Where it cannot be read.
    """
    composed = root / "camera_full_depths" / split.composed
    whole = (
        composed / frame.folder.name / f"{frame.name}_composed.png" if split.composed and composed.is_dir() else None
    )
    return read_image(frame, "depth", read_depth, whole)


def estimated(
    depth: np.ndarray,
    detections: Detections,
    split: Split,
    pipeline: Pipeline,
    colour: np.ndarray | None = None,
) -> list[PoseEstimate | Rejection]:
    """Estimate what was detected. Masks may overlap, which a label image cannot say.

    Parameters
    ----------
    depth : (H, W) uint16
        [mm].
    detections : Detections
        Of the frame.
    split : Split
        Of the frame.
    pipeline : Pipeline
        As the node has it.
    colour : (H, W, 3) uint8, optional
        RGB, for estimators that ask for it.

    Returns
    -------
    list of PoseEstimate or Rejection
        In the order of the detections.

    Raises
    ------
    Unusable
        Where masks and depth differ in size.
    """
    if len(detections.masks) and detections.masks.shape[1:] != depth.shape:
        raise Unusable(
            "detections: size is not the depth's", f"expected masks of {depth.shape}, got {detections.masks.shape[1:]}"
        )
    instances = tuple(Instance(i, category) for i, category in enumerate(detections.categories, start=1))
    masks = detections.masks.reshape(len(instances), *depth.shape).astype(bool)
    result = pipeline.process(Frame(0, FRAME_ID, depth, split.intrinsics, colour), Found(instances, masks))
    return [pose for _, pose in result.results]


def similarity(pose: PoseEstimate) -> np.ndarray:
    """Give NOCS's form of a pose: the diagonal of the box is the scale of the rotation, and the unit of `pred_scales`.

    Parameters
    ----------
    pose : PoseEstimate
        Of the tight box.

    Returns
    -------
    (4, 4) float64
        A similarity.
    """
    transform = np.eye(4)
    transform[:3] = np.column_stack([np.linalg.norm(pose.size) * pose.rotation, pose.translation])
    return transform


def predictions(
    detections: Detections, scores: Sequence[float], poses: Sequence[PoseEstimate | Rejection]
) -> dict[str, np.ndarray]:
    """Give the detections that got a pose in NOCS's form.

    Parameters
    ----------
    detections : Detections
        Of the frame.
    scores : sequence of float
        By which the evaluation ranks, one for each detection.
    poses : sequence of PoseEstimate or Rejection
        One for each detection.

    Returns
    -------
    dict of ndarray
        `PREDICTION_SHAPES`.
    """
    kept = [i for i, pose in enumerate(poses) if isinstance(pose, PoseEstimate)]
    values = {
        "pred_class_ids": [CATEGORIES.index(poses[i].category) + 1 for i in kept],
        "pred_bboxes": [detections.boxes[i] for i in kept],
        "pred_scores": [scores[i] for i in kept],
        "pred_scales": [poses[i].size / np.linalg.norm(poses[i].size) for i in kept],
        "pred_RTs": [similarity(poses[i]) for i in kept],
    }
    return {
        name: np.array(values[name], int if name == "pred_class_ids" else float).reshape(-1, *shape)
        for name, shape in PREDICTION_SHAPES.items()
    }


def _detector(config: PredictionConfig) -> Callable[[FrameFiles], Detections]:
    if config.detections == "truth":
        return true_masks
    files = result_files(config.detections)
    return lambda frame: read_detections(_file_of(frame, files, "detections"))


def _file_of(frame: FrameFiles, files: dict[str, Path], kind: str) -> Path:
    name = f"{frame.folder.name}_{frame.name}"
    if name not in files:
        raise Unusable(f"{kind}: file missing", f"{frame}: expected a pickle of this frame, got none")
    return files[name]


def frame_predictions(
    frame: FrameFiles,
    config: PredictionConfig,
    pipeline: Pipeline,
    detect: Callable[[FrameFiles], Detections],
    report: PredictionReport,
) -> dict[str, np.ndarray]:
    """Predict a frame, all its instances in one batch.

    Parameters
    ----------
    frame : FrameFiles
        The frame.
    config : PredictionConfig
        What is predicted.
    pipeline : Pipeline
        By what.
    detect : callable
        Gives the detections of a frame.
    report : PredictionReport
        Gets what is skipped.

    Returns
    -------
    dict of ndarray
        As `predictions`. None of them, and an entry in the report, where the frame cannot be read.
    """
    nothing = Detections(np.zeros((0, 4)), (), np.zeros(0), np.zeros((0, 0, 0), bool))
    split = SPLITS[config.split]
    try:
        depth, found = read_frame_depth(config.root, split, frame), detect(frame)
        colour = read_image(frame, "color", read_colour) if pipeline.estimator.needs.colour else None
        if colour is not None and colour.shape[:2] != depth.shape:
            raise Unusable("images: sizes differ", f"expected colour of {depth.shape}, got {colour.shape[:2]}")
        poses = estimated(depth, found, split, pipeline, colour)
    except Unusable as error:
        report.skip(error.reason, f"{frame}: {error}")
        found, poses = nothing, []
    for rejection in (pose for pose in poses if isinstance(pose, Rejection)):
        report.skip(
            f"rejected: {rejection.reason.rpartition(', got')[0] or rejection.reason}",
            f"{frame} {rejection.category}: {rejection.reason}",
        )
    scores = [getattr(pose, "score", 0.0) for pose in poses] if config.detections == "truth" else found.scores
    return predictions(found, scores, poses)


def predict(config: PredictionConfig, estimator: Estimator) -> PredictionReport:
    """Write a result for each frame whose truth is published, and report.json beside them.

    The folder is whole or not there.

    Parameters
    ----------
    config : PredictionConfig
        What is predicted.
    estimator : Estimator
        By what.

    Returns
    -------
    PredictionReport
        What was written and skipped.

    Raises
    ------
    ValueError
        Where the output exists, the split or the folder of detections is not there, or no truth can be read.
    """
    if config.output.exists():
        raise ValueError(
            f"output: expected a folder that is not there yet, got {config.output}: nothing is written over, and "
            "nothing reused"
        )
    split = SPLITS[config.split]
    frames, truths, detect = (
        list_frames(config.root, split),
        result_files(config.root / "gts" / split.truth),
        _detector(config),
    )
    unfinished = config.output.with_name(f"{config.output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    report, pipeline = PredictionReport(), Pipeline(estimator, support=support_settings(config.support))
    for frame in track(frames, config.split, console=Console(stderr=True), transient=True):
        try:
            truth = reading("truth", _file_of(frame, truths, "truth"), read_published)
        except Unusable as error:
            report.skip(error.reason, str(error))
            continue
        result = truth | frame_predictions(frame, config, pipeline, detect, report)
        (unfinished / f"results_{config.split}_{frame.folder.name}_{frame.name}.pkl").write_bytes(
            pickle.dumps(result, protocol=2)
        )
        report.rows += 1
        report.predictions += len(result["pred_scores"])
    if not report.rows:
        raise ValueError(f"truth: expected one that can be read, got none: {dict(report.skipped)}")
    counts = {
        "results": report.rows,
        "predictions": report.predictions,
        "skipped": report.skipped,
        "examples": report.examples,
    }
    (unfinished / "report.json").write_text(
        json.dumps({"config": asdict(config)} | counts, default=str, indent=1), encoding="utf-8"
    )
    unfinished.rename(config.output)
    return report


def load_estimator(config: PredictionConfig) -> Estimator:
    """Load the estimator of the node around the model of the configuration.

    Parameters
    ----------
    config : PredictionConfig
        Which model, and where it runs.

    Returns
    -------
    Estimator
        Ready.
    """
    return estimators.load(config.model, config=SessionConfig(config.provider, config.threads), seed=config.seed)


def report_table(config: PredictionConfig, report: PredictionReport) -> Table:
    """Lay out for people what was left out, by reason.

    Parameters
    ----------
    config : PredictionConfig
        What was predicted.
    report : PredictionReport
        What came of it.

    Returns
    -------
    Table
        A line for each reason.
    """
    title = f"{config.split}: {report.predictions} poses in {report.rows} results in {config.output}"
    table = Table("skipped", "count", "for example", title=title)
    for reason, count in report.skipped.most_common():
        table.add_row(reason, str(count), "\n".join(report.examples[reason]))
    return table


def main(config: tyro.conf.OmitArgPrefixes[PredictionConfig]) -> None:
    """Write results and print what was skipped, by reason.

    Parameters
    ----------
    config : PredictionConfig
        What is predicted.
    """
    Console().print(report_table(config, predict(config, load_estimator(config))))


if __name__ == "__main__":
    run(main)
