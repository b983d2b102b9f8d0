"""BLAS libraries by their symbols, by what they answered when loaded, and by words in their bytes.

Each of family, interface and threading carries the evidence it rests on; a name is only ever the
last hint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from hpcagent.probe import openmp
from hpcagent.probe.openblas import parse_config
from hpcagent.probe.rawfacts import as_mapping, as_records, as_text, as_texts
from hpcagent.probe.software import BlasFound, LapackFound

# Symbols that only this family has; symbols wanted from others count as well (ATLAS, FlexiBLAS).
_SYMBOLS = (
    ("openblas", r"([a-z0-9]+_)?openblas_get_config(_?64_?)?"),
    ("blis", r"bli_info_get_version_str|bli_thread_init"),
    ("mkl", r"MKL_Get_Version(_String)?|mkl_serv_get_max_threads"),
    ("atlas", r"ATL_dgemm|ATL_buildinfo"),
    ("armpl", r"armplversion|armpl_get_version"),
    ("libsci", r"\w*crayblas\w*"),
    ("nvpl", r"nvpl_blas_get_version"),
    ("flexiblas", r"flexiblas_\w+"),
    ("essl", r"einfo"),
)
_WORDS: Mapping[str, str] = {
    "OPENBLAS_NUM_THREADS": "openblas",
    "BLIS_NUM_THREADS": "blis",
    "MKL_NUM_THREADS": "mkl",
    "ARMPL_": "armpl",
    "CRAYBLAS": "libsci",
}
_PARALLEL: Mapping[int, str] = {0: "serial", 1: "pthreads", 2: "openmp"}
_FILE_VERSION = re.compile(r"-r([0-9]+(?:\.[0-9]+)+)\.|\.so\.([0-9]+\.[0-9]+(?:\.[0-9]+)*)$")
_MKL_VERSION = re.compile(r"Version ([0-9]+(?:\.[0-9]+)*)")
_OWN_HEADERS: Mapping[str, tuple[str, ...]] = {
    "openblas": ("openblas_config.h",),
    "blis": ("blis.h", "blis64.h"),
    "mkl": ("mkl.h",),
    "armpl": ("armpl.h",),
}
_RANK: Mapping[str, int] = {"openblas": 0, "mkl": 0, "blis": 1, "armpl": 0, "libsci": 0}


@dataclass(frozen=True)
class Told:
    """A fact with what it rests on."""

    value: str
    evidence: str


def parse_blas(
    records: Sequence[Mapping[str, Any]], missing: dict[str, str]
) -> tuple[BlasFound, ...]:
    """One entry a library and interface; what could not be loaded is told by its symbols alone."""
    found = []
    for record in records:
        problem = _answers(record).get("problem")
        if problem:
            words = " ".join(str(problem).split())[:160]
            missing[f"answers of {record.get('path')}"] = words
        found += _entries(record)
    return tuple(_with_twin(x, found) for x in found)


def _with_twin(archive: BlasFound, others: Sequence[BlasFound]) -> BlasFound:
    """An archive that tells no interface, by the shared library of its folder and stem."""
    if archive.kind != "static" or archive.interface != "unknown":
        return archive
    stem = archive.path.removesuffix(".a")
    for other in others:
        if other.kind == "shared" and other.path.startswith(stem + ".so"):
            evidence = {**archive.evidence, "interface": f"that of {_base(other.path)} beside it"}
            version = archive.version or other.version
            return replace(archive, interface=other.interface, version=version, evidence=evidence)
    return archive


def _entries(record: Mapping[str, Any]) -> list[BlasFound]:
    """A library may spell its routines in several ways: one entry an interface."""
    entries: dict[str, BlasFound] = {}
    for spelling in _spellings(record):
        entry = _entry(record, *spelling)
        entries.setdefault(entry.interface, entry)
    return list(entries.values())


def _spellings(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    listed = record.get("spellings")
    pairs = [as_texts(x) for x in listed] if isinstance(listed, list) else []
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def _entry(record: Mapping[str, Any], prefix: str, suffix: str) -> BlasFound:
    family = tell_family(record)
    interface = tell_interface(record, family.value, prefix, suffix)
    threading = tell_threading(record, family.value)
    path, answers = str(record.get("path")), _answers(record)
    loads = tuple(x for x in as_texts(answers.get("mapped")) if x != path and _of_interest(x))
    needs = as_texts(record.get("needed"))
    runtimes = openmp.runtimes_in([*needs, *loads])
    return BlasFound(
        family=family.value,
        version=_version(record, family.value),
        path=_nicest(record, family.value),
        realpath=path,
        kind=str(record.get("kind")),
        interface=interface.value,
        threading=threading.value,
        symbol_prefix=prefix,
        symbol_suffix=suffix,
        has_cblas=bool(record.get("cblas")),
        has_lapack=bool(record.get("lapack")),
        needs=needs,
        openmp_runtime=next(iter(runtimes), ""),
        headers=_headers(record, family.value),
        module=" ".join(as_texts(record.get("modules"))),
        soname=str(record.get("soname") or ""),
        runpath=(*as_texts(record.get("rpath")), *as_texts(record.get("runpath"))),
        aliases=as_texts(record.get("aliases")),
        loads=loads,
        evidence={
            "family": family.evidence,
            "interface": interface.evidence,
            "threading": threading.evidence,
        },
        config=_config(record).strip(),
    )


def tell_family(record: Mapping[str, Any]) -> Told:
    defines, wants = as_texts(record.get("defines")), as_texts(record.get("wants"))
    for family, pattern in _SYMBOLS:
        for verb, names in (("defines", defines), ("needs", wants)):
            hit = next((x for x in names if re.fullmatch(pattern, x)), None)
            if hit:
                return Told(family, f"{verb} {hit}")
    answers = _answers(record)
    for family, key in (("openblas", "openblas_config"), ("blis", "blis_version")):
        if answers.get(key):
            return Told(family, f"a library that it loads answers {key}")
    if answers.get("mkl_version"):
        return Told("mkl", "answers MKL_Get_Version_String")
    for word in as_texts(record.get("words")):
        if word in _WORDS:
            return Told(_WORDS[word], f"holds the word {word}")
    if any(x.startswith("xerbla_") for x in defines):
        return Told("reference", "defines xerbla_ and no maker's symbols")
    return Told("unknown", "no symbol of a maker that is known")


def tell_interface(record: Mapping[str, Any], family: str, prefix: str, suffix: str) -> Told:
    """By what ddot did with a 64-bit length, else by what the build says, suffix, header, name."""
    answers = _answers(record)
    routine = f"{prefix}ddot_{suffix}"
    bits = as_mapping(answers.get("integer_bits")).get(routine)
    if bits in (32, 64):
        return Told("ilp64" if bits == 64 else "lp64", f"{routine} reads {bits}-bit integers")
    config = _config(record)
    if family == "openblas" and config:
        wide = "USE64BITINT" in config.split()
        return Told("ilp64" if wide else "lp64", f"its configuration: {config[:60]}")
    if "64" in suffix:
        return Told("ilp64", f"its symbols end with {suffix}")
    base = _base(str(record.get("path")))
    if re.search(r"i?lp64", base):
        return Told("ilp64" if "ilp64" in base else "lp64", f"only its name: {base}")
    return Told("unknown", "it could not be asked, and no symbol tells")


def tell_threading(record: Mapping[str, Any], family: str) -> Told:
    answers, starts = _answers(record), as_texts(record.get("starts"))
    parallel = answers.get("openblas_parallel")
    if isinstance(parallel, int) and parallel in _PARALLEL and family == "openblas":
        return Told(_PARALLEL[parallel], f"openblas_get_parallel gives {parallel}")
    for key, value in (("blis_enable_openmp", "openmp"), ("blis_enable_pthreads", "pthreads")):
        if answers.get(key) == 1:
            return Told(value, key.replace("blis_", "bli_info_get_") + " gives 1")
    if answers.get("blis_enable_threading") == 0:
        return Told("serial", "bli_info_get_enable_threading gives 0")
    names = " ".join(_base(x) for x in as_texts(answers.get("mapped")))
    layer = re.search(r"libmkl_(sequential|intel_thread|gnu_thread|pgi_thread|tbb_thread)", names)
    if family == "mkl" and layer:
        kind = {"sequential": "serial", "tbb_thread": "pthreads"}.get(layer.group(1), "openmp")
        return Told(kind, f"it loads {layer.group()}")
    runtime = next((x for x in as_texts(record.get("needed")) if openmp.family_of_name(x)), "")
    if runtime:
        return Told("openmp", f"needs {runtime}")
    if family == "flexiblas":
        return Told("unknown", "its backend decides, which is chosen when it runs (FLEXIBLAS)")
    if {"GOMP_parallel", "__kmpc_fork_call"} & set(starts):
        return Told("openmp", "calls an OpenMP runtime")
    if "pthread_create" in starts:
        return Told("pthreads", "calls pthread_create")
    if family == "mkl":
        return Told("unknown", "chosen when it is linked or run (MKL_THREADING_LAYER)")
    return Told("serial", "neither OpenMP nor pthread_create in it")


def parse_lapack(records: Sequence[Mapping[str, Any]]) -> tuple[LapackFound, ...]:
    return tuple(
        LapackFound(
            path=_nicest(record, "lapack"),
            kind=str(record.get("kind")),
            aliases=as_texts(record.get("aliases")),
            needs=as_texts(record.get("needed")),
            module=" ".join(as_texts(record.get("modules"))),
        )
        for record in records
    )


def preference(blas: BlasFound) -> tuple[Any, ...]:
    """Sorts what a program would rather link first: shared, 32-bit integers, tuned, threaded."""
    return (
        blas.kind != "shared",
        blas.interface != "lp64",
        _RANK.get(blas.family, 2),
        {"openmp": 0, "pthreads": 0}.get(blas.threading, 1),
        bool(blas.module),
        blas.path,
    )


def _version(record: Mapping[str, Any], family: str) -> str:
    answers = _answers(record)
    config = _config(record)
    if family == "openblas" and config:
        return parse_config(config).version or ""
    told = as_text(answers.get("blis_version")) or as_text(answers.get("armpl_version"))
    number = re.search(r"[0-9]+(\.[0-9]+)+", told)  # AMD's says "AOCL-BLIS 4.1.0 Build 20230731"
    if number:
        return number.group()
    mkl = _MKL_VERSION.search(str(answers.get("mkl_version") or ""))
    if mkl:
        return mkl.group(1)
    in_name = _FILE_VERSION.search(_base(str(record.get("path"))))
    return next((x for x in in_name.groups() if x), "") if in_name else ""


def _headers(record: Mapping[str, Any], family: str) -> str:
    """The nearest folder with a header of this family, else with a cblas.h beside the library."""
    folders = as_records(record.get("headers"))
    for folder in folders:
        if set(_OWN_HEADERS.get(family, ())) & set(as_mapping(folder.get("files"))):
            return str(folder.get("folder"))
    if family in _OWN_HEADERS:
        return ""
    return next(
        (str(x.get("folder")) for x in folders if "cblas.h" in as_mapping(x.get("files"))), ""
    )


def _nicest(record: Mapping[str, Any], family: str) -> str:
    """The path to name it by: what -l takes in its own folder, libopenblas.a before libblas.a."""
    real = str(record.get("path"))
    aliases = [x for x in as_texts(record.get("aliases")) if _folder(x) == _folder(real)]
    return min(aliases, key=lambda x: (family not in _base(x), len(x), x), default=real)


def _of_interest(path: str) -> bool:
    """The libraries of python and of the C library came with the process that asked."""
    base = _base(path)
    usual = r"(ld-linux|libc\.|libm\.|libdl|librt|libpthread|libutil|libffi|libpython|_|libgcc_s)"
    return base.startswith("lib") and not re.match(usual, base) and "lib-dynload" not in path


def _base(path: str) -> str:
    return PurePosixPath(path).name


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _config(record: Mapping[str, Any]) -> str:
    told = as_text(_answers(record).get("openblas_config"))
    return told or as_text(record.get("config_text"))


def _answers(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(record.get("answers"))
