"""`hpcagent codegen`: kernels from a model or from a folder, through one gate and one measure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from hpcagent.cli.asks import asked, request_options
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.modelroutes import ask_servers, wanted
from hpcagent.cli.newrun import foreseen
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import json_option
from hpcagent.cli.targets import place
from hpcagent.cli.taskrun import begin, run_options
from hpcagent.codegen.candidates import read_candidates
from hpcagent.codegen.scaffold import scaffold
from hpcagent.codegen.taskfile import find_task, read_task, task_names
from hpcagent.config import load_settings
from hpcagent.errors import UsageError
from hpcagent.report.codegen_plan import plan_text
from hpcagent.study.codegen_story import Wish
from hpcagent.study.codegen_writer import ROLE, TRANSCRIPT
from hpcagent.study.task_plan import Task

NEW, LIST = "new", "list"
IN_BATCH = 2  # attempts at once, where nothing is said


@click.command()
@click.argument("task", metavar="TASK|new|list")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--candidates",
    type=PATH,
    metavar="DIR",
    help="Sources of your own: each file, or folder of one, is an attempt.",
)
@click.option(
    "--model",
    default="",
    metavar="FILE|URL",
    help="A language model (GGUF) that writes attempts, or the llm.jsonl of an earlier run, "
    "whose answers are given again. [default: the configured one, "
    "without --candidates]",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 500),
    metavar="N",
    help="Attempts of the model. [default: as the task says]",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Attempts that may be under way at once, each a job; measured is one at a time. "
    "With 1 two may, but none beside a measurement. "
    "[default: 1 on this machine, 2 in a batch system]",
)
@request_options
@run_options
@json_option
def codegen(
    task: str, name: str | None, candidates: Path | None, model: str, attempts: int | None,
    parallel: int | None,
    scheduler: str | None, run_dir: Path | None, no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Have code written, and believe only what is checked and measured.

    TASK is a task file (YAML), or the name of one that comes with hpcagent (`codegen list`). Every
    attempt is built and run in jobs only, within walls and limits; it has to give the reference's
    results on inputs that it cannot know, with sanitizers first, and is then timed against the
    reference in interleaved pairs. `codegen new NAME` begins a task of your own.

    \b
    Examples:
      hpcagent codegen list
      hpcagent codegen triad-c --candidates mine/
      hpcagent codegen task.yaml --model coder.gguf --partition compute
      hpcagent codegen new my-kernel
    """
    if task == LIST and name is None:
        return _list(as_json)
    if task == NEW:
        return _new(name)
    if name is not None:
        raise UsageError(f"codegen {task} {name}: only `codegen new NAME` takes a name")
    configured = load_settings(os.environ, Path.cwd())
    replay = model if model.endswith(TRANSCRIPT) else ""
    routes = {}
    if not replay and (model or candidates is None):
        routes = wanted(configured, model or None, (ROLE,))
    wish = _wish(find_task(task), candidates, bool(replay or routes), attempts)
    if replay and not Path(replay).is_file():
        raise UsageError(f"--model {replay}: there is no such file")
    there = place(scheduler, asked(), configured)
    if len(there.targets) != 1:
        raise UsageError("codegen measures on one kind of node: name one partition")
    if not dry_run:
        ask_servers(routes, configured.model_hosts)
    at_once = parallel or (1 if there.scheduler == "local" else IN_BATCH)
    full = replace(
        wish, compiler=configured.compiler, folder=str(runs_folder()), parallel=at_once
    )  # fmt: skip
    made = Task("codegen", there.targets, full.to_json())
    if dry_run and not as_json:
        foreseen(made.kind, run_dir)
        click.echo(f"{plan_text(full)}\n")
    return begin(
        made, there, configured, run_dir, no_wait=no_wait, dry_run=dry_run, as_json=as_json,
        routes=routes, replay=str(Path(replay).absolute()) if replay else "",
    )  # fmt: skip


def _wish(path: Path, candidates: Path | None, model: bool, attempts: int | None) -> Wish:
    task, reference = read_task(path)
    given: tuple[Mapping[str, Any], ...] = ()
    if candidates is not None:
        given = read_candidates(task, candidates)
    if not given and not model:
        raise UsageError(
            "nobody writes anything: name your sources with --candidates DIR, or a model with "
            "--model FILE.gguf"
        )
    if attempts is not None:
        budget = task.budget.model_copy(update={"attempts": attempts})
        task = task.model_copy(update={"budget": budget})
    return Wish(task, reference, given, model=model)


def _list(as_json: bool) -> int:
    """The shipped tasks: name, parallel model, and how the text begins."""
    tasks = {name: read_task(find_task(name))[0] for name in task_names()}
    if as_json:
        keys = {"language", "parallel", "text"}
        rows = [{"name": name, **task.model_dump(include=keys)} for name, task in tasks.items()]
        click.echo(json.dumps(rows, indent=1))
        return 0
    for name, task in tasks.items():
        head = f"{name:18} {task.parallel:7}"
        click.echo(f"{head} {shorten(task.text, 79 - len(head), placeholder=' ...')}")
    return 0


def _new(name: str | None) -> int:
    if not name:
        raise UsageError("codegen new: give the task a name, for instance my-kernel")
    for path in scaffold(Path.cwd(), name):
        click.echo(f"wrote {path}")
    click.echo(f"try it:\n  hpcagent codegen {name}/task.yaml --candidates {name}/candidates")
    return 0
