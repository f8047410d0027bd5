"""What an image of the master tells the next one, as values of JSON, and what that one makes of it.

A descriptor is taken as a copy: the one that was told stays as it is until the new image has settled.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from mpserve import errorlog
from mpserve.admin import Admin, Client
from mpserve.config import Address, ConfigError
from mpserve.edition import open_adopted, open_next
from mpserve.handover import ERROR, logs_of, paths_of
from mpserve.listeners import Listener
from mpserve.pipes import Pipes
from mpserve.process import PidFile
from mpserve.relay import Relay
from mpserve.scoreboard import Row, Scoreboard
from mpserve.situation import Phase, Process, Situation, Slot, Wear

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpserve.config import Config
    from mpserve.edition import Edition
    from mpserve.estate import Estate
    from mpserve.exposition import Snapshot

Told: TypeAlias = dict[str, Any]


# --- The whole ------------------------------------------------------------------------------------


def tell(estate: Estate) -> Told:
    """All that the next image has to know. Who is not ready is killed: that image would not know him."""
    situation = estate.situation
    places = [(slot.number, each) for slot in situation.slots for each in slot.processes]
    known = [*places, *((None, each) for each in situation.retiring)]
    estate.signal([each for _, each in known if not each.ready], signal.SIGKILL)
    return {
        "generation": situation.generation,
        "slots": len(situation.slots),
        "workers": [
            tell_worker(each, estate.rows[each.pid], number) | estate.handover.tell(each.pid)
            for number, each in known
            if each.ready
        ],
        "gone": [],  # of these; see vigil
        "listeners": [tell_listener(each) for each in estate.edition.listeners],
        "words": estate.pipes.words,
        "life": estate.pipes.life,
        "relay": estate.relay.ends,
        "admin": tell_admin(estate.admin, estate.edition.config.admin),
        "graceful": estate.edition.config.timeouts.graceful,
        "started": estate.started,
        "began": estate.began,
        "totals": estate.scoreboard.gone(),
        "pid_file": estate.pid_file.fd if estate.pid_file is not None else None,
        "pid_path": estate.edition.config.pid_file,
        "error_log": errorlog.descriptor(),
        "error_path": paths_of(logs_of(estate.edition.config)).get(ERROR),
    }


def adopt(estate: Estate, config: Config, told: Told) -> Edition:
    """Go on with what the image before this one has left; the edition that is to follow. Raises ConfigError."""
    if told["pid_path"] != config.pid_file:
        raise ConfigError("--pid-file cannot change without a restart")
    if config.pid_file is not None:
        estate.pid_file = PidFile.adopt(config.pid_file, os.dup(told["pid_file"]))
    estate.pipes.close()
    estate.pipes = Pipes.adopt(told["words"], told["life"])
    estate.relay.close()
    estate.relay = Relay.adopt(told["relay"])
    estate.started, estate.began = told["started"], told["began"]
    slots = [Slot(number) for number in range(told["slots"])]
    estate.situation = Situation(slots, Phase.SERVING, generation=told["generation"])
    adopt_workers(estate, told)
    listeners = [adopt_listener(listener) for listener in told["listeners"]]
    estate.serving = open_adopted(config, told["generation"], listeners)
    return open_next(config, estate.serving)


def adopt_workers(estate: Estate, told: Told) -> None:
    """The workers that were told, and what those counted that are gone."""
    estate.scoreboard.close()
    estate.scoreboard = Scoreboard.create(told["totals"])
    rows = adopt_rows([*told["workers"], *told["gone"]])
    for row in rows.values():
        estate.scoreboard.adopt(row)
    now = time.monotonic()
    for worker in told["workers"]:
        estate.situation.take_in(adopt_worker(worker, now), worker["slot"])
        estate.handover.adopt(worker["pid"], worker)
    for worker in told["gone"]:
        estate.scoreboard.release(rows.pop(worker["pid"]))
    estate.rows = rows


# --- Its parts ------------------------------------------------------------------------------------


def tell_admin(admin: Admin | None, address: Address | None) -> Told | None:
    """The admin address, and who is being served there."""
    if admin is None:
        return None
    return {
        "address": str(address),
        "listeners": [tell_listener(each) for each in admin.listeners],
        "clients": [tell_client(each) for each in admin.clients],
    }


def adopt_admin(
    told: Told, address: Address | None, snapshot: Callable[[], Snapshot]
) -> Admin | None:
    """The admin address that was told, with its clients; None if it is to be another one."""
    admin = Admin([adopt_listener(each) for each in told["listeners"]], snapshot)
    if told["address"] != str(address):
        admin.close()
        return None
    for client in told["clients"]:
        admin.seat(adopt_client(client))
    return admin


def tell_client(client: Client) -> Told:
    """A client of the admin address."""
    return {
        "fd": client.sock.fileno(),
        "received": client.received.decode("latin-1"),
        "waiting": client.waiting.decode("latin-1"),
        "answered": client.answered,
    }


def adopt_client(told: Told) -> Client:
    """A client that was told."""
    client = Client(socket.socket(fileno=os.dup(told["fd"])))
    client.received = told["received"].encode("latin-1")
    client.waiting = told["waiting"].encode("latin-1")
    client.answered = told["answered"]
    if client.received and not client.answered:
        client.protocol.receive(client.received)
    return client


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
        "wear": process.wear.name,
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
        wear=Wear[told["wear"]],
        kill_at=kill_at,
    )


def adopt_rows(workers: list[Told]) -> dict[int, Row]:
    """The rows of the workers that were told, by their process IDs."""
    boards = {fd: Scoreboard(os.dup(fd)) for fd in {worker["board"] for worker in workers}}
    return {worker["pid"]: Row(boards[worker["board"]], worker["row"]) for worker in workers}
