"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import tyro

JsonFlag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")]
