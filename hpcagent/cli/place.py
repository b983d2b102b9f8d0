"""Where runs are, by the configuration and the environment together."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from hpcagent.config import load_settings
from hpcagent.errors import UsageError
from hpcagent.study.rundir import RunDir, resolve, runs_root
from hpcagent.templates import clean


def runs_folder() -> Path:
    """The folder of all runs; UsageError where its name holds a control character."""
    return Path(clean(runs_root(_environment()), "runs folder"))


def find_run(text: str) -> RunDir:
    """The run that RUN on the command line names."""
    return resolve(text, _environment())


def standard_input() -> BinaryIO:
    """What `-` stands for; UsageError where whoever started us has closed it (`<&-`)."""
    if sys.stdin is None:
        raise UsageError("-: standard input is closed: pipe something into it, or name a file")
    return sys.stdin.buffer


def _environment() -> dict[str, str]:
    return {**os.environ, "HPCAGENT_RUNS": load_settings(os.environ, Path.cwd()).runs}
