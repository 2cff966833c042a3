"""Packages that only some commands need: they are imported when one asks, and named where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

PACKAGES = {"recordings": "mcap-ros2-support zstandard lz4", "view": "rerun-sdk", "gspose": "numba"}


def extra_module(name: str, extra: str) -> ModuleType:
    """Import a module of an extra.

    Parameters
    ----------
    name : str
        Of the module.
    extra : str
        One of `PACKAGES`: the extra of clipose_ros that brings it.

    Returns
    -------
    module
        It.

    Raises
    ------
    RuntimeError
        Where it is not installed, with the cure.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(
            f"{extra}: expected the package {name.partition('.')[0]}, got none ({error}); "
            f"pip install clipose_ros[{extra}], or: pip install {PACKAGES[extra]}"
        ) from error
