"""Results to draw from."""

from __future__ import annotations

from dataclasses import replace

from loadtests.reliability.counts import Latency, Loss
from loadtests.reliability.results import Results, Row

KILL = Row(
    server="mpserve",
    action="kill",
    deeds=8,
    seconds=20.0,
    fresh=1000,
    answered=997,
    reused=500,
    reused_answered=495,
    turned_away=0,
    idle_ends=2,
    held=8,
    losses={Loss.AFTER.value: 3, Loss.REUSED.value: 5},
    late=1.5,
    latency=Latency(900, 0.31, 4.2, 9.0, 123.0),
    problems=[],
    examples=["ended after the request: ECONNRESET after 0 octets"],
)
HUP = replace(KILL, action="hup", held=0, losses={}, answered=1000, reused_answered=500)


def results() -> Results:
    return Results(
        taken="2026-11-25 12:00 UTC",
        command="./scripts/reliability --connections 1000",
        machine={"processor": "one of two", "kernel": "Linux 6.18"},
        settings={"workers": "3"},
        versions={"mpserve": "0.1.0", "nginx": "1.22.1"},
        rows=[
            KILL,
            HUP,
            replace(KILL, server="nginx", held=5),
            replace(
                HUP, server="nginx", latency=None, problems=["a new generation did not happen"]
            ),
        ],
    )
