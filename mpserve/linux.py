"""System calls that the standard library lacks: thin, typed, raising OSError as it would."""

from __future__ import annotations

import ctypes
import errno
import functools
import os

# openat2(2), how a path is resolved.
RESOLVE_NO_MAGICLINKS = 0x02  # ELOOP for a link that is no path, as in /proc/self/fd
RESOLVE_NO_SYMLINKS = 0x04  # ELOOP for any link
RESOLVE_BENEATH = 0x08  # EXDEV for any step out of the directory, absolute links included

# The number is the same on every architecture: they share one table for what came after Linux 5.0.
_NR_OPENAT2 = 437


class _OpenHow(ctypes.Structure):
    """struct open_how of <linux/openat2.h>."""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


# Each call has a prototype of its own: without one, ctypes passes numbers as ints of 32 bits.
_openat2 = ctypes.CFUNCTYPE(
    ctypes.c_long,
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.POINTER(_OpenHow),
    ctypes.c_size_t,
    use_errno=True,
)(("syscall", ctypes.CDLL(None)))


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """A descriptor of `path`, looked up from `directory` under the RESOLVE_* rules of `resolve`."""
    if b"\0" in path:  # C would read the part before it
        raise ValueError("embedded null byte")
    while True:
        fd: int = _openat2(_NR_OPENAT2, directory, path, _how(flags, resolve), _SIZE_OF_HOW)
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:  # PEP 475: an interrupted call is made again
            raise OSError(code, os.strerror(code), path)


@functools.cache
def have_openat2() -> bool:
    """Whether openat2 can be used here."""
    # A kernel that has it refuses a structure of no size before it looks at anything else: EINVAL.
    # An older kernel says ENOSYS; and so does, or EPERM, the system call filter of a container that
    # is older than the call.
    _openat2(_NR_OPENAT2, -1, b"", None, 0)
    return ctypes.get_errno() == errno.EINVAL


_SIZE_OF_HOW = ctypes.sizeof(_OpenHow)


@functools.cache  # a handful of combinations; the kernel only reads it
def _how(flags: int, resolve: int) -> _OpenHow:
    return _OpenHow(flags=flags, mode=0, resolve=resolve)
