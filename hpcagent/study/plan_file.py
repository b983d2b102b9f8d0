"""Reads a plan: a YAML file of steps, each a command of hpcagent with its options."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.study import plan_loops as loops
from hpcagent.study.plan import COMMANDS, FIELDS, REFERENCE
from hpcagent.yamlfile import Document, load_yaml

SCHEMA = 1
MAX_STEPS = 200
EXAMPLE = """\
# hpcagent run plan.yaml
schema: 1
title: Is our own OpenBLAS worth building, and on which partition?
defaults: {account: proj1}      # given to every step that has such an option
steps:
  - name: nodes                 # a step is a command of hpcagent with its options
    probe: {partition: all}
  - name: lib
    build: {lib: openblas, source: OpenBLAS.tar.gz, sha256: HASH, partition: old}
  - name: on-{partition}        # a step for each: on-old, on-new
    for: {partition: [old, new]}
    tune:
      lib: openblas
      openblas-prefix: "{lib.prefix}"     # so it waits for lib
      workload: mix.yaml                  # files are looked for beside the plan
      partition: "{partition}"
      budget: [rounds=6, core-hours=20]   # an option that is repeated
  - name: which
    compare: {runs: ["{on-*.run}"]}       # of all steps with such a name
  - name: toolchains
    doctor: {partition: new}
    needs: [which]                        # an order that no reference tells
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_TOP = ("schema", "title", "defaults", "steps")
_BESIDE = ("name", "needs", loops.FOR)
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class FileStep:
    """A step as the file has it: `options` are of `command`; `index` is its place among all."""

    index: int
    name: str
    command: str
    options: Mapping[str, Any]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class PlanFile:
    document: Document
    title: str
    defaults: Mapping[str, Any]
    steps: tuple[FileStep, ...]

    def where(self, step: FileStep, option: str = "") -> str:
        """`file:line` of a step, or of one of its options, which may be a default."""
        at: tuple[str | int, ...] = ("steps", step.index, step.command, option)
        if option and at not in self.document.lines and option in self.defaults:
            at = ("defaults", option)
        return self.document.where(*(at if option else at[:2]))


def read_plan(path: Path) -> PlanFile:
    """The steps of a plan file, their options not checked yet. UsageError with file and line."""
    document = load_yaml(path)
    data = _mapping(document, (), "a plan is a mapping with the key 'steps'")
    _known(document, (), data, _TOP)
    if data.get("schema") != SCHEMA:
        raise UsageError(f"{document.where('schema')}: schema: write schema: {SCHEMA}")
    title = data.get("title", "")
    if not isinstance(title, str):
        raise UsageError(f"{document.where('title')}: title: must be text: put it between quotes")
    defaults = _options(document, ("defaults",)) if "defaults" in data else {}
    _referred(document, ("defaults",), defaults)
    rows = data.get("steps")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{document.where('steps')}: steps: must be a list of at least one step")
    steps: list[FileStep] = []
    for index in range(len(rows)):
        for step in _steps(document, index, tuple(steps)):
            steps.append(step)
            if len(steps) > MAX_STEPS:
                raise UsageError(f"{document.where('steps')}: steps: more than {MAX_STEPS}")
    return PlanFile(document, title, defaults, tuple(steps))


def _steps(document: Document, index: int, before: Sequence[FileStep]) -> Iterator[FileStep]:
    """What a row of the file stands for: a step, or one for each turn of its `for`."""
    at = ("steps", index)
    row = _mapping(document, at, "a step is a mapping like {name: lib, build: {lib: openblas}}")
    _known(document, at, row, (*_BESIDE, *COMMANDS))
    commands = [key for key in row if key in COMMANDS]
    if len(commands) != 1:
        found = " and ".join(commands) if commands else "none"
        raise UsageError(
            f"{document.where(*at)}: a step has one of {', '.join(COMMANDS)}; here is {found}"
        )
    options = _options(document, (*at, commands[0]))
    written, names = str(row.get("name")), set[str]()
    for turn in loops.turns(document, at, row, MAX_STEPS):
        wrong = loops.misspelt([row.get("name"), options, row.get("needs")], turn)
        if wrong:
            raise UsageError(f"{document.where(*at)}: {wrong}")
        filled = loops.put({**row, commands[0]: options}, turn)
        filled |= {"name": str(filled["name"])} if turn and "name" in filled else {}
        made = _step(document, index, filled, before)
        if made.name in names:
            missing = " and ".join(f"{{{one}}}" for one in loops.unused(written, turn))
            words = f"put {missing} into it" if missing else "an entry of for stands there twice"
            where = f"{document.where(*at, 'name')}: name"
            raise UsageError(f"{where}: {made.name} would be the name of several steps: {words}")
        names.add(made.name)
        yield made


