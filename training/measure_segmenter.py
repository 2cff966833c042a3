"""Measure a segmenter, and a plain one beside it: on new generated scenes, on empty ones, and on folders with truth.

    python -m training.measure_segmenter --model models/segmenter-depth --scenes 200 --folders FOLDER …

The plain one takes what stands out of the largest plane and hangs together. It knows no categories.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from clipose_ros import estimators
from clipose_ros.cli.tables import print_evaluation, print_segmentation
from clipose_ros.core.support import SUPPORT_DEFAULT, support_settings
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, PoseEstimate
from clipose_ros.evaluation.poses import evaluate as evaluate_poses
from clipose_ros.evaluation.segmentation import FrameMatch, SegmentationScores, match, true_frames
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import PosesByInstance, read_truth
from clipose_ros.formats.segment_files import BACKGROUND, HIDDEN, LabelledImage, read_labelled
from clipose_ros.pipeline import Pipeline
from clipose_ros.segmenters.centre_votes import sharpened
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.depth_channels import depth_grid, image_channels
from clipose_ros.segmenters.segmenter import Segmenter
from training.command import run
from training.data.scene_batches import measured
from training.data.scene_format import IGNORED, MOST_OBJECTS, SEGMENT_CATEGORIES
from training.scenes import SceneConfig, draw_shard

LEAST_HEIGHT_M, LEAST_PIXELS, MOST_SHARE = 0.012, 60, 0.3
STEP_M = 0.02  # of depth between neighbours, at 1 m: more is another object


class PlaneAndParts:
    """The plain segmenter: what lies higher than `LEAST_HEIGHT_M` and hangs together without a step in depth."""

    def facts(self) -> dict[str, str]:
        """Say what runs.

        Returns
        -------
        dict of str to str
            By name.
        """
        return {"segmenter": "plane and parts"}

    def warm_up(self) -> None:
        """There is nothing to do."""

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw.

        Returns
        -------
        Detections
            All of them `other`.
        """
        grid = depth_grid(frame)
        if not math.isfinite(grid.offset):
            return Detections((), np.zeros(frame.depth.shape, np.uint8))
        z = cv2.medianBlur(grid.z, 5)
        height = image_channels(replace(grid, z=z))[1] * 0.1
        stands = ((height > LEAST_HEIGHT_M) & (z > 0)).astype(np.uint8)
        limit = STEP_M * max(float(z.max()), 0.3)
        stands[:-1][np.abs(np.diff(z, axis=0)) > limit] = 0
        stands[:, :-1][np.abs(np.diff(z, axis=1)) > limit] = 0
        stands = cv2.morphologyEx(stands, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, parts, stats, _ = cv2.connectedComponentsWithStats(stands, connectivity=4)
        area = stats[:, cv2.CC_STAT_AREA]
        kept = [i for i in range(1, len(area)) if LEAST_PIXELS <= area[i] <= MOST_SHARE * stands.size][:250]
        labels = np.zeros(parts.shape, np.uint8)
        for number, part in enumerate(kept, start=1):
            labels[parts == part] = number
        return Detections(
            tuple(Instance(number, "other") for number in range(1, len(kept) + 1)), sharpened(labels, grid.z, frame)
        )


def labelled(detections: Detections) -> LabelledImage:
    """Write detections as a file would hold them.

    Parameters
    ----------
    detections : Detections
        With a label image from 1 on.

    Returns
    -------
    LabelledImage
        The same.
    """
    numbers = np.where(detections.masks == 0, BACKGROUND, detections.masks).astype(np.uint8)
    return LabelledImage(numbers, {instance.label: instance.category for instance in detections.instances})


def scene_frames(seed: int, scenes: int, config: SceneConfig) -> Iterator[tuple[Frame, LabelledImage]]:
    """Draw scenes as a camera sees them.

    Parameters
    ----------
    seed, scenes : int
        Of the scenes.
    config : SceneConfig
        How they are drawn.

    Yields
    ------
    frame : Frame
        The depth.
    truth : LabelledImage
        What is visible.
    """
    rows = draw_shard(seed, scenes, config)
    seen = measured(rows["depth"], seed), rows["label"], rows["category"], rows["intrinsics"]
    for depth, label, category, intrinsics in zip(*seen, strict=True):
        numbers = np.where(label == 0, BACKGROUND, np.where(label == IGNORED, HIDDEN, label)).astype(np.uint8)
        names = {number: SEGMENT_CATEGORIES[category[number - 1]] for number in range(1, MOST_OBJECTS + 1)}
        yield Frame(0, "", depth, Intrinsics(*intrinsics.tolist())), LabelledImage(numbers, names)


def scene_matches(segmenter: Segmenter, seed: int, scenes: int, config: SceneConfig) -> list[FrameMatch]:
    """Run a segmenter on generated scenes.

    Parameters
    ----------
    segmenter : Segmenter
        To measure.
    seed, scenes : int
        Of the scenes.
    config : SceneConfig
        How they are drawn.

    Returns
    -------
    list of FrameMatch
        One for each scene.
    """
    return [match(labelled(segmenter.segment(frame)), truth) for frame, truth in scene_frames(seed, scenes, config)]


def folder_matches(segmenter: Segmenter, folder: Path) -> list[FrameMatch]:
    """Run a segmenter on a folder with true masks.

    Parameters
    ----------
    segmenter : Segmenter
        To measure.
    folder : Path
        In NOCS format, with NNNN_true_mask.png.

    Returns
    -------
    list of FrameMatch
        One for each frame.
    """
    frames = NocsFolder(folder)
    return [
        match(labelled(segmenter.segment(frames.read_frame(name))), read_labelled(folder, name, "true_mask"))
        for name in track(true_frames(folder), folder.name)
    ]


def found_poses(pipeline: Pipeline, folder: Path) -> tuple[PosesByInstance, int]:
    """Estimate the poses of what the pipeline's own segmenter finds in a folder.

    Parameters
    ----------
    pipeline : Pipeline
        With a segmenter.
    folder : Path
        In NOCS format, with NNNN_true_mask.png.

    Returns
    -------
    poses : dict of (frame, instance) to PoseEstimate or Rejection
        Under the numbers of the objects that the instances were found to be, with an IoU of 0.5.
    others : int
        Poses of instances that are no object: false ones.
    """
    frames, poses, others = NocsFolder(folder), {}, 0
    for name in track(true_frames(folder), folder.name):
        result = pipeline.process(frames.read_frame(name))
        pairs = match(labelled(result.detections), read_labelled(folder, name, "true_mask"))
        answers = {instance.label: answer for instance, answer in result.results}
        poses |= {(name, true): answers.pop(number) for true, number in pairs.found.items()}
        others += sum(isinstance(answer, PoseEstimate) for answer in answers.values())
    return poses, others


def measure(
    model: Path,
    scenes: int = 200,
    empty: int = 200,
    folders: tuple[Path, ...] = (),
    poses: str = "",
    seed: int = 900_001,
) -> None:
    """Print what a model finds, and what the plain segmenter does.

    Parameters
    ----------
    model : Path
        Folder of a depth segmenter.
    scenes : int
        Generated ones, of shapes that no training saw.
    empty : int
        Generated scenes without objects: tables, floors, walls, furniture. As many others have a person's arms, too.
    folders : tuple of Path
        In NOCS format, with NNNN_true_mask.png and, for poses, truth.json.
    poses : str
        Model that estimates the poses of what is found in the folders; empty: none does.
    seed : int
        Of the scenes.
    """
    for folder in folders if poses else ():
        print(f"{poses} on what is found: {folder}")
        pipeline = Pipeline(estimators.load(poses), segmenter_of(model), support=support_settings(SUPPORT_DEFAULT))
        found, others = found_poses(pipeline, folder)
        print_evaluation(evaluate_poses(found, read_truth(folder / "truth.json")))
        print(f"{others} poses of what is no object")
    for name, segmenter in (("model", segmenter_of(model)), ("plane and parts", PlaneAndParts())):
        for folder in folders:
            print(f"{name}: {folder}")
            print_segmentation(SegmentationScores(tuple(folder_matches(segmenter, folder))), {})
        if scenes:
            print(f"{name}: generated scenes")
            matches = scene_matches(segmenter, seed, scenes, SceneConfig(empty=0.0))
            print_segmentation(SegmentationScores(tuple(matches)), {})
        for kind, hands in (("empty scenes", 0.0), ("empty scenes into which a person reaches", 1.0)):
            if empty:
                matches = scene_matches(segmenter, seed + 1, empty, SceneConfig(empty=1.0, hands=hands))
                wrong = sum(one.instances > 0 for one in matches)
                print(f"{name}: something found in {wrong} of {empty} {kind}")


if __name__ == "__main__":
    run(measure)
