"""`clipose estimate`: poses of a folder of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import tyro
from rich.console import Console
from rich.progress import track

from clipose_ros import estimators
from clipose_ros.core.types import Frame, PoseEstimate
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import write_poses
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.pipeline import FrameResult, Pipeline


def estimate(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    output: Path,
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    threads: int = SessionConfig.threads,
    precision: Precision = SessionConfig.precision,
    seed: int = 0,
    draw: Path | None = None,
) -> None:
    """Estimate the poses of every instance of a NOCS-format folder.

    Args:
        folder: NNNN_color.png, NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt and, unless the camera is REAL275's,
        intrinsics.json.
        output: poses.json to write.
        model: name in the models folder, or path (with a slash) of a model folder.
        models_dir: where to look for the model, instead of the usual places.
        provider: what ONNX Runtime runs on; refused, not replaced, when it cannot be had.
        threads: for the network; 0 takes every core.
        precision: of TensorRT's engine; the other providers run the network as it is.
        seed: of the point sampling. The same seed gives the same file, bit for bit.
        draw: folder for pictures NNNN.png with the boxes and axes drawn on the colour image.
    """
    frames = NocsFolder(folder)
    pipeline = Pipeline(estimators.load(model, models_dir, SessionConfig(provider, threads, precision=precision), seed))
    if draw:
        draw.mkdir(parents=True, exist_ok=True)
    results = []
    for name in track(frames.names, "poses", console=Console(stderr=True), transient=True):
        frame, detections = frames.read(name)
        results.append((name, pipeline.process(frame, detections)))
        if draw:
            _write_picture(draw / f"{name}.png", frame, results[-1][1])
    write_poses(output, results)
    found = sum(isinstance(pose, PoseEstimate) for _, result in results for _, pose in result.results)
    total = sum(len(result.results) for _, result in results)
    print(f"{output}: {len(results)} frames, {found} poses, {total - found} rejected")


def _write_picture(path: Path, frame: Frame, result: FrameResult) -> None:
    if frame.colour is None:
        raise ValueError(f"draw: expected a colour image for {path.name}, got none")
    picture = frame.colour.copy()
    for i, (_, pose) in enumerate(result.results):
        if isinstance(pose, PoseEstimate):
            draw_pose(picture, pose, frame.intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
