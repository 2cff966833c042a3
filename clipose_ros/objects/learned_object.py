"""A learned object: what it is, and its safe file.

NAME.npz holds plain arrays, and NAME.yaml its card: version, digest of the arrays, size, symmetry, quality, and the
image backbone that made its tokens, where it has some.
Nothing in them can run code; sizes are bounded before memory is taken.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.validation import expect
from clipose_ros.formats.whole_files import whole_file
from clipose_ros.inference.image_tokens import BackboneIdentity
from clipose_ros.objects.object_tokens import TOKEN_ROWS, WIDEST, ObjectTokens

VERSION, WITH_TOKENS = 1, 2  # without tokens, as it always was, and with them
MOST_SURFELS = 50_000
MOST_BYTES = 16 * 1024 * 1024
MOST_CARD_BYTES = 64 * 1024
LARGEST_M = 10.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ARRAYS = {"points": ("<f4", 3), "normals": ("<f4", 3), "colours": ("<f4", 3), "seen": ("|b1", 0)}
TOKEN_ARRAYS = {f"token_{key}": key for key in TOKEN_ROWS}


@dataclass(frozen=True)
class LearnedObject:
    """An object as discs on its surface. Its frame has the axes of the reference poses; its origin is its box's centre.

    Parameters
    ----------
    name : str
        Letters, digits, `_`, `-` and `.`; at most 64.
    points : (N, 3) float32
        Centres of the discs [m].
    normals : (N, 3) float32
        Outwards, of length 1.
    colours : (N, 3) float32
        RGB, 0..1.
    seen : (N,) bool
        False for discs that close what no view saw.
    spacing_m : float
        Between neighbouring discs, about [m].
    size : (3,) float
        Full extents of the tight box [m].
    centre : (3,) float
        Of the box, in the frame of the reference poses [m].
    symmetry : Symmetry
        Turns that leave it looking the same.
    half_turns : tuple of str
        Axes about which half a turn leaves it looking the same: it was found so, and is for people to read.
    quality : mapping
        How well it was learned, for people to read.
    tokens : ObjectTokens, optional
        What it looks like to an image backbone; None where it was learned without one.

    Raises
    ------
    ValueError
        If a value is out of its bounds.
    """

    name: str
    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    seen: np.ndarray
    spacing_m: float
    size: np.ndarray
    centre: np.ndarray
    symmetry: Symmetry = Symmetry.NONE
    half_turns: tuple[str, ...] = ()
    quality: Mapping[str, float] = field(default_factory=dict)
    tokens: ObjectTokens | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        count = len(self.points)
        expect("points", 50 <= count <= MOST_SURFELS, f"50 to {MOST_SURFELS} discs", count)
        for key, (kind, width) in ARRAYS.items():
            array = getattr(self, key)
            shape = (count, width) if width else (count,)
            expect(key, array.shape == shape and array.dtype == np.dtype(kind), f"{shape} {kind}", array.shape)
            expect(key, np.isfinite(array).all(), "finite values", "NaN or infinity")
        expect("points", np.abs(self.points).max() < LARGEST_M, f"less than {LARGEST_M} m", "more")
        lengths = np.linalg.norm(self.normals, axis=1)
        expect("normals", np.allclose(lengths, 1, atol=1e-2), "unit vectors", f"lengths from {lengths.min():.3g}")
        expect("seen", self.seen.any(), "at least one disc that was seen", "none")
        bounded = self.size.shape == (3,) and (self.size > 0).all() and (self.size < LARGEST_M).all()
        expect("size", bounded, f"three extents in 0..{LARGEST_M} m", self.size)
        expect("centre", self.centre.shape == (3,) and np.isfinite(self.centre).all(), "3 finite numbers", self.centre)
        expect("spacing_m", 0 < self.spacing_m < LARGEST_M, "a positive length", self.spacing_m)

    @property
    def diagonal_m(self) -> float:
        """Of the tight box [m]."""
        return float(np.linalg.norm(self.size))


def is_same(one: LearnedObject, other: LearnedObject) -> bool:
    """Say whether two objects are the same.

    Parameters
    ----------
    one, other : LearnedObject
        What to compare.

    Returns
    -------
    bool
        True if all that an estimator uses is equal.
    """
    arrays = all(np.array_equal(getattr(one, key), getattr(other, key)) for key in (*ARRAYS, "size", "centre"))
    plain = ("name", "spacing_m", "symmetry", "half_turns")
    if not arrays or any(getattr(one, key) != getattr(other, key) for key in plain):
        return False
    if one.tokens is None or other.tokens is None:
        return one.tokens is other.tokens
    same = all(np.array_equal(getattr(one.tokens, key), getattr(other.tokens, key)) for key in TOKEN_ROWS)
    return same and one.tokens.backbone == other.tokens.backbone


def check_name(name: str) -> None:
    """Refuse names that are no safe file names.

    Parameters
    ----------
    name : str
        Of an object.

    Raises
    ------
    ValueError
        If it is none.
    """
    safe = isinstance(name, str) and NAME.fullmatch(name)
    expect("name", safe, "1 to 64 letters, digits, `_`, `-` or `.`, the first a letter or digit", repr(name))


def write_object(learned: LearnedObject, folder: Path) -> None:
    """Write an object's two files, or neither: on a full disk, the object of before stays.

    Parameters
    ----------
    learned : LearnedObject
        What to write.
    folder : Path
        Of the library; made if it is not there.

    Raises
    ------
    OSError
        As `whole_file`.
    """
    buffer, tokens = io.BytesIO(), learned.tokens
    arrays = {key: getattr(learned, key).astype(kind) for key, (kind, _) in ARRAYS.items()}
    if tokens is not None:
        arrays |= {key: getattr(tokens, of_tokens).astype("<f2") for key, of_tokens in TOKEN_ARRAYS.items()}
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    card = {
        "version": VERSION if tokens is None else WITH_TOKENS,
        "name": learned.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "spacing_m": float(learned.spacing_m),
        "size": [float(extent) for extent in learned.size],
        "centre": [float(coordinate) for coordinate in learned.centre],
        "symmetry": str(learned.symmetry),
        "half_turns": list(learned.half_turns),
        "quality": {key: float(value) for key, value in learned.quality.items()},
    }
    if tokens is not None:
        card["backbone"] = {"name": tokens.backbone.name, "sha256": tokens.backbone.sha256}
    text = yaml.safe_dump(card, sort_keys=False)
    # neither takes its place before both are written
    with whole_file(arrays_file(folder, learned.name)) as data, whole_file(card_file(folder, learned.name)) as words:
        data.write_bytes(content)
        words.write_text(text, encoding="utf-8")


def arrays_file(folder: Path, name: str) -> Path:
    """Path of an object's arrays.

    Parameters
    ----------
    folder : Path
        Of the library.
    name : str
        Of the object.

    Returns
    -------
    Path
        NAME.npz.
    """
    return folder / f"{name}.npz"


def card_file(folder: Path, name: str) -> Path:
    """Path of an object's card.

    Parameters
    ----------
    folder : Path
        Of the library.
    name : str
        Of the object.

    Returns
    -------
    Path
        NAME.yaml.
    """
    return folder / f"{name}.yaml"


def read_object(folder: Path, name: str) -> LearnedObject:
    """Read an object and check it.

    Parameters
    ----------
    folder : Path
        Of the library.
    name : str
        Of the object.

    Returns
    -------
    LearnedObject
        As it was written.

    Raises
    ------
    ValueError
        With the path, where a file is missing, too large, malformed, of another version, or not the card's.
    """
    check_name(name)
    path = card_file(folder, name)
    try:
        return _read(folder, name)
    except (TypeError, KeyError, OSError, yaml.YAMLError, zipfile.BadZipFile, RecursionError) as error:
        raise ValueError(f"{path}: expected a learned object, got {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(folder: Path, name: str) -> LearnedObject:
    text_file, data_file = card_file(folder, name), arrays_file(folder, name)
    for file, most in ((text_file, MOST_CARD_BYTES), (data_file, MOST_BYTES)):
        expect(file.name, file.is_file(), "a file", "none")
        size = file.stat().st_size
        expect(file.name, size <= most, f"at most {most} bytes", size)
    card = yaml.safe_load(text_file.read_text(encoding="utf-8"))
    expect("card", isinstance(card, dict), "a mapping", type(card).__name__)
    version = card.get("version")
    known = version in (VERSION, WITH_TOKENS)
    expect("version", known, f"{VERSION} or {WITH_TOKENS}", f"{version}; learn the object again")
    expect("name", card.get("name") == name, name, card.get("name"))
    content = data_file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    expect(data_file.name, digest == card.get("sha256"), f"sha256 {card.get('sha256')} as its card says", digest)
    quality = card.get("quality") or {}
    numeric = isinstance(quality, dict) and all(isinstance(value, (int, float)) for value in quality.values())
    expect("quality", numeric, "a mapping of numbers", quality)
    half_turns = card.get("half_turns") or []
    expect("half_turns", isinstance(half_turns, list) and set(half_turns) <= set("xyz"), "some of x, y, z", half_turns)
    arrays, tokens = _arrays(content, version == WITH_TOKENS), None
    if version == WITH_TOKENS:
        tokens = ObjectTokens(_backbone(card.get("backbone")), *(arrays.pop(key) for key in TOKEN_ARRAYS))
    symmetry = card.get("symmetry")
    expect("symmetry", symmetry in list(Symmetry), f"one of {', '.join(Symmetry)}", symmetry)
    return LearnedObject(
        name,
        **arrays,
        spacing_m=float(card["spacing_m"]),
        size=np.array(card["size"], np.float64),
        centre=np.array(card["centre"], np.float64),
        symmetry=Symmetry(symmetry),
        half_turns=tuple(half_turns),
        quality=quality,
        tokens=tokens,
    )


def _backbone(said: object) -> BackboneIdentity:
    """The backbone that a card names."""
    named = (
        isinstance(said, dict) and set(said) == {"name", "sha256"} and all(isinstance(v, str) for v in said.values())
    )
    expect("backbone", named, "the name and sha256 of an image backbone", said)
    expect("backbone.sha256", re.fullmatch("[0-9a-f]{64}", said["sha256"]), "64 hexadecimal digits", said["sha256"])
    return BackboneIdentity(said["name"], said["sha256"])


def _arrays(content: bytes, with_tokens: bool) -> dict[str, np.ndarray]:
    """The arrays of a file, each bounded by its own header before it is unpacked."""
    wanted = [*ARRAYS, *(TOKEN_ARRAYS if with_tokens else ())]
    largest = MOST_SURFELS * 12 + 1024
    bounds = dict.fromkeys(ARRAYS, largest)
    bounds |= {key: TOKEN_ROWS[of_tokens] * WIDEST * 2 + 1024 for key, of_tokens in TOKEN_ARRAYS.items()}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        expect("arrays", set(members) == {f"{key}.npy" for key in wanted}, ", ".join(wanted), ", ".join(members))
        found = {}
        for key in wanted:
            size, kind = members[f"{key}.npy"].file_size, ARRAYS[key][0] if key in ARRAYS else "<f2"
            expect(f"{key}.npy", size <= bounds[key], f"at most {bounds[key]} bytes", size)
            with archive.open(f"{key}.npy") as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
            expect(key, array.dtype == np.dtype(kind), kind, array.dtype)
            found[key] = array
    return found
