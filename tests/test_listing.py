"""The listing page: read by a parser of HTML, its links followed as a browser follows them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mpserve.listing import page
from mpserve.protocol.representation import Entry
from tests.fakes import SETTLED

VOID = frozenset({"meta"})


class Reader(HTMLParser):
    """What a page shows: links with their texts, the text of each table row, attributes."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.titles: list[str] = []
        self.times: list[str] = []
        self.heading = ""
        self.title = ""
        self.text = ""
        self.tags: set[str] = set()
        self.feed(html.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append((values["href"], ""))
        elif tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
        elif tag == "time":
            self.times.append(values["datetime"])
        if "title" in values:
            self.titles.append(values["title"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "a" in self.open:
            href, text = self.links[-1]
            self.links[-1] = (href, text + data)
        if "td" in self.open:
            self.rows[-1][-1] += data
        if "h1" in self.open:
            self.heading += data
        if "title" in self.open:
            self.title += data


def a_file(name: bytes, size: int = 0, mtime: int = SETTLED) -> Entry:
    return Entry(name, is_dir=False, size=size, mtime=mtime)


def a_directory(name: bytes, mtime: int = SETTLED) -> Entry:
    return Entry(name, is_dir=True, size=4096, mtime=mtime)


def listed(*entries: Entry) -> Reader:
    """The page of the root, with `entries`."""
    return Reader(page((), entries))


def followed(href: str, path: str) -> bytes:
    """The path, in octets, that a browser asks for when the page at `path` has the link `href`."""
    url = urlsplit(urljoin(f"http://localhost{path}", href))
    assert (url.scheme, url.netloc) == ("http", "localhost")
    assert (url.query, url.fragment) == ("", "")
    return unquote_to_bytes(url.path)


TELLING_NAMES = [
    pytest.param(b"plain.txt", "plain.txt", id="a plain name"),
    pytest.param(b"two  words ", "two  words ", id="spaces"),
    pytest.param(b" ", " ", id="nothing but a space"),
    pytest.param(b'say "it\'s"', 'say "it\'s"', id="quotes"),
    pytest.param(b"#1", "#1", id="a number sign"),
    pytest.param(b"why?x=1&y=2", "why?x=1&y=2", id="a question mark and ampersands"),
    pytest.param(b"100%", "100%", id="a percent sign"),
    pytest.param(b"%41", "%41", id="what looks like an escape"),
    pytest.param(b"&amp;&lt;", "&amp;&lt;", id="what looks like a character reference"),
    pytest.param(b"<script>alert(1)<", "<script>alert(1)<", id="what looks like markup"),
    pytest.param(b"</table></style>", "</table></style>", id="what would end the table"),
    pytest.param(b"javascript:alert(1)", "javascript:alert(1)", id="what looks like a script"),
    pytest.param(b"http:localhost", "http:localhost", id="what looks like a URL"),
    pytest.param(b"c:x", "c:x", id="a colon"),
    pytest.param(b"\\\\host\\x", "\\\\host\\x", id="backslashes"),
    pytest.param(b"...", "...", id="three dots"),
    pytest.param(b"{title}", "{title}", id="braces"),
    pytest.param(b"a\nb", r"a\x0ab", id="a newline"),
    pytest.param(b"a\r\n\tb\x7f", r"a\x0d\x0a\x09b\x7f", id="control characters"),
    pytest.param("grüße.txt".encode(), "grüße.txt", id="UTF-8"),
    pytest.param("日本語".encode(), "日本語", id="UTF-8 of three octets"),
    pytest.param("😀".encode(), "😀", id="UTF-8 of four octets"),
    pytest.param(b"gr\xfc\xdfe", r"gr\xfc\xdfe", id="Latin-1"),
    pytest.param(b"\xff\xfe\x80", r"\xff\xfe\x80", id="no UTF-8 at all"),
    pytest.param(b"\xed\xb2\x80", r"\xed\xb2\x80", id="a surrogate in UTF-8"),
    pytest.param("a\x85b".encode(), r"a\x85b", id="a C1 control"),
    pytest.param("a\u2028b".encode(), r"a\u2028b", id="a line separator"),
    pytest.param("\u202efdp.exe".encode(), r"\u202efdp.exe", id="a right-to-left override"),
]


@pytest.mark.parametrize(("name", "shown"), TELLING_NAMES)
def test_a_file_is_shown_readably_and_its_link_leads_to_its_octets(name: bytes, shown: str) -> None:
    reader = listed(a_file(name))

    ((href, text),) = reader.links
    assert text == shown
    assert followed(href, "/") == b"/" + name


@pytest.mark.parametrize(("name", "shown"), TELLING_NAMES)
def test_a_directory_is_shown_readably_and_its_link_ends_in_a_slash(
    name: bytes, shown: str
) -> None:
    reader = listed(a_directory(name))

    ((href, text),) = reader.links
    assert text == shown + "/"
    assert followed(href, "/") == b"/" + name + b"/"


@pytest.mark.parametrize(("name", "shown"), TELLING_NAMES)
def test_the_path_is_shown_readably_in_title_and_heading(name: bytes, shown: str) -> None:
    reader = Reader(page((b"top", name), ()))

    assert reader.title == f"Index of /top/{shown}/"
    assert reader.heading == f"Index of /top/{shown}/"


@settings(deadline=None)
@given(name=st.binary(min_size=1, max_size=30))
@example(bytes(range(1, 47)) + bytes(range(48, 256)))
def test_whatever_its_octets_a_name_adds_no_markup_and_its_link_leads_to_it(name: bytes) -> None:
    name = name.replace(b"/", b"").replace(b"\0", b"")
    if name in (b"", b".", b".."):
        return

    reader = listed(a_file(name))

    ((href, _),) = reader.links
    assert reader.tags == listed(a_file(b"a")).tags
    assert followed(href, "/") == b"/" + name
    assert re.fullmatch(r"\./[A-Za-z0-9\-._~%]+", href)


def test_links_are_relative_so_the_page_works_behind_any_prefix() -> None:
    path = (b"a b", b"c")

    reader = Reader(page(path, [a_file(b"x")]))

    assert [followed(href, "/proxied/a%20b/c/") for href, _ in reader.links] == [
        b"/proxied/",
        b"/proxied/a b/",
        b"/proxied/a b/",
        b"/proxied/a b/c/x",
    ]
    assert all(href.startswith(".") for href, _ in reader.links)


def test_every_directory_above_is_a_link_in_the_heading() -> None:
    reader = Reader(page((b"a", b"b", b"c"), ()))

    above = [(text, followed(href, "/a/b/c/")) for href, text in reader.links]
    assert above == [
        ("/", b"/"),
        ("a", b"/a/"),
        ("b", b"/a/b/"),
        ("Parent directory", b"/a/b/"),
    ]


def test_the_root_has_nothing_above_it() -> None:
    reader = listed()

    assert reader.links == []
    assert reader.heading == "Index of /"
    assert reader.title == "Index of /"


def test_directories_come_first_and_each_kind_in_the_order_of_its_names() -> None:
    reader = listed(
        a_file(b"b.txt"),
        a_directory(b"zoo"),
        a_file(b"A.txt"),
        a_file(b"a.txt"),
        a_directory(b"Bar"),
        a_file(b"\xff"),
        a_file(b"C.txt"),
    )

    order = [text for _, text in reader.links]
    assert order == ["Bar/", "zoo/", "A.txt", "a.txt", "b.txt", "C.txt", "\\xff"]


def test_the_order_of_the_entries_given_does_not_matter() -> None:
    entries = [a_file(b"a"), a_file(b"A"), a_directory(b"b"), a_file(b"c")]

    assert page((), entries) == page((), entries[::-1])


@pytest.mark.parametrize(
    ("size", "shown", "exactly"),
    [
        pytest.param(0, "0 B", "0 bytes", id="nothing"),
        pytest.param(1, "1 B", "1 byte", id="one byte"),
        pytest.param(999, "999 B", "999 bytes", id="the most bytes"),
        pytest.param(1000, "1.0 kB", "1,000 bytes", id="the fewest kilobytes"),
        pytest.param(1050, "1.1 kB", "1,050 bytes", id="a fraction"),
        pytest.param(10_000, "10 kB", "10,000 bytes", id="the least without a fraction"),
        pytest.param(12_345, "12 kB", "12,345 bytes", id="no fraction where it says little"),
        pytest.param(1_234_567, "1.2 MB", "1,234,567 bytes", id="megabytes"),
        pytest.param(5 * 2**30, "5.4 GB", "5,368,709,120 bytes", id="five binary gigabytes"),
        pytest.param(2**63 - 1, "9.2 EB", f"{2**63 - 1:,} bytes", id="the longest file"),
    ],
)
def test_a_size_is_rounded_for_the_eye_and_exact_in_its_title(
    size: int, shown: str, exactly: str
) -> None:
    reader = listed(a_file(b"x", size))

    assert reader.rows[-1][1] == shown
    assert reader.titles == [exactly]


def test_a_directory_has_no_size() -> None:
    reader = listed(a_directory(b"x"))

    assert reader.rows[-1] == ["x/", "", "2023-11-14 21:13"]


@pytest.mark.parametrize(
    ("mtime", "shown", "machine"),
    [
        pytest.param(SETTLED, "2023-11-14 21:13", ["2023-11-14T21:13:20Z"], id="a while ago"),
        pytest.param(0, "1970-01-01 00:00", ["1970-01-01T00:00:00Z"], id="the epoch"),
        pytest.param(-1, "1969-12-31 23:59", ["1969-12-31T23:59:59Z"], id="before the epoch"),
        pytest.param(253402300799, "9999-12-31 23:59", ["9999-12-31T23:59:59Z"], id="at the end"),
        pytest.param(253402300800, "", [], id="after the end"),
        pytest.param(-(2**62), "", [], id="before the beginning"),
        pytest.param(2**63 - 1, "", [], id="beyond all years"),
    ],
)
def test_a_time_is_utc_for_people_and_for_machines(
    mtime: int, shown: str, machine: list[str]
) -> None:
    reader = listed(a_file(b"x", mtime=mtime))

    assert reader.rows[-1][2] == shown
    assert reader.times == machine


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], "0 directories, 0 files, 0 B", id="nothing"),
        pytest.param([a_file(b"a", 7)], "0 directories, 1 file, 7 B", id="a file"),
        pytest.param([a_directory(b"a")], "1 directory, 0 files, 0 B", id="a directory"),
        pytest.param(
            [a_directory(b"a"), a_directory(b"b"), a_file(b"c", 1500), a_file(b"d", 600)],
            "2 directories, 2 files, 2.1 kB",
            id="some of both",
        ),
    ],
)
def test_the_page_ends_with_a_count(entries: list[Entry], expected: str) -> None:
    reader = listed(*entries)

    assert reader.text.rstrip().endswith(expected)


def test_the_page_needs_no_script_and_nothing_from_elsewhere() -> None:
    html = page((b"a",), [a_file(b"x"), a_directory(b"y")]).decode()

    assert Reader(html.encode()).tags.isdisjoint({"script", "link", "img", "iframe", "base"})
    assert set(re.findall(r"url\(\"([a-z]+:)", html)) == {"data:"}
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg')", html) == []


def test_the_page_fits_a_phone_and_the_dark() -> None:
    html = page((), ())

    assert b'<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert b"@media (max-width: 40rem)" in html
    assert b"@media (prefers-color-scheme: dark)" in html


def test_the_page_says_its_charset_and_is_it() -> None:
    html = page((), [a_file("ü".encode()), a_file(b"\xff")])

    assert b'<meta charset="utf-8">' in html[:200]
    assert "ü" in html.decode("utf-8")


def test_a_listing_that_is_cut_says_so() -> None:
    entries = [Entry(b"a", False, 1, 0)]

    assert b"1 file, 1 B. There are more, which are not listed." in page((), entries, cut=True)
    assert b"There are more" not in page((), entries)
