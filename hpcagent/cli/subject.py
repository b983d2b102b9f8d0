"""What `hpcagent tune` is to tune: a library, or an application with a card of the user's own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hpcagent.apps.application import application_card, inputs_sha256, uses_prefix
from hpcagent.apps.card import Card, is_file, load_card, own_card
from hpcagent.apps.filling import HERE, PREFIX, fill
from hpcagent.apps.space import cpus_requested, tasks_requested
from hpcagent.cli.dryrun import application_fact_names, assumed_machine, fact_names
from hpcagent.config import Settings
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.templates import clean

_LOCAL = "local"


@dataclass(frozen=True)
class Subject:
    """`own` is a user's card as data, read from `source` in `folder` (None: the card ships).

    `inputs_sha256` is a digest of what an application reads beside it.
    """

    card: Card
    own: Mapping[str, Any] | None = None
    source: str = ""
    folder: str = ""
    inputs_sha256: str = ""

    @property
    def kept(self) -> dict[str, Any]:
        """What of it the settings of a run hold."""
        return {
            "card": self.own, "card_source": self.source, "card_folder": self.folder,
            "inputs_sha256": self.inputs_sha256,
        }  # fmt: skip

    @property
    def figure(self) -> str:
        """The name of what it prints first."""
        return self.card.figures_of_merit[0].name


class NamesOne(click.Command):
    """A command with --lib and --app, of which it takes one: told with what else is wrong with its
    words, before it is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        left = super().parse_args(ctx, args)
        named = [name for name in ("lib", "app") if ctx.params.get(name) is not None]
        words = "name what to tune: --lib openblas, or --app FILE.yaml"
        if len(named) > 1:
            raise click.UsageError(f"--lib and --app exclude each other: {words}", ctx)
        if not named and not ctx.resilient_parsing:
            raise click.UsageError(words, ctx)
        return left


def subject(lib: str | None, app: Path | None) -> Subject:
    """Of --lib and --app the one that was given. UsageError for a bad card."""
    if app is not None:
        card, own = application_card(_named(app), application_fact_names())
        folder = app.absolute().parent
        digest = inputs_sha256(card, folder)
        return Subject(card, own, str(app), clean(folder, "--app"), digest)
    assert lib is not None
    if is_file(lib):
        card, own = own_card(Path(lib), fact_names())
        return Subject(card, own, lib, clean(Path(lib).absolute().parent, "--lib"))
    return Subject(load_card(lib))


def _named(app: Path) -> Path:
    if app.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--app {app}: a card is a FILE.yaml; --app-example prints one")
    return app


def prefix_of(
    found: Subject, configured: Settings, openblas: str | None, app: str | None, scheduler: str
) -> str:
    """Where the library or the application is installed, absolute; empty where it is not said."""
    if found.card.is_application:
        if openblas:
            raise UsageError("--openblas-prefix is for --lib openblas; --app-prefix for --app")
        if found.card.is_built:
            if app:
                raise UsageError(f"--app-prefix: {found.source} says how it is built: leave it out")
            return ""
        if uses_prefix(found.card) and not app:
            raise UsageError(f"{found.source}: it says {{prefix}}: tell which with --app-prefix")
        return _folder("--app-prefix", app, scheduler)
    if app:
        raise UsageError("--app-prefix is for --app; --openblas-prefix for --lib openblas")
    said = configured.openblas_prefix if openblas is None else openblas
    return _folder("--openblas-prefix", said, scheduler)


def require_here(found: Subject, prefix: str, prologue: Sequence[str]) -> None:
    """What a run on this machine needs, told before it is made. EnvironmentProblem.

    What the lines of `prologue`, or the card, put into the PATH of a job is not known here.
    """
    if not found.card.is_application:
        _require_build_tools()
        return
    command = found.card.command
    machine = assumed_machine()
    cpus = tasks_requested(found.card, machine) * cpus_requested(found.card, machine)
    if cpus > len(machine.cpus_allowed):
        raise UsageError(
            f"{found.source}: resources: {cpus} CPUs are more than the {len(machine.cpus_allowed)} "
            "of this machine"
        )
    if found.card.resources.nodes > 1:
        raise UsageError(
            f"{found.source}: resources: nodes: {found.card.resources.nodes} need a batch system: "
            "--scheduler slurm or pbs"
        )
    words = [command.argv[0], *(command.launcher[:1] if command.launch == "mpi" else ())]
    elsewhere = bool(prologue) or "PATH" in found.card.env
    known = {HERE: found.folder} | ({} if found.card.is_built else {PREFIX: prefix})
    for word in words:
        program = fill(word, known)
        beside = Path(found.folder, program) if "/" in program else None
        if "{" in program or (elsewhere and beside is None):
            continue
        if shutil.which(str(beside or program)) is None:
            raise EnvironmentProblem(
                f"{found.source}: {beside or program} is not a program that can be run here: load "
                "its module, or say where it is with --app-prefix and {prefix} in the card"
            )


def _folder(option: str, text: str | None, scheduler: str) -> str:
    if not text:
        return ""
    path = Path(clean(text, option)).absolute()
    if scheduler == _LOCAL and not path.exists():
        raise EnvironmentProblem(f"{option}: {path} does not exist")
    return str(path)


def _require_build_tools() -> None:
    if shutil.which("make") is None:
        raise EnvironmentProblem(
            "make is missing: install it (Debian: build-essential, RHEL: make)"
        )
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang", "icx", "nvc")):
        raise EnvironmentProblem(
            "no C compiler: install gcc (Debian: build-essential, RHEL: gcc), or load a module"
        )
