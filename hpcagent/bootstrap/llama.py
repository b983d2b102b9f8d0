"""A llama-cpp-python that runs on other nodes than the one that compiled it, kept for next time."""

import contextlib
import glob
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from typing import Dict, List, Optional, Sequence, Tuple

NAME = "llama-cpp-python"
MAX_JOBS = 8  # a login node is shared

# Levels of the x86-64 psABI; CPU flags are spelt as in /proc/cpuinfo.
V3_FLAGS = frozenset(("avx", "avx2", "bmi2", "f16c", "fma"))
V3_ARGS = ("-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON")
V2_ARGS = ("-DGGML_SSE42=ON", *(arg.replace("=ON", "=OFF") for arg in V3_ARGS))
# What a wheel of numpy asks for besides (its baseline is x86-64-v2).
V2_FLAGS = frozenset(("cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"))
# The options of ggml that put an instruction set into the build, and the flag of each.
OPTION_FLAGS = {
    "GGML_SSE42": "sse4_2",
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_BMI2": "bmi2",
    "GGML_FMA": "fma",
    "GGML_F16C": "f16c",
    "GGML_AVX_VNNI": "avx_vnni",
    "GGML_AVX512": "avx512f",
    "GGML_AVX512_VBMI": "avx512vbmi",
    "GGML_AVX512_VNNI": "avx512_vnni",
    "GGML_AVX512_BF16": "avx512_bf16",
    "GGML_AMX_TILE": "amx_tile",
    "GGML_AMX_INT8": "amx_int8",
    "GGML_AMX_BF16": "amx_bf16",
}
# What a build for the building machine's own CPU may use of it.
NATIVE_FLAG = re.compile(r"avx|amx|fma|f16c|bmi|sse4|ssse3|asimd|sve|i8mm|bf16")
GPUS = ("cuda", "hip", "musa", "vulkan", "sycl", "opencl", "cann")
SWITCH = re.compile(r"-D(\w+)(?::BOOL)?=(?:(ON|1|TRUE|YES)|\w+)", re.I)
LEAN_ARGS = (
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_CURL=OFF",
)
# llama.cpp's library "common" serves its tools only and is 40 % of the steps. llama-cpp-python
# forces the cache entry on; a normal variable wins over it (CMake policy CMP0126).
LEAN_INCLUDE = "set(LLAMA_BUILD_COMMON OFF)\n"

COMPILE_ERROR = re.compile(r"error:|Error:|CMake Error|undefined reference|command not found")


def cpu_flags() -> List[str]:
    """Of the first CPU; empty where they are not known."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        for line in stream:
            if line.startswith("flags"):
                return line.split(":", 1)[1].split()
    return []


def cmake_arguments(
    machine: str, flags: Sequence[str], more: Sequence[str]
) -> Tuple[List[str], str]:
    """The arguments of a portable build (`more` come last), and a note where it is a slow one."""
    args, note = ["-DGGML_NATIVE=OFF"], ""
    if machine == "x86_64":
        old = bool(flags) and not V3_FLAGS.issubset(flags)
        args += V2_ARGS if old else V3_ARGS
        if old:
            note = "this CPU has no AVX2: llama.cpp is compiled for x86-64-v2, and slower for it"
    return [*args, *LEAN_ARGS, *more], note


def switches(args: Sequence[str]) -> Dict[str, bool]:
    """The options that are on or off in the end; the last word on an option counts."""
    found = {}
    for arg in args:
        match = SWITCH.fullmatch(arg)
        if match:
            found[match.group(1).upper()] = match.group(2) is not None
    return found


def cpu_baseline(machine: str, flags: Sequence[str], args: Sequence[str]) -> Tuple[str, List[str]]:
    """The name of the CPU level that a build runs on, and the flags that such a CPU has."""
    options = switches(args)
    if options.get("GGML_NATIVE"):
        return "native", sorted(flag for flag in flags if NATIVE_FLAG.match(flag))
    if machine != "x86_64":
        return "generic", []
    compiled = {flag for option, flag in OPTION_FLAGS.items() if options.get(option)}
    needed = compiled | V2_FLAGS
    extra = compiled - V2_FLAGS
    level = "x86-64-v3" if extra == V3_FLAGS else "x86-64-v2"
    return level if extra in (V3_FLAGS, set()) else "own", sorted(needed)


def gpu_variant(args: Sequence[str]) -> str:
    """The kind of GPU that a build uses: "none", "cuda", ..."""
    options = switches(args)
    return next((gpu for gpu in GPUS if options.get("GGML_" + gpu.upper())), "none")


def cache_folder(cache: str, requirement: str, args: Sequence[str]) -> str:
    """Where the wheel of this build is kept; with the C library, as nodes share homes."""
    digest = hashlib.sha256("\n".join([requirement, *args]).encode()).hexdigest()[:16]
    words = [NAME, "cp%d%d" % sys.version_info[:2], platform.machine()]
    name = "-".join([*words, "".join(platform.libc_ver()), digest])
    return os.path.join(cache, "wheels", name)


def whole_wheel(folder: str) -> Optional[str]:
    """The wheel in a folder of the cache, if its checksums are right."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.whl"))):
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as wheel:
            if wheel.testzip() is None:
                return path
    return None


def keep_wheel(path: str, folder: str) -> None:
    """Into the cache, whole or not at all; a cache that cannot be written is no failure."""
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder, suffix=".partial")
        os.close(handle)
        shutil.copyfile(path, partial)
        os.chmod(partial, 0o644)
        os.replace(partial, os.path.join(folder, os.path.basename(path)))


def in_wheelhouse(wheelhouse: str) -> bool:
    """Whether there is a wheel of it, made by the user, which is then taken as it is."""
    return bool(glob.glob(os.path.join(glob.escape(wheelhouse), "llama_cpp_python-*.whl")))


def build_environment(env: Dict[str, str], args: Sequence[str], temporary: str) -> Dict[str, str]:
    """`env` with what the build reads, and the file of LEAN_INCLUDE written to `temporary`."""
    words = list(args)
    if " " not in temporary:  # CMAKE_ARGS cannot quote
        include = os.path.join(temporary, "lean.cmake")
        with open(include, "w", encoding="ascii") as stream:
            stream.write(LEAN_INCLUDE)
        words.append("-DCMAKE_PROJECT_INCLUDE=" + include)
    jobs = str(min(MAX_JOBS, len(os.sched_getaffinity(0))))
    changed = {"CMAKE_BUILD_PARALLEL_LEVEL": jobs, **env}
    changed["CMAKE_ARGS"] = " ".join(words)
    return changed


def compile_errors(output: str) -> str:
    """The first error lines of a build, at most five, each on a line of its own."""
    lines = [line.strip() for line in output.splitlines() if COMPILE_ERROR.search(line)]
    return "\n".join("    " + line[:300] for line in lines[:5])
