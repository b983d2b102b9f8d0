"""`hpcagent compare`: which node type is faster, each with its own best settings."""

from __future__ import annotations

from pathlib import Path

import click

from hpcagent.cli.blocks import Asked, begin_blocks, blocks_option, run_options
from hpcagent.cli.place import find_run
from hpcagent.study.compare_plan import MIN_BLOCKS, MIN_PAIRS
from hpcagent.study.compare_sides import comparison, settings_of, sources


@click.command()
@click.argument("runs", metavar="RUN RUN [RUN...]", nargs=-1, required=True)
@blocks_option
@click.option("--pairs", type=click.IntRange(MIN_PAIRS, 1000), default=9, show_default=True,
              metavar="N", help="Runs of default and best in each allocation.")  # fmt: skip
@run_options("compare")
def compare(
    runs: tuple[str, ...], blocks: int, pairs: int, seed: int, run_dir: Path | None,
    no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Compare partitions (or whatever jobs asked for): each RUN is a closed tune run of one.

    All sides measure the workload of the first RUN, each with its default and with the best
    settings that its RUN confirmed, in blocks: jobs of their own that take turns. Kill it at any
    time: `hpcagent resume` goes on.

    \b
    Examples:
      hpcagent tune --lib openblas --workload mix.yaml --partition old --run-dir a
      hpcagent tune --lib openblas --workload mix.yaml --partition new --run-dir b
      hpcagent compare a/ b/

    Runs of an application (`--app`) are compared in the same way: both of the same card.
    """
    found = sources([find_run(name) for name in runs])
    wanted = comparison(found, blocks, pairs)
    settings = settings_of(found[0], seed)
    asked = Asked("compare", run_dir, no_wait, dry_run, as_json)
    return begin_blocks(asked, wanted, comparison(found, MIN_BLOCKS, MIN_PAIRS), settings)
