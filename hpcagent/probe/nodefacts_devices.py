"""Facts of GPUs, fabric, file systems and launchers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpcagent.probe import fabric, filesystems, gpus, launchers
from hpcagent.probe.look import Look, Subject
from hpcagent.probe.node import DERIVED, STATED, Absent, Fact, FileSystem
from hpcagent.probe.quotas import Quota, parse_quotas
from hpcagent.probe.rawfacts import RawFacts

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_TOOLS = (
    ("nvidia_smi", "nvidia-smi", gpus.parse_nvidia_smi),
    ("rocm_smi", "rocm-smi", gpus.parse_rocm_smi),
    ("xpu_smi", "xpu-smi", gpus.parse_xpu_smi),
)


def gpu_facts(look: Look) -> Iterator[Fact | Absent]:
    """GPUs as the vendors' tools list them, else as PCI devices."""
    this = Subject("GPUs")
    reasons = []
    for command, name, parse in _TOOLS:
        found = parse(look.node.stdout(command) or "")
        if found:
            yield this.fact("gpus", found, (name, STATED))
        reasons.append(look.why(command))
    found = gpus.gpus_from_pci(look.node.texts(r"/sys/bus/pci/devices/.*"))
    yield this.fact("gpus", found or "none", ("/sys/bus/pci", DERIVED), note="; ".join(reasons))
    environment = look.node.section("environment")
    told = [f"{name}={environment[name]}" for name in _VISIBLE if name in environment]
    if told:
        yield this.fact("visible_gpus", " ".join(told), ("environment", STATED))


def fabric_facts(look: Look) -> Iterator[Fact | Absent]:
    """Adapters, libfabric's providers, fast Ethernet."""
    this = Subject("Fabric")
    ports = fabric.ports_from_sysfs(look.node.texts(r"/sys/class/(infiniband|cxi)/.*"))
    source = "/sys/class/infiniband"
    if not ports:
        ports = fabric.parse_ibv_devinfo(look.node.stdout("ibv_devinfo") or "")
        source = "ibv_devinfo" if ports else source
    note = "" if ports else look.why("ibv_devinfo")
    yield this.fact("ports", ports or "none", (source, STATED), note=note)
    providers = fabric.parse_fi_info(look.node.stdout("fi_info") or "")
    told = tuple(f"{x.name} ({', '.join(x.domains)})" for x in providers)
    why = look.why("fi_info")
    yield this.fact("libfabric", told, ("fi_info", STATED), why)
    speeds = fabric.fast_interfaces(look.node.texts(r"/sys/class/net/.*"))
    lines = tuple(f"{name}: {speed / 1000:g} Gbit/s" for name, speed in speeds.items())
    why = "no network interface says that it has 10 Gbit/s or more"
    yield this.fact("interfaces", lines, ("/sys/class/net", STATED), why)


def filesystem_facts(look: Look) -> Iterator[Fact | Absent]:
    """Where the run directory, home, temporary and scratch folders lie."""
    this = Subject("File systems")
    mounts = filesystems.parse_mountinfo(look.node.text("/proc/self/mountinfo") or "")
    quotas = parse_quotas(look.node.stdout("quota") or "")
    found: list[FileSystem] = []
    for place in look.node.records("places"):
        role, path = (str(place.get(name) or "?") for name in ("role", "path"))
        same = next((x for x in found if x.path == path), None)
        if same is not None:  # $TMPDIR may well be /tmp
            found[found.index(same)] = replace(same, role=f"{same.role}, {role}")
            continue
        known = _file_system(place, role, path, mounts, quotas)
        if known is None:
            yield this.absent(f"file system of {role}", _why_no_df(place, path, mounts))
        else:
            found.append(known)
    origin = ("df, /proc/self/mountinfo", STATED)
    yield this.fact("file_systems", tuple(found), origin, "no place could be looked at")


def _file_system(
    place: Mapping[str, Any],
    role: str,
    path: str,
    mounts: tuple[filesystems.Mount, ...],
    quotas: tuple[Quota, ...],
) -> FileSystem | None:
    commands = RawFacts({"commands": place})
    space = filesystems.parse_df(commands.stdout("df") or "")
    if space is None:
        return None
    mount = next((x for x in reversed(mounts) if x.point == space.mount), None)
    kind = mount.kind if mount else space.kind
    lustre = parse_quotas(commands.stdout("quota") or "")
    quota = next(
        (x for x in (*lustre, *quotas) if x.source in (space.source, space.mount, path)), None
    )
    return FileSystem(
        role,
        path,
        space.mount,
        kind,
        filesystems.is_shared(kind),
        space.size_bytes,
        space.free_bytes,
        mount is not None and "ro" in mount.options,
        quota.limit_bytes if quota else None,
        quota.used_bytes if quota and quota.limit_bytes else None,
    )


def _why_no_df(place: Mapping[str, Any], path: str, mounts: tuple[filesystems.Mount, ...]) -> str:
    """With the file system that the path is on, which is known even where its server is dead."""
    mount = filesystems.mount_of(path, mounts)
    where = f" (on {mount.point}, {mount.kind})" if mount else ""
    return f"{path}{where}: {RawFacts({'commands': place}).why_no_stdout('df')}"


def launcher_facts(look: Look) -> Iterator[Fact | Absent]:
    """Commands that start MPI programs, and what Slurm's offers."""
    this = Subject("Launchers")
    paths = look.node.section("launchers")
    found = tuple(str(path) for _, path in sorted(paths.items()) if isinstance(path, str))
    yield this.fact("launchers", found, ("PATH", STATED), "none of the known ones is in PATH")
    record = look.record("srun_mpi")
    out, err = (str(record.get(name) or "") for name in ("stdout", "stderr"))
    listed = launchers.parse_mpi_list(out, err)
    why = look.why("srun_mpi")
    types = (*listed.types, *listed.versions) if listed else ()
    yield this.fact("srun_mpi", types, ("srun --mpi=list", STATED), why)
    default = launchers.parse_mpi_default(look.node.stdout("slurm_config") or "")
    why = look.why("slurm_config")
    yield this.fact("srun_mpi_default", default, ("scontrol show config", STATED), why)
