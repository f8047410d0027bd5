"""The grammar of single values: dates, entity tags, hosts, lists, and the regexes themselves."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.protocol import grammar
from mpserve.protocol.grammar import (
    entity_tags,
    http_date,
    list_members,
    parse_host,
    parse_http_date,
)

NOW = 1_800_000_000  # Fri, 15 Jan 2027 08:00:00 GMT
EXAMPLE = 784111777  # the RFC's own: Sun, 06 Nov 1994 08:49:37 GMT


def at(year: int, month: int = 1, day: int = 1, hour: int = 0, second: int = 0) -> int:
    return int(datetime(year, month, day, hour, second=second, tzinfo=UTC).timestamp())


# --- Dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "value"),
    [
        pytest.param(EXAMPLE, b"Sun, 06 Nov 1994 08:49:37 GMT", id="the RFC's example"),
        pytest.param(0, b"Thu, 01 Jan 1970 00:00:00 GMT", id="the epoch"),
        pytest.param(-1, b"Wed, 31 Dec 1969 23:59:59 GMT", id="before the epoch"),
        pytest.param(at(2024, 2, 29), b"Thu, 29 Feb 2024 00:00:00 GMT", id="a leap day"),
        pytest.param(at(2038, 1, 19, 4), b"Tue, 19 Jan 2038 04:00:00 GMT", id="beyond 32 bits"),
        pytest.param(at(999), b"Tue, 01 Jan 0999 00:00:00 GMT", id="a year of three digits"),
    ],
)
def test_date_is_written_as_an_imf_fixdate(epoch: int, value: bytes) -> None:
    assert http_date(epoch) == value
    assert parse_http_date(value, NOW) == epoch


@pytest.mark.parametrize(
    ("value", "epoch"),
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="IMF-fixdate"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE, id="rfc850-date"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", EXAMPLE, id="asctime-date, day of one digit"),
        pytest.param(b"Wed Nov 16 08:49:37 1994", EXAMPLE + 864000, id="asctime-date, two digits"),
        pytest.param(b"Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="another day's name"),
        pytest.param(b"Thu, 29 Feb 2024 00:00:00 GMT", at(2024, 2, 29), id="a leap day"),
        pytest.param(b"Sat, 31 Dec 2016 23:59:60 GMT", at(2017), id="a leap second"),
    ],
)
def test_date_is_read_in_three_forms(value: bytes, epoch: int) -> None:
    assert parse_http_date(value, NOW) == epoch


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"784111777", id="a number"),
        pytest.param(b"0", id="zero, as some send it"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37", id="no GMT"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 UTC", id="UTC"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 +0000", id="an offset"),
        pytest.param(b"Sun, 6 Nov 1994 08:49:37 GMT", id="a day of one digit"),
        pytest.param(b"Sun, 06 Nov 94 08:49:37 GMT", id="a year of two digits"),
        pytest.param(b"sun, 06 nov 1994 08:49:37 gmt", id="lower case"),
        pytest.param(b"Sun,  06 Nov 1994 08:49:37 GMT", id="two spaces"),
        pytest.param(b" Sun, 06 Nov 1994 08:49:37 GMT", id="a space before it"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT\n", id="a line end behind it"),
        pytest.param(b"Sun, 06-Nov-94 08:49:37 GMT", id="rfc850-date with the short day's name"),
        pytest.param(b"Sunday, 06-Nov-1994 08:49:37 GMT", id="rfc850-date with the whole year"),
        pytest.param(b"Sun Nov 6 08:49:37 1994", id="asctime-date without its second space"),
        pytest.param(b"Sun, 00 Nov 1994 08:49:37 GMT", id="day 0"),
        pytest.param(b"Sun, 31 Nov 1994 08:49:37 GMT", id="day 31 of a month of 30"),
        pytest.param(b"Wed, 29 Feb 2023 00:00:00 GMT", id="a leap day in no leap year"),
        pytest.param(b"Thu, 29 Feb 1900 00:00:00 GMT", id="a leap day in 1900"),
        pytest.param(b"Wednesday, 29-Feb-23 00:00:00 GMT", id="rfc850-date that does not exist"),
        pytest.param(b"Sun, 06 Foo 1994 08:49:37 GMT", id="no month"),
        pytest.param(b"Foo, 06 Nov 1994 08:49:37 GMT", id="no day of the week"),
        pytest.param(b"Sun, 06 Nov 1994 24:00:00 GMT", id="hour 24"),
        pytest.param(b"Sun, 06 Nov 1994 08:60:00 GMT", id="minute 60"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:61 GMT", id="second 61"),
        pytest.param(b"Sun, 06 Nov 0000 08:49:37 GMT", id="year 0"),
        pytest.param("Sun, 06 Nov 199٤ 08:49:37 GMT".encode(), id="other digits"),
    ],
)
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse_http_date(value, NOW) is None


@pytest.mark.parametrize(
    ("now", "value", "epoch"),
    [
        pytest.param(at(2026), b"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE, id="last century"),
        pytest.param(at(2026), b"Monday, 01-Jan-24 00:00:00 GMT", at(2024), id="this century"),
        pytest.param(at(2026), b"Monday, 01-Jan-40 00:00:00 GMT", at(2040), id="in the future"),
        pytest.param(at(2026), b"Monday, 01-Jan-76 00:00:00 GMT", at(2076), id="fifty years ahead"),
        pytest.param(
            at(2026),
            b"Monday, 01-Jan-76 00:00:01 GMT",
            at(1976, second=1),
            id="a second more than fifty years ahead",
        ),
        pytest.param(
            at(2026, 6, 15),
            b"Monday, 16-Jun-76 00:00:00 GMT",
            at(1976, 6, 16),
            id="a day more than fifty years ahead",
        ),
        pytest.param(at(1999), b"Monday, 01-Jan-01 00:00:00 GMT", at(2001), id="the next century"),
        pytest.param(at(2060), b"Monday, 01-Jan-05 00:00:00 GMT", at(2105), id="the one after it"),
    ],
)
def test_year_of_two_digits_lies_at_most_fifty_years_ahead(
    now: int, value: bytes, epoch: int
) -> None:
    assert parse_http_date(value, now) == epoch


@pytest.mark.slow
@settings(derandomize=True, deadline=None)
@given(st.integers(at(1000), at(9999, 12, 31)))
def test_dates_are_those_of_the_standard_library(epoch: int) -> None:
    moment = datetime.fromtimestamp(epoch, UTC)
    value = http_date(epoch)

    assert value == format_datetime(moment, usegmt=True).encode()
    assert parsedate_to_datetime(value.decode()) == moment
    assert parse_http_date(value, NOW) == epoch
    assert parse_http_date(moment.strftime("%a %b %e %H:%M:%S %Y").encode(), NOW) == epoch


PIECES = [
    b"",
    b"Mon",
    b"Monday",
    b", ",
    b"00",
    b"31",
    b" 3",
    b"-",
    b"Feb",
    b"94",
    b"24:00:00",
    b"GMT",
    b"\0",
    b"\xff",
]


@st.composite
def nearly_dates(draw: st.DrawFn) -> bytes:
    """A date in any of its forms, of which one piece is something else."""
    moment = datetime.fromtimestamp(draw(st.integers(at(1900), at(2100))), UTC)
    form = draw(st.sampled_from(["%a, %d %b %Y %X GMT", "%A, %d-%b-%y %X GMT", "%a %b %e %X %Y"]))
    value = moment.strftime(form).encode()
    start = draw(st.integers(0, len(value)))
    end = draw(st.integers(start, min(len(value), start + 9)))
    return value[:start] + draw(st.sampled_from(PIECES)) + value[end:]


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=1000)
@given(nearly_dates() | st.binary(max_size=30))
def test_what_is_nearly_a_date_is_another_date_or_none(value: bytes) -> None:
    epoch = parse_http_date(value, NOW)
    if epoch is None:
        return  # which texts are none is for the tables above to say

    again = http_date(epoch)
    assert parse_http_date(again, NOW) == epoch
    # The name of the day says nothing that the date does not; a leap second is the next one's beginning.
    if len(value) == len(again) and not value.endswith(b":60 GMT"):
        assert again[5:] == value[5:]


# --- Entity tags ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param(b'"a"', [b'"a"'], id="one"),
        pytest.param(b'W/"a"', [b'W/"a"'], id="a weak one"),
        pytest.param(b'""', [b'""'], id="an empty one"),
        pytest.param(b'"a", W/"b","c"', [b'"a"', b'W/"b"', b'"c"'], id="several"),
        pytest.param(b'"a" \t,\t "b"', [b'"a"', b'"b"'], id="white space around commas"),
        pytest.param(b'"a,b", "c"', [b'"a,b"', b'"c"'], id="a comma within one"),
        pytest.param(b'"W/", "c"', [b'"W/"', b'"c"'], id="W/ within one"),
        pytest.param(b',, "a",, "b", ,', [b'"a"', b'"b"'], id="empty elements"),
        pytest.param(b'"\xc3\xbc\x80\xff"', [b'"\xc3\xbc\x80\xff"'], id="octets beyond ASCII"),
        pytest.param(b'"a\\", "b"', [b'"a\\"', b'"b"'], id="a backslash escapes nothing"),
        pytest.param(b"", [], id="an empty list"),
        pytest.param(b" , ", [], id="nothing but empty elements"),
    ],
)
def test_entity_tags(value: bytes, tags: list[bytes]) -> None:
    assert entity_tags(value) == tags


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"a", id="no quotation marks"),
        pytest.param(b"*", id="the asterisk is no tag"),
        pytest.param(b'"a', id="no end"),
        pytest.param(b'a"', id="no beginning"),
        pytest.param(b'"a""b"', id="no comma"),
        pytest.param(b'"a" "b"', id="a space instead of a comma"),
        pytest.param(b'w/"a"', id="w in lower case"),
        pytest.param(b'W / "a"', id="spaces after W"),
        pytest.param(b'W/ "a"', id="a space after W/"),
        pytest.param(b"W/a", id="weak without quotation marks"),
        pytest.param(b'W/W/"a"', id="weak twice"),
        pytest.param(b'"a b"', id="a space within"),
        pytest.param(b'"a\x7f"', id="DEL within"),
        pytest.param(b'"a", b', id="a list that ends in something else"),
        pytest.param(b'b, "a"', id="a list that begins with something else"),
        pytest.param(b'*, "a"', id="the asterisk in a list"),
        pytest.param(b'"a"\n', id="a line end behind it"),
    ],
)
def test_malformed_list_of_entity_tags_is_none(value: bytes) -> None:
    assert entity_tags(value) is None


# --- Hosts and lists ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        pytest.param(b"example.com", True, id="a name"),
        pytest.param(b"example.com:80", True, id="a name and a port"),
        pytest.param(b"example.com:", True, id="a name and an empty port"),
        pytest.param(b"EXAMPLE.com.", True, id="a name with a dot behind"),
        pytest.param(b"a_b~c!$&'()*+,;=-.", True, id="whatever a reg-name may hold"),
        pytest.param(b"%C3%bc", True, id="escapes"),
        pytest.param(b"127.0.0.1:8000", True, id="an IPv4 address"),
        pytest.param(b"999.0.0.1", True, id="a name that looks like one"),
        pytest.param(b"[::]", True, id="IPv6: all zeros"),
        pytest.param(b"[::1]:80", True, id="IPv6: a port"),
        pytest.param(b"[1:2:3:4:5:6:7:8]", True, id="IPv6: eight groups"),
        pytest.param(b"[1:2:3:4:5:6:1.2.3.4]", True, id="IPv6: six groups and IPv4"),
        pytest.param(b"[::ffff:255.249.199.99]", True, id="IPv6: mapped IPv4"),
        pytest.param(b"[::2:3:4:5:6:7:8]", True, id="IPv6: a gap of one before seven"),
        pytest.param(b"[1::3:4:5:6:7:8]", True, id="IPv6: a gap of one after one"),
        pytest.param(b"[1:2::4:5:6:7:8]", True, id="IPv6: a gap of one after two"),
        pytest.param(b"[1:2:3::5:6:7:8]", True, id="IPv6: a gap of one after three"),
        pytest.param(b"[1:2:3:4::6:7:8]", True, id="IPv6: a gap of one after four"),
        pytest.param(b"[1:2:3:4:5::7:8]", True, id="IPv6: a gap of one after five"),
        pytest.param(b"[1:2:3:4:5:6::8]", True, id="IPv6: a gap of one after six"),
        pytest.param(b"[1:2:3:4:5:6:7::]", True, id="IPv6: a gap of one after seven"),
        pytest.param(b"[1::8]", True, id="IPv6: a gap of six"),
        pytest.param(b"[v1.a:b]", True, id="a future kind of address"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b":80", False, id="only a port"),
        pytest.param(b"a b", False, id="a space"),
        pytest.param(b"a/b", False, id="a slash"),
        pytest.param(b"a@b", False, id="user information"),
        pytest.param(b"a:b", False, id="a port that is no number"),
        pytest.param(b"a:1:2", False, id="two ports"),
        pytest.param(b"a%2", False, id="half an escape"),
        pytest.param(b"a%zz", False, id="a broken escape"),
        pytest.param(b"\xc3\xbc", False, id="octets beyond ASCII"),
        pytest.param(b"a\n", False, id="a line end behind it"),
        pytest.param(b"[::1", False, id="an open bracket"),
        pytest.param(b"::1", False, id="no brackets"),
        pytest.param(b"[]", False, id="nothing in brackets"),
        pytest.param(b"[a]", False, id="a name in brackets"),
        pytest.param(b"[::1]a", False, id="something behind brackets"),
        pytest.param(b"[:::]", False, id="IPv6: three colons"),
        pytest.param(b"[1::2::3]", False, id="IPv6: two gaps"),
        pytest.param(b"[1:2:3:4:5:6:7]", False, id="IPv6: seven groups"),
        pytest.param(b"[1:2:3:4:5:6:7:8:9]", False, id="IPv6: nine groups"),
        pytest.param(b"[1:2:3:4::5:6:7:8]", False, id="IPv6: a gap of none"),
        pytest.param(b"[::12345]", False, id="IPv6: a group of five digits"),
        pytest.param(b"[::g]", False, id="IPv6: a group that is no number"),
        pytest.param(b"[::1.2.3]", False, id="IPv6: three quarters of IPv4"),
        pytest.param(b"[::1.2.3.256]", False, id="IPv6: IPv4 that is too large"),
        pytest.param(b"[1:2:3:4:5:6:7:1.2.3.4]", False, id="IPv6: seven groups and IPv4"),
        pytest.param(b"[fe80::1%25eth0]", False, id="IPv6: a zone, which stays with the client"),
        pytest.param(b"[v.a]", False, id="a future kind without a number"),
    ],
)
def test_hosts(value: bytes, valid: bool) -> None:
    assert parse_host(value) == valid


@pytest.mark.parametrize(
    ("value", "members"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"close", [b"close"], id="one"),
        pytest.param(b"Keep-Alive, \tclose", [b"Keep-Alive", b"close"], id="two"),
        pytest.param(b", a ,,\t,b,", [b"a", b"b"], id="empty elements"),
    ],
)
def test_list_members(value: bytes, members: list[bytes]) -> None:
    assert list_members(value) == members


# --- The regexes ----------------------------------------------------------------------------------


def test_no_regex_repeats_a_group_possessively() -> None:
    # Python 3.11.2, which Debian 12 has, lets such a group keep half of its last round.
    for name, value in vars(grammar).items():
        if isinstance(value, re.Pattern) and isinstance(value.pattern, bytes):
            without_escapes = re.sub(rb"\\.", b"e", value.pattern, flags=re.DOTALL)
            without_sets = re.sub(rb"\[[^]]*\]", b"s", without_escapes)

            assert (name, re.findall(rb"\)(?:[*+?]|\{[^}]*\})\+", without_sets)) == (name, [])


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        pytest.param("FIELD_LINES", b"A: b\r\nC", id="half a field line behind a whole one"),
        pytest.param("FIELD_LINES", b"A: b\r\nC: d\r", id="half a line end"),
        pytest.param("CHUNK_LINE", b"1;a=b;\r\n", id="half a chunk extension behind a whole one"),
        pytest.param("CHUNK_LINE", b'1;a="b\r\n', id="half a quoted string"),
        pytest.param("_HOST", b"a%20%2", id="half an escape behind a whole one"),
        pytest.param("_ENTITY_TAGS", b'"a", W/', id="half an entity tag behind a whole one"),
    ],
)
def test_no_regex_keeps_half_a_round(regex: str, text: bytes) -> None:
    assert getattr(grammar, regex).fullmatch(text) is None


MANY = 200_000


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        pytest.param("TOKEN", b"a" * MANY + b" ", id="token"),
        pytest.param("FIELD_LINES", b"a:\r\n" * MANY + b"a", id="many field lines"),
        pytest.param("FIELD_LINES", b"a:" + b" " * MANY + b"\0", id="white space in a field line"),
        pytest.param("REQUEST_LINE", b"GET " + b"/" * MANY + b" HTTP/1.1", id="request line"),
        pytest.param("CHUNK_LINE", b"0" + b";a" * MANY + b";", id="chunk extensions"),
        pytest.param("CHUNK_LINE", b'0;a="' + b"\\a" * MANY, id="quoted pairs"),
        pytest.param("CHUNK_LINE", b"0" + b" " * MANY, id="white space in a chunk line"),
        pytest.param("_HOST", b"a%20" * MANY + b"%", id="escapes in a host"),
        pytest.param("_HOST", b"[" + b"1:" * MANY + b"]", id="groups of an IPv6 address"),
        pytest.param("_ENTITY_TAGS", b'"a",' * MANY + b"a", id="entity tags"),
        pytest.param("_ENTITY_TAGS", b"," * MANY + b"a", id="empty elements"),
        pytest.param("_ENTITY_TAGS", b'"a"' + b" " * MANY + b"a", id="white space behind a tag"),
    ],
)
def test_no_regex_takes_more_than_linear_time(regex: str, text: bytes) -> None:
    # No clock is asked: were one of them quadratic, the test would run into its time-out.
    assert getattr(grammar, regex).fullmatch(text) is None
