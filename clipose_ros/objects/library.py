"""The library of learned objects: a folder."""

from __future__ import annotations

from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.objects.learned_object import (
    LearnedObject,
    arrays_file,
    card_file,
    check_name,
    read_object,
    write_object,
)

MOST_OBJECTS = 1000


class ObjectLibrary:
    """Learned objects in a folder.

    Parameters
    ----------
    folder : Path
        Each object has NAME.npz and NAME.yaml in it, and perhaps NAME.png, a picture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objects, sorted; none where there is no folder."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.stem for path in self.folder.glob("*.yaml") if path.with_suffix(".npz").is_file()))

    def read(self, name: str) -> LearnedObject:
        """Read an object.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        LearnedObject
            Checked.

        Raises
        ------
        ValueError
            If there is none of this name, or its files are broken; then with what to do to go on with the others.
        """
        expect("object", name in self.names, f"one of {', '.join(self.names) or '(none)'} in {self.folder}", name)
        try:
            return read_object(self.folder, name)
        except ValueError as error:
            cure = f"to go on with the others: clipose objects {self.folder} --remove {name}, or learn it again"
            raise ValueError(f"{error}; {cure}") from error

    def read_all(self) -> list[LearnedObject]:
        """Read all objects.

        Returns
        -------
        list of LearnedObject
            Sorted by name.

        Raises
        ------
        ValueError
            If the folder is missing or holds no object, or one is broken.
        """
        expect("objects", self.folder.is_dir(), "a folder of learned objects (see clipose learn)", self.folder)
        names = self.names
        expect(str(self.folder), names, "at least one learned object (see clipose learn)", "none")
        expect(str(self.folder), len(names) <= MOST_OBJECTS, f"at most {MOST_OBJECTS} objects", len(names))
        return [self.read(name) for name in names]

    def check_free(self, name: str, replace: bool) -> None:
        """Refuse a name that is taken, or no name.

        Parameters
        ----------
        name : str
            Of a new object.
        replace : bool
            Whether it may be taken.

        Raises
        ------
        ValueError
            If the name cannot be used.
        """
        check_name(name)
        taken = not replace and name in self.names
        expect("name", not taken, f"a name that {self.folder} has not yet, or --replace", name)

    def halves(self) -> list[str]:
        """Name what is left of objects of which one of the two files is missing: they are not in `names`.

        Returns
        -------
        list of str
            A sentence for each, with the cure.
        """
        if not self.folder.is_dir():
            return []
        found = []
        for file in sorted([*self.folder.glob("*.yaml"), *self.folder.glob("*.npz")]):
            other = file.with_suffix(".npz" if file.suffix == ".yaml" else ".yaml")
            if file.is_file() and not other.is_file():
                found.append(
                    f"{file}: expected {other.name} beside it, got none: half of an object, which nobody estimates; "
                    f"clipose objects {self.folder} --remove {file.stem}, or learn it again"
                )
        return found

    def add(self, learned: LearnedObject, replace: bool = False) -> None:
        """Add an object.

        Parameters
        ----------
        learned : LearnedObject
            The object.
        replace : bool
            Whether it may take the place of one of its name.

        Raises
        ------
        ValueError
            If there is one of its name already.
        """
        self.check_free(learned.name, replace)
        write_object(learned, self.folder)

    def remove(self, name: str) -> None:
        """Delete an object and its picture, or what is left of it.

        Parameters
        ----------
        name : str
            One of `names`, or of `halves`.

        Raises
        ------
        ValueError
            If there is none of this name.
        """
        check_name(name)
        files = [card_file(self.folder, name), arrays_file(self.folder, name)]
        there = any(file.is_file() for file in files)
        expect("object", there, f"one of {', '.join(self.names) or '(none)'} in {self.folder}", name)
        for file in (*files, picture_file(self.folder, name)):
            file.unlink(missing_ok=True)


def picture_file(folder: Path, name: str) -> Path:
    """Path of an object's picture: renders beside views.

    Parameters
    ----------
    folder : Path
        Of the library.
    name : str
        Of the object.

    Returns
    -------
    Path
        NAME.png.
    """
    return folder / f"{name}.png"
