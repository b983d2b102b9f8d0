"""Recall and precision of the diagnosis on planted failures, by stage.

    python tests/benchmarks/diagnosis_score.py [--set first|others|all|blind|fresh] [--slurm]
        [--exit-codes] [--keep FOLDER | --logs FOLDER] [--misses]

Makes every failure with the real tools (a minute or two; root, see tests/test_planted.py), or with
--logs takes the logs that --keep left in a folder (those that went well in `well` below it, as some
have the name of a failure). Precision counts successful logs as well. --set fresh always takes the
logs that were kept when it was made.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WELL = "well"  # below the folder of logs: those of what went well
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from planted import blind_successes, fresh_recorded, sets  # noqa: E402
from planted.case import Case, Made, make, succeed  # noqa: E402
from planted.score import Scored, figures, score  # noqa: E402


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--set", choices=("first", "others", "all", "blind", "fresh"), default="all"
    )
    parser.add_argument("--slurm", action="store_true", help="failures of jobs as well")
    parser.add_argument("--exit-codes", action="store_true", help="tell the diagnosis exit codes")
    parser.add_argument("--keep", type=Path, help="leave the logs in this folder")
    parser.add_argument("--logs", type=Path, help="take the logs from this folder")
    parser.add_argument("--misses", action="store_true", help="name what was not found")
    return parser.parse_args()


def kept(cases: Sequence[Case], folder: Path) -> dict[str, Made]:
    codes = json.loads((folder / "exit-codes.json").read_text())
    there = [case.name for case in cases if case.name in codes]
    return {name: Made((folder / name).read_bytes(), codes[name]) for name in there}


def keep(logs: Mapping[str, Made], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "exit-codes.json"
    codes = json.loads(index.read_text()) if index.exists() else {}
    for name, made in logs.items():
        (folder / name).write_bytes(made.log)
        codes[name] = made.exit
    index.write_text(json.dumps(codes, indent=1, sort_keys=True))


def made_here(
    plain: Sequence[Case], jobs: Sequence[Case], modules: Mapping[str, str]
) -> dict[str, Made]:
    from lab import slurm_lab

    logs = sets.collect(plain, make, modules)
    if jobs:
        with slurm_lab.cluster() as cluster:
            logs |= sets.collect(jobs, make, cluster.env, at_once=6)
    return logs


def found(
    asked: argparse.Namespace, plain: Sequence[Case], jobs: Sequence[Case], well: Sequence[Case]
) -> tuple[dict[str, Made], dict[str, Made]]:
    """The logs of the failures and of what went well: apart, as they share names."""
    if asked.set == "fresh":
        return fresh_recorded.recorded(), fresh_recorded.recorded()
    if asked.logs:
        return kept([*plain, *jobs], asked.logs), kept(well, asked.logs / WELL)
    with ExitStack() as stack:
        failures = made_here(plain, jobs, modules_of(stack))
    return failures, sets.collect(well, succeed, {})


def modules_of(stack: ExitStack) -> dict[str, str]:
    from lab.module_systems import environment_modules_environment

    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return {"MODULECMD": environment_modules_environment("", home)["MODULES_CMD"]}


def line(name: str, rows: Sequence[Scored], noise: Sequence[Scored] = ()) -> str:
    told = figures([*rows, *noise])
    among = told.among_three / told.count if told.count else 1.0
    return (
        f"{name:<14}{told.count:>7}{told.recall:>11.1%}{among:>11.1%}{told.named:>8}"
        f"{told.precision:>12.1%}"
    )


def main() -> None:
    asked = options()
    chosen = {
        "first": (sets.FIRST, sets.FIRST_SLURM),
        "others": (sets.OTHERS, sets.OTHERS_SLURM),
        "all": (sets.FIRST + sets.OTHERS, sets.FIRST_SLURM + sets.OTHERS_SLURM),
        "blind": (sets.BLIND, sets.BLIND_SLURM),
        "fresh": (fresh_recorded.FAILURES, ()),
    }[asked.set]
    well = {"blind": blind_successes.CASES, "fresh": fresh_recorded.SUCCESSES}.get(
        asked.set, sets.SUCCESSES
    )
    plain, jobs = chosen[0], chosen[1] if asked.slurm else ()
    failures, successes = found(asked, plain, jobs, well)
    if asked.keep:
        keep(failures, asked.keep)
        keep(successes, asked.keep / WELL)
    rows = score([*plain, *jobs], failures, asked.exit_codes)
    quiet = score(well, successes, asked.exit_codes)
    print(
        f"{'stage':<14}{'planted':>7}{'recall@1':>10}{'recall@3':>11}{'named':>8}{'precision':>12}"
    )
    for stage in sorted({row.stage for row in rows}):
        print(line(stage, [row for row in rows if row.stage == stage]))
    print(line("all", rows))
    print(line("with successes", rows, quiet))
    print(f"successful logs: {len(quiet)}, a cause named in {sum(bool(r.named) for r in quiet)}")
    if asked.misses:
        for row in [*rows, *quiet]:
            if not row.found(1) and (row.right or row.named):
                print(f"  {row.told()}; planted: {', '.join(sorted(row.right)) or 'nothing'}")


if __name__ == "__main__":
    main()
