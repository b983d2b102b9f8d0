"""A stand-in of the PBS commands: it answers as the recorded OpenPBS 23.06.06 did.

Only what hpcagent calls is here; other options are a usage error. JSON is not offered: hpcagent
does not ask for it.
"""

from __future__ import annotations

import getopt
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab import pbs_standin_text as text
from lab.pbs_standin_qsub import memory_kb, qsub
from lab.pbs_standin_state import NODE_CPUS, NODE_MEM_KB, QUEUES, SERVER, Job, State, chunks

ID = re.compile(r"([0-9]+)(\[[0-9]*\])?(?:\.(.*))?")
UNIT = (("Transit", "T"), ("Queued", "Q"), ("Held", "H"), ("Waiting", "W"), ("Running", "R"))
NEVER_USED = ("accelerator_memory", "hbmem")


def main() -> int:
    """`COMMAND STATE-FOLDER argument ...`"""
    command, folder, *argv = sys.argv[1:]
    state = State(Path(folder))
    with (state.folder / "calls").open("a") as calls:
        calls.write(f"{shlex.join([command, *argv])}\n")
    faults = state.faults()
    if faults["slow_s"]:
        time.sleep(faults["slow_s"])
    if faults["banner"]:
        print(faults["banner"])
    while faults["server"] == "hung":
        time.sleep(0.02)
        faults = state.faults()
    if faults["server"] == "down":
        return _down(command)
    commands: dict[str, Callable[[State, list[str]], int]] = {
        "qsub": qsub,
        "qstat": qstat,
        "qselect": qselect,
        "qdel": qdel,
        "pbsnodes": pbsnodes,
    }
    return commands[command](state, argv)


def _down(command: str) -> int:
    words = {
        "qdel": f"Couldn't connect to cluster: {SERVER}",
        "pbsnodes": f"pbsnodes: cannot connect to server {SERVER}, error=15010",
    }
    default = f"{command}: cannot connect to server {SERVER} (errno=15010)"
    print(f"Connection refused\n{words.get(command, default)}", file=sys.stderr)
    return {"qstat": 255, "pbsnodes": 1}.get(command, 162)


# --- qstat ---------------------------------------------------------------------------------------


def qstat(state: State, argv: list[str]) -> int:
    pairs, ids = getopt.gnu_getopt(argv, "xfwBQ")
    options = {option[1:] for option, _ in pairs}
    if "f" not in options:
        print("qstat: this stand-in has the full format only (-f)", file=sys.stderr)
        return 2
    wide = "w" in options
    with state.locked():
        if "B" in options:
            print(text.block(f"Server: {SERVER}", _server(state), wide), end="")
            return 0
        if "Q" in options:
            shown = (text.block(f"Queue: {q}", _queue(state, q), wide) for q in QUEUES)
            print("".join(shown), end="")
            return 0
        return _jobs(state, ids, "x" in options, wide)


def _jobs(state: State, ids: list[str], history: bool, wide: bool) -> int:
    faults = state.faults()
    status = shown = 0
    if not ids:
        ids = [job.id for job in state.jobs() if history or not job.finished]
    for given in ids:
        if faults["cut"] and shown >= faults["cut"]:
            print("qstat: End of File", file=sys.stderr)
            return 255
        job, words, error = _asked(state, given, history and not faults["history"])
        if job and job.finished and not history:
            told = "Job has finished, use -x or -H to obtain historical job information"
            job, words, error = None, f"qstat: {given_id(given)} {told}", 35
        if job:
            print(text.block(f"Job Id: {job.id}", attributes(job), wide), end="")
            shown += 1
        else:
            print(words, file=sys.stderr)
            status = error
    return status


def given_id(given: str) -> str:
    return given if "." in given else f"{given}.{SERVER}"


def _asked(state: State, given: str, no_history: bool) -> tuple[Job | None, str, int]:
    match = ID.fullmatch(given)
    if not match:
        return None, f"qstat: Unknown queue destination {given}", 170
    if match.group(3) not in (None, SERVER):
        return None, f"qstat: illegally formed job identifier: {given}", 1
    if no_history:
        words = f"qstat: PBS is not configured to maintain job history {given_id(given)}"
        return None, words, 0
    job = None if match.group(2) else state.job(int(match.group(1)))
    return job, f"qstat: Unknown Job Id {given_id(given)}", 153


