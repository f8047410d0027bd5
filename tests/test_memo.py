"""The memo: which heads are one to it, and what it keeps of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.logformat import SAID
from mpserve.memo import (
    MOST_AT_ONCE,
    MOST_IGNORED,
    NOTHING,
    OVERHEAD,
    Memo,
    Prepared,
    own_fields,
    reduce,
    split,
)
from mpserve.protocol.http1 import Http1Protocol, Limits
from mpserve.protocol.message import About, FileSpan, HTTPError, Piece, Request
from mpserve.witness import Witness
from tests.fakes import FakeFile, make_request

HEARD = 3  # what the kernel has told

LINE = b"GET / HTTP/1.1"
HOST = b"Host: x"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([LINE, HOST, *lines, b"", b""])


# --- What is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"User-Agent: x"], id="an agent"),
        pytest.param([b"Cookie: a=b; c=d"], id="a cookie"),
        pytest.param([b"Referer: http://x/?y"], id="a referer"),
        pytest.param([b"User-Agent: Mozilla/5.0 (X11; rv:1)"], id="with spaces inside"),
        pytest.param([b"User-Agent: x", b"Cookie: y", b"Referer: z"], id="all of them"),
        pytest.param([b"Cookie: a", b"Cookie: b", b"Cookie: c"], id="three of one"),
    ],
)
def test_fields_that_decide_nothing_are_left_out(lines: list[bytes]) -> None:
    assert reduce(head(b"A: b", *lines, b"C: d")) == head(b"A: b", b"C: d")
    assert reduce(head(*lines)) == head()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"Accept: */*", id="another field"),
        pytest.param(b"user-agent: x", id="lower case"),
        pytest.param(b"COOKIE: x", id="upper case"),
        pytest.param(b"X-Cookie: x", id="a name that ends like one"),
        pytest.param(b"Cookies: x", id="a name that begins like one"),
        pytest.param(b"Cookie:x", id="no space"),
        pytest.param(b"Cookie:  x", id="two spaces"),
        pytest.param(b"Cookie:\tx", id="a tab"),
        pytest.param(b"Cookie: x ", id="a space at the end"),
        pytest.param(b"Cookie:", id="no value"),
        pytest.param(b"Cookie: ", id="a space and no value"),
        pytest.param(b"Cookie : x", id="a space before the colon"),
        pytest.param(b'Cookie: "x"', id="quotation marks"),
        pytest.param(b"Cookie: a\\b", id="a backslash"),
        pytest.param(b"Cookie: a\tb", id="a tab inside"),
        pytest.param(b"Cookie: a\x80b", id="an octet beyond ASCII"),
        pytest.param(b"Cookie: a\x7fb", id="a DEL"),
        pytest.param(b"Cookie: a\x00b", id="a NUL"),
        pytest.param(b"Cookie: a\rb", id="a bare CR"),
        pytest.param(b"Cookie: a\nb", id="a bare LF"),
        pytest.param(b"Cookie: a\nCookie: b", id="a bare LF before another"),
        pytest.param(b" Cookie: a", id="a line that continues the one before"),
    ],
)
def test_any_other_line_stays(line: bytes) -> None:
    text = head(b"A: b", line, b"C: d")

    assert reduce(text) == text


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"Cookie: a\r\n\r\n", id="a first line"),
        pytest.param(b"\r\nCookie: a\r\n" + head(), id="after an empty line before the head"),
        pytest.param(b"\r\n\r\nCookie: a\r\n" + head(), id="after two"),
        pytest.param(head() + b"Cookie: a\r\n", id="behind the head"),
        pytest.param(head() + b"Cookie: a\r\n\r\n", id="behind the head, as another"),
        pytest.param(head()[:-2] + b"\nCookie: a\r\n", id="after half an empty line"),
        pytest.param(b"\nCookie: a\r\n\r\n", id="after a bare LF"),
        pytest.param(head(b"X: y\nCookie: a"), id="after a bare LF in a field"),
        pytest.param(head(b"X: y\rCookie: a"), id="after a bare CR in a field"),
        pytest.param(head(b"Cookie: a")[:-4], id="without the end of its line"),
        pytest.param(head(b"Cookie: a")[:-3], id="with half the end of its line"),
    ],
)
def test_what_is_no_line_of_the_head_stays(octets: bytes) -> None:
    assert reduce(octets) == octets


def test_a_line_that_is_continued_leaves_what_continues_it() -> None:
    assert reduce(head(b"Cookie: a\r\n b")) == head(b" b")


def test_only_some_are_left_out() -> None:
    lines = [b"Cookie: %d" % number for number in range(MOST_IGNORED + 2)]

    assert reduce(head(*lines)) == head(*lines[MOST_IGNORED:])


# Octets that look like heads, many of them broken.
_PIECES = st.sampled_from(
    b"GET / HTTP/1.1|Host: x|Cookie: a|User-Agent: b|Referer: c|Cookie: d e|A: f|\r\n|\r\n|\r\n|\r\n|\r|\n|"
    b"\r\n\r\n| |Cookie|: |a|Cookie: |\t|Uookie: a|\x00".split(b"|")
)
_TEXTS = st.one_of(
    st.lists(_PIECES, max_size=14).map(b"".join),
    st.lists(_PIECES, max_size=6).map(lambda lines: b"\r\n".join([LINE, HOST, *lines, b"", b""])),
)


def verdict(octets: bytes) -> list[object]:
    """What the parser makes of `octets`: requests without the fields that decide nothing, what is left, or an error."""
    protocol = Http1Protocol(Limits())
    protocol.receive(octets)
    told: list[object] = []
    try:
        while (request := protocol.next_request()) is not None:
            fields = {
                name: value
                for name, value in request.fields.items()
                if not name.endswith((b"ser-agent", b"ookie", b"eferer"))
            }
            told.append((request.line, fields, request.persistent))
    except HTTPError as error:
        return [*told, error.status]
    return [*told, protocol.buffered, protocol.head_begun]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(_TEXTS)
def test_what_is_left_out_never_makes_another_message(octets: bytes) -> None:
    assert verdict(reduce(octets)) == verdict(octets)


# --- What they say for the log --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], (None, None), id="none"),
        pytest.param([b"User-Agent: a b"], (None, b"a b"), id="an agent"),
        pytest.param([b"Referer: c"], (b"c", None), id="a referer"),
        pytest.param([b"Referer: c", b"User-Agent: d"], (b"c", b"d"), id="both"),
        pytest.param(
            [b"User-Agent: d", b"Cookie: a", b"Referer: c"], (b"c", b"d"), id="in any order"
        ),
        pytest.param([b"Cookie: a", b"X-Referer: b"], (None, None), id="other fields"),
        pytest.param([b"User-Agent: a", b"User-Agent: b"], None, id="two agents"),
        pytest.param([b"Referer: a", b"X: y", b"Referer: b"], None, id="two referers"),
    ],
)
def test_what_was_left_out_is_told(
    lines: list[bytes], expected: tuple[bytes | None, bytes | None] | None
) -> None:
    assert own_fields(split(head(*lines), MOST_IGNORED)) == expected


def test_what_was_left_out_is_what_a_log_prints() -> None:
    lines = [b"%b: %b" % (name.title(), name) for name in SAID.values()]
    told = own_fields(split(head(*lines), MOST_IGNORED))

    assert told == tuple(SAID.values())


# --- Answers --------------------------------------------------------------------------------------


class FakeWitness(Witness):
    """Agrees or not, and counts how often it was asked."""

    def __init__(self, *, agrees: bool = True, watched: bool = False) -> None:
        super().__init__(b"/x", None)
        self.would_agree = agrees
        self.watched = watched
        self.asked = 0

    def is_watched(self) -> bool:
        return self.watched

    def looks_the_same(self) -> bool:
        self.asked += 1
        return self.would_agree


DATE, LATER = b"Date: now\r\n", b"Date: 1 s\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n" + DATE + b"ETag: x\r\n\r\n"


ABOUT = About((b"GET /a.txt",), b"\n")


def prepared(
    *content: Piece, witnesses: tuple[Witness, ...] = (), request: Request | None = None
) -> Prepared:
    return Prepared(request or make_request(), 200, HEAD, DATE, content, witnesses, ABOUT, b"told")


def test_small_content_is_a_part_of_the_answer() -> None:
    answer = prepared(b"hel", b"lo")

    assert (answer.octets, answer.pieces) == (HEAD + b"hello", ())
    assert (answer.length, answer.head_size) == (5, len(HEAD))
    assert answer.size == len(HEAD) + 5 + OVERHEAD


def test_an_answer_may_have_no_content() -> None:
    answer = prepared()

    assert (answer.octets, answer.pieces, answer.length) == (HEAD, (), 0)


def test_large_content_stays_in_its_file() -> None:
    span = FileSpan(FakeFile(b"0123456789"), 2, 9)
    answer = prepared(b"boundary", span)

    assert (answer.octets, answer.pieces, answer.length) == (HEAD, (b"boundary", span), 15)
    assert answer.whole == len(HEAD) + 15


def test_an_answer_is_given_again_with_another_date() -> None:
    answer = prepared(b"hello")
    answer.date(LATER)

    assert (answer.octets, answer.date_line) == (HEAD.replace(DATE, LATER) + b"hello", LATER)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param((), False, id="nothing"),
        pytest.param((b"x",), False, id="octets"),
        pytest.param((FileSpan(FakeFile(b""), 5, 5 + MOST_AT_ONCE),), True, id="a span"),
        pytest.param((FileSpan(FakeFile(b""), 5, 6 + MOST_AT_ONCE),), False, id="a large span"),
        pytest.param((b"x", FileSpan(FakeFile(b""), 0, 1)), False, id="octets and a span"),
        pytest.param((FileSpan(FakeFile(b""), 0, 1),) * 2, False, id="two spans"),
    ],
)
def test_one_span_may_leave_in_one_call(content: tuple[Piece, ...], expected: bool) -> None:
    assert prepared(*content).one_span == (content[0] if expected else None)


def test_an_answer_agrees_as_long_as_all_its_witnesses_do() -> None:
    witnesses = (FakeWitness(), FakeWitness())
    answer = prepared(witnesses=witnesses)
    agreed = answer.agrees(7, HEARD)
    witnesses[1].would_agree = False

    assert (agreed, answer.moment, answer.agrees(8, HEARD), answer.moment) == (True, 7, False, 7)


def test_the_first_witness_that_disagrees_is_enough() -> None:
    witnesses = (FakeWitness(), FakeWitness(agrees=False), FakeWitness())
    answer = prepared(witnesses=witnesses)

    assert not answer.agrees(1, HEARD)
    assert [witness.asked for witness in witnesses] == [1, 1, 0]


def test_a_witness_of_several_answers_is_asked_once() -> None:
    witness = FakeWitness()
    answers = [prepared(witnesses=(witness,)) for _ in range(3)]

    assert [answer.agrees(1, HEARD) for answer in answers] == [True] * 3
    assert witness.asked == 1


@pytest.mark.parametrize(
    ("watched", "expected"),
    [
        pytest.param((True, True), HEARD, id="all of them"),
        pytest.param((True, False), NOTHING, id="all but the last"),
        pytest.param((False, True), NOTHING, id="the last"),
        pytest.param((), NOTHING, id="nobody"),
    ],
)
def test_what_is_heard_is_noted_where_all_witnesses_are_watched(
    watched: tuple[bool, ...], expected: int
) -> None:
    answer = prepared(witnesses=tuple(FakeWitness(watched=each) for each in watched))
    before = answer.heard
    answer.agrees(1, HEARD)

    assert (before, answer.heard) == (NOTHING, expected)


def test_what_is_heard_is_not_noted_by_those_who_disagree() -> None:
    answer = prepared(witnesses=(FakeWitness(agrees=False, watched=True),))
    answer.agrees(1, HEARD)

    assert answer.heard == NOTHING


def test_an_answer_without_witnesses_always_agrees() -> None:
    assert prepared().agrees(1, HEARD)


def test_its_repr_tells_what_it_answers() -> None:
    answer = prepared(witnesses=(FakeWitness(),))

    assert repr(answer) == "<Prepared 200 b'GET /a.txt HTTP/1.1' <FakeWitness b'/x' None>>"


# --- Keeping them ---------------------------------------------------------------------------------


def memo(octets: int = 1 << 20, files: int = 100, longest: int = 1000) -> Memo:
    return Memo(octets, files, longest)


def test_an_answer_is_found_by_its_head_and_by_all_that_say_the_same() -> None:
    kept, answer = memo(), prepared()
    kept.put(head(b"User-Agent: a"), answer)
    found = [
        kept.find(text)
        for text in (
            head(b"User-Agent: a"),
            head(),
            head(b"Cookie: b", b"User-Agent: c"),
            head(b"A: b"),
            head(b"user-agent: a"),
        )
    ]

    assert found == [answer, answer, answer, None, None]


def test_a_head_without_such_fields_is_its_own_key() -> None:
    kept, answer = memo(), prepared()
    kept.put(head(), answer)

    assert kept.answers.young == {head(): answer}


def test_a_long_head_is_no_matter_for_it() -> None:
    kept, answer = memo(longest=len(head()) + 20), prepared()
    long = head(b"Cookie: " + b"x" * 50)
    kept.put(long, answer)
    before = kept.find(long), kept.find(head())
    kept.put(head(), answer)

    assert (before, kept.find(head()), kept.find(long)) == ((None, None), answer, None)


def test_what_is_dropped_is_gone_for_all_that_say_the_same() -> None:
    kept = memo()
    kept.put(head(), prepared())
    kept.drop(head(b"Cookie: a"))

    assert kept.find(head()) is None


def test_it_is_bounded_in_octets() -> None:
    kept = memo(octets=100_000)
    for number in range(1000):
        kept.put(head(b"X: %d" % number), prepared())

    assert 10 < len(kept.answers) < 100_000 / OVERHEAD


def test_it_is_bounded_in_open_files() -> None:
    kept = memo(files=10)
    for number in range(100):
        answer = prepared(FileSpan(FakeFile(b"x" * 10), 0, 10))
        kept.put(head(b"X: %d" % number), answer)

    assert 5 <= len(kept.answers) <= 10


def test_answers_in_memory_take_no_file() -> None:
    kept = memo(files=0)
    kept.put(head(), prepared(b"x"))
    kept.put(head(b"A: b"), prepared(FileSpan(FakeFile(b"x"), 0, 1)))

    assert [kept.find(text) is not None for text in (head(), head(b"A: b"))] == [True, False]


def test_all_is_forgotten_and_it_begins_again() -> None:
    kept = memo()
    kept.put(head(), prepared())
    kept.clear()
    forgotten = kept.find(head())
    kept.put(head(), prepared())

    assert (forgotten, kept.find(head()) is not None, kept.keeps) == (None, True, True)


def test_it_stops_for_good() -> None:
    kept = memo()
    kept.put(head(), prepared())
    kept.stop()
    kept.put(head(), prepared())

    assert (kept.find(head()), kept.keeps) == (None, False)


def test_the_repr_tells_how_full_it_is() -> None:
    assert repr(memo()) == "<Memo <Generations 0+0, 0 octets young>>"
