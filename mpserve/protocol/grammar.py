"""The grammar of RFC 9110, 9112 and 3986: each regex under its ABNF, and parsers of single values.

Every regex here runs in linear time: a repetition whose end is certain is possessive or atomic, so
that no input makes one read again what it has read. CPython before 3.11.5 lets a possessive group,
`(...)*+`, keep half of its last round (gh-106052) and so accept what the grammar refuses: sets of
octets are possessive here, but groups are atomic, `(?>(?:...)*)`.
"""

from __future__ import annotations

import re
from datetime import date

# --- RFC 9110 §5.6: what fields are made of -------------------------------------------------------

# tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
#       / DIGIT / ALPHA
TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

# token = 1*tchar
TOKEN = re.compile(rb"%b++" % TCHAR)

# field-line = field-name ":" OWS field-value OWS
# The value is matched with the OWS around it, which its reader strips. No space before the colon
# and no line folding: RFC 9112 §5.1 has a server refuse the one, §5.2 lets it refuse the other.
_FIELD_LINE = rb"%b++:[\t\x20-\x7e\x80-\xff]*+" % TCHAR

# *( field-line CRLF )
FIELD_LINES = re.compile(rb"(?>(?:%b\r\n)*)" % _FIELD_LINE)

# quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE
_QUOTED_STRING = rb'"(?>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t\x20-\x7e\x80-\xff])*)"'


def list_members(value: bytes) -> list[bytes]:
    """The members of a #rule list of tokens; empty elements are skipped (RFC 9110 §5.6.1.2)."""
    return [member for part in value.split(b",") if (member := part.strip(b" \t"))]


# --- RFC 9112 §3: the request line ----------------------------------------------------------------

# RFC 3986 allows a request target some of ASCII, and clients send more: browsers leave [ ] { } | ^
# as they are, curl sends UTF-8 raw. So a target is any run of octets that cannot be mistaken for
# something else: no space, no control, and no "#", which begins a fragment.
TARGET = rb"[^\x00-\x20#\x7f]++"

# request-line = method SP request-target SP HTTP-version
# HTTP-version = HTTP-name "/" DIGIT "." DIGIT, and HTTP-name is case-sensitive
REQUEST_LINE = re.compile(rb"(%b++) (%b) (HTTP/([0-9])\.[0-9])\r\n" % (TCHAR, TARGET))


# --- RFC 9112 §7.1: the chunked transfer coding ---------------------------------------------------

# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
# chunk-ext-val = token / quoted-string
_CHUNK_EXT = rb"(?>(?:[ \t]*+;[ \t]*+%b++(?>(?:[ \t]*+=[ \t]*+(?:%b++|%b))?))*)" % (
    TCHAR,
    TCHAR,
    _QUOTED_STRING,
)

# chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF, and chunk-size = 1*HEXDIG
# A size of more than 16 digits is no size anyone can mean.
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)%b\r\n" % _CHUNK_EXT)


# --- RFC 3986 §3.2.2: hosts -----------------------------------------------------------------------

_DEC_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rb"%b(?:\.%b){3}" % (_DEC_OCTET, _DEC_OCTET)
_H16 = rb"[0-9A-Fa-f]{1,4}"
_LS32 = rb"(?:%b:%b|%b)" % (_H16, _H16, _IPV4)

# IPv6address =                            6( h16 ":" ) ls32
#             /                       "::" 5( h16 ":" ) ls32
#             / [               h16 ] "::" 4( h16 ":" ) ls32
#             / [ *1( h16 ":" ) h16 ] "::" 3( h16 ":" ) ls32
#             / [ *2( h16 ":" ) h16 ] "::" 2( h16 ":" ) ls32
#             / [ *3( h16 ":" ) h16 ] "::"    h16 ":"   ls32
#             / [ *4( h16 ":" ) h16 ] "::"              ls32
#             / [ *5( h16 ":" ) h16 ] "::"              h16
#             / [ *6( h16 ":" ) h16 ] "::"
_IPV6 = rb"(?:%b)" % b"|".join(
    [rb"(?:%b:){6}%b" % (_H16, _LS32), rb"::(?:%b:){5}%b" % (_H16, _LS32)]
    + [
        rb"(?:(?:%b:){0,%d}%b)?::%b" % (_H16, before, _H16, after)
        for before, after in (
            (0, rb"(?:%b:){4}%b" % (_H16, _LS32)),
            (1, rb"(?:%b:){3}%b" % (_H16, _LS32)),
            (2, rb"(?:%b:){2}%b" % (_H16, _LS32)),
            (3, rb"%b:%b" % (_H16, _LS32)),
            (4, _LS32),
            (5, _H16),
            (6, b""),
        )
    ]
)

# IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )
_IPV_FUTURE = rb"[vV][0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++"

# reg-name = *( unreserved / pct-encoded / sub-delims )
# Here it is not empty: RFC 9110 §4.2.1 says of an http URI with an empty host: "A recipient that
# processes such a URI reference MUST reject it as invalid." An IPv4address looks like a reg-name.
_REG_NAME = rb"(?>(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})+)"

