"""The table of system calls is read from strace's, and is per request."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from loadtests.benchmark.calls import describe, parse, traced
from loadtests.benchmark.client import ClientError

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

REPORT = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 70.37    0.243064           8     28862           sendto
 25.32    0.087443           3     28873           recvfrom
  0.89    0.003066           3       901       900 newfstatat
------ ----------- ----------- --------- --------- ----------------
100.00    0.345410           5     58636       900 total
"""


def test_calls_are_counted_with_those_that_failed() -> None:
    assert parse(REPORT) == {"sendto": 28862, "recvfrom": 28873, "newfstatat": 901}


@pytest.mark.parametrize("text", ["", "strace: Process 1 attached\n"])
def test_a_report_without_a_table_counts_nothing(text: str) -> None:
    assert parse(text) == {}


def test_they_are_told_per_request_and_the_most_frequent_first() -> None:
    calls = {"stat": 50, "send": 1000, "poll": 4, "recv": 1010}

    assert describe(calls, 1000) == "recv 1.01, send 1.00, stat 0.05"


@needs_strace
def test_the_calls_of_another_process_are_counted(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        while os.read(ours, 1) == b"x":
            os.getppid()
        os._exit(0)
    with traced([child], tmp_path / "report"):
        os.write(theirs, b"xxx-")
        os.waitpid(child, 0)
    os.close(ours)
    os.close(theirs)

    assert parse((tmp_path / "report").read_text())["getppid"] == 3


@needs_strace
def test_who_cannot_be_traced_is_named(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

    with pytest.raises(ClientError, match="does not attach"), traced([child], tmp_path / "report"):
        pass
