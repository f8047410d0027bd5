"""RFC 3986 §2, Characters: what is percent-encoded, and what it stands for."""

from __future__ import annotations

import re

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.target import FILE, SMALL, Target, content_of
from tests.conformance.wrong_server import FINDS_NOTHING, answers, garbles, misreads
from tests.harness import corpus

NAMES = {
    name.decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\t", "\\t"): name
    for name in corpus.NAMES
    if len(name) < 100
}


CONTROLS = {name: octets for name, octets in NAMES.items() if re.search(rb"[\0-\x1f]", octets)}


@should(FINDS_NOTHING, rows=CONTROLS)
def controls_in_a_name_can_be_encoded(target: Target, name: bytes) -> None:
    """RFC 3986 §2.1: "A percent-encoding mechanism is used to represent a data octet in a component
    when that octet's corresponding character is outside the allowed set or is being used as a
    delimiter of, or within, the component." Some servers refuse controls, so as to be safe.
    """
    expect_whole_of(target, corpus.CORE[b"names/" + name])


def expect_whole_of(target: Target, file: corpus.File) -> None:
    answer = expect(target.get(file.url), 200)

    require(answer.content == file.content(), "the content is not the file's")


@must(FINDS_NOTHING, rows={name: NAMES[name] for name in NAMES if name not in CONTROLS})
def each_octet_of_a_name_can_be_encoded(target: Target, name: bytes) -> None:
    """RFC 3986 §2.1: "A percent-encoding mechanism is used to represent a data octet in a component
    when that octet's corresponding character is outside the allowed set or is being used as a
    delimiter of, or within, the component."
    """
    expect_whole_of(target, corpus.CORE[b"names/" + name])


@must(
    FINDS_NOTHING,
    rows={
        "of 255 octets": b"names/" + b"l" * 250 + b".long",
        "of a directory in UTF-8": "names/dïr with space/100%#?.txt".encode(),
        "of a directory that is not UTF-8": b"names/latin-\xe9/inside.txt",
    },
)
def a_name_of_an_unusual_kind_can_be_encoded(target: Target, path: bytes) -> None:
    """RFC 3986 §2.1: "A percent-encoding mechanism is used to represent a data octet in a component
    when that octet's corresponding character is outside the allowed set or is being used as a
    delimiter of, or within, the component."
    """
    expect_whole_of(target, corpus.CORE[path])


@must(
    misreads("does not decode what need not be encoded", rb"%(?=[2-7][0-9A-Fa-f])", b"%25"),
    rows={
        "a letter": "/%73izes/1000.bin",
        "all letters": "/%73%69%7a%65%73/%31%30%30%30%2e%62%69%6e",
        "a digit": "/sizes/%31000.bin",
        "a dot": "/sizes/1000%2ebin",
        "one of each": "/s%69zes/1%300%30%2ebin",
    },
)
def unreserved_characters_are_the_same_encoded(target: Target, path: str) -> None:
    """RFC 3986 §2.3: "URIs that differ in the replacement of an unreserved character with its
    corresponding percent-encoded US-ASCII octet are equivalent: they identify the same resource."
    """
    answer = target.get(path)
    if answer.status in (301, 302, 307, 308):  # to the normal form
        return

    expect_whole(answer, SMALL)


@must(
    misreads("knows digits in one case only", rb"%[cC]3%[aA]9", b"%25"),
    rows={"upper": "/names/%C3%A9t%C3%A9.txt", "lower": "/names/%c3%a9t%c3%a9.txt"},
)
def hexadecimal_digits_are_the_same_in_both_cases(target: Target, path: str) -> None:
    """RFC 3986 §2.1: "If two URIs differ only in the case of hexadecimal digits used in
    percent-encoded octets, they are equivalent."
    """
    wanted = corpus.CORE["names/été.txt".encode()].content()

    require(expect(target.get(path), 200).content == wanted, "the content is not the file's")


@must(
    misreads("takes an escaped delimiter for the delimiter", rb"%3[fF]", b"?"),
    rows={
        "a question mark": "/names/question%3Fmark.txt",
        "a question mark, lower case": "/names/question%3fmark.txt",
    },
)
def an_encoded_delimiter_delimits_nothing(target: Target, path: str) -> None:
    """RFC 3986 §2.2: "URIs that differ in the replacement of a reserved character with its
    corresponding percent-encoded octet are not equivalent."
    """
    wanted = corpus.CORE[b"names/question?mark.txt"].content()

    require(expect(target.get(path), 200).content == wanted, "the content is not the file's")


@must(misreads("takes a plus for a space", rb"(?<=plus)\+", b"%20"))
def a_plus_is_a_plus(target: Target) -> None:
    """RFC 3986 §2.2: "+" is a reserved character of the path that stands for itself; it stands for
    a space in HTML forms alone.
    """
    wanted = corpus.CORE[b"names/plus+sign.txt"].content()

    answer = expect(target.get("/names/plus+sign.txt"), 200)
    require(answer.content == wanted, "the content is not the file's")


