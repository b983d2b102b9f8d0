"""The network between nodes: sysfs' InfiniBand class, ibv_devinfo, fi_info, fast interfaces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcagent.probe.node import FabricPort

_DEVICE = re.compile(r"/sys/class/infiniband/([^/]+)/(fw_ver|hca_type|board_id|node_type)")
_PORT = re.compile(r"/sys/class/infiniband/([^/]+)/ports/([0-9]{1,4})/(rate|state|link_layer|lid)")
_CXI = re.compile(r"/sys/class/cxi/([^/]+)/device/vendor")
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec.*")
_STATE = re.compile(r"[0-9]: (\w+)")
_WIDTH = re.compile(r"([0-9]{1,2})X(?: .*)?")
_SPEED = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) Gbps(?: .*)?")
_LINE = re.compile(r"\s*([\w ]+):\s+(.*?)\s*")
_PROVIDER = re.compile(r"provider: (\S{1,80})")


@dataclass(frozen=True)
class Provider:
    """A libfabric provider and the domains (adapters) it offers."""

    name: str
    domains: tuple[str, ...]


def ports_from_sysfs(files: Mapping[str, str]) -> tuple[FabricPort, ...]:
    """Ports of /sys/class/infiniband (mlx5, hfi1, irdma, efa ...), and Slingshot's cxi devices."""
    devices: dict[str, dict[str, str]] = {}
    ports: dict[tuple[str, int], dict[str, str]] = {}
    slingshot = []
    for path, text in sorted(files.items()):
        if found := _DEVICE.fullmatch(path):
            devices.setdefault(found.group(1), {})[found.group(2)] = text.strip()
        elif found := _PORT.fullmatch(path):
            key = (found.group(1), int(found.group(2)))
            ports.setdefault(key, {})[found.group(3)] = text.strip()
        elif found := _CXI.fullmatch(path):
            slingshot.append(FabricPort(found.group(1), 0, "Slingshot", "not told"))
    known = [
        _sysfs_port(name, number, x, devices.get(name, {})) for (name, number), x in ports.items()
    ]
    return (*known, *slingshot)


def _sysfs_port(
    name: str, number: int, port: Mapping[str, str], device: Mapping[str, str]
) -> FabricPort:
    rate, state = _RATE.fullmatch(port.get("rate", "")), _STATE.match(port.get("state", ""))
    return FabricPort(
        device=name,
        port=number,
        kind=_kind(name, port.get("link_layer", ""), device.get("node_type", "")),
        state=state.group(1) if state else "not told",
        rate_gbit_s=float(rate.group(1)) if rate else None,
        firmware=device.get("fw_ver", ""),
        board=device.get("board_id", ""),
    )


def parse_ibv_devinfo(text: str) -> tuple[FabricPort, ...]:
    """`ibv_devinfo`: "hca_id: mlx5_0", its fields, then "port: 1" with fields of its own.

    It tells a rate only with `-v`: lanes ("4X (2)") of a speed ("25.0 Gbps (32)").
    """
    ports: list[dict[str, str]] = []
    device: dict[str, str] = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if not found:
            continue
        name, value = found.group(1).strip(), found.group(2)
        if name == "hca_id":
            device = {"name": value}
        elif name == "port" and value.isascii() and value.isdigit() and len(value) < 5:
            ports.append({**device, "port": value})
        elif ports and ports[-1].get("name") == device.get("name"):
            ports[-1].setdefault(name, value)
        else:
            device.setdefault(name, value)
    return tuple(_listed_port(port) for port in ports if port.get("name"))


def _listed_port(port: Mapping[str, str]) -> FabricPort:
    state = port.get("state", "").removeprefix("PORT_").partition(" ")[0]
    lanes, speed = (
        pattern.fullmatch(port.get(name, ""))
        for pattern, name in ((_WIDTH, "active_width"), (_SPEED, "active_speed"))
    )
    return FabricPort(
        device=port["name"],
        port=int(port["port"]),
        kind=_kind(port["name"], port.get("link_layer", ""), port.get("transport", "")),
        state=state or "not told",
        rate_gbit_s=int(lanes.group(1)) * float(speed.group(1)) if lanes and speed else None,
        firmware=port.get("fw_ver", ""),
        board=port.get("board_id", ""),
    )


def parse_fi_info(text: str) -> tuple[Provider, ...]:
    """Providers of `fi_info` in its order (libfabric's own preference), with their domains."""
    providers: dict[str, dict[str, None]] = {}
    current: dict[str, None] = {}
    for line in text.splitlines():
        words = line.strip()
        if found := _PROVIDER.fullmatch(words):
            current = providers.setdefault(found.group(1), {})
        elif words.startswith("domain: ") and len(words) < 200:
            current[words.removeprefix("domain: ")] = None
    return tuple(Provider(name, tuple(domains)) for name, domains in providers.items())


def fast_interfaces(files: Mapping[str, str], least_mbit_s: int = 10000) -> dict[str, int]:
    """Network interfaces of at least 10 Gbit/s, with their speed in Mbit/s (-1: not told)."""
    speeds = {}
    for path, text in sorted(files.items()):
        found, word = re.fullmatch(r"/sys/class/net/([^/]+)/speed", path), text.strip()
        if found and re.fullmatch(r"[0-9]{1,9}", word) and int(word) >= least_mbit_s:
            speeds[found.group(1)] = int(word)
    return speeds


def _kind(device: str, link_layer: str, transport: str) -> str:
    """`transport` is ibv_devinfo's word, or sysfs' node type ("4: RNIC")."""
    if device.startswith(("hfi1", "opa")):
        return "Omni-Path"
    if device.startswith(("efa", "rdmap")):
        return "EFA"
    if transport.startswith("iWARP") or transport.endswith("RNIC"):
        return "iWARP"
    return "RoCE" if link_layer == "Ethernet" else link_layer or "unknown"
