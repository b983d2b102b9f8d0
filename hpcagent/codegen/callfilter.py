"""What a program may not ask of the kernel, where namespaces are refused and where not: seccomp(2).

A filter that the program and all that it starts inherit, and cannot take off. It cannot look at
paths and addresses; whom these matter to are landlock.py and fileview.py. Written for x86-64 and
AArch64. Runs inside jobs: standard library only, python3 >= 3.6.
"""

import ctypes
import errno
import os
import struct
from typing import Dict, List, Optional, Sequence, Tuple

if __package__:
    from hpcagent.codegen import kernelcalls
else:
    import kernelcalls  # type: ignore[import-not-found,no-redef]

# A program alone; compilers, which start others; several ranks, which also talk to each other.
ALONE, TOOLS, RANKS = "alone", "tools", "ranks"
KINDS = (ALONE, TOOLS, RANKS)
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h, little endian
_COLUMN = {"x86_64": 0, "aarch64": 1}
_FOREIGN = 0x40000000  # numbers of x32, on x86-64
# name: (number on x86-64, on AArch64; None: there is none), of asm/unistd.h.
_EVERYBODY = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "personality": (135, 92), "clock_settime": (227, 112), "settimeofday": (164, 170),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setparam": (142, 118), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "reboot": (169, 142), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "swapon": (167, 224),
    "swapoff": (168, 225), "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60),
    "lookup_dcookie": (212, 18), "vhangup": (153, 58), "mq_open": (240, 180),
}  # fmt: skip
_NO_OTHERS = {  # nobody to talk to
    "socket": (41, 198), "socketpair": (53, 199), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186),
}  # fmt: skip
_NO_PROCESSES = {
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
_OF_RANKS = ("process_vm_readv", "process_vm_writev")  # they copy what they send by these
_CLONE, _CLONE3, _PRLIMIT, _TGKILL = (56, 220), (435, 435), (302, 261), (234, 131)
_CLONE_THREAD = 0x00010000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _ANSWER = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16  # of struct seccomp_data
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
Rule = Tuple[int, int, int, int]  # code, steps where it holds and where not, value


def refused(kind: str, machine: str) -> List[int]:
    """The numbers of the calls that are refused whatever they are given."""
    column = _COLUMN[machine]
    names: Dict[str, Tuple[int, Optional[int]]] = dict(_EVERYBODY)
    if kind == RANKS:
        for name in _OF_RANKS:
            del names[name]
    else:
        names.update(_NO_OTHERS)
    if kind == ALONE:
        names.update(_NO_PROCESSES)
    numbers = [pair[column] for pair in names.values()]
    return sorted(number for number in numbers if number is not None)


def rules(kind: str, machine: str, own: int) -> List[Rule]:
    """The filter as instructions of BPF, for a process of this number.

    KeyError for a machine that it is not written for.
    """
    column = _COLUMN[machine]
    found = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _FOREIGN),
        (_ANSWER, 0, 0, _KILL),
    ]
    for number in refused(kind, machine):
        found += _answered(number, _REFUSE | errno.EPERM)
    if kind == ALONE:
        # The flags of clone3 lie in memory; without it the C library takes clone.
        found += _answered(_CLONE3[column], _REFUSE | errno.ENOSYS)
        found += _where(_CLONE[column], 0, [(_ANY_BIT, 1, 0, _CLONE_THREAD)])
        found += _where(_TGKILL[column], 0, [(_EQUAL, 1, 0, own)])  # abort(3)
    # Limits of others; 0 is the process itself.
    found += _where(_PRLIMIT[column], 0, [(_EQUAL, 1, 0, 0)])
    return [*found, (_ANSWER, 0, 0, _ALLOW)]


def _answered(number: int, value: int) -> List[Rule]:
    return [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, value)]


def _where(number: int, argument: int, test: Sequence[Rule]) -> List[Rule]:
    """Refuse a call whose argument does not pass the test, which leaps over the refusal."""
    load = [(_LOAD, 0, 0, _FIRST + 8 * argument), *test, (_ANSWER, 0, 0, _REFUSE | errno.EPERM)]
    return [(_EQUAL, 0, len(load) + 1, number), *load, (_LOAD, 0, 0, _NUMBER)]


def install(kind: str) -> None:
    """For this process and all that it becomes or starts; OSError where the node has it not."""
    machine = os.uname().machine
    if machine not in _COLUMN:
        raise OSError(errno.ENOSYS, "no filter of calls is written for %s" % machine)
    code = b"".join(struct.pack("HBBI", *rule) for rule in rules(kind, machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    kernelcalls.prctl(kernelcalls.PR_SET_NO_NEW_PRIVS, 1)
    kept = ctypes.create_string_buffer(program)
    kernelcalls.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(kept))
