"""The configuration files of a private Slurm, as text."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NODES = ("n1", "n2")
CPUS, MEMORY_MB = 2, 2000


@dataclass(frozen=True)
class Ports:
    controller: int
    database: int
    nodes: tuple[int, ...]


def settings(folder: Path, ports: Ports, user: str, accounting: bool) -> dict[str, str]:
    """What stands in slurm.conf once; times are short so that tests are."""
    host = socket.gethostname().split(".")[0]
    lines = {
        "ClusterName": "lab",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": str(ports.controller),
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge,cred_expire=10",  # so long waits what is requeued
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/%n",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/%n.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": "400",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,sched_interval=2,"
        "bf_interval=1,requeue_delay=1",
        "EnforcePartLimits": "ALL",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "PriorityType": "priority/basic",
        "Licenses": "solver:2",
        "GresTypes": "gpu",
        "SlurmdParameters": "config_overrides",
        "ReturnToService": "2",
        "KillWait": "2",
        "SlurmctldTimeout": "30",
        "SlurmdTimeout": "10",
        "MinJobAge": "300",
        "AccountingStorageType": "accounting_storage/none",
    }
    if accounting:
        lines |= {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "127.0.0.1",
            "AccountingStoragePort": str(ports.database),
            "AccountingStoragePass": f"{folder}/munge",
            "AccountingStorageEnforce": "associations,limits,qos",
        }
    return lines


# A site beside the two nodes that run: nodes of a cloud that sleep, so that no slurmd is needed.
# The CPUs of `c` are cores (fewer than the threads there are), those of `g` are threads.
SITE_LINES = {
    "AccountingStorageTRES": "gres/gpu",
    "SelectTypeParameters": "CR_Core_Memory",
}
SITE = (
    "ResumeProgram=/bin/true",
    "SuspendProgram=/bin/true",
    "SuspendExcNodes=n1,n2",
    "SuspendTime=3600",
    "PrivateData=cloud",
    "NodeName=c[1-6] NodeAddr=127.1.1.[1-6] Sockets=2 CoresPerSocket=32 ThreadsPerCore=2 CPUs=64"
    " RealMemory=257000 MemSpecLimit=4096 Feature=skylake,ib State=CLOUD Weight=10",
    "NodeName=g[1-4] NodeAddr=127.1.2.[1-4] Sockets=2 CoresPerSocket=32 ThreadsPerCore=2 CPUs=128"
    " RealMemory=515000 CoreSpecCount=2 Feature=rome,nvlink,ib Gres=gpu:a100:4 State=CLOUD"
    " Weight=50",
    "NodeName=m[1-2] NodeAddr=127.1.3.[1-2] Sockets=4 CoresPerSocket=12 ThreadsPerCore=1"
    " RealMemory=3000000 Feature=skylake,bigmem Gres=gpu:t4:2,gpu:v100:1 State=CLOUD",
    "PartitionName=compute Nodes=c[1-6] MaxTime=2-0 DefaultTime=60 MaxNodes=4"
    " OverSubscribe=EXCLUSIVE TRESBillingWeights=CPU=1.0,Mem=0.25G",
    "PartitionName=gpu Nodes=g[1-4] MaxTime=60 DefMemPerCPU=3900 MaxMemPerCPU=4000"
    " AllowQos=normal,onlyone MaxCPUsPerNode=64 TRESBillingWeights=CPU=0.1,GRES/gpu=30",
    "PartitionName=mixed Nodes=c[1-6],m[1-2] MaxTime=1-0 MinNodes=2 MaxMemPerNode=1000000",
    "PartitionName=fat Nodes=m[1-2] MaxTime=UNLIMITED DenyAccounts=proj",
)


def slurm_conf(lines: Mapping[str, str], ports: Ports, more: Sequence[str] = ()) -> str:
    """Two nodes of two CPUs on this host, and partitions that take or refuse jobs."""
    host = socket.gethostname().split(".")[0]
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS}"
        f" RealMemory={MEMORY_MB} Feature={name}only,avx2"
        for name, port in zip(NODES, ports.nodes, strict=True)
    ]
    partitions = [
        "PartitionName=one Nodes=n1 Default=YES MaxTime=1-0",
        "PartitionName=both Nodes=n1,n2 MaxTime=1-0",
        "PartitionName=two Nodes=n2 MaxTime=1-0",
        "PartitionName=short Nodes=n1 MaxTime=2",
        "PartitionName=down Nodes=n2 MaxTime=1-0 State=DOWN",
        "PartitionName=inactive Nodes=n2 MaxTime=1-0 State=INACTIVE",
        "PartitionName=closed Nodes=n1 AllowAccounts=theirs",
        "PartitionName=urgent Nodes=n1,n2 MaxTime=1-0 PriorityTier=10",
    ]
    first = [f"{k}={v}" for k, v in lines.items()]
    return "\n".join([*first, *nodes, *partitions, *more]) + "\n"


def slurmdbd_conf(folder: Path, ports: Ports, user: str) -> str:
    return "\n".join(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge",
            f"DbdHost={socket.gethostname().split('.')[0]}",
            "DbdAddr=127.0.0.1",
            f"DbdPort={ports.database}",
            f"SlurmUser={user}",
            f"PidFile={folder}/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            f"StorageUser={user}",
            "StorageLoc=slurm",
            "",
        ]
    )


def accounts(users: tuple[str, ...]) -> str:
    """Commands of sacctmgr: an account to use, one of nobody's, one with a limit, and QOS."""
    lines = [
        "add cluster lab",
        "add qos brief maxwall=1",
        "add qos onlyone maxsubmitjobs=1 flags=denyonlimit",
        "add qos secret",
        "add account proj,theirs,other",
    ]
    for user in users:
        lines.append(f"add user {user} account=proj,other defaultaccount=proj")
        lines.append(f"modify user {user} set qos=normal,brief,onlyone")
    return "\n".join([*lines, "quit", ""])
