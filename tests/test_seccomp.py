"""The filter for system calls: its numbers are the system's, and its verdicts are run here one by one."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from mpserve.seccomp import ARCHITECTURES, DENIED, program

PID = 4711
ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
REFUSED, MISSING = 0x0005_0000 | errno.EPERM, 0x0005_0000 | errno.ENOSYS

# Where the kernel's own tables are found, where its headers are installed.
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
# The calls of a worker that serves.
NEEDED = (
    "read write close fstat lseek mmap munmap brk rt_sigaction rt_sigreturn ioctl pread64 sendfile sendto "
    "sendmsg recvfrom recvmsg accept4 shutdown setsockopt getsockopt getpeername epoll_ctl epoll_pwait "
    "openat openat2 getdents64 newfstatat readlinkat fcntl futex getrandom exit_group preadv2 alarm"
).split()


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter says of a call, by the rules of seccomp(2) and of classic BPF."""
    octets = program(machine, PID)
    assert octets is not None
    code = list(struct.iter_unpack("=HBBI", octets))
    audit = ARCHITECTURES[machine].audit if audit is None else audit
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x06:
                return int(operand)
            case _:
                true = {
                    0x15: accumulator == operand,
                    0x35: accumulator >= operand,
                    0x45: accumulator & operand != 0,
                }[operation]
                at += if_true if true else if_false


def numbers_in(header: Path) -> dict[str, int]:
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    return {name: int(number) for name, number in found}


machines = pytest.mark.parametrize("machine", ARCHITECTURES)


@machines
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    column, known = ARCHITECTURES[machine].column, numbers_in(HEADERS[machine])
    ours = {name: numbers[column] for name, numbers in DENIED.items()}

    # A header may be older than a call, but one that it has must agree.
    assert {name: known[name] for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    assert ours.keys() - known.keys() <= {"fchmodat2"} | {
        name for name, number in ours.items() if number is None
    }
    special = ARCHITECTURES[machine]
    assert (special.clone, special.tgkill) == (known["clone"], known["tgkill"])
    assert (special.clone3, special.ioctl) == (known["clone3"], known["ioctl"])
    assert special.fcntl == known["fcntl"]


@machines
def test_what_is_denied_fails_as_if_there_were_no_right_to_it(machine: str) -> None:
    column = ARCHITECTURES[machine].column
    numbers = [each[column] for each in DENIED.values()]

    assert {verdict(machine, number) for number in numbers if number is not None} == {REFUSED}


@machines
def test_what_a_worker_needs_is_allowed(machine: str) -> None:
    known = numbers_in(HEADERS[machine])
    refused = [name for name in NEEDED if name in known and verdict(machine, known[name]) != ALLOW]

    assert refused == []


@machines
def test_a_thread_may_begin_but_no_process(machine: str) -> None:
    clone = ARCHITECTURES[machine].clone

    assert verdict(machine, clone, 0x3D0F00) == ALLOW  # as the C library makes a thread
    assert verdict(machine, clone, 17) == REFUSED  # SIGCHLD: as it forks
    assert verdict(machine, ARCHITECTURES[machine].clone3) == MISSING


@machines
def test_a_worker_may_signal_itself_alone(machine: str) -> None:
    tgkill = ARCHITECTURES[machine].tgkill

    assert verdict(machine, tgkill, PID, PID, 6) == ALLOW
    assert verdict(machine, tgkill, PID + 1, PID + 1, 6) == REFUSED


@machines
def test_nothing_is_typed_into_a_terminal(machine: str) -> None:
    ioctl = ARCHITECTURES[machine].ioctl

    assert verdict(machine, ioctl, 2, 0x5412) == REFUSED  # TIOCSTI
    assert verdict(machine, ioctl, 2, 0x5421) == ALLOW  # FIONBIO


@machines
def test_a_log_stays_one_that_is_only_added_to(machine: str) -> None:
    fcntl = ARCHITECTURES[machine].fcntl

    assert verdict(machine, fcntl, 5, 4) == REFUSED  # F_SETFL
    assert verdict(machine, fcntl, 5, 3) == ALLOW  # F_GETFL


@machines
def test_the_numbers_of_another_architecture_are_not_misread(machine: str) -> None:
    i386 = 0x4000_0003

    assert verdict(machine, 0, audit=i386) == KILL
    assert verdict(machine, 0x4000_0000 + 59) == REFUSED  # x32: execve


def test_there_is_no_filter_for_a_processor_that_is_not_known() -> None:
    assert program("riscv64", PID) is None
