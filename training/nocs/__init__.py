"""REAL275 and CAMERA25 as published, as rows of `training.data.row_format`.

python -m training.nocs --root DIR --split real_train --output data/real_train --workers 2
"""

from __future__ import annotations

from training.nocs.files import SPLITS, Unusable
from training.nocs.rows import NocsConfig, NocsViews

__all__ = ["SPLITS", "NocsConfig", "NocsViews", "Unusable"]
