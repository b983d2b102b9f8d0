"""Held-out failures of jobs and requests, with the private Slurm of the tests."""

from __future__ import annotations

from planted.case import Case
from planted.slurm_jobs import MPI, batch, job

STATE = "scontrol show job {0} | grep -E 'JobState|Reason|ExitCode|StdOut'"
SEGV = {"w.c": "int main(void) { *(volatile int *)0 = 1; return 0; }\n"}
HOG = {"hog.py": "import time\nx = bytearray(900 << 20)\ntime.sleep(30)\n"}
SCRIPT = job("hostname")
STUCK = (
    "id=$(sbatch --parsable {options} work.sh) || exit\n"
    "for i in 1 2 3 4 5 6 7 8 9 10; do\n  sleep 0.5\n"
    "  squeue -h -j $id -o '%i %T (%r)' | tee now\n  grep -q '{reason}' now && break\ndone\n"
    "scancel $id\necho 'watcher: the job does not start, giving up'\nexit 3"
)


def refused(name: str, what: str, planted: str, options: str, **files: str) -> Case:
    return Case(name, f"scheduler.{what}", planted, batch(options), files=files or SCRIPT)


def shell(name: str, what: str, planted: str, run: str, prepare: str = "", **files: str) -> Case:
    return Case(name, f"scheduler.{what}", planted, run, prepare, files or SCRIPT)


def ran(name: str, kind: str, planted: str, body: str, options: str = "", **files: str) -> Case:
    return Case(name, kind, planted, batch(options), files=job(body, **files))


