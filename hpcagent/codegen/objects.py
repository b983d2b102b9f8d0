"""What a compiled object holds that no reader of its source may see: instructions, odd sections.

Pure functions of what `objdump -d`, `readelf -SW` and `readelf -sW` (GNU binutils) print. Runs
inside jobs: standard library only, python3 >= 3.6.
"""

import re
from typing import Dict, Mapping, Optional, Tuple

# Instructions that call the kernel, read a clock or a counter, change what memory is or how numbers
# are rounded: of x86-64, AArch64, POWER and RISC-V.
_FORBIDDEN = re.compile(
    r"""(?:syscall|sysenter|int\s+\$|int[13o]?\b|iret|rdtscp?\b|rdpmc|wrpkru|rdpkru|(?:rd|wr)[fg]sbase|v?ldmxcsr|fldenv|f?xrstor|frstor
    |msr\s.*fpcr|svc\b|hvc\b|smc\b|mrs\s.*(?:cntvct|cntpct|pmccntr)|scv?\b|mftb|mfspr\s.*(?:26[89]|T[BU])
    |ecall|rdtime|rdcycle|csrr\w*\s.*(?:time|cycle))""",
    re.VERBOSE,
)
_DISASSEMBLED = re.compile(r"\s*([0-9a-f]+):\t(?:[0-9a-f ]+\t)?\s*(?:(?:rep|lock|bnd)\s+)*(\S.*)")
_FUNCTION = re.compile(r"[0-9a-f]+ <([^>]+)>:")
_SECTION = re.compile(
    r"\s*\[\s*(?P<number>\d+)\]\s+(?P<name>\S+)\s+(?P<type>[A-Z_0-9]+)\s+[0-9a-f]+\s+[0-9a-f]+\s+"
    r"(?P<size>[0-9a-f]+)\s+[0-9a-f]+\s+(?P<flags>[A-Za-z]*)\s"
)
_SYMBOL = re.compile(
    r"\s*\d+:\s+[0-9a-f]+\s+\S+\s+(?P<type>\S+)\s+\S+\s+\S+\s+(?:\[[^\]]*\]\s+)?"
    r"(?P<section>\d+)\s+(?P<name>\S+)"
)


def instruction_problem(disassembled: str) -> Optional[Tuple[str, str]]:
    """(kind, evidence) for an instruction that no kernel needs; None where all are harmless."""
    function = ""
    for line in disassembled.splitlines():
        named = _FUNCTION.match(line)
        if named:
            function = named.group(1)
            continue
        match = _DISASSEMBLED.match(line)
        if match and _FORBIDDEN.match(match.group(2)):
            words = re.sub(r"\s+", " ", match.group(2)).strip()
            return "gate.assembly", "the instruction %r in %s" % (words, function)
    return None


def section_problem(sections: str, symbols: str) -> Optional[Tuple[str, str]]:
    """For code that could be written, and data that could be run."""
    flags: Dict[str, Mapping[str, str]] = {}
    for line in sections.splitlines():
        match = _SECTION.match(line)
        if match:
            flags[match.group("number")] = match.groupdict()
    for row in flags.values():
        if "X" in row["flags"] and "W" in row["flags"]:
            return "gate.assembly", "the section %s can be written and run" % row["name"]
        if "X" in row["flags"] and not re.match(r"\.text\b", row["name"]):
            return "gate.assembly", "code in the section %s" % row["name"]
    for line in symbols.splitlines():
        match = _SYMBOL.match(line)
        if not match or match.group("type") not in ("OBJECT", "COMMON", "TLS"):
            continue
        row = flags.get(match.group("section")) or {}
        if "X" in row.get("flags", ""):
            return "gate.assembly", "%s is data among code" % match.group("name")
    return None
