"""Held-out failures of the environment: modules, shells, packages, files."""

from __future__ import annotations

import sys

from planted.blind_common import job
from planted.case import Case
from planted.surroundings import HEAD

CRLF = "#!/bin/bash\r\nmodule=1\r\ncd run\r\n./solver\r\n"
EM = 'module() { eval "$($MODULECMD bash "$@")"; }\nexport MODULEPATH=$PWD/modules\n'
TREE = {
    "modules/Core/gcc/12.2.lua": 'prepend_path("MODULEPATH", "@ROOT@/modules/Compiler/gcc")\n',
    "modules/Compiler/gcc/hdf5/1.14.lua": 'setenv("SITE_HDF5", "1.14")\n',
    "modules/Core/intel/2023.lua": 'setenv("SITE_INTEL", "2023")\n',
    "modules/Core/broken/1.0.lua": 'setenv("SITE_BROKEN" "1.0"\n',
    "modules/Core/licensed/3.lua": 'if (not isFile("/opt/licensed/3/bin/solver")) then\n'
    '    LmodError("licensed/3 is not installed on this partition")\nend\n',
}
CORE = "source /usr/share/lmod/lmod/init/bash\nmodule use $PWD/modules/Core\n"
ROOTED = 'sed -i "s|@ROOT@|$PWD|" modules/Core/gcc/12.2.lua'
DEB = {"BLIND_PYTHON": sys.executable}


def site(name: str, what: str, planted: str, run: str, prepare: str = "", **files: str) -> Case:
    return Case(name, f"environment.{what}", planted, run, prepare, files, DEB)


