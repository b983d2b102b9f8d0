"""What an ELF file or a static archive says of itself: needs, search paths, symbols with versions.

Pure functions of bytes (an mmap will do); nothing is run or loaded. Layout and constants: System V
Application Binary Interface, "Object Files" and "Program Loading and Dynamic Linking"; Linux
Standard Base Core, "Symbol Versioning"; ar(5) for archives. Runs inside jobs, too: standard
library only, python3 >= 3.6.
"""

import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

# More than any real library has; a broken file cannot make this module work for long.
MAX_SYMBOLS = 1000000
MAX_STRINGS = 64 << 20
MAX_ENTRIES = 4096
MAX_NAME = 16384
MAX_MEMBERS = 100000

MACHINES = {3: "i386", 21: "ppc64", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
KINDS = {1: "relocatable", 2: "executable", 3: "shared"}
PT_LOAD, PT_DYNAMIC = 1, 2
SHT_SYMTAB, SHT_DYNSYM = 2, 11
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 1, 4, 5, 6, 10
DT_SONAME, DT_RPATH, DT_RUNPATH, DT_GNU_HASH = 14, 15, 29, 0x6FFFFEF5
DT_VERSYM, DT_VERDEF, DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
STB_LOCAL = 0


class ElfError(ValueError):
    """Not an ELF file or archive, or a broken one; the text says what is wrong."""


class Elf(NamedTuple):
    """`kind` is shared, executable (also of a position-independent one: shared), relocatable.

    `defined` and `undefined` map a symbol to its version ("" where it has none); of a file that
    is linked they are the dynamic symbols, of an object file its global ones.
    """

    machine: str
    bits: int
    little_endian: bool
    kind: str
    needed: Tuple[str, ...]
    soname: str
    rpath: Tuple[str, ...]
    runpath: Tuple[str, ...]
    defined: Dict[str, str]
    undefined: Dict[str, str]


def is_elf(data: Any) -> bool:
    return bytes(data[:4]) == b"\x7fELF"


def is_archive(data: Any) -> bool:
    return bytes(data[:8]) in (b"!<arch>\n", b"!<thin>\n")


def read_elf(data: Any) -> Elf:
    """Everything of one file; ElfError where it is none or cannot be followed."""
    try:
        return _read(_File(data))
    except (struct.error, IndexError, OverflowError) as error:
        raise ElfError("a broken ELF file: {}".format(error)) from None


def read_machine(data: Any) -> Tuple[str, int]:
    """(machine, bits) by the first bytes of a file; ElfError as read_elf."""
    if not is_elf(data) or len(data) < 20:
        raise ElfError("not an ELF file")
    order = "<" if data[5] == 1 else ">"
    return _machine(struct.unpack_from(order + "H", data, 18)[0], order), 64 if data[4] == 2 else 32


def dynamic_strings(data: Any) -> bytes:
    """The string table of the dynamic symbols: a cheap look at what a file could define.

    Empty for a file that is not dynamically linked; ElfError as read_elf.
    """
    try:
        file = _File(data)
        table = dict(file.dynamic())
        return file.strings(table)
    except (struct.error, IndexError, OverflowError) as error:
        raise ElfError("a broken ELF file: {}".format(error)) from None


class _File:
    """Offsets and shapes of one ELF file; both widths and byte orders."""

    def __init__(self, data: Any) -> None:
        if not is_elf(data):
            raise ElfError("not an ELF file")
        width, order = data[4], data[5]
        if width not in (1, 2) or order not in (1, 2):
            raise ElfError("a broken ELF file: unknown class or byte order")
        self.data = data
        self.wide = width == 2
        self.order = "<" if order == 1 else ">"
        self.type, self.machine = self.get("HH", 16)
        words = self.get("QQ", 32) if self.wide else self.get("II", 28)
        self.segment_table, self.section_table = words
        shape = self.get("HHHH", 54) if self.wide else self.get("HHHH", 42)
        self.segment_size, self.segment_count, self.section_size, self.section_count = shape
        self.loads: List[Tuple[int, int, int]] = []
        self.dynamic_at: Optional[Tuple[int, int]] = None
        self._read_segments()

    def get(self, form: str, at: int) -> Tuple[Any, ...]:
        if at < 0:
            raise IndexError("an offset before the file")
        return struct.unpack_from(self.order + form, self.data, at)

    def piece(self, at: int, size: int) -> bytes:
        """Exactly so many bytes of the file."""
        data = bytes(self.data[at : at + size]) if at >= 0 else b""
        if len(data) != size:
            raise IndexError("a table that reaches beyond the file")
        return data

    def _read_segments(self) -> None:
        for number in range(self.segment_count if self.segment_table else 0):
            at = self.segment_table + number * self.segment_size
            if self.wide:
                kind, _, offset, start, _, size = self.get("IIQQQQ", at)
            else:
                kind, offset, start, _, size = self.get("IIIII", at)
            if kind == PT_LOAD:
                self.loads.append((start, size, offset))
            elif kind == PT_DYNAMIC:
                self.dynamic_at = (offset, size)

    def place(self, address: int) -> int:
        """The offset in the file of what is loaded at an address."""
        for start, size, offset in self.loads:
            if start <= address < start + size:
                return int(offset + address - start)
        raise ElfError("a broken ELF file: no segment holds the address {:#x}".format(address))

    def dynamic(self) -> Iterator[Tuple[int, int]]:
        if self.dynamic_at is None:
            return
        form, step = ("QQ", 16) if self.wide else ("II", 8)
        offset, size = self.dynamic_at
        for at in range(offset, offset + min(size, MAX_ENTRIES * step), step):
            tag, value = self.get(form, at)
            if tag == 0:
                return
            yield tag, value

    def strings(self, table: Dict[int, int]) -> bytes:
        if DT_STRTAB not in table:
            return b""
        start = self.place(table[DT_STRTAB])
        size = table.get(DT_STRSZ, 0)
        if size > MAX_STRINGS:
            raise ElfError("a broken ELF file: a string table of {} bytes".format(size))
        return bytes(self.data[start : start + size])

    def sections(self) -> Iterator[Tuple[int, int, int, int]]:
        """(type, offset, size, link) of each section."""
        for number in range(self.section_count if self.section_table else 0):
            at = self.section_table + number * self.section_size
            if self.wide:
                _, kind, _, _, offset, size, link = self.get("IIQQQQI", at)
            else:
                _, kind, _, _, offset, size, link = self.get("IIIIIII", at)
            yield kind, offset, size, link


def _read(file: _File) -> Elf:
    entries = list(file.dynamic())
    table = dict(entries)
    strings = file.strings(table)

    def texts(tag: int) -> Tuple[str, ...]:
        return tuple(_text(strings, value) for key, value in entries if key == tag)

    def paths(tag: int) -> Tuple[str, ...]:
        return tuple(x for text in texts(tag) for x in text.split(":") if x)

    defined, undefined = _symbols(file, table, strings)
    return Elf(
        machine=_machine(file.machine, file.order),
        bits=64 if file.wide else 32,
        little_endian=file.order == "<",
        kind=KINDS.get(file.type, "type {}".format(file.type)),
        needed=texts(DT_NEEDED),
        soname="".join(texts(DT_SONAME)[:1]),
        rpath=paths(DT_RPATH),
        runpath=paths(DT_RUNPATH),
        defined=defined,
        undefined=undefined,
    )


def _machine(number: int, order: str) -> str:
    if number == 21 and order == "<":
        return "ppc64le"
    return MACHINES.get(number, "machine {}".format(number))


def _text(strings: bytes, at: int) -> str:
    end = strings.find(b"\0", at, at + MAX_NAME)
    return strings[at : end if end >= 0 else at + MAX_NAME].decode("utf-8", "replace")


def _symbols(
    file: _File, table: Dict[int, int], strings: bytes
) -> Tuple[Dict[str, str], Dict[str, str]]:
    found = _symbol_table(file, table)
    if found is None:
        return {}, {}
    offset, count, own_strings = found
    strings = strings if own_strings is None else own_strings
    names = _version_names(file, table, strings)
    count = min(count, MAX_SYMBOLS)
    indices = _version_indices(file, table, count) if names else ()
    form, step = ("IBBHQQ", 24) if file.wide else ("IIIBBH", 16)
    entries = struct.iter_unpack(file.order + form, file.piece(offset, count * step))
    info_at, section_at = (1, 3) if file.wide else (3, 5)
    defined, undefined = {}, {}  # type: Dict[str, str], Dict[str, str]
    for number, entry in enumerate(entries):
        if entry[info_at] >> 4 == STB_LOCAL:
            continue
        text = _text(strings, entry[0])
        if text:
            index = indices[number] & 0x7FFF if indices else 0
            (defined if entry[section_at] else undefined).setdefault(text, names.get(index, ""))
    return defined, undefined


def _version_indices(file: _File, table: Dict[int, int], count: int) -> Tuple[int, ...]:
    if DT_VERSYM not in table:
        return ()
    data = file.piece(file.place(table[DT_VERSYM]), 2 * count)
    return struct.unpack("{}{}H".format(file.order, count), data)


def _symbol_table(file: _File, table: Dict[int, int]) -> Optional[Tuple[int, int, Optional[bytes]]]:
    """(offset, number of symbols, strings of their own or None for the dynamic ones)."""
    step = 24 if file.wide else 16
    if DT_SYMTAB in table:
        return file.place(table[DT_SYMTAB]), _dynamic_count(file, table, step), None
    if file.type != 1:
        return None
    sections = list(file.sections())
    for kind, offset, size, link in sections:
        if kind == SHT_SYMTAB and link < len(sections):
            _, start, length, _ = sections[link]
            return offset, size // step, bytes(file.data[start : start + min(length, MAX_STRINGS)])
    return None


def _dynamic_count(file: _File, table: Dict[int, int], step: int) -> int:
    """From the section headers, else (they may be stripped) from a hash table."""
    at = file.place(table[DT_SYMTAB])
    for kind, offset, size, _ in file.sections():
        if kind == SHT_DYNSYM and offset == at:
            return size // step
    if DT_HASH in table:
        return int(file.get("II", file.place(table[DT_HASH]))[1])
    return _gnu_hash_count(file, table) if DT_GNU_HASH in table else 0


def _gnu_hash_count(file: _File, table: Dict[int, int]) -> int:
    """The last symbol that a chain of DT_GNU_HASH reaches, plus one."""
    at = file.place(table[DT_GNU_HASH])
    buckets, first, bloom, _ = file.get("IIII", at)
    heads = at + 16 + bloom * (8 if file.wide else 4)
    last = max(
        (file.get("I", heads + 4 * number)[0] for number in range(min(buckets, MAX_SYMBOLS))),
        default=0,
    )
    if last < first:
        return int(first)
    chains = heads + 4 * buckets
    for number in range(last, last + MAX_SYMBOLS):
        if file.get("I", chains + 4 * (number - first))[0] & 1:
            return int(number) + 1
    return int(last)


def _version_names(file: _File, table: Dict[int, int], strings: bytes) -> Dict[int, str]:
    """Version index -> name, of versions defined here and needed from others."""
    names = {}  # type: Dict[int, str]
    if DT_VERDEF in table:
        at = file.place(table[DT_VERDEF])
        for _ in range(min(table.get(DT_VERDEFNUM, 0), MAX_ENTRIES)):
            _, _, index, _, _, first, following = file.get("HHHHIII", at)
            names[index & 0x7FFF] = _text(strings, file.get("I", at + first)[0])
            at += following
            if not following:
                break
    if DT_VERNEED in table:
        at = file.place(table[DT_VERNEED])
        for _ in range(min(table.get(DT_VERNEEDNUM, 0), MAX_ENTRIES)):
            _, count, _, first, following = file.get("HHIII", at)
            entry = at + first
            for _ in range(min(count, MAX_ENTRIES)):
                _, _, index, name, step = file.get("IHHII", entry)
                names[index & 0x7FFF] = _text(strings, name)
                entry += step
            at += following
            if not following:
                break
    return names


def archive_symbols(data: Any) -> Dict[str, int]:
    """symbol -> offset of the member that defines it, by the index of a static archive.

    An archive without an index (`ar` with S) has none here; ElfError where it is no archive.
    """
    if not is_archive(data):
        raise ElfError("not an archive")
    for name, start, size in archive_members(data):
        if name not in ("/", "/SYM64/"):
            return {}
        width, code = (4, "I") if name == "/" else (8, "Q")
        try:
            count = min(struct.unpack_from(">" + code, data, start)[0], MAX_SYMBOLS)
            places = struct.unpack_from(">{}{}".format(count, code), data, start + width)
        except struct.error:
            raise ElfError("a broken archive: its index is cut off") from None
        begin = start + width * (count + 1)
        text = bytes(data[begin : start + min(size, MAX_STRINGS)]).decode("latin-1")
        names = text.split("\0", count)[:count]
        return {name: places[number] for number, name in enumerate(names) if name}
    return {}


def archive_member(data: Any, offset: int) -> bytes:
    """The content of the member whose header is at this offset; empty: there is none."""
    header = bytes(data[offset : offset + 60])
    digits = header[48:58].strip()
    if header[58:] != b"`\n" or not digits.isdigit() or int(digits) > MAX_STRINGS:
        return b""
    return bytes(data[offset + 60 : offset + 60 + int(digits)])


def archive_members(data: Any) -> Iterator[Tuple[str, int, int]]:
    """(raw name, offset, size) of each member (ar(5), GNU form); stops where the file is cut."""
    at = 8
    for _ in range(MAX_MEMBERS):
        header = bytes(data[at : at + 60])
        if len(header) < 60 or header[58:] != b"`\n":
            return
        digits = header[48:58].strip()
        if not digits.isdigit():
            return
        size = int(digits)
        yield header[:16].decode("latin-1").strip(), at + 60, size
        at += 60 + size + size % 2
