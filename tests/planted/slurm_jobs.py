"""Failures of jobs and of requests on the private Slurm."""

from __future__ import annotations

from planted.case import Case

BATCH = "sbatch --wait -o out {options} work.sh\nstatus=$?\ncat out 2>/dev/null\nexit $status"
HOG = {
    "hog.py": "import time\nx = bytearray(900 << 20)\nprint('filled', flush=True)\ntime.sleep(30)\n"
}
MPI = {
    "m.c": "#include <mpi.h>\nint main(int c, char **v)\n{\n    MPI_Init(&c, &v);\n"
    "    MPI_Finalize();\n    return 0;\n}\n"
}


def job(body: str, **more: str) -> dict[str, str]:
    return {"work.sh": f"#!/bin/bash\n{body}\n", **more}


def batch(options: str = "") -> str:
    return BATCH.format(options=options)


CASES = (
    Case(
        "slurm-partition",
        "scheduler.partition",
        "a partition that is not there",
        batch("-p gpu-large"),
        files=job("hostname"),
    ),
    Case(
        "slurm-account",
        "scheduler.account",
        "an account of others",
        batch("-A theirs"),
        files=job("hostname"),
    ),
    Case(
        "slurm-qos",
        "scheduler.qos",
        "a QOS that is not allowed",
        batch("-q secret"),
        files=job("hostname"),
    ),
    Case(
        "slurm-time-refused",
        "scheduler.time_refused",
        "more time than the partition gives",
        batch("-p short -t 30"),
        files=job("hostname"),
    ),
    Case(
        "slurm-time-limit",
        "scheduler.time_limit",
        "a job longer than its time limit",
        batch("-t 5 --mem 50"),
        files=job(
            # A limit counts in minutes; an end that comes soon is found by the same timer.
            "echo step 1\nscontrol update jobid=$SLURM_JOB_ID EndTime=now+1\nsleep 200"
        ),
    ),
    Case(
        "slurm-memory",
        "scheduler.out_of_memory",
        "a job larger than its memory",
        batch("--mem 200"),
        files=job("python3 hog.py", **HOG),
    ),
    Case(
        "slurm-step-memory",
        "scheduler.out_of_memory",
        "a step larger than its memory",
        batch("--mem 200"),
        files=job("srun python3 hog.py", **HOG),
    ),
    Case(
        "slurm-cancelled",
        "scheduler.cancelled",
        "cancelled while it runs",
        batch(),
        files=job("echo step 1\n(sleep 1; scancel $SLURM_JOB_ID) &\nsleep 60"),
    ),
    Case(
        "slurm-nodes",
        "scheduler.node_configuration",
        "more cores a node than there are",
        batch("-c 64"),
        files=job("hostname"),
    ),
    Case(
        "slurm-gres",
        "scheduler.node_configuration",
        "GPUs where there are none",
        batch("--gres=gpu:4"),
        files=job("hostname"),
    ),
    Case(
        "slurm-no-program",
        "scheduler.no_program",
        "srun of what is not there",
        batch(),
        files=job("srun ./solver --input a.nml"),
    ),
    Case(
        "slurm-step-too-large",
        "scheduler.step_too_large",
        "a step of more tasks than the job",
        batch("-n 1"),
        files=job("srun -n 8 hostname"),
    ),
    Case(
        "slurm-direct-launch",
        "mpi.no_pmi",
        "an Open MPI program started by srun --mpi=none",
        batch(),
        files=job("mpicc.openmpi m.c -o m && srun --mpi=none -n 1 ./m", **MPI),
    ),
    Case(
        "slurm-srun-outside",
        "scheduler.partition",
        "srun outside of a job, a wrong partition",
        "srun -p nosuch hostname",
    ),
    Case(
        "slurm-no-script",
        "scheduler.no_script",
        "a script that is not there",
        "sbatch --wait run.slurm",
    ),
    Case(
        "slurm-no-controller",
        "scheduler.no_controller",
        "the controller does not answer",
        "SLURM_CONF=$PWD/slurm.conf squeue --me",
        "sed -E 's/^SlurmctldPort=.*/SlurmctldPort=9/' $SLURM_CONF > slurm.conf\n"
        "echo MessageTimeout=2 >> slurm.conf",
    ),
    Case(
        "slurm-command-not-found",
        "environment.command_not_found",
        "a job without its module",
        batch(),
        files=job("xhpl -v"),
    ),
    Case(
        "slurm-python",
        "run.python",
        "a Python error in a job",
        batch(),
        files=job("python3 post.py", **{"post.py": "x = {}\nprint(x['time'])\n"}),
    ),
    Case(
        "slurm-task-failed",
        "run.exit_nonzero",
        "a task of a step ends with 3",
        batch(),
        files=job("srun -n 1 bash -c 'exit 3'"),
    ),
)
