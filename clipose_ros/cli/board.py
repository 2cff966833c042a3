"""`clipose board`: a board to print, on which objects are learned."""

from __future__ import annotations

from pathlib import Path

from clipose_ros.cli.output_paths import check_output_file
from clipose_ros.formats.print_files import check_print_file, write_for_printing
from clipose_ros.objects.marker_board import DPI, MarkerBoard, picture_of_board


def board(
    output: Path,
    columns: int = MarkerBoard.columns,
    rows: int = MarkerBoard.rows,
    square_mm: float = MarkerBoard.square_mm,
    dpi: float = DPI,
) -> None:
    """Write a ChArUco board for printing: clipose learn --board takes the poses of views from it.

    Print it at 100 % (not "fit to page"), glue it onto something flat, and measure a square: the sizes and a line of
    100 mm are written below the squares. The defaults fit onto A4 and Letter.

    Parameters
    ----------
    output
        A .png, which says how large it is on paper, or a .pdf.
    columns
        Squares in a row.
    rows
        Squares in a column.
    square_mm
        Side of a square [mm].
    dpi
        Pixels in an inch, about.
    """
    check_print_file("--output", output)
    check_output_file("--output", output)
    printed = MarkerBoard(columns, rows, square_mm)
    picture, per_mm = picture_of_board(printed, dpi)
    write_for_printing(output, picture, per_mm)
    width_mm, height_mm = (extent / per_mm for extent in picture.shape[::-1])
    print(
        f"{output}: {columns} x {rows} squares of {square_mm:g} mm on {width_mm:.0f} x {height_mm:.0f} mm of paper; "
        "print it at 100 %, and give what a square measures: clipose learn … --board --square-mm"
    )
