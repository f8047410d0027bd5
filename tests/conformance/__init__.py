"""What RFC 9110 and RFC 9112 ask of an origin server for static content, one case per requirement.

A case is a function that takes a `Target` and raises `Unmet`. It runs under pytest against mpserve
and against the wrong servers that it must notice, and by `./scripts/conformance` against any server
that serves the corpus. Where the RFC leaves a choice, every legal answer passes.

One file per section of an RFC: rfc9110_13_conditional_requests.py. practice.py holds what no RFC
asks and every user expects.
"""
