"""The group of all commands."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from hpcagent import __version__
from hpcagent.cli.lazy import LazyGroup, Table
from hpcagent.cli.streams import hold_standard_streams
from hpcagent.errors import EnvironmentProblem, HpcagentError

INTERRUPTED = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)  # of the disk that the output goes to

_COMMANDS: Table = {
    "tune": ("hpcagent.cli.tune", "Find the fastest settings of a library or an application."),
    "build": ("hpcagent.cli.build", "Build a library or a program, once and correctly."),
    "run": ("hpcagent.cli.plan", "Do the steps of a plan: build, tune, compare and others."),
    "compare": ("hpcagent.cli.compare", "Compare node types, each with its best settings."),
    "scale": ("hpcagent.cli.scale", "Measure what more nodes gain an application."),
    "probe": ("hpcagent.cli.probe", "Tell what this machine, or a partition's nodes, have."),
    "doctor": ("hpcagent.cli.doctor", "Find out which toolchains work here, and why not."),
    "codegen": ("hpcagent.cli.codegen", "Let code be written, checked and measured."),
    "resume": ("hpcagent.cli.runs", "Continue a run after an interruption or a crash."),
    "step": ("hpcagent.cli.runs", "Do what can be done now, submit, and exit."),
    "chain": ("hpcagent.cli.chain", "Drive a run from inside batch jobs, one after the other."),
    "status": ("hpcagent.cli.runs", "Show where a run is, or list all runs."),
    "report": ("hpcagent.cli.runs", "Show a run's result and write its report again."),
    "explain": ("hpcagent.cli.explain", "Say why a log or a run failed, and how to cure it."),
    "watch": ("hpcagent.cli.watch", "Follow a run that another process drives."),
    "advise": ("hpcagent.cli.requests", "Give the agent of a run a hint."),
    "approve": ("hpcagent.cli.requests", "Let a run reserve more core-hours."),
    "cancel": ("hpcagent.cli.requests", "Cancel a run and its jobs."),
    "stop": ("hpcagent.cli.requests", "Ask the agent of a run to stop, not its jobs."),
    "models": ("hpcagent.cli.models", "Tell which language models there are and what they do."),
    "history": ("hpcagent.cli.history", "Show and carry what earlier runs left for later ones."),
    "config": ("hpcagent.cli.siteconfig", "Write, show and test the configuration."),
}


@click.group(
    cls=LazyGroup,
    table=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit codes: 0 done (also when nothing is better than the default), 2 usage, "
    "3 environment, 4 refused by the scheduler, 5 budget too small or spent, 6 run in use, "
    "7 run failed, 130 interrupted (resumable).",
)
@click.version_option(__version__, prog_name="hpcagent")
def group() -> None:
    """Tune HPC libraries and applications on your own machine or cluster, offline.

    \b
    Begin with:      hpcagent tune --lib openblas
    See what it did: hpcagent report RUN
    After a break:   hpcagent resume RUN

    RUN is a path, or the name of a folder below $HPCAGENT_RUNS (default: ./runs).
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        words = "the folder that you are in does not exist any more; cd to one that does"
        raise EnvironmentProblem(words) from None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a documented code."""
    hold_standard_streams()
    try:
        code = group.main(
            args=None if argv is None else list(argv), prog_name="hpcagent", standalone_mode=False
        )
    except click.exceptions.Abort:
        code = INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "hpcagent"
        words = " ".join(error.format_message().split())
        _complain(f"{words} (see: {where} --help)")
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        click.echo("hpcagent: interrupted", err=True)
        code = INTERRUPTED
    except HpcagentError as error:
        _complain(str(error))
        code = error.exit_code
    except SystemExit:
        # How click ends where the reader of our output went away (`| head`).
        code = 0
    except OSError as error:
        if error.errno not in _FULL and error.filename is None:
            raise
        _silence()
        doing = "write" if error.errno in _FULL else "use"
        _complain(f"cannot {doing} {error.filename or 'the output'}: {error.strerror}")
        code = EnvironmentProblem.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _complain(words: str) -> None:
    """Say what was wrong; where not even that can be written, the exit code says it alone."""
    with suppress(OSError):
        click.echo(f"hpcagent: error: {words}", err=True)


def _silence() -> None:
    """Keep the interpreter from complaining of what of the output is still to be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
