"""Programs that stand in front of the real ones, and do to a run what a test has planned.

    bin/sbatch, bin/squeue, ...   run the real command, unless a plan says what goes wrong
    node-python                   is `python` in the jobs: holds a worker back until it may start
    driver                        takes the place of a run's driver: records how it was started

All read and write one folder, which is on the agent's PATH (bin) and in its configuration.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")

CLIENT = r"""#!/bin/bash
tools=@TOOLS@
me=@NAME@
real=@REAL@
# One plan is for one call; the first in the order of their names.
take() {
    local plan
    for plan in "$tools/plan/$1"/*; do
        [[ -e $plan ]] || return 1
        if mv -- "$plan" "$tools/taken/$me.$BASHPID" 2>/dev/null; then
            read -r mode word <"$tools/taken/$me.$BASHPID"
            return 0
        fi
    done
    return 1
}
take any || take "$me" || exec "$real" "$@"
printf '%s %s\n' "$me" "$mode" >>"$tools/log"
lost() { # what a client says that waited in vain for the controller
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
}
case $mode in
    pass) exec "$real" "$@" ;;
    kill-before) kill -KILL "$PPID"; exit 1 ;;
    kill-meanwhile) kill -KILL "$PPID"; sleep "$word"; exec "$real" "$@" >/dev/null 2>&1 ;;
    kill-after) "$real" "$@" >/dev/null 2>&1; kill -KILL "$PPID" ;;
    die-after) "$real" "$@" >/dev/null 2>&1; kill -KILL $$ ;;
    mute) "$real" "$@" >/dev/null 2>&1 ;;
    lost) "$real" "$@" >/dev/null 2>&1; lost ;;
    late) (sleep "$word"; exec "$real" "$@") </dev/null >/dev/null 2>&1 & lost ;;
    twice) "$real" "$@"; "$real" "$@" ;;
    held) exec "$real" --hold "$@" ;;
    banner) echo '*** maintenance on Monday, 8 to 12 ***'; "$real" "$@"; echo 'Bye.' ;;
    fail) echo "$me: error: $word" >&2; exit 1 ;;
    nonsense) printf 'nonsense 1 2 3\n\377\n'; exit 0 ;;
    nothing) exit 0 ;;
    wait) : >"$tools/waits.$word"; until [[ -e $tools/go.$word ]]; do sleep 0.05; done
        exec "$real" "$@" ;;
    *) echo "no such plan: $mode" >&2; exit 99 ;;
esac
"""

NODE_PYTHON = r"""#!/bin/bash
tools=@TOOLS@
real=@PYTHON@
unit=${PWD##*/}
grep -qsE '"mode": "(paired|fixed)"' spec.json && [[ $1 == worker.py ]] || exec "$real" "$@"
: >"$tools/at/$unit"
printf '%s %s %s\n' "$unit" "$SLURM_JOB_ID" "${SLURM_RESTART_COUNT:-0}" >>"$tools/starts"
until [[ -e $tools/pass/$unit || -e $tools/open ]]; do sleep 0.05; done
mv -- "$tools/do/$unit" "$tools/taken/do.$unit" 2>/dev/null || exec "$real" "$@"
read -r what word <"$tools/taken/do.$unit"
printf 'job %s\n' "$what" >>"$tools/log"
case $what in
    # What the job writes becomes visible to others only a while after its end.
    late) mkdir .elsewhere && cp -- * .elsewhere 2>/dev/null && cd .elsewhere && "$real" "$@"
        code=$?
        (cd ..; sleep "$word"; mv .elsewhere/claim .elsewhere/result.jsonl .
            mv .elsewhere/done.json .; rm -r .elsewhere) </dev/null >/dev/null 2>&1 &
        disown; exit $code ;;
    full) ln -s /dev/full result.jsonl; "$real" "$@"
        code=$?; rm result.jsonl; exit $code ;;  # who reads /dev/full reads for ever
    small) ulimit -f 2; exec "$real" "$@" ;;
    memory) "$real" -c 'import time; x = bytearray(1500 << 20); time.sleep(60)'; exit 1 ;;
    crash) exit 7 ;;
    *) exit 99 ;;
