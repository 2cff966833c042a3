"""Which build of ONNX Runtime is installed.

The builds are separate packages that overwrite each other's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from clipose_ros.inference.providers import PROVIDERS
from clipose_ros.inference.runtime import load_runtime

RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")


def installed_builds(packages: Iterable[str] = RUNTIME_PACKAGES) -> dict[str, str]:
    """List which of several packages that bring the same library are installed.

    Parameters
    ----------
    packages : iterable of str
        Names of packages; by default those of ONNX Runtime.

    Returns
    -------
    dict of str to str
        Version by name of the package. A build that was installed without a Python package is not among them.
    """
    builds = {}
    for package in packages:
        try:
            builds[package] = version(package)
        except PackageNotFoundError:
            continue
    return builds


def imported_version() -> str:
    """Give the version of the build that is really imported.

    Returns
    -------
    str
        Version.

    Raises
    ------
    RuntimeError
        As `load_runtime`.
    """
    return load_runtime().__version__


def built_providers() -> list[str]:
    """List those of our providers that the imported build has.

    This does not say whether they start on this machine.

    Returns
    -------
    list of str
        Our names, keys of `PROVIDERS`.

    Raises
    ------
    RuntimeError
        As `load_runtime`.
    """
    available = load_runtime().get_available_providers()
    return [name for name, providers in PROVIDERS.items() if providers[0] in available]
