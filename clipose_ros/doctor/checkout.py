"""Where the package's files lie, in a checkout or installed, and whether the environment still belongs to the checkout.

`make env` writes absolute paths into `.venv`. No ROS is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from clipose_ros.doctor.findings import Finding, fail, ok

POINTER = "lib/python3*/site-packages/clipose_ros_messages.pth"  # `make env` writes it: where the built messages lie
INSTALL_DEPTH = 4  # of CHECKOUT/install/clipose_ros/lib/python3.x/site-packages, below the checkout
CURE = "run make env again, in a new shell"
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def share_folder(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Find a folder of the package's files: launch, msg or models.

    Parameters
    ----------
    name : str
        Of the folder.
    environment : mapping of str to str
        AMENT_PREFIX_PATH of it names the ROS workspaces that are sourced.

    Returns
    -------
    Path
        That of the checkout, else of the first workspace or Python environment that has it. Where none has, the
        last of these.
    """
    if (PACKAGE_ROOT / "package.xml").is_file():
        return PACKAGE_ROOT / name
    prefixes = [*filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [Path(prefix) / "share" / "clipose_ros" / name for prefix in prefixes]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def moved_checkout(prefix: Path = Path(sys.prefix), root: Path = PACKAGE_ROOT, here: Path | None = None) -> str:
    """Say how environment, code and working folder belong to different checkouts.

    Parameters
    ----------
    prefix : Path
        Of the Python environment that runs.
    root : Path
        Folder in which the running `clipose_ros` lies.
    here : Path, optional
        The working folder, by default the process's.

    Returns
    -------
    str
        What is wrong; empty where all is well, or where no checkout is involved.
    """
    made_for = _made_for(prefix)
    if made_for is not None and made_for != prefix.resolve().parent:
        return f"the checkout was moved or copied: {prefix} was made for {made_for}"
    here = (here or Path.cwd()).resolve()
    own = next((folder for folder in (here, *here.parents) if (folder / ".venv").is_dir()), None)
    if own is not None and own != root.resolve() and (own / "clipose_ros" / "__init__.py").is_file():
        return f"the checkout was moved or copied: in {own}, the code of {root} runs"
    return ""


def checkout_finding(prefix: Path = Path(sys.prefix), root: Path = PACKAGE_ROOT, here: Path | None = None) -> Finding:
    """Judge whether the checkout was moved after it was built.

    Parameters
    ----------
    prefix, root, here
        As `moved_checkout`.

    Returns
    -------
    Finding
        FAIL where it was.
    """
    moved = moved_checkout(prefix, root, here)
    return fail("checkout", moved, CURE) if moved else ok("checkout", f"code from {root}")


def _made_for(prefix: Path) -> Path | None:
    """The checkout that an environment was made for; None where `make env` has not made it."""
    pointer = next(prefix.glob(POINTER), None)
    if pointer is None:
        return None
    target = Path(pointer.read_text(encoding="utf-8").strip())
    return target.parents[INSTALL_DEPTH].resolve() if len(target.parents) > INSTALL_DEPTH else None
