"""What the shared libraries in a wheel need of the machine they are loaded on.

Layout and constants: the ELF-64 object file format and the Linux Standard Base, "Symbol
Versioning" (the sections of verneed entries).
"""

import re
import struct
import zipfile
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_VERNEED, DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF
LIBRARY = re.compile(r"\.so(\.\d+)*$")
VERSION = re.compile(r"^([A-Z]+)_(\d+(?:\.\d+)+)$")


class Needs(NamedTuple):
    """The libraries that one library asks for, and the symbol versions of each."""

    libraries: Set[str]
    versions: Dict[str, Set[str]]


class _Image:
    """A little-endian ELF-64 shared library in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        offset, size, count = (
            struct.unpack_from("<Q", data, 32)[0],
            *struct.unpack_from("<HH", data, 54),
        )
        self.segments = [
            struct.unpack_from("<IIQQQQ", data, offset + number * size) for number in range(count)
        ]

    def place(self, address: int) -> int:
        """The offset in the file of what is loaded at an address."""
        for kind, _, offset, start, _, size in self.segments:
            if kind == PT_LOAD and start <= address < start + size:
                return int(offset + address - start)
        raise ValueError("no segment holds the address %#x" % address)

    def dynamic(self) -> "Iterator[Tuple[int, int]]":
        for kind, _, offset, _, _, size in self.segments:
            if kind == PT_DYNAMIC:
                for entry in range(offset, offset + size, 16):
                    tag, value = struct.unpack_from("<QQ", self.data, entry)
                    if tag == 0:
                        return
                    yield tag, value

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode("ascii", "replace")


def read_needs(data: bytes) -> Optional[Needs]:
    """None where it is no little-endian ELF-64 file; ValueError where it is a broken one."""
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    try:
        return _read(_Image(data))
    except (struct.error, IndexError, OverflowError) as error:  # offsets have 64 bits
        raise ValueError("a broken ELF file: %s" % error) from None


def _read(image: _Image) -> Needs:
    entries = list(image.dynamic())
    table = dict(entries)
    if DT_STRTAB not in table:
        return Needs(set(), {})
    strings = image.place(table[DT_STRTAB])
    libraries = {image.text(strings + value) for tag, value in entries if tag == DT_NEEDED}
    versions: Dict[str, Set[str]] = {}
    at = image.place(table[DT_VERNEED]) if DT_VERNEED in table else 0
    for _ in range(table.get(DT_VERNEEDNUM, 0) if at else 0):
        _, count, name, first, following = struct.unpack_from("<HHIII", image.data, at)
        wanted = versions.setdefault(image.text(strings + name), set())
        auxiliary = at + first
        for _ in range(count):
            word, step = struct.unpack_from("<II", image.data, auxiliary + 8)
            wanted.add(image.text(strings + word))
            auxiliary += step
        at += following
    return Needs(libraries, versions)


def wheel_needs(wheels: Iterable[str]) -> Dict[str, Set[str]]:
    """What all wheels together need from outside: symbol versions by library ("" for none)."""
    provided: Set[str] = set()
    wanted: Dict[str, Set[str]] = {}
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if not LIBRARY.search(name):
                    continue
                provided.add(name.rsplit("/", 1)[-1])
                needs = read_needs(wheel.read(name)) or Needs(set(), {})
                for library in needs.libraries:
                    wanted.setdefault(library, set()).update(needs.versions.get(library, ()))
    return {name: versions for name, versions in wanted.items() if name not in provided}


def number(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def newest(versions: Iterable[str], family: str) -> str:
    """The newest of the symbol versions of a family ("GLIBC": "2.34"), or an empty word."""
    found: List[str] = []
    for version in versions:
        match = VERSION.match(version)
        if match and match.group(1) == family:
            found.append(match.group(2))
    return max(found, key=number) if found else ""


def summary(needs: Dict[str, Set[str]]) -> Tuple[str, Dict[str, str]]:
    """The least glibc, and of every other library the newest symbol version ("" for any)."""
    everything = set().union(*needs.values()) if needs else set()
    glibc = newest(everything, "GLIBC")
    others = {}
    for name, versions in sorted(needs.items()):
        if newest(versions, "GLIBC") or name.startswith("ld-linux"):
            continue
        families = {match.group(1) for match in map(VERSION.match, versions) if match}
        best = [family + "_" + newest(versions, family) for family in sorted(families)]
        # libstdc++ has the families GLIBCXX and CXXABI; the first says which release it is.
        others[name] = next(
            (word for word in best if word.startswith("GLIBCXX")), "".join(best[:1])
        )
    return glibc, others
