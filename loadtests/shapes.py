"""The plans of loadtests/plan.py as Locust shapes. A locustfile imports no shape: the first would always be taken."""

from __future__ import annotations

from locust import LoadTestShape
from locust.user import User

from loadtests.plan import PLANS


class PlannedShape(LoadTestShape):
    """Users by plan, and the end of the run when its time is over."""

    def __init__(self, name: str, users: int, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Locust does not annotate it
        self.plan = PLANS[name]
        self.users = users
        self.seconds = seconds

    def tick(self) -> tuple[int, float] | tuple[int, float, list[type[User]] | None] | None:
        """Called by Locust once a second."""
        at = self.get_run_time()  # type: ignore[no-untyped-call]  # nor this
        if at >= self.seconds:
            return None
        return self.plan(at, self.seconds, self.users)
