"""The rows that the segmenter's training reads: `training.scenes` writes them."""

from __future__ import annotations

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.segmenters.depth_channels import GRID_HEIGHT, GRID_WIDTH

WIDTH, HEIGHT = GRID_WIDTH, GRID_HEIGHT
MOST_OBJECTS = 12
IGNORED = 255  # in the labels: an object of which too little is seen to ask for it
OTHER_CATEGORY = "other"
SEGMENT_CATEGORIES = (*CATEGORIES, OTHER_CATEGORY)
NOTHING = len(SEGMENT_CATEGORIES)  # what a crop shows that shows no object
DEPTH_UNIT_M = 1e-3 / 4  # of the stored uint16

SCENE_ARRAYS = {
    "depth": "(HEIGHT, WIDTH) uint16 clean depth [DEPTH_UNIT_M]; 0 where nothing is",
    "label": "(HEIGHT, WIDTH) uint8: 0 background, 1 to MOST_OBJECTS, or IGNORED",
    "category": "(MOST_OBJECTS,) uint8 index into SEGMENT_CATEGORIES of the objects 1 to MOST_OBJECTS",
    "intrinsics": "(4,) float32 fx, fy, cx, cy [px]",
    "surface": "(4,) float32 up (3), camera frame, and offset [m] of the surface found, NaN where none is",
}
