"""SPC water by gmx mdrun: 1728 molecules, eight times the box that GROMACS ships; 90 steps of 2 fs.

    python gromacs_water.py NTMPI NTOMP NPME NSTLIST RCOULOMB FOURIERSPACING PME_ORDER SEED

Prints the seconds of 5 steps, as mdrun tells them of the last 80. Proof: before anything moves, the
forces on some oxygens are those of double precision (off relative to them, in units of 3e-5), and
so is the energy, which is then conserved (both off in units of 10 kJ/mol).
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

STEPS, WARM, CALL = 90, 10, 5
DT_PS = 0.002
APART = 109  # molecules from one whose forces are compared to the next
# In kJ/mol and kJ/mol/nm, by gmx_d 2022.5 with the settings below, but rcoulomb 1.7,
# fourierspacing 0.06, pme-order 12, ewald-rtol 1e-10.
POTENTIAL = -73617.9
FORCES = (
    (631.81, 315.98, 765.13), (-143.25, -809.69, -166.95), (436.56, 931.46, -134.96),
    (-694.06, -245.86, 225.98), (1032.71, 146.53, 138.84), (-231.41, 192.99, 171.40),
    (-155.69, -1392.20, -935.71), (513.98, -241.35, -466.08), (451.50, -1652.71, -81.65),
    (355.22, 770.51, -1672.39), (-155.28, -198.86, -1643.74), (-350.55, -1257.76, -776.02),
    (-663.20, -751.86, 1504.55), (1111.94, 189.13, 62.44), (544.17, 1504.99, -264.18),
    (10.57, -35.60, -1187.23),
)  # fmt: skip

TOPOLOGY = """
[ defaults ]
1 1 no 1 1
[ atomtypes ]
OW 15.9994 0 A 2.617346e-3 2.634129e-6
HW 1.008 0 A 0 0
[ moleculetype ]
SOL 2
[ atoms ]
1 OW 1 SOL OW 1 -0.82
2 HW 1 SOL HW1 1 0.41
3 HW 1 SOL HW2 1 0.41
[ settles ]
1 1 0.1 0.1633
[ exclusions ]
1 2 3
2 1 3
3 1 2
[ system ]
water
[ molecules ]
SOL 1728
"""

SETTINGS = """
integrator = md
dt = {dt}
nsteps = {steps}
nstlog = {steps}
nstfout = 1000
nstlist = 10
coulombtype = PME
rvdw = 0.9
rcoulomb = {rcoulomb}
fourierspacing = {spacing}
pme-order = {order}
tcoupl = v-rescale
tc-grps = System
tau-t = 0.1
ref-t = 300
gen-vel = yes
gen-temp = 300
gen-seed = {seed}
"""


def main() -> None:
    if len(sys.argv) != 9:
        raise SystemExit("usage: " + (__doc__ or "").splitlines()[2].strip())
    ntmpi, ntomp, npme, nstlist, rcoulomb, spacing, order, seed = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # The caller's number of threads may be another; mdrun would refuse to go on.
        os.environ["OMP_NUM_THREADS"] = ntomp
        Path("topol.top").write_text(TOPOLOGY, encoding="utf-8")
        settings = SETTINGS.format(dt=DT_PS, steps=STEPS, rcoulomb=rcoulomb, spacing=spacing,
                                   order=order, seed=int(seed) % 1000003)  # fmt: skip
        Path("grompp.mdp").write_text(settings, encoding="utf-8")
        # The scale keeps molecules where two of the shipped boxes meet.
        _gmx("solvate", "-cs", "spc216.gro", "-box", "3.72412", "-scale", "0.3", "-o", "conf.gro")
        _gmx("grompp")
        # -reprod: else the planner of FFTW measures, for longer than the steps take.
        _gmx("mdrun", "-ntmpi", ntmpi, "-ntomp", ntomp, "-npme", npme, "-nstlist", nstlist,
             "-notunepme", "-reprod", "-noconfout", "-resetstep", str(WARM))  # fmt: skip
        log = Path("md.log").read_text(encoding="utf-8")
        print(f"time run {_seconds(log):.9e}")
        print(f"residual run {_force_error() / 3e-5 + _energy_error(log) / 10:.3e}")
        print("done")


def _gmx(*words: str) -> None:
    ran = subprocess.run(["gmx", "-quiet", *words], capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"error: gmx {words[0]}: {ran.stderr[-2000:]}")


def _seconds(log: str) -> float:
    """Of its two figures of time, that with the more digits: nanoseconds in a day."""
    told = re.search(r"^Performance: +(\S+)", log, re.M)
    if told is None:
        sys.exit("error: mdrun tells no time")
    return CALL * DT_PS * 1e-3 * 86400 / float(told[1])


def _energy_error(log: str) -> float:
    """That of the potential before the first step, and what is lost or won until the last."""
    first, last, *_ = _energies(log, "Conserved En.")
    return abs(_energies(log, "Potential")[0] - POTENTIAL) + abs(last - first)


def _energies(log: str, name: str) -> list[float]:
    """Of all tables in the log: the figure below this name, which ends where the name does."""
    found = []
    for names, values in pairwise(log.splitlines()):
        above = re.search(rf" {re.escape(name)}(?=  |$)", names)
        if above:
            found.append(float(values[above.end() - 15 : above.end()]))
    return found


def _force_error() -> float:
    """Of the first frame of a .trr file: its sizes in bytes, and then what they are of."""
    data = Path("traj.trr").read_bytes()
    *sizes, count, _, _ = struct.unpack(">13i", data[24:76])
    at = 76 + 8 + sum(sizes[:9])
    forces = struct.unpack(f">{3 * count}f", data[at : at + sizes[9]])
    found = [forces[9 * APART * i + c] for i in range(len(FORCES)) for c in range(3)]
    right = [component for force in FORCES for component in force]
    off = sum((f - r) ** 2 for f, r in zip(found, right, strict=True))
    return float((off / sum(r * r for r in right)) ** 0.5)


main()
