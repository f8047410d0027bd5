"""A network of its own for the benchmark: nobody else's connections, rules or queues are on the way."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from typing import Final

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
IFF_UP: Final = 1
REQUEST: Final = struct.Struct("16sh22x")  # a name and flags, as netdevice(7) has them

OWN = "a namespace of its own"
SHARED = "that of the system, for lack of rights: whatever else it is used for is in the figures"


def leave_for_own() -> str:
    """Put this process, and all that it starts, into a new network namespace; which it is in now, in words.

    A namespace holds its loopback interface alone, and ends with its last process. It takes root.
    """
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        return SHARED
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = REQUEST.pack(b"lo", 0)
        _, flags = REQUEST.unpack(fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, REQUEST.pack(b"lo", flags | IFF_UP))
    return OWN