# uri-host [ ":" port ], and port = *DIGIT
_HOST = re.compile(rb"(?:%b|\[(?:%b|%b)\])(?::[0-9]*+)?" % (_REG_NAME, _IPV6, _IPV_FUTURE))


def parse_host(value: bytes) -> bool:
    """Whether `value` is a valid Host: uri-host [ ":" port ] (RFC 9110 §7.2)."""
    return _HOST.fullmatch(value) is not None


# --- RFC 9110 §8.8.3: entity tags -----------------------------------------------------------------

# entity-tag = [ weak ] opaque-tag
# weak       = %s"W/"
# opaque-tag = DQUOTE *etagc DQUOTE, and etagc = %x21 / %x23-7E / obs-text
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')

# #entity-tag, in the form a recipient must accept (RFC 9110 §5.6.1.2): empty elements anywhere.
_ENTITY_TAGS = re.compile(rb"[ \t,]*+(?>(?:%b[ \t]*+(?:,[ \t,]*+|\Z))*)" % _ENTITY_TAG.pattern)


def entity_tags(value: bytes) -> list[bytes] | None:
    """The entity tags of a list, each with its W/ if it has one; None if the list is malformed."""
    if _ENTITY_TAGS.fullmatch(value) is None:
        return None
    return _ENTITY_TAG.findall(value)


# --- RFC 9110 §5.6.7: dates -----------------------------------------------------------------------

_DAYS = tuple(b"Mon Tue Wed Thu Fri Sat Sun".split())
_MONTHS = tuple(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
_MONTH_NUMBER = {name: number for number, name in enumerate(_MONTHS, 1)}
_DAY_NAME = b"|".join(_DAYS)
_MONTH = rb"(?P<month>%b)" % b"|".join(_MONTHS)

# time-of-day = hour ":" minute ":" second
_TIME = rb"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"

# IMF-fixdate = day-name "," SP date1 SP time-of-day SP GMT, as in Sun, 06 Nov 1994 08:49:37 GMT
_IMF_FIXDATE = rb"(?:%b), (?P<day>[0-9]{2}) %b (?P<year>[0-9]{4}) %b GMT" % (
    _DAY_NAME,
    _MONTH,
    _TIME,
)

# rfc850-date = day-name-l "," SP date2 SP time-of-day SP GMT, as in Sunday, 06-Nov-94 08:49:37 GMT
_RFC850_DATE = (
    rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{2})-%b-(?P<year>[0-9]{2}) %b GMT"
    % (_MONTH, _TIME)
)

# asctime-date = day-name SP date3 SP time-of-day SP year, as in Sun Nov  6 08:49:37 1994
_ASCTIME_DATE = rb"(?:%b) %b (?P<day>[0-9]{2}| [0-9]) %b (?P<year>[0-9]{4})" % (
    _DAY_NAME,
    _MONTH,
    _TIME,
)

_DATE_FORMS = tuple(re.compile(form) for form in (_IMF_FIXDATE, _RFC850_DATE, _ASCTIME_DATE))
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def http_date(epoch: int) -> bytes:
    """`epoch` seconds as an IMF-fixdate, for any moment of the years 1 to 9999."""
    days, second_of_day = divmod(epoch, 86400)
    day = date.fromordinal(_EPOCH_DAY + days)
    minute_of_day, second = divmod(second_of_day, 60)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[day.weekday()],
        day.day,
        _MONTHS[day.month - 1],
        day.year,
        *divmod(minute_of_day, 60),
        second,
    )


def parse_http_date(value: bytes, now: int) -> int | None:
    """The epoch seconds of an HTTP-date in any of its three forms; None if it is none.

    `now` (epoch seconds) settles the century of the form that writes two digits of the year.
    """
    for form in _DATE_FORMS:
        if match := form.fullmatch(value):
            return _epoch(match, now)
    return None


def _epoch(match: re.Match[bytes], now: int) -> int | None:
    """The epoch seconds of a date that has the right form; None if the calendar has no such day."""
    month = _MONTH_NUMBER[match["month"]]
    day, hour, minute, second = map(int, match.group("day", "hour", "minute", "second"))
    year = int(match["year"])
    second_of_day = (hour * 60 + minute) * 60 + second
    if len(match["year"]) == 2:
        year = _full_year(year, (month, day, second_of_day), now)
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * 86400 + second_of_day


def _full_year(year: int, rest: tuple[int, int, int], now: int) -> int:
    """The latest year that ends in the two digits `year` and lies at most fifty years after `now`.

    `rest` is what follows the year: month, day and second of the day.
    """
    # §5.6.7: "Recipients of a timestamp value in rfc850-date format, which uses a two-digit year,
    # MUST interpret a timestamp that appears to be more than 50 years in the future as representing
    # the most recent year in the past that had the same last two digits."
    days, second_of_day = divmod(now, 86400)
    today = date.fromordinal(_EPOCH_DAY + days)
    horizon = (today.year + 50, today.month, today.day, second_of_day)
    latest = horizon[0] - (horizon[0] - year) % 100
    return latest if (latest, *rest) <= horizon else latest - 100
