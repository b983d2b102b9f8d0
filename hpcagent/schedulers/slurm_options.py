"""Further options of sbatch as a user or a site writes them: which are taken, which are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.templates import clean

_LONG = re.compile(r"--([a-z][a-z0-9-]*)(=.*)?", re.DOTALL)
_SHORT = re.compile(r"-([A-Za-z])(.*)", re.DOTALL)

# Short options of sbatch(1); those in _FLAGS take no value.
_SHORTS: Mapping[str, str] = MappingProxyType(
    {
        "A": "account", "a": "array", "b": "begin", "D": "chdir", "M": "clusters",
        "C": "constraint", "S": "core-spec", "c": "cpus-per-task", "d": "dependency",
        "m": "distribution", "e": "error", "x": "exclude", "B": "extra-node-info", "G": "gpus",
        "h": "help", "H": "hold", "i": "input", "J": "job-name", "L": "licenses", "k": "no-kill",
        "F": "nodefile", "w": "nodelist", "N": "nodes", "n": "ntasks", "o": "output",
        "O": "overcommit", "s": "oversubscribe", "p": "partition", "q": "qos", "Q": "quiet",
        "t": "time", "u": "usage", "v": "verbose", "V": "version", "W": "wait",
    }
)  # fmt: skip
_FLAGS = frozenset("hHkOsQuvVW")

_ITSELF = "hpcagent sets it for each job"
_NEVER = "a job of hpcagent cannot have it"
# Options that are not a user's to give here, and what to use instead.
_OURS: Mapping[str, str] = MappingProxyType(
    {
        "account": "use hpcagent's --account",
        "constraint": "use hpcagent's --constraint",
        "gres": "use hpcagent's --gres",
        "hint": "use hpcagent's --hint",
        "licenses": "use hpcagent's --licenses",
        "mem": "use hpcagent's --mem",
        "mem-per-cpu": "use hpcagent's --mem-per-cpu",
        "partition": "use hpcagent's --partition",
        "qos": "use hpcagent's --qos",
        "reservation": "use hpcagent's --reservation",
        "cpus-per-task": "use hpcagent's --cores",
        "exclusive": "it is the default; hpcagent's --shared turns it off",
        "oversubscribe": "use hpcagent's --shared",
        "share": "use hpcagent's --shared",
        "time": "it is estimated from what was measured; hpcagent's --budget wall=TIME bounds it",
        "time-min": "the time limit is estimated from what was measured",
        "clusters": "set SBATCH_CLUSTERS in the environment",
        "cluster": "set SBATCH_CLUSTERS in the environment",
        **dict.fromkeys(
            (
                "chdir", "dependency", "error", "job-name", "nodes", "ntasks", "ntasks-per-node",
                "open-mode", "output", "signal", "workdir",
            ),
            _ITSELF,
        ),
        **dict.fromkeys(
            (
                "array", "export", "export-file", "get-user-env", "gid", "help", "input", "jobid",
                "parsable", "quiet", "test-only", "uid", "usage", "version", "wait", "wrap",
            ),
            _NEVER,
        ),
    }
)  # fmt: skip


def options(words: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    """The options with their long names, and their values (None: it has none).

    Raises UsageError for one that is managed, in its short or an abbreviated form too, and for
    what is no option.
    """
    return tuple(_option(word) for word in words)


def _option(word: str) -> tuple[str, str | None]:
    clean(word, "scheduler option")
    long = _LONG.fullmatch(word)
    short = _SHORT.fullmatch(word)
    if long is not None:
        name, value = long[1], long[2][1:] if long[2] else None
    elif short is not None and short[1] in _SHORTS:
        name, value = _SHORTS[short[1]], short[2] or None
        if short[1] in _FLAGS and value is not None:
            raise UsageError(f"scheduler option {word!r}: write its flags one by one")
    else:
        raise UsageError(
            f"scheduler option {word!r}: write one option of sbatch in one word, as --nice=100"
        )
    managed = _managed(name)
    if managed is not None:
        raise UsageError(f"scheduler option {word!r}: {_OURS[managed]}")
    return name, value


def _managed(name: str) -> str | None:
    """The option of ours that a name means; getopt takes any beginning of one."""
    if name in _OURS:
        return name
    return next((ours for ours in sorted(_OURS) if ours.startswith(name)), None)
