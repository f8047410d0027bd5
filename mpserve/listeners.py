"""Listening sockets. The master makes them all before it forks, and keeps them as long as it serves.

A TCP address has one socket for each worker slot (SO_REUSEPORT), so the kernel spreads connections over
the slots. A socket's queue lives as long as anyone holds the socket: when a worker dies, what waited in
its slot is accepted by another. A socket that a worker made itself would take its queue along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote

from mpserve.config import Address, ConfigError
from mpserve.notify import LONGEST_NAME

# Unsent octets in the kernel above which a socket is not writable: a reader that is stuck pins this
# much and not megabytes, and EPOLLOUT returns while a slow one still makes progress. With a window of some
# hundred octets each of its small segments costs the kernel twice what is in it: 160 kB at worst.
NOTSENT_LOWAT: Final = 64 * 1024
# A peer that vanished without a word is found out: idle seconds, interval, probes.
KEEPALIVE: Final = (60, 15, 4)
# A connection is given to us when its first octets are there, or this many seconds later: then it is
# accepted, answered and perhaps closed in one go, and need not be watched. Until then the kernel holds it.
DEFER_ACCEPT: Final = 1
# Accepted sockets inherit every one of these.
TCP_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE[0]),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE[1]),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE[2]),
    (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT),
)
# linux: SO_BINDTOIFINDEX, and the number of an interface that nothing comes from.
SO_BINDTOIFINDEX: Final = 62
NO_INTERFACE: Final = 2**31 - 1
UNIX_MODE: Final = 0o660
# There is no room for another socket: siblings may have some, and so may we a moment later.
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What a socket without an IPv6 stack behind it answers.
NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
# Listening sockets that an earlier process of ours has left to us, by the name it stored them under.
Stored: TypeAlias = MutableMapping[str, socket.socket]

# What their names begin with, and how much of a name the number of a slot leaves to the address.
STORED: Final = "mpserve/"
LONGEST_KEY: Final = LONGEST_NAME - len("/1023")


@dataclass(frozen=True, slots=True)
class Listener:
    """One address: a socket for each slot, or a single one for all."""

    sockets: tuple[socket.socket, ...]
    url: str
    path: str | None = None  # of a Unix socket whose file is ours
    inode: int = 0
    shared: bool = False  # one socket for all slots
    key: str = ""  # its name in the store; "" where it is somebody else's to keep
    address: Address | None = None  # what it was opened for; None: somebody else has opened it

    def stored(self) -> Iterator[tuple[str, socket.socket]]:
        """Each socket that is to be stored, and the name it will be found by."""
        if self.key:
            for slot, sock in enumerate(self.sockets):
                yield slot_name(self.key, slot), sock

    def of_slot(self, slot: int) -> socket.socket:
        """The socket whose connections are `slot`'s first."""
        return self.sockets[slot % len(self.sockets)]

    def turn_away(self) -> None:
        """Refuse whoever comes from now on, by any process; who has come waits to be accepted. For ever.

        Between the last accept of a queue that is never empty and its close somebody would come, and be reset.
        A socket bound to another interface is not found by a new SYN, while its queue stays as it is. It cannot
        be bound back without privileges: not for sockets that others keep.
        """
        for sock in self.sockets:
            if self.key and sock.family != socket.AF_UNIX:
                with contextlib.suppress(
                    OSError
                ):  # a kernel before 5.7: then it is as it always was
                    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)

    def close(self) -> None:
        """Close our copies. A Unix socket's file goes too, if it is still ours."""
        for sock in self.sockets:
            sock.close()

    def unlink(self) -> None:
        """Remove a Unix socket's file, unless another server has put its own there."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == self.inode:
                    os.unlink(self.path)


def listen(
    addresses: tuple[Address, ...], slots: int, backlog: int, stored: Stored | None = None
) -> list[Listener]:
    """Bind every address, once for each slot. Raises ConfigError naming the address that cannot be.

    What is in `stored` under the name of a slot is taken out of it, and is that slot's socket.
    """
    stored = {} if stored is None else stored
    listeners: list[Listener] = []
    for address in addresses:
        try:
            found = listen_at(address, slots, backlog, stored)
            listeners += [dataclasses.replace(each, address=address) for each in found]
        except OSError as error:
            for listener in listeners:
                listener.close()
                listener.unlink()
            raise ConfigError(f"--bind {address}: {reason(error)}") from error
    return listeners


def relisten(
    addresses: tuple[Address, ...], slots: int, backlog: int, old: list[Listener]
) -> list[Listener]:
    """The listeners of `addresses`: those of `old` as they are, the others opened. Raises ConfigError.

    An address keeps as many sockets as it was opened with, however many workers there are: to close one
    would reset who waits in it, and to add one would let them wait for workers that may never come up.
    """
    there = {listener.address for listener in old}
    opened = listen(tuple(each for each in addresses if each not in there), slots, backlog)
    kept = [each for each in old if each.address is None or each.address in addresses]
    for listener in kept:
        for sock in listener.sockets:
            sock.listen(backlog)  # only the limit of the queue changes
    return kept + opened


def listen_at(address: Address, slots: int, backlog: int, stored: Stored) -> list[Listener]:
    """The listeners of one address; a host name may stand for several. Raises OSError."""
    if address.path is not None:
        return [listen_unix(address.path, backlog, stored)]
    assert address.port is not None
    if address.host:
        return listen_at_each(resolved(address.host, address.port), slots, backlog, stored)
    try:
        name = ("::", address.port)
        return [listen_tcp(socket.AF_INET6, name, slots, backlog, stored, dual=True)]
    except OSError as error:
        if error.errno not in NO_IPV6:
            raise
        name = ("0.0.0.0", address.port)  # noqa: S104  # asked for
        return [listen_tcp(socket.AF_INET, name, slots, backlog, stored)]


def resolved(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """The families and socket addresses that a host name stands for. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "no host can have that name") from error
    return [(family, name) for family, _, _, _, name in found]


