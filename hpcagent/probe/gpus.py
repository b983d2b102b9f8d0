"""GPUs: nvidia-smi's CSV, rocm-smi's and xpu-smi's JSON, and PCI devices where no tool is there."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from typing import Any

from hpcagent.probe.node import Gpu

_MIB = re.compile(r"([0-9]{1,9})(?: ?MiB)?")  # bare with --format=csv,nounits
_HEAD = re.compile(r"\s*([\w.]+)(?: \[[^\]]*\])?\s*")
# "[N/A]", "[Unknown Error]", "[GPU requires reset]": what is in brackets is no value.
_NOTHING = re.compile(r"\[.*\]|N/A|Not Supported", re.I)
_CARD = re.compile(r"card([0-9]{1,4})")
_GFX = re.compile(r"gfx[0-9a-f]{3,5}")
_PCI = re.compile(r"/sys/bus/pci/devices/([^/]+)/(\w+)")
_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
# Displays without a monitor (3D controllers) and processing accelerators; an NVIDIA card of class
# 0x0300 computes as well, a server's VGA chip (ASPEED, Matrox) does not.
_COMPUTE = ("0x0302", "0x0380", "0x1200")


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """`nvidia-smi --query-gpu=... --format=csv`, by the titles in its first line."""
    rows = _rows(text)
    titles = [_title(cell) for cell in rows[0]] if rows else []
    if "index" not in titles:
        return ()
    gpus = []
    for row in rows[1:]:
        cells = {name: cell.strip() for name, cell in zip(titles, row, strict=False)}
        told = {name: "" if _NOTHING.fullmatch(cell) else cell for name, cell in cells.items()}
        number, memory = (
            _number(told.get("index", "")),
            _MIB.fullmatch(told.get("memory.total", "")),
        )
        if number is None:
            continue
        gpus.append(
            Gpu(
                index=number,
                vendor="nvidia",
                model=told.get("name", ""),
                memory_bytes=int(memory.group(1)) << 20 if memory else None,
                bus=_bus(told.get("pci.bus_id", "")),
                driver=told.get("driver_version", ""),
                capability=told.get("compute_cap", ""),
                mig=told.get("mig.mode.current") == "Enabled",
            )
        )
    return tuple(gpus)


def parse_rocm_smi(text: str) -> tuple[Gpu, ...]:
    """`rocm-smi --showproductname --showmeminfo vram --showdriverversion --showbus --json`.

    ROCm 5 writes "Card series", ROCm 6 "Card Series"; warnings may stand before the object.
    """
    document = _object(text)
    driver = _word(document.get("system"), "driver version")
    gpus = []
    for key, card in document.items():
        found = _CARD.fullmatch(key)
        if not found or not isinstance(card, Mapping):
            continue
        memory = _number(_word(card, "vram total memory (b)"))
        names = ("card series", "device name", "card model")
        model = next((word for name in names if (word := _word(card, name))), "")
        bus, gfx = _word(card, "pci bus"), _word(card, "gfx version")
        kind = gfx if _GFX.fullmatch(gfx) else ""
        gpus.append(Gpu(int(found.group(1)), "amd", model, memory, _bus(bus), driver, kind))
    return tuple(sorted(gpus, key=lambda gpu: gpu.index))


def parse_xpu_smi(text: str) -> tuple[Gpu, ...]:
    """`xpu-smi discovery -j`."""
    listed = _object(text).get("device_list")
    gpus = []
    for place, device in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(device, Mapping) and _word(device, "device_type") in ("GPU", ""):
            number = _number(_word(device, "device_id"))
            bus = _bus(_word(device, "pci_bdf_address"))
            name = _word(device, "device_name")
            gpus.append(Gpu(place if number is None else number, "intel", name, None, bus))
    return tuple(gpus)


def gpus_from_pci(files: Mapping[str, str]) -> tuple[Gpu, ...]:
    """From /sys/bus/pci/devices/*/{vendor,device,class}; the model is a number only."""
    devices: dict[str, dict[str, str]] = {}
    for path, text in sorted(files.items()):
        found = _PCI.fullmatch(path)
        if found:
            devices.setdefault(found.group(1), {})[found.group(2)] = text.strip()
    gpus: list[Gpu] = []
    for bus, entry in devices.items():
        kind, vendor = entry.get("class", ""), entry.get("vendor", "")
        nvidia = vendor == "0x10de" and kind.startswith("0x0300")
        if (kind.startswith(_COMPUTE) and vendor in _VENDORS) or nvidia:
            model = f"PCI device {vendor.removeprefix('0x')}:{entry.get('device', '?')[2:]}"
            gpus.append(Gpu(len(gpus), _VENDORS[vendor], model, None, bus))
    return tuple(gpus)


def _rows(text: str) -> list[list[str]]:
    """Only lines with a comma: warnings of the driver stand between them."""
    lines = [line for line in text.splitlines() if "," in line and "\0" not in line]
    try:
        return [row for row in csv.reader(lines, skipinitialspace=True) if row]
    except csv.Error:
        return []


def _title(cell: str) -> str:
    found = _HEAD.fullmatch(cell)
    return found.group(1) if found else ""


def _object(text: str) -> Mapping[str, Any]:
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _word(document: Any, name: str) -> str:
    """The value of a key, whatever its case; "" where there is none."""
    for key, value in document.items() if isinstance(document, Mapping) else ():
        if str(key).lower() == name and isinstance(value, str | int):
            word = str(value).strip()
            return "" if _NOTHING.fullmatch(word) else word
    return ""


def _bus(text: str) -> str:
    """nvidia-smi writes eight digits of domain: "00000000:17:00.0"."""
    found = re.fullmatch(r"(?:0000)?([0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])", text)
    return found.group(1).lower() if found else ""


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 17 else None
