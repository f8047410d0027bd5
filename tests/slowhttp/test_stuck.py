"""What sockets hold is read from ss."""

from __future__ import annotations

from loadtests.slowhttp.stuck import Stuck, mean, memory_of

PRINTED = """\
0 65664 127.0.0.1:38173 127.0.0.1:34604 skmem:(r10,rb131072,t7,tb4194304,f3392,w156352,o100,bl0,d0)
0 0     127.0.0.1:38173 127.0.0.1:34656 skmem:(r0,rb131072,t0,tb4194304,f0,w0,o0,bl0,d0)
"""


def test_received_reserved_queued_and_options_are_what_a_socket_holds() -> None:
    assert memory_of(PRINTED) == [10 + 3392 + 156352 + 100, 0]


def test_without_sockets_the_mean_is_nothing() -> None:
    assert [mean([]), mean([1, 2])] == [0.0, 1.5]


def test_a_stuck_reader_costs_what_kernel_and_processes_hold() -> None:
    assert Stuck(1, 100.0, 23.0, 0).together == 123.0
