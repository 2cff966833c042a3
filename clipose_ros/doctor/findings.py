"""What `clipose doctor` says: one finding for each thing that it looked at, with the cure of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """OK: as it should be. WARN: it may work, or something is lost. FAIL: no poses, or wrong ones."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Finding:
    """subject: what was looked at, as `section: thing`; text: what was found; cure: what to do about it, empty where
    all is well.
    """

    level: Level
    subject: str
    text: str
    cure: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields, with the level as its name."""
        return asdict(self) | {"level": self.level.name}


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, cure: str) -> Finding:
    """It may work."""
    return Finding(Level.WARN, subject, text, cure)


def fail(subject: str, text: str, cure: str) -> Finding:
    """It will not work."""
    return Finding(Level.FAIL, subject, text, cure)


def worst(findings: Sequence[Finding]) -> Level:
    """The highest level, OK of none."""
    return max((finding.level for finding in findings), default=Level.OK)
