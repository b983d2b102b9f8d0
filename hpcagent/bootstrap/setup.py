"""Makes the private environment that bin/hpcagent runs in, or mends it.

It runs on the system's Python before anything is installed: standard library only, and in the
grammar of Python 3.6, so that an older Python can still say that it is too old. It may be killed
at any instant: while the environment is being changed the file `hpcagent.unfinished` lies in it,
the stamp is written last, and what is unfinished is made anew at the next start. One process at
a time works on it, by a file lock.
"""

import argparse
import contextlib
import fcntl
import glob
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from hpcagent.bootstrap import llama
from hpcagent.bootstrap.needs import (
    SetupError,
    check_compilers,
    check_space,
    clean_environment,
    name_of,
    pip_trouble,
    requirements,
)
from hpcagent.bootstrap.screen import Runner, Screen, compile_detail, pip_detail

ENVIRONMENT_BYTES = 1000 * 10**6
COMPILE_BYTES = 600 * 10**6  # the unpacked source (350 MB) and what is compiled from it
LOCK_WAIT_S = 3600.0
KEPT = frozenset(("hpcagent.lock", "hpcagent.unfinished", "hpcagent-setup.log"))

IMPORT_ALL = """
import importlib, importlib.metadata, re, sys
norm = lambda name: re.sub("[-_.]+", "-", name).lower()
for module, owners in sorted(importlib.metadata.packages_distributions().items()):
    if module.isidentifier() and module[0] != "_" and set(map(norm, owners)) & set(sys.argv[1:]):
        importlib.import_module(module)
import hpcagent
"""


class Plan(NamedTuple):
    """What is to be made. `key` is the first line of the stamp; the launcher compares it."""

    root: str
    venv: str
    key: str
    extra: str
    wheelhouse: str  # empty: the package index that pip is configured for
    cache: str

    @property
    def python(self) -> str:
        return os.path.join(self.venv, "bin", "python")

    @property
    def log(self) -> str:
        return os.path.join(self.venv, "hpcagent-setup.log")

    @property
    def unfinished(self) -> str:
        return os.path.join(self.venv, "hpcagent.unfinished")

    def stamp(self, extra: str) -> str:
        return os.path.join(self.venv, "hpcagent%s.stamp" % ("-" + extra if extra else ""))

    def stamp_content(self) -> bytes:
        with open(os.path.join(self.root, "setup.cfg"), "rb") as stream:
            return os.fsencode(self.key) + b"\n" + stream.read()