def listen_at_each(
    names: Sequence[tuple[int, tuple[object, ...]]], slots: int, backlog: int, stored: Stored
) -> list[Listener]:
    """A listener for each; a family that this machine does not have is left out, if another remains."""
    listeners: list[Listener] = []
    for family, name in names:
        try:
            listeners.append(listen_tcp(family, name, slots, backlog, stored))
        except OSError as error:
            missing = family == socket.AF_INET6 and error.errno in NO_IPV6
            if missing and len(names) > 1:
                continue
            for listener in listeners:
                listener.close()
            raise
    return listeners


def listen_tcp(
    family: int,
    name: tuple[object, ...],
    slots: int,
    backlog: int,
    stored: Stored,
    *,
    dual: bool = False,
) -> Listener:
    """One socket for each slot, all at `name`. Raises OSError; EADDRINUSE if anyone listens there.

    Stored sockets of slots that are not there any more are kept too: somebody may wait in them.
    """
    key = key_of("*" if dual else str(name[0]), str(name[1]))
    sockets = take_stored(key, stored)
    if sockets:
        name = sockets[0].getsockname()
    else:
        with bound(family, name, dual=dual, shared=False):
            pass  # SO_REUSEPORT would hide another server of ours, and take half its connections
    try:
        while len(sockets) < slots:
            sock = bound(family, name, dual=dual, shared=True)
            sockets.append(sock)
            name = sock.getsockname()  # port 0 has become a number
        for sock in sockets:
            set_tcp_options(sock)
            sock.listen(backlog)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return Listener(tuple(sockets), url_of(sockets[0], dual=dual), key=key)


def set_tcp_options(sock: socket.socket) -> None:
    """What a listening TCP socket hands on to the connections that come from it."""
    for level, option, value in TCP_OPTIONS:
        sock.setsockopt(level, option, value)