def _step(
    document: Document, index: int, row: Mapping[str, Any], before: Sequence[FileStep]
) -> FileStep:
    """A row whose `for` is put in."""
    at = ("steps", index)
    command = next(key for key in row if key in COMMANDS)
    name = row.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        words = "is missing" if name is None else f"{name!r}: letters, digits, - and _, at most 40"
        raise UsageError(f"{document.where(*at, 'name')}: name: {words}")
    names = [step.name for step in before]
    if name in names:
        raise UsageError(f"{document.where(*at, 'name')}: name: {name} is a step above already")
    _referred(document, (*at, command), row[command], before)  # while places are the file's
    options = loops.gathered(row[command], names)
    referred = _referred(document, (*at, command), options, before)
    needs = [*_needs(document, at, row, names), *referred]
    return FileStep(index, name, command, options, tuple(dict.fromkeys(needs)))


def _needs(
    document: Document, at: tuple[str | int, ...], row: Mapping[str, Any], names: list[str]
) -> list[str]:
    needs = row.get("needs", [])
    if not isinstance(needs, list):
        raise UsageError(f"{document.where(*at, 'needs')}: needs: must be a list, as in [lib, old]")
    found = [(place, one) for place, need in enumerate(needs) for one in loops.fitting(need, names)]
    for place, need in found:
        if need not in names:
            raise UsageError(
                f"{document.where(*at, 'needs', place)}: needs: {_no_step(need, names)}"
            )
    return [str(need) for _, need in found]


def _referred(
    document: Document,
    at: tuple[str | int, ...],
    options: Mapping[str, Any],
    before: Sequence[FileStep] = (),
) -> list[str]:
    """The steps that options refer to; UsageError for a reference to what cannot be."""
    commands = {step.name: step.command for step in before}
    found = []
    for keys, text in _texts(options, at):
        wrong = loops.unfit(text, list(commands))
        if wrong:
            raise UsageError(f"{document.where(*keys)}: {text}: {wrong}")
        for reference in REFERENCE.finditer(text):
            name, field = reference[1], reference[2]
            where = f"{document.where(*keys)}: {reference[0]}"
            if name not in commands:
                raise UsageError(f"{where}: {_no_step(name, list(commands))}")
            if field not in FIELDS[commands[name]]:
                known = ", ".join(FIELDS[commands[name]])
                raise UsageError(f"{where}: a {commands[name]} step has {known}")
            found.append(name)
    return found


def _texts(
    options: Mapping[str, Any], at: tuple[str | int, ...]
) -> list[tuple[tuple[str | int, ...], str]]:
    """The texts among the options at `at`, each with its place."""
    found = []
    for option, value in options.items():
        rows = value if isinstance(value, list) else [value]
        keys = [(*at, option, place) for place in range(len(rows))]
        keys = keys if isinstance(value, list) else [(*at, option)]
        found += [(k, row) for k, row in zip(keys, rows, strict=True) if isinstance(row, str)]
    return found


def _no_step(name: object, names: list[str]) -> str:
    near = difflib.get_close_matches(str(name), names, 1)
    also = (
        f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}" if names else ""
    )
    return f"no step {name!r} is above this one{also}"


def _options(document: Document, at: tuple[str | int, ...]) -> Mapping[str, Any]:
    value = _at(document, at)
    if value is None:  # `probe:` alone
        return {}
    options = _mapping(document, at, "options are a mapping like {lib: openblas, budget: rounds=6}")
    for name, one in options.items():
        rows = one if isinstance(one, list) else [one]
        if not all(isinstance(row, _SCALARS) for row in rows):
            raise UsageError(
                f"{document.where(*at, name)}: {name}: must be a value, or a list of values"
            )
    return options


def _mapping(document: Document, at: tuple[str | int, ...], words: str) -> Mapping[str, Any]:
    value = _at(document, at)
    if not isinstance(value, dict):
        raise UsageError(f"{document.where(*at)}: {words}")
    return value


def _known(
    document: Document, at: tuple[str | int, ...], data: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    for key in data:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            also = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise UsageError(f"{document.where(*at, key)}: {key} is not known; {also}")


def _at(document: Document, at: tuple[str | int, ...]) -> Any:
    value = document.data
    for key in at:
        value = value[key]
    return value
