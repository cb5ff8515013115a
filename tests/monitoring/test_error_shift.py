"""Errors of new steps against those of the test span: how often noise raises an alarm, and what an outlier does."""

import numpy as np
import pytest

from gridcast.monitoring.error_shift import measure_errors

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
