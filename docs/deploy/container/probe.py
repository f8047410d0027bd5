"""Ask a server how it is: probe.py ADDRESS PATH, as in 127.0.0.1:8080 /. Exit status 0 if the answer is 200.

For probes that are commands. It takes an interpreter without site packages, a socket and one line, because it runs
every few seconds, and in an image that has no curl.
"""

import socket
import sys

LIMIT = 4.0  # seconds, for each step; less than the probe's own limit, so that it is this that says what was wrong


def status(address: str, path: str) -> bytes:
    """The status line of GET `path` at `address`, HOST:PORT or unix:/path."""
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(LIMIT)
        client.connect(target(address))
        client.sendall(
            b"GET %b HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n" % path.encode()
        )
        answer = b""
        while b"\r\n" not in answer and (octets := client.recv(4096)):
            answer += octets
    return answer.partition(b"\r\n")[0]


def target(address: str) -> str | tuple[str, int]:
    """What connect() takes for `address`."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    return host, int(port)


def main(arguments: list[str]) -> int:
    """The exit status for these arguments; what was answered stands on standard output."""
    try:
        address, path = arguments
        line = status(address, path)
    except (OSError, ValueError) as error:
        print(f"probe: {error}", file=sys.stderr)
        return 1
    print(line.decode("latin-1"))
    return 0 if line.split(b" ")[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
