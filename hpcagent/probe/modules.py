"""What module systems print and what a module changes: pure functions of text and environments.

Sources: the manuals of Lmod ("Lmod on the command line", spider and its JSON form), of Environment
Modules 4 and 5 (module(1), `avail`, `--json`, `--terse`) and of Tcl modules 3.2 (module(1)). Runs
inside jobs, too: standard library only, python3 >= 3.6.
"""

import json
import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

MAX_NAMES = 20000
MAX_LINES = 200000
MAX_VALUE = 4000
MAX_WAYS = 8

# Stricter than any module system: nothing that a shell, an option parser, or a variable such as
# LOADEDMODULES (whose separator is a colon) could read as something else.
_NAME = re.compile(r"[A-Za-z0-9_.+@-]+(/[A-Za-z0-9_.+@-]+)*")
_HEADER = re.compile(r"(/.*|\S+):|-{3,} .* -{3,}")
_MARKS = re.compile(r"\s*([(<].*)?$")
_DEFAULT = re.compile(r"[(<:,](default|D)\b")
# Packages whose modules are worth loading, by what their names begin with after a separator.
_KINDS = (
    (
        "compiler",
        r"gcc|gnu|llvm|clang|flang|intel|oneapi|icc|icx|ifort|ifx|compiler|nvhpc|pgi|aocc|cce|acfl"
        r"|arm|prgenv|fujitsu|foss|gompi|gompic|iimpi|iompi|goolf",
    ),
    ("mpi", r"openmpi|ompi|mpich|impi|intel-?mpi|mvapich2?|hpcx|mpt|cray-mpich|spectrum-mpi|mpi"),
    (
        "blas",
        r"openblas|blis|aocl|amdblis|mkl|imkl|onemkl|armpl|libsci|cray-libsci|netlib|lapack|blas"
        r"|atlas|essl|flexiblas|libflame",
    ),
)
_KIND = tuple(
    (kind, re.compile(r"(^|[^a-z0-9])(" + words + r")($|[^a-z])")) for kind, words in _KINDS
)
_LIST = re.compile(r"(PATH|_DIRS|FPATH|LICENSE_FILE)$")
# What the module systems and the shell keep for themselves.
_OWN = re.compile(
    r"^(_|PWD|OLDPWD|SHLVL|_LMFILES_.*|LOADEDMODULES.*|_ModuleTable.*|__LMOD_.*|_LMOD_.*"
    r"|__MODULES_.*|MODULES_(?!PATH$).*|LMOD_.*|\w+_modshare|\w+_modquar|BASH_FUNC_.*)$"
)


class Terse(NamedTuple):
    """`defaults` are those of `names` that are marked so; `refused` looked like names, but odd."""

    names: Tuple[str, ...]
    defaults: Tuple[str, ...]
    refused: Tuple[str, ...]
    noise: Tuple[str, ...]


class Spidered(NamedTuple):
    """A module of Lmod's spider; `ways`: the lists of modules that have to be loaded before it."""

    name: str
    ways: Tuple[Tuple[str, ...], ...]


class Change(NamedTuple):
    """Two environments compared; `added` and `removed` hold entries of variables like PATH."""

    added: Dict[str, List[str]]
    removed: Dict[str, List[str]]
    set: Dict[str, str]
    unset: List[str]


def is_name(text: str) -> bool:
    """Can this be handed to a module system as the name of a module, whatever it does with it?"""
    if not isinstance(text, str) or len(text) > 200 or text.startswith("-"):
        return False
    parts = text.split("/")
    return bool(_NAME.fullmatch(text)) and not any(x in (".", "..") for x in parts)


def parse_terse(text: str) -> Terse:
    """`module -t avail` of Lmod, Environment Modules 4 and 5, Tcl modules 3.2.

    Names count only below the header of a folder, so that what a site's hooks print in front is
    noise; an entry that ends with a slash stands for all versions below it and is dropped.
    """
    names, defaults, refused, noise = [], [], [], []  # type: List[str], List[str], List[str], List[str]
    below_header = False
    for raw in text.splitlines()[:MAX_LINES]:
        line = raw.strip()
        if _HEADER.fullmatch(line) and not line.startswith("Where:"):
            below_header = True
            continue
        name = _MARKS.sub("", line)
        if not name or name.endswith("/"):
            continue
        if not below_header or " " in name:
            noise.append(line[:200])
        elif not is_name(name):
            refused.append(line[:200])
        elif len(names) < MAX_NAMES:
            names.append(name)
            if _DEFAULT.search(line):
                defaults.append(name)
    return Terse(_once(names), _once(defaults), _once(refused), tuple(noise[:20]))


