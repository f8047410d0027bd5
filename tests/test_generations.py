"""Two generations: what is kept, for how long, and that its bounds hold whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.generations import LEAST_ENTRIES, Cost, Generations

SMALL = Cost(octets=10, files=0)
OPEN = Cost(octets=10, files=1)

Kept = Generations[str, str]


def of_ten() -> Kept:
    """Ten small ones fill a generation."""
    return Generations(octets=200, files=20)


def fill(kept: Kept, names: str, cost: Cost = SMALL) -> None:
    for name in names:
        kept.put(name, name.upper(), cost)


def found(kept: Kept, names: str) -> str:
    """Those of `names` that are kept, in their order."""
    return "".join(name for name in names if kept.get(name) is not None)


def test_what_was_put_is_found() -> None:
    kept = of_ten()
    fill(kept, "abc")

    assert [kept.get(name) for name in "abcd"] == ["A", "B", "C", None]
    assert (len(kept), kept.young) == (3, {"a": "A", "b": "B", "c": "C"})


def test_the_last_value_counts() -> None:
    kept = of_ten()
    kept.put("a", "first", SMALL)
    kept.put("a", "second", SMALL)

    assert (kept.get("a"), len(kept)) == ("second", 1)


def test_a_full_generation_becomes_the_old_one() -> None:
    kept = of_ten()
    fill(kept, "abcdefghijk")

    assert (len(kept), kept.young) == (11, {"k": "K"})
    assert found(kept, "abcdefghijk") == "abcdefghijk"


def test_what_nobody_asks_for_is_gone_after_two_generations() -> None:
    kept = of_ten()
    fill(kept, "abcdefghij")
    fill(kept, "klmnopqrst")
    kept.get("c")
    fill(kept, "uvwxyz")

    assert found(kept, "abcdefghij") == "c"


def test_what_is_asked_for_again_is_young_again() -> None:
    kept = of_ten()
    fill(kept, "abcdefghijk")
    kept.get("a")

    assert (kept.young, len(kept)) == ({"k": "K", "a": "A"}, 11)


def test_open_files_fill_a_generation_too() -> None:
    kept: Kept = Generations(octets=10000, files=6)
    fill(kept, "abcd", OPEN)
    fill(kept, "xyz")

    assert kept.young == {"d": "D", "x": "X", "y": "Y", "z": "Z"}


def test_a_value_that_would_push_out_too_much_is_not_kept() -> None:
    kept: Kept = Generations(octets=2 * LEAST_ENTRIES * 10, files=2)
    kept.put("too large", "", Cost(11, 0))
    kept.put("too many files", "", Cost(1, 2))
    kept.put("just so", "", Cost(10, 1))

    assert list(kept.young) == ["just so"]


def test_a_value_that_has_become_too_large_takes_the_one_before_with_it() -> None:
    kept = of_ten()
    kept.put("a", "small", SMALL)
    kept.put("a", "large", Cost(100, 0))

    assert kept.get("a") is None


@pytest.mark.parametrize("names", ["a", "k"], ids=["an old one", "a young one"])
def test_what_is_dropped_is_gone(names: str) -> None:
    kept = of_ten()
    fill(kept, "abcdefghijk")
    kept.drop(names)

    assert (kept.get(names), len(kept)) == (None, 10)


def test_what_is_not_there_can_be_dropped() -> None:
    kept = of_ten()
    kept.drop("a")

    assert len(kept) == 0


def test_what_is_dropped_makes_room() -> None:
    kept = of_ten()
    fill(kept, "abcdefghij")
    kept.drop("a")
    fill(kept, "k")

    assert "".join(kept.young) == "bcdefghijk"


def test_all_is_forgotten_and_it_begins_again() -> None:
    kept = of_ten()
    fill(kept, "abcdefghijk", OPEN)
    kept.clear()
    forgotten = found(kept, "abcdefghijk"), len(kept)
    fill(kept, "abcdefghij", OPEN)

    assert forgotten == ("", 0)
    assert "".join(kept.young) == "abcdefghij"


def test_nothing_is_kept_after_a_stop() -> None:
    kept = of_ten()
    young = kept.young
    fill(kept, "abc")
    kept.stop()
    fill(kept, "abc")

    assert (found(kept, "abc"), kept.keeps, len(kept)) == ("", False, 0)
    assert young is not kept.young


@pytest.mark.parametrize("octets", [0, 1])
def test_nothing_is_kept_where_there_is_no_room(octets: int) -> None:
    kept: Kept = Generations(octets, 100)
    fill(kept, "abc")

    assert (found(kept, "abc"), kept.keeps) == ("", False)


def test_files_are_not_kept_where_none_may_be() -> None:
    kept: Kept = Generations(200, 1)
    fill(kept, "a", OPEN)
    fill(kept, "b")

    assert (found(kept, "ab"), kept.keeps) == ("b", True)


def test_its_repr_tells_how_full_it_is() -> None:
    kept = of_ten()
    fill(kept, "abcdefghijk")

    assert repr(kept) == "<Generations 1+10, 10 octets young>"


_COSTS = st.builds(Cost, st.integers(1, 20), st.integers(0, 2))
_DEEDS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.one_of(st.none(), _COSTS, st.just(0))))


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 200), st.integers(0, 10), _DEEDS)
def test_its_bounds_hold_and_its_values_are_the_last(
    octets: int, files: int, deeds: list[tuple[str, Cost | int | None]]
) -> None:
    kept: Generations[str, Cost] = Generations(octets, files)
    last: dict[str, Cost] = {}
    for name, deed in deeds:
        if isinstance(deed, Cost):
            kept.put(name, deed, deed)
            last[name] = deed
            assert kept.get(name) in (deed, None)
        elif deed is None:
            assert kept.get(name) in (last.get(name), None)
        else:
            kept.drop(name)
            assert kept.get(name) is None
        values = [*kept.young.values(), *kept._old.values()]

        assert sum(cost.octets for cost in values) <= octets
        assert sum(cost.files for cost in values) <= files
        assert kept.young.keys().isdisjoint(kept._old)
