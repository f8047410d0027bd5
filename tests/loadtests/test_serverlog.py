"""Counting the lines of an access log."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.serverlog import count_statuses

COMBINED = (
    b'127.0.0.1 - - [20/Nov/2026:13:00:00 +0000] "GET /%s HTTP/1.1" %d 512 "-" "curl \\"x\\""\n'
)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(COMBINED % (b"a", 200), 200, id="combined"),
        pytest.param(COMBINED % (rb"\" 404 ", 206), 206, id="a request that would forge a status"),
        pytest.param(b'::1 - - [-] "-" 400 0\n', 400, id="common, nothing understood"),
        pytest.param(b'{"path": "/\\" 500 ", "status": 304, "bytes": 0}\n', 304, id="json"),
        pytest.param(b'{"status": "304"}\n', 0, id="json with a text"),
        pytest.param(b"{broken\n", 0, id="no json after all"),
        pytest.param(b"something else\n", 0, id="no log line"),
    ],
)
def test_the_status_of_a_line(tmp_path: Path, line: bytes, status: int) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(line)

    assert count_statuses(log) == {status: 1}


def test_lines_from_an_offset_on_and_only_whole_ones(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    before = COMBINED % (b"before", 200)
    log.write_bytes(before + 3 * COMBINED % (b"a", 200, b"b", 200, b"c", 404) + b'::1 "GET /" 200 ')

    assert count_statuses(log, len(before)) == {200: 2, 404: 1}
