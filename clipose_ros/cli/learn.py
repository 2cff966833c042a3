"""`clipose learn` and `clipose objects`: the library of learned objects."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import cv2
import tyro

from clipose_ros.cli.frame_sources import RecordingSource
from clipose_ros.cli.options import Flag, JsonFlag
from clipose_ros.cli.output_paths import check_output_folder
from clipose_ros.cli.tables import print_json, print_objects
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.validation import expect
from clipose_ros.estimators.compiled_code import find_place_for_compiled_code
from clipose_ros.formats.recorded_frames import JoinSettings
from clipose_ros.formats.recorded_topics import TopicNames
from clipose_ros.formats.recordings import is_recording
from clipose_ros.formats.reference_views import POSES_FILE, check_agreement, check_rotations, read_posed_views
from clipose_ros.formats.whole_files import write_image
from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import BackboneIdentity, ImageTokens, backbone_identity
from clipose_ros.objects.board_views import read_board_views
from clipose_ros.objects.found_masks import find_masks
from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.objects.library import ObjectLibrary, picture_file
from clipose_ros.objects.marker_board import MarkerBoard
from clipose_ros.objects.recorded_views import read_recorded_views
from clipose_ros.rendering.backends import Backend, make_rasterizer


def learn(
    name: Annotated[str, tyro.conf.Positional],
    references: Annotated[Path, tyro.conf.Positional],
    /,
    objects: Path,
    replace: Flag = False,
    every: int = 1,
    board: Flag = False,
    columns: int = MarkerBoard.columns,
    rows: int = MarkerBoard.rows,
    square_mm: float = MarkerBoard.square_mm,
    backbone: str = DEFAULT_BACKBONE,
    models_dir: Path | None = None,
    rasterizer: Backend = "cpu",
    most_views: int = 32,
    topics: Annotated[TopicNames, tyro.conf.arg(name="")] = TopicNames(),
    joins: Annotated[JoinSettings, tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff] = JoinSettings(),
) -> None:
    """Learn an object from views with known poses, or on a printed board, and add it to a library.

    With depth its surface is fused; without, it is what the masks leave (a visual hull), and views must be from all
    sides. Masks that are not there are found: what stands where all cameras look. The views are files, or the frames of
    a recording of a camera that goes around the board. Needs numba: pip install clipose_ros[gspose].

    Parameters
    ----------
    name
        Of the object; masks and messages that carry it go to GS-Pose.
    references
        Folder with NNNN_color.jpg or .png, NNNN_depth.png [mm] (of all views, or of none), NNNN_mask.png (255 on the
        object; found where there is none), poses.json {"NNNN": {"R": 3x3, "t": [3]}} (T_camera_object [m]) and
        intrinsics.json. 4 to 200 views from all sides. Or, with --board, a recording of depth, colour and camera_info:
        an .mcap or .db3 file, or its folder.
    objects
        Folder of the library; made if it is not there.
    replace
        Take the place of an object of this name.
    every
        Take every n-th view, or frame of a recording, only.
    board
        Take poses from the board that the object stands on, which clipose board writes, instead of poses.json. Without
        masks, the object is what stands on it, by depth or else by colour. Views that do not show enough of the board
        are skipped and named.
    columns
        Squares in a row of the board.
    rows
        Squares in a column of the board.
    square_mm
        Side of a square of the board, as measured on paper [mm].
    backbone
        Image backbone whose tokens of the views are kept, to find the object in images without depth: a name in the
        models folder, or a path (with a slash); none: no tokens are kept, and it is found only where there is depth.
    models_dir
        Where to look for the backbone, instead of the usual places.
    rasterizer
        What draws the object: cpu, cuda (needs an NVIDIA GPU and pip install clipose_ros[cuda]), or reference, which
        is slow.
    most_views
        Of a recording: views that are kept at most, sharp ones from the most different places.
    topics
        Topics of a recording; what is not given is found.
    joins
        How the messages of a recording become frames.
    """
    find_place_for_compiled_code()
    from clipose_ros.objects.learning import doubts  # numba comes with it, and takes seconds
    from clipose_ros.objects.learning import learn as learn_object

    start = time.monotonic()
    library = ObjectLibrary(objects)
    library.check_free(name, replace)
    check_output_folder("--objects", objects)
    drawing = make_rasterizer(rasterizer)
    printed = MarkerBoard(columns, rows, square_mm)
    expect(
        "--board",
        board or printed == MarkerBoard(),
        "it beside what it is like",
        "--columns, --rows or --square-mm alone",
    )
    if name in CATEGORIES:
        text = "is a category, too: with several models, the first that answers the name has the object; choose another"
        print(f"{name}: {text}", file=sys.stderr)
    tokens = None if backbone == "none" else ImageTokens(find_model(backbone, models_dir))
    _say("reading the views")
    recorded = is_recording(references)
    if recorded:
        expect("every", every >= 1, "1 or more", every)
        expect("--board", board, f"it for {references}, since a recording has no poses", "none")
        frames = RecordingSource(references, topics, joins, with_masks=False, with_colour=True, doing="views")
        try:
            found = read_recorded_views(references, islice(frames.frames(), None, None, every), printed, most_views)
        finally:
            frames.report()  # what was left out may be why
        _say(found.summary())
        views, masks = found.board_views.references, None
    elif topics != TopicNames() or joins != JoinSettings():
        raise ValueError(f"{references}: expected a recording, since there are options of one, got something else")
    elif board:
        found = read_board_views(references, printed, every)
        _say(found.summary())
        views, masks = found.references, found.found
    else:
        views, blank = read_posed_views(references, every)
        masks = None
        if blank:
            _say(f"no masks of {len(blank)} of {len(views.views)} views: finding them")
            masks = find_masks(views, blank)
            _say(masks.summary())
            views = masks.references
        check_agreement(references / POSES_FILE, views)
        check_rotations(references / POSES_FILE, views)
    lesson = learn_object(name, views, drawing, _say, tokens, masks)
    library.add(lesson.learned, replace)
    picture = picture_file(objects, name)
    write_image(picture, cv2.cvtColor(lesson.picture, cv2.COLOR_RGB2BGR))
    quality = ", ".join(f"{key} {value:g}" for key, value in lesson.learned.quality.items())
    print(f"{name}: learned in {time.monotonic() - start:.0f} s ({quality}); renders beside views: {picture}")
    if masks is not None:
        print(
            f"{name}: masks of {len(masks.found)} views were found by {masks.by}: look at their outlines in {picture}"
        )
    for doubt in doubts(lesson.learned.quality):
        print(f"{name}: {doubt}", file=sys.stderr)


def objects(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    remove: str | None = None,
    models_dir: Path | None = None,
    as_json: JsonFlag = False,
) -> None:
    """List the objects of a library, or remove one.

    Objects whose tokens another image backbone made than the one that is here are named: --segmenter objects refuses
    them.

    Parameters
    ----------
    folder
        Of the library, as clipose learn makes it.
    remove
        Name of an object to delete.
    models_dir
        Where to look for the backbone, instead of the usual places.
    as_json
        Print JSON instead of a table.
    """
    expect(str(folder), folder.is_dir(), "a folder of learned objects (see clipose learn)", "none")
    library = ObjectLibrary(folder)
    if remove is not None:
        library.remove(remove)
        print(f"{folder}: {remove} removed, {len(library.names)} left")
        return
    rows = []
    for name in library.names:
        try:
            rows.append(library.read(name))
        except ValueError as error:  # the others can be listed all the same
            print(error, file=sys.stderr)
    for doubt in library.halves():
        print(doubt, file=sys.stderr)
    if not library.names:
        _say(f"{folder}: no learned objects; clipose learn adds one")
    here = _backbone_here(models_dir) if any(learned.tokens for learned in rows) else None
    facts = [_facts(learned, here) for learned in rows]
    for learned, fact in zip(rows, facts):
        if fact["backbone_is_here"] is False:
            made = learned.tokens.backbone
            print(
                f"{learned.name}: expected tokens of the image backbone {here}, got those of {made}; "
                "--segmenter objects refuses them: learn the object again (clipose learn --replace), or give a "
                "--segmenter-model with that backbone",
                file=sys.stderr,
            )
    if as_json:
        print_json(facts)
    else:
        print_objects(facts, folder)


def _backbone_here(models_dir: Path | None) -> BackboneIdentity | None:
    """The backbone that objects are found by; None where there is none, which is said."""
    try:
        return backbone_identity(find_model(DEFAULT_BACKBONE, models_dir))
    except ValueError as error:  # the objects can be listed all the same
        print(f"what finds objects without depth is not here: {error}", file=sys.stderr)
        return None


def _facts(learned: LearnedObject, here: BackboneIdentity | None) -> dict:
    made = learned.tokens.backbone if learned.tokens else None
    return {
        "name": learned.name,
        "size": [round(float(extent), 4) for extent in learned.size],
        "symmetry": str(learned.symmetry),
        "half_turns": list(learned.half_turns),
        "discs": len(learned.points),
        "backbone": made.name if made else "none",
        "backbone_is_here": made.sha256 == here.sha256 if made and here else None,
        **learned.quality,
    }


def _say(step: str) -> None:
    print(f"{step} …", file=sys.stderr, flush=True)
