"""More failures of requests and jobs on the private Slurm, in other words and commands."""

from __future__ import annotations

from planted.case import Case
from planted.slurm_jobs import batch, job

CASES = (
    Case(
        "salloc-account",
        "scheduler.account",
        "salloc with an account that is not there",
        "salloc -A nosuch true",
    ),
    Case(
        "srun-time",
        "scheduler.time_refused",
        "srun for longer than the partition gives",
        "srun -p short -t 10 hostname",
    ),
    Case(
        "sbatch-memory",
        "scheduler.node_configuration",
        "more memory than a node has",
        batch("--mem=900G"),
        files=job("hostname"),
    ),
    Case(
        "sbatch-nodes",
        "scheduler.node_configuration",
        "more nodes than the partition has",
        batch("-N 40"),
        files=job("hostname"),
    ),
    Case(
        "sbatch-option",
        "scheduler.option",
        "a misspelt option",
        batch("--partion=one"),
        files=job("hostname"),
    ),
    Case(
        "sbatch-feature",
        "scheduler.node_configuration",
        "a feature of no node",
        batch("-C sapphire"),
        files=job("hostname"),
    ),
    Case(
        "sbatch-no-shebang",
        "scheduler.no_script",
        "a script without its first line",
        "sbatch --wait plain",
        files={"plain": "hostname\n"},
    ),
    Case(
        "sbatch-dependency",
        "scheduler.dependency",
        "a dependency that is no job",
        batch("-d afterok:abc"),
        files=job("hostname"),
    ),
    Case(
        "scancel-step",
        "scheduler.cancelled",
        "the step is cancelled, not the job",
        batch(),
        files=job("(sleep 2; scancel $SLURM_JOB_ID.0) &\nsrun sleep 60"),
    ),
    Case(
        "srun-signal",
        "run.segfault",
        "a task of a step dies of a segmentation fault",
        batch(),
        files=job("srun bash -c 'kill -SEGV $$'"),
    ),
    Case(
        "srun-permission",
        "scheduler.no-right",
        "a program without the x bit",
        batch(),
        files=job("srun ./tool", tool="#!/bin/sh\n"),
    ),
    Case(
        "srun-mpi-type",
        "scheduler.mpi-plugin",
        "an MPI plugin that is not there",
        batch(),
        files=job("srun --mpi=pmix_v9 hostname"),
    ),
    Case("job-id", "scheduler.no-job", "a job that is not there", "scontrol show job 987654"),
    Case(
        "qos-limit",
        "scheduler.limit",
        "more jobs than the QOS allows",
        "sbatch -q onlyone -H --wrap true\nsbatch -q onlyone --wrap true; status=$?\n"
        "scancel -q onlyone --me; exit $status",
    ),
    Case(
        "job-module",
        "environment.no_module_command",
        "module in a job that knows none",
        batch(),
        files=job("unset -f module\nmodule purge\nmodule load openmpi && mpirun ./a.out"),
    ),
)
# A step's limit takes a minute and a half: not among the tests.
SLOW = (
    Case(
        "job-step-time",
        "scheduler.time_limit",
        "a step longer than its own limit",
        batch(),
        files=job("srun -t 1 sleep 100"),
    ),
)
