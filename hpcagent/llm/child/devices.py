"""What this build of llama.cpp can compute with, as ggml tells of it (ggml-backend.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpcagent.llm.memory import Device

# ggml_backend_dev_type. 2 is an integrated GPU (as of MI300A); before ggml counted these apart it
# was an accelerator such as a BLAS, which has no memory of its own.
_CPU, _GPUS = 0, (1, 2)
_MOST = 64


def gpus(libraries: Path) -> tuple[Device, ...]:
    """Of the ggml in the folder `libraries`; empty where there is no GPU, or it cannot be asked."""
    found = _devices(libraries)
    return tuple(Device(name, free) for name, kind, free in found if kind in _GPUS and free > 0)


def others(libraries: Path) -> bool:
    """Whether anything but llama.cpp's own kernels for CPUs may compute: a GPU, a BLAS."""
    found = _devices(libraries)
    return not found or any(kind != _CPU for _, kind, _ in found)


def _devices(libraries: Path) -> Sequence[tuple[str, int, int]]:
    """(name, kind, free bytes) of all devices, the CPU included."""
    try:
        registry = ctypes.CDLL(str(libraries / "libggml.so"))
        base = ctypes.CDLL(str(libraries / "libggml-base.so"))
        count, get = registry.ggml_backend_dev_count, registry.ggml_backend_dev_get
        name, kind, memory = (
            getattr(base, f"ggml_backend_dev_{part}") for part in ("name", "type", "memory")
        )
    except (OSError, AttributeError):
        return ()
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    kind.restype, kind.argtypes = ctypes.c_int, [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    memory.restype, memory.argtypes = None, [ctypes.c_void_p, size, size]
    found = []
    for index in range(min(count(), _MOST)):
        device = get(index)
        found.append((_text(name(device)), int(kind(device)), _free(memory, device)))
    return found


def _free(memory: Any, device: int) -> int:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    memory(device, ctypes.byref(free), ctypes.byref(total))
    return free.value


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", errors="replace")
