"""Find compilers and MPI wrappers and keep what they say; part of collect_software.py."""

import os
import re
from typing import Any, Callable, Dict, List, Optional

Run = Callable[..., Dict[str, Any]]

LANGUAGES = {
    "c": "gcc clang icx icc nvc pgcc armclang amdclang craycc xlc fcc cc",
    "c++": "g++ clang++ icpx icpc nvc++ pgc++ armclang++ amdclang++ crayCC xlC FCC CC c++",
    "fortran": "gfortran flang flang-new ifx ifort nvfortran pgfortran armflang amdflang crayftn"
    " xlf frt ftn",
}
LANGUAGE_OF = {command: name for name, text in LANGUAGES.items() for command in text.split()}
VERSIONED = re.compile(r"^(?P<base>.+?)(-(?P<version>[0-9]+(\.[0-9]+)*))?$")
WRAPPERS = {
    "c": "mpicc mpiicc mpiicx mpigcc",
    "c++": "mpicxx mpic++ mpiicpc mpiicpx mpigxx",
    "fortran": "mpifort mpif90 mpiifort mpiifx",
}
WRAPPER_OF = {command: name for name, text in WRAPPERS.items() for command in text.split()}
WRAPPER = re.compile(r"^(?P<base>mpi[a-z0-9+]+)(?P<suffix>\.[a-z0-9]+)?$")
INFORMERS = (("mpichversion", ""), ("mpiname", "-a"))
RUNTIMES = ("libgomp.so", "libomp.so", "libiomp5.so")
MAX_ENTRIES = 20000
MAX_COMMANDS = 60


def find(
    folders: List[str], modules: List[str], run: Run, timeout_s: float, environment: Dict[str, str]
) -> Dict[str, List[Dict[str, Any]]]:
    """{compilers, mpi}: each command of these folders with what it said of itself."""
    compilers, wrappers = [], []  # type: List[Dict[str, Any]], List[Dict[str, Any]]
    for path in commands_in(folders):
        name = os.path.basename(path)
        language, wrapped = compiler_language(name), WRAPPER.match(name)
        record = {"command": name, "path": path, "modules": modules}  # type: Dict[str, Any]
        record["hops"] = hops(path)
        if language and len(compilers) < MAX_COMMANDS:
            record["language"] = language
            compilers.append(record)
        elif wrapped and wrapped.group("base") in WRAPPER_OF and len(wrappers) < MAX_COMMANDS:
            record.update(
                language=WRAPPER_OF[wrapped.group("base")], suffix=wrapped.group("suffix")
            )
            wrappers.append(record)
    asked = {}  # type: Dict[Any, str]
    for record in compilers:
        key = (file_of(record), record["language"])
        record["same_as"] = asked.setdefault(key, record["path"])
        if record["same_as"] == record["path"]:
            record["calls"] = compiler_calls(record, run, timeout_s, environment)
    paths = {record["path"] for record in wrappers}
    for record in wrappers:
        if paths & set(record["hops"][:-1]):  # a link to another wrapper, which is asked
            continue
        record["calls"] = wrapper_calls(record, run, timeout_s, environment)
        record["beside"] = beside(record, run, timeout_s, environment)
    return {"compilers": compilers, "mpi": wrappers}


def commands_in(folders: List[str]) -> List[str]:
    """Executable files of the folders in order; a folder that is another's link counts once."""
    found, seen = [], set()  # type: List[str], set[str]
    for folder in folders:
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.listdir(folder))[:MAX_ENTRIES]
        except OSError:
            continue
        for name in entries:
            if not (compiler_language(name) or WRAPPER.match(name)):
                continue
            if twin_of(name) in entries:
                continue
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                found.append(path)
    return found


def compiler_language(name: str) -> Optional[str]:
    match = VERSIONED.match(name)
    return LANGUAGE_OF.get(match.group("base")) if match else None


def twin_of(name: str) -> str:
    """mpic++ and mpif90 are other names of mpicxx and mpifort where those are as well."""
    base, dot, suffix = name.partition(".")
    return {"mpic++": "mpicxx", "mpif90": "mpifort"}.get(base, "") + dot + suffix


def file_of(record: Dict[str, Any]) -> str:
    """The file behind the links, unless that is a ccache, which asks what it was called by."""
    last = str(record["hops"][-1] if record["hops"] else record["path"])
    return str(record["path"]) if os.path.basename(last).startswith("ccache") else last


def hops(path: str) -> List[str]:
    """Every link on the way to the file, the file last: alternatives are told by these."""
    found = []  # type: List[str]
    while os.path.islink(path) and len(found) < 20:
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        found.append(path)
    return found


def compiler_calls(
    record: Dict[str, Any], run: Run, timeout_s: float, environment: Dict[str, str]
) -> Dict[str, Any]:
    path = record["path"]
    calls = {"version": brief(run([path, "--version"], timeout_s, environment))}
    if calls["version"]["exit"] != 0:
        return calls
    calls["target"] = brief(run([path, "-dumpmachine"], timeout_s, environment))
    text = calls["version"]["stdout"]
    wanted = record["language"] == "c"
    if wanted and re.search(r"clang|gcc|GNU|Free Software|oneAPI|AOCC|flang", text, re.IGNORECASE):
        for name in RUNTIMES:
            ran = run([path, "-print-file-name=" + name], timeout_s, environment)
            calls["file:" + name] = brief(ran)
    return calls


def wrapper_calls(
    record: Dict[str, Any], run: Run, timeout_s: float, environment: Dict[str, str]
) -> Dict[str, Any]:
    """Open MPI knows --showme, the family of MPICH -show; each refuses the other's."""
    path = record["path"]
    calls = {"showme_version": brief(run([path, "--showme:version"], timeout_s, environment))}
    if "Open MPI" in calls["showme_version"]["stdout"] + calls["showme_version"]["stderr"]:
        calls["show"] = brief(run([path, "--showme"], timeout_s, environment))
    else:
        calls["show"] = brief(run([path, "-show"], timeout_s, environment))
        calls["version"] = brief(run([path, "-v"], timeout_s, environment))
    return calls


def beside(
    record: Dict[str, Any], run: Run, timeout_s: float, environment: Dict[str, str]
) -> Dict[str, Any]:
    """Launchers and the like in the wrapper's folder, with the wrapper's suffix, by name."""
    found = {}
    folder, suffix = os.path.dirname(record["path"]), record["suffix"] or ""
    for name, words in (("mpirun", "--version"), ("mpiexec", "--version"), *INFORMERS):
        path = os.path.join(folder, name + suffix if name.startswith(("mpir", "mpie")) else name)
        if record["language"] == "c" and os.path.isfile(path) and os.access(path, os.X_OK):
            ran = run([path, words] if words else [path], timeout_s, environment)
            found[name] = dict(brief(ran), path=path, hops=hops(path))
    return found


def brief(ran: Dict[str, Any]) -> Dict[str, Any]:
    return dict(ran, stdout=ran["stdout"][:4000], stderr=ran["stderr"][:1000])
