"""Pictures for printing, which say how large they are on paper: PNG, and PDF with one page."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.formats.whole_files import whole_file

SUFFIXES = (".png", ".pdf")
HEADER_BYTES = 33  # of a PNG: the signature and the first chunk, after which the size on paper may stand
POINTS_PER_MM = 72 / 25.4


def check_print_file(option: str, path: Path) -> None:
    """Refuse files that no picture can be written to for printing.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path
        Of the file.

    Raises
    ------
    ValueError
        For other endings than .png and .pdf.
    """
    expect(option, path.suffix.lower() in SUFFIXES, f"a file that ends with {' or '.join(SUFFIXES)}", path)


def write_for_printing(path: Path, grey: np.ndarray, pixels_per_mm: float) -> None:
    """Write a picture with its size on paper.

    Parameters
    ----------
    path : Path
        Ending with .png or .pdf; folders that are not there are made.
    grey : (H, W) uint8
        The picture.
    pixels_per_mm : float
        Its size.

    Raises
    ------
    ValueError
        As `check_print_file`.
    OSError
        As `whole_file`.
    """
    check_print_file("output", path)
    content = _png(grey, pixels_per_mm) if path.suffix.lower() == ".png" else _pdf(grey, pixels_per_mm)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content)


def _png(grey: np.ndarray, pixels_per_mm: float) -> bytes:
    encoded = cv2.imencode(".png", grey)[1].tobytes()
    per_metre = round(1000 * pixels_per_mm)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    size = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return encoded[:HEADER_BYTES] + size + encoded[HEADER_BYTES:]


def _pdf(grey: np.ndarray, pixels_per_mm: float) -> bytes:
    """A page as large as the picture, with nothing else on it."""
    height, width = grey.shape
    wide, high = (extent / pixels_per_mm * POINTS_PER_MM for extent in (width, height))
    drawn = f"q {wide:.4f} 0 0 {high:.4f} 0 0 cm /Im0 Do Q".encode()
    pixels = zlib.compress(np.ascontiguousarray(grey).tobytes(), 9)
    image = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {wide:.4f} {high:.4f}] /Contents 4 0 R "
        "/Resources << /XObject << /Im0 5 0 R >> >> >>".encode(),
        _stream(b"", drawn),
        _stream(f"{image} /BitsPerComponent 8 /Filter /FlateDecode".encode(), pixels),
    )
    content, starts = b"%PDF-1.6\n", []
    for number, one in enumerate(objects, start=1):
        starts.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    end = b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table)
    end += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + end


def _stream(facts: bytes, content: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (facts, len(content), content)
