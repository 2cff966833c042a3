"""REAL275 and CAMERA25 as published, as rows of `training.views`.

    python -m training.nocs --root DIR --split real_train --output data/real_train --workers 2
"""

from __future__ import annotations

from training.nocs.files import SPLITS
from training.nocs.rows import MEASURED_ARRAYS, NocsConfig, NocsViews, Skipped, collate

__all__ = ["MEASURED_ARRAYS", "SPLITS", "NocsConfig", "NocsViews", "Skipped", "collate"]
