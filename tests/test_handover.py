"""Logs that the master opens anew reach workers that have no right to open them."""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import errorlog
from mpserve.accesslog import AccessLog
from mpserve.config import Config, load
from mpserve.handover import Ends, Handover, adopt
from tests.streams import ended_well, fork, forks

log = logging.getLogger("mpserve.somewhere")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    errorlog.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    paths = {"access": str(tmp_path / "access.log"), "error": str(tmp_path / "error.log")}
    argv = ["--access-log", paths["access"], "--error-log", paths["error"], str(tmp_path)]
    return load(argv, {})


@pytest.fixture
def access(config: Config) -> Iterator[AccessLog]:
    """The access log of the master; the error log is open too."""
    errorlog.open(config.error_log, "info")
    opened = AccessLog.open(config.access_log, "json")
    yield opened
    opened.close()


@pytest.fixture
def handover(config: Config) -> Iterator[tuple[Handover, socket.socket]]:
    """A master's ends, with that of one worker, whose pid is 1."""
    handover = Handover()
    ends = handover.prepare()
    workers = ends.workers.dup()
    handover.keep(1, ends, config)
    yield handover, workers
    handover.forget(1)
    workers.close()


def rename(config: Config) -> None:
    for path in (config.access_log, config.error_log):
        os.rename(path, f"{path}.1")


def write(log_of_worker: AccessLog, target: bytes) -> None:
    about = log_of_worker.layout.about(b"GET /%b HTTP/1.1" % target, {})
    text = log_of_worker.layout.exchange(about, 200, 0)
    log_of_worker.record([b"127.0.0.1"], [text], [about.end], 0.0)
    log_of_worker.flush()


Pair = tuple[Handover, socket.socket]


@forks
def test_a_worker_without_rights_goes_on_in_the_new_files(
    config: Config, access: AccessLog
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take rights away")
    handover = Handover()
    ends = handover.prepare()

    def work() -> None:
        workers = handover.inherit(ends)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError):
            access.reopen()
        write(access, b"before")
        log.info("before")
        workers.send(b"ready")
        assert select.select([workers], [], [], 10)[0]
        assert adopt(workers, access)
        write(access, b"after")
        log.info("after")

    os.chmod(Path(config.access_log).parent, 0o700)
    child = fork(work)
    handover.keep(child, ends, config)
    masters, _ = handover._ends[child]
    assert select.select([masters], [], [], 10)[0]
    rename(config)
    handover.reopen(access, config)

    assert ended_well(child)
    handover.forget(child)
    for path in (config.access_log, config.error_log):
        old, new = Path(f"{path}.1").read_text(), Path(path).read_text()
        assert (old.count("before"), old.count("after")) == (1, 0)
        assert (new.count("before"), new.count("after")) == (0, 1)


def test_each_worker_has_a_descriptor_of_its_own(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover
    rename(config)
    master.reopen(access, config)

    mine = AccessLog.open(f"{config.access_log}.1", "json")
    assert adopt(workers, mine)
    access.close()
    write(mine, b"a")
    mine.close()
    assert Path(config.access_log).read_text().count('"target":"/a"') == 1


def test_a_worker_of_another_configuration_keeps_its_logs(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover
    other = dataclasses.replace(config, log_format="json", error_log_format="json")

    master.reopen(access, other)

    assert select.select([workers], [], [], 0)[0] == []


def test_of_another_configuration_what_is_the_same_is_handed_over(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover

    master.reopen(access, dataclasses.replace(config, log_format="json"))

    message, fds, _, _ = socket.recv_fds(workers, 100, 9)
    (fd,) = fds
    same = os.path.samestat(os.fstat(fd), os.stat(config.error_log))
    os.close(fd)
    assert (message, same) == (b"error", True)


def test_a_log_that_cannot_be_opened_stays_and_the_other_is_handed_over(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover
    rename(config)
    os.mkdir(config.access_log)

    master.reopen(access, config)

    message, fds, _, _ = socket.recv_fds(workers, 100, 9)
    for fd in fds:
        os.close(fd)
    assert (message, len(fds)) == (b"error", 1)
    said = Path(config.error_log).read_text()
    assert f"access log: the old file stays in use: {config.access_log}: Is a directory" in said


def test_standard_streams_are_handed_to_nobody(tmp_path: Path, handover: Pair) -> None:
    master, workers = handover
    standard = AccessLog.open("off", "json")

    master.reopen(standard, load([str(tmp_path)], {}))

    assert select.select([workers], [], [], 0)[0] == []


def test_a_worker_that_takes_nothing_holds_nobody_up(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, _workers = handover
    for _ in range(10_000):
        master.reopen(access, config)
        if "does not take the logs" in Path(config.error_log).read_text():
            return
    pytest.fail("nobody was told")


def test_a_worker_that_is_gone_is_no_trouble(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover
    workers.close()

    master.reopen(access, config)

    assert Path(config.error_log).read_text() == ""


def test_a_worker_is_told_when_its_master_is_gone(
    config: Config, access: AccessLog, handover: Pair
) -> None:
    master, workers = handover
    assert adopt(workers, access)  # nothing has come, but it may
    master.forget(1)

    assert not adopt(workers, access)


def test_a_worker_keeps_no_end_that_leads_to_a_sibling(config: Config, handover: Pair) -> None:
    master, workers = handover
    mine = master.inherit(master.prepare())

    assert workers.recv(1) == b""  # nobody holds the other end any more
    assert mine.fileno() >= 0
    mine.close()


def test_what_a_worker_has_no_room_for_is_let_be(config: Config, access: AccessLog) -> None:
    ends: Ends = Handover.prepare()
    ends.masters.send(b"access error")  # as it is where no descriptor is left for what came along

    assert adopt(ends.workers, access)
    write(access, b"a")
    ends.close()
    assert Path(config.access_log).read_text().count("\n") == 1
