"""What a set-up needs, and the one line that says what is missing and how to get it."""

import configparser
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from typing import Dict, List

# What would make pip install elsewhere, or lead the compiler off the portable baseline.
UNWANTED = frozenset(
    (
        "CFLAGS",
        "CPPFLAGS",
        "CXXFLAGS",
        "PIP_CONSTRAINT",
        "PIP_NO_BINARY",
        "PIP_NO_BUILD_ISOLATION",
        "PIP_NO_DEPS",
        "PIP_ONLY_BINARY",
        "PIP_PREFIX",
        "PIP_REQUIREMENT",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_ROOT",
        "PIP_TARGET",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    )
)
COMPILERS = (
    ("C", "CC", ("cc", "gcc", "clang"), ".c", "#include <stdio.h>", ()),
    ("C++", "CXX", ("c++", "g++", "clang++"), ".cpp", "#include <vector>", ("-std=c++17",)),
)

OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|Failed to establish a new connection|ConnectTimeout|"
    r"ReadTimeout|ProxyError|Network is unreachable|name resolution|SSLError|CERTIFICATE_VERIFY"
)
FULL = re.compile(r"No space left on device|Disk quota exceeded")
ABSENT = re.compile(
    r"(?:No matching distribution found for|satisfies the requirement) ([^\n(]+?)\s*(?:\(|$)", re.M
)


class SetupError(Exception):
    """What stops the set-up, in one line; the launcher then ends with exit code 3."""


def requirements(root: str, extra: str) -> List[str]:
    """The requirements in setup.cfg, those of `extra` included."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(os.path.join(root, "setup.cfg"), encoding="utf-8")
    text = parser.get("options", "install_requires", fallback="")
    if extra:
        text += "\n" + parser.get("options.extras_require", extra, fallback="")
    return [line.strip() for line in text.splitlines() if line.strip()]


def name_of(requirement: str) -> str:
    """The normalised name of the distribution that a requirement asks for."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group(0)).lower() if found else ""


def clean_environment(environ: Dict[str, str], temporary: str) -> Dict[str, str]:
    """The user's environment without what would lead pip or the compiler astray."""
    env = {name: value for name, value in environ.items() if name not in UNWANTED}
    env.update(PIP_USER="0", PYTHONNOUSERSITE="1", TMPDIR=temporary)
    return env


def pip_trouble(output: str, wheelhouse: str) -> str:
    """The reason of a failed pip, in one line."""
    if FULL.search(output):
        return "the disk is full, or over quota"
    if OFFLINE.search(output) and not wheelhouse:
        return (
            "the package index cannot be reached; set HPCAGENT_WHEELHOUSE to a folder with the "
            "packages, or pip's index-url to an index within reach"
        )
    absent = ABSENT.search(output)
    if absent:
        place = "the wheelhouse %s" % wheelhouse if wheelhouse else "the package index"
        machine = "Python %d.%d on %s" % (*sys.version_info[:2], platform.machine())
        return "%s has no %s for %s" % (place, absent.group(1).strip(), machine)
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR:")]
    last = (errors or output.strip().splitlines() or ["no output"])[-1]
    return "pip failed: " + last[-300:]


def install_hint(debian: str, redhat: str) -> str:
    return "(Debian, Ubuntu: apt install %s; RHEL and kin: dnf install %s)" % (debian, redhat)


def check_space(folder: str, needed: int, variable: str) -> None:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < needed:
        raise SetupError(
            "%s has %d MB free and %d MB are needed; make room, or name another place in %s"
            % (folder, free // 10**6, needed // 10**6, variable)
        )


def check_compilers(temporary: str) -> None:
    """A C and a C++ program must compile, and there must be a make or a ninja."""
    hint = install_hint("build-essential", "gcc gcc-c++ make")
    for label, variable, names, suffix, include, options in COMPILERS:
        found = [name for name in names if shutil.which(name)]
        words = shlex.split(os.environ.get(variable, "")) or found[:1]
        if not words:
            raise SetupError("a %s compiler is needed and none was found %s" % (label, hint))
        if not shutil.which(words[0]):
            raise SetupError("%s=%s is not a program %s" % (variable, words[0], hint))
        program = os.path.join(temporary, "try" + suffix)
        with open(program, "w", encoding="ascii") as stream:
            stream.write(include + "\nint main() { return 0; }\n")
        tried = subprocess.run(
            [*words, *options, program, "-o", program + ".out"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if tried.returncode != 0:
            said = tried.stdout.decode("utf-8", "replace").strip() or "no message"
            raise SetupError(
                "the %s compiler %s cannot compile a program: %s %s"
                % (label, words[0], said.splitlines()[0], hint)
            )
    if not shutil.which("make") and not shutil.which("ninja"):
        raise SetupError("make is needed and was not found " + install_hint("make", "make"))
