"""Which system calls a worker may still make, as a program for the kernel's filter: seccomp(2), bpf.

A list of what is denied, not of what is allowed: a new interpreter or C library that makes another
harmless call must not end a server. A denied call fails with EPERM, as if there were no right to it.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Final

# The calls that a worker has no use for once it serves. A number for each architecture, None where it
# has no such call.
DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # x86-64 and aarch64: new sockets. What is accepted, and what is open, stays usable.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    # new processes, and other programs
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # another view of the system
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    # the system itself
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "personality": (135, 92),
    "reboot": (169, 142),
    "acct": (163, 89),
    "iopl": (172, None),
    "ioperm": (173, None),
    "syslog": (103, 116),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # what goes round other checks: its requests are no system calls
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # keys, and files by another name than their path
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # changes of the file system. Landlock has no word about the first half of them.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "creat": (85, None),
    "truncate": (76, 45),
    # and of the logs, which are open for writing: lines may be added, and none be taken away
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
}

# The instructions of a classic BPF program: code, jump if true, jump if false, operand.
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06

_ALLOW: Final = 0x7FFF_0000
_KILL: Final = 0x8000_0000  # the process, not the thread alone
_FAIL: Final = 0x0005_0000  # plus the errno

# Where things stand in struct seccomp_data. Of an argument, its lower half, on these architectures.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_FIRST: Final = 16
_SECOND: Final = 24

_CLONE_THREAD: Final = 0x0001_0000
_TIOCSTI: Final = 0x5412  # what a terminal's user seems to have typed
_F_SETFL: Final = 4  # among the flags is O_APPEND
_X32: Final = 0x4000_0000  # x86-64 with pointers of 32 bits: the same calls by other numbers

Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is peculiar to a processor: its column in DENIED, and the calls that depend on arguments."""

    column: int
    audit: int  # AUDIT_ARCH_*
    clone: int
    clone3: int
    tgkill: int
    ioctl: int
    fcntl: int


ARCHITECTURES: Final = {
    "x86_64": Architecture(0, 0xC000_003E, clone=56, clone3=435, tgkill=234, ioctl=16, fcntl=72),
    "aarch64": Architecture(1, 0xC000_00B7, clone=220, clone3=435, tgkill=131, ioctl=29, fcntl=25),
}


def program(machine: str, pid: int) -> bytes | None:
    """The filter of process `pid` on a processor that uname(2) calls `machine`; None: not known here.

    The kernel remembers which calls it allows whatever their arguments are, so the length of the list
    does not matter to them.
    """
    architecture = ARCHITECTURES.get(machine)
    if architecture is None:
        return None
    instructions = [*_opening(architecture), *_special(architecture, pid)]
    for numbers in DENIED.values():
        number = numbers[architecture.column]
        if number is not None:
            instructions += [(_EQUAL, 0, 1, number), _returns(_FAIL | errno.EPERM)]
    instructions.append(_returns(_ALLOW))
    return b"".join(struct.pack("=HBBI", *each) for each in instructions)


def _opening(architecture: Architecture) -> list[Instruction]:
    """Whoever calls by another architecture's numbers means to be misunderstood."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture.audit),
        _returns(_KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _returns(_FAIL | errno.EPERM),
    ]


def _special(architecture: Architecture, pid: int) -> list[Instruction]:
    """The calls of which some uses are allowed."""
    return [
        # A thread is one more of us; anything else that clone makes is another process.
        *_only_if(architecture.clone, (_ANY_BIT, _CLONE_THREAD), _FIRST),
        # Its flags are in memory, where no filter can look; told that it is missing, the C library clones.
        (_EQUAL, 0, 1, architecture.clone3),
        _returns(_FAIL | errno.ENOSYS),
        # A process that aborts, or a fault handler that has had its say, signals itself.
        *_only_if(architecture.tgkill, (_EQUAL, pid), _FIRST),
        *_never_if(architecture.ioctl, (_EQUAL, _TIOCSTI), _SECOND),
        *_never_if(architecture.fcntl, (_EQUAL, _F_SETFL), _SECOND),
    ]


def _only_if(number: int, test: tuple[int, int], argument: int) -> list[Instruction]:
    code, operand = test
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, argument),
        (code, 0, 1, operand),
        _returns(_ALLOW),
        _returns(_FAIL | errno.EPERM),
    ]


def _never_if(number: int, test: tuple[int, int], argument: int) -> list[Instruction]:
    code, operand = test
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, argument),
        (code, 1, 0, operand),
        _returns(_ALLOW),
        _returns(_FAIL | errno.EPERM),
    ]


def _returns(verdict: int) -> Instruction:
    return (_RETURN, 0, 0, verdict)
