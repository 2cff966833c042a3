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
    """One thing that was looked at.

    Parameters
    ----------
    level : Level
        How bad it is.
    subject : str
        What was looked at, as `section: thing`.
    text : str
        What was found.
    cure : str
        What to do about it. Empty where all is well.
    """

    level: Level
    subject: str
    text: str
    cure: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the fields for a JSON file.

        Returns
        -------
        dict
            The fields by name. The level is its name, too.
        """
        return asdict(self) | {"level": self.level.name}

    def sentence(self) -> str:
        """Say it in one line, as the last words of a node that cannot start.

        Returns
        -------
        str
            Subject, text and cure.
        """
        return f"{self.subject}: {self.text}" + (f". Try: {self.cure}" if self.cure else "")


def ok(subject: str, text: str) -> Finding:
    """Find that all is well.

    Parameters
    ----------
    subject, text : str
        See `Finding`.

    Returns
    -------
    Finding
        Of level OK.
    """
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, cure: str) -> Finding:
    """Find that it may work, or that something is lost.

    Parameters
    ----------
    subject, text, cure : str
        See `Finding`.

    Returns
    -------
    Finding
        Of level WARN.
    """
    return Finding(Level.WARN, subject, text, cure)


def fail(subject: str, text: str, cure: str) -> Finding:
    """Find that it will not work.

    Parameters
    ----------
    subject, text, cure : str
        See `Finding`.

    Returns
    -------
    Finding
        Of level FAIL.
    """
    return Finding(Level.FAIL, subject, text, cure)


def worst(findings: Sequence[Finding]) -> Level:
    """Find the highest level.

    Parameters
    ----------
    findings : sequence of Finding
        May be empty.

    Returns
    -------
    Level
        OK where there is none.
    """
    return max((finding.level for finding in findings), default=Level.OK)
