"""Where libraries may lie on a node, and which modules name the place; for collect_software.py."""

import glob
import os
import re
from typing import Any, Callable, Dict, Iterator, List, Tuple

Run = Callable[..., Dict[str, Any]]

SYSTEM = ["/usr/lib64", "/usr/lib", "/lib64", "/usr/local/lib64", "/usr/local/lib"]
SUBFOLDERS = "openblas*", "blis*", "atlas*", "blas", "lapack", "mkl", "libblas", "llvm*/lib"
ROOT = re.compile(r"(_|^)(ROOT|DIR|HOME|BASE|PREFIX|LIB|LIBDIR|PATH)$|ROOT$|^EBROOT")
# Roots that a user or a loaded module has set, and where the makers' installers put theirs.
NAMED = re.compile(
    r"(BLAS|BLIS|MKL|AOCL|ARMPL|LIBSCI|LAPACK|ATLAS|NVPL).*(ROOT|DIR|HOME|PREFIX)$|^EBROOT|^MKLROOT$",
)
KNOWN = ["/opt/intel/oneapi/mkl/latest", "/opt/intel/mkl", "/opt/AMD/aocl/*/*", "/opt/aocl*"]
KNOWN += [
    "/opt/OpenBLAS*",
    "/opt/openblas*",
    "/opt/arm/armpl*",
    "/opt/cray/pe/libsci/default/*/*/*",
]


def folder_origins(
    run: Run, timeout_s: float, loads: List[Dict[str, Any]], wanted: List[str]
) -> Dict[str, List[str]]:
    """folder -> the modules that have to be loaded for it; none for the system's own."""
    cache = run(["ldconfig", "-p"], timeout_s)["stdout"]
    folders = list(wanted)
    searched = [os.environ.get(x, "") for x in ("LD_LIBRARY_PATH", "LIBRARY_PATH")]
    folders += [x for text in searched for x in text.split(":")]
    folders += [os.path.dirname(x) for x in re.findall(r"=> (/\S+)$", cache, re.MULTILINE)]
    folders += SYSTEM
    known = [x for form in KNOWN for x in sorted(glob.glob(form))]
    named = [v for k, v in os.environ.items() if NAMED.search(k) and v.startswith("/")]
    roots = list(library_folders(["/usr", "/usr/local", *own(named), *known]))
    origins = {os.path.abspath(x): [] for x in folders + roots if x}  # type: Dict[str, List[str]]
    for base in list(origins):
        for folder in subfolders(base, SUBFOLDERS):
            origins.setdefault(folder, [])
    good = [load for load in loads if load["change"] and not load["problem"]]
    for find in (named_folders, guessed_folders):
        for load in good:
            for folder in find(load["change"]):
                origins.setdefault(os.path.abspath(folder), load["modules"])
    return {x: y for x, y in origins.items() if os.path.isdir(x)}


def named_folders(change: Dict[str, Any]) -> List[str]:
    """Folders of libraries that a module names: search paths, and below what it calls its root."""
    named = [x for k, v in change["added"].items() if k.endswith("LIBRARY_PATH") for x in v]
    roots = [v for k, v in change["set"].items() if ROOT.search(k) and v.startswith("/")]
    return [x for x in named if x] + list(library_folders(own(roots)))


def guessed_folders(change: Dict[str, Any]) -> List[str]:
    """Folders of libraries beside the commands that a module brings."""
    roots = [os.path.dirname(x) for x in change["added"].get("PATH", []) if x.startswith("/")]
    return list(library_folders(own(roots)))


def own(roots: List[str]) -> List[str]:
    """Those that are not the system's own."""
    return [x for x in roots if os.path.realpath(x) not in ("/", "/usr", "/usr/local")]


def runtime_folders(compilers: List[Dict[str, Any]]) -> List[str]:
    """Where the compilers of the system find their OpenMP runtimes (-print-file-name)."""
    found = []
    for record in compilers:
        for name, call in (record.get("calls") or {}).items():
            path = call["stdout"].strip()
            if name.startswith("file:") and path.startswith("/") and not record["modules"]:
                found.append(os.path.dirname(os.path.normpath(path)))
    return list(dict.fromkeys(found))


def library_folders(roots: List[str]) -> Iterator[str]:
    """What may hold libraries below a package's root; its Debian and Intel subfolders, too."""
    for root in roots:
        base = glob.escape(root)
        for form in ("", "/lib", "/lib64", "/lib/intel64", "/lib/*-linux-gnu"):
            for folder in sorted(glob.glob(base + form)):
                if os.path.isdir(folder):
                    yield folder


def subfolders(base: str, forms: Tuple[str, ...]) -> List[str]:
    """Debian keeps each BLAS in a folder of its own below the libraries."""
    patterns = [os.path.join(glob.escape(base), form) for form in forms]
    return [x for pattern in patterns for x in sorted(glob.glob(pattern)) if os.path.isdir(x)]
