"""`hpcagent history`: what earlier runs left for later ones."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.configtext import one_line
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.place import find_run, standard_input
from hpcagent.cli.runs import json_option
from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.measure.objectives import TIME
from hpcagent.report.wording import plural
from hpcagent.study import history as store
from hpcagent.study.durable import problem, write_named
from hpcagent.study.history_record import Record, Tuned, record_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.session import read_state

MOST_IMPORTED = 64 << 20  # bytes


@click.group()
def history() -> None:
    """Show, carry and prune what earlier runs left for later ones.

    A tune run begins with what runs of the same kind of machine, library or work found. The store
    is a folder of the user's; `history` in the configuration (or HPCAGENT_HISTORY) names another,
    `off` switches it off. It holds no name of a host or a user.

    \b
    To another cluster:  hpcagent history export history.jsonl
    and there:           hpcagent history import history.jsonl
    """


@history.command("list")
@json_option
def list_runs(as_json: bool) -> int:
    """The runs, the oldest first: machine, library, what was tuned, what was found."""
    found = store.read(_folders())
    for note in found.notes:
        click.echo(f"hpcagent: {note}", err=True)
    if as_json:
        click.echo(json.dumps([_row(record) for record in found.records], indent=1))
    elif not found.records:
        click.echo(_nothing())
    else:
        for record in found.records:
            click.echo(_line(record))
    return 0


def _nothing() -> str:
    """Why the history is empty, and what will fill it."""
    if not _folders():
        return "the history is switched off (history = off): no run is kept"
    return "no earlier runs; `hpcagent tune` keeps what it finds"


@history.command()
@click.argument("run", metavar="RUN")
@json_option
def show(run: str, as_json: bool) -> int:
    """Everything that is kept of RUN."""
    found = {record.run: record for record in store.read(_folders()).records}
    if run not in found:
        raise UsageError(f"{run!r} is not in the history; see: hpcagent history list")
    record = found[run]
    if as_json:
        click.echo(json.dumps(record.to_json(), indent=1))
        return 0
    click.echo("\n".join(_page(record)))
    return 0


@history.command("export")
@click.argument("file", metavar="FILE", type=PATH)
def export_runs(file: Path) -> int:
    """Write all runs to FILE (-: standard output), one JSON line each."""
    found = store.read(_folders())
    for note in found.notes:
        click.echo(f"hpcagent: {note}", err=True)
    data = store.exported(found.records)
    if str(file) == "-":
        click.echo(data.decode("ascii"), nl=False)
        return 0
    try:
        write_named(file.absolute(), data)
    except OSError as error:
        raise problem("write", file, error) from None
    click.echo(f"{len(found.records)} runs in {file}")
    return 0


@history.command("import")
@click.argument("file", metavar="FILE", type=PATH)
def import_runs(file: Path) -> int:
    """Take in the runs of FILE (-: standard input); one that is there already is replaced."""
    try:
        if str(file) == "-":
            raw = standard_input().read(MOST_IMPORTED + 1)
        else:
            with file.open("rb") as stream:
                raw = stream.read(MOST_IMPORTED + 1)
    except FileNotFoundError:
        raise UsageError(
            f"{file} is not there; write it where the runs are, with: hpcagent history export FILE"
        ) from None
    except OSError as error:
        raise problem("read", file, error) from None
    if len(raw) > MOST_IMPORTED:
        raise UsageError(f"{file}: larger than {MOST_IMPORTED >> 20} MiB; not read")
    lines = store.parse_lines(raw)
    if not lines.records and (lines.damaged or lines.newer):
        raise UsageError(_unreadable(file, lines))
    folder = _needed()
    new = sum(store.add(folder, record) for record in lines.records)
    store.tidy(folder)
    words = f"{new} of {len(lines.records)} runs are new in {folder}"
    if lines.damaged:
        many = plural(lines.damaged, "damaged line")
        words += f"; {many} passed over, the first {one_line(lines.first)}"
    click.echo(words + (f"; {lines.newer} of a newer hpcagent" if lines.newer else ""))
    return 0


def _unreadable(file: Path, lines: store.Lines) -> str:
    """Why no run of a file can be taken in, with the line and the field, and what to do."""
    if lines.damaged:
        why = one_line(lines.first)
        return f"{file}: no run in it that can be read, {why}; make it with: history export"
    return (
        f"{file}: its runs are of a newer hpcagent: export them with version {__version__}, or "
        "import them with the newer one"
    )


@history.command()
@click.argument("run", metavar="RUN")
def add(run: str) -> int:
    """Keep RUN (a path or an id, as for other commands), made before or with --no-history."""
    found = find_run(run)
    if found.kind != "tune":
        raise UsageError(f"{found.id} is a {found.kind} run; the history is of tune runs")
    state = read_state(found)
    if not state.settings.speed_alone:
        raise UsageError(
            f"{found.id} was not for speed alone: its figures are not those of the history"
        )
    outcome = str((state.closed or {}).get("outcome", ""))
    record = record_of(found.id, Knowledge(state), outcome) if state.rounds else None
    if record is None:
        raise UsageError(f"{found.id} has measured no round yet: there is nothing to keep")
    store.add(_needed(), record)
    click.echo(f"{found.id} is kept in {_needed()}")
    return 0


@history.command()
@click.argument("run", metavar="RUN")
def forget(run: str) -> int:
    """Remove RUN from the history; the run itself stays."""
    store.forget(_needed(), run)
    click.echo(f"{run} is forgotten")
    return 0


@history.command()
@json_option
def path(as_json: bool) -> int:
    """Where the history is: the user's folder, and the site's."""
    folders = [str(folder) for folder in _folders()]
    if as_json:
        click.echo(json.dumps(folders))
    else:
        click.echo("\n".join(folders) or "off")
    return 0


def _folders() -> list[Path]:
    configured = load_settings(os.environ, Path.cwd())
    own = store.store_folder(configured.history, os.environ)
    if own is None:
        return []
    site = configured.site_history
    return [own, *([Path(site).absolute()] if site else [])]


def _needed() -> Path:
    folders = _folders()
    if not folders:
        raise EnvironmentProblem(
            "the history is switched off (history = off); set HPCAGENT_HISTORY to a folder"
        )
    return folders[0]


def _row(record: Record) -> dict[str, Any]:
    return {
        "run": record.run,
        "t_utc": record.t_utc,
        "outcome": record.outcome,
        "microarchitecture": record.machine.microarchitecture,
        "cores": record.machine.cores,
        "library": _tuned(record.library),
        "cases": len(record.workload),
        "workload": [row.case.key for row in record.workload],
        "trials": len(record.trials),
        "best_speedup": record.best,
    }


def _line(record: Record) -> str:
    best = "" if record.best is None else f", best seen {record.best:.3f}x{_in(record)}"
    shapes = [row.case.key for row in record.workload]
    more = f" and {len(shapes) - 2} more" if len(shapes) > 2 else ""
    return (
        f"{record.run}: {record.machine.microarchitecture} {record.machine.cores} cores, "
        f"{_tuned(record.library)}\n"
        f"  {', '.join(shapes[:2])}{more}: {len(record.trials)} trials{best}"
    )


def _tuned(library: Tuned) -> str:
    """A library with its version and threading; of an application there is the name alone."""
    return " ".join(word for word in (library.name, library.version, library.threading) if word)


def _in(record: Record) -> str:
    """What a ratio is of, where that is not time."""
    return "" if record.objective == TIME else f" in {record.objective}"


def _page(record: Record) -> list[str]:
    machine, library = record.machine, record.library
    shapes = [row.case.key for row in record.workload]
    lines = [
        f"run       {record.run} ({record.outcome or 'not finished'}, hpcagent {record.hpcagent})",
        f"machine   {machine.architecture} {machine.microarchitecture}, {machine.cores} cores, "
        f"{plural(machine.sockets, 'socket')}",
        f"tuned     {_tuned(library)}" + (f", core {library.core}" if library.core else ""),
        f"workload  {', '.join(shapes[:4])}" + (" ..." if len(shapes) > 4 else ""),
        "",
        f"{'gain' if _in(record) else 'speed-up':<9} settings that are not at their default",
    ]
    if _in(record):
        lines.insert(4, f"gain      {_in(record).strip()}, over the default's")
    defaults = {row.name: row.default for row in record.space}
    for trial in record.trials:
        odd = [f"{n}={v}" for n, v in trial.values.items() if v != defaults[n]]
        reached = trial.failure if trial.log_ratio is None else f"{math.exp(-trial.log_ratio):.3f}x"
        lines.append(f"{reached:<9} {' '.join(odd) or '(default)'}")
    return lines
