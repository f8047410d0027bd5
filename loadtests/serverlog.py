"""Counting the lines of an access log. Understands `combined`, `common` and `json`, whichever server wrote them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

# … "request line" status …; a quote within the request line is escaped
_COMMON = re.compile(rb'"(?:[^"\\]|\\.)*" (?P<status>[1-5][0-9]{2}) ')


def count_statuses(path: Path, offset: int = 0) -> Counter[int]:
    """Status → lines, from this offset to the end. A last line without its end is not counted yet."""
    with path.open("rb") as log:
        log.seek(offset)
        return Counter(_status(line) for line in log if line.endswith(b"\n"))


def _status(line: bytes) -> int:
    """The status in a line; 0 where there is none, which no client has counted either."""
    if line.startswith(b"{"):
        return _status_of_json(line)
    found = _COMMON.search(line)
    return int(found["status"]) if found else 0


def _status_of_json(line: bytes) -> int:
    try:
        status = json.loads(line).get("status", 0)
    except (ValueError, AttributeError):
        return 0
    return status if isinstance(status, int) else 0