REFUSED = (
    refused("bl-sl-time", "a time that Slurm cannot read", "commas", "-t 1h30"),
    refused("bl-sl-memory", "more memory than a node has", "9 TB", "--mem 9T"),
    refused("bl-sl-feature", "a feature that no node has", "icelake", "-C icelake"),
    refused(
        "bl-sl-dependency", "a dependency that Slurm cannot read", "misspelt", "-d after_ok:4711"
    ),
    refused("bl-sl-node", "a node that is not there", "of another cluster", "-w nid004711"),
    refused(
        "bl-sl-reservation",
        "a reservation that is not there",
        "last week's",
        "--reservation=course",
    ),
    refused("bl-sl-license", "a license that is not there", "ansys", "-L ansys:4"),
    refused("bl-sl-array", "an array that is too large", "a million", "--array=0-999999"),
    refused(
        "bl-sl-option", "an option that sbatch does not know", "misspelt", "--ntasks-per-nodes=2"
    ),
    refused("bl-sl-nodes", "more nodes than the partition has", "64", "-N 64"),
    refused("bl-sl-inactive", "a partition that is closed", "inactive", "-p inactive"),
    refused("bl-sl-not-allowed", "a partition that the account may not use", "closed", "-p closed"),
    refused("bl-sl-gres", "a resource that the cluster does not know", "FPGAs", "--gres=fpga:1"),
    refused("bl-sl-mem-unit", "a memory that Slurm cannot read", "a unit", "--mem=16Gigs"),
    refused(
        "bl-sl-mail", "an option of another scheduler", "PBS", "-l nodes=2:ppn=8,walltime=1:00:00"
    ),
    refused(
        "bl-sl-no-shebang",
        "a script without its first line",
        "no interpreter",
        "",
        **{"work.sh": "hostname\n"},
    ),
    refused(
        "bl-sl-dos",
        "a script with line ends of Windows",
        "edited on a laptop",
        "",
        **{"work.sh": "#!/bin/bash\r\nhostname\r\n"},
    ),
    refused(
        "bl-sl-directive",
        "an option in a script that Slurm cannot read",
        "a bad directive",
        "",
        **{"work.sh": "#!/bin/bash\n#SBATCH --nodes=two\n#SBATCH -t 5\nhostname\n"},
    ),
)
COMMANDS = (
    shell(
        "bl-sl-submit-limit",
        "more jobs than the QOS allows",
        "one of onlyone waits",
        "sbatch -H --parsable -q onlyone work.sh > first\nsbatch -q onlyone work.sh\nstatus=$?\n"
        "scancel $(cat first)\nexit $status",
    ),
    shell("bl-sl-no-job", "a job that is not there", "an old id", "squeue -j 99999999"),
    shell(
        "bl-sl-qos-time",
        "a job that waits because its QOS allows less time",
        "brief",
        STUCK.format(options="-q brief -t 90", reason="QOS"),
    ),
    shell(
        "bl-sl-munge",
        "the credentials cannot be made",
        "munged is not there",
        "SLURM_CONF=$PWD/slurm.conf sbatch work.sh",
        "sed -E 's|socket=[^,]*/munge|socket=/run/munge-gone/socket|' $SLURM_CONF > slurm.conf",
    ),
    shell(
        "bl-sl-salloc", "an allocation that cannot be had", "64 cores", "salloc -n 1 -c 64 hostname"
    ),
    shell(
        "bl-sl-held",
        "a job that waits because it is held",
        "held",
        STUCK.format(options="-H", reason="Held"),
    ),
    shell(
        "bl-sl-down",
        "a job that waits for a partition that is down",
        "down",
        STUCK.format(options="-p down", reason="PartitionDown"),
    ),
    shell(
        "bl-sl-never",
        "a dependency that can never be satisfied",
        "the first job fails",
        "first=$(sbatch --parsable -H bad.sh)\n"
        "id=$(sbatch --parsable -d afterok:$first work.sh)\nscontrol release $first\n"
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do\n  sleep 0.5\n"
        "  squeue -h -j $id -o '%i %T (%r)' | tee now\n  grep -q Never now && break\ndone\n"
        "scancel $id\nexit 3",
        **{"work.sh": "#!/bin/sh\nhostname\n", "bad.sh": "#!/bin/sh\nexit 1\n"},
    ),
    shell(
        "bl-sl-output-folder",
        "a job whose output cannot be written",
        "the folder of its log is not there",
        "sbatch --wait -o logs/%j/out.txt work.sh | tee said\nstatus=${PIPESTATUS[0]}\n"
        "id=$(grep -o '[0-9]*' said)\ncat logs/*/out.txt\n"
        + STATE.format("$id")
        + "\nexit ${status/#0/1}",
    ),
)
JOBS = (
    ran(
        "bl-sl-chdir",
        "scheduler.the working folder of a job is not there",
        "a purged scratch",
        "cat params.txt || exit 2",
        "-D /scratch/purged/run7 -o $PWD/out",
    ),
    ran(
        "bl-sl-segv",
        "run.a task of a step died of a segmentation fault",
        "one of two",
        "gcc w.c -o w && srun -n 1 ./w",
        **SEGV,
    ),
    ran(
        "bl-sl-step-memory",
        "scheduler.a step asks for more memory than the job has",
        "4 GB of 300 MB",
        "srun --mem=4G -n 1 hostname",
        "--mem 300",
    ),
    ran(
        "bl-sl-array-memory",
        "scheduler.a task of an array needs more memory than it has",
        "the second of two",
        "if [ $SLURM_ARRAY_TASK_ID = 1 ]; then python3 hog.py; fi",
        "--mem 150 --array=0-1",
        **HOG,
    ),
    ran(
        "bl-sl-killed-step",
        "scheduler.a step that was cancelled",
        "scancel of the step",
        "(sleep 1.5; scancel $SLURM_JOB_ID.0) &\nsrun -n 1 sleep 60",
    ),
    ran(
        "bl-sl-signal",
        "scheduler.cancelled by a user before its end",
        "with a trap and a message",
        "trap 'echo checkpointing; exit 15' TERM\n(sleep 1; scancel -s TERM -f $SLURM_JOB_ID) &\n"
        "for i in $(seq 200); do sleep 0.1; done",
        "-p two",
    ),
    ran(
        "bl-sl-module",
        "environment.a job without its module command",
        "no login shell",
        "unset -f module ml\nmodule load openmpi/4.1\nset -e\nsrun ./wave",
    ),
    ran(
        "bl-sl-mpi-type",
        "scheduler.an MPI plugin that Slurm does not have",
        "pmi9",
        "mpicc.openmpi m.c -o m && srun --mpi=pmi9 -n 1 ./m",
        **MPI,
    ),
    ran(
        "bl-sl-exclusive",
        "scheduler.a step that cannot start while another has the cores",
        "a step in the background holds them",
        "srun -n 2 --exact sleep 20 &\nsleep 1\nsrun -n 1 --exact --immediate=2 hostname\n"
        "status=$?\nkill %1\nexit $status",
        "-n 2",
    ),
    ran(
        "bl-sl-compile",
        "compile.a header is not there, in a job",
        "no fftw3",
        "module() { :; }\nmodule load gcc\nmake -j2\nstatus=$?\necho job ends:"
        " $(date -u +%F)\nexit $status",
        "-p two",
        Makefile="wave: wave.c\n\t$(CC) -O2 wave.c -o wave\n",
        **{"wave.c": "#include <fftw3-mpi.h>\nint main(void) { return 0; }\n"},
    ),
)
CASES = (*REFUSED, *COMMANDS, *JOBS)
