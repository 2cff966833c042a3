"""`clipose learn` and `clipose objects`: the library of learned objects."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import cv2
import tyro

from clipose_ros.cli.options import Flag, JsonFlag
from clipose_ros.cli.output_paths import check_output_folder
from clipose_ros.cli.tables import print_json, print_objects
from clipose_ros.core.validation import expect
from clipose_ros.estimators.compiled_code import find_place_for_compiled_code
from clipose_ros.formats.reference_views import POSES_FILE, check_agreement, read_posed_views
from clipose_ros.formats.whole_files import write_image
from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.objects.board_views import read_board_views
from clipose_ros.objects.found_masks import find_masks
from clipose_ros.objects.library import ObjectLibrary, picture_file
from clipose_ros.objects.marker_board import MarkerBoard
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
) -> None:
    """Learn an object from views with known poses, or on a printed board, and add it to a library.

    With depth its surface is fused; without, it is what the masks leave (a visual hull), and views must be from all
    sides. Masks that are not there are found: what stands where all cameras look. Needs numba: pip install
    clipose_ros[gspose].

    Parameters
    ----------
    name
        Of the object; masks and messages that carry it go to GS-Pose.
    references
        Folder with NNNN_color.jpg or .png, NNNN_depth.png [mm] (of all views, or of none), NNNN_mask.png (255 on the
        object; found where there is none), poses.json {"NNNN": {"R": 3x3, "t": [3]}} (T_camera_object [m]) and
        intrinsics.json. 4 to 200 views from all sides.
    objects
        Folder of the library; made if it is not there.
    replace
        Take the place of an object of this name.
    every
        Take every n-th view only.
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
    tokens = None if backbone == "none" else ImageTokens(find_model(backbone, models_dir))
    _say("reading the views")
    if board:
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
    as_json: JsonFlag = False,
) -> None:
    """List the objects of a library, or remove one.

    Parameters
    ----------
    folder
        Of the library, as clipose learn makes it.
    remove
        Name of an object to delete.
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
    if as_json:
        print_json([_facts(learned) for learned in rows])
    else:
        print_objects([_facts(learned) for learned in rows], folder)


def _facts(learned) -> dict:
    return {
        "name": learned.name,
        "size": [round(float(extent), 4) for extent in learned.size],
        "symmetry": str(learned.symmetry),
        "half_turns": list(learned.half_turns),
        "discs": len(learned.points),
        "backbone": learned.tokens.backbone.name if learned.tokens else "none",
        **learned.quality,
    }


def _say(step: str) -> None:
    print(f"{step} …", file=sys.stderr, flush=True)
