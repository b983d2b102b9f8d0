"""What `hpcagent config check` looks at: the values, the batch system, python3 and the folders."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hpcagent.cli.asks import choose_scheduler, node_cores, resources
from hpcagent.cli.configtext import one_line
from hpcagent.cli.surroundings import OLDEST_PYTHON, accounts_of, python_version
from hpcagent.config import Settings, model_routes
from hpcagent.errors import EnvironmentProblem, HpcagentError, SchedulerRefused
from hpcagent.llm.address import read_address
from hpcagent.llm.roles import OPTIMISE, ROLES
from hpcagent.llm.routing import Models, Route, check
from hpcagent.llm.tables import SHIPPED, ModelChoice
from hpcagent.measure.objectives import parse_constraints
from hpcagent.probe.filesystems import is_shared, mount_of, parse_mountinfo
from hpcagent.protocols import Scheduler
from hpcagent.records import Queue, Refused, Resources
from hpcagent.search.function_file import ENTRIES, read_function
from hpcagent.search.stopping import read_target
from hpcagent.study.admission import admit
from hpcagent.study.durable import problem
from hpcagent.study.rundir import runs_root
from hpcagent.templates import clean

OK, WARNING, ERROR = "ok", "warning", "error"
_LIBRARY = "openblas"  # whose tune is tried
_TRIAL_S = 60  # walltime of the job that is only tried
_MOUNTS = Path("/proc/self/mountinfo")
# Every node has these folders of its own.
_OF_EVERY_HOST = ("/usr/", "/bin/")
_TestOnly = Callable[[Path], Refused | None]


@dataclass(frozen=True)
class Finding:
    """One line of the check; `exit_code` is 0 unless it is an error."""

    level: str
    what: str
    words: str
    exit_code: int = 0


def findings(settings: Settings) -> Iterator[Finding]:
    """Findings in the order in which they are told, each as soon as it is known.

    What a run would make of all values together is tried where each on its own is no error.
    """
    code = 0
    for finding in _parts(settings):
        code = code or finding.exit_code
        yield finding
    if not code:
        yield _guarded("search", lambda: _search(settings))


def _parts(settings: Settings) -> Iterator[Finding]:
    from hpcagent.study.session import make_scheduler

    name = settings.scheduler
    try:
        name = choose_scheduler(None, settings, {})
        scheduler = make_scheduler(name)
        asks = replace(resources({}, settings), walltime_s=_TRIAL_S)
        scheduler.directives(asks, "check")
    except HpcagentError as error:
        yield _error("jobs", error)
    else:
        yield from _batch_system(name, scheduler, asks)
    yield _guarded("python", lambda: _python(settings.python, name))
    yield _guarded("runs", lambda: _runs(settings.runs, name))
    if settings.within:
        yield _guarded("within", lambda: _within(settings.within))
    yield from _models(settings)
    if settings.function:
        with_model = bool(settings.model) or OPTIMISE in settings.models
        yield _guarded("function", lambda: _function(settings.function, with_model))
    if settings.target:
        yield _guarded("target", lambda: _target(settings.target))


def exit_code(found: Iterable[Finding]) -> int:
    """That of the first error, 0 without one."""
    return next((finding.exit_code for finding in found if finding.exit_code), 0)


def _error(what: str, error: HpcagentError) -> Finding:
    return Finding(ERROR, what, str(error), error.exit_code)


def _search(settings: Settings) -> Finding:
    from hpcagent.cli.tune import planned

    found = planned(settings, _LIBRARY)
    words = f"{found.strategy}: {found.rounds} rounds of {found.challengers} challengers"
    return Finding(OK, "search", f"{words}, {found.confirm_pairs} pairs behind a claim")


def _within(texts: tuple[str, ...]) -> Finding:
    found = parse_constraints(texts)
    return Finding(OK, "within", ", ".join(each.text for each in found))


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except HpcagentError as error:
        return _error(what, error)


# --- the batch system ----------------------------------------------------------------------------


def _batch_system(name: str, scheduler: Scheduler, asks: Resources) -> Iterator[Finding]:
    try:
        queues = scheduler.queues()
    except HpcagentError as error:
        yield _error("scheduler", error)
        return
    if name == "local":
        yield Finding(OK, "scheduler", "local: jobs run on this machine")
        return
    yield Finding(OK, "scheduler", f"{name} answers: {len(queues)} partitions or queues")
    found = [
        _guarded("partition", lambda: _partition(name, scheduler, queues, asks)),
        _guarded("account", lambda: _account(name, scheduler, asks.account)),
    ]
    yield from found
    test_only: _TestOnly | None = getattr(scheduler, "test_only", None)
    if test_only is not None and not exit_code(found):
        yield _guarded("trial", lambda: _trial(name, scheduler, asks, test_only))


def _partition(
    name: str, scheduler: Scheduler, queues: tuple[Queue, ...], asks: Resources
) -> Finding:
    if asks.partition is None and not any(queue.default for queue in queues):
        words = f"none is set, and {name} has no default one: set `partition`"
        return Finding(WARNING, "partition", words)
    cores = node_cores(name, scheduler, asks, None)
    which = asks.partition or next(queue.name for queue in queues if queue.default)
    said = "" if asks.partition else f" (the default of {name})"
    return Finding(OK, "partition", f"{which}{said}; a job gets {cores} cores")


def _account(name: str, scheduler: Scheduler, account: str | None) -> Finding:
    accounts, missing = accounts_of(scheduler)
    if account is None:
        default = f"; your default one is {accounts[0]}" if accounts else ""
        return Finding(OK, "account", f"none is set{default}")
    if not accounts:
        why = missing or f"{name} cannot be asked for accounts"
        return Finding(WARNING, "account", f"{account}: could not be tested: {why}")
    if account.lower() not in accounts:  # Slurm keeps them in lower case
        told = ", ".join(accounts)
        raise SchedulerRefused(f"you may not charge {account!r} at {name}; there are: {told}")
    return Finding(OK, "account", account)


def _trial(name: str, scheduler: Scheduler, asks: Resources, test_only: _TestOnly) -> Finding:
    """A job that asks for what all jobs do, shown to the batch system and not queued."""
    cores = node_cores(name, scheduler, asks, None)
    lines = scheduler.directives(replace(asks, cpus_per_task=cores), "hpcagent-check")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "job.sh"
        script.write_text("\n".join(["#!/bin/bash", *lines, "true", ""]), encoding="utf-8")
        refused = test_only(script)
    if refused is not None:
        raise SchedulerRefused(f"{name} would refuse a job or let it wait: {refused.words}")
    return Finding(OK, "trial", f"{name} would take a job of {cores} cores; none was queued")


# --- here ----------------------------------------------------------------------------------------


def _python(configured: str, name: str) -> Finding:
    wanted = configured or (sys.executable if name == "local" else "python3")
    path = shutil.which(clean(wanted, "python"))
    if path is None:
        raise EnvironmentProblem(
            f"{wanted} cannot be executed here: set `python` to one that compute nodes have too"
        )
    version = python_version(path)
    if version is None:
        raise EnvironmentProblem(f"{path} does not run, or is no python3")
    said = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        raise EnvironmentProblem(f"{path} is version {said}: jobs need 3.6 or newer")
    kind = "" if path.startswith(_OF_EVERY_HOST) else _of_one_host(Path(path), name)
    if kind:
        return Finding(WARNING, "python", f"{path} is on {kind}: compute nodes may not see it")
    return Finding(OK, "python", f"{path}, version {said}")


def _runs(configured: str, name: str) -> Finding:
    path = Path(clean(runs_root({"HPCAGENT_RUNS": configured}), "runs"))
    try:
        place = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise problem("write in", path, error) from None
    kind = _of_one_host(path, name)
    if kind:
        words = f"{path} is on {kind}: compute nodes may not see it; set `runs` to a shared folder"
        return Finding(WARNING, "runs", words)
    return Finding(OK, "runs", f"{path} can be written")


def _models(settings: Settings) -> Iterator[Finding]:
    """One line for each model, with the roles that it serves; a server is asked."""
    serving: dict[ModelChoice, list[Route]] = {}
    try:
        for route in model_routes(settings).values():
            if route.choice.placed or route.choice.mmproj:
                serving.setdefault(route.choice, []).append(route)
    except HpcagentError as error:
        yield _error("model", error)
    for routes in serving.values():
        yield _guarded("model", partial(_model, routes, settings))


def _model(routes: list[Route], settings: Settings) -> Finding:
    first, choice, hosts = routes[0], routes[0].choice, settings.model_hosts
    check(first, hosts)
    words = "ships with hpcagent"
    if choice.file and choice.file != SHIPPED:
        file = admit(Path(choice.file), settings)
        words = f"can be read and may be loaded: {file.architecture}, {file.quantisation}"
    if choice.endpoint:
        served = Models({first.role: first}, hosts).identity(first.role)
        words = f"answers: {served['name']}"
    roles = "all roles" if len(routes) == len(ROLES) else ", ".join(r.role for r in routes)
    if (choice.api_key_file or choice.api_key_env) and read_address(choice.endpoint).in_clear:
        words += "; its key and all texts travel unencrypted"
        return Finding(WARNING, "model", f"{choice.label} {words} ({roles})")
    return Finding(OK, "model", f"{choice.label} {words} ({roles})")


def _function(configured: str, with_model: bool) -> Finding:
    entry = ENTRIES["guided" if with_model else "user-function"]
    file = read_function(configured, entry)
    return Finding(OK, "function", f"{file.path} defines {entry}(space, history)")


def _target(configured: str) -> Finding:
    return Finding(OK, "target", f"the search may stop at {read_target(configured):g}x")


def _of_one_host(path: Path, name: str) -> str:
    """The file system, in words, where compute nodes may have another one in its place."""
    if name == "local":
        return ""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    mount = mount_of(str(path.resolve()), parse_mountinfo(mounts))
    # Of one host, as a rule; it may export them to others, which cannot be seen from here.
    if mount is None or is_shared(mount.kind) is not False:
        return ""
    return f"{mount.kind} (mounted at {one_line(mount.point)})"
