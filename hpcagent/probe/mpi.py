"""MPI libraries from what their wrappers and launchers print.

Texts: the manuals of Open MPI (mpicc(1), --showme), MPICH (mpicc -show, mpichversion), Intel MPI
(mpiicc -v, mpirun --version), MVAPICH (mpiname -a), IBM Spectrum MPI (mpirun --version), Fujitsu
(MPI_Get_library_version). The families of MPICH share one binary
interface since MPICH 3.1, Intel MPI 5.0, MVAPICH2 2.0 and Cray MPT 7.0 (MPICH ABI Compatibility
Initiative).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from hpcagent.probe.rawfacts import as_mapping, as_text, as_texts
from hpcagent.probe.software import MpiFound

_NUMBER = r"v?([0-9]+(?:\.[0-9]+)*[0-9A-Za-z.+-]*)"
# In this order: Intel's and MVAPICH's launchers are built from MPICH's and say so as well.
_SAYINGS = (
    ("spectrum", rf"\bIBM Spectrum MPI\)? {_NUMBER}"),
    ("fujitsu", rf"\bFUJITSU MPI(?: Library)?\)? {_NUMBER}"),
    ("openmpi", rf"\bOpen MPI\)? {_NUMBER}"),
    ("openmpi", rf"\(Open MPI\) {_NUMBER}"),
    ("intel", rf"Intel\(R\) MPI Library.{{0,40}}?\b(?:Version )?{_NUMBER}"),
    ("mvapich", rf"\bMVAPICH(?:2|2-\w+)?(?: Version\s*:| version)?\s+{_NUMBER}"),
    ("cray", rf"\bCRAY MPICH version {_NUMBER}"),
    ("mpich", rf"\bMPICH(?:2)?(?: Version\s*:| version)?\s+{_NUMBER}"),
    ("mpich", rf"HYDRA build details:\s*Version:\s+{_NUMBER}"),
    # Open MPI under another name (Bull's, ...): only its wrapper and its launcher speak like this
    # (opal_wrapper.c; the message "version" of PRRTE's and ORTE's launchers).
    ("openmpi", rf"(?m)^mpi\S+: \S.{{0,60}}? {_NUMBER} \(Language: [A-Za-z+0-9]+\)$"),
    ("openmpi", rf"(?m)^(?:mpirun|mpiexec|orterun|prterun)\S* \([^)\n]{{1,60}}\) {_NUMBER}$"),
)
# Made from Open MPI, whose binary interface and variables they keep.
_OF_OPEN_MPI = ("openmpi", "spectrum", "fujitsu")
_ABI_SINCE: Mapping[str, tuple[int, ...]] = {
    "mpich": (3, 1),
    "intel": (5, 0),
    "mvapich": (2, 0),
    "cray": (7, 0),
}
_WRAPPER = re.compile(r"^mpi[a-z0-9+]+(?P<suffix>\.[a-z0-9]+)?$")
_ORDER = ("mpicc", "mpicxx", "mpic++", "mpifort", "mpif90")


def parse_family(*texts: str) -> tuple[str, str]:
    """(family, version) by the first text that tells one; ("unknown", "") where none does."""
    for text in texts:
        for family, pattern in _SAYINGS:
            found = re.search(pattern, text[:8000], re.IGNORECASE)
            if found:
                return family, found.group(1).rstrip(".")
    return "unknown", ""


def abi_of(family: str, version: str) -> str:
    """openmpi, mpich (the common binary interface) or unknown."""
    if family in _OF_OPEN_MPI:
        return "openmpi"
    since = _ABI_SINCE.get(family)
    numbers = tuple(int(x) for x in re.findall(r"[0-9]{1,6}", version)[:2])
    return "mpich" if since and numbers >= since else "unknown"


def parse_show(text: str) -> str:
    """The compiler behind a wrapper, by the command that `-show` or `--showme` printed."""
    for line in text.splitlines():
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        # Settings in front of the command, and the links that old wrappers make.
        words = [word for word in words if not re.fullmatch(r"\w+=.*", word)]
        if words and words[0] not in ("ln", "rm"):
            return words[0]
    return ""


def parse_mpis(
    records: Sequence[Mapping[str, Any]], environment: Mapping[str, str], missing: dict[str, str]
) -> tuple[MpiFound, ...]:
    """Wrappers that belong together (one folder, one suffix, the same modules) as one MPI.

    A wrapper without a suffix that is a link to one with a suffix (Debian's alternatives) is no MPI
    of its own: it says which one is the default.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    defaults = set()
    for record in records:
        key, alias = _key(record)
        if alias:
            defaults.add(key)
        else:
            groups.setdefault(key, []).append(record)
    found = []
    for key, group in groups.items():
        mpi = _mpi(group, key in defaults or not _suffixed_sibling(key, groups), missing)
        if mpi:
            found.append(mpi)
    ordered = sorted(found, key=lambda x: (bool(x.module), not x.default))
    return (*cray_mpi(environment), *ordered)


def _key(record: Mapping[str, Any]) -> tuple[tuple[str, str, str], bool]:
    """((folder, suffix, modules), is it only a link to such a one)."""
    path = str(record.get("path"))
    modules = " ".join(as_texts(record.get("modules")))
    if not as_text(record.get("suffix")):
        for hop in as_texts(record.get("hops")):
            match = _WRAPPER.match(PurePosixPath(hop).name)
            folder = str(PurePosixPath(hop).parent)
            if match and match.group("suffix") and folder == str(PurePosixPath(path).parent):
                return (folder, match.group("suffix"), modules), True
    return (str(PurePosixPath(path).parent), as_text(record.get("suffix")), modules), False


def _suffixed_sibling(
    key: tuple[str, str, str], groups: Mapping[tuple[str, str, str], object]
) -> bool:
    """Is there an unsuffixed one beside it, or another that could be the default?"""
    return bool(key[1]) and any(x[0] == key[0] and x != key for x in groups)


def _mpi(
    group: Sequence[Mapping[str, Any]], default: bool, missing: dict[str, str]
) -> MpiFound | None:
    ordered = sorted(group, key=_rank)
    calls = [as_mapping(record.get("calls")) for record in ordered]
    beside = next((x for x in (as_mapping(y.get("beside")) for y in ordered) if x), {})
    names = ("showme_version", "version", "show")
    texts = [_text(x.get(name)) for name in names for x in calls]
    launchers = [_text(beside.get(name)) for name in ("mpirun", "mpiexec", "mpiname")]
    family, version = parse_family(*texts[: 2 * len(calls)], *launchers)
    if family == "unknown":
        family, version = parse_family(_text(beside.get("mpichversion")))
    shows: dict[str, str] = {}
    wrappers: dict[str, str] = {}
    for record in ordered:
        text = _stdout(as_mapping(record.get("calls")).get("show"))
        language = str(record.get("language"))
        if parse_show(text) and language not in wrappers:
            shows[language], wrappers[language] = text.strip(), str(record.get("path"))
    module = " ".join(as_texts(ordered[0].get("modules")))
    if not wrappers:
        path = str(ordered[0].get("path"))
        why = " ".join(_text(calls[0].get("show")).split())[:160] or "says nothing"
        missing[f"mpi {path}"] = f"-show: {why}"
        return None
    paths = [as_text(as_mapping(beside.get(x)).get("path")) for x in ("mpirun", "mpiexec")]
    return MpiFound(
        family=family,
        version=version,
        abi=abi_of(family, version),
        wrappers=wrappers,
        compiles_with={language: parse_show(text) for language, text in shows.items()},
        launcher=next((x for x in paths if x), ""),
        module=module,
        shows=shows,
        default=default,
    )


def _rank(record: Mapping[str, Any]) -> tuple[bool, int, str]:
    base = str(record.get("command")).partition(".")[0]
    place = _ORDER.index(base) if base in _ORDER else len(_ORDER)
    return base not in _ORDER, place, base


def cray_mpi(environment: Mapping[str, str], after: Sequence[str] = ()) -> tuple[MpiFound, ...]:
    """Cray's MPI has no wrappers of its own: cc, CC and ftn link it while its module is loaded."""
    version = environment.get("CRAY_MPICH_VERSION") or environment.get("CRAY_MPICH_VER", "")
    if not environment.get("CRAY_MPICH_DIR"):
        return ()
    wrappers = {"c": "cc", "c++": "CC", "fortran": "ftn"}
    abi, module = abi_of("cray", version), " ".join(after)
    return (MpiFound("cray", version, abi, wrappers, {}, "", module, default=True),)


def _text(call: object) -> str:
    found = as_mapping(call)
    return as_text(found.get("stdout")) + "\n" + as_text(found.get("stderr"))


def _stdout(call: object) -> str:
    return as_text(as_mapping(call).get("stdout"))
