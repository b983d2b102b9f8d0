"""Failures of what surrounds a program: paths, rights, modules, Python."""

from __future__ import annotations

from planted.case import Case

LMOD = "source /usr/share/lmod/lmod/init/bash\nmodule use $PWD/modules\n"
HEAD = "#%Module1.0\n"
MODULES = {
    "modules/gcc/12.2": HEAD + "setenv SITE_GCC 12.2\n",
    "modules/openmpi/4.1": HEAD + "conflict mpich\nsetenv SITE_MPI openmpi\n",
    "modules/mpich/4.0": HEAD + "conflict openmpi\nsetenv SITE_MPI mpich\n",
    "modules/hdf5/1.12": HEAD + "prereq openmpi\nsetenv SITE_HDF5 1.12\n",
}

CASES = (
    Case(
        "lmod-unknown",
        "environment.module_unknown",
        "a version that the site does not have",
        LMOD + "module load gcc/99.1 && gcc --version",
        files=MODULES,
    ),
    Case(
        "lmod-conflict",
        "environment.module_conflict",
        "two modules that exclude each other",
        LMOD + "module load openmpi/4.1\nmodule load mpich/4.0",
        files=MODULES,
    ),
    Case(
        "lmod-prerequisite",
        "environment.module_prerequisite",
        "a module that needs another",
        LMOD + "module load hdf5/1.12",
        files=MODULES,
    ),
    Case(
        "no-module-command",
        "environment.no_module_command",
        "the shell knows no modules",
        "unset -f module ml\nmodule load gcc && gcc --version",
    ),
    Case(
        "not-executable",
        "environment.permission",
        "a program without the x bit",
        "./solver",
        "chmod -x solver",
        {"solver": "#!/bin/sh\n"},
    ),
    Case(
        "not-found",
        "environment.command_not_found",
        "a command that is not there",
        "ifort -V && ifort -O2 a.f90",
    ),
    Case(
        "no-folder",
        "environment.missing_path",
        "a folder that is not there",
        "cd $PWD/scratch/run-7 && ls",
    ),
    Case(
        "python-error",
        "run.python",
        "a name that is not defined",
        "python3 post.py",
        files={"post.py": "def mean(v):\n    return total / len(v)\n\n\nprint(mean([1, 2]))\n"},
    ),
)
