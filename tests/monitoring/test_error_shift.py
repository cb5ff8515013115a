"""Errors of new steps against those of the test span: how often noise raises an alarm, and what an outlier does."""

import numpy as np
import pytest

from gridcast.monitoring.drift import increase_p_value, independent_blocks
from gridcast.monitoring.error_shift import ErrorShift, measure_errors

LIMIT, ALPHA, TRIALS = 1.25, 0.01, 60


def errors(seed, steps):
    """Absolute errors of forecasts two steps ahead, of which neighbours depend on each other."""
    noise = np.random.default_rng(seed).normal(size=steps + 2)
    correlated = np.abs(noise[2:] + 0.5 * noise[1:-1])
    return (correlated + np.append(correlated[1:], correlated[-1])) / 2


def share_of_alarms(spoil, now=90, before=90):
    alarms = 0
    for seed in range(TRIALS):
        values = errors(seed, now + before)
        shift = measure_errors(spoil(values[before:]), values[:before], overlap=2, reach=7)
        alarms += shift.is_risen(LIMIT, ALPHA)
    return alarms / TRIALS


def with_outlier(values):
    return np.where(np.arange(len(values)) == len(values) // 2, 1e5, values)


def with_event(values):
    """One wrong value that spoils the forecasts after it."""
    at = np.arange(len(values)) - len(values) // 2
    return np.where((at >= 0) & (at < 7), 1e3, values)


@pytest.mark.parametrize("spoil", [lambda values: values, with_outlier, with_event], ids=["noise", "outlier", "event"])
def test_where_nothing_has_risen_an_alarm_is_rare_whatever_one_event_does(spoil):
    assert share_of_alarms(spoil) <= 0.05


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: 2 * values,
        lambda values: with_outlier(2 * values),
        lambda values: np.where(np.arange(len(values)) % 4 == 0, 10 * values, values),
    ],
    ids=["twice", "twice, and an outlier", "every fourth step"],
)
def test_a_rise_is_found_whatever_one_outlier_does(spoil):
    assert share_of_alarms(spoil) >= 0.95


def test_steps_that_are_off_are_counted_by_hand():
    before = np.arange(1.0, 101.0)
    now = np.array([200, 200, 1, 1, 200, 1, 1, 1, 1, 200.0])
    shift = measure_errors(now, before, overlap=1, reach=1)
    assert (shift.steps, shift.off, shift.blocks, shift.longest) == (10, 4, 3, 2)
    assert shift.usual == pytest.approx(np.quantile(before, 0.95))
    assert shift.trimmed == 0.2
    assert shift.ratio == pytest.approx((6 * 1 + 2 * 200) / 8 / before[:80].mean())
    assert shift.share_off == 0.4


@pytest.mark.parametrize(("now", "before"), [([1.0, 1.0], [1.0] * 5), ([1.0] * 5, []), ([1.0] * 5, [0.0] * 5)])
def test_what_cannot_be_compared_has_no_ratio_and_is_not_risen(now, before):
    shift = measure_errors(np.array(now), np.array(before), overlap=1, reach=1)
    assert np.isnan(shift.ratio)
    assert not shift.is_risen(LIMIT, ALPHA)


def shift(**changes) -> ErrorShift:
    """Of 100 steps none is off; 13 are above the limit of 12.5."""
    values = {"steps": 100, "off": 0, "blocks": 0, "longest": 0, "usual": 1.0, "trimmed": 0.1}
    return ErrorShift(**{**values, "ratio": 1.0, "p_value": 1.0, "off_p_value": 1.0, **changes})


@pytest.mark.parametrize(
    ("changes", "is_risen"),
    [
        ({}, False),
        ({"ratio": 1.26, "p_value": 0.005}, True),
        ({"ratio": 1.26, "p_value": 0.0051}, False),
        ({"ratio": 1.25, "p_value": 0.0}, False),
        ({"off": 13, "off_p_value": 0.005}, True),
        ({"off": 13, "off_p_value": 0.0051}, False),
        ({"off": 12, "off_p_value": 0.0}, False),
        ({"off": 15, "longest": 2, "off_p_value": 0.0}, True),
        ({"off": 15, "longest": 3, "off_p_value": 0.0}, False),
        ({"steps": 1, "off": 1, "off_p_value": 0.0}, True),
        ({"steps": 0}, False),
    ],
)
def test_an_error_has_risen_where_one_measure_is_beyond_its_limit_and_unlikely_so(changes, is_risen):
    assert shift(**changes).is_risen(LIMIT, ALPHA) is is_risen


