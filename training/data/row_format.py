"""The rows that training reads: one view each, as arrays. `training.views` and `training.nocs` write them.

`VIEW_ARRAYS` are always there. Three more may be:

- `measured`: depth and mask are those of a real sensor, so the sensor model leaves them alone;
- `surface`: normal · p = offset of the table below the object, camera frame, as (normal, offset [m]); zero where it is
  not known;
- `colour`: RGB of the same crop, all zero where there is no picture. Its side is that of the shard, `LEAST_COLOUR_PX`
  to `COLOUR_PX`. Both crops show the same square: the centre of crop pixel (i, j) lies at ((i + 0.5) / GRID,
  (j + 0.5) / GRID) of the sides of either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GRID = 72  # crop side [crop pixels]
COLOUR_PX = 224  # largest side of a colour crop [px], as CLIP sees it
LEAST_COLOUR_PX = 16
SMALL_COLOUR_PX = 96  # of crops for small backbones: 28 kB a row instead of 151
DEPTH_UNIT_M = 1e-4  # of the stored uint16
FAR_M = 6.0  # depth beyond which nothing is stored
MARGIN = 0.12  # of the box side, around the object in its crop
BACKGROUND, TARGET, OTHER = 0, 1, 2

VIEW_ARRAYS = {
    "depth": "(GRID, GRID) uint16 clean depth [DEPTH_UNIT_M]; 0 outside the image",
    "label": "(GRID, GRID) uint8: BACKGROUND, TARGET, OTHER",
    "rays": "(4,) float32: a crop pixel (column i, row j) looks along (r0 + i r1, r2 + j r3, 1)",
    "pixels": "() float32: image pixels per crop pixel",
    "rotation": "(3, 3) float32 R_camera_object",
    "translation": "(3,) float32 [m]",
    "size": "(3,) float32 [m]",
    "category": "() int64 index into CATEGORIES",
    "cue": "() float32: share of the visible pixels that show the part that tells the heading (handle, screen, lens)",
}

# shape and type of each array's row; those of `VIEW_ARRAYS`, then the optional ones
ROW_TYPES: dict[str, tuple[tuple[int, ...], Any]] = {
    "depth": ((GRID, GRID), np.uint16),
    "label": ((GRID, GRID), np.uint8),
    "rays": ((4,), np.float32),
    "pixels": ((), np.float32),
    "rotation": ((3, 3), np.float32),
    "translation": ((3,), np.float32),
    "size": ((3,), np.float32),
    "category": ((), np.int64),
    "cue": ((), np.float32),
    "measured": ((), np.bool_),
    "surface": ((4,), np.float32),
    "colour": ((COLOUR_PX, COLOUR_PX, 3), np.uint8),
}
OPTIONAL = ("measured", "surface", "colour")
