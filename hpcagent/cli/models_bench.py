"""`hpcagent models bench`: how fast a model is here, beside a bare llama.cpp loop."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click

from hpcagent.cli.models_subject import model_argument, route_of
from hpcagent.cli.runs import json_option
from hpcagent.cli.waiting import waiting
from hpcagent.config import load_settings
from hpcagent.embedded.opening import path_of
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Failure
from hpcagent.study.admission import admit

_REPEATS = 5
_MOST_S = 900.0
_Repeats = Sequence[Mapping[str, float]]


@click.command()
@model_argument
@json_option
@click.option(
    "--tokens",
    metavar="N",
    type=click.IntRange(8, 2000),
    default=64,
    show_default=True,
    help="Tokens of answer a repeat; the prompt has eight times as many.",
)
def bench(model: str, as_json: bool, tokens: int) -> int:
    """Measure how fast a model (a GGUF FILE, or that of a ROLE) reads and writes here.

    The engine and a bare llama.cpp loop take turns, token by token, in one process with the same
    threads; five repeats, or as many as fit into a quarter of an hour. A slow model gets a shorter
    prompt and answer.
    """
    configured = load_settings(os.environ, Path.cwd())
    choice = route_of(model, configured).choice
    if choice.endpoint:
        raise UsageError(
            f"{choice.label}: a server cannot be compared with a bare llama.cpp loop; `hpcagent "
            f"models verify {model}` tells how long an answer takes"
        )
    file = path_of(choice.file)
    tell = waiting()
    admit(file, configured, tell=tell)
    engine = LlamaCpp(file, threads=configured.model_threads)
    engine.tell = tell
    try:
        prompt = min(8 * tokens, engine.context - tokens)
        found = engine.bench(max(1, prompt), tokens, _REPEATS, _MOST_S)
    finally:
        engine.close()
    if isinstance(found, Failure):
        raise EnvironmentProblem(f"model {file}: {found.id}: {found.evidence}")
    if as_json:
        told = {"schema": 1, "path": str(file), "device": engine.device, **_figures(found), **found}
        click.echo(json.dumps(told, indent=1))
        return 0
    for line in _lines(file, engine, found):
        click.echo(line)
    return 0


def _figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Medians over the repeats; ratios above 1 say that the engine is the faster."""
    repeats: _Repeats = found["repeats"]
    return {
        "read_tokens_per_s": found["prompt_tokens"] / _median(repeats, "cold_s"),
        "bare_read_tokens_per_s": found["prompt_tokens"] / _median(repeats, "bare_cold_s"),
        "read_ratio": median(_ratios(repeats, "bare_cold_s", "cold_s")),
        "write_tokens_per_s": 1 / _median(repeats, "token_s"),
        "bare_write_tokens_per_s": 1 / _median(repeats, "bare_token_s"),
        "write_ratio": median(_ratios(repeats, "bare_token_s", "token_s")),
        "first_token_cold_s": _median(repeats, "cold_s"),
        "first_token_warm_s": _median(repeats, "warm_s"),
        "warm_ratio": median(_ratios(repeats, "warm_s", "cold_s")),
        "new_share": found["new_tokens"] / found["prompt_tokens"],
    }


def _lines(file: Path, model: LlamaCpp, found: Mapping[str, Any]) -> Iterator[str]:
    figures, repeats = _figures(found), found["repeats"]
    count, prompt = len(repeats), found["prompt_tokens"]
    yield f"model    {file.name} ({model.file.architecture}, {model.file.quantisation})"
    yield f"threads  {found['threads']}, on {model.device}"
    yield f"memory   {found['resident_bytes'] / 1e6:.0f} MB at most, both loops together"
    yield ""
    yield f"{'':24}{'here':>10}{'bare loop':>11}{'ratio':>8}   {count} repeats"
    for name, key, others, own in (
        ("reading, tokens/s", "read", "bare_cold_s", "cold_s"),
        ("writing, tokens/s", "write", "bare_token_s", "token_s"),
    ):
        here = figures[f"{key}_tokens_per_s"]
        bare = figures[f"bare_{key}_tokens_per_s"]
        ratio, spread = figures[f"{key}_ratio"], _spread(_ratios(repeats, others, own))
        yield f"{name:24}{here:>10.1f}{bare:>11.1f}{ratio:>8.2f}   {spread}"
    yield ""
    yield f"first token after {prompt} new ones: {figures['first_token_cold_s']:.3f} s"
    yield (
        f"where {found['new_tokens']} of them are new: {figures['first_token_warm_s']:.3f} s,"
        f" {100 * figures['warm_ratio']:.0f} % for {100 * figures['new_share']:.0f} % of the tokens"
    )


def _median(repeats: _Repeats, name: str) -> float:
    return median(line[name] for line in repeats)


def _ratios(repeats: _Repeats, above: str, below: str) -> list[float]:
    return [line[above] / line[below] for line in repeats]


def _spread(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"
