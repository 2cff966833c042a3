"""`clipose evaluate`: accuracy of poses, of NOCS result pickles, or of segments."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from clipose_ros.cli.options import Flag, JsonFlag
from clipose_ros.cli.output_paths import check_plot_file
from clipose_ros.cli.tables import (
    print_evaluation,
    print_json,
    print_novel,
    print_precision,
    print_segmentation,
    tracked,
)
from clipose_ros.core.validation import expect
from clipose_ros.evaluation.nocs_protocol import GATE, IouVariant, MugRotation, NocsProtocol
from clipose_ros.evaluation.nocs_protocol import evaluate as evaluate_nocs
from clipose_ros.evaluation.novel_objects import evaluate_novel, parse_half_turns, read_models
from clipose_ros.evaluation.poses import evaluate as evaluate_poses
from clipose_ros.evaluation.precision_plot import plot_precision
from clipose_ros.evaluation.segmentation import evaluate as evaluate_segments
from clipose_ros.evaluation.segmentation import true_frames
from clipose_ros.formats.nocs_results import read_results, result_files
from clipose_ros.formats.pose_files import read_poses, read_reference_origins, read_truth, read_view_truth
from clipose_ros.formats.text_files import read_json


def evaluate(
    poses: Path | None = None,
    truth: Path | None = None,
    either_end: tuple[str, ...] = (),
    results: Path | None = None,
    segments: Path | None = None,
    iou: IouVariant = NocsProtocol.iou,
    mugs: MugRotation = NocsProtocol.mugs,
    recentre_mugs: Flag = NocsProtocol.recentre_mugs,
    plot: Path | None = None,
    models: Path | None = None,
    half_turn: tuple[str, ...] = (),
    by_place: Flag = False,
    as_json: JsonFlag = False,
) -> None:
    """Score poses.json against truth.json, NOCS result pickles by the protocol of REAL275 and CAMERA25, or segments.

    Of poses.json: the share of the objects within n degrees and m centimetres; misses and rejections are wrong.
    Of results: average precision over IoU and over pose errors, as in papers (gated: what does not match at IoU 0.1 is
    left out) and ungated.
    Of segments: the share of the objects found (IoU 0.5) and found well (0.75), how many of those have the right
    category, the share of the instances that are objects, and overlap F, which counts pixels.

    Parameters
    ----------
    poses
        As `clipose estimate` writes it.
    truth
        The same fields, with a pose for every object. A mug with handle_visibility 0 counts by its axis, and the mugs
        get a second row by their whole rotation. Where instances are lying (true or false), what lies and what stands
        get rows of their own, which are not in the mean. With --segments: the folder with NNNN_true_mask.png and
        NNNN_meta.txt.
    either_end
        Categories of the truth that are right up to a half turn that swaps their ends, so that the y axis may point
        either way: for objects whose ends look alike.
    results
        Folder of result pickles, or one file, instead of poses and truth. The options below are for it alone.
    segments
        Folder of `clipose segment`, instead of poses.
    iou
        Original is NOCS's as published, with its mistake in the bounds of a box; catre takes boxes along the camera's
        axes. The gate of the pose precision uses the same.
    mugs
        Published scores a mug without visible handle by its axis; full always scores its whole rotation.
    recentre_mugs
        Put the origin of mugs, estimated and true, on the axis of the body, as object-deformnet does.
    plot
        Picture of average precision against the thresholds to write (needs matplotlib).
    models
        Of learned objects: an npz file with NAME_points (N, 3) [m], in the frame of the references, and NAME_diameter
        [m]. Then ADD and ADD-S are counted, and the truth may be the poses.json of reference views.
    half_turn
        NAME:AXES, objects of which half a turn about an axis is right, too: milk:y box:xyz.
    by_place
        For objects that were found without masks (--segmenter), whose numbers are their own: in each frame pair true
        objects and poses of one name, the nearest by their centres, or by ADD with --models, and count the poses of no
        object.
    as_json
        Print JSON instead of a table.
    """
    if models and poses and truth and not (results or plot or either_end or segments):
        _evaluate_novel(poses, truth, models, half_turn, by_place, as_json)
        return
    expect("--by-place", not by_place or (poses and truth), "--poses and --truth with it", "others")
    expect("--half-turn", not half_turn, "--poses, --truth and --models with it", ", ".join(half_turn))
    expect("--models", not models, "--poses and --truth with it, and no --results, --plot, --either-end", models)
    if segments and truth and not (poses or results or plot or either_end):
        _evaluate_segments(segments, truth, as_json)
    elif results and not (poses or truth or either_end or segments):
        _evaluate_results(results, NocsProtocol(iou, mugs, recentre_mugs), plot, as_json)
    elif poses and truth and not (results or plot or segments):
        swappable = [name for names in either_end for name in names.split(",") if name]
        evaluation = evaluate_poses(read_poses(poses), read_truth(truth), swappable, by_place)
        for doubt in evaluation.doubts:
            print(f"{poses}: {doubt}", file=sys.stderr)
        if as_json:
            print_json(evaluation.as_json())
        else:
            print_evaluation(evaluation)
    else:
        files = {"--poses": poses, "--truth": truth, "--results": results, "--segments": segments}
        given = {**files, "--either-end": either_end, "--plot": plot}
        names = " ".join(name for name, value in given.items() if value) or "none"
        raise ValueError(
            "evaluate: expected --poses with --truth (and --either-end), --segments with --truth, or --results "
            f"(and --plot), got {names}"
        )


def _evaluate_segments(segments: Path, truth: Path, as_json: bool) -> None:
    scores, skipped = evaluate_segments(segments, truth, tracked(true_frames(truth), "frames"))
    if as_json:
        print_json({**scores.as_json(), "skipped": skipped})
    else:
        print_segmentation(scores, skipped)


def _evaluate_novel(
    poses: Path, truth: Path, models: Path, half_turn: tuple[str, ...], by_place: bool, as_json: bool
) -> None:
    read, turns, estimated = read_models(models), parse_half_turns(half_turn), read_poses(poses)
    if isinstance(read_json(truth), dict):  # of reference views, which show one object
        names = sorted({pose.category for pose in estimated.values()})
        expect(str(poses), len(names) == 1, "poses of one object, as the truth is of reference views", ", ".join(names))
        right, true_origins = read_view_truth(truth, names[0]), {}
    else:
        right, true_origins = read_truth(truth), read_reference_origins(truth)
    evaluation = evaluate_novel(estimated, read_reference_origins(poses), right, true_origins, read, turns, by_place)
    if as_json:
        print_json(evaluation.as_json())
    else:
        print_novel(evaluation)


def _evaluate_results(path: Path, protocol: NocsProtocol, plot: Path | None, as_json: bool) -> None:
    check_plot_file("--plot", plot)
    files = result_files(path)
    results = read_results(tracked(files, "results"))
    precision = evaluate_nocs(results.images, protocol)
    if plot:
        plot_precision(precision, protocol, plot)
    if as_json:
        counts = {"images": len(results.images), "skipped": results.skipped, "remarks": results.remarks}
        gate = {"iou": protocol.iou, "above": GATE / 100}
        print_json({**precision.as_json(), **counts, "protocol": asdict(protocol), "pose_gate": gate})
    else:
        print_precision(precision, results, protocol)