@must(
    misreads("decodes twice", rb"%25", b"%"),
    rows={
        "an escape in a name": ("/names/per%2520cent.txt", b"names/per%20cent.txt"),
        "a per cent sign in a name": ("/names/100%25.txt", b"names/100%.txt"),
    },
)
def escapes_are_decoded_once(target: Target, row: tuple[str, bytes]) -> None:
    """RFC 3986 §2.4: "Implementations must not percent-encode or decode the same string more than
    once, as decoding an already decoded string might lead to misinterpreting a percent data octet
    as the beginning of a percent-encoding".
    """
    path, name = row

    answer = expect(target.get(path), 200)
    require(answer.content == corpus.CORE[name].content(), "the content is not the file's")


@should(
    misreads("takes an escaped slash for a slash", rb"%2[fF]", b"/"),
    rows={"upper": "/sizes%2F1000.bin", "lower": "/sizes%2f1000.bin"},
)
def an_encoded_slash_is_no_slash(target: Target, path: str) -> None:
    """RFC 3986 §2.2: "URIs that differ in the replacement of a reserved character with its
    corresponding percent-encoded octet are not equivalent": this one names no file.
    """
    expect(target.get(path), 404, 400)


@should(
    answers(200, instead_of=400),
    rows={
        "no digits": "/sizes/1000.bin%",
        "one digit": "/sizes/1000.bin%2",
        "no hexadecimal digits": "/sizes/%zz1000.bin",
        "a sign": "/sizes/%+11000.bin",
        "the way of JavaScript": "/sizes/%u0031000.bin",
        "in the middle": "/%/sizes/1000.bin",
    },
)
def a_broken_escape_is_400(target: Target, path: str) -> None:
    """RFC 3986 §2.1: pct-encoded = "%" HEXDIG HEXDIG; a target in which it does not follow is none,
    and RFC 9112 §3.2 answers it with 400.
    """
    expect(target.attempt(target.request(path)), 400)


@must(
    answers(500, instead_of=400),
    garbles("guesses what a broken escape was meant to be", rb"^HTTP/1\.1 400", b"HTTP/1.1 200"),
    rows={"no digits": "/sizes/1000.bin%", "no hexadecimal digits": "/sizes/%zz1000.bin"},
)
def a_broken_escape_names_no_other_file(target: Target, path: str) -> None:
    """RFC 3986 §2.1: pct-encoded = "%" HEXDIG HEXDIG: whatever is made of this, it is not a file of
    another name.
    """
    answer = target.attempt(target.request(path))

    if answer is not None:
        expect(answer, 400, 404)


@must(
    answers(500, instead_of=404),
    rows={
        "a control": "/%01%02%1f",
        "DEL": "/%7f",
        "no UTF-8": "/%ff%fe%80",
        "a surrogate": "/%ed%a0%80",
        "a line end": "/%0d%0a",
    },
)
def unusual_octets_are_no_reason_to_fail(target: Target, path: str) -> None:
    """RFC 3986 §2.1: "A percent-encoded octet is encoded as a character triplet, consisting of the
    percent character "%" followed by the two hexadecimal digits representing that octet's numeric
    value." Any octet can be; where no file has this name there is none, or it is refused.
    """
    answer = target.attempt(target.request(path))

    expect(answer, 400, 403, 404)


@must(
    answers(500, instead_of=200),
    rows={
        "braces": "/names/brackets[]{}|^`.txt",
        "quotes": "/names/quote\"apostrophe'.txt",
        "angle brackets": "/names/less<more>.txt",
        "a backslash": "/names/back\\slash.txt",
        "UTF-8": "/names/été.txt".encode().decode("latin-1"),
    },
)
def what_should_have_been_encoded_is_taken_for_itself_or_refused(target: Target, path: str) -> None:
    """RFC 3986 §2: "A URI is composed from a limited set of characters"; some clients send others
    as they are. It is the file of this name, or an invalid target, and nothing else.
    """
    answer = target.attempt(target.request(path))
    file = corpus.CORE[path.lstrip("/").encode("latin-1")]

    if answer is not None and answer.status == 200:
        require(answer.content == file.content(), "the content is not the file's")
    elif answer is not None:
        expect(answer, 400, 301, 308, 404)


@must(FINDS_NOTHING)
def the_content_does_not_depend_on_the_form_of_the_name(target: Target) -> None:
    """RFC 3986 §2.3: "URIs that differ in the replacement of an unreserved character with its
    corresponding percent-encoded US-ASCII octet are equivalent: they identify the same resource."
    """
    forms = (FILE, FILE.replace("b", "%62"), FILE.replace("7", "%37"))
    contents = {target.get(form).content for form in forms}

    require(contents == {content_of(FILE)}, "one resource has several contents")
