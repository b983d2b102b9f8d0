"""The command explain: why a log or a run failed."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from hpcagent.cli.explainmodel import Asked, asking, say
from hpcagent.cli.modelroutes import model_option
from hpcagent.cli.place import find_run, standard_input
from hpcagent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpcagent.study.explaining import Explained
    from hpcagent.study.state import TuneState
    from hpcagent.toolchain.diagnosis import Diagnosis, Found

_SAMPLE = 1 << 16
_MOST_OPINIONS = 3  # failures of a run that a model is asked about


@click.command()
@click.argument("what", metavar="LOG|RUN|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--filter", "only_filter", is_flag=True, help="Print what matters of the log.")
@click.option(
    "--tokens",
    type=click.IntRange(50, 1_000_000),
    default=1500,
    show_default=True,
    help="Room for the filtered log; a token is four bytes.",
)
@click.option(
    "--exit",
    "exit_code",
    type=click.IntRange(0, 255),
    help="The exit code of what wrote the log, where you know it.",
)
@model_option
@click.option("--no-model", is_flag=True, help="Ask no language model, also where one is set.")
def explain(
    what: str, as_json: bool, only_filter: bool, tokens: int, exit_code: int | None,
    model: str | None, no_model: bool,
) -> int:  # fmt: skip
    """Say why something failed, from its LOG (- for standard input) or from a RUN.

    Causes are ranked, the root first, each with its line, what it means and how to cure it. A log
    that went well has none. Exit code 0 either way; 2 where it cannot be read.

    A language model (--model, or one of the role debug in the configuration) may add its words:
    which of the causes it takes for the one, and why. They are shown as such and change nothing.
    """
    with asking(model, no_model or only_filter) as asked:
        if _is_run(what):
            return _explain_run(what, as_json, only_filter, tokens, asked)
        from hpcagent.toolchain.diagnosis import diagnose

        with _opened(what) as stream:
            diagnosis = diagnose(stream, exit_code, name=what)
        _tell(diagnosis, what, as_json, only_filter, tokens, asked)
    return 0


def _is_run(what: str) -> bool:
    if what == "-":
        return False
    try:
        return Path(what).is_dir() or not Path(what).exists()
    except PermissionError:  # whatever it is, opening it tells why it cannot be read
        return False


@contextmanager
def _opened(what: str) -> Iterator[BinaryIO]:
    if what == "-":
        yield standard_input()
        return
    try:
        with Path(what).open("rb") as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"{what}: cannot be read: {error.strerror}") from None


def _tell(
    diagnosis: Diagnosis, what: str, as_json: bool, only_filter: bool, tokens: int, asked: Asked
) -> None:
    from hpcagent.toolchain.logfilter import filter_log

    wrong = diagnosis.failed or bool(diagnosis.causes)
    if as_json:
        filtered = filter_log(diagnosis, tokens)
        said = asked(diagnosis.causes, filtered.text) if wrong else None
        row = {
            "log": what,
            "failed": diagnosis.failed,
            "causes": [cause.to_json() for cause in diagnosis.causes],
            "lines": diagnosis.lines,
            "filtered": filtered.text,
            "tokens": filtered.tokens,
            "log_tokens": filtered.log_tokens,
            "model": None if said is None else said.to_json(),
        }
        click.echo(json.dumps(row, indent=1))
    elif only_filter:
        click.echo(filter_log(diagnosis, tokens).text)
    else:
        silent = not wrong and what != "-"
        _say(diagnosis, what, _no_log(Path(what)) if silent else "")
        if wrong:
            say(asked(diagnosis.causes, filter_log(diagnosis, tokens).text), _width())


def _no_log(path: Path) -> str:
    """Why a file without anything to tell may be none: it is empty, or no text."""
    with path.open("rb") as stream:
        sample = stream.read(_SAMPLE)
    if not sample:
        return "it is empty"
    packed = sample.startswith((b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff"))  # gzip, UTF-16
    strange = sample.decode("utf-8", "replace").count("\ufffd")
    if not packed and strange > 0.05 * len(sample):
        return "it is no text but other data"
    return ""


def _say(diagnosis: Diagnosis, what: str, no_log: str) -> None:
    from hpcagent.toolchain.diagnosis import complaint, suspected

    if diagnosis.causes:
        click.echo(_causes(diagnosis.causes))
    elif diagnosis.failed:
        click.echo(f"{what}: it failed, and no cause is known; see: hpcagent explain --filter")
    elif suspect := suspected(diagnosis):
        click.echo(f"{what}: nothing shows that it failed; if it did (--exit 1): {suspect.id}?")
        click.echo("\n".join(_quoted(suspect, _width())))
    elif said := complaint(diagnosis):
        click.echo(f"{what}: nothing shows that it failed, and no cause is known; if it did, see")
        click.echo(_field("line", f"{said[0]}: {said[1]}", _width()))
    else:
        click.echo(f"{what}: nothing wrong was found{no_log and ': '}{no_log}")


def _causes(causes: Sequence[Found]) -> str:
    """The first cause in full, the others in two lines each."""
    width = _width()
    first, *others = causes
    parts = [
        f"{_bold(first.id)}  (confidence {first.confidence:.2f})",
        *_quoted(first, width),
        _field("means", first.meaning, width),
        _field("cure", first.cure, width),
    ]
    if first.repair is not None:
        parts.append(_field("repair", first.repair.words(), width))
    if others:
        parts.append("also seen:")
    for other in others:
        parts.append(_field(other.id, f"{_place(other)}{other.quote}", width, indent=2))
    return "\n".join(parts)


def _quoted(cause: Found, width: int) -> list[str]:
    """The line, what it announces on the next one, and the place in a source it speaks of."""
    rows = [_field("line", f"{_place(cause)}{cause.quote}", width)]
    rows += [_field("", cause.next, width)] if cause.next else []
    return rows + ([_field("at", cause.where, width)] if cause.where else [])


def _width() -> int:
    return min(100, shutil.get_terminal_size((80, 24)).columns)


def _place(cause: Found) -> str:
    where = f"{cause.file}:{cause.line}" if cause.file else str(cause.line)
    return f"{where}: " if cause.line else ""


def _field(name: str, text: str, width: int, indent: int = 2) -> str:
    head = " " * indent + f"{name:6s} "
    wrapped = textwrap.wrap(
        text, max(20, width - 9), break_on_hyphens=False, break_long_words=False
    )
    wrapped = wrapped or [""]
    if len(head) > 9:
        return "\n".join([head.rstrip(), *(" " * 9 + line for line in wrapped[:2])])
    return "\n".join([head + wrapped[0], *(" " * 9 + line for line in wrapped[1:])])


def _bold(text: str) -> str:
    # click takes the style away where standard output is no terminal.
    return click.style(text, bold=True)


def _explain_run(what: str, as_json: bool, only_filter: bool, tokens: int, asked: Asked) -> int:
    from hpcagent.study.explaining import explain_run
    from hpcagent.study.session import read_state

    if not what:
        raise UsageError("the name is empty: give a log, a run, or - for standard input")
    path = Path(what)
    if path.is_dir() and not (path / "run.json").exists():
        raise UsageError(f"{what} is a folder and no run; give one of the logs in it")
    try:
        run = find_run(what)
    except UsageError as error:
        raise UsageError(f"{what} is no file that can be read, and: {error}") from None
    state = read_state(run)
    explained = explain_run(run, state, tokens)
    if as_json:
        rows = []
        for number, one in enumerate(explained):
            said = asked(one.causes, one.filtered) if number < _MOST_OPINIONS else None
            rows.append(one.to_json() | {"model": None if said is None else said.to_json()})
        click.echo(json.dumps({"run": run.id, "failures": rows}, indent=1))
        return 0
    if not explained:
        click.echo(f"{run.path.name}: {_well(state)}")
    for number, one in enumerate(explained):
        _say_unit(one, only_filter)
        if number < _MOST_OPINIONS:
            say(asked(one.causes, one.filtered), _width())
    return 0


def _well(state: TuneState) -> str:
    """What there is to say of a run whose units all did what they should."""
    from hpcagent.measure.results import failure_of

    failed = sum(failure_of(one) is not None for unit in state.rounds for one in unit.runs)
    if failed:
        return (
            f"no unit of it failed, but processes that were measured did ({failed}): "
            "`hpcagent report` names their configurations and says why"
        )
    return "nothing wrong was found: no unit of it failed"


def _say_unit(one: Explained, only_filter: bool) -> None:
    width = _width()
    head = f"{one.purpose} ({one.unit}): {one.failure}"
    click.echo("\n".join(textwrap.wrap(head, width, subsequent_indent="  ")))
    if only_filter:
        click.echo(one.filtered)
    elif one.causes:
        click.echo(_causes(one.causes))
    else:
        click.echo("  its logs say no more")
