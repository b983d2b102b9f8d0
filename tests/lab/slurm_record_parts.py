"""What is recorded of a real Slurm: refusals, endings, waiting, requeues, outages."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.slurm_lab import until
from lab.slurm_recorder import SACCT, SINCE, SQUEUE, SQUEUE_O, USER, Recorder, sacct

# --- what is refused -----------------------------------------------------------------------------


def refusals(r: Recorder) -> None:
    good = r.script("#!/bin/sh\ntrue\n", "good.sh")
    for name, options in {
        "partition": ("-p", "nosuch"),
        "account": ("-A", "nosuch"),
        "account-not-mine": ("-A", "theirs"),
        "account-not-in-partition": ("-p", "closed"),
        "qos": ("-q", "nosuch"),
        "qos-not-mine": ("-q", "secret"),
        "time-over-partition": ("-p", "short", "-t", "10"),
        "time-malformed": ("-t", "soon"),
        "nodes-over-partition": ("-N", "2"),
        "nodes-more-than-exist": ("-p", "both", "-N", "9"),
        "cpus": ("-c", "64"),
        "memory": ("--mem", "900G"),
        "mem-and-mem-per-cpu": ("--mem", "100", "--mem-per-cpu", "50"),
        "constraint": ("-C", "nosuch"),
        "gres": ("--gres", "gpu:1"),
        "gres-unknown": ("--gres", "nosuch:1"),
        "licenses": ("-L", "nosuch:1"),
        "licenses-too-many": ("-L", "solver:9"),
        "reservation": ("--reservation", "nosuch"),
        "dependency-malformed": ("-d", "sometime:1"),
        "dependency-unknown-job": ("-d", "afterok:99999"),
        "hint": ("--hint", "nosuch"),
        "option": ("--nosuch-option",),
        "nodelist": ("-w", "nosuch"),
        "chdir": ("--chdir", "/nosuch"),
        "partition-inactive": ("-p", "inactive"),
        "hold-not-allowed": ("--nice=-100",),
    }.items():
        out = r.keep(f"sbatch-refused-{name}", "sbatch", "--parsable", *options, good)
        if out.strip():
            r.call(("scancel", out.strip()), 30, "")
    r.keep("sbatch-refused-no-script", "sbatch", "--parsable", str(r.work / "none.sh"))
    secret = r.script("#!/bin/sh\ntrue\n", "secret.sh")
    Path(secret).chmod(0)
    r.keep("sbatch-refused-unreadable", "sbatch", "--parsable", secret)
    for name, body in {
        "crlf": "#!/bin/sh\r\ntrue\r\n",
        "no-shebang": "true\n",
        "empty": "",
        "binary": "#!/bin/sh\n\0\n",
        "directive": "#!/bin/sh\n#SBATCH --nosuch-option\ntrue\n",
    }.items():
        r.keep(f"sbatch-refused-{name}", "sbatch", "--parsable", r.script(body, f"{name}.sh"))
    r.keep("sbatch-refused-is-a-folder", "sbatch", "--parsable", str(r.work))


def answers(r: Recorder) -> None:
    good = r.script("#!/bin/sh\ntrue\n", "good.sh")
    for name, options in {
        "parsable": ("--parsable",),
        "parsable-cluster": ("--parsable", "-M", "lab"),
        "plain": (),
        "parsable-array": ("--parsable", "--array=1-2"),
        "partition-down": ("--parsable", "-p", "down"),
    }.items():
        r.keep(f"sbatch-ok-{name}", "sbatch", *options, good)
    r.keep("sbatch-test-only-good", "sbatch", "--test-only", good)
    r.keep("sbatch-test-only-parsable", "sbatch", "--parsable", "--test-only", good)
    for name, options in {
        "partition": ("-p", "nosuch"),
        "account": ("-A", "nosuch"),
        "time": ("-p", "short", "-t", "10"),
        "partition-down": ("-p", "down"),
        "constraint": ("-C", "nosuch"),
        "nodes": ("-N", "2"),
    }.items():
        r.keep(f"sbatch-test-only-{name}", "sbatch", "--test-only", *options, good)


# --- how jobs end --------------------------------------------------------------------------------


def endings(r: Recorder) -> None:
    r.submit("completed", "srun true; true")
    r.submit("failed", "srun false; exit 3")
    r.submit("signalled", "kill -9 $$")
    r.submit("terminated", "kill -TERM $$")
    r.submit("not-found", "/no/such/program")
    r.submit("exit-255", "exit 255")
    r.submit("derived", "srun sh -c 'exit 7'; exit 0")
    r.submit("out-of-memory", HOG, "--mem", "50")
    r.submit("out-of-memory-step", f"srun {HOG}", "--mem", "50")
    r.ended("completed", "failed", "signalled", "terminated", "not-found", "exit-255", "derived")
    r.ended("out-of-memory", "out-of-memory-step")
    r.submit("cancelled", "sleep 300")
    r.running("cancelled")
    r.keep("scancel-running", "scancel", r.ids["cancelled"])
    r.submit("cancelled-pending", "true", "-H")
    r.keep("scancel-pending", "scancel", r.ids["cancelled-pending"])
    r.submit("cancelled-by-root", "sleep 300")
    r.running("cancelled-by-root")
    r.lab.ask("scancel", r.ids["cancelled-by-root"])
    r.ended("cancelled", "cancelled-pending", "cancelled-by-root")
    r.keep("scancel-finished", "scancel", r.ids["completed"])
    r.keep("scancel-unknown", "scancel", "99999")
    r.keep("scancel-nonsense", "scancel", "nonsense")
    r.keep("scancel-several", "scancel", "99999", r.ids["completed"], "99998")
    for name in (
        *("completed", "failed", "signalled", "terminated", "not-found", "exit-255", "derived"),
        *("out-of-memory", "out-of-memory-step"),
        *("cancelled", "cancelled-pending", "cancelled-by-root"),
    ):
        r.views(name, r.ids[name])
    r.views("unknown", "99999")
    r.keep("sacct-nonsense", *sacct("nonsense"))
    r.keep("squeue-nonsense", "squeue", "-h", "-j", "nonsense", "-o", SQUEUE)
    r.keep("scontrol-nonsense", "scontrol", "show", "job", "-o", "nonsense")
    both = f"99999,{r.ids['completed']}"
    r.keep("squeue-known-and-unknown", "squeue", "-h", "-t", "all", "-j", both, "-o", SQUEUE)
    r.keep("sacct-known-and-unknown", *sacct(both))
    r.keep("sacct-restarts", *sacct(r.ids["completed"], "JobID,Restarts"))
    r.keep("sacct-truncated", *sacct(r.ids["cancelled"], "JobID,State%5,JobName%4"))
    narrow = ("sacct", "-n", "-S", SINCE, "-j", r.ids["cancelled"], "-o", "JobID,State,JobName")
    r.keep("sacct-columns", *narrow)
    r.keep("sacct-head", "sacct", "-P", "-S", SINCE, "-X", "-o", SACCT)
    r.keep("sacct-by-name", *sacct(r.ids["failed"])[:-4], "--name", "failed", "-X", "-o", SACCT)
    r.keep("sacct-epoch", *sacct(r.ids["failed"]), "-X", env="SLURM_TIME_FORMAT=%s")
    r.keep("sacct-zone", *sacct(r.ids["failed"]), "-X", env="TZ=Asia/Tokyo")
    r.keep("sacct-default-since", "sacct", "-n", "-P", "-X", "-o", SACCT)
    r.keep("sacct-duplicates-none", *sacct(r.ids["failed"]), "--duplicates")
    r.keep("squeue-long-format", "squeue", "-h", "-t", "all", "-O", SQUEUE_O)
    r.keep("squeue-by-name", "squeue", "-h", "-t", "all", "-n", "failed", "-o", SQUEUE)
    r.keep("squeue-json", "squeue", "--json", "-j", r.ids["completed"])
    r.keep("squeue-all", "squeue", "-h", "-t", "all", "-o", SQUEUE)


HOG = "python3 -c 'import time; x = bytearray(300 << 20); time.sleep(30)'"


def slow_endings(r: Recorder) -> None:
    r.submit("timeout", "sleep 300", "-t", "1")
    r.submit("timeout-graceful", "trap 'exit 0' TERM; sleep 300 & wait", "-t", "1", "-p", "two")
    r.submit("array", "exit $SLURM_ARRAY_TASK_ID", "--array=0-3%1", "-p", "two", "-t", "2")
    r.ended("timeout", "timeout-graceful", "array")
    for name in ("timeout", "timeout-graceful", "array"):
        r.views(name, r.ids[name])
    r.submit("array-pending", "sleep 300", "--array=1-5%1")
    until(lambda: "RUNNING" in r.lab.jobs().values(), "the first of an array runs")
    r.views("array-pending", r.ids["array-pending"])
    r.keep("squeue-array-each", "squeue", "-h", "-r", "-t", "all", "-o", SQUEUE)
    r.lab.reset()


def requeued(r: Recorder) -> None:
    r.submit("requeued", "sleep 2; sleep 300", "--requeue")
    r.running("requeued")
    r.keep("scontrol-requeue", "scontrol", "requeue", r.ids["requeued"])
    r.views("requeued-waiting", r.ids["requeued"])
    until(lambda: r.lab.jobs()[r.ids["requeued"]] == "PENDING", "it is back")
    r.caught_up("requeued")
    r.keep("sacct-duplicates-requeued-waiting", *sacct(r.ids["requeued"]), "-X", "--duplicates")
    r.running("requeued")
    r.caught_up("requeued")
    r.views("requeued-again", r.ids["requeued"])
    r.keep("sacct-duplicates-requeued-running", *sacct(r.ids["requeued"]), "-X", "--duplicates")
    r.lab.ask("scancel", r.ids["requeued"])
    r.ended("requeued")
    r.keep("sacct-duplicates-requeued-ended", *sacct(r.ids["requeued"]), "-X", "--duplicates")
    r.submit("preempted", "sleep 300", "--requeue", "--exclusive")
    r.running("preempted")
    r.submit("urgent", "sleep 5", "-p", "urgent", "-w", "n1", "--exclusive")
    r.running("urgent")
    until(lambda: r.lab.jobs()[r.ids["preempted"]] == "PENDING", "it waits again")
    r.caught_up("preempted")
    r.views("preempted", r.ids["preempted"])
    r.keep("sacct-duplicates-preempted", *sacct(r.ids["preempted"]), "-X", "--duplicates")
    r.lab.reset()
    r.submit("preempted-for-good", "sleep 300", "--no-requeue", "--exclusive")
    r.running("preempted-for-good")
    r.submit("urgent", "sleep 5", "-p", "urgent", "-w", "n1", "--exclusive")
    r.ended("preempted-for-good")
    r.caught_up("preempted-for-good")
    r.views("preempted-for-good", r.ids["preempted-for-good"])
    r.lab.reset()


def node_fail(r: Recorder) -> None:
    r.submit("node-fail", "sleep 300", "-p", "two", "--no-requeue")
    r.submit("node-fail-requeued", "sleep 300", "-p", "two", "--requeue")
    r.running("node-fail")
    r.running("node-fail-requeued")
    r.lab.stop("n2")
    r.lab.ask("scontrol", "update", "nodename=n2", "state=down", "reason=broken fan")
    r.ended("node-fail")
    r.views("node-fail", r.ids["node-fail"])
    r.views("node-fail-requeued", r.ids["node-fail-requeued"])
    r.keep("sacct-duplicates-node-fail", *sacct(r.ids["node-fail-requeued"]), "--duplicates")
    r.caught_up("node-fail-requeued")
    r.keep("sacct-duplicates-node-fail-later", *sacct(r.ids["node-fail-requeued"]), "--duplicates")
    inventory(r, "-node-down")
    r.lab.reset()


# --- why jobs wait -------------------------------------------------------------------------------


def waiting(r: Recorder) -> None:
    r.submit("failed", "exit 1")
    r.ended("failed")
    r.submit("running", "sleep 300", "--exclusive")
    r.running("running")
    r.submit("resources", "true", "--exclusive")
    r.submit("priority", "true", "--exclusive")
    r.submit("held-user", "true", "-H")
    r.submit("dependency", "true", "-d", f"afterany:{r.ids['running']}")
    r.submit("dependency-never", "true", "-d", f"afterok:{r.ids['failed']}")
    r.submit("dependency-gone", "true", "-d", f"afterany:{r.ids['failed']}", "--exclusive")
    r.submit("begin-time", "true", "--begin=now+3600")
    r.submit("qos-max-wall", "true", "-q", "brief", "-t", "5")
    r.submit("licenses", "true", "-L", "solver:2", "-p", "two")
    r.submit("partition-down", "true", "-p", "down")
    r.submit("held-admin", "true", "--begin=now+3600")
    r.lab.ask("scontrol", "hold", r.ids["held-admin"])
    names = [
        *("running", "resources", "priority", "held-user", "held-admin", "dependency"),
        *("dependency-never", "dependency-gone", "begin-time", "qos-max-wall", "partition-down"),
    ]
    settle(r, names)
    r.views("running-early", r.ids["running"], note="the database has not got everything yet")
    r.views("resources-early", r.ids["resources"], note="the database has not got everything yet")
    for name in names:
        r.caught_up(name)
        r.views(name, r.ids[name])
    r.keep("squeue-waiting", "squeue", "-h", "-t", "all", "-o", SQUEUE)
    r.keep("squeue-waiting-long-format", "squeue", "-h", "-O", SQUEUE_O)
    r.keep("squeue-start", "squeue", "-h", "--start", "-o", SQUEUE)
    r.keep("sbatch-test-only-busy", "sbatch", "--test-only", "--exclusive", str(r.work / "good.sh"))
    r.submit("suspended", "sleep 300", "-p", "two")
    r.running("suspended")
    r.lab.ask("scontrol", "suspend", r.ids["suspended"])
    r.views("suspended", r.ids["suspended"])
    r.lab.ask("scontrol", "resume", r.ids["suspended"])
    r.lab.reset()
    r.submit("qos-submit-limit", "sleep 300", "-q", "onlyone")
    again = str(r.work / "job.sh")
    r.keep("sbatch-refused-submit-limit", "sbatch", "--parsable", "-q", "onlyone", again)
    r.lab.reset()


def settle(r: Recorder, names: list[str]) -> None:
    """The reasons of the second pass of the scheduler are those that stay."""

    def settled() -> bool:
        text = r.lab.ask("squeue", "-h", "-o", "%j %r")
        known = dict(line.split(maxsplit=1) for line in text.splitlines())
        return all(known.get(name) != "None" for name in names if name != "running") and (
            known["priority"] == "Priority"
        )

    until(settled, "every job has its reason")


def maintenance(r: Recorder) -> None:
    r.lab.ask(
        *("scontrol", "create", "reservation", "reservationname=service", "starttime=now+120"),
        *("duration=60", "nodes=ALL", "flags=maint,ignore_jobs", "users=root"),
    )
    r.submit("maintenance", "true", "-t", "30")
    until(lambda: "None" not in r.lab.ask("squeue", "-h", "-o", "%r"), "a reason")
    r.caught_up("maintenance")
    r.views("maintenance", r.ids["maintenance"])
    r.keep("scontrol-reservation", "scontrol", "show", "reservation", "-o")
    r.keep("sinfo-reservation", "sinfo", "-h", "-T", "-o", "%all")
    r.lab.ask("scontrol", "delete", "reservationname=service")
    r.lab.reset()
    r.lab.ask("scontrol", "update", "nodename=n1", "state=drain", "reason=new kernel")
    r.submit("drained", "true", "-w", "n1")
    until(lambda: "None" not in r.lab.ask("squeue", "-h", "-o", "%r"), "a reason")
    r.caught_up("drained")
    r.views("drained", r.ids["drained"])
    inventory(r, "-drained")
    r.lab.reset()
    r.lab.configure(EnforcePartLimits="NO")
    good = r.script("#!/bin/sh\ntrue\n", "good.sh")
    r.keep("sbatch-lenient-time", "sbatch", "--parsable", "-p", "short", "-t", "10", good)
    r.submit("partition-time-limit", "true", "-p", "short", "-t", "10")
    r.submit("partition-node-limit", "true", "-p", "short", "-N", "2")
    r.submit("account-not-allowed", "true", "-p", "closed")
    until(lambda: "PartitionConfig" not in r.lab.ask("squeue", "-h", "-o", "%r"), "a reason")
    for name in ("partition-time-limit", "partition-node-limit", "account-not-allowed"):
        r.caught_up(name)
        r.views(name, r.ids[name])
    r.keep("sbatch-lenient-test-only", "sbatch", "--test-only", "-p", "short", "-t", "10", good)
    r.lab.configure(EnforcePartLimits="ALL")
    r.lab.reset()


# --- the inventory -------------------------------------------------------------------------------


def inventory(r: Recorder, suffix: str = "") -> None:
    fields = "%P|%a|%l|%D|%T|%N|%c|%m|%f|%G|%E"
    r.keep(f"sinfo{suffix}", "sinfo", "-h", "-o", fields)
    r.keep(f"sinfo-nodes{suffix}", "sinfo", "-h", "-N", "-o", fields)
    r.keep(f"scontrol-partition{suffix}", "scontrol", "show", "partition", "-o")
    r.keep(f"scontrol-node{suffix}", "scontrol", "show", "node", "-o")


def site(r: Recorder) -> None:
    inventory(r)
    assoc = ("-nP", "show", "assoc", f"user={USER}", "format=account,partition,qos,defaultqos")
    r.keep("sacctmgr-assoc", "sacctmgr", *assoc)
    qos = ("-nP", "show", "qos", "format=name,maxwall,maxsubmit,flags")
    r.keep("sacctmgr-qos", "sacctmgr", *qos)
    r.keep("scontrol-ping", "scontrol", "ping")
    r.keep("scontrol-config", "scontrol", "show", "config")
    r.keep("scontrol-licenses", "scontrol", "show", "licenses", "-o")
    for program in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo"):
        r.keep(f"{program}-version", program, "--version")


def catalogue(r: Recorder) -> None:
    """A site of several kinds of nodes in several states, in the words of the adapter."""
    lab = r.lab
    lab.ask("scontrol", "update", "nodename=g2", "state=drain", "reason=bad fan State=IDLE")
    lab.ask("scontrol", "update", "nodename=g3", "state=down", "reason=broken")
    lab.ask(
        *("scontrol", "create", "reservation", "reservationname=service", "starttime=now"),
        *("duration=60", "nodes=c6", "flags=maint,ignore_jobs", "users=root"),
    )
    lab.sacctmgr("modify", "qos", "brief", "set", "maxtresperjob=cpu=8,node=2,mem=16G,gres/gpu=1")
    until(lambda: "MAINT" in lab.ask("scontrol", "-o", "show", "node", "c6"), "c6 is in service")
    for what in ("node", "partition"):
        r.keep(f"catalogue-{what}", "scontrol", "--oneliner", "show", what)
    r.keep("catalogue-config", "scontrol", "show", "config")
    shown = ("sacctmgr", "--noheader", "--parsable2", "show")
    r.keep("catalogue-user", *shown, "user", f"user={USER}", "format=DefaultAccount")
    wanted = "format=Account,Partition,QOS,DefaultQOS"
    r.keep("catalogue-associations", *shown, "associations", "cluster=lab", f"user={USER}", wanted)
    wanted = "format=Name,MaxWall,MaxTRES,MaxJobsPerUser,MaxSubmitJobsPerUser,Flags"
    r.keep("catalogue-qos", *shown, "qos", wanted)


# --- outages -------------------------------------------------------------------------------------


def outages(r: Recorder) -> None:
    good = r.script("#!/bin/sh\ntrue\n", "good.sh")
    r.submit("outage", "sleep 900", "-p", "two", "-t", "30")
    r.running("outage")
    r.caught_up("outage")
    job = r.ids["outage"]

    for name, daemons in {
        "slurmdbd-down": ("slurmdbd",),
        "mariadb-down": ("mariadb",),
        "controller-down": ("slurmctld",),
        "everything-down": ("slurmctld", "slurmdbd"),
        "munge-down": ("munged",),
    }.items():
        for daemon in daemons:
            r.lab.stop(daemon, signal.SIGTERM)
        everything(r, name, job, good)
        for daemon in reversed(daemons):
            r.lab.start(daemon)
        until(lambda: "idle" in r.lab.ask("sinfo", "-h", "-n", "n1", "-o", "%t"), "n1 is back")
    for name, daemon in {"slurmdbd-frozen": "slurmdbd", "controller-frozen": "slurmctld"}.items():
        r.lab.freeze(daemon)
        everything(r, name, job, good)
        r.lab.thaw(daemon)
    r.keep("squeue-after-outages", "squeue", "-h", "-t", "all", "-o", SQUEUE)
    r.keep("squeue-no-conf", "squeue", "-h", env="SLURM_CONF=/nosuch/slurm.conf")
    r.keep("sbatch-no-conf", "sbatch", "--parsable", good, env="SLURM_CONF=/nosuch/slurm.conf")
    r.lab.reset()


def everything(r: Recorder, suffix: str, job: str, good: str) -> None:
    """All commands at once: some take minutes until they give up."""
    asked = {
        "sbatch": ("sbatch", "--parsable", good),
        "sbatch-test-only": ("sbatch", "--test-only", good),
        "squeue": ("squeue", "-h", "-t", "all", "-j", job, "-o", SQUEUE),
        "sacct": sacct(job),
        "scontrol": ("scontrol", "show", "job", "-o", job),
        "scancel": ("scancel", "99999"),
        "sinfo": ("sinfo", "-h", "-o", "%P|%a"),
        "sacctmgr": ("sacctmgr", "-nP", "show", "assoc", f"user={USER}"),
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        for name, argv in asked.items():
            pool.submit(r.keep, f"{name}-{suffix}", *argv, timeout_s=90)


def no_accounting(r: Recorder) -> None:
    r.script("#!/bin/sh\ntrue\n", "good.sh")
    r.submit("bare", "exit 3")
    r.ended("bare")
    for name, argv in {
        "sacct": sacct(r.ids["bare"]),
        "squeue": ("squeue", "-h", "-t", "all", "-j", r.ids["bare"], "-o", SQUEUE),
        "scontrol": ("scontrol", "show", "job", "-o", r.ids["bare"]),
        "sacctmgr": ("sacctmgr", "-nP", "show", "assoc"),
        "sbatch-account": ("sbatch", "--parsable", "-A", "nosuch", str(r.work / "good.sh")),
    }.items():
        r.keep(f"{name}-no-accounting", *argv)


PARTS: tuple[Callable[[Recorder], None], ...] = (
    *(site, answers, refusals, endings, waiting, requeued, node_fail, maintenance),
    *(outages, slow_endings),
)
