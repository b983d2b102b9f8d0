"""Held-out logs that were recorded, or written from documented texts.

The first line of each file says where it comes from; it is not part of the log.
"""

from __future__ import annotations

from pathlib import Path

from planted.case import Case

FOLDER = Path(__file__).parents[1] / "fixtures" / "diagnosis_blind"


def log(name: str, kind: str, exit_code: int = 1) -> Case:
    file = FOLDER / f"{name}.log"
    run = f'tail -n +2 "$BLIND_LOG"\nexit {exit_code}'
    origin = "documented" if name.startswith("doc-") else "recorded"
    return Case(f"bl-{name}", kind, origin, run, env={"BLIND_LOG": str(file)})


RECORDED = (
    log("fork-retry", "run.no more processes for the user", 254),
    log("cgroup-oom", "run.killed for lack of memory, with the kernel's words", 137),
    log("nvcc-arch", "compile.a GPU architecture that nvcc no longer knows"),
    log("nvcc-error", "compile.an undeclared name in CUDA", 2),
    log("cuda-none", "run.no usable GPU driver"),
    log("arm-intrinsics", "compile.a header of x86 on AArch64"),
    log("arm-flag", "compile.options of another processor"),
    log("arm-loader", "load.the loader of another architecture is not there", 255),
    log("java-heap", "run.Java runs out of memory"),
    log("java-jar", "environment.a jar file is not there"),
    log("valgrind", "run.valgrind found an invalid write", 9),
    log("rust-panic", "run.a Rust program panics", 101),
    log("gcc-crash", "compile.the compiler itself crashes", 4),
    log("mpich-shm", "mpi.no room in /dev/shm", 15),
    log("cmake-mpi-none", "configure.cmake does not find MPI"),
    log("pip-build", "compile.a header is not there, while pip builds a package"),
    log("pep668", "environment.pip refuses to change the system's Python"),
    log("python-segv", "run.a segmentation fault in Python", 139),
    log("python-threads", "run.Python cannot start a thread"),
    log("driver-workload", "run.the driver does not accept its workload", 2),
    log("driver-no-routine", "run.the driver does not know a routine of its workload", 2),
    log("driver-memory", "run.the driver has no memory", 3),
    log("driver-wrong", "numerics.the driver's residual shows a wrong result"),
    log("check-wrong", "numerics.the check of a new library fails", 2),
    log("slurm-node-fail", "scheduler.a node failed"),
    log("slurm-preempted", "scheduler.preempted by another job"),
    log("slurm-step-time", "scheduler.a step longer than its time limit"),
    log("slurm-uid", "scheduler.a user that is not known"),
    log("slurm-sbcast", "scheduler.a file cannot be copied to the nodes"),
    log("slurm-multi-prog", "scheduler.a plan of programs that does not fit its tasks"),
    log("slurm-sacct-down", "scheduler.the accounting database does not answer"),
    log("slurm-ctld-down", "scheduler.the controller does not answer"),
    log("slurm-no-conf", "scheduler.no configuration of Slurm"),
)
DOCUMENTED = (
    log("doc-pbs-queue", "scheduler.a queue of PBS that is not there"),
    log("doc-pbs-limits", "scheduler.more than the queue of PBS allows"),
    log("doc-pbs-routing", "scheduler.no queue of PBS takes the job"),
    log("doc-pbs-server", "scheduler.the server of PBS does not answer"),
    log("doc-pbs-walltime", "scheduler.the time limit of PBS is exceeded", 143),
    log("doc-pbs-memory", "scheduler.the memory limit of PBS is exceeded", 143),
    log("doc-pbs-attribute", "scheduler.a request that PBS cannot read"),
    log("doc-pbs-unauthorised", "scheduler.PBS does not let a user do this"),
    log("doc-lsf-memory", "scheduler.the memory limit of LSF is exceeded", 130),
    log("doc-sge-queue", "scheduler.a queue of Grid Engine that is not there"),
    log("doc-conda-activate", "environment.conda is not initialised in the shell"),
    log("doc-conda-environment", "environment.a conda environment is not there"),
    log("doc-conda-packages", "environment.conda does not find a package"),
    log("doc-spack-package", "environment.Spack does not know a package"),
    log("doc-spack-build", "compile.a header is not there, while Spack builds a package"),
    log("doc-spack-concretise", "environment.Spack cannot satisfy a specification"),
    log("doc-quota", "run.the disk quota is exceeded, told by Fortran", 38),
    log("doc-quota-cp", "run.the disk quota is exceeded, told by cp"),
    log("doc-stale", "run.a stale file handle of a network file system"),
    log("doc-lustre", "run.an input/output error of a file system"),
    log("doc-mkl-fatal", "load.MKL does not find its kernels", 2),
    log("doc-flexlm", "environment.a license is not to be had, told by FlexNet"),
    log("doc-intel-licence", "environment.a license of the compiler is not to be had", 2),
    log("doc-impi-fabric", "mpi.Intel MPI finds no provider of its fabric", 15),
    log("doc-ucx", "mpi.UCX finds no transport to other nodes"),
    log("doc-ib-retry", "mpi.the InfiniBand network loses messages"),
    log("doc-slurm-cgroup-oom", "scheduler.a job larger than its memory, told by cgroups", 137),
    log("doc-cuda-oom", "run.the GPU has no more memory"),
    log("doc-apptainer", "environment.a container cannot be started"),
    log("doc-hpl", "numerics.the residual check of HPL fails"),
    log("doc-openblas-regions", "run.OpenBLAS is called by more threads than it was built for"),
    log("doc-ifort-module", "compile.a module file of another compiler, told by Intel"),
    log("doc-nvfortran", "compile.a module file is not there, told by NVIDIA"),
    log("doc-ssl", "environment.a certificate cannot be verified", 5),
)
CASES = (*RECORDED, *DOCUMENTED)
# It ends well: Open MPI only fears that it might not.
SUCCESSES = (log("openmpi-shm", "", 0),)
