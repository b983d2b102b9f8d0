"""`hpcagent models list|show|verify`: the model files that there are, and whether they serve."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hpcagent.cli.givenpath import PATH
from hpcagent.cli.models_served import Line, verified
from hpcagent.cli.models_served import shown as shown_server
from hpcagent.cli.models_subject import model_argument, route_of, subject
from hpcagent.cli.models_text import Row, labelled, listed, listed_servers, shown, size
from hpcagent.cli.runs import json_option
from hpcagent.cli.waiting import waiting
from hpcagent.config import Settings, digests, load_settings, model_routes
from hpcagent.embedded import card
from hpcagent.embedded.opening import NAME, path_of
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf, threads
from hpcagent.llm.found import models_in
from hpcagent.llm.gguf import ModelFile
from hpcagent.llm.gguf_kinds import LANGUAGE
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.surroundings import room_here
from hpcagent.llm.tables import SHIPPED
from hpcagent.probe.procfs import parse_kib_field
from hpcagent.records import Limits, Message
from hpcagent.study.admission import admit, forbidden, plan_here
from hpcagent.study.durable import problem
from hpcagent.templates import clean

ANSWER_S = 300.0
_NOTICED = 1.1  # times the memory that it has later
_QUESTION = (
    Message("system", "You answer in JSON."),
    Message("user", "Is seven a prime number?"),
)
_SCHEMA = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}
_EVERY_ROLE = "all roles"


@click.command("list")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PATH)
@json_option
def list_models(folders: Sequence[Path], as_json: bool) -> int:
    """List the GGUF models of FOLDERs, and whether each fits in memory here.

    Without FOLDER: the configured model, the current folder, and the folder that
    `models_folder` in the configuration (or HPCAGENT_MODELS_FOLDER) names, with those below it.

    \b
    Examples:
      hpcagent models list
      hpcagent models list /apps/models --json
    """
    configured = load_settings(os.environ, Path.cwd())
    room = room_here(os.environ)
    rows = [_row(path, configured) for path in _paths(folders, configured)]
    servers = {} if folders else _servers(configured)
    if as_json:
        told = {"schema": 1, "room": asdict(room), "models": [row.to_json() for row in rows]}
        told["servers"] = [{"model": at, "roles": roles} for at, roles in servers.items()]
        click.echo(json.dumps(told, indent=1))
    elif not rows and not servers:
        places = ", ".join(map(str, folders)) or "the configuration, here or in models_folder"
        click.echo(f"no model: there is no .gguf file in {places}")
    for line in () if as_json else (*listed(rows, room), *listed_servers(servers)):
        click.echo(line)
    return 0


def _servers(configured: Settings) -> dict[str, list[str]]:
    """Each configured server's model with the roles that it serves; none is asked."""
    found: dict[str, list[str]] = {}
    for role, route in model_routes(configured).items():
        if route.choice.endpoint:
            found.setdefault(route.choice.label, []).append(role)
    return found


@click.command()
@model_argument
@json_option
def show(model: str, as_json: bool) -> int:
    """Show what a model says of itself, what it would need, and its SHA-256.

    The weights are not loaded. FILE is read once in full for the digest, which is remembered.
    `embedded` in its place is the small model that ships, with its card. Of a URL, and of a ROLE
    that a server serves, it is what that tells of the model.
    """
    configured = load_settings(os.environ, Path.cwd())
    choice = route_of(model, configured).choice
    if choice.endpoint:
        with subject(model, configured) as served:
            _tell(shown_server(served), as_json, {"schema": 1})
        return 0
    path = _path(choice.file)
    found = gguf.describe(path)
    room = room_here(os.environ)
    planned = plan_here(found)
    chosen = _threads(found, configured)
    digest = gguf.digest(path, waiting())
    refusal = forbidden(path, digest, configured)
    if as_json:
        shape = asdict(found.shape)
        row = Row(path, found, planned, _role(path, configured)).to_json()
        more: dict[str, Any] = {"name": found.name, "shape": shape, "mixture": dict(found.mixture)}
        more |= {"threads": chosen.count, "sha256": digest, "allowed": not refusal}
        more |= {"card": card.checked(path).to_json()} if found.name == NAME else {}
        click.echo(json.dumps({"schema": 1, **row, **more}, indent=1))
        return 0
    for line in shown(
        found, planned, room, chosen, digest, refusal or _allowed(digest, configured)
    ):
        click.echo(line)
    if found.name == NAME:
        card.checked(path)
        click.echo(f"\n{card.card_text(path)}")
    return 0


