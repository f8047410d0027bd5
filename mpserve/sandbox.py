"""The sandbox: what a worker gives up before it serves, so that a fault in it is worth little.

A worker needs to read beneath the root, to accept, to receive and to send. The kernel refuses the rest:
Landlock other files, changes and new connections; seccomp the calls of which a worker has no use. None
of it can be undone, and all of it would survive an execve, so the master has none.

What this system has is found out by a child that tries it: a kernel says less about itself than that.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import linecache
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mpserve import linux, seccomp
from mpserve.config import Config, ConfigError, Demand, Identity, Symlinks

# What there may be, in the order in which it is told.
OPENAT2: Final = "openat2"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"
NO_NEW_PRIVS: Final = "no_new_privs"
MEASURES: Final = (OPENAT2, LANDLOCK, SECCOMP, NO_NEW_PRIVS)

# Landlock's rights by version: how many there are for files, and which for the network and the scopes.
# BIND_TCP and CONNECT_TCP; connecting to abstract Unix sockets, and signals, to whoever is outside.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_SINCE: Final = 4
_NETWORK_RIGHTS: Final = 0b11
_SCOPES_SINCE: Final = 6
_SCOPES: Final = 0b11

# Core dumps, memory that is not swapped out, message queues, a higher priority. Not among them: files
# (RLIMIT_FSIZE), as a log is one and may grow; processes (RLIMIT_NPROC), as threads count as such and some
# read for us later, and as those of all workers of a user count together.
NOT_NEEDED: Final = (
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NICE,
    resource.RLIMIT_RTPRIO,
)

# The signal of the master's death, which nothing else sends. Its number is how many seconds a worker that was
# left behind has to end by itself (see linux.alarm_at_parents_death).
ORPHANED: Final = signal.SIGSTKFLT

Directory = tuple[int, int]  # device and inode: which one it is, whatever its name


@dataclass(frozen=True, slots=True)
class Reach:
    """What a worker can read."""

    root: bytes
    directory: Directory | None  # the one that was the root; None: there was none
    everywhere: bool

    def lost(self) -> bool:
        """Whether the root is a directory by now that cannot be read from here."""
        if self.everywhere:
            return False
        try:
            status = os.stat(self.root)
        except OSError:  # there is none: nothing to be read, and nothing to be refused
            return False
        return identity(status) != self.directory

    def allows(self, directory: int) -> bool:
        """Whether the open `directory` is the one that was the root."""
        return self.everywhere or identity(os.fstat(directory)) == self.directory


def identity(status: os.stat_result) -> Directory:
    """Which directory that is."""
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class Plan:
    """What each worker gives up."""

    measures: frozenset[str]
    abi: int  # Landlock's version; 0: none
    anywhere: bool  # files may be read wherever links lead
    identity: Identity | None
    master: int  # its pid
    root: bytes

    @property
    def level(self) -> str:
        """What is reached, for the operator."""
        return " ".join([*self._words(), *self._missing(), *self._who()])

    def _words(self) -> Iterator[str]:
        if not self.measures:
            yield "off"
        for measure in MEASURES:
            if measure == LANDLOCK and measure in self.measures:
                yield f"landlock({self.abi}{', reading anywhere' if self.anywhere else ''})"
            elif measure in self.measures:
                yield measure

    def _missing(self) -> Iterator[str]:
        missing = [each for each in MEASURES if each not in self.measures]
        if self.measures and missing:
            yield f"(without {' '.join(missing)})"

    def _who(self) -> Iterator[str]:
        if self.identity is not None:
            yield f"as {self.identity.user}"


def plan(config: Config, possible: frozenset[str], abi: int, master: int) -> Plan:
    """What is to be given up where this is `possible`. ConfigError if more is required."""
    missing = [each for each in MEASURES if each not in possible]
    if config.sandbox is Demand.REQUIRE and missing:
        raise ConfigError(f"--sandbox require: this system has no {', no '.join(missing)}")
    return Plan(
        frozenset() if config.sandbox is Demand.OFF else possible,
        abi if LANDLOCK in possible else 0,
        config.site.symlinks is Symlinks.ANY,
        config.identity,
        master,
        config.site.root,
    )


def rights(abi: int) -> tuple[int, int, int]:
    """All that Landlock of version `abi` can deny: of files, of the network, of other processes."""
    files = (1 << _FILE_RIGHTS[min(abi, max(_FILE_RIGHTS))]) - 1
    network = _NETWORK_RIGHTS if abi >= _NETWORK_SINCE else 0
    return files, network, _SCOPES if abi >= _SCOPES_SINCE else 0


# --- Finding out ----------------------------------------------------------------------------------


def prepare(config: Config) -> Plan:
    """The plan for this system. ConfigError if more is required than it has."""
    rehearse()
    if config.sandbox is Demand.OFF:
        return plan(config, frozenset(), 0, os.getpid())
    return plan(config, attempt(), linux.landlock_abi(), os.getpid())


def attempt() -> frozenset[str]:
    """Which of the measures a child of ours could take."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for measure in possible():
                os.write(write_end, measure.encode() + b"\n")
        os._exit(0)
    os.close(write_end)
    with open(read_end, encoding="ascii") as answer:
        words = answer.read().split()
    with contextlib.suppress(ChildProcessError):  # whoever started us ignores SIGCHLD
        os.waitpid(pid, 0)
    return frozenset(words)


