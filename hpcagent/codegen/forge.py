#!/usr/bin/env python3
"""Compiles somebody else's source within the quarantine and links it with a harness of our own.

Runs inside jobs: standard library only, python3 >= 3.6. The harness is compiled after the source
and linked last, and the digest of what comes out is told before any of it has run.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Optional, Sequence

if __package__:
    from hpcagent.codegen import objects, quarantine
    from hpcagent.codegen.session import Problem
else:
    import objects  # type: ignore[import-not-found,no-redef]
    import quarantine  # type: ignore[import-not-found,no-redef]
    from session import Problem  # type: ignore[import-not-found,no-redef]

BUILD = "build"
KERNEL = "kernel"  # the folder of the source, and the name of its object
PLAIN, CHECKED, STIRRED = "program", "program-checked", "program-stirred"
COMPARE = "compare"
STARTUP = "startup"  # a program that does nothing, for what a start takes
CHECKER = "checker"
DIGESTS = "digests.json"
ENVIRONMENT = "environment.json"
# What modules set and programs need at their start: libraries, where an MPI finds its parts. Not
# what a step of the batch system is told of itself, which would be wrong for another.
_TO_START = re.compile(
    r"(?:PATH|LD_LIBRARY_PATH|OPAL_PREFIX|PMIX_INSTALL_PREFIX|I_MPI_ROOT|MPI_HOME|MKLROOT"
    r"|FI_PROVIDER(?:_PATH)?|OMPI_MCA_\w+|UCX_\w+)\Z"
)
TOOL_S = 120
_CODE = ("T", "D", "B", "R", "C", "V", "W", "i", "u", "S", "G")  # nm(1), what is defined
# Names that nobody else has: mangled ones of C++, of modules of Fortran. Of C++'s library an object
# may have what its templates became, as all may; its operators new and delete are not for others.
_OWN = re.compile(r"_Z(?!n[wa]|d[la]|GV)|__[A-Za-z0-9_]+_MOD_|DW\.ref\.")
_OF_LIBRARY = re.compile(r"_ZN?K?S|_ZN?K?9__gnu|_ZT[ISV]S")
_SHARED = ("W", "V", "u")
# All addresses of functions are looked up at the start, and cannot be written afterwards (ld(1)).
_BOUND = ("-Wl,-z,relro", "-Wl,-z,now")
# Code that runs before main, or after it.
_SECTIONS = re.compile(r"\.(?:pre)?init_array|\.fini_array|\.ctors|\.dtors|\.init\b|\.fini\b")


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def compile_kernel(spec: Mapping[str, Any], kind: str) -> str:
    """Compile the source "plain", "checked" (by sanitizers) or "stirred" (stir.c).

    Gives what the compiler said; raises Problem.
    """
    folder = os.path.abspath(os.path.join(BUILD, kind))
    os.makedirs(folder, exist_ok=True)
    if kind == "checked" and not _has_sanitizers(spec, folder):
        return "no sanitizers: this toolchain cannot link them"
    here = os.path.relpath(KERNEL, folder)  # the compiler's remarks are shorter so
    flags = spec["kernel_flags"] + spec.get(kind + "_flags", [])
    said = []
    for name in spec["kernel_files"]:
        target = os.path.splitext(name)[0] + ".o"
        words = [*spec["kernel"], *flags, "-I" + here, "-c", os.path.join(here, name), "-o", target]
        said.append(_compile(spec, words, folder))
    return "\n".join(text for text in said if text)


def preprocessed(spec: Mapping[str, Any]) -> str:
    """What the compiler's preprocessor makes of the sources; nothing where it makes nothing."""
    folder = os.path.abspath(os.path.join(BUILD, "plain"))
    os.makedirs(folder, exist_ok=True)
    here, texts = os.path.abspath(KERNEL), []
    for name in spec["kernel_files"]:
        target = os.path.join(folder, name + ".i")
        words = [*spec["kernel"], *spec["kernel_flags"], "-I" + here, "-E", "-o", target]
        try:
            _compile(spec, [*words, os.path.join(here, name)], folder)
        except Problem as problem:
            if problem.kind != "compile.failed":
                raise
            open(_unseen(name), "w").close()  # the next stage says it better
            continue
        with open(target, encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return "\n".join(texts)


def _unseen(name: str) -> str:
    return os.path.join(BUILD, "plain", name + ".unseen")


def refuse_unseen(spec: Mapping[str, Any]) -> None:
    """Raise Problem where a source was compiled whose preprocessed text could not be had.

    It may have been made too long for that, so that nobody looks at it.
    """
    for name in spec["kernel_files"]:
        if os.path.exists(_unseen(name)):
            words = "%s: its preprocessor fails, or writes too much, where its compiler does not"
            raise Problem("gate.hidden", words % name)


def _compile(spec: Mapping[str, Any], words: Sequence[str], folder: str) -> str:
    result = quarantine.run(
        {
            "argv": list(words),
            "cwd": folder,
            "env": dict(_environment(), **spec["compile_env"]),
            "writable": [folder],
            "visible": [os.path.abspath(KERNEL)],
            # Wrappers of compilers that belong to an MPI look for networks.
            "calls": "ranks" if spec["ranks"] else "tools",
            "limits": spec["compile_limits"],
        }
    )
    text = str(result.get("stderr_tail") or "") + str(result.get("stdout_tail") or "")
    if result.get("error"):
        raise Problem("environment.quarantine", str(result["error"]))
    if result.get("stopped_by"):
        words_ = "the compiler was stopped for its %s\n%s" % (result["stopped_by"], text)
        raise Problem("compile.limit", words_)
    if result.get("exit") != 0:
        raise Problem("compile.failed", text or "exit code %s" % result.get("exit"))
    return text


def _environment() -> Dict[str, str]:
    """What compilers need of the job's: the paths that modules set."""
    names = ("PATH", "LD_LIBRARY_PATH", "CPATH", "LIBRARY_PATH", "LM_LICENSE_FILE")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _has_sanitizers(spec: Mapping[str, Any], folder: str) -> bool:
    """Whether a program with these flags can be linked; the compiler takes them in any case."""
    if not spec["checked_flags"]:
        return False
    if spec["reference"] and CHECKED in spec["reference"]["sha256"]:
        return True  # it has been tried
    source, target = os.path.join(folder, "try.c"), os.path.join(folder, "try")
    with open(source, "w") as stream:
        stream.write("int main(void) { return 0; }\n")
    words = [*spec["harness"], *spec["checked_flags"], source, "-o", target]
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TOOL_S)
    return ended.returncode == 0