@click.command()
@model_argument
@json_option
def verify(model: str, as_json: bool) -> int:
    """Load a model for real and let it answer a question; exit code 3 if it cannot.

    Header, lengths and the site's list come first; then llama.cpp loads it in a process of its
    own, and one answer confined by a grammar is asked for. A server (a URL, or what serves a ROLE)
    is asked twice, and it is told what it can do.
    """
    configured = load_settings(os.environ, Path.cwd())
    choice = route_of(model, configured).choice
    if choice.endpoint:
        with subject(model, configured) as served:
            _tell(verified(served, _QUESTION, _SCHEMA), as_json, {"schema": 1})
        return 0
    path = _path(choice.file)
    _tell(_verified(path, configured), as_json, {"schema": 1, "path": str(path)})
    return 0


def _tell(lines: Iterable[Line], as_json: bool, told: dict[str, Any]) -> None:
    for label, words, values in lines:
        told |= values
        for line in () if as_json else labelled(label, words):
            click.echo(line)
    if as_json:
        click.echo(json.dumps(told, indent=1))


def _verified(path: Path, configured: Settings) -> Iterator[Line]:
    """(label, words, values) of each test passed; EnvironmentProblem at the first that fails."""
    tell = waiting()
    file = admit(path, configured, tell=tell)
    yield "header", f"{file.architecture}, {file.quantisation}, {size(file.size_bytes)}", {}
    digest = gguf.digest(path, tell)
    yield "SHA-256", digest, {"sha256": digest}
    yield "allowed", _allowed(digest, configured), {}
    model = LlamaCpp(path, threads=configured.model_threads)
    model.tell = tell
    try:
        yield _loaded(model)
        yield _answered(model)
    finally:
        model.close()


def _loaded(model: LlamaCpp) -> tuple[str, str, dict[str, Any]]:
    started = time.monotonic()
    failure = model.load()
    if failure is not None:
        raise EnvironmentProblem(f"model {model.file.path}: {failure.evidence}")
    seconds = time.monotonic() - started
    words = "; ".join((f"in {seconds:.1f} s on {model.device}", *model.notes))
    return "loads", words, {"load_s": seconds, "device": model.device, "notes": model.notes}


def _answered(model: LlamaCpp) -> tuple[str, str, dict[str, Any]]:
    reply = model.complete(_QUESTION, _SCHEMA, Limits(32, ANSWER_S), seed=0)
    if reply.failure is not None:
        raise EnvironmentProblem(f"model {model.file.path}: {reply.failure.evidence}")
    peak, resident = _memory(model.pid, "VmHWM"), _memory(model.pid, "VmRSS")
    needed = plan_here(model.file, model.context).need.total
    words = f"{reply.text} in {reply.seconds:.2f} s; {reply.tokens_in} tokens in"
    words += f"; it takes {size(resident)} of memory, {size(needed)} were expected"
    if peak > _NOTICED * resident:
        words += f" ({size(peak)} while it was loaded, with pages of the file)"
    values = {"answer": reply.text, "answer_s": reply.seconds, "peak_bytes": peak}
    values |= {"resident_bytes": resident}
    return "answers", words, {**values, "needed_bytes": needed}


def _memory(pid: int | None, field: str) -> int:
    try:
        return parse_kib_field(Path(f"/proc/{pid}/status").read_text("utf-8"), field) or 0
    except OSError:
        return 0


def _paths(folders: Sequence[Path], configured: Settings) -> Iterable[Path]:
    """Each file once, in the order in which its place is looked at."""
    found: list[Path] = []
    if not folders:
        files = (route.choice.file for route in model_routes(configured).values())
        found += [path_of(file) for file in files if file]
    try:
        if not folders:
            found += models_in(Path.cwd(), depth=0)
        for folder in folders or filter(None, [configured.models_folder]):
            at = _clean(Path(folder).expanduser())
            found += models_in(at)
    except OSError as error:
        raise problem("read", Path(error.filename), error) from None
    return dict.fromkeys(found)


def _row(path: Path, configured: Settings) -> Row:
    role = _role(path, configured)
    try:
        file = gguf.describe(path)
    except EnvironmentProblem as error:
        words = str(error).removeprefix(f"model {path}: ")
        return Row(path, None, None, role, words)
    return Row(path, file, plan_here(file) if file.kind == LANGUAGE else None, role)


def _role(path: Path, configured: Settings) -> str:
    routes = model_routes(configured)
    roles = [role for role, route in routes.items() if route.choice.file == str(path)]
    return _EVERY_ROLE if len(roles) == len(routes) else ", ".join(roles)


def _threads(file: ModelFile, configured: Settings) -> threads.Threads:
    given = threads.here(os.environ)
    return threads.choose(file.size_bytes, given, configured.model_threads)


def _allowed(digest: str, configured: Settings) -> str:
    known = digests(configured.model_digests)
    if not known:
        return "yes: this site has no list"
    return f"yes: {known[digest] or 'it is'} on the site's list"


def _path(file: str) -> Path:
    return path_of(file) if file == SHIPPED else Path(file)


def _clean(file: Path) -> Path:
    return Path(clean(str(file), "FILE")).absolute()