def parse_avail_json(text: str) -> Terse:
    """`module avail -j` of Environment Modules 4.3 and newer: folder -> name -> facts.

    What stands around the object is noise; without an object there are no names.
    """
    names, defaults, refused = [], [], []  # type: List[str], List[str], List[str]
    found, noise = _embedded(text, "{")
    for entries in found.values() if isinstance(found, dict) else []:
        for key, facts in entries.items() if isinstance(entries, dict) else []:
            kind = facts.get("type") if isinstance(facts, dict) else None
            if kind not in ("modulefile", "virtual", "symlink"):
                continue
            if not is_name(key):
                refused.append(str(key)[:200])
                continue
            names.append(key)
            if "default" in (facts.get("symbols") or []):
                defaults.append(key)
    return Terse(_once(names[:MAX_NAMES]), _once(defaults), _once(refused), noise)


def parse_spider(text: str) -> Tuple[Spidered, ...]:
    """`$LMOD_DIR/spider -o jsonSoftwarePage $MODULEPATH`: every module and the ways to it.

    A `parent` is a list of modules (Lmod 7.8 and newer) or, before, one word that joins them with
    colons behind "default". The form `-o spider-json` (package -> file -> facts, the ways as
    "parentAA") is read as well.
    """
    found, _ = _embedded(text, "[")
    found = _software_page(_embedded(text, "{")[0]) if found is None else found
    result = []  # type: List[Spidered]
    for package in found if isinstance(found, list) else []:
        versions = package.get("versions") if isinstance(package, dict) else None
        for version in versions if isinstance(versions, list) else []:
            name = version.get("full") if isinstance(version, dict) else None
            if not isinstance(name, str) or not is_name(name) or len(result) >= MAX_NAMES:
                continue
            parents = version.get("parent")
            ways = [_way(x) for x in parents] if isinstance(parents, list) else []
            result.append(Spidered(name, tuple(sorted({x for x in ways if x}, key=_by_length))))
    return tuple(result)


def _software_page(packages: Any) -> List[Any]:
    pages = []
    for files in packages.values() if isinstance(packages, dict) else []:
        facts = files.values() if isinstance(files, dict) else []
        known = [x for x in facts if isinstance(x, dict)]
        pages.append(
            {"versions": [{"full": x.get("fullName"), "parent": x.get("parentAA")} for x in known]}
        )
    return pages


def brief_spider(text: str) -> str:
    """The same in a form that parse_spider reads and that is small: a big site's is 10 MB and more.

    At most MAX_WAYS to each module are kept, the shortest; text without modules is kept in part.
    """
    found = parse_spider(text)
    if not found:
        return text[:4000]
    versions = [{"full": x.name, "parent": [list(way) for way in x.ways[:MAX_WAYS]]} for x in found]
    return json.dumps([{"versions": versions}])


def _way(parent: Any) -> Tuple[str, ...]:
    words = parent if isinstance(parent, list) else str(parent).split(":")
    chain = tuple(x for x in words if isinstance(x, str) and x != "default")
    return chain if all(is_name(x) for x in chain) else ()


def _by_length(way: Tuple[str, ...]) -> Tuple[int, Tuple[str, ...]]:
    return len(way), way


def _embedded(text: str, opening: str) -> Tuple[Any, Tuple[str, ...]]:
    """The first JSON value that begins a line with `opening`, and the lines in front of it."""
    at = 0
    for line in text.splitlines(True)[:MAX_LINES]:
        if line.startswith(opening):
            try:
                value, _ = json.JSONDecoder().raw_decode(text[at:])
            except (ValueError, RecursionError):
                value = None
            if value is not None:
                return value, tuple(x[:200] for x in text[:at].splitlines() if x.strip())[:20]
        at += len(line)
    return None, tuple(x[:200] for x in text.splitlines() if x.strip())[:20]


def hidden_modules(
    available: Iterable[str], spidered: Iterable[Spidered]
) -> Dict[str, Tuple[Tuple[str, ...], ...]]:
    """name -> ways, of the modules that a plain `avail` does not show."""
    shown = set(available)
    return {x.name: x.ways for x in spidered if x.ways and x.name not in shown}


def modules_behind(
    available: Iterable[str], asked: Iterable[Mapping[str, Any]]
) -> Dict[str, Tuple[Tuple[str, ...], ...]]:
    """As hidden_modules, of a system without a spider: by listings of folders that modules add.

    Each of `asked` is {modules: those loaded, listing: what `module -t avail` of the folders said}.
    """
    shown = set(available)
    found = {}  # type: Dict[str, List[Tuple[str, ...]]]
    for record in asked:
        way = tuple(x for x in record.get("modules") or () if isinstance(x, str))
        for name in parse_terse(str(record.get("listing") or "")).names:
            if name not in shown and way and way not in found.setdefault(name, []):
                found[name].append(way)
    return {name: tuple(sorted(ways, key=_by_length)) for name, ways in found.items()}