MODULE_CASES = (
    Case(
        "bl-lmod-hidden",
        "environment.a module of a hierarchy whose parent is not loaded",
        "hdf5 without its compiler",
        job(CORE + "module load hdf5/1.14 && echo $SITE_HDF5"),
        ROOTED + "\nsource /usr/share/lmod/lmod/init/bash\nmodule use $PWD/modules/Core\n"
        "module spider hdf5 >/dev/null 2>&1 || true",
        TREE,
    ),
    Case(
        "bl-lmod-syntax",
        "environment.a broken modulefile",
        "a comma is missing",
        CORE + "module load broken/1.0 || exit",
        files=TREE,
    ),
    Case(
        "bl-lmod-refuses",
        "environment.a modulefile that refuses to load",
        "its software is not installed",
        job(CORE + "module load licensed && solver"),
        files=TREE,
    ),
    Case(
        "bl-lmod-many",
        "environment.modules that the site does not have",
        "two of three",
        CORE + "module load intel/2023 impi/2021.9 mkl/2023.1 || exit 1",
        files=TREE,
    ),
    Case(
        "bl-em-unknown",
        "environment.a module that Environment Modules does not find",
        "misspelt",
        EM + "module load openmpi/4.1 || exit",
        files={"modules/openmpi/5.0": HEAD},
    ),
    Case(
        "bl-em-conflict",
        "environment.modules that conflict, told by Environment Modules",
        "two MPIs",
        EM + "module load mpich/4 && module load openmpi/5.0 || exit",
        files={"modules/openmpi/5.0": HEAD + "conflict mpich\n", "modules/mpich/4": HEAD},
    ),
    Case(
        "bl-em-tcl",
        "environment.a broken modulefile, told by Environment Modules",
        "a command that Tcl does not know",
        EM + "module load gcc/12 || exit",
        files={"modules/gcc/12": HEAD + "prepend-paths PATH /opt/gcc/bin\n"},
    ),
    Case(
        "bl-lmod-gone",
        "environment.the module system is broken",
        "LMOD_CMD of another image",
        'module() { eval "$($LMOD_CMD bash "$@")" && eval "$(${LMOD_SETTARG_CMD:-:} -s sh)"; }\n'
        "export LMOD_CMD=/opt/apps/lmod/8.7/libexec/lmod\n"
        "module load gcc/12.2 openblas && gcc-12.2 -v || exit",
    ),
    Case(
        "bl-no-module",
        "environment.the shell has no module command",
        "a shell that is not a login shell",
        job("set -e\nunset -f module ml\nmodule purge\nmodule load gcc"),
    ),
)
SHELL_CASES = (
    site(
        "bl-sh-compiler",
        "a command that is not there, told by make",
        "ifx without its module",
        "make",
        Makefile="FC = ifx\nwave: wave.f90\n\t$(FC) -O3 -xHost wave.f90 -o wave\n",
        **{"wave.f90": "end\n"},
    ),
    site(
        "bl-sh-sbin",
        "a command that is not there",
        "in /usr/sbin",
        job("set -e\nibstat -l\nhostname"),
    ),
    site(
        "bl-sh-crlf",
        "a script with line ends of Windows",
        "edited on a laptop",
        "chmod +x run.sh\nbash run.sh; ./run.sh",
        **{"run.sh": CRLF},
    ),
    site(
        "bl-sh-interpreter",
        "an interpreter that is not there",
        "a Python environment that was moved",
        job("./env/bin/pip install numpy"),
        "mkdir -p env/bin\nprintf '#!/home/old/env/bin/python3\\nprint(1)\\n' > env/bin/pip\n"
        "chmod +x env/bin/pip",
    ),
    site(
        "bl-sh-unset", "a variable that is not set", "set -u", "set -eu\ncd $SCRATCHDIR/run-1\nls"
    ),
    site(
        "bl-sh-quote",
        "a mistake of shell syntax",
        "a quote is missing",
        "bash run.sh",
        **{"run.sh": 'echo "starting\nfor i in 1 2; do\n  echo $i\ndone\n'},
    ),
    site(
        "bl-sh-fi",
        "a mistake of shell syntax",
        "then is missing",
        job("bash run.sh"),
        **{"run.sh": "if [ -d results ]\n  echo there\nfi\nsrun ./wave\n"},
    ),
    site(
        "bl-sh-folder",
        "a folder that is not there",
        "scratch was purged",
        job("cd /scratch/u/run7 && ls"),
    ),
    site(
        "bl-sh-loop",
        "links that lead in a circle",
        "a link to itself",
        "ln -s data data\ncat data/field.h5",
    ),
    site(
        "bl-sh-copy",
        "a file that is not there",
        "results of a step that failed",
        job("cp results/*.csv ."),
    ),
    site(
        "bl-sh-substitution",
        "a mistake of shell syntax, told by dash",
        "bash words in sh",
        "sh run.sh",
        **{"run.sh": "nodes=(n1 n2)\necho ${nodes[0]}\n"},
    ),
)
FILE_CASES = (
    site(
        "bl-locale",
        "a locale that is not installed",
        "LC_ALL of a laptop",
        "export LC_ALL=de_CH.UTF-8 LANG=de_CH.UTF-8\npython3 report.py",
        **{"report.py": "import locale\n\nlocale.setlocale(locale.LC_ALL, '')\nprint(1)\n"},
    ),
    site(
        "bl-pip-offline",
        "a Python package that pip does not find",
        "no index",
        job('"$BLIND_PYTHON" -m pip install --no-index --disable-pip-version-check mpi4py==3.1.5'),
    ),
    site(
        "bl-git-none",
        "a folder that is no git repository",
        "the archive has no .git",
        "cd / && git -C $OLDPWD/src describe --tags",
        "mkdir src",
    ),
    site(
        "bl-tar-html",
        "an archive that is damaged",
        "a page in the place of an archive",
        job("tar xzf openblas-0.3.26.tar.gz && make -C OpenBLAS-0.3.26"),
        **{"openblas-0.3.26.tar.gz": "<html><body>Proxy login</body></html>\n"},
    ),
    site(
        "bl-tar-cut",
        "an archive that is cut",
        "an interrupted download",
        "tar xf src.tar && ls src",
        "mkdir src\nhead -c 300000 /dev/urandom > src/a\ntar cf all.tar src\n"
        "head -c 200000 all.tar > src.tar",
    ),
    site(
        "bl-checksum",
        "a wrong checksum",
        "another release",
        "sha256sum -c SHA256SUMS && tar xf src.tgz",
        'echo other > src.tgz\necho "$(echo this | sha256sum | cut -c-64)  src.tgz" > SHA256SUMS',
    ),
    site(
        "bl-configure-x",
        "a script without the right to execute",
        "unpacked from a zip",
        job("./configure --prefix=$HOME/sw && make"),
        "echo '#!/bin/sh' > configure\nchmod 644 configure",
    ),
    site(
        "bl-patch",
        "a patch that does not fit",
        "another release",
        "patch -p1 < fix.diff && make",
        **{
            "src/a.c": "int x;\nint y;\n",
            "fix.diff": "--- a/src/a.c\n+++ b/src/a.c\n@@ -1,3 +1,3 @@\n"
            " int a;\n-int b;\n+long b;\n int c;\n",
        },
    ),
    site(
        "bl-host-name",
        "a host name that does not resolve",
        "a download on a compute node",
        job("wget -T 5 -t 1 https://github.invalid/x/y.tar.gz && tar xf y.tar.gz"),
    ),
    site(
        "bl-ssh-refused",
        "a connection that is refused",
        "rsync to a login node that is down",
        "ssh -p 9 -o BatchMode=yes -o ConnectTimeout=3 127.0.0.1 true",
    ),
)
CASES = (*MODULE_CASES, *SHELL_CASES, *FILE_CASES)
