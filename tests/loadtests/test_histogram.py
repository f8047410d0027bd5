"""Buckets and percentiles."""

from __future__ import annotations

import random

import pytest

from loadtests.histogram import bucket, difference, merged, percentile


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0.004, 0.0),
        (0.0741, 0.07),
        (0.7449, 0.74),
        (0.999, 1.0),
        (7.44, 7.4),
        (74.4, 74.0),
        (744.0, 740.0),
        (7444.0, 7400.0),
        (61234.0, 61200.0),
    ],
)
def test_a_bucket_keeps_two_digits_or_a_hundredth(milliseconds: float, expected: float) -> None:
    found = bucket(milliseconds)

    assert expected == found


def test_buckets_are_few_and_grow_with_the_time() -> None:
    places = [bucket(0.01 * 1.001**power) for power in range(14_000)]

    assert places == sorted(places)
    assert len(set(places)) < 600


def test_percentiles_are_those_of_the_sorted_samples() -> None:
    dice = random.Random(1)
    samples = sorted(bucket(dice.expovariate(0.2)) for _ in range(1000))
    histogram = {each: samples.count(each) for each in samples}

    for share in (0.5, 0.9, 0.99, 0.999, 1.0):
        assert percentile(histogram, share) == samples[round(1000 * share) - 1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_sample_is_every_percentile(share: float) -> None:
    assert percentile({3.0: 1}, share) == 3.0


def test_no_samples_have_no_percentile() -> None:
    assert percentile({}, 0.5) is None


def test_merging_and_taking_apart_are_inverse() -> None:
    earlier = {1.0: 2, 2.0: 5}
    added = {2.0: 1, 9.0: 4}
    later = merged((earlier, added))

    assert later == {1.0: 2, 2.0: 6, 9.0: 4}
    assert difference(later, earlier) == added
