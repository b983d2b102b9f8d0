"""A request in the words of PBS: directives, launcher, and the script that qsub is given.

Every value is checked against what a directive line can carry: qsub splits such a line at blanks
and reads quotes in it, so that neither ever comes through.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.records import Resources
from hpcagent.schedulers import pbs_text
from hpcagent.templates import clean, quote_sh

PREFIX = "#PBS"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+%/=-]{0,254}")
_OPTION = re.compile(r"-([A-Za-z])(?:[ =]?([A-Za-z0-9_.,:;@+%^*/=~()<>\[\]-]{1,1000}))?")
_CHUNK = re.compile(r"(?::[A-Za-z][A-Za-z0-9_]*=[A-Za-z0-9_.@+/-]+)+")
_AFTER = f"{PREFIX} -W depend=afterany:"
_BANG = "#!"

# What hpcagent says itself, and what it would have to be told with instead.
_MANAGED: Mapping[str, str] = MappingProxyType(
    {
        "N": "hpcagent names its jobs",
        "q": "use --partition or --reservation",
        "A": "use --account",
        "o": "hpcagent writes the output beside the job script",
        "e": "hpcagent writes the output beside the job script",
        "j": "hpcagent writes the output beside the job script",
        "k": "hpcagent writes the output beside the job script",
        "R": "hpcagent writes the output beside the job script",
        "C": "hpcagent's job scripts use #PBS",
        "S": "the first line of the job script names its shell",
        "V": "the prologue of the site configuration makes the environment",
        "I": "hpcagent's jobs are not interactive",
        "X": "hpcagent's jobs are not interactive",
        "J": "hpcagent submits each job by itself",
        "z": "hpcagent reads the job's number from qsub",
        "f": "hpcagent gives it itself",
    }
)
_MANAGED_RESOURCES: Mapping[str, str] = MappingProxyType(
    {
        "select": "use hpcagent's nodes and CPUs; a site's chunk resource is given as :NAME=VALUE",
        "place": "hpcagent asks for exclusive or shared nodes itself",
        "walltime": "hpcagent sets the wall time of each job",
        "nodes": "use hpcagent's nodes and CPUs",
        "ncpus": "use hpcagent's nodes and CPUs",
        "mpiprocs": "use hpcagent's nodes and CPUs",
        "nodect": "use hpcagent's nodes and CPUs",
        "mem": "use hpcagent's memory",
    }
)
_MANAGED_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "depend": "hpcagent says which jobs must have ended",
        "umask": "the umask of the submitting process is used",
        "block": "hpcagent does not wait in qsub",
        "sandbox": "the job runs beside its script",
        "stagein": "the run directory must be visible on the nodes",
        "stageout": "the run directory must be visible on the nodes",
    }
)
_NO_MEANING = (
    ("qos", "--qos"),
    ("constraint", "--constraint"),
    ("gres", "--gres"),
    ("licenses", "--licenses"),
    ("hint", "--hint"),
)


def directives(resources: Resources, name: str) -> list[str]:
    """The `#PBS` lines of a request; UsageError for what PBS or a line cannot carry.

    Not expressed, since PBS has nothing for it: `avoid_nodes` (a preference) and `warn_s` (PBS
    sends no warning: a job that wants one watches its wall time). A job is not rerunnable unless
    an extra option says so: what a lost node ended is reported, not started again behind the back.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"job name {name!r}: use letters, digits, dots and dashes, at most 64")
    _refuse_foreign(resources)
    extra = [_extra(word) for word in resources.extra]
    chunk = "".join(word for word in extra if word.startswith(":"))
    options = [word for word in extra if word.startswith("-")]
    place = "scatter:excl" if resources.exclusive else "scatter"
    lines = [
        f"-N {name}",
        f"-l select={_select(resources)}{chunk}",
        f"-l place={place}",
        f"-l walltime={_walltime(resources.walltime_s)}",
        *_destination(resources),
    ]
    if resources.account is not None:
        lines.append(f"-A {_value(resources.account, 'account')}")
    if resources.after:
        lines.append(f"-W depend=afterany:{':'.join(_job_id(job) for job in resources.after)}")
    if not any(word.startswith("-r") for word in options):
        lines.append("-r n")
    return [f"{PREFIX} {line}" for line in lines + options]


def launcher(resources: Resources) -> list[str]:
    """mpiexec reads the nodes from PBS; empty for one task."""
    tasks = resources.nodes * resources.tasks_per_node
    return [] if tasks == 1 else ["mpiexec", "-n", str(tasks)]


def is_job_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def interpreter(script: str) -> tuple[str, ...]:
    """The words of the first line that start the script, as the kernel reads it; may be empty."""
    first = script.split("\n", 1)[0].rstrip("\r")
    return tuple(first[len(_BANG) :].split(None, 1)) if first.startswith(_BANG) else ()


def head(script: str) -> list[str]:
    """The `#PBS` lines above the first command, which qsub would read."""
    found = []
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(PREFIX):
            found.append(line.rstrip())
    return found


def waits_for(lines: Sequence[str]) -> list[str]:
    """Ids of the jobs that must have ended first, from the lines of `directives`."""
    found = (line.removeprefix(_AFTER) for line in lines if line.startswith(_AFTER))
    return [job for ids in found for job in ids.split(":") if pbs_text.is_job_id(job)]


