"""Write a split of REAL275 or CAMERA25 as shards of rows: `python -m training.nocs --help`."""

from __future__ import annotations

from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from training.command import run
from training.nocs.rows import NocsConfig
from training.nocs.shards import write_shards


def main(
    config: tyro.conf.OmitArgPrefixes[NocsConfig], output: Path, shard_views: int = 2_000, workers: int = 2
) -> None:
    """Write shards and print what was skipped, by reason.

    Parameters
    ----------
    config : NocsConfig
        The split.
    output : Path
        Folder of the shards.
    shard_views : int
        Rows of a shard.
    workers : int
        Processes that write.
    """
    report = write_shards(config, output, shard_views, workers)
    table = Table("skipped", "count", "for example", title=f"{config.split}: {report.rows} rows in {output}")
    for reason, count in report.skipped.most_common():
        table.add_row(reason, str(count), "\n".join(report.examples.get(reason, [])))
    console = Console()
    console.print(table)
    if report.missing_models:
        console.print(
            "sizes from the coordinate maps, because these models are missing: "
            f"{', '.join(sorted(report.missing_models))}"
        )


if __name__ == "__main__":
    run(main)
