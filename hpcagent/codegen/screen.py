"""A look at a source before it is compiled: what has no business in a kernel. Pure functions.

It is the first of several looks, not the one that decides: names can be hidden from any reader of
text. `own_part` gives what a preprocessor made of a source, for a second look that macros do not
fool; objects.py looks at what the compiler made. The rules are data (screen.yaml), which the
spec of a unit carries. Runs inside jobs: standard library only, python3 >= 3.6.
"""

import re
from typing import Any, Dict, Iterator, List, Mapping, Pattern, Sequence, Tuple

if __package__:
    from hpcagent.codegen.tokens import DIRECTIVE, HIDDEN, NAME, STRING, Token, tokens
else:
    from tokens import (  # type: ignore[import-not-found,no-redef]
        DIRECTIVE,
        HIDDEN,
        NAME,
        STRING,
        Token,
        tokens,
    )

QUOTE = 120
MOST_FINDINGS = 200
MOST_LINES = 1000000
MOST_JOINED = 64
MOST_SPECIFIERS = 30  # words in front of the name of a function that is defined
MOST_ARGUMENTS = 200  # words between the brackets of a function that is defined
MOST_IN_BRACKETS = 200000  # words of attributes that are looked at, together
# Of several kinds on one line the first of these gives an attempt its kind of failure.
_FIRST = ("hidden", "override", "startup", "instrumentation", "assembly", "include", "paths")
_LISTS = ("words", "calls", "heads", "strings", "directives")
# Functions of the C library, MPI and OpenMP that a harness or a runtime uses.
_OF_OTHERS = re.compile(
    r"""(?:main|_start|_init|_fini|(?:m|c|re|v|pv)alloc|free|cfree|aligned_alloc|posix_memalign
    |memalign|mem(?:cpy|move|set|cmp|chr)|st[pr]n?(?:cpy|cat|dup|n?len|cmp|casecmp)
    |str(?:r?chr|chrnul|c?spn|pbrk|str|casestr|tok|tok_r|sep|error|coll|xfrm|to(?:[dfl]|ld|u?ll?|[iu]max))
    |v?[fs]?n?printf|puts|f?write|f?read|f?open|f?close
    |mmap|munmap|mprotect|clock(?:_gettime|_getres)?|gettimeofday|time|getpid|exit|_exit|abort|fflush
    |raise|signal|sigaction|syscall|select|poll|P?MPI_\w+|GOMP_\w+|omp_\w+|__kmpc_\w+
    |__libc_\w+|__cxa_\w+|__stack_chk_fail|__asan_\w+|__ubsan_\w+|__tls_get_addr|pthread_\w+)\Z""",
    re.VERBOSE,
)
_BELONGS = "is a name of the C library or of the harness: make yours static, or call it otherwise"
_COMPILERS_OWN = ("_", "GOMP_", "mem", "MPI_", "PMPI_", "omp_")
# What the code itself could as well say in a line of its own.
_PLAIN_PRAGMA = re.compile(
    r"(?:omp\s(?!.*threadprivate)|simd$|ivdep$|GCC\s+(?:ivdep|unroll)\b|clang\s+loop\b)"
)
_OF_PROGRAMS = ("main",)  # what a whole program defines
_INCLUDED = re.compile(r"""\s*include\b\s*(?:"(?P<own>[^"]*)"|<(?P<system>[^>]*)>)?""")
_SYSTEM_HEADERS = (
    "sys/", "unistd.h", "dlfcn.h", "pthread.h", "fcntl.h", "signal.h", "spawn.h", "threads.h",
    "setjmp.h", "link", "linux/", "arpa/", "net", "execinfo.h", "thread", "fstream", "filesystem",
    "future", "csignal", "csetjmp", "cpuid.h",
)  # fmt: skip
_HAS_INCLUDE = re.compile(r"__has_(?:include|embed)")
_LINEMARKER = re.compile(r'#\s+(\d+)\s+"((?:[^"\\]|\\.)*)"')


def of_others(name: str) -> bool:
    """Whether the C library, MPI, OpenMP or a harness has a function of this name."""
    return bool(_OF_OTHERS.match(name))