def without(lines: Sequence[str], ended: Sequence[str]) -> list[str]:
    """The lines without a dependency on these jobs.

    PBS takes a job that depends on one it does not know, and ends it at once; where it keeps no
    history, that is every job that has ended.
    """
    kept = []
    for line in lines:
        ids = waits_for([line])
        left = [job for job in ids if job not in ended]
        if left != ids:
            line = _AFTER + ":".join(left) if left else ""
        if line:
            kept.append(line)
    return kept


def wrapper(lines: Sequence[str], script: str, words: Sequence[str], umask: int) -> str:
    """What qsub is given: the script's request, and the way into its folder.

    A PBS job begins in the user's home with umask 077. It copies its output at the end to a
    `host:path` in which qsub takes printable ASCII only, and stays in E for half a minute where
    that fails; so the output is opened here, beside the script. UsageError for a path that no
    shell line can carry. `script` is an absolute path, `words` start it.
    """
    folder = script.rpartition("/")[0] or "/"
    started = " ".join(quote_sh(word) for word in (*words, script))
    return "\n".join(
        [
            "#!/bin/sh",
            *(clean(line, "directive") for line in lines),
            "# Made at submission: hpcagent runs the job script in its own folder.",
            f"umask {umask:04o}",
            f"cd -- {quote_sh(folder)} || exit 127",
            "exec </dev/null >>out 2>>err",
            f"exec {started}",
            "",
        ]
    )


def _refuse_foreign(resources: Resources) -> None:
    for field, option in _NO_MEANING:
        if getattr(resources, field) is not None:
            raise UsageError(
                f"{option}: it has no general meaning in PBS; give the site's own resource, such "
                "as --scheduler-option=:model=NAME (of each chunk) or --scheduler-option='-l "
                "NAME=VALUE' (of the job)"
            )


def _select(resources: Resources) -> str:
    counts = (resources.nodes, resources.tasks_per_node, resources.cpus_per_task)
    if any(not 1 <= count < 10**7 for count in counts):
        raise UsageError(f"nodes, tasks and CPUs must be positive: {counts}")
    nodes, tasks, cpus = counts
    text = f"{nodes}:ncpus={tasks * cpus}:mpiprocs={tasks}"
    memory = _memory(resources, tasks * cpus)
    return text if memory is None else f"{text}:mem={math.ceil(memory / 1024)}kb"


def _memory(resources: Resources, cpus: int) -> int | None:
    """Bytes of one chunk, which is a node's part."""
    node, cpu = resources.memory_bytes, resources.memory_per_cpu_bytes
    if node is not None and cpu is not None:
        raise UsageError("memory is given for a node and for a CPU: give one of them")
    memory = node if cpu is None else cpu * cpus
    if memory is not None and memory < 1:
        raise UsageError(f"memory must be positive: {memory}")
    return memory


def _walltime(walltime_s: int) -> str:
    if not 1 <= walltime_s < 10**9:
        raise UsageError(f"wall time must be a positive number of seconds: {walltime_s}")
    return f"{walltime_s // 3600:02d}:{walltime_s // 60 % 60:02d}:{walltime_s % 60:02d}"


def _destination(resources: Resources) -> list[str]:
    """A reservation of PBS is a queue of its own."""
    if resources.partition is not None and resources.reservation is not None:
        raise UsageError("PBS: a reservation is a queue; give --partition or --reservation")
    if resources.reservation is not None:
        return [f"-q {_value(resources.reservation, 'reservation')}"]
    if resources.partition is not None:
        return [f"-q {_value(resources.partition, 'partition')}"]
    return []


def _value(text: str, what: str) -> str:
    if not _VALUE.fullmatch(text):
        raise UsageError(f"{what} {text!r}: letters, digits and . _ : @ + % / = - only")
    return text


def _job_id(text: str) -> str:
    if not pbs_text.is_job_id(text):
        raise UsageError(f"job id {text!r}: PBS numbers jobs like 12.server")
    return text


def _extra(word: str) -> str:
    """One further option in the words of qsub, or `:NAME=VALUE` for each chunk of the request."""
    what = f"--scheduler-option {word!r}"
    if _CHUNK.fullmatch(word):
        for part in word[1:].split(":"):
            _managed(_MANAGED_RESOURCES, part.partition("=")[0], what)
        return word
    match = _OPTION.fullmatch(word)
    if not match:
        raise UsageError(
            f"{what}: write an option of qsub such as '-P project' or '-l NAME=VALUE', or "
            ":NAME=VALUE for a resource of each chunk; blanks, quotes and '$' cannot be passed on"
        )
    letter, value = match.groups()
    _managed(_MANAGED, letter, what)
    table = {"l": _MANAGED_RESOURCES, "W": _MANAGED_ATTRIBUTES}.get(letter, {})
    for part in (value or "").split(","):
        _managed(table, part.partition("=")[0], what)
    return f"-{letter}" if value is None else f"-{letter} {value}"


def _managed(table: Mapping[str, str], key: str, what: str) -> None:
    if key in table:
        raise UsageError(f"{what}: {table[key]}")