def test_without_steps_there_is_no_share():
    assert np.isnan(shift(steps=0).share_off)


def by_the_paper(values, share):
    """Values whose mean is the trimmed one and which spread like winsorised ones (Yuen 1974), large ones alone cut."""
    cut = int(np.ceil(share * len(values)))
    ordered = np.sort(values)
    winsorised = np.minimum(values, ordered[-1 - cut])
    return ordered[:-cut].mean() + (winsorised - winsorised.mean()) / (1 - share)


@pytest.mark.parametrize(("count", "reach", "share"), [(40, 1, 0.1), (40, 5, 0.15), (40, 7, 0.2), (12, 7, 0.4)])
def test_the_trimmed_means_are_compared_as_yuen_does(count, reach, share):
    random = np.random.default_rng(3)
    now, before = random.gamma(2.0, 1.2, count), random.gamma(2.0, 1.0, 80)
    found = measure_errors(now, before, overlap=2, reach=reach)
    assert found.trimmed == pytest.approx(share)
    assert found.ratio == pytest.approx(by_the_paper(now, share).mean() / by_the_paper(before, share).mean())
    freedom = max(1.0, independent_blocks(count, 2) - 1)
    expected = increase_p_value(by_the_paper(now, share), by_the_paper(before, share), 2, freedom=freedom)
    assert found.p_value == pytest.approx(expected)


def test_the_share_of_steps_that_are_off_is_compared_without_the_longest_block():
    before = np.arange(1.0, 61.0)
    now = np.tile([1.0, 1.0, 1.0, 99.0], 10)
    now[8:13] = 99.0
    found = measure_errors(now, before, overlap=2, reach=3)
    assert (found.off, found.blocks, found.longest) == (14, 9, 6)
    kept = (now > 50) & ~np.isin(np.arange(40), range(7, 13))
    freedom = independent_blocks(40, 2) - 1
    expected = increase_p_value(kept.astype(float), (before > found.usual).astype(float), 5, freedom=freedom)
    assert found.off_p_value == pytest.approx(expected)
    assert np.isnan(measure_errors(now, before[1:], overlap=2, reach=3).off_p_value)


def test_three_steps_are_compared_and_two_are_not():
    values = np.array([1.0, 2.0, 4.0])
    three = measure_errors(2 * values, values, overlap=1, reach=0)
    assert three.ratio == 2.0  # a third of three is one, the largest
    expected = increase_p_value(*(by_the_paper(own, 1 / 3) for own in (2 * values, values)), 1, freedom=1.0)
    assert three.p_value == pytest.approx(expected)
    few = measure_errors(values[:2], values, overlap=1, reach=0)
    assert (few.steps, few.off, few.blocks, few.longest) == (2, 0, 0, 0)
    assert np.isnan([few.usual, few.trimmed, few.ratio, few.p_value, few.off_p_value]).all()


def test_errors_on_the_usual_one_are_not_off():
    before = np.concatenate([np.ones(50), np.full(50, 2.0)])
    found = measure_errors(np.array([2.0, 2.0, 2.0, 2.5]), before, overlap=1, reach=0)
    assert (found.usual, found.off) == (2.0, 1)
    # Nor are they in the test span: half of its steps would be.
    assert found.off_p_value == pytest.approx(increase_p_value(np.zeros(4), np.zeros(100), 1, freedom=1.0))


def test_where_the_test_span_had_no_error_there_is_no_ratio():
    assert np.isnan(measure_errors(np.ones(20), np.zeros(20), overlap=1, reach=1).ratio)
    small = measure_errors(np.full(20, 0.5), np.full(20, 0.25), overlap=1, reach=1)
    assert small.ratio == 2.0
