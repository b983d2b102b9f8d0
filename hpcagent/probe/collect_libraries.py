"""Find libraries by what they define, and let each say what it is; part of collect_software.py.

    collect_libraries.py --scan request.json    files that define dgemm_, dgesv_ or OpenMP
    collect_libraries.py --ask LIBRARY SPELLINGS    load one and ask it

Each runs as a process of its own: a library that crashes, a file that is cut while it is read and
a file system that hangs take only that process with them. Standard library only, python3 >= 3.6.
"""

import ctypes
import importlib.util
import json
import mmap
import os
import re
import sys
import time
from typing import Any, Dict, List, Tuple

MAX_FILES = 20000
MAX_ARCHIVE = 2 << 30
FILE = re.compile(r"^lib.+(\.so(\.[0-9]+)*|\.a)$")
# These first: a budget that ends early has seen what matters. A name decides nothing else.
LIKELY = re.compile(r"blas|blis|lapack|atlas|mkl|armpl|sci|omp|essl|flame|nvpl", re.IGNORECASE)
# Fortran spellings: prefix, routine, underscore, suffix ("scipy_dgemm_64_", "dgemm_64").
GEMM = re.compile(r"^(?P<prefix>(?!cblas_|mkl_|atl_|bli_)([a-z0-9]+_)?)dgemm_(?P<suffix>_?64_?)?$")
GESV = re.compile(r"^([a-z0-9]+_)?dgesv_(_?64_?)?$")
CBLAS = re.compile(r"^([a-z0-9]+_)?cblas_dgemm(_?64_?)?$")
# What tells a maker: symbols that a file defines or needs, else words in its bytes.
MAKERS = re.compile(
    r"^(([a-z0-9]+_)?openblas_get_config(_?64_?)?|bli_info_get_version_str|bli_thread_init"
    r"|MKL_Get_Version(_String)?|mkl_serv_get_max_threads|ATL_buildinfo|ATL_dgemm|armplversion"
    r"|armpl_get_version|\w*crayblas\w*|nvpl_blas_get_version|flexiblas_\w+|einfo|xerbla_(_?64_?)?"
    r"|exec_blas|blas_thread_init|bla_get_int_size)$"
)
OPENMP = {"omp_get_max_threads", "omp_get_thread_num"}
OPENMP_MARKS = ["GOMP_parallel", "GOMP_parallel_start", "__kmpc_fork_call", "omp_get_max_threads"]
# Looked for in a file's bytes only where no symbol tells the maker.
WORDS = [b"OPENBLAS_NUM_THREADS", b"BLIS_NUM_THREADS", b"MKL_NUM_THREADS", b"ARMPL_", b"CRAYBLAS"]
# Those that start threads, and (of an archive) symbols whose members do.
THREADS = ["GOMP_parallel", "__kmpc_fork_call", "pthread_create"]
THREADING = re.compile(
    r"^(exec_blas|blas_thread_init|blas_thread_server|bli_l3_(sup_)?thread_decorator(_\w+)?"
    r"|bli_thread_launch|bli_pthread_create)$"
)
MAX_WORDS = 256 << 20
OPENBLAS_CONFIG = re.compile(rb"OpenBLAS [0-9]+\.[0-9]+\.[0-9A-Za-z.]+[ -~]{0,300}")
HEADERS = [
    "cblas.h",
    "cblas64.h",
    "openblas_config.h",
    "blis.h",
    "blis64.h",
    "f77blas.h",
    "mkl.h",
    "armpl.h",
]
TELLING = re.compile(
    r"^\s*#\s*define\s+((OPENBLAS_VERSION|OPENBLAS_USE64BITINT"
    r"|INTEL_MKL_VERSION|BLIS_VERSION_STRING)\b.{0,100})$",
    re.MULTILINE,
)


