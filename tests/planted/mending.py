"""A small build and run loop that applies declared repairs, for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from planted.case import shell, write

from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.repairs import Attempt, Cause, Change, GiveUp, Repair, next_repair

ROUNDS = 9
LISTS = {"flags": "flags", "libraries": "libraries", "link_flags": "link_flags", "rpath": "rpath"}
SPELT = {"openmp": "-fopenmp"}


@dataclass(frozen=True)
class Setting:
    """What the loop can change. `choices` of march and launcher are tried in their order."""

    flags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    march: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()
    compiler: str = "gcc"
    gemm: str = "dgemm_64"
    group: bool = False
    stack: str = "8192"
    memory: int = 400
    threads: int = 8
    open_files: str = "16"
    step: int = 8
    walltime: int = 30
    clean: bool = False

    def words(self) -> dict[str, str]:
        libraries = " ".join(f"-l{name}" for name in self.libraries)
        first = {name: (getattr(self, name) or ("",))[0] for name in ("march", "launcher")}
        return {
            "flags": " ".join(self.flags),
            "libraries": f"-Wl,--start-group {libraries} -Wl,--end-group"
            if self.group
            else libraries,
            "link_flags": " ".join(self.link_flags),
            "rpath": " ".join(f"-Wl,-rpath,{folder}" for folder in self.rpath),
            "march": f"-march={first['march']}" if first["march"] else "",
            "launcher": first["launcher"],
            "compiler": self.compiler,
            "gemm": self.gemm,
            "stack": self.stack,
            "memory": str(self.memory),
            "memory_kb": str(self.memory * 1024),
            "threads": str(self.threads),
            "open_files": self.open_files,
            "step": str(self.step),
            "walltime": str(self.walltime),
            "clean": "rm -rf build" if self.clean else ":",
        }


@dataclass
class Loop:
    """An applier. `folders` are where libraries may be found; `most`: what can be had here."""

    setting: Setting
    folders: tuple[str, ...] = ()
    most: Mapping[str, int] = field(default_factory=dict)
    proposed: dict[str, Setting] = field(default_factory=dict)

    def change(self, repair: Repair, quote: str) -> Change | str:
        after = self.after(repair)
        if isinstance(after, str):
            return after
        self.proposed[repr(after)] = after
        return Change(repair, repr(after), repair.words())

    def after(self, repair: Repair) -> Setting | str:
        now, name, value = self.setting, repair.name, repair.value
        if name == "rpath":
            return replace(now, rpath=self.folders) if self.folders else "no folder has it"
        if name in LISTS and repair.action in ("add", "remove"):
            word = SPELT.get(value, value)
            kept = tuple(item for item in getattr(now, name) if item != word)
            return replace(now, **{name: (*kept, word) if repair.action == "add" else kept})
        if name in ("march", "launcher") and repair.action == "next":
            choices = getattr(now, name)
            return replace(now, **{name: (*choices[1:], choices[0])}) if choices else "no choice"
        if name in ("memory", "threads") and repair.action in ("multiply", "divide"):
            had = getattr(now, name)
            changed = had * int(value) if repair.action == "multiply" else had // int(value)
            return replace(now, **{name: changed}) if changed else "there is no less than one"
        return self.fixed(repair)

    def fixed(self, repair: Repair) -> Setting | str:
        """Repairs that set one thing to what it has to be."""
        now = self.setting
        known = {
            ("march", "set"): {"march": ("native",)},
            ("link_group", "set"): {"group": True},
            ("mpi_wrapper", "set"): {"compiler": "mpicc"},
            ("launcher", "set"): {"launcher": now.launcher[1:]},
            ("interface64", "set"): {"gemm": "dgemm"},
            ("build_folder", "clean"): {"clean": True},
            ("stack", "set"): {"stack": "unlimited"},
            ("open_files", "set"): {"open_files": "$(ulimit -Hn)"},
            ("step", "set"): {"step": self.most.get("step", 0)},
            ("walltime", "cap"): {"walltime": self.most.get("walltime", 0)},
        }
        found = known.get((repair.name, repair.action))
        return replace(now, **found) if found else f"nothing here can {repair.action} it"


@dataclass(frozen=True)
class Story:
    """What came of it; every failed try and the repair that followed it is an attempt."""

    mended: bool
    attempts: tuple[Attempt, ...]
    reason: str = ""

    @property
    def repairs(self) -> list[str]:
        return [attempt.repair.words() for attempt in self.attempts if attempt.repair]


def mend(
    script: str,
    files: Mapping[str, str],
    loop: Loop,
    folder: Path,
    env: Mapping[str, str] | None = None,
) -> Story:
    """Build and run until it works or `next_repair` gives up. `script` holds @name@ of words()."""
    write(files, folder)
    tried: list[Attempt] = []
    for _ in range(ROUNDS):
        text = script
        for name, word in loop.setting.words().items():
            text = text.replace(f"@{name}@", word)
        made = shell(text, "job.sh", folder, env or {})
        if not made.exit:
            return Story(True, tuple(tried))
        found = diagnose(made.log, made.exit).causes[0]
        cause = Cause(found.id, found.confidence, found.quote, found.repair)
        answer = next_repair(cause, repr(loop.setting), tried, loop)
        if isinstance(answer, GiveUp):
            return Story(False, (*tried, Attempt(repr(loop.setting), found.id)), answer.reason)
        tried.append(Attempt(repr(loop.setting), found.id, answer.repair))
        loop.setting = loop.proposed[answer.setting]
    raise AssertionError(f"no end after {ROUNDS} rounds: {tried}")
