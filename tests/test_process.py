"""What a process tells the system about itself, and learns from it."""

from __future__ import annotations

from mpserve.process import Memory, outgrown


def test_a_limit_below_what_every_child_has_is_worth_a_warning() -> None:
    memory = Memory()
    inherited = memory.inherited()
    memory.close()

    assert 0 < inherited
    assert outgrown(1000)[0].startswith("--max-rss 1000 is less than a fresh worker occupies, ")
    assert [] == outgrown(2 * inherited)


def test_no_limit_is_none_that_is_too_low() -> None:
    assert [] == outgrown(0)
