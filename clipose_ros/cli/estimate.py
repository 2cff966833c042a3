"""`clipose estimate`: poses of a folder of frames, of BOP scenes, or of a recording."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro

from clipose_ros import estimators
from clipose_ros.cli.frame_sources import FrameSource, input_files, open_frames
from clipose_ros.cli.options import Box, Flag, provider_advice
from clipose_ros.cli.output_paths import (
    check_csv_file,
    check_not_read,
    check_output_file,
    check_output_folder,
    check_view_file,
)
from clipose_ros.core.object_sizes import ObjectSizes, unit_warning
from clipose_ros.core.support import SUPPORT_DEFAULT, Support, support_settings
from clipose_ros.core.types import Frame, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import Workspace
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.formats.bop_results import BopResults
from clipose_ros.formats.bop_scenes import ObjectNames
from clipose_ros.formats.pose_files import write_poses
from clipose_ros.formats.recorded_frames import JoinSettings
from clipose_ros.formats.recorded_topics import TopicNames
from clipose_ros.formats.rerun_files import RerunWriter
from clipose_ros.formats.whole_files import write_image
from clipose_ros.formats.workspace_files import read_area
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.pipeline import FrameResult, Pipeline
from clipose_ros.segmenters.choice import (
    SEGMENTER_DEFAULT,
    SegmenterName,
    SegmenterOptions,
    load_segmenter,
    needs_colour,
)
from clipose_ros.tracking.tracker import Tracker

MOST_CAUSES = 5  # of rejections that are told
MEASURED_FRAMES = 60  # that show whether objects look as large as such objects are


def estimate(
    path: Annotated[Path, tyro.conf.Positional],
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
    segmenter: SegmenterName = SEGMENTER_DEFAULT,
    workspace: Box | None = None,
    workspace_mask: Path | None = None,
    colour: Literal["auto", "off"] = "auto",
    depth: Literal["auto", "off"] = "auto",
    strict: Flag = False,
    draw: Path | None = None,
    view: Path | None = None,
    bop: Path | None = None,
    name: str | None = None,
    object_names: tuple[str, ...] = (),
    found: Annotated[SegmenterOptions, tyro.conf.arg(name="")] = SegmenterOptions(),
    topics: Annotated[TopicNames, tyro.conf.arg(name="")] = TopicNames(),
    joins: Annotated[JoinSettings, tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff] = JoinSettings(),
) -> None:
    """Estimate the poses of every instance of a NOCS-format folder, of reference views, BOP scenes, or a recording.

    With --segmenter the objects are found in the images, and masks are not read. An object of no category that a model
    answers is an entry without a pose.

    A frame with a file that is missing or broken is skipped and counted, and so is a depth image of a recording without
    masks where these are read; where no frame can be read, nothing is written and the exit status is 1.

    Parameters
    ----------
    path
        A folder: NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt, optionally NNNN_color.png or .jpg, and intrinsics.json
        or cam_K.txt. Without intrinsics, images of 640 x 480 are taken for REAL275's, or CAMERA25's where depth is
        coded. Reference views (poses.json, no meta files) show one object: that of the folder's name, or of --name. Or
        a BOP scene (scene_camera.json), or a folder of such scenes. Or a recording of ROS 2: an .mcap or .db3 file, or
        its folder.
    output
        The poses.json to write. Folders that are not there are made. Frames have the names of the files; those of a
        recording are the numbers of its depth images, from 0000, and have stamp_ns, too.
    model
        Names in the models folder, or paths (with a slash) of model folders; each instance goes to the first model that
        answers its name.
    models_dir
        Where to look for models, instead of the usual places.
    objects
        Folder of learned objects (see clipose learn), for --model gspose and --segmenter objects. An instance of class
        0 whose model has the name of one is estimated.
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
    segmenter
        depth finds the objects in the depth image alone, mask_rcnn in the colour image by a model that you exported
        (docs/mask_rcnn.md), objects those of --objects in depth and colour; none takes the masks of the folder or
        recording.
    workspace
        x_min x_max y_min y_max z_min z_max in the camera's optical frame, in metres: what --segmenter finds outside
        is left alone.
    workspace_mask
        A picture as large as the depth images, not 0 where objects are looked for.
    colour
        off hides the colour images from the models, which then go by the points: for colour that is made up.
    depth
        off takes no notice of depth: learned objects are estimated by colour alone, categories are rejected. auto does
        so for learned objects whose masks hold no depth.
    strict
        End with an error at the first frame that cannot be read, instead of skipping it.
    draw
        Folder for pictures NNNN.png with the boxes and axes drawn on the colour image.
    view
        A .rrd file for the Rerun viewer (`rerun FILE.rrd`): images, cloud, masks, poses, and tracks over time.
    bop
        A .csv file of results as bop_toolkit reads them, of BOP scenes; t_reference is its t for learned objects.
    name
        Of the object that reference views show; the folder's name without it.
    object_names
        obj_id:name, as 1:mug, of the objects of BOP scenes; others are left out, but for learned ones named obj_000001.
    found
        How objects are found.
    topics
        Of a recording.
    joins
        How its messages become frames.
    """
    expect("--seed", seed >= 0, "0 or more", seed)
    expect("--min-score", 0 <= min_score <= 1, "0 to 1", min_score)
    area = Workspace(workspace or (), read_area(workspace_mask) if workspace_mask else None)
    expect(
        "--workspace", not area or segmenter != SEGMENTER_DEFAULT, "--segmenter depth, whose findings it judges", "none"
    )
    blind = depth == "off"
    expect("--depth", not (blind and segmenter == "depth"), "auto with --segmenter depth, which needs it", depth)
    expect("--colour", not (blind and colour == "off"), "auto with --depth off", colour)
    check_output_file("--output", output)
    check_output_folder("--draw", draw)
    check_view_file("--view", view)
    check_csv_file("--bop", bop)
    for option, file in (("--output", output), ("--view", view), ("--bop", bop)):
        check_not_read(option, file, input_files(path))
    found.check(segmenter)
    given, named = segmenter == SEGMENTER_DEFAULT, ObjectNames.of(object_names)
    source = open_frames(path, topics, joins, given, name, needs_colour(segmenter), named)
    expect("--bop", bop is None or source.scenes is not None, "a BOP scene as input", path)
    # before the models are loaded, which may take minutes
    if next(source.frames(strict), None) is None:
        raise ValueError(f"{path}: expected at least one frame that can be read, got {source.first_reason()}")
    with provider_advice("add --allow-cpu to run on the CPU instead"):
        config = SessionConfig(provider, threads, allow_cpu, precision)
        pipeline = Pipeline(
            estimators.load_all(model, models_dir, config, seed, objects),
            load_segmenter(segmenter, models_dir, config, options=found, objects_dir=objects),
            min_score=min_score,
            support=support_settings(support),
            workspace=area,
            colour=colour == "auto",
        )
    source.know(pipeline.estimator.names)
    counts: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    origins = _reference_origins(pipeline, objects)
    used = objects is None or origins or segmenter == "objects"
    expect("--objects", used, "--model gspose, or --segmenter objects, with it", f"--model {' '.join(model)}")
    results = BopResults(source.scenes, given, origins) if bop else None
    sizes = ObjectSizes()
    with RerunWriter(view, source.stamped) if view else nullcontext() as viewed:
        write_poses(
            output,
            _results(source, pipeline, strict, blind, draw, viewed, counts, causes, results, sizes),
            stamps=source.stamped,
            reference_origins=origins,
        )
    if results:
        results.write(bop)
        if results.left_out:
            print(f"{bop}: {results.left_out} poses of names without an obj_id (--object-names)", file=sys.stderr)
    skipped = source.report()
    if (factor := sizes.suspicion()) is not None:
        text, cure = unit_warning(factor, sizes.unit_m)
        remedy = cure.replace("depth_scale_m:=", "--depth-scale-m ") if source.stamped else "convert it to millimetres"
        print(f"{text}; {remedy}", file=sys.stderr)
    if counts["without colour"]:
        text = f"{counts['without colour']} of {counts['frames']} frames: no colour image, so no picture"
        print(text, file=sys.stderr)
    for cause, count in causes.most_common(MOST_CAUSES):
        print(f"{count} rejected: {cause}", file=sys.stderr)
    numbers = ", ".join(f"{counts[name]} {name}" for name in ("frames", "poses", "rejected"))
    others = "" if pipeline.segmenter is None else f", {counts['others']} found that no model answers"
    print(f"{output}: {numbers}{others}, {skipped} skipped")


def _results(
    source: FrameSource,
    pipeline: Pipeline,
    strict: bool,
    blind: bool,
    draw: Path | None,
    viewed: RerunWriter | None,
    counts: Counter[str],
    causes: Counter[str],
    bop: BopResults | None,
    sizes: ObjectSizes,
) -> Iterator[tuple[str, FrameResult]]:
    """Name and result of each frame, drawn and written to be viewed where that is asked for, and counted."""
    tracker = Tracker(symmetry=pipeline.estimator.symmetry)  # for the view alone: poses are those of their frames
    for name, frame, detections in source.frames(strict):
        if blind:
            frame = replace(frame, depth=np.zeros_like(frame.depth))
        result = pipeline.process(frame, detections)
        if counts["frames"] < MEASURED_FRAMES and result.detections is not None and not blind:
            sizes.add_frame(frame, result.detections, pipeline.depth_range, pipeline.estimator.diagonal_m)
        if draw and frame.colour is None:
            counts["without colour"] += 1
        elif draw:
            _write_picture(draw / f"{name}.png", frame, result)
        if viewed:
            tracked = tracker.update(frame.stamp_ns, result.results)
            viewed.write(name, frame, result.detections, result.results, tracked)
        if bop:
            bop.add(name, result)
        counts["frames"] += 1
        for instance, answer in result.results:
            unknown = instance.category not in pipeline.estimator.names
            kind = (
                "others" if unknown and detections is None else "rejected" if isinstance(answer, Rejection) else "poses"
            )
            counts[kind] += 1
            if kind == "rejected":
                causes[answer.reason if unknown else answer.reason.partition(", got ")[0]] += 1
        yield name, result


def _reference_origins(pipeline: Pipeline, library: Path | None) -> dict[str, np.ndarray]:
    """Where the origins of the reference poses lie in the frames of the learned objects, by name."""
    if library is None:
        return {}
    learned = [one for one in ObjectLibrary(library).read_all() if one.name in pipeline.estimator.names]
    return {one.name: -one.centre for one in learned}


def _write_picture(path: Path, frame: Frame, result: FrameResult) -> None:
    picture = frame.colour.copy()
    for i, (_, pose) in enumerate(result.results):
        if isinstance(pose, PoseEstimate):
            draw_pose(picture, pose, frame.intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    write_image(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
