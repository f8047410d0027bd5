"""System calls that the standard library lacks: thin, typed, raising OSError as it would."""

from __future__ import annotations

import ctypes
import errno
import functools
import os

# openat2(2), how a path is resolved.
RESOLVE_NO_XDEV = 0x01  # EXDEV for any step into another mount
RESOLVE_NO_MAGICLINKS = 0x02  # ELOOP for a link that is no path, as in /proc/self/fd
RESOLVE_NO_SYMLINKS = 0x04  # ELOOP for any link
RESOLVE_BENEATH = 0x08  # EXDEV for any step out of the directory, absolute links included
RESOLVE_CACHED = 0x20  # EAGAIN where the file system would have to be asked (Linux 5.12)

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


@functools.cache
def have_resolve_cached() -> bool:
    """Whether RESOLVE_CACHED can be used here."""
    # A kernel that does not know the rule says EINVAL; one that does finds that there is no such directory.
    _openat2(_NR_OPENAT2, -1, b".", _how(os.O_PATH, RESOLVE_CACHED), _SIZE_OF_HOW)
    return ctypes.get_errno() == errno.EBADF


_SIZE_OF_HOW = ctypes.sizeof(_OpenHow)


@functools.cache  # a handful of combinations; the kernel only reads it
def _how(flags: int, resolve: int) -> _OpenHow:
    return _OpenHow(flags=flags, mode=0, resolve=resolve)


# --- statfs(2) ------------------------------------------------------------------------------------

# <linux/magic.h>: file systems that have no disk behind them.
TMPFS = 0x01021994
RAMFS = 0x858458F6
_DISKLESS = frozenset({TMPFS, RAMFS})


class _FileSystem(ctypes.Structure):
    """struct statfs, of which only the first field is of interest."""

    _fields_ = [("type", ctypes.c_long), ("rest", ctypes.c_long * 32)]


_fstatfs = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(_FileSystem), use_errno=True
)(("fstatfs", ctypes.CDLL(None)))


def file_system(fd: int) -> int:
    """The kind of file system that `fd` is open in, by its number in <linux/magic.h>."""
    found = _FileSystem()
    if _fstatfs(fd, found):
        raise _failure()
    kind: int = found.type
    return kind


def has_no_disk(fd: int) -> bool:
    """Whether all that is in the file system of `fd` is in memory."""
    try:
        # What has a device has a disk, and this question is the cheaper one.
        return not os.major(os.fstat(fd).st_dev) and file_system(fd) in _DISKLESS
    except OSError:
        return False


# --- prctl(2) -------------------------------------------------------------------------------------

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_TIMERSLACK = 29
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_MOST_CAPABILITIES = 64  # a set of them has as many bits

_prctl = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    *[ctypes.c_ulong] * 4,  # an address is one too
    use_errno=True,
)(("prctl", ctypes.CDLL(None)))


def _process(option: int, value: int, address: int = 0) -> None:
    if _prctl(option, value, address, 0, 0) != 0:
        raise _failure()


def _failure() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


_libc = ctypes.CDLL(None)
_handle = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(("signal", _libc))
_alarm = ctypes.cast(_libc.alarm, ctypes.c_void_p)


def alarm_at_parents_death(number: int) -> None:
    """Let SIGALRM come `number` seconds after this process's parent has died. A change of user undoes it.

    A handler of Python would wait for the interpreter, which may never come back. alarm(2) has the form of a
    handler, and may be one (signal-safety(7)): called with the number of its signal, it takes it for seconds.
    """
    _handle(number, _alarm)
    _process(_PR_SET_PDEATHSIG, number)


def hide_memory() -> None:
    """No core dump, and no other process of the same user looks into this one."""
    _process(_PR_SET_DUMPABLE, 0)


def sleep_to_the_point() -> None:
    """Let this thread, and those that it starts, be woken when they asked for it, not up to 50 µs later."""
    _process(_PR_SET_TIMERSLACK, 1)  # nanosecond; 0 would be what it was born with


