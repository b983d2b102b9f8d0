"""The application of a card that says how it is built: its source, looked at before a run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcagent.apps.application_builds import (
    ApplicationPlan,
    asked_programs,
    build_of,
    program_of,
)
from hpcagent.apps.filling import Places
from hpcagent.apps.space import application_knobs, whole_space
from hpcagent.cli.build import checked_module, store_folder_of
from hpcagent.cli.dryrun import assumed_machine
from hpcagent.cli.subject import Subject
from hpcagent.config import Settings
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.toolchain.archive import inspect_source
from hpcagent.toolchain.fortran_order import in_order
from hpcagent.toolchain.program import is_fortran
from hpcagent.toolchain.recipe import check_path


def built_application(
    tuned: Subject, configured: Settings, source: Path | None, sha256: str,
    modules: Sequence[str], store: Path | None, runs: Path,
) -> dict[str, Any]:  # fmt: skip
    """What the settings of a run say of its builds; everything that can be refused here is.

    `source` and `sha256` take the place of the card's; the run will be below `runs`.
    """
    build = tuned.card.build
    if source is None and not build.source:
        raise UsageError(f"{tuned.source}: build: source is missing (or give --source)")
    path = source or Path(tuned.folder, build.source)
    kept = Path(check_path(str(store_folder_of(store)), "--store"))
    _apart(path, {"runs are": runs, "builds are kept": kept})
    _check_default(tuned)
    told = [str(name) for name in (build.program or {}).get("sources", ())]
    found = inspect_source(path, sha256 or ("" if source else build.sha256), frozenset(told))
    for name in told:
        if name not in found.texts and name not in build.files:
            raise UsageError(f"{tuned.source}: build: program: {path} has no {name}")
    fortran = {
        name: found.texts.get(name, build.files.get(name, "")) for name in told if is_fortran(name)
    }
    plan = ApplicationPlan(
        source={"path": found.path, "sha256": found.sha256},
        sources=in_order(told, fortran),
        modules=tuple(map(checked_module, modules)),
        store=str(kept),
        prefers={
            "compiler": configured.compiler, "mpi": configured.mpi, "blas": configured.blas,
        },
        looks=build.program is not None or bool(build.modules or modules),
        programs=asked_programs(tuned.card),
    )  # fmt: skip
    return asdict(plan)


def _check_default(tuned: Subject) -> None:
    """UsageError for a program that cannot be described with the defaults that it has here. Where
    nothing acts on this machine, the node tells."""
    card = tuned.card
    try:
        knobs = application_knobs(card, assumed_machine(), Places(tuned.folder))
        default = whole_space(knobs).default
        if card.build.program is not None:
            program_of(card, build_of(card, knobs.all_values(default), knobs.facts)["program"])
    except UsageError as error:
        raise UsageError(f"{tuned.source}: {error}") from None
    except EnvironmentProblem:
        return


def require_commands(tuned: Subject, prologue: Sequence[str]) -> None:
    """What builds it on this machine. EnvironmentProblem.

    What the lines of `prologue`, modules or the card put into the PATH of a job is not known here.
    """
    build = tuned.card.build
    elsewhere = bool(prologue or build.modules) or "PATH" in build.env
    for number, words in enumerate(() if elsewhere else build.commands):
        word = words[0]
        if "/" not in word and "{" not in word and shutil.which(word) is None:
            raise EnvironmentProblem(
                f"{tuned.source}: build: commands: {number}: {word} is not a program that can be "
                "run here: load its module, or install it"
            )


def _apart(source: Path, written: Mapping[str, Path]) -> None:
    """What a run writes must not change the source, which it looks at again before each build."""
    for words, place in written.items():
        if place.resolve().is_relative_to(source.resolve()):
            raise UsageError(
                f"{source}: {words} in it ({place}): name a folder as source that does not change, "
                "or start from elsewhere"
            )
