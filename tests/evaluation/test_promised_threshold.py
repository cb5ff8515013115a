"""A promise of few false alarms: the threshold that keeps it, and how far days of validation show it."""

import numpy as np
import pytest

from gridcast.config.false_alarms import alarms_per_day
from gridcast.config.sections import Anomaly
from gridcast.evaluation.promised_threshold import is_broken, promise_sentence, promised_threshold, rate_interval
from gridcast.runtime import events
from gridcast.runtime.errors import DataError

DAY = 1440


def scores(seed, days, *, tail=1.0, memory=10):
    """Scores each minute, in bursts as windows that overlap make them: squares, of which a mean is taken."""
    noise = np.random.default_rng(seed).normal(size=(days * DAY + memory, 4))
    smooth = np.cumsum((noise**2).mean(axis=1) ** tail)
    return (smooth[memory:] - smooth[:-memory]) / memory


@pytest.mark.parametrize("tail", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("min_steps", "merge_gap"), [(1, 10), (3, 0)])
def test_the_promise_is_kept_on_other_days(tail, min_steps, merge_gap):
    """Ten plants, 22 days to fit, 8 days to count: 11.4 alarms are promised."""
    alarms = 0
    for seed in range(10):
        values = scores(seed, 30, tail=tail)
        threshold = promised_threshold(values[: 22 * DAY], 1 / 7 / DAY, min_steps=min_steps, merge_gap=merge_gap)
        alarms += len(events.spans(values[22 * DAY :] > threshold, min_steps, merge_gap))
    low, high = rate_interval(alarms, 80)
    assert low <= 1 / 7 <= high


def test_scores_that_say_little_still_have_a_threshold():
    assert promised_threshold(np.full(50, 2.0), 1e-4, min_steps=1, merge_gap=5) == 2.0
    assert promised_threshold(np.zeros(50), 1e-4, min_steps=1, merge_gap=5) == 0.0
    few = scores(0, 1)[:60]
    assert few.max() < promised_threshold(few, 1e-9, min_steps=1, merge_gap=0) < 5 * few.max()
    assert promised_threshold(np.append(few, np.nan), 1e-9, min_steps=1, merge_gap=0) > few.max()
    with pytest.raises(DataError, match="no step of normal operation has an anomaly score"):
        promised_threshold(np.full(5, np.nan), 0.1, min_steps=1, merge_gap=0)


def test_more_alarms_are_allowed_at_a_lower_threshold():
    values = scores(0, 10)
    rates = [1 / DAY / days for days in (0.01, 0.1, 1, 7, 30)]
    thresholds = [promised_threshold(values, rate, min_steps=1, merge_gap=10) for rate in rates]
    assert thresholds == sorted(thresholds)


def test_intervals_are_those_of_poisson():
    assert rate_interval(0, 10) == (0.0, pytest.approx(0.29957, abs=1e-5))
    assert rate_interval(4, 1) == pytest.approx((1.08987, 10.24159), abs=1e-5)
    assert not is_broken(0, 0.0, 1 / 7)


@pytest.mark.parametrize(
    ("alarms", "days", "said"),
    [
        (0, 3.0, "promises false alarms of at most 1 per week. A validation of 3.0 days cannot show that: 0 alarms in"),
        (0, 30.0, "keeps its promise of 1 per week (anomaly.false_alarms): 0 alarms in 30.0 days, at most 0.7 a week"),
        (5, 3.0, "breaks its promise of 1 per week (anomaly.false_alarms): 5 alarms in 3.0 days, at least 3.8 a week"),
    ],
)
def test_the_sentence_says_what_validation_shows(alarms, days, said):
    assert said in promise_sentence("1 per week", 1 / 7, alarms, days)
    assert is_broken(alarms, days, 1 / 7) == ("breaks" in said)


def test_promises_are_read_and_others_refused():
    assert [alarms_per_day(text) for text in ("2 per day", "1 a week", "0.5/month")] == [2, 1 / 7, 6 / 365.25]
    for text in ("1 per fortnight", "0 per day", "weekly", "-1 per day"):
        with pytest.raises(ValueError, match="write it as 1 per week"):
            Anomaly(false_alarms=text)
    with pytest.raises(ValueError, match="level and false_alarms both set the threshold"):
        Anomaly(false_alarms="1 per week", level=3.0)
    with pytest.raises(ValueError, match="remove threshold, or write running"):
        Anomaly(false_alarms="1 per week", threshold="quantile")
    assert Anomaly(false_alarms="1 per week", threshold="running").promised_per_day == 1 / 7