def kind_of(name: str) -> str:
    """What a module may provide by its name: compiler, mpi, blas, or "" for anything else.

    The last part is taken for a version ("cmake/3.25-gcc-12" is no compiler) unless it is all
    there is.
    """
    parts = name.lower().split("/")
    package = "/".join(parts[:-1]) if len(parts) > 1 else parts[0]
    found = [kind for kind, pattern in _KIND if pattern.search(package)]
    return found[-1] if found else ""


def package_of(name: str) -> str:
    """What a module is of, by its name: "fftw" of "fftw/3.3.10", "libs/FFTW3/3.3" and "fftw3"."""
    parts = name.lower().split("/")
    return (parts[-2] if len(parts) > 1 else parts[0]).rstrip("0123456789.-_") or parts[0]


def version_key(name: str) -> Tuple[Any, ...]:
    """Orders versions as people do: 12.10 is newer than 12.9."""
    last = name.rpartition("/")[2]
    return tuple(
        (1, int(x), "") if x.isdigit() else (0, 0, x)
        for x in re.findall(r"[0-9]{1,9}|[a-z]+", last)
    )


def candidates(
    available: Iterable[str],
    hidden: Dict[str, Tuple[Tuple[str, ...], ...]],
    limit: int,
    packages: Iterable[str] = (),
) -> Tuple[List[Tuple[str, ...]], List[str]]:
    """(lists of modules to load, in order; what else might provide something, as words).

    Newest versions first: the newest of every package, then the second newest, and so on.
    `packages` are looked at beside compilers, MPI and BLAS.
    """
    also = frozenset(packages)

    def matters(name: str) -> bool:
        return bool(kind_of(name)) or package_of(name) in also

    ways = [(name,) for name in available if matters(name)]  # type: List[Tuple[str, ...]]
    ways += [(*way, name) for name, found in hidden.items() if matters(name) for way in found]
    grouped = {}  # type: Dict[Tuple[str, ...], List[Tuple[str, ...]]]
    for way in sorted(set(ways)):
        package = way[-1].rpartition("/")[0] or way[-1]
        grouped.setdefault((*way[:-1], package), []).append(way)
    ranked = []  # type: List[Tuple[int, int, Tuple[str, ...]]]
    for found in grouped.values():
        found.sort(key=lambda way: version_key(way[-1]), reverse=True)
        ranked += [(place, len(way), way) for place, way in enumerate(found)]
    chosen = [way for _, _, way in sorted(ranked)]
    return chosen[:limit], [" ".join(way) for way in chosen[limit:]]


def parse_environment(data: bytes) -> Dict[str, str]:
    """The output of `env -0`; what has no name is dropped, bytes that are no text are replaced."""
    pairs = (x.decode("utf-8", "replace").partition("=") for x in data.split(b"\0"))
    return {name: value for name, separator, value in pairs if name and separator}


def compare(before: Dict[str, str], after: Dict[str, str]) -> Change:
    """What a module changed; what module systems keep for themselves is left out."""
    change = Change({}, {}, {}, [])
    for name in sorted(set(before) | set(after)):
        if _OWN.match(name) or before.get(name) == after.get(name):
            continue
        if _LIST.search(name):
            old, new = (before.get(name) or "").split(":"), (after.get(name) or "").split(":")
            added = [x[:MAX_VALUE] for x in new if x and x not in old]
            removed = [x[:MAX_VALUE] for x in old if x and x not in new]
            change.added.update({name: added} if added else {})
            change.removed.update({name: removed} if removed else {})
        elif name in after:
            change.set[name] = after[name][:MAX_VALUE]
        else:
            change.unset.append(name)
    return change


def parse_version(text: str) -> str:
    """From `module --version`: "Version 8.6.19", "Modules Release 5.2.0", "VERSION=3.2.10"."""
    found = re.search(r"\b(?:Version|Release(?: Tcl)?|VERSION)[ =]+([0-9]+(?:\.[0-9]+)+)", text)
    return found.group(1) if found else ""


def complaint(output: str) -> str:
    """The telling lines of what a module system printed, as one line of at most 300 characters."""
    lines = [" ".join(x.split()) for x in output.splitlines()]
    kept = [x for x in lines if x and not re.fullmatch(r"[-=]+[ -=]*", x)]
    start = next(
        (i for i, x in enumerate(kept) if re.search(r"error|unable|cannot|conflict", x, re.I)), 0
    )
    words = " ".join(kept[start : start + 4]).partition("While processing the following")[0]
    words = re.sub(r"^Lmod has detected the following error: *", "", words.strip())
    return "".join(x if x.isprintable() else "?" for x in words)[:300]


def _once(names: Iterable[str]) -> Tuple[str, ...]:
    return tuple(dict.fromkeys(names))
