"""What software a node offers, as a catalogue for a terminal of up to 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hpcagent.probe import openmp
from hpcagent.probe.software import BlasFound, CompilerFound, ModuleSystem, MpiFound, Software
from hpcagent.report import wording
from hpcagent.report.columns import Column, labelled, laid_out, wrapped

_WIDEST = 80
_NARROWEST = 40
_PATH = 44
_NAMES = 12
_LANGUAGES = (("c", "C"), ("c++", "C++"), ("fortran", "Fortran"))
_SYSTEMS = {"lmod": "Lmod", "environment-modules": "Environment Modules", "none": "none"}
_MPIS = {
    "openmpi": "Open MPI",
    "mpich": "MPICH",
    "intel": "Intel MPI",
    "mvapich": "MVAPICH",
    "cray": "Cray MPICH",
    "spectrum": "IBM Spectrum MPI",
    "fujitsu": "Fujitsu MPI",
}


def catalogue(software: Software, width: int = _WIDEST) -> str:
    """All of it in lines of at most `width` columns, never more than 80; what is missing last."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    parts = [
        _modules(software, columns),
        _compilers(software, columns),
        _mpi(software, columns),
        _blas(software, columns),
        _openmp(software, columns),
        _missing(software.missing, columns),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _modules(software: Software, columns: int) -> list[str]:
    system = software.modules
    lines = labelled("Modules", _system_words(system), columns)
    if system.why_not:
        lines += labelled("", system.why_not, columns)
    if software.loaded:
        lines += labelled("Loaded", " ".join(software.loaded), columns)
    hidden = [f"{name} (after {' '.join(way)})" for name, way in sorted(system.hidden.items())]
    if hidden:
        lines += labelled("Hidden", _some(hidden), columns)
    good = [effect for effect in software.effects if not effect.problem]
    if software.effects:
        words = f"{len(good)} of {len(software.effects)} that may matter could be loaded"
        lines += labelled("Looked into", words, columns)
    if software.not_looked_at:
        lines += labelled("Not yet", _some(software.not_looked_at), columns)
    if system.refused:
        lines += labelled("Refused", "odd names: " + _some(system.refused), columns)
    return lines


def _system_words(system: ModuleSystem) -> str:
    name = _SYSTEMS.get(system.kind, system.kind)
    if system.kind == "none":
        return name
    words = f"{name} {system.version}".rstrip() + f", {len(system.available)} available"
    return words + (f", {len(system.hidden)} hidden behind others" if system.hidden else "")


def _compilers(software: Software, columns: int) -> list[str]:
    rows = [
        (title, found)
        for language, title in _LANGUAGES
        for found in software.compilers
        if found.language == language
    ]
    if not rows:
        return []
    shown = (
        ("language", 0, [title for title, _ in rows]),
        ("compiler", 1, [_compiler_words(found) for _, found in rows]),
        ("path", 3, [found.path for _, found in rows]),
        ("module", 2, [found.module for _, found in rows]),
    )
    return ["Compilers", *_table(shown, columns)]


def _compiler_words(found: CompilerFound) -> str:
    wrapped_words = f" ({found.wrapped} behind {found.command})" if found.wrapped else ""
    return f"{found.family} {found.version}".rstrip() + wrapped_words


def _mpi(software: Software, columns: int) -> list[str]:
    if not software.mpis:
        return []
    lines = ["MPI"]
    for found in software.mpis:
        lines += _block(_mpi_words(found), columns)
    return lines


def _mpi_words(found: MpiFound) -> str:
    name = f"{_MPIS.get(found.family, found.family)} {found.version}".rstrip()
    marks = ["default"] if found.default and not found.module else []
    if found.family != "openmpi":
        interfaces = {"mpich": "ABI of MPICH", "openmpi": "made from Open MPI"}
        marks.append(interfaces.get(found.abi, "ABI unknown"))
    behind = [
        f"{found.wrappers[language].rpartition('/')[2]} runs {found.compiles_with[language]}"
        for language, _ in _LANGUAGES
        if language in found.wrappers and language in found.compiles_with
    ]
    folder = next(iter(found.wrappers.values()), "").rpartition("/")[0]
    launcher = found.launcher or "none beside the wrappers"
    words = f"{name} ({', '.join(marks)})" if marks else name
    words += f": {', '.join(behind)}; " if behind else ": "
    words += f"in {folder}; " if folder else ""
    return words + f"launcher {launcher}" + _after(found.module)


