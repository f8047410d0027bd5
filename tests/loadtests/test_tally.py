"""What a client counts, and how it reaches the master."""

from __future__ import annotations

import json

from loadtests.faults import Fault, Kind
from loadtests.tally import EXAMPLES, Tally, received


def some(offset: int = 0) -> Tally:
    """A tally in which every count is there."""
    tally = Tally()
    tally.answered("page", 200)
    tally.answered("page", 304)
    tally.answered("asset", 200)
    tally.unfinished = 2 + offset
    tally.timed("page", 0.123)
    tally.timed("page", 0.119)
    tally.failed("page", Fault(Kind.LOST, "gone"))
    tally.connections = 3
    tally.busy.append(12.5)
    tally.lag.append(0.25)
    return tally


def test_a_tally_arrives_as_it_was_sent_and_begins_anew() -> None:
    sender = some()
    message = json.loads(json.dumps(sender.take()))

    assert received(message) == some()
    assert sender == Tally()


def test_tallies_add_up() -> None:
    total = some()
    total.add(some(offset=5))

    assert total.answers == {("page", 200): 2, ("page", 304): 2, ("asset", 200): 2}
    assert total.statuses() == {200: 4, 304: 2}
    assert total.unfinished == 9
    assert total.faults == {("lost", "page"): 2}
    assert total.examples == ["page: lost: gone"] * 2
    assert total.connections == 6
    assert total.due == {"page": {0.12: 4}}
    assert (total.busy, total.lag) == ([12.5, 12.5], [0.25, 0.25])


def test_examples_are_bounded() -> None:
    tally = Tally()
    for place in range(3 * EXAMPLES):
        tally.failed("page", Fault(Kind.OCTETS, f"octet {place}"))
    tally.add(tally)

    assert len(tally.examples) == EXAMPLES
    assert tally.faults == {("wrong octets", "page"): 6 * EXAMPLES}


def test_a_fault_is_one_error_to_locust_whatever_its_detail() -> None:
    faults = {repr(Fault(Kind.OCTETS, detail)) for detail in ("octet 1", "octet 2")}

    assert faults == {"wrong octets"}
