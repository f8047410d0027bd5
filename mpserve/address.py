"""Addresses to listen on: what they are, and how they are written."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final

from mpserve.settings import ConfigError

DEFAULT_HOST: Final = "127.0.0.1"
MAX_PORT: Final = 65535
# A socket address has 107 bytes for a path, and a socket is made under a longer name, then moved.
MAX_UNIX_PATH: Final = 96


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and a port, or the path of a Unix socket.

    The host "" is every address, IPv6 and IPv4.
    """

    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.host is None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def public(self) -> bool:
        """Whether other machines may reach it. What a name stands for is not looked up."""
        if self.host is None or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def covers(self, other: Address) -> bool:
        """Whether this is every address of a kind, and the different `other` one of them, at the same port.

        Port 0 is another one each time. What a name stands for is not looked up.
        """
        if self.host is None or other.host is None or self == other:
            return False
        if self.port != other.port or self.port == 0:
            return False
        if self.host == "":
            return True
        try:
            return self.host == str(type(ipaddress.ip_address(other.host))(0))
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Where to listen."""
    if text.startswith("unix:"):
        return parse_unix_address(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not is_port(port):
        if is_host(text):
            raise ConfigError(f"{text!r} has no port; did you mean {text}:8000?")
        raise ValueError
    if not colon:
        return Address(DEFAULT_HOST, int(port))
    if host.startswith("[") and host.endswith("]"):
        # One spelling for each address: the same one twice is to be noticed.
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
        raise ConfigError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:8000")
    if host and not is_host(host):
        raise ValueError
    return Address(host, int(port))


def parse_admin_address(text: str) -> Address:
    """Where the master listens: a place that only this machine can reach."""
    address = parse_address(text)
    if address.public:
        raise ConfigError(
            f"{address} can be reached from elsewhere; name a loopback address or unix:/path"
        )
    return address


def parse_unix_address(path: str) -> Address:
    """A Unix socket: an absolute path that fits into a socket address."""
    if not path.startswith("/") or "\0" in path:
        raise ValueError
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise ConfigError(f"{path!r}: a Unix socket's path has {MAX_UNIX_PATH} bytes at most")
    return Address(path=path)


def is_port(text: str) -> bool:
    """Whether `text` is a port; 0 stands for any that is free."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and int(text) <= MAX_PORT


def is_host(text: str) -> bool:
    """Whether `text` is an IPv4 address or a host name; what looks like an address must be one."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    # RFC 1123 §2.1, and the underscore that names in container networks have.
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*", text) is not None
