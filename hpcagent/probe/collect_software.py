"""Collect raw facts of the software of this node: modules, compilers, MPI, BLAS, OpenMP.

`collect(request, run)` is called by collect.py, beside which this file and those in BESIDE lie.
Nothing is interpreted that need not be: output, symbols and answers go to the facts as they are,
and what could not be had carries a "problem". request["look_s"] is the time for all of it;
request["software"] may hold modules_limit (how many to load), packages (names of further ones to
load), holds (true: list the files in what modules add), scan_s (for looking at files) and folders
(a list, looked at first). Standard library only, python3 >= 3.6.
"""

import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Tuple

BESIDE = (
    *("collect_modules.py", "collect_libraries.py", "collect_folders.py", "collect_tools.py"),
    *("modules.py", "elf.py"),
)
LIMITS = {"modules_limit": 40, "scan_s": 30, "packages": (), "holds": False, "libraries": True}
LOOK_S = 240
MAX_ASKED = 60
RELEVANT = re.compile(
    r"^(LMOD_(CMD|PKG|DIR|VERSION)|MODULES_CMD|MODULESHOME|MODULEPATH|LOADEDMODULES|CRAYPE_VERSION"
    r"|PE_ENV|CRAY_MPICH_(DIR|VERSION)|LD_LIBRARY_PATH|LIBRARY_PATH|MKLROOT|I_MPI_ROOT|PATH)$"
)
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
    run = limited(run, end)
    system, loads, unseen = module_facts(run, timeout_s, wishes, end - look_s / 2)
    tools = sibling("collect_tools")
    facts = {
        "schema": 1,
        "environment": {k: v for k, v in sorted(os.environ.items()) if RELEVANT.match(k)},
        "modules": dict(system, loads=loads, not_looked_at=unseen),
        "compilers": [],
        "mpi": [],
    }  # type: Dict[str, Any]
    for names, added, environment in scenes(sorted(loads, key=lambda x: len(x["modules"]))):
        found = tools.find(added, names, run, timeout_s, environment)
        facts["compilers"] += found["compilers"]
        facts["mpi"] += found["mpi"]
    if wishes["libraries"]:
        facts["libraries"] = library_facts(facts, loads, wishes, run, timeout_s)
    return facts


def limited(run: Run, end: float) -> Run:
    """`run` for as long as there is time: nothing that hangs makes all of it hang."""

    def within(argv: List[str], timeout_s: float, environment: Any = None) -> Dict[str, Any]:
        left = end - time.monotonic()
        if left <= 0:
            record = {"argv": argv, "exit": None, "stdout": "", "stderr": ""}  # type: Dict[str, Any]
            return dict(record, problem="not asked: out of time")
        return run(argv, min(timeout_s, left), environment)

    return within


def module_facts(
    run: Run, timeout_s: float, wishes: Dict[str, Any], end: float
) -> Tuple[Dict[str, Any], List[Dict[str, Any]], List[str]]:
    """(the module system with what it printed, loads, candidates that nobody looked at)."""
    calls, parsers = sibling("collect_modules"), sibling("modules")
    system = calls.find_system(dict(os.environ))
    if system["kind"] == "none":
        return system, [], []
    calls.ask(system, run, timeout_s, dict(os.environ), parsers)
    printed = {name: x["stdout"] + "\n" + x["stderr"] for name, x in system["calls"].items()}
    names = parsers.parse_terse(printed.get("avail", "")).names
    names += parsers.parse_avail_json(printed.get("avail_json", "")).names
    spidered = parsers.parse_spider(system["calls"].get("spider", {}).get("stdout", ""))
    hidden = parsers.hidden_modules(names, spidered)
    limit = int(wishes["modules_limit"])
    packages = wishes.get("packages") or ()
    chosen, unseen = parsers.candidates(names, hidden, limit, packages)
    loads, late = calls.load_all(system, chosen, run, timeout_s, end, parsers)
    deeper = [] if spidered else calls.ask_deeper(system, loads, run, timeout_s)
    system["deeper"] = deeper
    behind = parsers.modules_behind(names, deeper)
    chosen, more = parsers.candidates((), behind, limit - len(loads), packages)
    others, later = calls.load_all(system, chosen, run, timeout_s, end, parsers)
    if wishes.get("holds"):
        for record in loads + others:
            record["holds"] = calls.holdings(record)
    return system, loads + others, late + unseen + later + more


def scenes(loads: List[Dict[str, Any]]) -> "List[Scene]":
    """What to look for commands with: the environment as it is, then with each module."""
    plain = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    plain_folders = [x for x in plain.split(":") if x.startswith("/")]
    found = [([], plain_folders, dict(os.environ))]  # type: List[Scene]
    for load in loads:
        if load["problem"]:
            continue
        names = load["modules"]
        before = [y for x, y, _ in found[1:] if x == names[: len(x)]]  # of what it is loaded after
        known = {folder for folders in before for folder in folders}
        added = [x for x in load["change"]["added"].get("PATH", []) if x not in known]
        found.append((names, added, applied(load["change"])))
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
) -> Dict[str, Any]:
    """What the scan of all folders found, with the answers of each BLAS."""
    libraries, places = sibling("collect_libraries"), sibling("collect_folders")
    wanted = [*(wishes.get("folders") or []), *places.runtime_folders(facts["compilers"])]
    folders = places.folder_origins(run, timeout_s, loads, wanted)
    found = scanned(list(folders), float(wishes["scan_s"]), run)
    found["folders"] = [{"folder": x, "modules": y} for x, y in folders.items()]
    environments = {" ".join(x["modules"]): x["change"] for x in loads if not x["problem"]}
    for number, record in enumerate(found.get("libraries", [])):
        homes = [os.path.dirname(x) for x in record["aliases"]]
        record["modules"] = next((folders[x] for x in homes if folders.get(x)), [])
        record["headers"] = libraries.headers_for(record["path"])
        if record["kind"] != "shared":
            continue
        if number >= MAX_ASKED:
            record["answers"] = {"problem": "not asked: too many"}
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
    ran = run([sys.executable, "-I", "-S", "-B", script, *argv], timeout_s, environment)
    lines = [line for line in ran["stdout"].splitlines() if line.startswith('{"')]
    try:
        if ran["exit"] == 0 and lines:
            return dict(json.loads(lines[-1]))
    except ValueError:
        return {"problem": "more answers than a record holds"}
    return {"problem": ran["problem"] or ran["stderr"].strip()[-300:] or "gave no answer"}
