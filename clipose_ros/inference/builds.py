"""Which ONNX Runtime is installed: its builds are separate packages that overwrite each other's files."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from clipose_ros.inference.providers import PROVIDERS
from clipose_ros.inference.runtime import load_runtime

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")


def installed_builds() -> dict[str, str]:
    """Versions of the installed packages of ONNX Runtime, by name.

    A build that came without a Python package is not among them.
    """
    builds = {}
    for package in PACKAGES:
        try:
            builds[package] = version(package)
        except PackageNotFoundError:
            continue
    return builds


def imported_version() -> str:
    """Of the build that is really imported."""
    return load_runtime().__version__


def built_providers() -> list[str]:
    """Those of our providers that the imported build has; whether they start is another question."""
    available = load_runtime().get_available_providers()
    return [name for name, providers in PROVIDERS.items() if providers[0] in available]
