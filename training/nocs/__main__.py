"""Write a split of REAL275 or CAMERA25 as shards of rows: `python -m training.nocs --help`."""

from __future__ import annotations

from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from training.nocs.rows import NocsConfig
from training.nocs.shards import write_shards


def main(config: tyro.conf.OmitArgPrefixes[NocsConfig], output: Path, shard_views: int = 2_000, workers: int = 2) -> None:
    """Write shards and print what was skipped, by reason."""
    rows, counts, examples = write_shards(config, output, shard_views, workers)
    table = Table("skipped", "count", "for example", title=f"{config.split}: {rows} rows in {output}")
    for reason, count in counts.most_common():
        table.add_row(reason, str(count), "\n".join(examples.get(reason, [])))
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(main)
