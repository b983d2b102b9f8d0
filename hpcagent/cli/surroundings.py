"""What a configuration can be written from: the batch system, module system and python3 of here.

Nothing heavy is started: the module system is told from variables and files alone.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcagent import plugins, shell
from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable, UsageError
from hpcagent.protocols import Scheduler
from hpcagent.records import Queue
from hpcagent.templates import clean, quote_sh

LMOD, MODULES = "Lmod", "Environment Modules"
OLDEST_PYTHON = (3, 6)
PYTHON_S = 20.0
_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
# Where the packages of distributions, the defaults of both projects, OpenHPC and Cray put them.
_KNOWN = (
    (LMOD, "/usr/share/lmod/lmod/init/bash"),
    (LMOD, "/opt/ohpc/admin/lmod/lmod/init/bash"),
    (LMOD, "/opt/cray/pe/lmod/lmod/init/bash"),
    (LMOD, "/opt/apps/lmod/lmod/init/bash"),
    (LMOD, "/usr/local/lmod/lmod/init/bash"),
    (MODULES, "/usr/share/modules/init/bash"),
    (MODULES, "/usr/share/Modules/init/bash"),
    (MODULES, "/opt/cray/pe/modules/default/init/bash"),
    (MODULES, "/usr/local/Modules/init/bash"),
)


@dataclass(frozen=True)
class Batch:
    """The batch system that answers; `name` is empty where none does.

    `silent`: those that are installed and gave no answer, with why; `accounts_missing`: why nothing
    is known of accounts, empty where they were told or the batch system keeps none.
    """

    name: str = ""
    queues: tuple[Queue, ...] = ()
    accounts: tuple[str, ...] = ()
    accounts_missing: str = ""
    silent: tuple[tuple[str, str], ...] = ()

    @property
    def proposed(self) -> Queue | None:
        """The default queue, where it takes jobs."""
        return next((queue for queue in self.queues if queue.default and queue.available), None)


@dataclass(frozen=True)
class ModuleSystem:
    """`init` is the file that gives a bash the command `module`; empty where none was found."""

    kind: str = ""
    version: str = ""
    init: str = ""
    loaded: tuple[str, ...] = ()

    def prologue(self, fallback: str = "NAME") -> tuple[str, ...]:
        """Lines that load what is loaded now in a batch script, which runs under `set -u`."""
        loads = [f"module load {quote_sh(name)}" for name in self.loaded]
        loads = loads or [f"module load {fallback}"]
        return ("set +u", f". {quote_sh(self.init)}", *loads, "set -u")


@dataclass(frozen=True)
class Found:
    """All of it. `python`: path and version of python3, both empty where there is none."""

    host: str = ""
    cores: int = 1
    batch: Batch = field(default_factory=Batch)
    modules: ModuleSystem = field(default_factory=ModuleSystem)
    python: tuple[str, str] = ("", "")


def look(environment: Mapping[str, str]) -> Found:
    """Ask and look; what gives no answer is noted, never an error."""
    from hpcagent.study.session import make_scheduler

    return Found(
        host=socket.gethostname(),
        cores=len(os.sched_getaffinity(0)),
        batch=batch_system((name, make_scheduler(name)) for name in _batch_systems()),
        modules=module_system(environment),
        python=system_python(environment),
    )


def _batch_systems() -> list[str]:
    """Slurm first: its installations often bring a qstat and a qsub of their own."""
    names = plugins.names("hpcagent.schedulers", "scheduler")
    return sorted((name for name in names if name != "local"), key=lambda name: name != "slurm")


def batch_system(candidates: Iterable[tuple[str, Scheduler]]) -> Batch:
    """The first that answers; those that are not installed are passed over."""
    silent: list[tuple[str, str]] = []
    for name, scheduler in candidates:
        try:
            queues = scheduler.queues()
        except EnvironmentProblem:
            continue
        except SchedulerUnreachable as error:
            silent.append((name, str(error)))
            continue
        accounts, missing = accounts_of(scheduler)
        return Batch(name, queues, accounts, missing, tuple(silent))
    return Batch(silent=tuple(silent))


def accounts_of(scheduler: Scheduler) -> tuple[tuple[str, ...], str]:
    """Accounts of this user, the default one first; why there are none where they are kept."""
    ask: Callable[[], tuple[str, ...]] | None = getattr(scheduler, "accounts", None)
    if ask is None:
        return (), ""
    try:
        accounts = ask()
    except SchedulerUnreachable as error:
        return (), str(error)
    return accounts, "" if accounts else "accounting is off, gave no answer, or does not know you"


def module_system(
    environment: Mapping[str, str], is_file: Callable[[str], bool] = os.path.isfile
) -> ModuleSystem:
    """Lmod or Environment Modules, from variables first, then from the usual places."""
    for kind, path in (*_named(environment), *_KNOWN):
        if _quotable(path) and is_file(path):
            version = environment.get("LMOD_VERSION", "") if kind == LMOD else ""
            loaded = environment.get("LOADEDMODULES", "").split(":")
            names = tuple(name for name in loaded if name and _quotable(name))
            return ModuleSystem(kind, version if _quotable(version) else "", path, names)
    return ModuleSystem()


def _named(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Init files by the variables that both systems set; Lmod sets MODULESHOME too."""
    homes = [(LMOD, environment.get("LMOD_PKG", ""))]
    command = environment.get("LMOD_CMD", "")
    homes.append((LMOD, str(Path(command).parent.parent) if command else ""))
    kind = LMOD if "LMOD_VERSION" in environment else MODULES
    homes.append((kind, environment.get("MODULESHOME", "")))
    return [(kind, f"{home}/init/bash") for kind, home in homes if home.startswith("/")]


def _quotable(text: str) -> bool:
    try:
        clean(text, "name")
    except UsageError:
        return False
    return True


def system_python(environment: Mapping[str, str]) -> tuple[str, str]:
    """Path and version of a python3 that jobs could use; both empty where there is none.

    That of /usr/bin first, which nodes have of their own, then along the PATH; never that of the
    environment which hpcagent itself is in.
    """
    own = f"{sys.prefix}/bin" if sys.prefix != sys.base_prefix else ""
    folders = ["/usr/bin", *environment.get("PATH", "").split(os.pathsep)]
    for folder in dict.fromkeys(folders):
        path = f"{folder}/python3"
        if (
            folder.startswith("/")
            and folder != own
            and _quotable(path)
            and os.access(path, os.X_OK)
        ):
            version = python_version(path)
            if version is not None and version >= OLDEST_PYTHON:
                return path, ".".join(map(str, version))
    return "", ""


def python_version(path: str) -> tuple[int, int, int] | None:
    """What the interpreter says that it is; None where it says nothing of the kind."""
    ran = shell.run([path, "-I", "-c", _VERSION], PYTHON_S)
    found = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)\n", ran.stdout)
    return (int(found[1]), int(found[2]), int(found[3])) if ran.ok and found else None