# --- what an object brings along -----------------------------------------------------------------


def judge_symbols(spec: Mapping[str, Any]) -> None:
    """Raise Problem where an object defines or calls what a kernel does not need."""
    for name in spec["kernel_files"]:
        target = os.path.join(BUILD, "plain", os.path.splitext(name)[0] + ".o")
        problem = symbol_problem(
            _tool(["nm", "-P", target]),
            _tool(["readelf", "-SW", target]),
            "main" if spec["program"] else spec["function"],
            spec["allowed"],
            bool(spec["program"]),
        )
        problem = problem or object_problem(target) or ()
        if problem:
            raise Problem(*problem)


def object_problem(target: str) -> Optional[Sequence[str]]:
    """What the source's text need not show: instructions, and where code and data lie."""
    found = objects.instruction_problem(_tool(["objdump", "-d", "--no-show-raw-insn", target]))
    if found is None:
        tables = [_tool(["readelf", option, target]) for option in ("-SW", "-sW")]
        found = objects.section_problem(*tables)
    return found


def symbol_problem(
    symbols: str, sections: str, function: str, allowed: Sequence[str], alone: bool = False
) -> Sequence[str]:
    """(kind, evidence) for what `nm -P` and `readelf -SW` tell of an object; empty if it is good.

    `allowed` are patterns of what may be called. A module of Fortran and C++'s mangled names may be
    defined besides the function: nothing of the C library or of the harness is called so. One that
    stands `alone`, a whole program, shares its process with nobody, and may define what it likes.
    """
    calls = re.compile("|".join("(?:%s)" % pattern for pattern in allowed) + r"\Z")
    defined = set()
    for line in symbols.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        name, sort = words[0], words[1]
        if sort in ("U", "w", "v") and not calls.match(name):
            return "gate.forbidden_call", "it calls %s, which a kernel does not need" % name
        if sort in _CODE:
            defined.add(name)
            own = name == function or _is_own(name, sort)
            if alone:
                continue
            if sort == "i":
                words_ = "code for %s is chosen before main (ifunc, target_clones)" % name
                return "gate.symbol", words_ + ": write one plain function"
            if not own or (_OF_LIBRARY.match(name) and sort not in _SHARED):
                words_ = "it defines %s: make it static; only %s is for others" % (name, function)
                return "gate.symbol", words_
    found = _SECTIONS.search(sections)
    if found and not alone:
        words_ = "it has code in %s, which runs outside of %s" % (found.group(), function)
        return "gate.constructor", words_
    if function not in defined:
        there = ", ".join(sorted(defined)[:5]) or "nothing"
        return "link.no_function", "it does not define %s (it defines %s)" % (function, there)
    return ()


def _is_own(name: str, sort: str) -> bool:
    """MPI's modules for Fortran put common blocks into every object that uses them."""
    return bool(_OWN.match(name) or (sort == "C" and re.match(r"mpi(?:_fortran_|priv|fcmb)", name)))


def _tool(words: Sequence[str]) -> str:
    try:
        ended = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TOOL_S
        )
    except OSError as error:
        raise Problem("environment.command_not_found", "%s: %s" % (words[0], error.strerror))
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace")
        raise Problem("environment.tool", "%s failed: %s" % (" ".join(words), said))
    return ended.stdout.decode("utf-8", "replace")


