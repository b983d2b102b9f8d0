"""What stands around a program, without running one: filters, readable folders, variables."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest

from hpcagent.codegen import callfilter, forge, landlock
from hpcagent.codegen.session import Problem

OWN = 4242
X86 = {"read": 0, "socket": 41, "clone": 56, "fork": 57, "execve": 59, "kill": 62, "ptrace": 101,
       "tgkill": 234, "prlimit64": 302, "process_vm_writev": 311, "clone3": 435}  # fmt: skip
ARM = {"read": 63, "socket": 198, "clone": 220, "execve": 221, "kill": 129, "ptrace": 117,
       "tgkill": 131, "prlimit64": 261, "process_vm_writev": 271, "clone3": 435}  # fmt: skip
NUMBERS = {"x86_64": X86, "aarch64": ARM}
MARKS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def judged(kind: str, machine: str, number: int, first: int = 0, mark: int | None = None) -> int:
    """What the kernel would make of a call: the filter, run as bpf(4) says."""
    mark = MARKS[machine] if mark is None else mark
    data = struct.pack("<IIQ6Q", number, mark, 0, first, *([0] * 5))
    rules, at, value = callfilter.rules(kind, machine, OWN), 0, 0
    while True:
        code, yes, no, operand = rules[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            value = struct.unpack_from("<I", data, operand)[0]
            continue
        holds = {0x15: value == operand, 0x45: bool(value & operand), 0x35: value >= operand}
        at += yes if holds[code] else no


ALLOWED = {
    "alone": {"read", "execve"},
    "tools": {"read", "execve", "clone", "fork", "kill", "clone3"},
    "ranks": {"read", "execve", "clone", "fork", "kill", "clone3", "socket", "process_vm_writev"},
}


@pytest.mark.parametrize("machine", NUMBERS)
@pytest.mark.parametrize("kind", callfilter.KINDS)
def test_what_a_program_may_ask_of_the_kernel(kind: str, machine: str) -> None:
    may = {
        name
        for name, number in NUMBERS[machine].items()
        if judged(kind, machine, number, first=7) == 0x7FFF0000
    }
    assert may - {"tgkill"} == ALLOWED[kind] & set(NUMBERS[machine])


@pytest.mark.parametrize("machine", NUMBERS)
def test_threads_and_its_own_end_are_left_to_one_that_is_alone(machine: str) -> None:
    numbers = NUMBERS[machine]
    assert judged("alone", machine, numbers["clone"], 0x003D0F00) == 0x7FFF0000
    assert judged("alone", machine, numbers["clone"], 17) == 0x00050000 | errno.EPERM
    assert judged("alone", machine, numbers["clone3"]) == 0x00050000 | errno.ENOSYS
    assert judged("alone", machine, numbers["tgkill"], OWN) == 0x7FFF0000
    assert judged("alone", machine, numbers["tgkill"], 1) != 0x7FFF0000
    assert judged("alone", machine, numbers["prlimit64"], 0) == 0x7FFF0000


def test_numbers_that_mean_other_calls_end_it() -> None:
    assert judged("tools", "x86_64", 0, mark=0x40000003) == 0x80000000  # of 32 bits
    assert judged("tools", "x86_64", 0x40000000 + 1) == 0x80000000


def test_what_is_hidden_is_in_no_readable_folder(tmp_path: Path) -> None:
    for name in ("a/one", "a/two/three", "b"):
        (tmp_path / name).mkdir(parents=True)
    found = landlock.outside(str(tmp_path), [str(tmp_path / "a" / "two")])
    assert found == [str(tmp_path / "a" / "one"), str(tmp_path / "b")]
    assert landlock.outside(str(tmp_path / "b"), [str(tmp_path / "a")]) == [str(tmp_path / "b")]
    assert landlock.outside(str(tmp_path), [str(tmp_path)]) == []


def test_what_modules_say_of_libraries_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(forge.BUILD).mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", "/sw/lib")
    monkeypatch.setenv("OMPI_MCA_btl", "self,vader")
    monkeypatch.setenv("PMIX_RANK", "3")
    digests = {forge.ENVIRONMENT: forge._keep_environment()}
    kept = forge.kept_environment(forge.BUILD, digests)
    assert (kept["LD_LIBRARY_PATH"], kept["OMPI_MCA_btl"]) == ("/sw/lib", "self,vader")
    assert "PMIX_RANK" not in kept
    Path(forge.BUILD, forge.ENVIRONMENT).write_text(json.dumps({"LD_PRELOAD": "mine.so"}))
    with pytest.raises(Problem, match="is not the file that was built"):
        forge.kept_environment(forge.BUILD, digests)
