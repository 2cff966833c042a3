"""The door of the `clipose` command: a package that cannot be imported is said; by the doctor, as a finding."""

from __future__ import annotations

import json
import re
import sys
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path

from clipose_ros.cli.quiet_end import quiet_end
from clipose_ros.doctor import environment
from clipose_ros.doctor.findings import Finding, fail, worst
from clipose_ros.formats.text_files import open_streams

PACKAGE = "clipose_ros"
CURE = "install it again for this Python; unset PYTHONPATH; conda deactivate"


def main() -> None:
    """Run the command. Exit status 1 where something that it needs cannot be imported."""
    open_streams()
    if sys.argv[1:] == ["--version"]:
        print(f"{PACKAGE} {_version()}")
        return
    try:
        with quiet_end("clipose"), redirect_stdout(sys.stderr):  # OpenCV prints when numpy is missing
            from clipose_ros.cli.main import main as run
    except ImportError as error:
        if sys.argv[1:2] != ["doctor"]:
            sys.exit(f"clipose: {error}. Try: clipose doctor")
        _print([fail("packages", str(error), CURE), *environment.examine()], "--json" in sys.argv)
        sys.exit(1)
    run()


def _version() -> str:
    """The version of the install, or of the checkout or workspace that this runs from."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        here = Path(__file__).resolve()
        manifests = (folder / part / "package.xml" for folder in here.parents for part in ("", f"share/{PACKAGE}"))
        found = next((manifest for manifest in manifests if manifest.is_file()), None)
        version = re.search("<version>(.*)</version>", found.read_text("utf-8")) if found else None
        return version[1] if version else "of unknown version: neither installed nor in a checkout"


def _print(findings: list[Finding], as_json: bool) -> None:
    """Print as `clipose_ros.cli.tables` would, which may be what cannot be imported."""
    if as_json:
        print(json.dumps({"worst": worst(findings).name, "findings": [finding.as_json() for finding in findings]}))
        return
    for finding in findings:
        print(f"{finding.level.name:<4}  {finding.subject}: {finding.text}")
        if finding.cure:
            print(f"      → {finding.cure}")


if __name__ == "__main__":
    main()