def attributes(job: Job) -> text.Attributes:
    """What qstat -f prints of a job, in its order."""
    ran = job.started > 0 and job.on_node
    told = ran and job.exit_status != -20  # a mom that was lost has told nothing
    pairs: list[tuple[str, str | None]] = [
        ("Job_Name", job.name),
        ("Job_Owner", job.owner),
        *(_used(job) if told and (job.finished or job.substate == 42) else []),
        ("job_state", job.state),
        ("queue", job.queue),
        ("server", SERVER),
        ("Account_Name", job.account or None),
        ("Checkpoint", "u"),
        ("ctime", _date(job.created)),
        ("depend", job.depend or None),
        ("Error_Path", job.error),
        ("exec_host", f"{SERVER}/0" if ran else None),
        ("exec_vnode", vnode(job) if ran else None),
        ("Hold_Types", job.hold),
        ("Join_Path", job.join),
        ("Keep_Files", "n"),
        ("Mail_Points", "a"),
        ("mtime", _date(job.ended or job.started or job.created)),
        ("Output_Path", job.output),
        ("Priority", "0"),
        ("qtime", _date(job.created)),
        ("Rerunable", str(job.rerunable)),
        *_resources(job),
        ("stime", _date(job.started) if ran else None),
        ("obittime", _date(job.ended) if job.ended and job.run_count else None),
        ("jobdir", job.home if told else None),
        ("substate", str(job.substate)),
        ("Variable_List", _variables(job)),
        ("comment", job.comment or None),
        ("etime", _date(job.created) if job.run_count or job.state == "Q" else None),
        ("umask", f"{job.umask:o}" if job.umask != 0o077 else None),
        ("run_count", str(job.run_count) if job.run_count else None),
        ("Stageout_status", "1" if job.finished and told else None),
        ("Exit_status", None if job.exit_status is None else str(job.exit_status)),
        ("Submit_arguments", job.arguments),
        ("history_timestamp", str(int(job.ended)) if job.finished else None),
        ("project", "_pbs_project_default"),
        ("Submit_Host", SERVER),
    ]
    return [(name, value) for name, value in pairs if value is not None]


def vnode(job: Job) -> str:
    count, chunk = chunks(job.select)
    memory = f":mem={memory_kb(job) // count}kb" if "mem" in chunk else ""
    return "+".join([f"({SERVER}:ncpus={chunk.get('ncpus', '1')}{memory})"] * count)


def _used(job: Job) -> text.Attributes:
    took = time.strftime("%H:%M:%S", time.gmtime(max(0, (job.ended or time.time()) - job.started)))
    values = (("cpupercent", "0"), ("cput", "00:00:00"), ("mem", "0kb"))
    more = (("ncpus", str(_cpus(job))), ("vmem", "0kb"), ("walltime", took))
    return [(f"resources_used.{name}", value) for name, value in values + more]


def _cpus(job: Job) -> int:
    count, chunk = chunks(job.select)
    return count * int(chunk.get("ncpus", "1"))


def _resources(job: Job) -> text.Attributes:
    count, chunk = chunks(job.select)
    memory, tasks = memory_kb(job), chunk.get("mpiprocs")
    found = {
        "mem": f"{memory}kb" if memory else "",
        "mpiprocs": str(count * int(tasks)) if tasks else "",
        "ncpus": str(_cpus(job)),
        "nodect": str(count),
        "place": job.place,
        "select": job.select,
        "walltime": job.walltime,
    }
    return [(f"Resource_List.{name}", value) for name, value in found.items() if value]


def _variables(job: Job) -> str:
    user = job.owner.partition("@")[0]
    values = {
        "HOME": job.home,
        "LOGNAME": user,
        "PATH": job.path,
        "MAIL": f"/var/mail/{user}",
        "SHELL": "/bin/bash",
        "WORKDIR": job.workdir,
        "SYSTEM": "Linux",
        "QUEUE": job.queue,
        "HOST": SERVER,
    }
    escaped = ((name, re.sub(r"([,\"'])", r"\\\1", value)) for name, value in values.items())
    own = [f"{name}={value}" for name, value in job.variables.items()]
    return ",".join([*own, *(f"PBS_O_{name}={value}" for name, value in escaped)])


def _date(when: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(when))


