"""Whether this runs in a container or a virtual machine, and which hint tells so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# (what a path in a cgroup or PID 1's looks like, the container it belongs to)
_CGROUPS = (
    (re.compile(r"kubepods"), "kubernetes"),
    (re.compile(r"/docker[-/]|docker-[0-9a-f]{12,}"), "docker"),
    (re.compile(r"libpod"), "podman"),
    (re.compile(r"/lxc[./]"), "lxc"),
    (re.compile(r"machine\.slice/.*nspawn"), "systemd-nspawn"),
)
_ENVIRONMENT = (
    ("APPTAINER_CONTAINER", "apptainer"),
    ("APPTAINER_NAME", "apptainer"),
    ("SINGULARITY_CONTAINER", "singularity"),
    ("SINGULARITY_NAME", "singularity"),
    ("SHIFTER_RUNTIME", "shifter"),
    ("KUBERNETES_SERVICE_HOST", "kubernetes"),
)
_FILES = (
    ("/.singularity.d", "apptainer"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
)
# What systemd-detect-virt(1) calls virtual machines; its other words are containers.
_MACHINES = frozenset(
    [
        *("kvm", "qemu", "bochs", "xen", "uml", "vmware", "oracle", "microsoft", "zvm", "bhyve"),
        *("parallels", "qnx", "acrn", "powervm", "apple", "google", "amazon", "sre"),
    ]
)
_VENDORS = (
    (re.compile(r"Amazon EC2"), "Amazon EC2"),
    (re.compile(r"Google"), "Google Compute Engine"),
    (re.compile(r"QEMU|KVM|RDO|oVirt"), "KVM"),
    (re.compile(r"VMware"), "VMware"),
    (re.compile(r"OpenStack"), "OpenStack"),
    (re.compile(r"Xen"), "Xen"),
    (re.compile(r"Microsoft Corporation.*Virtual"), "Hyper-V"),
)


@dataclass(frozen=True)
class Hint:
    """What was recognised, and by what."""

    kind: str
    hint: str


def container(
    exists: Mapping[str, object], files: Mapping[str, str], environment: Mapping[str, object]
) -> Hint | None:
    """The container that this process is in; the most specific hint counts.

    `environment` holds the variables of the job that containers set, `files` /proc/1/environ,
    /proc/1/cgroup, /proc/self/cgroup and /run/systemd/container.
    """
    for name, kind in _ENVIRONMENT:
        if environment.get(name):
            return Hint(kind, f"${name}")
    word = environment.get("container")
    if isinstance(word, str) and word:
        return Hint(word, "$container")
    for path, sign in (("/run/systemd/container", ""), ("/proc/1/environ", "container=")):
        text = files.get(path, "").strip("\0\n ")
        if text.startswith(sign) and re.fullmatch(r"[\w.-]{1,40}", text[len(sign) :]):
            return Hint(text[len(sign) :], path)
    for path in ("/proc/self/cgroup", "/proc/1/cgroup"):
        for pattern, kind in _CGROUPS:
            if pattern.search(files.get(path, "")):
                return Hint(kind, path)
    return next((Hint(kind, path) for path, kind in _FILES if exists.get(path) is True), None)


def hypervisor(
    lscpu_vendor: str | None, detected: str, files: Mapping[str, str], features: frozenset[str]
) -> Hint | None:
    """The virtual machine's kind; None: nothing says that there is one.

    `detected` is what systemd-detect-virt prints: the innermost layer, so often a container.
    """
    if lscpu_vendor:
        return Hint(lscpu_vendor, "lscpu")
    if detected.strip() in _MACHINES:
        return Hint(detected.strip(), "systemd-detect-virt")
    told = " ".join(files.get(f"/sys/class/dmi/id/{x}", "") for x in ("sys_vendor", "product_name"))
    for pattern, kind in _VENDORS:
        if pattern.search(told):
            return Hint(kind, "/sys/class/dmi/id")
    word = files.get("/sys/hypervisor/type", "").strip()
    if word:
        return Hint(word, "/sys/hypervisor/type")
    return Hint("unknown kind", "flag hypervisor in cpuinfo") if "hypervisor" in features else None


def parse_os_release(text: str) -> str | None:
    """PRETTY_NAME of /etc/os-release (os-release(5)), without quotes."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == "PRETTY_NAME":
            return value.strip().strip("\"'") or None
    return None
