"""Ask a module system what there is and what its modules change; part of collect_software.py.

Every call is a process with a time limit, a closed standard input and no pager. Names travel as
arguments of bash, never inside its text, and only after modules.is_name() has agreed. What comes
back is kept as data.
"""

import glob
import os
import re
import shutil
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

Run = Callable[..., Dict[str, Any]]

MAX_SPIDER = 256 << 20
MAX_FOLDERS = 12
MAX_HELD = 2000
# What is looked for in the folders of a variable: commands, libraries, headers (and their folders).
_LIBRARY = re.compile(r"^lib.*\.(so(\.[0-9.]+)?|a)$")
_HEADER = re.compile(r"\.(h|hh|hpp|hxx|inc|mod|fh|f03|h90)$|^[^.]+$")
HELD = (
    ("PATH", re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")),
    ("LIBRARY_PATH", _LIBRARY),
    ("LD_LIBRARY_PATH", _LIBRARY),
    ("CPATH", _HEADER),
    ("C_INCLUDE_PATH", _HEADER),
    ("CPLUS_INCLUDE_PATH", _HEADER),
)

# Where a job does not inherit MODULEPATH: these set it, as they do for a login.
PROFILES = ["/etc/profile.d/lmod.sh", "/etc/profile.d/z00_lmod.sh"]
LMOD_INITS = ["/usr/share/lmod/lmod/init/bash", "/usr/share/lmod/*/init/bash"]
LMOD_INITS += ["/opt/lmod/lmod/init/bash", "/opt/apps/lmod/lmod/init/bash"]
LMOD_INITS += ["/apps/lmod/lmod/init/bash", "/usr/local/lmod/lmod/init/bash"]
TCL_INITS = ["/usr/share/modules/init/bash", "/usr/share/Modules/init/bash"]
TCL_INITS += ["/etc/modules/init/bash", "/opt/modules/init/bash", "/opt/modules/default/init/bash"]
TCL_INITS += ["/opt/cray/pe/modules/default/init/bash", "/usr/local/Modules/init/bash"]
ENV = "/usr/bin/env" if os.path.exists("/usr/bin/env") else "/bin/env"

# $1: the init file; the rest are words for `module`.
CALL = 'init=$1; shift; . "$init" || exit 91; module "$@"'
# Lmod's view of everything. To a file: a big site's does not fit into a record of `run`.
SPIDER = '. "$1" >&2 || exit 91; "$LMOD_DIR/spider" -o jsonSoftwarePage "$MODULEPATH" >"$2"'
# $1: a private folder, $2: env, $3: the init file, $4: "purge" or "", then modules in order. The
# environment goes to files that only this script knows: nothing a module prints can be mistaken
# for it.
LOAD = """
folder=$1 tool=$2 init=$3 first=$4
shift 4
. "$init" || exit 91
command "$tool" -0 >"$folder/before"
if [ -n "$first" ]; then module purge; fi
for name in "$@"; do
    module load "$name" || printf '%s\\0' "$name" >>"$folder/failed"
done
command "$tool" -0 >"$folder/after"
"""


def find_system(environment: Dict[str, str]) -> Dict[str, Any]:
    """{kind, init, problem, tried}: from the environment, else from known places.

    What the environment names and is not there is a problem even if another one is found.
    """
    found = {"kind": "none", "init": "", "problem": "", "tried": []}  # type: Dict[str, Any]
    named = _named_inits(environment)
    profiles = [] if environment.get("MODULEPATH") else [("lmod", x) for x in PROFILES]
    for kind, path in [*named, *profiles, *_usual_inits()]:
        found["tried"].append(path)
        if os.path.isfile(path) and os.access(path, os.R_OK):
            found.update(kind=kind, init=path)
            break
    command = environment.get("LMOD_CMD") or environment.get("MODULES_CMD")
    if command and not os.path.exists(command):
        name = "LMOD_CMD" if environment.get("LMOD_CMD") else "MODULES_CMD"
        found["problem"] = "{} names {}, which is not there".format(name, command)
    elif named and found["init"] not in [path for _, path in named]:
        found["problem"] = "half installed: {} is not there".format(named[0][1])
    found["tried"] = found["tried"][:20]
    return found


def _named_inits(environment: Dict[str, str]) -> List[Tuple[str, str]]:
    inits = []
    if environment.get("LMOD_PKG"):
        inits.append(("lmod", os.path.join(environment["LMOD_PKG"], "init", "bash")))
    if environment.get("LMOD_CMD"):
        package = os.path.dirname(os.path.dirname(os.path.abspath(environment["LMOD_CMD"])))
        inits.append(("lmod", os.path.join(package, "init", "bash")))
    home = environment.get("MODULESHOME")
    if home:
        kind = "lmod" if environment.get("LMOD_CMD") else "environment-modules"
        inits.append((kind, os.path.join(home, "init", "bash")))
    return list(dict.fromkeys(inits))


def _usual_inits() -> List[Tuple[str, str]]:
    pairs = [("lmod", x) for x in LMOD_INITS] + [("environment-modules", x) for x in TCL_INITS]
    return [(kind, path) for kind, form in pairs for path in sorted(glob.glob(form)) or [form]]


def quiet(environment: Dict[str, str]) -> Dict[str, str]:
    """No pager, no colours, no questions."""
    changed = {"LMOD_PAGER": "none", "MODULES_PAGER": "", "PAGER": "cat", "LMOD_COLORIZE": "no"}
    changed.update(MODULES_COLOR="never", LMOD_REDIRECT="no", MODULES_REDIRECT_OUTPUT="0")
    # Lmod keeps a cache in the home folder when it took longer than this many seconds.
    changed["LMOD_SHORT_TIME"] = "86400"
    kept = {
        k: v for k, v in environment.items() if k not in ("BASH_ENV", "ENV", "MODULES_VERBOSITY")
    }
    kept.update(changed)
    return kept


def ask(
    system: Dict[str, Any], run: Run, timeout_s: float, environment: Dict[str, str], parsers: Any
) -> None:
    """Add `calls` (version, avail, avail_json, spider) to the system's record."""

    def call(script: str, *words: str, patience: int = 1) -> Dict[str, Any]:
        argv = ["bash", "--noprofile", "--norc", "-c", script, "probe", system["init"], *words]
        return run(argv, patience * timeout_s, quiet(environment))

    calls = {"version": call(CALL, "--version")}
    # A system that hangs once hangs again: nobody waits four times for it.
    if not calls["version"]["problem"].startswith("timed out"):
        calls["avail"] = call(CALL, "-t", "avail")
        if system["kind"] == "lmod":
            with tempfile.NamedTemporaryFile(prefix="hpcagent-spider-") as stream:
                # Three times as long: it may read every module there is.
                calls["spider"] = call(SPIDER, stream.name, patience=3)
                text = stream.read(MAX_SPIDER).decode("utf-8", "replace")
            calls["spider"]["stdout"] = parsers.brief_spider(text)
        else:
            calls["avail_json"] = call(CALL, "avail", "-j")
    system["calls"] = calls


def ask_deeper(
    system: Dict[str, Any], loads: List[Dict[str, Any]], run: Run, timeout_s: float
) -> List[Dict[str, Any]]:
    """What is in the folders of modules that a module adds: {modules, listing}.

    Lmod's spider tells it all at once; this is for systems without one.
    """
    found = []
    for record in loads:
        added = [] if record["problem"] else record["change"]["added"].get("MODULEPATH", [])
        if added:
            environment = dict(quiet(dict(os.environ)), MODULEPATH=":".join(added))
            argv = ["bash", "--noprofile", "--norc", "-c", CALL, "probe", system["init"]]
            ran = run([*argv, "-t", "avail"], timeout_s, environment)
            listing = (ran["stdout"] + "\n" + ran["stderr"])[:100000]
            found.append({"modules": record["modules"], "listing": listing})
    return found


def load(
    init: str,
    names: Tuple[str, ...],
    run: Run,
    timeout_s: float,
    environment: Dict[str, str],
    parsers: Any,
) -> Dict[str, Any]:
    """Load modules in a process of their own: {modules, change, problem, output}.

    With modules loaded already, a load that fails is tried again after a purge: a conflict with
    what the user happens to have loaded says nothing about the module.
    """
    record = _load(init, names, run, timeout_s, environment, parsers, "")
    if record["problem"] and environment.get("LOADEDMODULES"):
        again = _load(init, names, run, timeout_s, environment, parsers, "purge")
        again["purged"] = True
        return again if not again["problem"] else record
    return record


def _load(
    init: str,
    names: Tuple[str, ...],
    run: Run,
    timeout_s: float,
    environment: Dict[str, str],
    parsers: Any,
    first: str,
) -> Dict[str, Any]:
    record = {"modules": list(names), "problem": "", "output": ""}  # type: Dict[str, Any]
    record.update(change=None, purged=False)
    folder = tempfile.mkdtemp(prefix="hpcagent-modules-")
    try:
        argv = ["bash", "--noprofile", "--norc", "-c", LOAD, "probe", folder, ENV, init, first]
        ran = run([*argv, *names], timeout_s, quiet(environment))
        record["output"] = (ran["stdout"] + ran["stderr"])[-2000:]
        before, after, failed = (_read(folder, x) for x in ("before", "after", "failed"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if after is None or before is None:
        words = parsers.complaint(record["output"])
        ended = "loading it ended the shell with exit code {}".format(ran["exit"])
        reason = ran["problem"] or ended
        record["problem"] = reason + (": " + words if words else "")
        return record
    old, new = parsers.parse_environment(before), parsers.parse_environment(after)
    record["change"] = parsers.compare(old, new)._asdict()
    record["loaded"] = [x for x in new.get("LOADEDMODULES", "").split(":") if x]
    if failed or not _is_loaded(names[-1], record["loaded"]):
        words = parsers.complaint(record["output"]) or "it did not load, and said nothing"
        record["problem"] = words
    return record


def holdings(record: Dict[str, Any]) -> Dict[str, List[str]]:
    """The files in the folders that a load added: folder -> names, at most MAX_HELD of them.

    Commands in those of PATH, libraries and headers in those of compilers, linkers and loaders.
    """
    found = {}  # type: Dict[str, List[str]]
    room = MAX_HELD
    added = record["change"]["added"] if record["change"] else {}
    for variable, wanted in HELD:
        for folder in added.get(variable, [])[:MAX_FOLDERS]:
            names = found.setdefault(folder, [])
            more = [x for x in _names(folder) if wanted.search(x) and x not in names][:room]
            names += more
            room -= len(more)
    return {folder: names for folder, names in found.items() if names}


def _names(folder: str) -> List[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is_loaded(name: str, loaded: List[str]) -> bool:
    return any(x == name or x.startswith(name + "/") for x in loaded)


def _read(folder: str, name: str) -> Optional[bytes]:
    try:
        with open(os.path.join(folder, name), "rb") as stream:
            return stream.read(4 << 20)
    except OSError:
        return None


def load_all(
    system: Dict[str, Any],
    chosen: List[Tuple[str, ...]],
    run: Run,
    timeout_s: float,
    end: float,
    parsers: Any,
) -> Tuple[List[Dict[str, Any]], List[str]]:
    """(records, what was not reached before the `end` of the monotonic clock)."""
    records = []  # type: List[Dict[str, Any]]
    for place, names in enumerate(chosen):
        left = end - time.monotonic()
        if left <= 0.5:
            return records, [" ".join(x) for x in chosen[place:]]
        limit = min(timeout_s, left)
        records.append(load(system["init"], names, run, limit, dict(os.environ), parsers))
    return records, []
