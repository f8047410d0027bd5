"""The floor in Python: the smallest loop around epoll, `os.read` and `os.write` that sends the octets it was given.

As floor.c it parses nothing, looks nothing up and keeps no time. And it knows that an answer is small, and that
requests come whole and at most COPIES at a time. What a server in Python spends beyond it is the server's own doing;
what it spends beyond floor.c is the interpreter's.
usage: floor_in_python.py LISTENER ANSWER 0   as floor.c; connections stay
"""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path

SIZE = 65536
COPIES = 16  # most answers that leave together
END_OF_HEAD = b"\r\n\r\n"


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    door = listener.fileno()
    answer = Path(sys.argv[2]).read_bytes()
    answers = [answer * number for number in range(COPIES + 1)]
    poller = select.epoll()
    poller.register(door, select.EPOLLIN)
    read, write = os.read, os.write
    while True:
        owed = []
        for fd, _ in poller.poll():
            if fd == door:
                admit(listener, poller)
                continue
            try:
                octets = read(fd, SIZE)
            except ConnectionError:
                octets = b""
            if octets:
                owed.append((fd, answers[octets.count(END_OF_HEAD)]))
            else:
                os.close(fd)
        for fd, octets in owed:
            try:
                write(fd, octets)
            except ConnectionError:  # epoll tells it once more
                continue


def admit(listener: socket.socket, poller: select.epoll) -> None:
    """Everyone who waits. Their sockets block, and are asked for nothing that is not there."""
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        poller.register(client.detach(), select.EPOLLIN | select.EPOLLET)


if __name__ == "__main__":
    main()
