"""The command models qualify: a model goes through a fixed set of tasks, and a card tells."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpcagent.cli.asks import request_options
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.models_subject import model_argument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hpcagent.cli.kernelgate import Gate
    from hpcagent.cli.models_subject import Subject
    from hpcagent.llm.qualify.answers import Answers
    from hpcagent.llm.qualify.ask import Answer
    from hpcagent.llm.qualify.card import Card
    from hpcagent.llm.qualify.family import Family

_KERNEL = "kernel"
_WORTH_TELLING_S = 60.0
_FAMILIES = click.Choice(("menu", "diagnosis", "merit", _KERNEL, "invent"))


@click.command()
@model_argument
@click.option("--only", multiple=True, type=_FAMILIES, help="Only these tasks (repeatable).")
@click.option("--without", multiple=True, type=_FAMILIES, help="Not these tasks (repeatable).")
@click.option(
    "--answers",
    "kept",
    type=PATH,
    metavar="FILE",
    help="Where answers are kept. Default: qualification-NAME.jsonl in this folder.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, 3600),
    help="Seconds that an answer may take; what took longer is asked again with a larger number. "
    "Default: answer_seconds of the role, else 300.",
)
@click.option(
    "--scheduler", metavar="NAME",
    help="Where kernels are built and run: local, slurm or pbs, as for `hpcagent codegen`.",
)  # fmt: skip
@request_options
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
def qualify(
    model: str, only: tuple[str, ...], without: tuple[str, ...], kept: Path | None,
    timeout_s: float | None, scheduler: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Put a model through a fixed set of tasks, and print its score card.

    The model is a GGUF FILE, a server's URL, or a ROLE of the configuration (debug, codegen ...).
    Tasks: menu choices as in tune, the diagnosis of failures, expressions for figures of merit,
    small kernels in C, and refusing to invent figures. Each is compared with chance. Kernels are
    built and run in jobs only, through the gate of `hpcagent codegen`. Answers are kept as they
    come; the same command goes on after an interruption.

    \b
    Examples:
      hpcagent models qualify tuner.gguf
      hpcagent models qualify codegen --only kernel --partition compute
      hpcagent models qualify http://127.0.0.1:8080/v1 --without kernel --json
    """
    from hpcagent.cli.asks import asked
    from hpcagent.cli.kernelgate import Gate
    from hpcagent.cli.models_subject import named, subject
    from hpcagent.cli.targets import place
    from hpcagent.config import load_settings
    from hpcagent.llm.qualify.answers import Answers
    from hpcagent.llm.qualify.family import QUALIFICATION
    from hpcagent.llm.qualify.run import families

    configured = load_settings(os.environ, Path.cwd())
    chosen = families(only, without)
    gate = None
    if any(family.name == _KERNEL for family in chosen):
        gate = Gate(place(scheduler, asked(), configured), configured)
    with subject(model, configured) as found:
        record = found.record()
        answers = Answers(
            kept or Path(f"qualification-{named(record)}.jsonl"),
            {"qualification": QUALIFICATION, "model_sha256": record["sha256"]},
        )
        try:
            _ask_what_is_missing(found, chosen, answers, timeout_s or found.answer_s)
            found.models.close()  # its memory is free before anything is compiled
            result = _card(chosen, gate, answers, record)
        finally:
            answers.close()
    _show(result, answers, as_json)
    return 0


def _ask_what_is_missing(
    found: Subject, chosen: Sequence[Family], answers: Answers, timeout_s: float
) -> None:
    """A model that has answered everything is not loaded."""
    from hpcagent.llm.qualify.run import missing, run

    left = missing(chosen, answers, timeout_s)
    if not left:
        return
    click.echo(f"{left} answers to be had; they are kept in {answers.path}", err=True)
    with _kept(answers):
        run(chosen, found.language_model, answers, timeout_s, _tell)


def _card(
    chosen: Sequence[Family], gate: Gate | None, answers: Answers, record: Mapping[str, Any]
) -> Card:
    """The card, after what the model wrote has gone through the gate."""
    from hpcagent.llm.qualify import kernel
    from hpcagent.llm.qualify.card import card

    if gate is not None:
        with _kept(answers):
            why_not = gate.judge(answers)
        told = {name.partition("/")[2]: words for name, words in answers.verdicts.items()}
        judged = kernel.family(told, f"not run: {why_not}" if why_not else "")
        chosen = [judged if one.name == _KERNEL else one for one in chosen]
    return card(chosen, answers.known, record)


@contextmanager
def _kept(answers: Answers) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"kept in {answers.path}; the same command goes on from there", err=True)
        raise


def _show(result: Card, answers: Answers, as_json: bool) -> None:
    from hpcagent.report.qualify_text import terminal

    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1))
        return
    click.echo(terminal(result, shutil.get_terminal_size().columns), nl=False)
    click.echo(f"\nanswers: {answers.path}")


def _tell(answer: Answer, number: int, count: int, left_s: float) -> None:
    from hpcagent.study.progress import clock

    what = f"{answer.tokens_in} tokens in, {answer.tokens_out} out, {answer.seconds:.1f} s"
    left = f"; about {clock(left_s)} left" if left_s >= _WORTH_TELLING_S else ""
    words = f"{answer.case} ({number} of {count}): {answer.failure or what}{left}"
    click.echo(words, err=True)
