"""The `clipose` command: the pipeline of the ROS node without ROS."""

from __future__ import annotations

import sys

import tyro

from clipose_ros.cli.board import board
from clipose_ros.cli.diagnose import examine
from clipose_ros.cli.estimate import estimate
from clipose_ros.cli.evaluate import evaluate
from clipose_ros.cli.learn import learn, objects
from clipose_ros.cli.measure import bench, build
from clipose_ros.cli.options import REGISTRY
from clipose_ros.cli.quiet_end import quiet_end
from clipose_ros.cli.record import record
from clipose_ros.cli.segment import segment
from clipose_ros.doctor.checkout import CURE, moved_checkout
from clipose_ros.formats.text_files import print_in_any_encoding

COMMANDS = {
    "estimate": estimate,
    "segment": segment,
    "evaluate": evaluate,
    "board": board,
    "learn": learn,
    "objects": objects,
    "record": record,
    "bench": bench,
    "build": build,
    "doctor": examine,
}


def main() -> None:
    """Entry point of the `clipose` command."""
    print_in_any_encoding()
    try:
        with quiet_end("clipose"):
            moved = moved_checkout()
            if moved:
                print(f"clipose: warning: {moved}; {CURE}", file=sys.stderr)
            tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="clipose", registry=REGISTRY)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"clipose: {error}")
