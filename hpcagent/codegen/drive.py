#!/usr/bin/env python3
"""The driver in a unit of a code generation: one stage of an attempt, or one measured process.

    drive.py screen|compile|checked|symbols|link|check   a stage of the attempt in attempt.json
    drive.py measure CONFIG.json                         one process of a measurement

Runs inside jobs: standard library only, python3 >= 3.6; what it uses lies beside it. A stage prints
a line of JSON at its end: {"stage", "ok", "kind", "evidence", ...}. Exit codes: 0 it is good, 1 it
is not (kind and evidence say why), 2 wrong usage.
"""

import json
import os
import re
import sys
from typing import Any, Dict, List, Mapping, Sequence

if __package__:
    from hpcagent.codegen import counters, forge, programs, screen, trial
    from hpcagent.codegen.session import Problem
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import counters  # type: ignore[import-not-found,no-redef]
    import forge  # type: ignore[import-not-found,no-redef]
    import programs  # type: ignore[import-not-found,no-redef]
    import screen  # type: ignore[import-not-found,no-redef]
    import trial  # type: ignore[import-not-found,no-redef]
    from session import Problem  # type: ignore[import-not-found,no-redef]

ATTEMPT = "attempt.json"
_NAMED = re.compile(r"[A-Za-z_]\w*: ")  # a finding that is a name, and what it means
_SAID_BYTES = 12000  # of the compiler; a line of steps.py holds twice that


def _screen(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """A look at the sources as they are written, then as a preprocessor makes them."""
    findings = _looked_at(spec)
    _reject(findings)
    if spec["language"] != "fortran":
        more = forge.preprocessed(spec)
        rows = screen.screen_preprocessed(
            more, spec["kernel_files"], spec["language"], spec["screen"]
        )
        _reject([dict(row, file=spec["kernel_files"][0]) for row in rows])
    return {"findings": findings[:20]}


def _looked_at(spec: Mapping[str, Any]) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = []
    for name in spec["kernel_files"]:
        with open(os.path.join(forge.KERNEL, name), encoding="utf-8") as stream:
            text = stream.read()
        found += [dict(r, file=name) for r in screen.screen(text, spec["language"], spec["screen"])]
    return found


def _reject(findings: Sequence[Mapping[str, Any]]) -> None:
    bad = [finding for finding in findings if finding["rejected"]]
    if not bad:
        return
    lines = {}  # type: Dict[str, List[str]]
    for finding in bad:
        lines.setdefault(str(finding["what"]), []).append("%(file)s:%(line)d" % finding)
    words = ["%s: %s" % (", ".join(at[:3]), what) for what, at in list(lines.items())[:5]]
    if any(_NAMED.match(what) for what in lines):
        words.append("A name of your own that is taken for another's needs to be changed")
    raise Problem("gate.%s" % bad[0]["kind"], "; ".join(words))


def _compile(spec: Mapping[str, Any]) -> Dict[str, Any]:
    said = forge.compile_kernel(spec, "plain")
    forge.refuse_unseen(spec)
    return {"said": said[-_SAID_BYTES:]}


def _checked(spec: Mapping[str, Any]) -> Dict[str, Any]:
    said = forge.compile_kernel(spec, "checked")
    if spec["stirred_flags"]:
        forge.compile_kernel(spec, "stirred")
    return {"sanitizers": not said.startswith("no sanitizers")}


def _symbols(spec: Mapping[str, Any]) -> Dict[str, Any]:
    forge.judge_symbols(spec)
    return {}


def _link(spec: Mapping[str, Any]) -> Dict[str, Any]:
    told = {"sha256": forge.link(spec)}  # type: Dict[str, Any]
    return told if spec["reference"] else dict(told, counters=counters.why_not())


def _check(spec: Mapping[str, Any]) -> Dict[str, Any]:
    return programs.check(spec) if spec["program"] else trial.check(spec)


STAGES = {
    "screen": _screen,
    "compile": _compile,
    "checked": _checked,
    "symbols": _symbols,
    "link": _link,
    "check": _check,
}


def stage(name: str) -> int:
    """Do one stage; its line of JSON goes to standard output."""
    with open(ATTEMPT, encoding="utf-8") as stream:
        spec = json.load(stream)
    try:
        line = dict(STAGES[name](spec), stage=name, ok=True)
    except Problem as problem:
        evidence = problem.evidence.replace(os.getcwd() + "/", "")
        line = {"stage": name, "ok": False, "kind": problem.kind, "evidence": evidence}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if line["ok"] else 1


def measure(path: str) -> int:
    """One process of a measurement: figures on standard output, else the problem on the other."""
    with open(path, encoding="utf-8") as stream:
        config = json.load(stream)
    try:
        way = programs if config["spec"]["program"] else trial
        for key, seconds in way.measure(config):
            sys.stdout.write("figure %s %.9e\n" % (key, seconds))
        sys.stdout.write("checked outputs equal\n")
    except Problem as problem:
        words = json.dumps({"kind": problem.kind, "evidence": problem.evidence[:800]})
        sys.stderr.write("drive: %s\n" % words)
        return 1
    return 0


def main(argv: Sequence[str]) -> int:
    if len(argv) == 2 and argv[1] in STAGES:
        return stage(argv[1])
    if len(argv) == 3 and argv[1] == "measure":
        return measure(argv[2])
    sys.stderr.write("usage: drive.py %s | measure CONFIG.json\n" % "|".join(STAGES))
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
