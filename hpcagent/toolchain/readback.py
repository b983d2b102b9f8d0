"""What a cell printed of itself, what readelf and a compiler's list of macros say. Pure parsers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LINE = re.compile(r"^cell ([A-Za-z_0-9]+) (.*)$", re.ASCII | re.MULTILINE)
_RANK = re.compile(r"([0-9]{1,7}) of ([0-9]{1,7})")
_DYNAMIC = re.compile(
    r"\((NEEDED|RPATH|RUNPATH)\)[^\[\n]*\[([^\]\n]*)\]", re.ASCII
)  # fmt: skip
_MACRO = re.compile(r"^#define (__[A-Z0-9_]+) ", re.MULTILINE)
# A compiler's macro and the kernel's word for the same feature in /proc/cpuinfo: GCC's manual
# ("x86 Options"), the ACLE, arch/x86/include/asm/cpufeatures.h, arch/arm64/kernel/cpuinfo.c.
FEATURE_OF_MACRO = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__SSE4A__": "sse4a",
    "__POPCNT__": "popcnt",
    "__AVX__": "avx",
    "__AVX2__": "avx2",
    "__FMA__": "fma",
    "__FMA4__": "fma4",
    "__XOP__": "xop",
    "__TBM__": "tbm",
    "__LWP__": "lwp",
    "__F16C__": "f16c",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__LZCNT__": "abm",
    "__ADX__": "adx",
    "__AVX512F__": "avx512f",
    "__AVX512CD__": "avx512cd",
    "__AVX512DQ__": "avx512dq",
    "__AVX512BW__": "avx512bw",
    "__AVX512VL__": "avx512vl",
    "__AVX512ER__": "avx512er",
    "__AVX512PF__": "avx512pf",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
    "__AVX512VP2INTERSECT__": "avx512_vp2intersect",
    "__AVXVNNI__": "avx_vnni",
    "__AVXIFMA__": "avx_ifma",
    "__AMX_TILE__": "amx_tile",
    "__AMX_INT8__": "amx_int8",
    "__AMX_BF16__": "amx_bf16",
    "__GFNI__": "gfni",
    "__VAES__": "vaes",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_BF16_VECTOR_ARITHMETIC": "bf16",
}


@dataclass(frozen=True)
class Readback:
    """Every value of every key, in the order printed; `ranks` are (rank, size) as each said."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranks: tuple[tuple[int, int], ...] = ()

    def first(self, key: str) -> str:
        return self.values.get(key, ("",))[0]

    def number(self, key: str) -> int | None:
        text = self.first(key)
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) else None


@dataclass(frozen=True)
class Elf:
    """The dynamic section: names of needed libraries and the folders of RPATH and RUNPATH."""

    needed: tuple[str, ...]
    folders: tuple[str, ...]


def parse_readback(text: str) -> Readback:
    """The `cell KEY VALUE` lines of whatever was printed; other lines do not matter."""
    values: dict[str, list[str]] = {}
    ranks: list[tuple[int, int]] = []
    for key, value in _LINE.findall(text):
        rank = _RANK.fullmatch(value) if key == "rank" else None
        if rank is not None:
            ranks.append((int(rank[1]), int(rank[2])))
        values.setdefault(key, []).append(value)
    return Readback({key: tuple(found) for key, found in values.items()}, tuple(ranks))


def parse_elf(text: str) -> Elf:
    """From `readelf -dW`, in any language: the tags are not translated."""
    needed, folders = [], []
    for tag, value in _DYNAMIC.findall(text):
        if tag == "NEEDED":
            needed.append(value)
        else:
            folders += [folder for folder in value.split(":") if folder]
    return Elf(tuple(needed), tuple(folders))


def parse_macros(text: str) -> frozenset[str]:
    """The CPU features that a compiler's flags turn on, from its `-dM -E`, as the kernel names."""
    macros = _MACRO.findall(text)
    return frozenset(FEATURE_OF_MACRO[name] for name in macros if name in FEATURE_OF_MACRO)


def instruction_set(code: str) -> str:
    """What the first bytes of an x86-64 instruction (in hex) belong to; empty: not told by them.

    Intel SDM vol. 2, 2.3.5 and 2.7 (VEX, EVEX); AMD APM vol. 6, 1.5 (XOP, and FMA4 in VEX map 3).
    """
    match = re.fullmatch(r"(?:[0-9a-f]{2}){2,}", code)
    if match is None:
        return ""
    data = bytes.fromhex(code)
    if data[0] == 0x62:
        return "AVX-512 (EVEX)"
    if data[0] == 0x8F and len(data) > 1 and data[1] & 0x1F >= 8:
        return "XOP"
    if data[0] == 0xC4 and len(data) > 3 and data[1] & 0x1F == 3 and data[3] in _FMA4:
        return "FMA4"
    if data[0] == 0xC4 and len(data) > 3 and data[1] & 0x1F == 2 and data[3] in _FMA3:
        return "FMA"
    return "AVX (VEX)" if data[0] in (0xC4, 0xC5) else ""


_FMA4 = frozenset((*range(0x5C, 0x60), *range(0x68, 0x70), *range(0x78, 0x80)))
_FMA3 = frozenset((*range(0x96, 0xA0), *range(0xA6, 0xB0), *range(0xB6, 0xC0)))
