"""qsub of the stand-in: options, directives, and the refusals that were recorded."""

from __future__ import annotations

import getopt
import os
import pwd
import re
import shlex
import signal
import stat
import sys
from pathlib import Path

from lab.pbs_standin_state import QUEUES, SERVER, Job, State, chunks, kilobytes, satisfied, seconds

OPTIONS = "A:e:fhj:l:m:N:o:P:p:q:r:v:W:"
USAGE = """usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
NAME = re.compile(r"[A-Za-z0-9._+-]{1,230}")
WALLTIME = re.compile(r"(?:(?:[0-9]+:)?[0-9]+:)?[0-9]+(?:\.[0-9]+)?")
SIZE = re.compile(r"[0-9]+[kmgt]?b?")
PLACE = re.compile(r"(free|pack|scatter|vscatter)?:?(excl|exclhost|shared)?")
CHUNK = ("ncpus", "mpiprocs", "mem", "ompthreads")


class Refusal(Exception):
    """Words for stderr and the exit status."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.words, self.status = words, status


def qsub(state: State, argv: list[str]) -> int:
    faults = state.faults()
    try:
        asked, rest = _options(argv, "")
        text = _script(rest)
        for line in _directives(text):
            from_script, _ = _options(shlex.split(line), line)
            asked = {**from_script, **asked, "l": {**from_script["l"], **asked["l"]}}
        if faults["qsub"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with state.locked():
            job = _admitted(state, asked, rest, " ".join(argv))
            state.script(job.number).write_text(text)
            state.script(job.number).chmod(0o700)
            state.keep(job)
    except Refusal as refusal:
        print(refusal.words, file=sys.stderr)
        return refusal.status
    if faults["qsub"] == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    print(job.id)
    return 0


def _options(argv: list[str], line: str) -> tuple[dict, list[str]]:
    asked: dict = {"l": {}}
    try:
        pairs, rest = getopt.gnu_getopt(argv, OPTIONS)
    except getopt.GetoptError as error:
        if line:
            raise Refusal(f"qsub: directive error: {line} ", 1) from None
        raise Refusal(f"qsub: invalid option -- '{error.opt}'\n{USAGE}", 2) from None
    if line and rest:
        raise Refusal(f"qsub: directive error: {line} ", 1)
    for option, value in pairs:
        key = option[1:]
        if key == "l":
            asked["l"].update(part.partition("=")[::2] for part in value.split(","))
        elif key == "W":
            name, _, given = value.partition("=")
            if name not in ("depend", "umask") or not _valid_attribute(name, given):
                raise Refusal(f"qsub: illegal -W value\n{USAGE}", 2)
            asked[name] = given
        else:
            asked[key] = value
    _check_name(asked.get("N"))
    return asked, rest


def _valid_attribute(name: str, value: str) -> bool:
    form = r"after(any|ok|notok)(:[0-9]+(\.[\w.-]+)?)+" if name == "depend" else "[0-7]{1,4}"
    return re.fullmatch(form, value) is not None


def _check_name(name: str | None) -> None:
    if name is None:
        return
    if len(name) > 230 and NAME.fullmatch(name[:230]):
        raise Refusal("qsub: Job name is too long ", 2)
    if not NAME.fullmatch(name):
        raise Refusal(f"qsub: illegal -N value\n{USAGE}", 2)


def _script(rest: list[str]) -> str:
    if not rest:
        return sys.stdin.read()
    path = Path(rest[0])
    if not path.exists():
        raise Refusal("qsub: script file:: No such file or directory", 1)
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refusal("qsub: script not a file", 1)
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _directives(text: str) -> list[str]:
    found = []
    for line in text.split("\n"):
        if line.strip() and not line.startswith(("#", ":")):
            break
        if line.startswith("#PBS"):
            found.append(line[4:].strip())
    return found


def _admitted(state: State, asked: dict, rest: list[str], arguments: str) -> Job:
    """The job that the server makes of it, or its refusal; the number is used up either way."""
    number = state.number()
    queue = asked.get("q", "workq")
    resources = asked["l"]
    _check_resources(resources)
    select = resources.get("select", "1:ncpus=1")
    _check_queue(state, queue, select, resources.get("walltime", ""))
    name = asked.get("N") or (Path(rest[0]).name if rest else "STDIN")
    user = pwd.getpwuid(os.getuid()).pw_name
    job = Job(
        number=number,
        name=name,
        owner=f"{user}@{SERVER}",
        queue=queue,
        select=select,
        place=resources.get("place", "free" if "mem" in select else "pack"),
        arguments=arguments,
        workdir=str(Path.cwd()),
        home=state.home(),
        path=os.environ.get("PATH", ""),
        output=_where(asked.get("o"), f"{name}.o{number}"),
        error=_where(asked.get("e"), f"{name}.e{number}"),
        walltime=resources.get("walltime", QUEUES[queue].get("resources_max.walltime", "")),
        account=asked.get("A", ""),
        join=asked.get("j", "n"),
        variables=_variables(asked.get("v", "")),
        rerunable=asked.get("r", "y") == "y",
        umask=int(asked.get("umask", "077"), 8),
    )
    if "depend" in asked:
        kind, *ids = asked["depend"].split(":")
        full = ":".join(f"{i.partition('.')[0]}.{SERVER}@{SERVER}" for i in ids)
        job.depend, job.hold, job.state, job.substate = f"{kind}:{full}", "s", "H", 22
        finished = [job for job in state.jobs() if job.finished]
        job.met = [other.number for other in finished if satisfied(job, other)]
    elif "h" in asked:
        job.hold, job.state, job.substate = "u", "H", 20
    return job


def _variables(text: str) -> dict[str, str]:
    """`A=1,B,C="x,y"`; one that is named only comes from the environment of qsub."""
    found = {}
    for item in re.findall(r'(?:"[^"]*"|[^,])+', text):
        name, equals, value = item.partition("=")
        if not equals and name not in os.environ:
            raise Refusal("qsub: cannot send environment with the job", 1)
        found[name] = value.replace('"', "") if equals else os.environ[name]
    return found


def _where(given: str | None, default: str) -> str:
    """`host:path`; printable ASCII only, a colon before the first slash ends a host's name."""
    path = given or default
    host, colon, rest = path.partition(":")
    if colon and "/" not in host:
        return f"{host}:{rest}"
    if given and not re.fullmatch("[ -~]+", given):
        raise Refusal(f"qsub: illegal -o value\n{USAGE}", 2)
    return f"{SERVER}:{Path.cwd() / path}" + ("/" if Path(path).is_dir() else "")


def _check_resources(resources: dict[str, str]) -> None:
    unknown = resources.keys() - {"select", "place", "walltime", "ncpus", "mem", "nodes"}
    if unknown:
        raise Refusal(f"qsub: Unknown resource Resource_List.{min(unknown)}", 187)
    if "select" in resources and "ncpus" in resources:
        words = '"-lresource=" cannot be used with "select" or "place", resource is: ncpus'
        raise Refusal(f"qsub: {words}", 5)
    if "select" in resources and "nodes" in resources:
        raise Refusal("qsub: Cannot be used with select or place: nodes", 6)
    _check_values(resources)


def _check_values(resources: dict[str, str]) -> None:
    count, *parts = resources.get("select", "1:ncpus=1").split(":")
    pairs = [part.partition("=")[::2] for part in parts]
    foreign = [key for key, _ in pairs if key not in CHUNK]
    if foreign:
        raise Refusal(f"qsub: Unknown resource: {foreign[0]}", 187)
    values = [(SIZE if key == "mem" else re.compile("[0-9]+"), value) for key, value in pairs]
    bad = {
        "select": not count.isdigit() or any(not form.fullmatch(value) for form, value in values),
        "place": not PLACE.fullmatch(resources.get("place", "pack")),
        "walltime": not WALLTIME.fullmatch(resources.get("walltime", "1")),
        "mem": not SIZE.fullmatch(resources.get("mem", "1mb")),
    }
    for name, is_bad in bad.items():
        if is_bad:
            words = "qsub: Illegal attribute or resource value"
            raise Refusal(f"{words} Resource_List.{name}", 166)


def _check_queue(state: State, queue: str, select: str, walltime: str) -> None:
    if queue not in QUEUES:
        raise Refusal("qsub: Unknown queue", 170)
    settings = QUEUES[queue]
    if settings.get("enabled") == "False":
        raise Refusal("qsub: Queue is not enabled", 173)
    if "acl_users" in settings:
        raise Refusal("qsub: Unauthorized Request ", 159)
    if "max_queued" in settings:
        mine = [job for job in state.jobs() if job.queue == queue and not job.finished]
        if len(mine) >= 3:
            raise Refusal("qsub: would exceed queue generic's per-user limit", 38)
    count, chunk = chunks(select)
    cpus = count * int(chunk.get("ncpus", "1"))
    longest = seconds(settings.get("resources_max.walltime", "0"))
    too_long = longest and walltime and seconds(walltime) > longest
    if too_long or cpus > int(settings.get("resources_max.ncpus", cpus)):
        raise Refusal("qsub: Job violates queue and/or server resource limits", 188)


def memory_kb(job: Job) -> int:
    """The memory a job asked for in all; 0: it did not."""
    count, chunk = chunks(job.select)
    return count * kilobytes(chunk["mem"]) if "mem" in chunk else 0
