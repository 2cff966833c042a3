"""Which files of a folder belong to which frame.

Cameras and other systems write `.JPG`, `.jpeg` and names in capitals, number frames without leading zeros, and leave
hidden files behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

DIGITS = re.compile(r"(\d+)")


class FrameFiles:
    """The files of a folder, by the ends of their names: those in small letters, else those in others.

    Hidden files are none of them: macOS puts a `._0000_depth.png` beside each file of an archive.

    Parameters
    ----------
    folder : Path
        That is there.

    Attributes
    ----------
    names : list of str
        Of all files and folders in it that are not hidden, sorted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        self._others: dict[tuple[str, str], str] = {}
        for name in self.names:
            frame, _, kind = name.rpartition("_")
            self._others.setdefault((frame, kind.lower()), name)

    def find(self, frame: str, kinds: Sequence[str]) -> Path:
        """Find a file of a frame.

        Parameters
        ----------
        frame : str
            What its name begins with.
        kinds : sequence of str
            What may follow the underscore, in small letters: `color.png`, `color.jpg`. The first that is there counts.

        Returns
        -------
        Path
            Of the file; where there is none, the path that it should have.
        """
        for kind in kinds:
            path = self._folder / f"{frame}_{kind}"
            if path.exists():
                return path
        other = next((name for kind in kinds if (name := self._others.get((frame, kind)))), f"{frame}_{kinds[0]}")
        return self._folder / other

    def beside(self, frame: str, kind: str) -> list[str]:
        """List the files of a frame and a kind, whatever they end with.

        Parameters
        ----------
        frame : str
            What their names begin with.
        kind : str
            What follows the underscore: `mask`.

        Returns
        -------
        list of str
            Their names, sorted.
        """
        return [name for name in self.names if name.lower().startswith(f"{frame}_{kind}.".lower())]


def in_natural_order(names: Sequence[str]) -> list[str]:
    """Sort names by the numbers in them: 2 comes before 10.

    Parameters
    ----------
    names : sequence of str
        Of frames.

    Returns
    -------
    list of str
        Each once.
    """
    return sorted(set(names), key=lambda name: ([int(p) if p.isdecimal() else p for p in DIGITS.split(name)], name))
