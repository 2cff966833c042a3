"""`clipose segment`: the objects in a folder of frames."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clipose_ros.cli.frame_sources import check_colour
from clipose_ros.cli.options import Box, Flag, provider_advice
from clipose_ros.cli.output_paths import check_output_folder, check_own_masks
from clipose_ros.cli.tables import tracked
from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import Workspace
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.segment_files import write_detections, write_segments
from clipose_ros.formats.workspace_files import read_area
from clipose_ros.inference.providers import Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.segmenters.choice import SegmenterOptions, load_segmenter, needs_colour


def segment(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    output: Path,
    segmenter: Literal["depth", "mask_rcnn", "objects"] = "depth",
    options: Annotated[SegmenterOptions, tyro.conf.arg(name="")] = SegmenterOptions(),
    objects: Path | None = None,
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    allow_cpu: Flag = SessionConfig.allow_cpu,
    threads: int = SessionConfig.threads,
    workspace: Box | None = None,
    workspace_mask: Path | None = None,
    strict: Flag = False,
) -> None:
    """Find the objects of a folder of frames, and write their masks and categories.

    Writes NNNN_mask.png (instance numbers, 255 for the background), NNNN_meta.txt and segments.json, which has the
    scores. An object of no category is of class 0, `other`. A frame that cannot be read is skipped and counted.

    Parameters
    ----------
    folder
        NNNN_depth.png, and intrinsics.json or cam_K.txt; for mask_rcnn and objects NNNN_color.png or .jpg, too.
    output
        Folder for the masks; it is made where it is not there. Masks that another program wrote are not replaced.
    segmenter
        How objects are found: depth needs no colour, mask_rcnn a model that you exported (docs/mask_rcnn.md), objects
        --objects, the names of which it gives.
    options
        Of the segmenter.
    objects
        Folder of learned objects (see clipose learn), for --segmenter objects.
    models_dir
        Where to look for the model, instead of the usual places.
    provider
        What ONNX Runtime runs on; refused, not replaced, when it cannot be had.
    allow_cpu
        Run on the CPU when the provider cannot be had.
    threads
        Cores for the networks; 0 takes all.
    workspace
        x_min x_max y_min y_max z_min z_max in the camera's optical frame, in metres: objects outside are left out.
    workspace_mask
        A picture as large as the depth images, not 0 where objects are looked for.
    strict
        End with an error at the first frame that cannot be read, instead of skipping it.
    """
    check_output_folder("--output", output)
    area = Workspace(workspace or (), read_area(workspace_mask) if workspace_mask else None)
    frames, skipped, entries = NocsFolder(folder), {}, []
    check_own_masks("--output", output, frames.names)
    with provider_advice("add --allow-cpu to run on the CPU instead"):
        config = SessionConfig(provider, threads, allow_cpu)
        found = load_segmenter(segmenter, models_dir, config, options=options, objects_dir=objects)
    for name in tracked(frames.names, "frames"):
        try:
            frame = frames.read_frame(name)
            check_colour(frame, needs_colour(segmenter))
        except (ValueError, OSError) as error:
            if strict:
                raise
            skipped[name] = str(error)
            continue
        if not entries:
            write_segments(output, [])  # the masks are this command's, though it may be interrupted
        entries.append(write_detections(output, name, area.kept(frame, found.segment(frame))))
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:1])
    expect(str(folder), entries, "at least one frame that can be read", reasons)
    write_segments(output, entries)
    for name, reason in skipped.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    for remark, count in frames.remarks.items():
        print(f"{count} of {len(frames)} frames: {remark}", file=sys.stderr)
    total = sum(len(entry["instances"]) for entry in entries)
    print(f"{output}: {len(entries)} frames, {total} objects, {len(skipped)} skipped")
