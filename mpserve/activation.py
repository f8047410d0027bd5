"""Where the listening sockets come from: from systemd's store, from a socket unit, or from bind(2).

A slot's socket that was stored comes back into its slot with all who wait in it, so that not even a
master that was killed loses a connection. A socket unit's sockets are served in the place of --bind.
"""

from __future__ import annotations

import os
import socket

from mpserve.config import Config, ConfigError
from mpserve.listeners import STORED, Listener, Stored, listen, listen_on
from mpserve.notify import Notifier, Passed


def open_listeners(config: Config, passed: list[Passed], notifier: Notifier) -> list[Listener]:
    """The listeners of `config`, each socket of them stored. Raises ConfigError."""
    stored: Stored = {}
    activated: list[Listener] = []
    for name, fd in passed:
        if name.startswith(STORED):
            stored[name] = socket.socket(fileno=fd)
        else:
            activated.append(listen_on(listening_socket(name, fd)))
    listeners = activated or listen(config.bind, config.workers, config.backlog, stored)
    for name, sock in stored.items():  # of an address that is not served any more
        sock.close()
        notifier.unstore(name)
    store(listeners, notifier)
    return listeners


def store(listeners: list[Listener], notifier: Notifier) -> None:
    """Have systemd keep a copy of every socket; one that it has already is not kept twice."""
    for listener in listeners:
        for name, sock in listener.stored():
            notifier.store(name, sock.fileno())


def listening_socket(name: str, fd: int) -> socket.socket:
    """The socket that a socket unit passed. Raises ConfigError for what nobody can be accepted from."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        os.close(fd)
        raise ConfigError(f"LISTEN_FDS: {name} (descriptor {fd}): {error.strerror}") from None
    if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return sock
    sock.close()
    raise ConfigError(
        f"LISTEN_FDS: {name} (descriptor {fd}) is not a listening stream socket: "
        "its unit needs ListenStream= and Accept=no"
    )
