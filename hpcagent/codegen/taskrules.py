"""What a task's fields have to be to each other; UsageError names file, line, field and cure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hpcagent.codegen.taskfields import BYTES, INTEGERS, Argument, Sizes
from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, compile_expression
from hpcagent.yamlfile import Document

if TYPE_CHECKING:
    from hpcagent.codegen.taskfile import TaskFile

# One array: what a node can surely hold four of (reference and candidate do not run at once).
MAX_ELEMENTS = 2**28
# Of what a program prints as a result.
MAX_PRINTED = 10000


def check_task(document: Document, task: TaskFile) -> None:
    """Raise UsageError for the first thing that is wrong."""
    _check_sort(document, task)
    _check_expressions(document, task)
    _check_cases(document, task)
    _check_rest(document, task)


def expression(task: TaskFile, text: str | int) -> Expression:
    """An expression over the task's sizes."""
    return compile_expression(str(text), task.sizes)


def _check_sort(document: Document, task: TaskFile) -> None:
    """Function or program, reference or checker, and what only one of them has."""
    if bool(task.function) == bool(task.program):
        raise UsageError(
            f"{document.where('program')}: program: give either a function, which is called, or a "
            "program, which has a main of its own"
        )
    if bool(task.reference) == bool(task.checker):
        raise UsageError(
            f"{document.where('checker')}: checker: give either a reference, whose results are the "
            "right ones, or a checker, which tells whether results are right"
        )
    if task.reference and task.tolerance is None:
        raise UsageError(
            f"{document.where('tolerance')}: tolerance: results never agree to the last bit: "
            "say how far they may be from the reference's"
        )
    if task.checker and task.tolerance is not None:
        words = "a checker has one of its own: leave it out"
        raise UsageError(f"{document.where('tolerance')}: tolerance: {words}")
    if task.checker and not task.program:
        words = "only a program has one so far; give a reference, or make the function a program"
        raise UsageError(f"{document.where('checker')}: checker: {words}")
    if task.function and task.repeats < 3:
        raise UsageError(f"{document.where('repeats')}: repeats: a function needs at least 3")
    _check_files(document, task)


def _check_files(document: Document, task: TaskFile) -> None:
    """What a program reads and writes."""
    for index, argument in enumerate(task.arguments):
        where = f"{document.where('arguments', index)}: arguments.{index}"
        if argument.stdout and not (task.program and argument.intent == "out"):
            raise UsageError(f"{where}: stdout: only what comes out of a program can be printed")
    if sum(argument.stdout for argument in task.arguments) > 1:
        where = document.where("arguments")
        raise UsageError(f"{where}: arguments: only one result can be printed")
    if task.program and task.contract.aliases:
        where = document.where("contract", "aliases")
        raise UsageError(f"{where}: contract.aliases: files of a program are always different ones")


def _check_expressions(document: Document, task: TaskFile) -> None:
    whole = [a.name for a in task.arguments if a.shape and a.type in INTEGERS]
    for index, argument in enumerate(task.arguments):
        at: list[tuple[tuple[str | int, ...], str | int]] = [
            (("arguments", index, "shape", i), text) for i, text in enumerate(argument.shape)
        ]
        for key in ("total", "below"):
            if getattr(argument.values, key):
                at.append((("arguments", index, "values", key), getattr(argument.values, key)))
        for keys, text in at:
            _compiled(document, task, keys, text)
        offsets = argument.values.offsets
        before = [a.name for a in task.arguments[:index] if a.name in whole]
        if offsets and offsets not in before:
            where = document.where("arguments", index, "values", "offsets")
            raise UsageError(
                f"{where}: offsets: no array of whole numbers before it is {offsets!r}"
            )
    if task.metric.count:
        _compiled(document, task, ("metric", "count"), task.metric.count)


def _compiled(
    document: Document, task: TaskFile, keys: tuple[str | int, ...], text: str | int
) -> None:
    try:
        expression(task, text)
    except UsageError as error:
        raise UsageError(f"{document.where(*keys)}: {dotted(keys)}: {error}") from None


def _check_cases(document: Document, task: TaskFile) -> None:
    rows: list[tuple[tuple[str | int, ...], Sizes]] = [
        (("cases", "check", i), sizes) for i, sizes in enumerate(task.cases.check)
    ]
    rows += [(("cases", "measure", name), sizes) for name, sizes in task.cases.measure.items()]
    for name, (low, high) in task.cases.vary.items():
        if name not in task.sizes or low > high:
            where = f"{document.where('cases', 'vary', name)}: cases.vary.{name}"
            raise UsageError(f"{where}: it has to be a size, with its least and its largest value")
    for end in (0, 1):
        drawn = {name: ends[end] for name, ends in task.cases.vary.items()}
        rows.append((("cases", "vary"), {**task.cases.check[-1], **drawn}))
    for keys, sizes in rows:
        where = f"{document.where(*keys)}: {dotted(keys)}"
        if set(sizes) != set(task.sizes):
            raise UsageError(f"{where}: it has to give {', '.join(task.sizes) or 'no sizes'}")
        together = sum(_bytes_of(task, argument, sizes, where) for argument in task.arrays)
        if together > task.budget.memory_gib * 2**30:
            words = f"its arrays take {together / 2**30:.3g} GiB, and budget.memory_gib allows"
            raise UsageError(f"{where}: {words} {task.budget.memory_gib:.3g}")
        for argument in task.arguments:
            top = 2**31 if argument.type == "int" else 2**63
            if argument.is_size and not -top <= sizes[argument.name] < top:
                raise UsageError(f"{where}: {argument.name} does not fit its type")


def _bytes_of(task: TaskFile, argument: Argument, sizes: Sizes, where: str) -> int:
    count = 1
    for text in argument.shape:
        value = expression(task, text).evaluate(sizes)
        known = isinstance(value, int | float) and 0 <= value < 2**63
        if not known or value != int(value):
            raise UsageError(f"{where}: the shape of {argument.name} is {value}")
        count *= int(value)
    most = MAX_PRINTED if argument.stdout else MAX_ELEMENTS
    if count > most:
        raise UsageError(f"{where}: {argument.name} has more than {most} elements")
    return count * BYTES[argument.type]


def _check_rest(document: Document, task: TaskFile) -> None:
    names = {a.name: a for a in task.arrays}
    for index, pair in enumerate(task.contract.aliases):
        where = f"{document.where('contract', 'aliases', index)}: contract.aliases"
        for name in pair:
            if name not in names:
                raise UsageError(f"{where}: {name!r} is no array of the interface")
        one, other = (names[name] for name in pair)
        if (one.type, one.shape) != (other.type, other.shape):
            raise UsageError(f"{where}: {one.name} and {other.name} differ in type or shape")
    if (task.parallel == "mpi") != bool(task.ranks):
        raise UsageError(
            f"{document.where('ranks')}: ranks: a task with parallel: mpi needs them, such as "
            "[1, 2, 3, 4]; no other has any"
        )
    if not re.fullmatch(r"[\x20-\x7e\n]*", task.text):
        raise UsageError(f"{document.where('text')}: text: plain ASCII, without tabs")


def dotted(keys: tuple[str | int, ...]) -> str:
    return ".".join(str(key) for key in keys)
