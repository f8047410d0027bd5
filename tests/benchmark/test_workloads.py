"""What is asked is what the benchmark says it asks."""

from __future__ import annotations

import pytest

from loadtests.benchmark import tree
from loadtests.benchmark.workloads import WORKLOADS


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_head_is_one_whole_request(name: str) -> None:
    heads = [ask.head() for ask in WORKLOADS[name].asks()]

    assert [] == [head for head in heads if head.index(b"\r\n\r\n") != len(head) - 4]


def test_a_browser_head_with_its_counter_has_about_700_octets() -> None:
    counter = len("10000000")
    sizes = {len(ask.head()) + counter for ask in WORKLOADS["browser"].asks()}

    assert (690, 710) == (min(690, *sizes), max(710, *sizes))


def test_no_two_browsers_have_the_same_agent_and_cookie() -> None:
    asks = WORKLOADS["browser"].asks()
    agents = {field for ask in asks for field in ask.fields if field.startswith("User-Agent")}
    cookies = {field for ask in asks for field in ask.fields if field.startswith("Cookie")}

    assert (len(asks), len(asks)) == (len(agents), len(cookies))


def test_the_counter_of_a_browser_head_is_appended_to_its_cookie() -> None:
    last = WORKLOADS["browser"].asks()[0].head().split(b"\r\n")[-3]

    assert last.startswith(b"Cookie: ")
    assert last.endswith(b"; n=")


def test_the_many_are_all_files_of_the_many_each_once() -> None:
    targets = [ask.target for ask in WORKLOADS["many"].asks()]

    assert sorted(f"/{name}" for name in tree.MANY) == sorted(targets)
    assert len(targets) == len(set(targets)) == 2000


def test_the_range_is_one_kib_from_the_middle_of_100() -> None:
    ask = WORKLOADS["range"].asks()[0]
    whole = tree.content("100k.jpg", 100 * tree.KIB)

    assert ("Range: bytes=51200-52223",) == ask.fields
    assert whole[51200:52224] == ask.content


@pytest.mark.parametrize(("name", "size"), list(tree.SIZES.items()))
def test_content_is_as_long_as_it_says(name: str, size: int) -> None:
    assert size == len(tree.content(name, size))


def test_no_two_files_have_the_same_content() -> None:
    contents = {tree.content(name, tree.MANY_SIZE) for name in tree.MANY}

    assert len(tree.MANY) == len(contents)
