"""The environments that Slurm's commands are run in, as pure functions of the user's own.

Variables steer these commands: SBATCH_* override the lines of a script, SQUEUE_* and the like
change what is printed, SLURM_* of an outer job would describe the wrong job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

# How the controller is reached, and where: settings of the user or the site, not of a job.
_REACH = frozenset(
    {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_SOCKET"}
)
_OF_A_JOB = ("SLURM_", "SLURMD_", "SLURMSTEPD_", "PMI", "OMPI_")
_OF_A_QUERY = (
    "SLURM_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_", "SSHARE_", "SACCTMGR_",
)  # fmt: skip
# Slurm sets these in a job (src/common/env.c).
_SET_IN_A_JOB = re.compile(r"SBATCH_MEM_BIND(_\w+)?")

# Variables that sbatch lets win over the line of a script with this option (src/sbatch/opt.c).
_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "--account": ("SBATCH_ACCOUNT",),
        "--constraint": ("SBATCH_CONSTRAINT",),
        "--exclusive": ("SBATCH_EXCLUSIVE",),
        "--gpus": ("SBATCH_GPUS",),
        "--gpus-per-node": ("SBATCH_GPUS_PER_NODE",),
        "--gpus-per-task": ("SBATCH_GPUS_PER_TASK",),
        "--gres": ("SBATCH_GRES",),
        "--hint": ("SBATCH_HINT", "SBATCH_THREADS_PER_CORE"),
        "--mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
        "--mem-per-cpu": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
        "--no-requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
        "--partition": ("SBATCH_PARTITION",),
        "--qos": ("SBATCH_QOS",),
        "--requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
        "--reservation": ("SBATCH_RESERVATION",),
        "--signal": ("SBATCH_SIGNAL",),
        "--threads-per-core": ("SBATCH_THREADS_PER_CORE",),
        "--wckey": ("SBATCH_WCKEY",),
    }
)
# Ours alone: another name could not be found again, an array or a wait is not one job.
_ALWAYS_OURS = frozenset(
    {
        "SBATCH_ARRAY_INX", "SBATCH_ERROR", "SBATCH_EXPORT", "SBATCH_GET_USER_ENV", "SBATCH_INPUT",
        "SBATCH_JOB_NAME", "SBATCH_OPEN_MODE", "SBATCH_OUTPUT", "SBATCH_TIMELIMIT", "SBATCH_WAIT",
    }
)  # fmt: skip


def for_submission(env: Mapping[str, str], stated: Collection[str] = ()) -> dict[str, str]:
    """What sbatch, and through it the job, gets: the user's environment without an outer job's.

    `stated` are the options that the script states (`--account`): for them the script wins over
    the user's SBATCH_* variable. OMPI_MCA_* are a user's settings unless a job surrounds us.
    """
    overridden = _ALWAYS_OURS.union(*(_VARIABLES.get(option, ()) for option in stated))
    inside = "SLURM_JOB_ID" in env or "SLURM_JOBID" in env

    def reaches(name: str) -> bool:
        if name in _REACH:
            return True
        if name in overridden or (inside and _SET_IN_A_JOB.fullmatch(name)):
            return False
        if name.startswith("OMPI_MCA_"):
            return not inside
        return not name.startswith(_OF_A_JOB)

    return {name: value for name, value in env.items() if reaches(name)}


def for_queries(env: Mapping[str, str]) -> dict[str, str]:
    """What squeue, sacct and the others get: times in UTC, plain words, whole array ids."""
    kept = {
        name: value
        for name, value in env.items()
        if name in _REACH or not name.startswith(_OF_A_QUERY)
    }
    return kept | {"TZ": "UTC", "LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}


def clusters(env: Mapping[str, str]) -> tuple[str, ...]:
    """The clusters that the user sends jobs to; one empty name: the one that is at hand."""
    text = env.get("SBATCH_CLUSTERS") or env.get("SLURM_CLUSTERS") or ""
    found = tuple(name for name in text.split(",") if re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name))
    return found or ("",)
