"""How MPI programs are started: what `srun --mpi=list` offers, and Slurm's default."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z]\w{0,39}")
_VERSIONS = re.compile(r"specific pmix plugin versions available: *(.*)")
_DEFAULT = re.compile(r"MpiDefault\s*=\s*(\S+)")


@dataclass(frozen=True)
class MpiTypes:
    """Values of srun's --mpi; `versions` are PMIx plugins of certain versions ("pmix_v4")."""

    types: tuple[str, ...]
    versions: tuple[str, ...]


def parse_mpi_list(stdout: str, stderr: str) -> MpiTypes | None:
    """None where no list was printed.

    Slurm up to 20.11 prints "srun: MPI types are..." and "srun: pmix" on standard error (before 17
    "srun: mpi/pmi2"), later
    ones "MPI plugin types are..." and the names, each after a tab, on standard output.
    """
    for text in (stdout, stderr):
        words = (line.removeprefix("srun: ").strip() for line in text.splitlines())
        lines = [word.removeprefix("mpi/") for word in words]
        titles = [i for i, line in enumerate(lines) if re.match(r"MPI (plugin )?types are", line)]
        if not titles:
            continue
        names: list[str] = []
        versions: list[str] = []
        for line in lines[titles[0] + 1 :]:
            found = _VERSIONS.fullmatch(line)
            if found:
                versions = [x for x in re.split(r"[,\s]+", found.group(1)) if _NAME.fullmatch(x)]
            elif _NAME.fullmatch(line):
                names.append(line)
        return MpiTypes(tuple(dict.fromkeys(names)), tuple(versions))
    return None


def parse_mpi_default(text: str) -> str | None:
    """MpiDefault of `scontrol show config`."""
    found = _DEFAULT.search(text)
    return found.group(1) if found else None
