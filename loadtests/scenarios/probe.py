"""A small file every tenth of a second, beside whatever else goes on. It takes part in other scenarios.

Slow clients, idle connections and deaths of workers are harmless only if an ordinary request does not feel
them. The probe is that request, and its latency has a row of its own.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.strict_user import StrictUser
from tests.harness.corpus import TREE


class ProbeUser(StrictUser):
    """Somebody with an ordinary wish."""

    period = 0.1

    @task
    def probe(self) -> None:
        """One kilobyte."""
        file = TREE[b"sizes/1024.bin"]
        self.ask(Ask("probe", file.url, file=file))
