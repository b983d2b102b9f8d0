"""Collect raw facts of the software of this node: modules, compilers, MPI, BLAS, OpenMP.

`collect(request, run)` is called by collect.py, beside which this file and those in BESIDE lie.
Nothing is interpreted that need not be: output, symbols and answers go to the facts as they are,
and what could not be had carries a "problem". request["look_s"] is the time for all of it;
request["software"] may hold modules_limit (how many to load), scan_s (for looking at files) and
folders (a list, looked at first). Standard library only, python3 >= 3.6.
"""

import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Tuple

BESIDE = ("collect_modules.py", "collect_libraries.py", "collect_tools.py", "modules.py", "elf.py")
LIMITS = {"modules_limit": 40, "scan_s": 30}
LOOK_S = 240
MAX_ASKED = 60
RELEVANT = re.compile(
    r"^(LMOD_(CMD|PKG|DIR|VERSION)|MODULES_CMD|MODULESHOME|MODULEPATH|LOADEDMODULES|CRAYPE_VERSION"
    r"|PE_ENV|CRAY_MPICH_(DIR|VERSION)|LD_LIBRARY_PATH|LIBRARY_PATH|MKLROOT|I_MPI_ROOT|PATH)$"
)
SYSTEM = ["/usr/lib64", "/usr/lib", "/lib64", "/usr/local/lib64", "/usr/local/lib"]
SUBFOLDERS = "openblas*", "blis*", "atlas*", "blas", "lapack", "mkl", "libblas", "llvm*/lib"
ROOT = re.compile(r"(_|^)(ROOT|DIR|HOME|BASE|PREFIX|LIB|LIBDIR|PATH)$|ROOT$|^EBROOT")
# Settings of the caller that would change what a library says of itself.
SETTING = re.compile(r"^(OPENBLAS_|GOTO_|BLIS_|OMP_|MKL_(NUM|THREADING|INTERFACE))|^LD_PRELOAD$")

Run = Callable[..., Dict[str, Any]]
# Modules, folders of commands to look at, environment.
Scene = Tuple[List[str], List[str], Dict[str, str]]


def sibling(name: str) -> Any:
    """A module that lies beside this file, wherever that is and whatever sys.path holds."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("hpcagent_job_" + name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collect(request: Dict[str, Any], run: Run) -> Dict[str, Any]:
    wishes = dict(LIMITS, **(request.get("software") or {}))
    timeout_s = float(request.get("timeout_s", 20))
    look_s = float(request.get("look_s") or LOOK_S)
    end = time.monotonic() + look_s
    system, loads, unseen = module_facts(run, timeout_s, wishes, end - look_s / 2)
    tools = sibling("collect_tools")
    facts = {
        "schema": 1,
        "environment": {k: v for k, v in sorted(os.environ.items()) if RELEVANT.match(k)},
        "modules": dict(system, loads=loads, not_looked_at=unseen),
        "compilers": [],
        "mpi": [],
        "not_asked": [],
    }  # type: Dict[str, Any]
    for names, added, environment in scenes(loads):
        if time.monotonic() > end:
            facts["not_asked"].append("commands of " + (" ".join(names) or "the system"))
            continue
        found = tools.find(added, names, run, timeout_s, environment)
        facts["compilers"] += found["compilers"]
        facts["mpi"] += found["mpi"]
    facts["libraries"] = library_facts(facts, loads, wishes, run, timeout_s, end)
    return facts


def module_facts(
    run: Run, timeout_s: float, wishes: Dict[str, Any], end: float
) -> Tuple[Dict[str, Any], List[Dict[str, Any]], List[str]]:
    """(the module system with what it printed, loads, candidates that nobody looked at)."""
    calls, parsers = sibling("collect_modules"), sibling("modules")
    system = calls.find_system(dict(os.environ))
    if system["kind"] == "none":
        return system, [], []
    calls.ask(system, run, timeout_s, dict(os.environ))
    printed = {name: x["stdout"] + "\n" + x["stderr"] for name, x in system["calls"].items()}
    names = parsers.parse_terse(printed.get("avail", "")).names
    names += parsers.parse_avail_json(printed.get("avail_json", "")).names
    spidered = parsers.parse_spider(system["calls"].get("spider", {}).get("stdout", ""))
    hidden = parsers.hidden_modules(names, spidered)
    chosen, unseen = parsers.candidates(names, hidden, int(wishes["modules_limit"]))
    loads, late = calls.load_all(system, chosen, run, timeout_s, end, parsers)
    return system, loads, late + unseen


def scenes(loads: List[Dict[str, Any]]) -> "List[Scene]":
    """What to look for commands with: the environment as it is, then with each module."""
    plain = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    plain_folders = [x for x in plain.split(":") if x.startswith("/")]
    found = [([], plain_folders, dict(os.environ))]  # type: List[Scene]
    for load in loads:
        if not load["problem"]:
            added = load["change"]["added"].get("PATH", [])
            found.append((load["modules"], added, applied(load["change"])))
    return found


def applied(change: Dict[str, Any]) -> Dict[str, str]:
    """This process's environment with what a module changed."""
    environment = dict(os.environ)
    for name in change["unset"]:
        environment.pop(name, None)
    environment.update(change["set"])
    for name in set(change["added"]) | set(change["removed"]):
        gone = change["removed"].get(name, [])
        kept = [x for x in environment.get(name, "").split(":") if x and x not in gone]
        environment[name] = ":".join(change["added"].get(name, []) + kept)
    return environment


