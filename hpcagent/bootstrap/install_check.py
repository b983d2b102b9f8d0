"""What is checked before an installation writes anything: every hash, and the machine."""

import contextlib
import ctypes
import os
import platform
import sys
import sysconfig
from typing import Callable, Dict, List, NamedTuple, Tuple

from hpcagent.bootstrap import llama
from hpcagent.bootstrap.install_manifest import NAME, Manifest, Platform, sha256_of

MAX_TOLD = 10
PACKAGES = {
    "libgomp.so.1": "Debian, Ubuntu: libgomp1; RHEL and kin: libgomp",
    "libstdc++.so.6": "Debian, Ubuntu: libstdc++6; RHEL and kin: libstdc++; or a newer GCC module",
    "libgcc_s.so.1": "Debian, Ubuntu: libgcc-s1; RHEL and kin: libgcc",
    "libz.so.1": "Debian, Ubuntu: zlib1g; RHEL and kin: zlib",
}
# Libraries of GPU drivers and toolkits: compute nodes have them, login nodes often do not.
GPU_PREFIXES = ("libcu", "libnv", "libhip", "libroc", "libamdhip", "libhsa", "libsycl", "libvulkan")


class Host(NamedTuple):
    """The machine and the interpreter that the installation would use."""

    system: str
    machine: str
    python: str  # "3.11.7"
    executable: str
    abi: str
    glibc: str  # empty where the C library is another one
    flags: List[str]  # empty where they are not known


def read_host() -> Host:
    glibc = ""
    with contextlib.suppress(ValueError, OSError):
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        glibc = words[1] if words[:1] == ["glibc"] else ""
    return Host(
        platform.system().lower(),
        platform.machine(),
        "%d.%d.%d" % sys.version_info[:3],
        sys.executable,
        abi_of(sysconfig.get_config_var("SOABI")),
        glibc,
        llama.cpu_flags(),
    )


def abi_of(soabi: object) -> str:
    """ "cpython-311" of "cpython-311-x86_64-linux-gnu"."""
    return "-".join(str(soabi or "unknown").split("-")[:2])


def numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def platform_problems(wanted: Platform, host: Host) -> List[str]:
    """Everything that keeps a bundle from running here, each in a line with both numbers."""
    found = []
    if (wanted.system, wanted.machine) != (host.system, host.machine):
        found.append(
            "the bundle is for %s on %s, and this is %s on %s; make one on a machine of this kind"
            % (wanted.system, wanted.machine, host.system, host.machine)
        )
    found += _python_problems(wanted, host)
    if host.system == "linux" and not host.glibc:
        found.append(
            "the bundle needs glibc %s, and this system has another C library" % wanted.glibc
        )
    elif numbers(host.glibc) < numbers(wanted.glibc):
        found.append(
            "the bundle needs glibc %s or newer, and this system has %s; make the bundle on a "
            "system as old as this one" % (wanted.glibc, host.glibc)
        )
    lacking = [flag for flag in wanted.cpu_flags if flag not in host.flags]
    if host.flags and lacking and wanted.machine == host.machine:
        found.append(
            "the bundle is compiled for %s CPUs, and this one lacks %s; make the bundle on a "
            "machine with this kind of CPU" % (wanted.cpu, ", ".join(lacking))
        )
    return found


def _python_problems(wanted: Platform, host: Host) -> List[str]:
    if host.python.rsplit(".", 1)[0] != wanted.python:
        return [
            "the bundle is for Python %s, and %s is %s; name another one with --python (RHEL and "
            "kin: dnf install python%s; clusters often have it as a module), or make the bundle "
            "with HPCAGENT_PYTHON naming a Python of this version"
            % (wanted.python, host.executable, host.python, wanted.python)
        ]
    if host.abi != wanted.abi:
        return [
            "the bundle is for the Python ABI %s, and %s has %s; name another Python with --python"
            % (wanted.abi, host.executable, host.abi)
        ]
    return []


def library_problems(wanted: Dict[str, str]) -> Tuple[List[str], List[str]]:
    """Libraries that do not load here or are too old: problems, and notes for those of a GPU."""
    problems, notes = [], []
    for name, version in sorted(wanted.items()):
        gpu = name.startswith(GPU_PREFIXES)
        hint = PACKAGES.get(name, "install its package, or load the module that has it")
        try:
            ctypes.CDLL(name)
        except OSError as error:
            if gpu:
                notes.append("%s is not on this machine: the model needs it where it runs" % name)
            else:
                problems.append("%s cannot be loaded (%s): %s" % (name, error, hint))
            continue
        path = _loaded_path(name)
        if version and path and not gpu and not _has_version(path, version):
            problems.append("%s lacks %s, so it is too old: %s" % (path, version, hint))
    return problems, notes


def _loaded_path(name: str) -> str:
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8") as stream:
        for line in stream:
            path = line.rstrip("\n").partition("/")[2]
            if path and os.path.basename(path).startswith(name.split(".so")[0] + ".so"):
                return "/" + path
    return ""


def _has_version(path: str, version: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return b"\0" + version.encode() + b"\0" in stream.read()
    except OSError:
        return True  # it loaded, so it is not for this check to fail


def hash_problems(folder: str, manifest: Manifest, tell: Callable[[int], None]) -> List[str]:
    """Every file that is changed, missing or surplus; `tell` is told of the bytes read."""
    expected = {member.path: member for member in manifest.files}
    found = _walk(folder)
    problems = ["missing: " + path for path in sorted(set(expected) - set(found))]
    problems += ["surplus: " + path for path in sorted(set(found) - set(expected) - {NAME})]
    for path, member in sorted(expected.items()):
        if path not in found:
            continue
        real = os.path.join(folder, path)
        if os.path.islink(real) or not os.path.isfile(real):
            problems.append("changed: %s is not a plain file" % path)
        elif os.path.getsize(real) != member.size:
            problems.append(
                "changed: %s has %d bytes, not %d" % (path, os.path.getsize(real), member.size)
            )
        elif sha256_of(real, tell) != member.sha256:
            problems.append("changed: %s has another SHA-256" % path)
    return problems


def _walk(folder: str) -> List[str]:
    """All files and links below a folder, relative to it; a linked folder is one entry."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names + linked]
    return found


def listed(problems: List[str]) -> str:
    """The problems, indented, each on a line of its own; the rest of a long list is counted."""
    lines = ["  " + problem for problem in problems[:MAX_TOLD]]
    if len(problems) > MAX_TOLD:
        lines.append("  and %d more" % (len(problems) - MAX_TOLD))
    return "\n".join(lines)