def _counts(state: State, queue: str | None) -> tuple[str, str]:
    jobs = [job for job in state.jobs() if queue in (None, job.queue)]
    live = [job.state for job in jobs if not job.finished]
    counts = [f"{name}:{live.count(letter)}" for name, letter in (*UNIT, ("Exiting", "E"))]
    return str(len(jobs)), " ".join([*counts, "Begun:0 "])


def _queue(state: State, name: str) -> text.Attributes:
    settings = {"enabled": "True", "started": "True", **QUEUES[name]}
    total, counts = _counts(state, name)
    limits = [(key, settings[key]) for key in settings if key not in ("enabled", "started")]
    return [
        ("queue_type", "Execution"),
        ("total_jobs", total),
        ("state_count", counts),
        *limits,
        ("enabled", settings["enabled"]),
        ("started", settings["started"]),
    ]


def _server(state: State) -> text.Attributes:
    total, counts = _counts(state, None)
    return [
        ("server_state", "Active"),
        ("server_host", SERVER),
        ("scheduling", "True"),
        ("total_jobs", total),
        ("state_count", counts),
        ("default_queue", "workq"),
        ("query_other_jobs", "True"),
        ("pbs_version", "23.06.06"),
        ("job_history_enable", str(state.faults()["history"])),
    ]


# --- the other commands --------------------------------------------------------------------------


def qselect(state: State, argv: list[str]) -> int:
    pairs, _ = getopt.gnu_getopt(argv, "xN:")
    options = dict(pairs)
    history = "-x" in options
    with state.locked():
        if history and not state.faults()["history"]:
            print("qselect: PBS is not configured to maintain job history", file=sys.stderr)
            return 0
        for job in state.jobs():
            if job.name == options["-N"] and (history or not job.finished):
                print(job.id)
    return 0


def qdel(state: State, argv: list[str]) -> int:
    status = 0
    for given in argv:
        with state.locked():
            words, error = _delete(state, given)
        if error:
            print(f"qdel: {words}", file=sys.stderr)
            status = error
    return status


def _delete(state: State, given: str) -> tuple[str, int]:
    match = ID.fullmatch(given)
    if not match or match.group(3) not in (None, SERVER):
        return f"illegally formed job identifier: {given}", 1
    job = None if match.group(2) else state.job(int(match.group(1)))
    if job is None:
        return f"Unknown Job Id {given}", 153
    if job.finished:
        return f"Job has finished {job.id}", 35
    if job.state == "E":
        return f"Request invalid for state of job {job.id}", 168
    if job.state == "R" and state.faults()["node"] != "up":
        return f"Server could not connect to MOM {job.id}", 222
    job.deleted = True
    if job.state != "R":
        job.state, job.substate, job.ended = "F", 91, time.time()
    state.keep(job)
    return "", 0


def pbsnodes(state: State, argv: list[str]) -> int:
    if argv not in (["-a"], ["-av"]):
        print(f"Node: {argv[-1]},  Error: Unknown node ", file=sys.stderr)
        return 1
    with state.locked():
        busy = [job for job in state.jobs() if job.state == "R"]
        down = state.faults()["node"] != "up"
        cpus, memory = sum(map(_cpus, busy)), sum(map(memory_kb, busy))
    jobs = [("jobs", ", ".join(f"{job.id}/{n}" for n, job in enumerate(busy)))] if busy else []
    assigned = ("naccelerators", "0"), ("ncpus", str(cpus)), ("vmem", "0kb")
    shown = [
        ("Mom", SERVER),
        ("ntype", "PBS"),
        ("state", "down" if down else "free"),
        ("pcpus", "2"),
        *jobs,
        ("resources_available.arch", "linux"),
        ("resources_available.host", SERVER),
        ("resources_available.mem", f"{NODE_MEM_KB}kb"),
        ("resources_available.ncpus", str(NODE_CPUS)),
        ("resources_available.vnode", SERVER),
        *((f"resources_assigned.{name}", "0kb") for name in NEVER_USED),
        ("resources_assigned.mem", f"{memory}kb"),
        *((f"resources_assigned.{name}", value) for name, value in assigned),
        *([("comment", "node down: communication closed")] if down else []),
        ("resv_enable", "True"),
        ("sharing", "default_shared"),
        ("license", "l"),
        ("last_state_change_time", _date(time.time())),
    ]
    print(text.node(SERVER, shown), end="")
    return 0
