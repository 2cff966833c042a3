"""The door of the `clipose` command: a package that cannot be imported is said; by the doctor, as a finding."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from clipose_ros.cli.quiet_end import quiet_end
from clipose_ros.doctor import environment
from clipose_ros.doctor.findings import Finding, fail, worst
from clipose_ros.formats.text_files import open_streams

CURE = "install it again for this Python; unset PYTHONPATH; conda deactivate"


def main() -> None:
    """Run the command. Exit status 1 where something that it needs cannot be imported."""
    open_streams()
    try:
        with quiet_end("clipose"), redirect_stdout(sys.stderr):  # OpenCV prints when numpy is missing
            from clipose_ros.cli.main import main as run
    except ImportError as error:
        if sys.argv[1:2] != ["doctor"]:
            sys.exit(f"clipose: {error}. Try: clipose doctor")
        _print([fail("packages", str(error), CURE), *environment.examine()], "--json" in sys.argv)
        sys.exit(1)
    run()


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
