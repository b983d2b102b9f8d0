"""`hpcagent config`: write a configuration from what is found, show what holds, and test it."""

from __future__ import annotations

import json
import os
import shlex
import stat
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.configcheck import OK, Finding, exit_code, findings
from hpcagent.cli.configtext import (
    WIDTH,
    configuration,
    one_line,
    origin,
    proposal,
    shown,
    shown_roles,
)
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.modelroutes import tuning_route
from hpcagent.cli.surroundings import Found, look
from hpcagent.config import Settings, keys, layers, load_settings, model_routes
from hpcagent.errors import UsageError
from hpcagent.llm.roles import OPTIMISE, ROLES, USED
from hpcagent.llm.routing import Route
from hpcagent.study.durable import problem, write_atomic
from hpcagent.templates import clean


@click.group()
def config() -> None:
    """Write, show and test the configuration.

    It is in TOML files, of which later ones win: the site's, the user's and that of the
    folder in which hpcagent is started; then come HPCAGENT_* variables and options.
    """


@config.command()
@click.option("--output", type=PATH, metavar="FILE",
              help="Write there. [default: where hpcagent looks for it]")  # fmt: skip
@click.option("--site", "kind", flag_value="site",
              help="For all users, the default of root: /etc/hpcagent.toml or "
              "$HPCAGENT_SITE_CONFIG.")  # fmt: skip
@click.option("--user", "kind", flag_value="user",
              help="For you, the default of others: ~/.config/hpcagent/config.toml.")  # fmt: skip
@click.option("--project", "kind", flag_value="project",
              help="For runs that are started in this folder: ./hpcagent.toml.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--dry-run", is_flag=True, help="Print the file instead of writing it.")
def init(output: Path | None, kind: str | None, force: bool, dry_run: bool) -> int:
    """Write a commented configuration from what is found here.

    It asks the batch system for its partitions and your accounts, and looks for the module
    system and python3. Every key is in it with its default; what was found is set.

    \b
    Examples:
      hpcagent config init --dry-run
      hpcagent config init --user
      hpcagent config init --output /apps/hpcagent/site.toml
    """
    kind = kind or ("site" if output is not None or os.geteuid() == 0 else "user")
    path = Path(clean((output or _usual(kind)).absolute(), "--output"))
    if not dry_run:
        _require_free(path, force)
    found = look(os.environ)
    text = configuration(found, kind, __version__)
    if dry_run:
        click.echo(text, nl=False)
        return 0
    _write(path, text, force, make_folder=output is None)
    click.echo(f"written: {path}\n{_summary(found, kind)}")
    if path not in layers(os.environ, Path.cwd()).values():
        click.echo(f"use it:  export HPCAGENT_SITE_CONFIG={shlex.quote(str(path))}")
    click.echo("next:    read it, change what is wrong, then: hpcagent config check")
    return 0


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def show(as_json: bool) -> int:
    """Show every setting, its value and where it came from."""
    settings = load_settings(os.environ, Path.cwd())
    files = layers(os.environ, Path.cwd())
    if as_json:
        click.echo(json.dumps(_as_json(settings, files), indent=1))
        return 0
    for line in shown(settings):
        click.echo(line)
    for line in shown_roles(_routes(settings), settings.model_hosts):
        click.echo(line)
    click.echo("# Files, later ones win")
    for layer, path in files.items():
        there = "" if path.is_file() else "  (not there)"
        click.echo(f"# {layer:<8} {one_line(str(path))}{there}")
    return 0


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def check(as_json: bool) -> int:
    """Test the configuration: its files and values, the batch system, python3 and the folders.

    Nothing is queued. Exit code 0 also with warnings, else that of the first error: 2 a
    file or a value, 3 the environment or no answer, 4 refused by the scheduler, 5 no
    budget for one round.
    """
    settings = load_settings(os.environ, Path.cwd())
    files = [str(p) for p in layers(os.environ, Path.cwd()).values() if p.is_file()]
    found = []
    for finding in _checked(files, settings):
        if not as_json:
            _tell(finding)
        found.append(finding)
    code = exit_code(found)
    if as_json:
        click.echo(json.dumps({"exit_code": code, "findings": [*map(asdict, found)]}, indent=1))
    return code


def _checked(files: Sequence[str], settings: Settings) -> Iterator[Finding]:
    yield Finding(OK, "files", ", ".join(files) or "there is none: defaults hold")
    yield from findings(settings)


def _tell(finding: Finding) -> None:
    left = f"{finding.level:<8} {finding.what:<10} "
    lines = textwrap.wrap(
        one_line(finding.words), WIDTH, initial_indent=left, subsequent_indent=" " * len(left),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    click.echo("\n".join(lines or [left.rstrip()]))


def _as_json(settings: Settings, files: Mapping[str, Path]) -> dict[str, Any]:
    rows = {}
    for key in keys():
        kind, source = origin(settings, key.name)
        rows[key.name] = {
            "value": getattr(settings, key.name),
            "default": key.default,
            "from": kind,
            "source": source,
            "meaning": key.meaning,
        }
    roles = {role: _role(route) for role, route in _routes(settings).items()}
    there = {layer: {"path": str(path), "exists": path.is_file()} for layer, path in files.items()}
    return {"schema": 1, "settings": rows, "roles": roles, "files": there}


def _routes(settings: Settings) -> dict[str, Route]:
    """As `hpcagent tune` would have them."""
    return {**model_routes(settings), OPTIMISE: tuning_route(settings)}


def _role(route: Route) -> dict[str, Any]:
    return {
        "model": route.choice.to_json() or None,
        "why": route.why,
        "meaning": ROLES[route.role],
        "used": route.role in USED,
    }


def _usual(kind: str) -> Path:
    """Where hpcagent looks; UsageError where no folder of the user's is known."""
    known = os.environ.get("HOME") or os.environ.get("XDG_CONFIG_HOME")
    if kind == "user" and not known:
        raise UsageError("config init --user: HOME is not set: name the file with --output")
    return layers(os.environ, Path.cwd())[kind]


def _require_free(path: Path, force: bool) -> None:
    """Before anything is asked; _write makes sure."""
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name a file in it with --output")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no regular file: name one with --output")
        if path.exists() and not force:
            raise _taken(path)
    except OSError as error:
        raise problem("look at", path, error) from None


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} is there already: --force replaces it, --dry-run only prints")


def _write(path: Path, text: str, force: bool, make_folder: bool) -> None:
    """Whole or not at all; it keeps the permissions of what it replaces, else follows the umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    target = path.resolve()  # a link to the file stays one
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~umask
        write_atomic(target, text.encode(), exclusive=not force)
        target.chmod(mode)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise problem("write", path, error) from None


def _summary(found: Found, kind: str) -> str:
    """What was found and what could not be asked, for the screen."""
    batch, values = found.batch, proposal(found, kind)
    words = [f"{key} {one_line(str(value))}" for key, value in values.items()]
    words.append(found.modules.kind or "no module system")
    lines = [f"found:   {', '.join(words)}"]
    lines += [f"silent:  {one_line(why)}" for _, why in batch.silent]
    if batch.accounts_missing:
        lines.append(f"silent:  accounts: {one_line(batch.accounts_missing)}")
    return "\n".join(lines)
