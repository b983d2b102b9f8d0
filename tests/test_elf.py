"""The ELF reader against binutils and against broken files."""

from __future__ import annotations

import platform
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.probe import collect_libraries, elf


def made(kind: int = 3, wide: bool = True, order: str = "<", machine: int = 62) -> bytes:
    """A file with one loaded segment, a dynamic section, two symbols; by the specification.

    Symbols: "defined_one" (global, section 1) and "wanted_two" (global, undefined).
    """
    strings = b"\0libneeded.so.1\0libself.so.2\0/opt/a:/opt/b\0defined_one\0wanted_two\0"
    at = {
        name: strings.index(name) for name in (b"libneeded", b"libself", b"/opt", b"defi", b"want")
    }
    head = 64 if wide else 52
    program = 56 if wide else 32
    symbol = 24 if wide else 16
    pair = "QQ" if wide else "II"
    strtab = head + 2 * program
    symtab = strtab + len(strings)
    hashes = symtab + 3 * symbol
    dynamic = hashes + 8
    tags = [(1, at[b"libneeded"]), (14, at[b"libself"]), (15, at[b"/opt"]), (29, at[b"/opt"])]
    tags += [(5, strtab), (6, symtab), (10, len(strings)), (4, hashes), (0, 0)]
    size = dynamic + len(tags) * struct.calcsize(order + pair)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    header = struct.pack(
        order + f"HHI{word}{word}{word}IHHHHHH",
        kind,
        machine,
        1,
        0,
        head,
        0,
        0,
        head,
        program,
        2,
        0,
        0,
        0,
    )

    def segment(kind: int, offset: int, length: int) -> bytes:
        if wide:
            return struct.pack(order + "IIQQQQQQ", kind, 4, offset, offset, 0, length, length, 1)
        return struct.pack(order + "IIIIIIII", kind, offset, offset, 0, length, length, 4, 1)

    def entry(name: int, section: int) -> bytes:
        if wide:
            return struct.pack(order + "IBBHQQ", name, 0x12, 0, section, 0, 0)
        return struct.pack(order + "IIIBBH", name, 0, 0, 0x12, 0, section)

    return b"".join(
        [
            ident,
            header,
            segment(1, 0, size),
            segment(2, dynamic, size - dynamic),
            strings,
            bytes(symbol) + entry(at[b"defi"], 1) + entry(at[b"want"], 0),
            struct.pack(order + "II", 0, 3),
            *(struct.pack(order + pair, *x) for x in tags),
        ]
    )


@pytest.mark.parametrize(
    ("wide", "order", "machine", "name"),
    [
        (True, "<", 62, "x86_64"),
        (True, "<", 183, "aarch64"),
        (True, "<", 21, "ppc64le"),
        (True, ">", 21, "ppc64"),
        (False, "<", 3, "i386"),
        (False, ">", 20, "machine 20"),
    ],
)
def test_both_widths_and_byte_orders(wide: bool, order: str, machine: int, name: str) -> None:
    file = elf.read_elf(made(wide=wide, order=order, machine=machine))
    assert (file.machine, file.bits, file.little_endian) == (name, 64 if wide else 32, order == "<")
    assert (file.kind, file.needed, file.soname) == ("shared", ("libneeded.so.1",), "libself.so.2")
    assert file.rpath == file.runpath == ("/opt/a", "/opt/b")
    assert (file.defined, file.undefined) == ({"defined_one": ""}, {"wanted_two": ""})


def test_a_library_of_another_machine_is_passed_over(tmp_path: Path) -> None:
    native = 62 if platform.machine() == "x86_64" else 183
    for name, machine in (("libown.so", native), ("libforeign.so", 243)):
        data = made(machine=machine).replace(b"defined_one", b"dgemm_\0\0\0\0\0")
        (tmp_path / name).write_bytes(data)
    found = collect_libraries.scan([str(tmp_path)], 60, elf)
    assert [Path(x["path"]).name for x in found["libraries"]] == ["libown.so"]


