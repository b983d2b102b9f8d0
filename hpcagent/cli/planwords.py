"""From the options of a plan's step to the words of a command line, each checked on the way."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hpcagent.cli.asks import asked, choose_scheduler
from hpcagent.cli.codegen import LIST, NEW
from hpcagent.cli.planbegin import command_of, message, placed
from hpcagent.config import load_settings
from hpcagent.errors import UsageError
from hpcagent.study.plan import COMMANDS, Plan, PlanStep
from hpcagent.study.plan_file import FileStep, PlanFile
from hpcagent.templates import clean

# What the plan itself decides, and what makes no run.
_NOT_HERE = frozenset(
    {"run_dir", "no_wait", "dry_run", "as_json", "help", "parameters", "cached", "function_example",
     "name"}
)  # fmt: skip


_MOST = 2.0**63


def planned(file: PlanFile) -> Plan:
    """The plan of a file whose every step is a command line that could be given.

    UsageError and others say file, line and step.
    """
    folder = file.document.path.absolute().parent
    _check_defaults(file)
    steps = [_step(file, step, folder) for step in file.steps]
    return Plan(str(file.document.path.absolute()), str(folder), tuple(steps), file.title)


def _check_defaults(file: PlanFile) -> None:
    for name in file.defaults:
        if not any(_parameter(command_of(command), name) for command in COMMANDS):
            where = file.document.where("defaults", name)
            raise UsageError(f"{where}: {name}: no command has such an option")


def _step(file: PlanFile, step: FileStep, folder: Path) -> PlanStep:
    command = command_of(step.command)
    given = {name: v for name, v in file.defaults.items() if _parameter(command, name)}
    words: list[str] = []
    arguments: list[str] = []
    for name, value in (given | dict(step.options)).items():
        where = f"{file.where(step, name)}: {name}"
        parameter = _parameter(command, name)
        if parameter is None or parameter.name in _NOT_HERE:
            raise UsageError(f"{where}: {_not_known(command, step.command, name, parameter)}")
        texts = _texts(parameter, value, where)
        if isinstance(parameter, click.Argument):
            arguments += texts
        else:
            words += _option(parameter, texts, value)
    if step.command == "codegen" and set(arguments) & {NEW, LIST}:
        raise UsageError(f"{file.where(step, 'task')}: task: {arguments[0]} begins no run")
    words += (["--"] if any(text.startswith("-") for text in arguments) else []) + arguments
    made = PlanStep(step.name, step.command, tuple(words), step.needs, where=file.where(step))
    return replace(made, scheduler=_scheduler(command, file, step, made, folder))


def _parameter(command: click.Command, name: str) -> click.Parameter | None:
    """The option that is spelt `--name` on the command line, or the argument of that name."""
    for parameter in command.params:
        is_argument = isinstance(parameter, click.Argument) and parameter.name == name
        if is_argument or f"--{name}" in parameter.opts:
            return parameter
    return None


def _not_known(
    command: click.Command, name: str, key: str, parameter: click.Parameter | None
) -> str:
    if parameter is not None:
        return "is not for a step of a plan"
    known = sorted(
        spelt.removeprefix("--")
        for one in command.params
        if one.name not in _NOT_HERE
        for spelt in (one.opts if isinstance(one, click.Option) else [str(one.name)])
    )
    near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
    also = f"did you mean {near[0]}?" if near else f"see `hpcagent {name} --help`"
    return f"{name} has no such option; {also}"


def _texts(parameter: click.Parameter, value: Any, where: str) -> list[str]:
    """The values of an option or argument, as they are written on a command line."""
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    if flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: must be true or false")
        return []
    rows = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not (parameter.multiple or parameter.nargs == -1):
        raise UsageError(f"{where}: must be one value, not a list")
    if not rows:
        raise UsageError(f"{where}: the list is empty: leave it out")
    return [_text(parameter, row, where) for row in rows]


def _text(parameter: click.Parameter, value: str | float, where: str) -> str:
    """YAML reads 0123, 1:30:00 or 1e6 as other numbers and yes as true: only text is as written."""
    numeric = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
    if isinstance(value, str):
        return clean(value, where)
    if isinstance(value, bool) or not numeric:
        raise UsageError(f"{where}: must be text: put it between quotes")
    if abs(value) >= _MOST:
        raise UsageError(f"{where}: the number is too large")
    return str(value)


def _option(parameter: click.Parameter, texts: Sequence[str], value: Any) -> list[str]:
    spelt = next(word for word in parameter.opts if word.startswith("--"))
    if not texts:
        return [spelt] if value else []
    return [word for text in texts for word in (spelt, text)]


def _scheduler(
    command: click.Command, file: PlanFile, step: FileStep, made: PlanStep, folder: Path
) -> str:
    """Where the step's jobs will go; empty where only its beginning tells."""
    try:
        context = command.make_context(f"hpcagent {step.command}", list(made.words))
    except click.UsageError as error:
        option = getattr(getattr(error, "param", None), "opts", [""])[0].removeprefix("--")
        where = file.where(step, option if option in step.options else "")
        raise UsageError(f"{where}: step {step.name}: {message(error)}") from None
    if "scheduler" not in context.params:
        return ""
    with context, placed(made.where, step.name):
        configured = load_settings(os.environ, folder)
        return choose_scheduler(context.params["scheduler"], configured, asked())