def _blas(software: Software, columns: int) -> list[str]:
    """Libraries of one folder that are alike stand together, each folder under what it holds."""
    if not software.blas:
        return []
    groups: dict[tuple[str, ...], list[BlasFound]] = {}
    for found in software.blas:
        folder = found.path.rpartition("/")[0]
        key = (found.family, found.interface, found.threading, folder, found.module)
        groups.setdefault(key, []).append(found)
    lines = ["BLAS"]
    for (family, interface, _, folder, module), alike in groups.items():
        version = max(x.version for x in alike)
        lapack = ", with LAPACK" if any(x.has_lapack for x in alike) else ""
        name = f"{family} {version}".rstrip()
        lines += _block(f"{name}: {interface}, {_threads(alike)}{lapack}{_after(module)}", columns)
        files = " ".join(x.path.rpartition("/")[2] for x in alike)
        lines += [f"    {line}" for line in wrapped(f"{folder}: {files}", columns - 4)]
    lines += _block(f"The usual names: {_meant(software.blas)}.", columns)
    return lines + _lapack(software, columns)


def _lapack(software: Software, columns: int) -> list[str]:
    """LAPACK libraries that want a BLAS beside them; those of an OpenBLAS come with it."""
    words = [
        f"{x.path} (wants {', '.join(y for y in x.needs if 'blas' in y or 'atlas' in y)})"
        for x in software.lapack
        if x.kind == "shared" and not any("openblas" in y for y in x.needs)
    ]
    return _block(f"LAPACK alone: {'; '.join(words)}", columns) if words else []


def _threads(alike: Sequence[BlasFound]) -> str:
    """An archive tells no runtime; the shared library beside it does."""
    threading = alike[0].threading
    runtimes = sorted({openmp.NAMES.get(x.openmp_runtime, "") for x in alike} - {""})
    return f"{threading} ({' '.join(runtimes)})" if runtimes else threading


def _meant(libraries: Sequence[BlasFound]) -> str:
    """What the usual names lead to, where they lead anywhere."""
    words = []
    for name in ("libblas.so.3", "libopenblas.so.0", "libblas.so", "libopenblas.so"):
        for found in libraries:
            direct = [x for x in found.aliases if x.rpartition("/")[2] == name]
            home = found.realpath.rpartition("/")[0]
            if any(x.rpartition("/")[0] != home for x in direct):
                words.append(f"{name} is {found.family} ({found.threading}, {found.interface})")
                break
    return "; ".join(words) or "nothing of the usual names"


def _openmp(software: Software, columns: int) -> list[str]:
    words = [
        f"{openmp.NAMES.get(x.family, x.family)} ({x.path}{_after(x.module)})"
        for x in software.openmp
    ]
    lines = labelled("OpenMP", "; ".join(words) or "no runtime was found", columns)
    for told in conflicts(software):
        lines += labelled("Mind", told, columns)
    return lines


def conflicts(software: Software) -> tuple[str, ...]:
    """BLAS libraries with two OpenMP runtimes, compilers whose runtime is not that of a BLAS."""
    found = []
    for blas in software.blas:
        both = openmp.conflict([*blas.needs, *blas.loads], software.openmp)
        if both:
            words = _and([openmp.NAMES.get(x, x) for x in both])
            found.append(f"{blas.path} loads {words}: two OpenMP runtimes in one process")
    for family in sorted({openmp.runtime_of_compiler(x) for x in software.compilers} - {""}):
        names = sorted(
            {x.family for x in software.compilers if openmp.runtime_of_compiler(x) == family}
        )
        others = {x.openmp_runtime for x in software.blas} - {""}
        for runtime in sorted(others - {family}):
            makers = sorted({x.family for x in software.blas if x.openmp_runtime == runtime})
            found.append(
                f"{_and(names)} with OpenMP ({openmp.NAMES[family]}) and a BLAS that brings "
                f"{openmp.NAMES.get(runtime, runtime)} ({_and(makers)}): two OpenMP runtimes in "
                "one process"
            )
    return tuple(found)


def _missing(missing: Mapping[str, str], columns: int) -> list[str]:
    if not missing:
        return []
    lines = ["Not had, and why"]
    for name, why in sorted(missing.items()):
        lines += _block(f"{name}: {wording.shorten(why, 300)}", columns)
    return lines


def _table(shown: Iterable[tuple[str, int, Sequence[str]]], columns: int) -> list[str]:
    """A table set flush left; a column that is empty in every row is left out."""
    kept = [
        (title, rank, [wording.middle(wording.visible(x), _PATH) for x in cells])
        for title, rank, cells in shown
        if any(cells)
    ]
    padded = []
    for title, rank, cells in kept:
        width = max(len(x) for x in (title, *cells))
        padded.append(Column(f"{title:<{width}}", tuple(f"{x:<{width}}" for x in cells), rank))
    return [line.rstrip() for line in laid_out(padded, columns)]


def _block(text: str, columns: int) -> list[str]:
    """Words under a heading: the first line indented by two, the others by four."""
    first, *rest = wrapped(text, columns - 4) or [""]
    return [f"  {first}", *(f"    {line}" for line in rest)]


def _after(module: str) -> str:
    return f"; module load {module}" if module else ""


def _some(names: Sequence[str]) -> str:
    left = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {left} more" if left > 0 else "")


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
