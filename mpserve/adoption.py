"""What an image of the master tells the next one, as values of JSON, and what that one makes of it.

A descriptor is taken as a copy: the one that was told stays as it is until the new image has settled.
"""

from __future__ import annotations

import dataclasses
import math
import os
import socket
from typing import Any, TypeAlias

from mpserve.config import Address
from mpserve.listeners import Listener
from mpserve.scoreboard import Row, Scoreboard
from mpserve.supervision import Process

Told: TypeAlias = dict[str, Any]


def tell_listener(listener: Listener) -> Told:
    """A listener."""
    address = listener.address
    return {
        "fds": [sock.fileno() for sock in listener.sockets],
        "url": listener.url,
        "path": listener.path,
        "inode": listener.inode,
        "shared": listener.shared,
        "key": listener.key,
        "address": None if address is None else dataclasses.asdict(address),
    }


def adopt_listener(told: Told) -> Listener:
    """A listener that was told."""
    sockets = tuple(socket.socket(fileno=os.dup(fd)) for fd in told["fds"])
    for sock in sockets:
        sock.setblocking(False)
    address = None if told["address"] is None else Address(**told["address"])
    others = {name: told[name] for name in ("url", "path", "inode", "shared", "key")}
    return Listener(sockets, address=address, **others)


def tell_worker(process: Process, row: Row, slot: int | None) -> Told:
    """A worker, its row of the scoreboard, and the slot it is in; None if it retires."""
    return {
        "pid": process.pid,
        "generation": process.generation,
        "slot": slot,
        "board": row.board.fd,
        "row": row.number,
        "outworn": process.outworn,
        "kill_at": None if process.kill_at == math.inf else process.kill_at,
    }


def adopt_worker(told: Told, now: float) -> Process:
    """A worker that was told. It was ready, or it would not have been."""
    kill_at = math.inf if told["kill_at"] is None else told["kill_at"]
    return Process(
        told["pid"],
        told["generation"],
        forked_at=now,
        ready_at=now,
        outworn=told["outworn"],
        kill_at=kill_at,
    )


def adopt_rows(workers: list[Told]) -> dict[int, Row]:
    """The rows of the workers that were told, by their process IDs."""
    boards = {fd: Scoreboard(os.dup(fd)) for fd in {worker["board"] for worker in workers}}
    return {worker["pid"]: Row(boards[worker["board"]], worker["row"]) for worker in workers}
