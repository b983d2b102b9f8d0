"""A planted failure: what is broken on purpose, how to make it, and the log that comes of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

LIMIT_S = 600
TRIES = 8
TEXT = {"LANG": "C", "LC_ALL": "C", "TZ": "UTC", "TERM": "dumb"}
RANKS = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
# What a surrounding job or user may have set and what changes the words of tools.
FOREIGN = ("SLURM_", "SBATCH_", "OMPI_", "OMP_", "OPENBLAS_", "LD_", "LMOD", "MODULE", "PYTHON")
FOREIGN += ("CFLAGS", "CC", "CXX", "FC", "MAKE", "GCC_", "CMAKE_", "TMPDIR", "_ModuleTable")


class Unplantable(Exception):
    """The failure could not be made as described."""


@dataclass(frozen=True)
class Case:
    """`run` is a shell script whose output is the log; it must fail, `prepare` must not.

    `kind` says in words of this set what is wrong (`stage.what`); planted/expected.py says which
    ids of failures.yaml name that. `planted` is what was done, for people. `says`: words without
    which the log is not the planted one, where a tool does not always get its message out.
    """

    name: str
    kind: str
    planted: str
    run: str
    prepare: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    says: str = ""

    @property
    def stage(self) -> str:
        return self.kind.partition(".")[0]

    @property
    def needs_root(self) -> bool:
        return any(word in self.run for word in ("unshare", "setpriv", "as-root"))


@dataclass(frozen=True)
class Made:
    log: bytes
    exit: int


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    return kept | TEXT | dict(extra)


def write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def shell(script: str, name: str, folder: Path, env: Mapping[str, str]) -> Made:
    """Run a script as a job would: bash reads it from a file, all output is one stream."""
    (folder / name).write_text(script.strip("\n") + "\n")
    with subprocess.Popen(
        ["bash", name],
        cwd=folder,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as started:
        try:
            log, _ = started.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise Unplantable(f"{folder}: {name} did not end in {LIMIT_S} s") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
    return Made(log, started.returncode)


def make(case: Case, folder: Path, env: Mapping[str, str] | None = None) -> Made:
    """Make the failure in an empty folder, with the real tools.

    `env` is what the surroundings ask for (where the private Slurm is).
    """
    case = replace(case, env={**case.env, **(env or {})})
    write(case.files, folder)
    if case.prepare:
        before = shell("set -e\n" + case.prepare, "prepare.sh", folder, case.env)
        if before.exit:
            raise Unplantable(f"{case.name}: {before.log.decode(errors='replace')}")
    for _ in range(TRIES):
        made = shell(case.run, "job.sh", folder, case.env)
        if made.exit and case.says.encode() in made.log:
            return made
    raise Unplantable(f"{case.name}: {made.exit}: {made.log.decode(errors='replace')}")


def succeed(case: Case, folder: Path, env: Mapping[str, str] | None = None) -> Made:
    """Run what goes well, however loud it is."""
    write(case.files, folder)
    extra = {**case.env, **(env or {})}
    for name, script in (("prepare.sh", "set -e\n" + case.prepare), ("job.sh", case.run)):
        made = shell(script, name, folder, extra)
        if made.exit:
            raise Unplantable(f"{case.name}: {made.log.decode(errors='replace')}")
    return made
