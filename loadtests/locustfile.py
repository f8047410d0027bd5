"""What `locust -f loadtests/locustfile.py` finds: every user class. Without a choice they come mixed by weight."""

from __future__ import annotations

import sys
from pathlib import Path

# Locust may be started from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from loadtests import common  # noqa: F401 - before any user class: it refines Locust's buckets
from loadtests.scenarios.browse import BrowseUser
from loadtests.scenarios.churn import ChurnUser
from loadtests.scenarios.cold import ColdUser
from loadtests.scenarios.download import DownloadUser
from loadtests.scenarios.missing_storm import MissingUser
from loadtests.scenarios.pipeline import PipelineUser
from loadtests.scenarios.probe import ProbeUser
from loadtests.scenarios.slow_header import SlowHeaderUser
from loadtests.scenarios.slow_reader import SlowReaderUser
from loadtests.scenarios.video_seek import VideoSeekUser

__all__ = [
    "BrowseUser",
    "ChurnUser",
    "ColdUser",
    "DownloadUser",
    "MissingUser",
    "PipelineUser",
    "ProbeUser",
    "SlowHeaderUser",
    "SlowReaderUser",
    "VideoSeekUser",
]