def library_facts(
    facts: Dict[str, Any],
    loads: List[Dict[str, Any]],
    wishes: Dict[str, Any],
    run: Run,
    timeout_s: float,
    end: float,
) -> Dict[str, Any]:
    """What the scan of all folders found, with the answers of each BLAS."""
    libraries = sibling("collect_libraries")
    folders = folder_origins(run, timeout_s, loads, wishes.get("folders") or [], libraries)
    found = scanned(list(folders), float(wishes["scan_s"]), run)
    found["folders"] = [{"folder": x, "modules": y} for x, y in folders.items()]
    environments = {" ".join(x["modules"]): x["change"] for x in loads if not x["problem"]}
    for number, record in enumerate(found.get("libraries", [])):
        homes = [os.path.dirname(x) for x in record["aliases"]]
        record["modules"] = next((folders[x] for x in homes if folders.get(x)), [])
        record["headers"] = libraries.headers_for(record["path"])
        if record["kind"] != "shared":
            continue
        if number >= MAX_ASKED or time.monotonic() > end:
            record["answers"] = {"problem": "not asked: out of time"}
            continue
        change = environments.get(" ".join(record["modules"]))
        environment = applied(change) if change else dict(os.environ)
        record["answers"] = answered(record, environment, run, timeout_s)
    return found


def scanned(folders: List[str], budget_s: float, run: Run) -> Dict[str, Any]:
    descriptor, path = tempfile.mkstemp(prefix="hpcagent-scan-", suffix=".json")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"folders": folders, "budget_s": budget_s}, stream)
        return child(["--scan", path], run, budget_s + 30, dict(os.environ))
    finally:
        os.unlink(path)


def answered(
    record: Dict[str, Any], environment: Dict[str, str], run: Run, timeout_s: float
) -> Dict[str, Any]:
    environment = {k: v for k, v in environment.items() if not SETTING.match(k)}
    path = record["aliases"][0] if record["aliases"] else record["path"]
    argv = ["--ask", path, json.dumps(record["spellings"])]
    return child(argv, run, timeout_s, environment)


def child(
    argv: List[str], run: Run, timeout_s: float, environment: Dict[str, str]
) -> Dict[str, Any]:
    """The last line that collect_libraries.py printed, else a problem."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collect_libraries.py")
    ran = run([sys.executable, "-I", script, *argv], timeout_s, environment)
    lines = [line for line in ran["stdout"].splitlines() if line.startswith('{"')]
    try:
        if ran["exit"] == 0 and lines:
            return dict(json.loads(lines[-1]))
    except ValueError:
        return {"problem": "more answers than a record holds"}
    return {"problem": ran["problem"] or ran["stderr"].strip()[-300:] or "gave no answer"}


def folder_origins(
    run: Run, timeout_s: float, loads: List[Dict[str, Any]], wanted: List[str], libraries: Any
) -> Dict[str, List[str]]:
    """folder -> the modules that have to be loaded for it; none for the system's own."""
    cache = run(["ldconfig", "-p"], timeout_s)["stdout"]
    folders = list(wanted)
    searched = [os.environ.get(x, "") for x in ("LD_LIBRARY_PATH", "LIBRARY_PATH")]
    folders += [x for text in searched for x in text.split(":")]
    folders += [os.path.dirname(x) for x in re.findall(r"=> (/\S+)$", cache, re.MULTILINE)]
    folders += SYSTEM
    roots = list(libraries.library_folders(["/usr", "/usr/local"]))
    origins = {os.path.abspath(x): [] for x in folders + roots if x}  # type: Dict[str, List[str]]
    for base in list(origins):
        for folder in libraries.subfolders(base, SUBFOLDERS):
            origins.setdefault(folder, [])
    for load in loads:
        for folder in module_folders(load, libraries):
            origins.setdefault(folder, load["modules"])
    return {x: y for x, y in origins.items() if os.path.isdir(x)}


def module_folders(load: Dict[str, Any], libraries: Any) -> List[str]:
    """Folders of libraries that a module names: search paths, and below what looks like a root."""
    change = load["change"]
    if load["problem"] or not change:
        return []
    named = [x for k, v in change["added"].items() if k.endswith("LIBRARY_PATH") for x in v]
    roots = [v for k, v in change["set"].items() if ROOT.search(k) and v.startswith("/")]
    roots += [os.path.dirname(x) for x in change["added"].get("PATH", []) if x.startswith("/")]
    roots = [x for x in roots if os.path.realpath(x) not in ("/", "/usr", "/usr/local")]
    return [os.path.abspath(x) for x in [*named, *libraries.library_folders(roots)] if x]