def screen(text: str, language: str, rules: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """All findings, by line. `rules`: kind -> its entry in screen.yaml."""
    found = tokens(text, language)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    seen, kept = set(), []  # type: ignore[var-annotated]
    rows = [row for row in _findings(found, language, rules) if row[0] in rules]
    for kind, line, what in sorted(rows, key=_by_line):
        if (kind, line, what) in seen or len(kept) >= MOST_FINDINGS:
            continue
        seen.add((kind, line, what))
        quote = lines[line - 1].strip()[:QUOTE] if 0 < line <= len(lines) else ""
        rejected = rules[kind].get("policy") != "report"
        words = "%s: %s" % (what, rules[kind].get("meaning") or kind)
        row = {"kind": kind, "line": line, "quote": quote, "what": words, "rejected": rejected}
        kept.append(row)
    return kept


def _by_line(row: Tuple[str, int, str]) -> Tuple[int, int]:
    return row[1], _FIRST.index(row[0]) if row[0] in _FIRST else len(_FIRST)


def _findings(
    found: Sequence[Token], language: str, rules: Mapping[str, Any]
) -> Iterator[Tuple[str, int, str]]:
    attributes = list(attribute_words(found))
    for kind, rule in rules.items():
        pattern = _any_of(rule.get("attributes") or ())
        yield from ((kind, line, text[:60]) for line, text in attributes if pattern.search(text))
        own = dict(rule)
        if language == "fortran":
            own.update({name: [] for name in ("words", "calls", "heads")})
            own.update(rule.get("fortran") or {})
        lists = {name: list(own.get(name) or []) for name in _LISTS}
        yield from ((kind, line, what) for line, what in _by_rule(found, lists))
    for token in found:
        if token.sort == HIDDEN:
            yield "hidden", token.line, token.text
        elif token.sort == DIRECTIVE:
            for kind, what in _of_directive(token.text):
                yield kind, token.line, what
    if language == "fortran":
        yield from _of_fortran(found, rules)
    else:
        yield from _of_c(found, bool(rules.get("override", {}).get("whole")))


def _by_rule(
    found: Sequence[Token], lists: Mapping[str, Sequence[str]]
) -> Iterator[Tuple[int, str]]:
    words, calls, heads = set(lists["words"]), set(lists["calls"]), tuple(lists["heads"])
    texts, directives = _any_of(lists["strings"]), _any_of(lists["directives"])
    joined = ""
    for number, token in enumerate(found):
        following = found[number + 1].text if number + 1 < len(found) else ""
        if token.sort == NAME:
            called = token.text in calls and (following == "(" or _is_meant(found, number))
            if token.text in words or called or (heads and token.text.startswith(heads)):
                yield token.line, token.text
        elif token.sort == STRING:
            joined = joined[-MOST_JOINED:] + token.text  # neighbours are one text
            if lists["strings"] and texts.search(joined):
                yield token.line, repr(joined[-60:])
        elif token.sort == DIRECTIVE and directives.search(token.text):
            yield token.line, "#" + token.text[:60]
        joined = joined if token.sort == STRING else ""


def _is_meant(found: Sequence[Token], number: int) -> bool:
    """Fortran's call of a subroutine without arguments, or a name of C++'s library."""
    before = [token.text for token in found[max(0, number - 2) : number]]
    return before[-1:] == ["call"] or before == ["std", "::"]


def _any_of(patterns: Sequence[str]) -> "Pattern[str]":
    return re.compile("|".join("(?:%s)" % pattern for pattern in patterns) if patterns else r"(?!)")


def attribute_words(found: Sequence[Token]) -> Iterator[Tuple[int, str]]:
    """(line, words) of each __attribute__((...)), [[...]] and __declspec(...).

    Attributes within attributes, over and over, are told as alias: nobody needs them.
    """
    left = MOST_IN_BRACKETS
    for number, token in enumerate(found):
        opened = (
            token.text == "[" and found[number + 1 : number + 2] and found[number + 1].text == "["
        )
        if token.text in ("__attribute__", "__attribute", "__declspec") or opened:
            words = _balanced(found, number if opened else number + 1, left)
            left -= len(words)
            yield token.line, " ".join(words) if left > 0 else "alias: too many attributes"
            if left <= 0:
                return


def _balanced(found: Sequence[Token], start: int, most: int) -> List[str]:
    """The words from an opening bracket to the one that closes it, at most so many."""
    depth, words = 0, []
    for number in range(start, min(len(found), start + most)):
        token = found[number]
        words.append(token.text)
        if token.sort not in (STRING, NAME):
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if depth <= 0:
            break
    return words


def _of_directive(text: str) -> Iterator[Tuple[str, str]]:
    match = _INCLUDED.match(text)
    if match:
        name = match.group("own") or match.group("system") or ""
        if not name or name.startswith("/") or ".." in name or "\\" in name:
            yield "include", "#%s" % text[:60]
        elif name.startswith(_SYSTEM_HEADERS):
            yield "system_header", "#%s" % text[:60]
    if _HAS_INCLUDE.search(text):
        yield "include", "#%s" % text[:60]
    if text.startswith("define") and "##" in text:
        yield "pasting", "#%s" % text[:60]


def _of_c(found: Sequence[Token], whole: bool) -> Iterator[Tuple[str, int, str]]:
    """Definitions of what belongs to others, and pragmas in disguise."""
    for number, token in enumerate(found):
        if token.sort != NAME:
            continue
        if token.text == "_Pragma":
            text = "".join(t.text for t in found[number + 1 : number + 6] if t.sort == STRING)
            if not _PLAIN_PRAGMA.match(text):
                yield "hidden", token.line, "_Pragma(%r)" % text[:40]
        elif _is_of_others(found, number) and not (whole and token.text in _OF_PROGRAMS):
            yield "override", token.line, "%s %s" % (token.text, _BELONGS)


def _is_of_others(found: Sequence[Token], number: int) -> bool:
    called = of_others(found[number].text)
    return called and _has_body(found, number + 1) and not _is_local(found, number)


def _is_local(found: Sequence[Token], number: int) -> bool:
    """Whether a definition is static, so that no other object sees it.

    What compilers call by themselves is never: the object's own calls of sanitizers would go there.
    """
    if found[number].text.startswith(_COMPILERS_OWN):
        return False
    for token in reversed(found[max(0, number - MOST_SPECIFIERS) : number]):
        if token.sort == DIRECTIVE or token.text in (";", "{", "}"):
            return False
        if token.sort == NAME and token.text == "static":
            return True
    return False


def _has_body(found: Sequence[Token], start: int) -> bool:
    """Whether a name with brackets behind it is a definition: a body follows, not ; or the like."""
    if found[start : start + 1] and found[start].text == "(":
        end = start + len(_balanced(found, start, MOST_ARGUMENTS))
        for token in found[end : end + 60]:
            if token.text in ("{", ";", ",", "=", ")"):
                return token.text == "{"
    return False


def _of_fortran(found: Sequence[Token], rules: Mapping[str, Any]) -> Iterator[Tuple[str, int, str]]:
    """Names that bind(c) reaches are those of C; a pointer of Cray's; included files."""
    for number, token in enumerate(found):
        before = [t.text for t in found[max(0, number - 3) : number]]
        if token.sort == STRING and before[-2:] == ["name", "="]:
            name = token.text.strip()
            if _OF_OTHERS.match(name):
                yield "override", token.line, "bind(c) to %s" % name
            for kind, rule in rules.items():
                if name in (*(rule.get("words") or ()), *(rule.get("calls") or ())):
                    yield kind, token.line, "bind(c) to %s" % name
        if token.sort == STRING and before[-1:] == ["include"]:
            yield "include", token.line, "include %r" % token.text


# --- after a preprocessor ------------------------------------------------------------------------


def own_part(preprocessed: str, names: Sequence[str]) -> str:
    """The lines that come from these files, each at its own number (the last, where there are two).

    Of the output of `cc -E`: linemarkers say where what follows comes from (cpp(1)).
    """
    lines = {}  # type: Dict[int, str]
    wanted, number = False, 0
    for line in preprocessed.split("\n"):
        match = _LINEMARKER.match(line)
        if match:
            number, path = int(match.group(1)), match.group(2)
            wanted = path.replace("\\\\", "/").rpartition("/")[2] in names
            continue
        if wanted and line.strip() and number <= MOST_LINES:
            lines[number] = (lines.get(number, "") + " " + line).strip()
        number += 1
    return "\n".join(lines.get(number, "") for number in range(1, max(lines or [0]) + 1))


# A macro of a system's header may bring these to a line of a kernel: assert names the file.
_OF_SOURCES_ONLY = (
    "paths", "include", "system_header", "line_directive", "hidden", "optimise", "pasting",
    "output",
)  # fmt: skip


def screen_preprocessed(
    text: str, names: Sequence[str], language: str, rules: Mapping[str, Any]
) -> List[Dict[str, Any]]:
    """The findings in what a preprocessor made of these files, macros put in."""
    kept = {kind: rule for kind, rule in rules.items() if kind not in _OF_SOURCES_ONLY}
    return screen(own_part(text, names), language, kept)