def bound(family: int, name: tuple[object, ...], *, dual: bool, shared: bool) -> socket.socket:
    """A non-blocking socket bound to `name`, that others of this user may share or not."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.setblocking(False)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def listen_unix(path: str, backlog: int, stored: Stored) -> Listener:
    """A Unix socket at `path`, one for all slots. A dead socket's file is replaced, a live one refused."""
    key = key_of("unix", path)
    found = take_stored(key, stored)
    if found and os.path.exists(path):
        return unix_listener(found[0], path, key)
    for sock in found:  # nobody finds the way to it any more
        sock.close()
    if is_answered(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fresh = f"{path}.{os.getpid()}"
    try:
        sock.setblocking(False)
        # Bound under another name and moved over: at no moment is the name free for someone else's.
        sock.bind(fresh)
        os.chmod(fresh, UNIX_MODE)
        sock.listen(backlog)
        os.rename(fresh, path)
        return unix_listener(sock, path, key)
    except OSError:
        sock.close()
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def unix_listener(sock: socket.socket, path: str, key: str) -> Listener:
    """The listener of `sock`, to which the file `path` leads."""
    inode = os.stat(path).st_ino
    return Listener((sock,), f"unix:{path}", path, inode, shared=True, key=key)


def listen_on(sock: socket.socket) -> Listener:
    """The listener of a socket that somebody else has made and keeps (systemd's socket units)."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return Listener((sock,), f"unix:{os.fsdecode(sock.getsockname())}", shared=True)
    set_tcp_options(sock)
    dual = sock.family == socket.AF_INET6 and not sock.getsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    )
    return Listener((sock,), url_of(sock, dual=dual), shared=True)


# The names of stored sockets. They are compared, never parsed.


def key_of(*words: str) -> str:
    """What stands for an address in the store."""
    key = STORED + "/".join(quote(word, safe="[].*/") for word in words)
    if len(key) <= LONGEST_KEY:
        return key
    return STORED + hashlib.sha256(key.encode()).hexdigest()


def slot_name(key: str, slot: int) -> str:
    """The name of the socket of one slot."""
    return f"{key}/{slot}"


def take_stored(key: str, stored: Stored) -> list[socket.socket]:
    """Take what is stored of the address, in the order of the slots."""
    sockets: list[socket.socket] = []
    while (name := slot_name(key, len(sockets))) in stored:
        sockets.append(stored.pop(name))
    return sockets


def is_answered(path: str) -> bool:
    """Whether a server listens at `path`. Raises OSError where something else than a socket lies there."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is not a socket lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(path)
    if answer == errno.ECONNREFUSED:
        return False
    if answer in (0, errno.EAGAIN):  # EAGAIN: its queue is full
        return True
    # Somebody else's, or of another kind: it cannot be told to be dead.
    raise OSError(answer, os.strerror(answer))


def url_of(sock: socket.socket, *, dual: bool) -> str:
    """What a person on this machine types to reach `sock`."""
    host, port = sock.getsockname()[:2]
    if host == "::" and not dual:
        host = "::1"
    elif dual or host == "0.0.0.0":  # noqa: S104  # compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def reason(error: OSError) -> str:
    """The error in the operator's words."""
    if error.errno == errno.EADDRINUSE:
        return "the address is in use (is another server running there?)"
    if error.errno == errno.EACCES:
        return "no right to bind it (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    return error.strerror or str(error)


def accept_at_once(sock: socket.socket) -> None:
    """Let connections in that have not sent anything: whoever listens here is about to stop."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)


def peer_of(address: object) -> bytes:
    """A client's address as text, as `accept` gave it: IPv4 in its own form, `unix:` without one."""
    if not isinstance(address, tuple):
        return b"unix:"
    host: str = address[0]
    return host.removeprefix("::ffff:").encode("ascii", "replace")