# --- the program ---------------------------------------------------------------------------------


def link(spec: Mapping[str, Any]) -> Dict[str, str]:
    """Compile the harness, link what there is; file -> digest. Raises Problem."""
    digests: Dict[str, str] = {}
    os.makedirs(BUILD, exist_ok=True)
    if not spec["reference"]:
        _link_judges(spec, digests)
    for kind, program in (("plain", PLAIN), ("checked", CHECKED), ("stirred", STIRRED)):
        names = [os.path.splitext(name)[0] + ".o" for name in spec["kernel_files"]]
        objects = [os.path.join(BUILD, kind, name) for name in names]
        if not objects or not all(os.path.exists(path) for path in objects):
            continue
        flags = spec["checked_flags"] if kind == "checked" else []
        if not spec["program"]:
            objects.append(_harness(spec, kind, flags, digests))
        if kind == "stirred":
            objects.append(os.path.join(BUILD, "stir.o"))
            _trusted([*spec["harness_c"], "-O2", "-c", "stir.c", "-o", objects[-1]])
        target = os.path.join(BUILD, program)
        words = [*spec["link"], *flags, *spec["link_flags"], *_BOUND, *objects, "-o", target]
        _trusted([*words, *spec["libraries"]])
        digests[program] = sha256(target)
    digests[ENVIRONMENT] = _keep_environment()
    with open(os.path.join(BUILD, DIGESTS), "w") as stream:
        json.dump(digests, stream)
    return digests


def _link_judges(spec: Mapping[str, Any], digests: Dict[str, str]) -> None:
    """What every attempt is compared and timed with, built once, with the reference or checker."""
    made = []
    if spec["tolerance"]:
        made.append((COMPARE, [*spec["harness_c"], "-O2", "compare.c", "-lm"]))
    if spec["program"]:
        made.append((STARTUP, [*spec["harness"], "-O2", "startup.c"]))
    checker = spec["checker"]
    if checker and checker["python"]:
        target = os.path.join(BUILD, checker["program"])
        shutil.copyfile(checker["file"], target)
        digests[checker["program"]] = sha256(target)
    elif checker:
        made.append((CHECKER, [*checker["build"], "-O2", checker["file"], "-lm"]))
    for name, words in made:
        target = os.path.join(BUILD, name)
        _trusted([*words, "-o", target])
        digests[name] = sha256(target)


def _keep_environment() -> str:
    """What the job has now, with the modules of the build, in a file; its digest."""
    path = os.path.join(BUILD, ENVIRONMENT)
    with open(path, "w") as stream:
        found = {name: value for name, value in os.environ.items() if _TO_START.match(name)}
        json.dump(found, stream, sort_keys=True)
    return sha256(path)


def kept_environment(folder: str, digests: Mapping[str, str]) -> Dict[str, str]:
    """What the programs in a folder are started with; of older ones nothing is known."""
    if ENVIRONMENT not in digests:
        return {}
    with open(verified(os.path.join(folder, ENVIRONMENT), digests[ENVIRONMENT])) as stream:
        return {str(name): str(value) for name, value in json.load(stream).items()}


def _harness(
    spec: Mapping[str, Any], kind: str, flags: Sequence[str], digests: Dict[str, str]
) -> str:
    """The harness's object: the reference's, where that is of the same language; else a new one."""
    name = "harness-%s.o" % ("checked" if kind == "checked" else "plain")
    flags = spec["harness_flags"] if flags else []
    built = spec["reference"]
    if built and built.get("harness") and name in built["sha256"]:
        return verified(os.path.join(built["folder"], name), str(built["sha256"][name]))
    harness = os.path.join(BUILD, name)
    if name in digests:
        return verified(harness, digests[name])
    _trusted([*spec["harness"], "-O2", *flags, "-c", "harness.c", "-o", harness])
    digests[name] = sha256(harness)
    return harness


def _trusted(words: Sequence[str]) -> None:
    try:
        ended = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TOOL_S
        )
    except OSError as error:
        raise Problem("environment.command_not_found", "%s: %s" % (words[0], error.strerror))
    except subprocess.TimeoutExpired:
        raise Problem("environment.tool", "%s took longer than %d s" % (words[0], TOOL_S))
    if ended.returncode:
        text = ended.stdout.decode("utf-8", "replace")
        raise Problem("link.failed", "%s\n%s" % (" ".join(words), text))


def verified(path: str, wanted: str) -> str:
    """The path of a file that has this digest; Problem where it was changed."""
    try:
        found = sha256(path)
    except OSError as error:
        raise Problem("environment.missing_program", "%s: %s" % (path, error.strerror))
    if found != wanted:
        raise Problem("gate.tampered", "%s is not the file that was built" % path)
    return path


def words_of(values: Sequence[Any]) -> List[str]:
    return [str(value) for value in values]


if __name__ == "__main__":
    sys.exit("forge.py is part of drive.py")
