"""`clipose estimate`: poses of a folder of frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from clipose_ros import estimators
from clipose_ros.cli.options import Flag, provider_advice
from clipose_ros.cli.output_paths import check_output_file, check_output_folder
from clipose_ros.cli.tables import tracked
from clipose_ros.core.support import SUPPORT_DEFAULT, Support, support_settings
from clipose_ros.core.types import Detections, Frame, PoseEstimate
from clipose_ros.core.validation import expect
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import write_poses
from clipose_ros.formats.reference_views import ReferenceFrames, is_reference_folder
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.pipeline import FrameResult, Pipeline


def estimate(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    output: Path,
    model: tuple[str, ...] = (DEFAULT_MODEL,),
    models_dir: Path | None = None,
    objects: Path | None = None,
    provider: Provider = SessionConfig.provider,
    allow_cpu: Flag = SessionConfig.allow_cpu,
    threads: int = SessionConfig.threads,
    precision: Precision = SessionConfig.precision,
    seed: int = 0,
    min_score: float = 0.0,
    support: Support = SUPPORT_DEFAULT,
    strict: Flag = False,
    draw: Path | None = None,
    name: str | None = None,
) -> None:
    """Estimate the poses of every instance of a NOCS-format folder, or of a folder of reference views.

    A frame with a file that is missing or broken is skipped and counted; where no frame can be read, nothing is written
    and the exit status is 1.

    Parameters
    ----------
    folder
        NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt, optionally NNNN_color.png or .jpg, and intrinsics.json or
        cam_K.txt. Without intrinsics, images of 640 x 480 are taken for REAL275's, or CAMERA25's where depth is coded.
        Reference views (poses.json, no meta files) show one object: that of the folder's name, or of --name.
    output
        The poses.json to write. Folders that are not there are made.
    model
        Names in the models folder, or paths (with a slash) of model folders; each instance goes to the first model that
        answers its name.
    models_dir
        Where to look for models, instead of the usual places.
    objects
        Folder of learned objects (see clipose learn), for --model gspose. An instance of class 0 whose model has the
        name of one is estimated.
    provider
        What ONNX Runtime runs on; refused, not replaced, when it cannot be had.
    allow_cpu
        Run on the CPU when the provider cannot be had.
    threads
        Cores for the network; 0 takes all.
    precision
        Of TensorRT's engine; the other providers run the network as it is.
    seed
        Of the point sampling. The same seed gives the same file, bit for bit.
    min_score
        Poses with a lower score are rejected, 0 to 1.
    support
        auto tells networks of the surface below each object, and sets poses that fit onto it; off does neither.
    strict
        End with an error at the first frame that cannot be read, instead of skipping it.
    draw
        Folder for pictures NNNN.png with the boxes and axes drawn on the colour image.
    name
        Of the object that reference views show; the folder's name without it.
    """
    expect("--seed", seed >= 0, "0 or more", seed)
    expect("--min-score", 0 <= min_score <= 1, "0 to 1", min_score)
    check_output_file("--output", output)
    check_output_folder("--draw", draw)
    frames, skipped = open_frames(folder, name), {}
    # before the models are loaded, which may take minutes
    if next(_readable(frames, strict, skipped), None) is None:
        first, reason = next(iter(skipped.items()))
        raise ValueError(
            f"{folder}: expected at least one frame that can be read, got {len(skipped)} that cannot; {first}: {reason}"
        )
    with provider_advice("add --allow-cpu to run on the CPU instead"):
        config = SessionConfig(provider, threads, allow_cpu, precision)
        pipeline = Pipeline(
            estimators.load_all(model, models_dir, config, seed, objects),
            min_score=min_score,
            support=support_settings(support),
        )
    frames.objects = pipeline.estimator.names
    results, without_colour = [], 0
    for frame_name, frame, detections in _readable(frames, strict, skipped):
        results.append((frame_name, pipeline.process(frame, detections)))
        if draw and frame.colour is None:
            without_colour += 1
        elif draw:
            _write_picture(draw / f"{frame_name}.png", frame, results[-1][1])
    write_poses(output, results, _reference_origins(pipeline, objects))
    _report_doubts(frames, skipped, without_colour)
    found = sum(isinstance(pose, PoseEstimate) for _, result in results for _, pose in result.results)
    total = sum(len(result.results) for _, result in results)
    print(f"{output}: {len(results)} frames, {found} poses, {total - found} rejected, {len(skipped)} skipped")


def open_frames(folder: Path, name: str | None = None) -> NocsFolder | ReferenceFrames:
    """Open a folder of frames, of whichever form.

    Parameters
    ----------
    folder : Path
        In NOCS format, or with reference views.
    name : str, optional
        Of the object that reference views show; the folder's name without it.

    Returns
    -------
    NocsFolder or ReferenceFrames
        Its frames.

    Raises
    ------
    ValueError
        Where it is neither, or has a name given and is no folder of reference views.
    """
    if is_reference_folder(folder):
        return ReferenceFrames(folder, name or folder.resolve().name)
    expect("--name", name is None, f"none for {folder}, whose meta files name its objects", name)
    return NocsFolder(folder)


def _reference_origins(pipeline: Pipeline, library: Path | None) -> dict[str, np.ndarray]:
    """Where the origins of the reference poses lie in the frames of the learned objects, by name."""
    if library is None:
        return {}
    learned = [one for one in ObjectLibrary(library).read_all() if one.name in pipeline.estimator.names]
    return {one.name: -one.centre for one in learned}


def _readable(
    frames: NocsFolder | ReferenceFrames, strict: bool, skipped: dict[str, str]
) -> Iterator[tuple[str, Frame, Detections]]:
    """The frames that can be read, with their names; why the others cannot goes into `skipped`."""
    for name in tracked(frames.names, "poses"):
        try:
            frame, detections = frames.read(name)
        except (ValueError, OSError) as error:
            if strict:
                raise
            skipped[name] = str(error)
        else:
            yield name, frame, detections


def _report_doubts(frames: NocsFolder | ReferenceFrames, skipped: dict[str, str], without_colour: int) -> None:
    """On stderr: each frame that was skipped, and how many frames deserved a remark."""
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    for remark, count in frames.remarks.items():
        print(f"{count} of {len(frames)} frames: {remark}", file=sys.stderr)
    if without_colour:
        print(f"{without_colour} of {len(frames)} frames: no colour image, so no picture", file=sys.stderr)


def _write_picture(path: Path, frame: Frame, result: FrameResult) -> None:
    picture = frame.colour.copy()
    for i, (_, pose) in enumerate(result.results):
        if isinstance(pose, PoseEstimate):
            draw_pose(picture, pose, frame.intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: expected a place to write a picture, got a refusal")