@settings(max_examples=300)
@given(st.data())
def test_a_broken_file_is_an_elf_error_and_nothing_else(data: st.DataObject) -> None:
    broken = bytearray(made(wide=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(4, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    for read in (elf.read_elf, elf.dynamic_strings):
        try:
            read(bytes(broken))
        except elf.ElfError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_archive_or_a_cut_one(data: bytes) -> None:
    for candidate in (data, b"!<arch>\n" + data, b"!<arch>\n/               " + data):
        try:
            symbols = elf.archive_symbols(candidate)
        except elf.ElfError:
            continue
        assert all(isinstance(x, str) for x in symbols)


def test_a_table_beyond_all_memory_is_refused() -> None:
    data = bytearray(made())
    place = data.index(struct.pack("<Q", 10)) + 8
    struct.pack_into("<Q", data, place, 1 << 60)
    with pytest.raises(elf.ElfError, match="string table"):
        elf.read_elf(bytes(data))


# --- against real files ---------------------------------------------------------------------------


def compiled(folder: Path, name: str, source: str, *options: str) -> Path:
    code = folder / (name + ".c")
    code.write_text(source)
    path = folder / name
    subprocess.run(["gcc", code, "-o", path, *options], check=True, timeout=300)
    return path


@pytest.mark.toolchain
def test_needs_paths_and_symbol_versions_of_a_real_library(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    script = tmp_path / "map"
    script.write_text("OLD_1 { global: old; local: hidden; };\nNEW_2 { global: new; } OLD_1;\n")
    source = "int hidden(void){return 1;} int old(void){return hidden();} int new(void){return 2;}"
    options = ["-shared", "-fPIC", f"-Wl,--version-script={script}", "-Wl,-soname,libown.so.3"]
    library = compiled(tmp_path, "libown.so", source, *options)
    file = elf.read_elf(library.read_bytes())
    assert file.soname == "libown.so.3"
    assert file.defined["old"] == "OLD_1"
    assert file.defined["new"] == "NEW_2"
    assert "hidden" not in file.defined
    main = "int old(void); int new(void); int main(void){return old()+new();}"
    for flag, field in (("--enable-new-dtags", "runpath"), ("--disable-new-dtags", "rpath")):
        run = ["-Wl,-rpath,/opt/one:/opt/two", "-Wl," + flag, str(library)]
        program = elf.read_elf(compiled(tmp_path, "program", main, *run).read_bytes())
        assert getattr(program, field) == ("/opt/one", "/opt/two")
        assert "libown.so.3" in program.needed
        assert (program.undefined["old"], program.undefined["new"]) == ("OLD_1", "NEW_2")
    stripped = tmp_path / "stripped.so"
    subprocess.run(["objcopy", "--strip-section-headers", library, stripped], check=False)
    if stripped.exists():
        assert elf.read_elf(stripped.read_bytes()).defined == file.defined


@pytest.mark.toolchain
def test_symbols_agree_with_nm_and_readelf() -> None:
    if not shutil.which("nm"):
        pytest.skip("no binutils here")
    folder = Path("/usr/lib/x86_64-linux-gnu")
    names = ("libc.so.6", "libgomp.so.1", "libgfortran.so.5", "libstdc++.so.6", "libopenblas.so.0")
    paths = [folder / name for name in names if (folder / name).exists()]
    assert paths
    for path in paths:
        file = elf.read_elf(path.read_bytes())
        told = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout
        lines = [line.split() for line in told.splitlines()]
        defined = {x[-1].partition("@")[0] for x in lines if x[-2] not in ("U", "w", "v")}
        assert set(file.defined) == defined
        dynamic = subprocess.run(
            ["readelf", "-d", path], capture_output=True, text=True, check=True
        )
        assert list(file.needed) == re.findall(r"NEEDED.*\[(.*)\]", dynamic.stdout)


@pytest.mark.toolchain
def test_the_index_of_a_real_archive(tmp_path: Path) -> None:
    if not shutil.which("ar"):
        pytest.skip("no binutils here")
    source = "int one(void){return 1;} static int two(void){return 2;} int x(void){return two();}"
    object_file = compiled(tmp_path, "part.o", source, "-c")
    archive = tmp_path / "libpart.a"
    subprocess.run(["ar", "rcs", archive, object_file], check=True)
    data = archive.read_bytes()
    assert set(elf.archive_symbols(data)) == {"one", "x"}
    member = elf.read_elf(elf.archive_member(data, elf.archive_symbols(data)["one"]))
    assert (member.kind, set(member.defined)) == ("relocatable", {"one", "x"})
    for cut in range(8, len(data), 37):
        try:
            elf.archive_symbols(data[:cut])
        except elf.ElfError as error:
            assert "cut off" in str(error)
