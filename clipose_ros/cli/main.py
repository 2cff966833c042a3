"""The `clipose` command: the pipeline of the ROS node without ROS."""

from __future__ import annotations

import sys

import tyro

from clipose_ros.cli.diagnose import examine
from clipose_ros.cli.estimate import estimate
from clipose_ros.cli.evaluate import evaluate
from clipose_ros.cli.measure import bench, build

COMMANDS = {"estimate": estimate, "evaluate": evaluate, "bench": bench, "build": build, "doctor": examine}


def main() -> None:
    """Entry point of the `clipose` command."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="clipose")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"clipose: {error}")
