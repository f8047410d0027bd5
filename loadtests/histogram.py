"""Response times as counts per bucket. Everything that rounds a time, or takes a percentile, lives here.

A static file is answered in tenths of a millisecond, so buckets are finer than Locust's whole milliseconds:
two significant digits or a hundredth of a millisecond, whichever is coarser. They stay few, because in a
distributed run every worker sends them to the master every three seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Histogram: TypeAlias = dict[float, int]  # bucket, in milliseconds → how many


def bucket(milliseconds: float) -> float:
    """The bucket of a response time: 0.74, 7.4, 74, 740, 7400."""
    if milliseconds < 1:
        return round(milliseconds, 2)
    if milliseconds < 10:
        return round(milliseconds, 1)
    if milliseconds < 100:
        return float(round(milliseconds))
    if milliseconds < 1000:
        return float(round(milliseconds, -1))
    return float(round(milliseconds, -2))


def percentile(histogram: Mapping[float, int], share: float) -> float | None:
    """The smallest bucket that at least `share` (0 to 1) of the samples do not exceed; None without samples."""
    wanted = share * sum(histogram.values())
    seen = 0
    for each in sorted(histogram):
        seen += histogram[each]
        if seen >= wanted and seen:
            return each
    return None


def merged(histograms: Iterable[Mapping[float, int]]) -> Histogram:
    """All samples in one."""
    total: Histogram = {}
    for histogram in histograms:
        for each, count in histogram.items():
            total[each] = total.get(each, 0) + count
    return total


def difference(later: Mapping[float, int], earlier: Mapping[float, int]) -> Histogram:
    """What was added between two states of one histogram."""
    counts = ((each, count - earlier.get(each, 0)) for each, count in later.items())
    return {each: count for each, count in counts if count > 0}