def sibling(name: str) -> Any:
    """A module that lies beside this file, wherever that is and whatever sys.path holds."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("hpcagent_job_" + name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(argv: List[str]) -> int:
    if len(argv) == 2 and argv[0] == "--scan":
        with open(argv[1], encoding="utf-8") as stream:
            request = json.load(stream)
        print(json.dumps(scan(request["folders"], request["budget_s"], sibling("elf"))))
        return 0
    if len(argv) == 3 and argv[0] == "--ask":
        print(json.dumps(ask(argv[1], json.loads(argv[2]))))
        return 0
    sys.stderr.write("usage: collect_libraries.py --scan REQUEST | --ask LIBRARY SPELLINGS\n")
    return 2


def scan(folders: List[str], budget_s: float, elf: Any) -> Dict[str, Any]:
    """{libraries, openmp, lapack, looked_at, not_looked_at, problems}; every file once."""
    found = {"libraries": [], "openmp": [], "lapack": [], "problems": []}  # type: Dict[str, Any]
    names = files_in(folders)
    end = time.monotonic() + budget_s
    own = own_machine(elf)
    looked = 0
    order = sorted(names, key=lambda real: (not LIKELY.search(os.path.basename(real)), real))
    for real in order:
        if looked >= MAX_FILES or time.monotonic() > end:
            break
        looked += 1
        record = examine(real, elf)
        foreign = (record.get("machine"), record.get("bits")) not in ((None, None), own)
        for kind in record.pop("kinds"):
            if not foreign:
                found[kind].append(dict(record, aliases=names[real]))
        if record.get("problem") and LIKELY.search(os.path.basename(real)):
            found["problems"].append({"path": real, "problem": record["problem"]})
    found.update(looked_at=looked, not_looked_at=len(order) - looked)
    return found


def own_machine(elf: Any) -> Tuple[str, int]:
    """What this interpreter was built for: a library for another machine is of no use here."""
    with open(os.path.realpath(sys.executable), "rb") as stream:
        return elf.read_machine(stream.read(64))  # type: ignore[no-any-return]


def files_in(folders: List[str]) -> Dict[str, List[str]]:
    """realpath -> the paths in these folders that lead to it."""
    names = {}  # type: Dict[str, List[str]]
    for folder in folders:
        real = os.path.realpath(folder)
        if real != folder and real in folders:  # /lib, where that is a link to /usr/lib
            continue
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(folder, entry)
            if FILE.match(entry) and os.path.isfile(path):
                names.setdefault(os.path.realpath(path), []).append(path)
    return names


def examine(path: str, elf: Any) -> Dict[str, Any]:
    """One file; `kinds` says which lists it belongs to (none: nothing of interest)."""
    record = {"path": path, "kinds": []}  # type: Dict[str, Any]
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if not 64 <= size <= MAX_ARCHIVE:
                return record
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                record.update(size=size)
                describe = describe_archive if elf.is_archive(data) else describe_shared
                describe(data, record, elf)
    except (OSError, ValueError) as error:
        if not str(error).startswith("not an ELF"):
            record["problem"] = str(error)[:200]
    return record


def describe_shared(data: Any, record: Dict[str, Any], elf: Any) -> None:
    strings = elf.dynamic_strings(data)
    if not any(word in strings for word in (b"dgemm_", b"dgesv_", b"omp_get_thread_num")):
        return
    file = elf.read_elf(data)
    record["kinds"] = kinds_of(file.defined)
    if not record["kinds"]:
        return
    record.update(kind="shared", machine=file.machine, bits=file.bits, soname=file.soname)
    record.update(needed=list(file.needed), rpath=list(file.rpath), runpath=list(file.runpath))
    describe_symbols(data, record, file.defined, file.undefined)


def describe_archive(data: Any, record: Dict[str, Any], elf: Any) -> None:
    defined = elf.archive_symbols(data)
    record["kinds"] = [x for x in kinds_of(defined) if x != "openmp"]
    if not record["kinds"]:
        return
    record.update(kind="static", soname="", needed=[], rpath=[], runpath=[])
    chosen = {defined[x] for x in defined if MAKERS.match(x) or THREADING.match(x)}
    wanted, text = set(), b""
    for offset in sorted(chosen)[:64]:
        member = elf.archive_member(data, offset)
        config = OPENBLAS_CONFIG.search(member)
        text = text or (config.group() if config else b"")
        if elf.is_elf(member):
            file = elf.read_elf(member)
            wanted |= set(file.undefined)
            record.update(machine=file.machine, bits=file.bits)
    describe_symbols(data, record, defined, wanted)
    record["config_text"] = text.decode("ascii")


def kinds_of(defined: Any) -> List[str]:
    kinds = []
    if any(GEMM.match(x) for x in defined if "dgemm_" in x):
        kinds.append("libraries")
    elif any(GESV.match(x) for x in defined if "dgesv_" in x):
        kinds.append("lapack")
    if all(x in defined for x in OPENMP):
        kinds.append("openmp")
    return kinds


def describe_symbols(data: Any, record: Dict[str, Any], defined: Any, undefined: Any) -> None:
    spelt = [x for x in map(GEMM.match, defined) if x]
    record["spellings"] = sorted([x.group("prefix"), x.group("suffix") or ""] for x in spelt)
    record["cblas"] = sorted(x for x in defined if "cblas_dgemm" in x and CBLAS.match(x))
    record["lapack"] = any("dgesv_" in x and GESV.match(x) for x in defined)
    record["defines"] = sorted(x for x in defined if MAKERS.match(x))[:60]
    record["wants"] = sorted(x for x in undefined if MAKERS.match(x))[:60]
    record["openmp"] = [x for x in OPENMP_MARKS if x in defined]
    record["starts"] = [x for x in THREADS if x in undefined]
    makers = [x for x in record["defines"] + record["wants"] if not x.startswith("xerbla_")]
    look = not makers and record["size"] <= MAX_WORDS
    record["words"] = [x.decode("ascii") for x in WORDS if data.find(x) >= 0] if look else []


def headers_for(path: str) -> List[Dict[str, Any]]:
    """Folders with BLAS headers that may belong to a library, nearest first.

    PREFIX/lib/NAME/x.so (also PREFIX/lib/TRIPLET/NAME) has PREFIX/include/NAME and its like.
    """
    found = []
    for folder in header_folders(path):
        files = {}
        for name in HEADERS:
            try:
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
                    files[name] = [x[0].strip() for x in TELLING.findall(stream.read(4 << 20))]
            except OSError:
                continue
        if files:
            found.append({"folder": folder, "files": files})
    return found


def header_folders(path: str) -> List[str]:
    folder = os.path.dirname(path)
    match = re.match(r"(.*)/(lib64|lib32|lib)(/.*)?$", folder)
    prefix, below = (
        (match.group(1), match.group(3) or "") if match else (os.path.dirname(folder), "")
    )
    root = prefix + "/include"
    forms = [root + below] + [root + x for x in ("/openblas", "/blis", "/mkl", "/cblas")]
    forms += [root + os.path.dirname(below), root] if below else [root]
    return [x for x in dict.fromkeys(x.rstrip("/") for x in forms) if os.path.isdir(x)]


def ask(path: str, spellings: List[Tuple[str, str]]) -> Dict[str, Any]:
    """What a library says of itself when it is loaded; it may well crash."""
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        return {"problem": str(error)[:400]}
    answers = dict(openblas_answers(library, spellings), **other_answers(library))
    answers["integer_bits"] = {}
    integer_bits = sibling("collect").integer_bits
    for prefix, suffix in spellings:
        bits = integer_bits(getattr(library, prefix + "ddot_" + suffix, None))
        answers["integer_bits"][prefix + "ddot_" + suffix] = bits
    answers["mapped"] = mapped_libraries()
    return answers


def openblas_answers(library: Any, spellings: List[Tuple[str, str]]) -> Dict[str, Any]:
    for prefix, suffix in [*spellings, ("", ""), ("", "64_"), ("scipy_", "64_")]:
        name = prefix + "openblas_get_{}" + suffix
        if not hasattr(library, name.format("config")):
            continue
        return {
            "openblas_config": call(library, name.format("config"), ctypes.c_char_p),
            "openblas_corename": call(library, name.format("corename"), ctypes.c_char_p),
            "openblas_parallel": call(library, name.format("parallel"), ctypes.c_int),
            "openblas_threads": call(library, name.format("num_threads"), ctypes.c_int),
        }
    return {}


def other_answers(library: Any) -> Dict[str, Any]:
    answers = {}  # type: Dict[str, Any]
    if hasattr(library, "bli_info_get_version_str"):
        answers["blis_version"] = call(library, "bli_info_get_version_str", ctypes.c_char_p)
        for name in ("blas_int_type_size", "enable_openmp", "enable_pthreads", "enable_threading"):
            answers["blis_" + name] = call(library, "bli_info_get_" + name, ctypes.c_long)
    if hasattr(library, "MKL_Get_Version_String"):
        buffer = ctypes.create_string_buffer(256)
        library.MKL_Get_Version_String(buffer, 255)
        answers["mkl_version"] = buffer.value.decode("utf-8", "replace").strip()
        answers["mkl_threads"] = call(library, "MKL_Get_Max_Threads", ctypes.c_int)
    if hasattr(library, "armplversion"):
        numbers = [ctypes.c_int(-1) for _ in range(3)]
        library.armplversion(*[ctypes.byref(x) for x in numbers], ctypes.byref(ctypes.c_char_p()))
        answers["armpl_version"] = ".".join(str(x.value) for x in numbers)
    answers["atlas"] = hasattr(library, "ATL_dgemm") or hasattr(library, "ATL_buildinfo")
    return answers


def call(library: Any, name: str, kind: Any) -> Any:
    function = getattr(library, name, None)
    if function is None:
        return None
    function.restype = kind
    value = function()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def mapped_libraries() -> List[str]:
    """The shared libraries in this process (/proc/self/maps, proc(5)), python's own among them."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            paths = re.findall(r" (/\S.*\.so[.0-9]*)$", stream.read(), re.MULTILINE)
    except OSError:
        return []
    return sorted({os.path.realpath(x) for x in paths})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