def read_bytes(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return stream.read()
    return b""


def is_complete(plan: Plan) -> bool:
    if os.path.exists(plan.unfinished) or not os.access(plan.python, os.X_OK):
        return False
    return read_bytes(plan.stamp(plan.extra)) == plan.stamp_content()


def is_reusable(plan: Plan) -> bool:
    """Was it complete once, for this architecture and this version of Python?"""
    if os.path.exists(plan.unfinished) or not os.access(plan.python, os.X_OK):
        return False
    config = read_bytes(os.path.join(plan.venv, "pyvenv.cfg")).decode("utf-8", "replace")
    version = re.search(r"^version\s*=\s*(\d+\.\d+)", config, re.M)
    if version is None or version.group(1) != "%d.%d" % sys.version_info[:2]:
        return False
    stamps = glob.glob(os.path.join(glob.escape(plan.venv), "hpcagent*.stamp"))
    machine = os.fsencode(", ".join(plan.key.split(", ")[:2]) + ", ")
    return bool(stamps) and all(read_bytes(stamp).startswith(machine) for stamp in stamps)


@contextlib.contextmanager
def locked(plan: Plan, screen: Screen) -> "Iterator[int]":
    """Alone with the environment's folder, which is made; SetupError where it is not ours."""
    os.makedirs(plan.venv, exist_ok=True)
    path = os.path.join(plan.venv, "hpcagent.lock")
    if os.listdir(plan.venv) and not os.path.exists(path):
        raise SetupError(
            "%s is not empty and was not made by hpcagent; remove it, or name another place in "
            "HPCAGENT_VENV" % plan.venv
        )
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        wait_for(lock, screen)
        os.ftruncate(lock, 0)
        os.pwrite(lock, ("process %d on %s" % (os.getpid(), platform.node())).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def wait_for(lock: int, screen: Screen) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            screen.say("hpcagent: no file locks here (%s); going on without" % error.strerror)
            return
        holder = os.pread(lock, 200, 0).decode("utf-8", "replace") or "another process"
        if time.monotonic() > deadline:
            raise SetupError("waited an hour for %s, which sets this environment up" % holder)
        if not told:
            screen.say("hpcagent: %s is setting this environment up; waiting for it" % holder)
            told = True
        time.sleep(0.3)


# --- the phases ----------------------------------------------------------------------------------


def cmake_words(text: str) -> List[str]:
    """The user's arguments for the build of llama.cpp, as a shell splits them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SetupError("HPCAGENT_LLAMA_CMAKE_ARGS=%s: %s" % (text, error)) from None


class Builder:
    """The phases of one set-up, in the order in which `make` calls them."""

    def __init__(self, plan: Plan, screen: Screen, lock: int, temporary: str) -> None:
        self.plan, self.screen, self.temporary = plan, screen, temporary
        self.runner = Runner(screen, plan.log, lock)
        self.env = clean_environment(dict(os.environ), temporary)
        wanted = requirements(plan.root, plan.extra)
        self.packages = [text for text in wanted if name_of(text) != llama.NAME]
        self.llama = [text for text in wanted if name_of(text) == llama.NAME]
        more = cmake_words(os.environ.get("HPCAGENT_LLAMA_CMAKE_ARGS", ""))
        self.args, self.note = llama.cmake_arguments(platform.machine(), llama.cpu_flags(), more)

    def make(self, fresh: bool) -> None:
        compiled = [text for text in self.llama if fresh or not self.has(text)]
        self.check(fresh, compiled)
        with self.screen.phase("virtual environment"):
            if fresh:
                self.environment()
            self.link_checkout()
        with self.screen.phase("packages"):
            if self.packages:
                self.pip("install", "--progress-bar", "off", *self.source(), *self.packages)
        with self.screen.phase("llama.cpp"):
            for requirement in compiled:
                wheel = self.cached(requirement) or self.build(requirement)
                self.pip("install", "--progress-bar", "off", *self.source(), wheel)
        with self.screen.phase("checks"):
            self.try_imports()

    def check(self, fresh: bool, compiled: List[str]) -> None:
        """What can be known to fail is told before anything is done."""
        if self.plan.wheelhouse and not os.path.isdir(self.plan.wheelhouse):
            raise SetupError("HPCAGENT_WHEELHOUSE=%s is not a folder" % self.plan.wheelhouse)
        if fresh:
            check_space(self.plan.venv, ENVIRONMENT_BYTES, "HPCAGENT_VENV")
        for requirement in compiled:
            if not self.cached(requirement) and not llama.in_wheelhouse(self.plan.wheelhouse):
                check_compilers(self.temporary)
                check_space(self.temporary, COMPILE_BYTES, "TMPDIR")

    def environment(self) -> None:
        clear(self.plan.venv)
        argv = [sys.executable, "-I", "-m", "venv", self.plan.venv]
        code, output = self.runner.run(argv, self.env, lambda line: "")
        if code != 0:
            last = (output.strip().splitlines() or ["no message"])[-1]
            raise SetupError("python -m venv failed: %s; see %s" % (last, self.plan.log))

    def link_checkout(self) -> None:
        library = "python%d.%d" % sys.version_info[:2]
        folder = os.path.join(self.plan.venv, "lib", library, "site-packages")
        replace(os.path.join(folder, "hpcagent-checkout.pth"), os.fsencode(self.plan.root) + b"\n")

    def source(self) -> List[str]:
        house = self.plan.wheelhouse
        return ["--no-index", "--find-links", house] if house else []

    def pip(self, *words: str) -> None:
        code, output = self.run_pip(list(words), self.env, pip_detail)
        if code != 0:
            trouble = pip_trouble(output, self.plan.wheelhouse)
            raise SetupError("%s; the whole output is in %s" % (trouble, self.plan.log))

    def run_pip(
        self, words: List[str], env: Dict[str, str], detail: Callable[[str], str]
    ) -> Tuple[int, str]:
        argv = [self.plan.python, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check"]
        return self.runner.run(argv + words, env, detail)

    def has(self, requirement: str) -> bool:
        words = ["install", "--dry-run", "--no-index", "--no-deps", requirement]
        return self.run_pip(words, self.env, pip_detail)[0] == 0

    def cached(self, requirement: str) -> Optional[str]:
        if llama.in_wheelhouse(self.plan.wheelhouse):
            return None
        return llama.whole_wheel(llama.cache_folder(self.plan.cache, requirement, self.args))

    def build(self, requirement: str) -> str:
        """The wheel, fetched or compiled; without pip's cache, which may hold one for this CPU."""
        if self.note:
            self.screen.say("    " + self.note)
        out = os.path.join(self.temporary, "wheel")
        env = llama.build_environment(self.env, self.args, self.temporary)
        words = ["-v", "wheel", "--no-cache-dir", "--no-deps", "--prefer-binary", "-w", out]
        words += ["--progress-bar", "off", *self.source(), requirement]
        code, output = self.run_pip(words, env, compile_detail)
        wheel = llama.whole_wheel(out)
        if code == 0 and wheel:
            if "Building wheel for" in output:
                llama.keep_wheel(wheel, llama.cache_folder(self.plan.cache, requirement, self.args))
            return wheel
        errors = llama.compile_errors(output) if "Configuring CMake" in output else ""
        if not errors:
            trouble = pip_trouble(output, self.plan.wheelhouse)
            raise SetupError("%s; the whole output is in %s" % (trouble, self.plan.log))
        raise SetupError(
            "llama.cpp does not compile; the first errors:\n%s\n  the whole output is in %s"
            % (errors, self.plan.log)
        )

    def try_imports(self) -> None:
        self.pip("check")
        names = [name_of(text) for text in requirements(self.plan.root, "")]
        argv = [self.plan.python, "-I", "-c", IMPORT_ALL, *names]
        code, output = self.runner.run(argv, self.env, lambda line: "")
        if code != 0:
            last = (output.strip().splitlines() or ["it died with %d" % code])[-1]
            raise SetupError(
                "what was installed cannot be loaded: %s; see %s" % (last, self.plan.log)
            )


def clear(folder: str) -> None:
    """All but the files of KEPT."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name in KEPT:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def replace(path: str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = path + ".partial"
    with open(partial, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def remove_leftovers(plan: Plan) -> None:
    """The temporary folder of a set-up that was killed."""
    left = os.fsdecode(read_bytes(plan.unfinished))
    if os.path.basename(left).startswith("hpcagent-setup-"):
        shutil.rmtree(left, ignore_errors=True)


def set_up(plan: Plan, screen: Screen) -> None:
    with locked(plan, screen) as lock:
        if is_complete(plan):
            return
        remove_leftovers(plan)
        fresh = not is_reusable(plan)
        screen.say(
            "hpcagent: %s the private environment %s (once%s)"
            % (
                "making" if fresh else "updating",
                plan.venv,
                "; llama.cpp may have to be compiled, which takes minutes" if fresh else "",
            )
        )
        with tempfile.TemporaryDirectory(prefix="hpcagent-setup-") as temporary:
            replace(plan.unfinished, os.fsencode(temporary))
            replace(plan.log, b"")
            try:
                Builder(plan, screen, lock, temporary).make(fresh)
                for extra in sorted({"", plan.extra}):
                    replace(plan.stamp(extra), plan.stamp_content())
            except SetupError:
                os.unlink(plan.unfinished)
                raise
        os.unlink(plan.unfinished)


def read_plan(words: List[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="bin/hpcagent", description="sets up its environment")
    for name in ("--root", "--venv", "--key", "--cache"):
        parser.add_argument(name, required=True)
    parser.add_argument("--extra", default="")
    given = parser.parse_args(words)
    wheelhouse = os.environ.get("HPCAGENT_WHEELHOUSE", "")
    return Plan(
        root=given.root,
        venv=given.venv,
        key=given.key,
        extra=given.extra,
        wheelhouse=os.path.abspath(wheelhouse) if wheelhouse else "",
        cache=given.cache,
    )


def main(words: List[str]) -> int:
    """The exit code: 0, 3 where something is missing, 130 when interrupted."""
    if sys.version_info < (3, 11):
        sys.stderr.write("hpcagent: Python 3.11 or newer is needed, not %s\n" % sys.version[:6])
        return 3
    plan = read_plan(words)
    live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    screen = Screen(sys.stderr, live, phases=4)
    try:
        set_up(plan, screen)
    except SetupError as error:
        screen.say("hpcagent: cannot set up: %s" % error)
        return 3
    except OSError as error:
        where = " %s" % error.filename if error.filename else ""
        screen.say("hpcagent: cannot set up:%s: %s" % (where, error.strerror or error))
        return 3
    except KeyboardInterrupt:
        screen.say("hpcagent: interrupted; the next start sets up anew")
        return 130
    return 0
