"""`hpcagent scale`: what more nodes gain an application."""

from __future__ import annotations

from pathlib import Path

import click

from hpcagent.cli.blocks import Asked, begin_blocks, blocks_option, run_options
from hpcagent.cli.place import find_run
from hpcagent.errors import UsageError
from hpcagent.study.compare_plan import MIN_BLOCKS, MIN_PAIRS
from hpcagent.study.compare_sides import settings_of
from hpcagent.study.scale_sides import comparison, scalable

_MOST_NODES, _MOST_COUNTS = 100_000, 12


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--nodes",
    required=True,
    metavar="N,N,...",
    help="Numbers of nodes; the others are held against the smallest.",
)
@click.option(
    "--weak",
    is_flag=True,
    help="The card gives each node the same work, so that equal times are ideal.",
)
@click.option(
    "--efficiency", type=click.FloatRange(0.01, 1.0), default=0.7, show_default=True,
    metavar="SHARE", help="The parallel efficiency that is good enough.",
)  # fmt: skip
@blocks_option
@click.option("--pairs", type=click.IntRange(MIN_PAIRS, 1000), default=5, show_default=True,
              metavar="N", help="Runs of default and best in each allocation.")  # fmt: skip
@run_options("scale")
def scale(
    run: str, nodes: str, weak: bool, efficiency: float, blocks: int, pairs: int, seed: int,
    run_dir: Path | None, no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Measure how an application scales: RUN is a closed tune run of it by a batch system.

    On each number of nodes its default and the settings that RUN confirmed are measured, in blocks:
    jobs of their own that take turns. The result tells speed-up, parallel efficiency and cost of
    each number, and up to which it is worth it. Kill it at any time: `hpcagent resume` goes on.

    The card tells processes by `nodes` (ranks: nodes * per_node), and for --weak also its work.

    \b
    Examples:
      hpcagent tune --app solver.yaml --partition compute --run-dir tuned
      hpcagent scale tuned/ --nodes 1,2,4,8
      hpcagent scale tuned/ --nodes 1,2,4,8 --weak --dry-run
    """
    counts, found = _counts(nodes), scalable(find_run(run))
    wanted = comparison(found, counts, blocks, pairs, weak, efficiency)
    least = comparison(found, counts, MIN_BLOCKS, MIN_PAIRS, weak, efficiency)
    asked = Asked("scale", run_dir, no_wait, dry_run, as_json)
    return begin_blocks(asked, wanted, least, settings_of(found, seed))


def _counts(text: str) -> list[int]:
    words = text.replace(" ", "").split(",")
    if not all(word.isascii() and word.isdecimal() and 0 < int(word) <= _MOST_NODES
               for word in words):  # fmt: skip
        raise UsageError(f"--nodes {text}: numbers from 1 with commas between, as in 1,2,4,8")
    counts = sorted({int(word) for word in words})
    if len(counts) < 2 or len(counts) < len(words):
        raise UsageError(f"--nodes {text}: give at least two different numbers, each once")
    if len(counts) > _MOST_COUNTS:
        raise UsageError(f"--nodes {text}: at most {_MOST_COUNTS} numbers")
    return counts