def possible() -> Iterator[str]:
    """The measures that this process can take. It has taken them afterwards."""
    if linux.have_openat2():
        yield OPENAT2
    for measure, take in (
        (NO_NEW_PRIVS, linux.give_up_privileges_by_exec),
        (LANDLOCK, _try_landlock),
        (SECCOMP, deny_calls),
    ):
        with contextlib.suppress(OSError):
            take()
            yield measure


def _try_landlock() -> None:
    close_the_file_system(linux.landlock_abi(), b"/")


def rehearse() -> None:
    """Do once what loads more of the interpreter when it is first done: later no file could be read."""
    for encoding in ("ascii", "latin-1", "utf-8", "unicode_escape", "idna"):
        codecs.lookup(encoding)
    try:
        # All of a line but a part, and a name that is nearly right: a traceback points, and advises.
        _ = codecs.lookup("ascii").nam.strip()  # type: ignore[attr-defined]
    except AttributeError:
        traceback.format_exc()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "mpserve" and (file := getattr(module, "__file__", None)):
            linecache.getlines(file)


# --- Deeds, in a worker ---------------------------------------------------------------------------


class CannotConfineError(Exception):
    """A worker must not serve like this; the text says why."""


def confine(plan: Plan) -> Reach:
    """Give up all of `plan`; what can be read from now on.

    What is open stays open: sockets, logs, pipes.
    """
    try:
        set_limits()
        if plan.identity is not None:
            become(plan.identity)
        follow(plan.master)
        if plan.identity is not None:
            require_entry(plan.identity, plan.root)
        return restrict(plan)
    except OSError as error:
        raise CannotConfineError(f"the sandbox: {error.strerror}") from error


def restrict(plan: Plan) -> Reach:
    """Take the measures; see `confine`."""
    directory = None
    if NO_NEW_PRIVS in plan.measures:
        linux.give_up_privileges_by_exec()
    if LANDLOCK in plan.measures:
        directory = close_the_file_system(plan.abi, b"/" if plan.anywhere else plan.root)
    if SECCOMP in plan.measures:
        deny_calls()
    return Reach(plan.root, directory, plan.anywhere or LANDLOCK not in plan.measures)


def set_limits() -> None:
    """Let there be nothing of what a worker has no use for."""
    for limit in NOT_NEEDED:
        resource.setrlimit(limit, (0, 0))


def become(identity: Identity) -> None:
    """Be nobody else from now on, and be sure of it."""
    linux.drop_capabilities_for_good()
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    linux.hide_memory()
    if who_we_are() != (identity.uid, identity.gid, set(identity.groups)):
        raise OSError(errno.EPERM, f"could not become {identity.user}")


def who_we_are() -> tuple[int, int, set[int]] | None:
    """Our user, our group, and all our groups; None if we are, or could be, more than one user."""
    users, groups = set(os.getresuid()), set(os.getresgid())
    if len(users) > 1 or len(groups) > 1:
        return None
    (user,), (group,) = users, groups
    if user != 0:
        with contextlib.suppress(PermissionError):
            os.setuid(0)
            return None
    return user, group, set(os.getgroups())


def require_entry(identity: Identity, root: bytes) -> None:
    """Find out now, and not at each request, that nothing can be served."""
    try:
        os.stat(root + b"/.")
    except PermissionError:
        raise CannotConfineError(f"{identity.user} may not enter {os.fsdecode(root)!r}") from None
    except OSError:  # it is not there now, and may come back
        return


def follow(master: int) -> None:
    """End some time after the master, whatever this process is at then: the kernel sees to it.

    The loop learns of the master's death by itself, and leaves in order.
    """
    # Whoever started the server may have had it ignored; and until the loop turns, all signals are blocked.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {ORPHANED, signal.SIGALRM})
    linux.alarm_at_parents_death(ORPHANED)
    if os.getppid() != master:  # it died before we asked
        signal.alarm(ORPHANED)


def close_the_file_system(abi: int, root: bytes) -> Directory | None:
    """Read what is beneath `root`, and touch nothing else; which directory that is, if there is one.

    Where there is none for the moment, nothing is readable. EACCES if we may not enter it.
    """
    if abi == 0:
        raise OSError(errno.EOPNOTSUPP, "no Landlock")
    ruleset = linux.landlock_ruleset(*rights(abi))
    found = None
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = _allow_reading(ruleset, root)
        linux.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)
    return found


def _allow_reading(ruleset: int, root: bytes) -> Directory:
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.landlock_allow(ruleset, directory, linux.READ_FILE | linux.READ_DIR)
        return identity(os.fstat(directory))
    finally:
        os.close(directory)


def deny_calls() -> None:
    """Let the calls fail that a worker has no use for."""
    program = seccomp.program(os.uname().machine, os.getpid())
    if program is None:
        raise OSError(errno.EOPNOTSUPP, "no filter for this processor")
    linux.filter_calls(program)
