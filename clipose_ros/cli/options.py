"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from clipose_ros.inference.session import ProviderUnavailable

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Box = tuple[float, float, float, float, float, float]
JsonFlag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")]

REGISTRY = ConstructorRegistry()
NUMBERS = {int: ("INT", "a whole number"), float: ("FLOAT", "a number")}


@REGISTRY.primitive_rule
def home_paths(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read every path of every command with ~ for the home folder, also where the shell leaves it (`'~/x'`, `--a=~/x`).

    Parameters
    ----------
    kind : PrimitiveTypeInfo
        Of an option.

    Returns
    -------
    PrimitiveConstructorSpec or None
        None for what is no path.
    """
    if kind.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda texts: _home_path(texts[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


@REGISTRY.primitive_rule
def plain_numbers(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Read every number of every command, and say in plain words what is none.

    Parameters
    ----------
    kind : PrimitiveTypeInfo
        Of an option.

    Returns
    -------
    PrimitiveConstructorSpec or None
        None for what is no number.
    """
    if kind.type not in NUMBERS:
        return None
    metavar, words = NUMBERS[kind.type]

    def read(texts: list[str]) -> int | float:
        try:
            return kind.type(texts[0])
        except ValueError:
            raise ValueError(f"expected {words}, got {texts[0]!r}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind.type) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@contextmanager
def provider_advice(advice: str) -> Iterator[None]:
    """Word for people what to do about a provider that cannot be had.

    Parameters
    ----------
    advice : str
        What the command can do about it.

    Yields
    ------
    None
        While the provider is asked for.

    Raises
    ------
    RuntimeError
        With the reason and the advice.
    """
    try:
        yield
    except ProviderUnavailable as error:
        raise RuntimeError(f"{error.reason}; {advice}") from error


def _home_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~name of a user that is not there
        raise ValueError(f"{text}: {error}") from error
