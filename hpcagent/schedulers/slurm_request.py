"""The lines of a job script that say what it asks of Slurm, and srun's words: pure functions.

In a `#SBATCH` line blanks end a word, `#` begins a comment, quotes and backslashes are taken away
(get_argument in src/sbatch/opt.c). Values are held to what Slurm takes and need none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.records import Resources
from hpcagent.schedulers.slurm_options import options

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_JOB = re.compile(r"([1-9][0-9]{0,9})(_[0-9]{1,9}|\+[0-9]{1,9})?(;[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_HINTS = ("compute_bound", "memory_bound", "multithread", "nomultithread")
_MIB = 1024**2
_MOST = 10**9
_MOST_SIGNAL_S = 65535  # sbatch(1), --signal
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]*")

_WORDS = r"[A-Za-z0-9_][A-Za-z0-9_.@+%-]*"
_LIST = rf"{_WORDS}(,{_WORDS})*"
_FORMS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "partition": re.compile(_LIST),
        "account": re.compile(_WORDS),
        "qos": re.compile(_LIST),
        "reservation": re.compile(_LIST),
        "constraint": re.compile(r"[A-Za-z0-9_(\[!][A-Za-z0-9_.,:=+*&|()\[\]!@%-]*"),
        "gres": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=*/+-]*"),
        "licenses": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@/|;+-]*"),
    }
)
_NODES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]*")


def directives(resources: Resources, name: str) -> list[str]:
    """The `#SBATCH` lines; UsageError for what Slurm would not take or a line could not carry.

    A job that is requeued goes on with its output (append): its first run's is not lost.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"job name {name!r}: use letters, digits, dots and dashes, at most 64")
    further = options(resources.extra)
    asked = [
        f"--job-name={name}",
        f"--time={_time(resources.walltime_s)}",
        f"--nodes={_count('nodes', resources.nodes)}",
        f"--ntasks-per-node={_count('tasks per node', resources.tasks_per_node)}",
        f"--cpus-per-task={_count('CPUs per task', resources.cpus_per_task)}",
        *_memory(resources),
        *(f"--{field}={value}" for field, value in _named(resources)),
        *(["--exclusive"] if resources.exclusive else []),
        *_avoiding(resources.avoid_nodes, further),
        *_after(resources.after, resources.after_any),
        *_warning(resources.warn_s),
        "--open-mode=append",
        *(_written(option, value) for option, value in further if option != "exclude"),
    ]
    return [f"#SBATCH {word}" for word in asked]


def launcher(resources: Resources) -> list[str]:
    """srun with the whole size; since 22.05 it does not take --cpus-per-task from the job."""
    tasks = resources.nodes * resources.tasks_per_node
    if tasks == 1:
        return []
    sizes = (("-N", resources.nodes), ("-n", tasks), ("-c", resources.cpus_per_task))
    return ["srun", *(word for option, value in sizes for word in (option, str(value)))]


def stated(script: str) -> frozenset[str]:
    """The long options that the head of a script of ours states: `--account` and the like."""
    found = set()
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        option = re.match(r"#SBATCH\s+\"?(--[a-z-]+)", line)
        if option is not None:
            found.add(option[1])
    return frozenset(found)


def stream(path: str, version: tuple[int, int] = (0, 0)) -> str | None:
    """A path as --output takes it, where `%` and backslashes have a meaning; None: it cannot.

    A backslash anywhere switches `%` off and escapes the next character. From 25.11 on all
    backslashes are dropped, so that there is no way to write one (src/slurmd/common/fname.c,
    src/common/print_fields.c).
    """
    if "\\" not in path:
        return path.replace("%", "%%")
    return None if version >= (25, 11) else path.replace("\\", "\\\\")


def _time(walltime_s: int) -> str:
    """Whole minutes, rounded up, as D-HH:MM:SS; zero would mean no limit."""
    minutes = -(-_count("time limit (seconds)", walltime_s) // 60)
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"


def _count(what: str, value: int) -> int:
    if not 1 <= value <= _MOST:
        raise UsageError(f"job request: {what} must be at least 1: {value}")
    return value


def _memory(resources: Resources) -> list[str]:
    """Megabytes, rounded up; zero would mean all memory of the node."""
    node, cpu = resources.memory_bytes, resources.memory_per_cpu_bytes
    if node is not None and cpu is not None:
        raise UsageError("job request: memory of a node and of a CPU exclude each other")
    if node is not None:
        return [f"--mem={-(-_size('memory', node) // _MIB)}M"]
    if cpu is not None:
        return [f"--mem-per-cpu={-(-_size('memory per CPU', cpu) // _MIB)}M"]
    return []


def _size(what: str, value: int) -> int:
    if not 1 <= value <= 2**60:
        raise UsageError(f"job request: {what} must be from 1 byte to 1 EiB: {value}")
    return value


def _named(resources: Resources) -> list[tuple[str, str]]:
    """The requests that are names or expressions, in the words of sbatch."""
    found = []
    for field, form in _FORMS.items():
        value: str | None = getattr(resources, field)
        if value is None:
            continue
        if not form.fullmatch(value):
            raise UsageError(f"{field} {value!r}: Slurm takes no such value")
        found.append((field, value))
    if resources.hint is not None:
        if resources.hint not in _HINTS:
            raise UsageError(f"hint {resources.hint!r}: choose one of {', '.join(_HINTS)}")
        found.append(("hint", resources.hint))
    return found


def _avoiding(nodes: Sequence[str], further: Sequence[tuple[str, str | None]]) -> list[str]:
    """One --exclude of the nodes to avoid and those that the user excludes anyway."""
    users = [value or "" for option, value in further if option == "exclude"]
    for node in (*users, *nodes):
        if not _NODES.fullmatch(node):
            raise UsageError(f"node {node!r}: this is not the name of a node")
    named = dict.fromkeys((*users, *nodes))
    return [f"--exclude={','.join(named)}"] if named else []


def _after(jobs: Sequence[str], one: bool) -> list[str]:
    """Start when these have ended (or `one` of them), however; their cluster is the one this job is
    sent to."""
    found = []
    for job in jobs:
        known = _JOB.fullmatch(job)
        if known is None:
            raise UsageError(f"job id {job!r}: this is not an id of Slurm")
        found.append(known[1] + (known[2] or ""))
    between = "?afterany:" if one else ":"
    return [f"--dependency=afterany:{between.join(found)}"] if found else []


def _warning(warn_s: int) -> list[str]:
    if not 0 <= warn_s <= _MOST_SIGNAL_S:
        raise UsageError(f"job request: the warning must be 0 to {_MOST_SIGNAL_S} s: {warn_s}")
    return [f"--signal=B:USR1@{warn_s}"] if warn_s else []


def _written(option: str, value: str | None) -> str:
    if value is None:
        return f"--{option}"
    if _PLAIN.fullmatch(value):
        return f"--{option}={value}"
    inside = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{option}="{inside}"'
