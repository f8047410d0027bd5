"""What is not there, and what nobody should ask for: missing files, paths out of the root, broken escapes.

Scanners send thousands of these to every address on the internet. Only 400, 403 and 404 will do, and an
answer must cost no more than that of a file that exists. What it finds: a way out of the root, a log that
a request can forge, a cache that fills up with names of things that do not exist.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.strict_user import StrictUser

REFUSED = (400, 403, 404)

# Octets as they are sent; none of them names a file of the corpus.
ODDITIES = (
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/.%2e/.%2e/.%2e/etc/passwd",
    "/%252e%252e/etc/passwd",
    "/..\\..\\..\\windows\\win.ini",
    "/....//....//etc/passwd",
    "/sizes/..;/..;/etc/passwd",
    "/%",
    "/%zz",
    "/%4",
    "/nul%00octet",
    "/sizes/1024.bin%00.html",
    "/.git/config",
    "/.env",
    "/wp-login.php",
    "/%c0%ae%c0%ae/etc/passwd",
    "/%ff%fe",
    '/"quoted" line',
    "/" + "a" * 300,
    "/" + "deep/" * 200,
    "/%0d%0aX-Injected:%20yes",
)
# What other servers see otherwise and can live with: %2F is a slash, and what follows a file is for the file to read.
OURS_ALONE = ("/sizes%2f1024.bin", "/sizes%2F16.bin", "/sizes/1024.bin/")


class MissingUser(StrictUser):
    """A scanner."""

    period = 0.1

    @task
    def scan(self) -> None:
        """One thing that is not there."""
        if self.random.random() < 0.5:
            target = f"/missing/{self.random.getrandbits(48):012x}.html"
            self.ask(Ask("missing", target, (404,)))
            return
        oddities = ODDITIES + OURS_ALONE if self.target.ours else ODDITIES
        target = self.random.choice(oddities)
        self.ask(Ask("oddity", target.replace(" ", "%20"), REFUSED))