def give_up_privileges_by_exec() -> None:
    """no_new_privs: what a program file's set-user-ID bit or capabilities would give is not given."""
    _process(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities_for_good() -> None:
    """Empty the bounding set and the ambient set: no capability can come back. EPERM if not privileged."""
    _process(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_MOST_CAPABILITIES):
        try:
            _process(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # there is none of this number, nor of a higher one
                return
            raise


class _Program(ctypes.Structure):
    """struct sock_fprog of <linux/filter.h>."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def filter_calls(program: bytes) -> None:
    """Let the kernel judge every later system call of this process by `program`, 8 bytes an instruction."""
    filter_ = _Program(len(program) // 8, program)
    _process(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_))


# --- landlock(7) ----------------------------------------------------------------------------------

_NR_LANDLOCK_CREATE_RULESET = 444
_NR_LANDLOCK_ADD_RULE = 445
_NR_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_RULE_PATH_BENEATH = 1

# LANDLOCK_ACCESS_FS_*, two of them.
READ_FILE = 1 << 2
READ_DIR = 1 << 3


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr of <linux/landlock.h>."""

    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class _Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr of <linux/landlock.h>."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


_landlock = ctypes.CFUNCTYPE(
    ctypes.c_long,
    ctypes.c_long,
    *[ctypes.c_ulong] * 4,  # an address is one too
    use_errno=True,
)(("syscall", ctypes.CDLL(None)))


def landlock_abi() -> int:
    """The version of Landlock here; 0: none, or none that may be used."""
    abi: int = _landlock(_NR_LANDLOCK_CREATE_RULESET, 0, 0, _LANDLOCK_CREATE_RULESET_VERSION, 0)
    return max(0, abi)


def landlock_ruleset(files: int, network: int, scopes: int) -> int:
    """A descriptor of rules under which everything named here is denied until it is allowed.

    EOPNOTSUPP where Landlock is there, but was not turned on when the system started.
    """
    # One size for every version: the kernel takes a longer structure whose rest is zero.
    ruleset = _Ruleset(files=files, network=network, scopes=scopes)
    address, size = ctypes.addressof(ruleset), ctypes.sizeof(ruleset)
    fd: int = _landlock(_NR_LANDLOCK_CREATE_RULESET, address, size, 0, 0)
    if fd < 0:
        raise _failure()
    return fd


def landlock_allow(ruleset: int, directory: int, rights: int) -> None:
    """Allow `rights` to all that is beneath `directory`."""
    beneath = _Beneath(allowed=rights, parent=directory)
    address = ctypes.addressof(beneath)
    if _landlock(_NR_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, address, 0):
        raise _failure()


def landlock_restrict(ruleset: int) -> None:
    """Put this thread, and those that it starts, under these rules for ever."""
    if _landlock(_NR_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0, 0):
        raise _failure()


# --- inotify(7), and the lease that belongs to it ---------------------------------------------------

# <linux/inotify.h>: what a watch tells, and how it is made.
IN_MODIFY = 0x00000002
IN_ATTRIB = 0x00000004
IN_OPEN = 0x00000020
IN_MOVED_FROM = 0x00000040
IN_MOVED_TO = 0x00000080
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_MOVE_SELF = 0x00000800
IN_Q_OVERFLOW = 0x00004000
IN_ONLYDIR = 0x01000000
IN_ONESHOT = 0x80000000

_inotify_init1 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True)(
    ("inotify_init1", _libc)
)
_inotify_add_watch = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32, use_errno=True
)(("inotify_add_watch", _libc))
_inotify_rm_watch = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, use_errno=True)(
    ("inotify_rm_watch", _libc)
)


def inotify_instance() -> int:
    """A descriptor of an inotify instance, which never waits. EMFILE: this user has too many."""
    fd: int = _inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _failure()
    return fd


def inotify_add(instance: int, fd: int, mask: int) -> int:
    """The number of the watch of what `fd` is open at; if there is one already, it gets this `mask`.

    ENOENT where there is no /proc; EACCES where it may not be read; ENOSPC: this user has too many.
    """
    watch: int = _inotify_add_watch(instance, b"/proc/self/fd/%d" % fd, mask)
    if watch < 0:
        raise _failure()
    return watch


def inotify_remove(instance: int, watch: int) -> None:
    """End a watch. EINVAL: it has ended by itself."""
    if _inotify_rm_watch(instance, watch):
        raise _failure()


_F_SETLEASE = 1024
_F_RDLCK = 0
_F_UNLCK = 2

# It keeps the interpreter: no other thread has its turn between one call and the next.
_fcntl_at_once = ctypes.PyDLL(None, use_errno=True).fcntl
_fcntl_at_once.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
_fcntl_at_once.restype = ctypes.c_int


def prove_unwritten(fd: int) -> None:
    """Be sure that nobody has the file `fd` open for writing, or mapped so; fcntl(2), "Leases".

    EAGAIN: somebody has. EACCES, EINVAL: nobody can say. Whoever opens it for writing in this microsecond
    waits for the end of it, and this process is sent a SIGIO.
    """
    if _fcntl_at_once(fd, _F_SETLEASE, _F_RDLCK):
        raise _failure()
    _fcntl_at_once(fd, _F_SETLEASE, _F_UNLCK)
