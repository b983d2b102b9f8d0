"""The command models qualify: a model goes through a fixed set of tasks, and a card tells."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpcagent.llm.gguf import ModelFile
    from hpcagent.llm.qualify.answers import Answers
    from hpcagent.llm.qualify.ask import Answer
    from hpcagent.llm.qualify.family import Family

_FAMILIES = ("menu", "diagnosis", "merit", "kernel", "invent")


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--only", multiple=True, type=click.Choice(_FAMILIES), help="Only these tasks (repeatable)."
)
@click.option(
    "--answers",
    "kept",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where answers are kept. Default: qualification-NAME.jsonl in this folder.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1, 3600),
    default=300,
    show_default=True,
    help="Seconds that an answer may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
def qualify(
    file: Path, only: tuple[str, ...], kept: Path | None, timeout_s: float, as_json: bool
) -> int:
    """Put a model (a GGUF FILE) through a fixed set of tasks, and print its score card.

    Tasks: menu choices as in tune, the diagnosis of failures, expressions for figures of merit,
    small kernels in C, and refusing to invent figures. Each is compared with chance. Answers are
    kept as they come; the same command goes on after an interruption.

    \b
    Examples:
      hpcagent models qualify tuner.gguf
      hpcagent models qualify tuner.gguf --only menu --json
    """
    from hpcagent.config import load_settings
    from hpcagent.llm import gguf
    from hpcagent.llm.qualify.answers import Answers
    from hpcagent.llm.qualify.card import card
    from hpcagent.llm.qualify.family import QUALIFICATION
    from hpcagent.llm.qualify.run import families
    from hpcagent.report.qualify_text import terminal
    from hpcagent.study.admission import admit

    configured = load_settings(os.environ, Path.cwd())
    found = admit(file, configured)
    click.echo(f"reading {file} for its digest", err=True)
    model = {"name": file.name, "sha256": gguf.digest(file), "bytes": found.size_bytes}
    chosen = families(only)
    answers = Answers(
        kept or Path(f"qualification-{file.stem}.jsonl"),
        {"qualification": QUALIFICATION, "model_sha256": model["sha256"]},
    )
    try:
        _ask_what_is_missing(found, configured.model_threads, chosen, answers, timeout_s)
    finally:
        answers.close()
    result = card(chosen, answers.known, model)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=1))
    else:
        click.echo(terminal(result, shutil.get_terminal_size().columns), nl=False)
        click.echo(f"\nanswers: {answers.path}")
    return 0


def _ask_what_is_missing(
    file: ModelFile, threads: int, chosen: Sequence[Family], answers: Answers, timeout_s: float
) -> None:
    """A model that has answered everything is not loaded."""
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.llm.qualify.run import missing, run

    left = missing(chosen, answers)
    if not left:
        return
    click.echo(f"{left} answers to be had; they are kept in {answers.path}", err=True)
    model = LlamaCpp(file.path, threads=threads)
    try:
        run(chosen, model, answers, timeout_s, _tell)
    except KeyboardInterrupt:
        click.echo(f"kept in {answers.path}; the same command goes on from there", err=True)
        raise
    finally:
        model.close()


def _tell(answer: Answer, number: int, count: int) -> None:
    what = answer.failure or f"{answer.tokens_in} tokens in, {answer.tokens_out} out"
    click.echo(f"{answer.case} ({number} of {count}): {what}, {answer.seconds:.1f} s", err=True)
