"""Records what the commands of a real Slurm say: fixtures for the parsers.

Run by root with tests/ on the module path: `python -m lab.slurm_record FOLDER`. Daemons run as
root, the commands as an ordinary user, because Slurm lets its own user do what others may not.
Each capture is FOLDER/NAME.json: argv, exit_code (null: killed after `timeout_s`), stdout, stderr.
Names of this machine, its users and its folders are replaced by neutral ones.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from lab import slurm_conf
from lab import slurm_record_parts as parts
from lab.slurm_lab import cluster
from lab.slurm_recorder import UID, USER, recorder


def main() -> None:
    target = Path(sys.argv[1])
    chosen = set(sys.argv[2:])
    target.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="hr", dir="/tmp"))
    os.chown(work, UID, UID)
    try:
        some = [part for part in parts.PARTS if not chosen or part.__name__ in chosen]
        if some:
            with cluster(users=(USER,)) as lab:
                r = recorder(lab, target, work)
                for part in some:
                    part(r)
                    lab.run("scancel", "-u", USER)
        if not chosen or "no_accounting" in chosen:
            with cluster(accounting=False) as lab:
                parts.no_accounting(recorder(lab, target, work))
        if not chosen or "catalogue" in chosen:
            with cluster(True, (USER,), slurm_conf.SITE_LINES, slurm_conf.SITE) as lab:
                parts.catalogue(recorder(lab, target, work))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