esac
"""

DRIVER = r"""#!/bin/bash
tools=@TOOLS@
unit=${PWD##*/}
[[ $unit == .elsewhere ]] && unit=${PWD%/*} unit=${unit##*/}
while read -r name value; do
    [[ $name == Cpus_allowed_list: ]] && allowed=$value
done <"/proc/$$/status"
printf '%s\t%s\t%s\t%s\t%s\n' "$unit" "$SLURM_JOB_ID" "${@: -1}" "$allowed" \
    "$(base64 -w0 "/proc/$$/environ")" >>"$tools/executions"
mine=$(grep -c "^$unit" "$tools/executions")
if [[ -e $tools/hold/$unit && $mine == $(<"$tools/hold/$unit") ]]; then
    : >"$tools/held/$unit"
    while [[ -e $tools/hold/$unit ]]; do sleep 0.05; done
fi
exec "@DRIVER@" "$@"
"""


@dataclass(frozen=True)
class Tools:
    """The folder of the programs, and of what they are to do."""

    folder: Path

    @property
    def path(self) -> str:
        return f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"

    @property
    def python(self) -> Path:
        return self.folder / "node-python"

    # --- what is to go wrong ---------------------------------------------------------------------

    def plan(self, command: str, *modes: str) -> None:
        """The next calls of a command (`any`: of all of them) go these ways, one each."""
        folder = self.folder / "plan" / command
        for mode in modes:
            write(folder / f"{time.monotonic_ns():020d}", mode + "\n")

    def unplan(self) -> None:
        for plan in (self.folder / "plan").glob("*/*"):
            plan.unlink(missing_ok=True)

    def planned(self, command: str) -> int:
        return len(list((self.folder / "plan" / command).iterdir()))

    def do(self, unit: str, what: str) -> None:
        """What befalls the unit's worker when it may start."""
        write(self.folder / "do" / unit, what + "\n")

    def let(self, unit: str) -> None:
        (self.folder / "pass" / unit).touch()

    def open(self) -> None:
        """From here on every unit may start at once."""
        (self.folder / "open").touch()

    def hold(self, unit: str, execution: int) -> None:
        """The unit's n-th process of the driver waits before it begins."""
        write(self.folder / "hold" / unit, str(execution))

    def unhold(self, unit: str) -> None:
        (self.folder / "hold" / unit).unlink(missing_ok=True)

    # --- what was seen ---------------------------------------------------------------------------

    def waits(self, unit: str) -> bool:
        """Its job runs, its worker may not yet start."""
        return (self.folder / "at" / unit).exists()

    def forget(self, unit: str) -> None:
        """A requeued job is to come to the gate once more."""
        (self.folder / "at" / unit).unlink(missing_ok=True)
        (self.folder / "pass" / unit).unlink(missing_ok=True)

    def held(self, unit: str) -> bool:
        return (self.folder / "held" / unit).exists()

    def done(self) -> list[str]:
        """The plans that were carried out, as `command mode`."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


def write(path: Path, text: str) -> None:
    """Whole or not at all, for a program that may look at any moment."""
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(text)
    fresh.rename(path)


def make_tools(folder: Path) -> Tools:
    for name in ("bin", "plan/any", "taken", "at", "pass", "do", "hold", "held"):
        (folder / name).mkdir(parents=True)
    for name in COMMANDS:
        (folder / "plan" / name).mkdir()
        real = shutil.which(name)
        if real:
            script = CLIENT.replace("@REAL@", real).replace("@NAME@", name)
            program(folder / "bin" / name, script.replace("@TOOLS@", str(folder)))
    python = shutil.which("python3") or "/usr/bin/python3"
    text = NODE_PYTHON.replace("@PYTHON@", python).replace("@TOOLS@", str(folder))
    program(folder / "node-python", text)
    return Tools(folder)


def wrap_driver(tools: Tools, driver: Path) -> None:
    """Put the recording driver in the place of a built one."""
    real = driver.with_name("driver.real")
    if real.exists():
        return
    real.hardlink_to(driver)
    text = DRIVER.replace("@DRIVER@", str(real)).replace("@TOOLS@", str(tools.folder))
    fresh = driver.with_name("driver.new")
    program(fresh, text)
    fresh.rename(driver)


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
