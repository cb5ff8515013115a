"""Two models on the same windows: errors by hand, and how often noise is called a difference."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gridcast.evaluation.detection_metrics import auc_pr
from gridcast.evaluation.origin_losses import MASE, MSSE, WQL
from gridcast.evaluation.paired_comparison import PairedComparison, compare_detections, compare_forecasts
from gridcast.evaluation.significance import diebold_mariano
from gridcast.tracking.champion_gate import judge

MARGIN = 0.01


def forecasts(values, actual, series="a", scale=2.0, start=0):
    steps = len(values)
    times = pd.date_range("2024-01-01", periods=start + steps)[start:]
    columns = {"series": series, "time": times, "step": 1, "actual": actual, "forecast": values, "scale": scale}
    return pd.DataFrame(columns)


def test_forecasts_are_compared_on_the_windows_that_both_have():
    random = np.random.default_rng(0)
    actual = random.normal(size=60)
    one, other = forecasts(0.5 * actual, actual), forecasts(0.9 * actual[10:], actual[10:], start=10)
    found = compare_forecasts(one, other, measure=MASE, margin=MARGIN, overlap=1)
    losses, others = 0.25 * np.abs(actual[10:]), 0.05 * np.abs(actual[10:])
    assert (found.error, found.other) == (pytest.approx(losses.mean()), pytest.approx(others.mean()))
    assert found.units == "50 origins"
    assert found.p_value == pytest.approx(diebold_mariano(losses, others).p_value)
    assert found.p_not_worse > 0.99
    assert judge(found, margin=MARGIN, challengers=1) == "worse"
    back = compare_forecasts(other, one, measure=MASE, margin=MARGIN, overlap=1)
    assert judge(back, margin=MARGIN, challengers=1) == "better"
    assert judge(back, margin=0.9, challengers=1) == "not worse"


def test_forecasts_are_compared_by_the_measure_of_the_selection():
    random = np.random.default_rng(1)
    actual = random.normal(size=60)
    # Of the first, every tenth forecast is far off: worse by squares, better by absolute values.
    often_right = forecasts(actual + 3.0 * (np.arange(60) % 10 == 0), actual)
    never_right = forecasts(actual + 0.5 * random.choice([-1, 1], size=60), actual)
    by = {
        measure.name: compare_forecasts(often_right, never_right, measure=measure, margin=MARGIN, overlap=1)
        for measure in (MASE, MSSE, WQL)
    }
    assert (by["mase"].error, by["mase"].other) == (pytest.approx(0.15), pytest.approx(0.25))
    assert (by["msse"].error, by["msse"].other) == (pytest.approx(0.225), pytest.approx(0.0625))
    assert by["msse"].measure == "squared scaled error"
    assert by["wql"] == by["mase"]  # there are no quantiles to compare
    quantiles = [table.assign(**{"q0.5": table["forecast"]}) for table in (often_right, never_right)]
    found = compare_forecasts(*quantiles, measure=WQL, margin=MARGIN, overlap=1)
    weight = np.abs(actual).mean()
    assert (found.error, found.other) == (pytest.approx(0.3 / weight), pytest.approx(0.5 / weight))
    assert found.p_value == pytest.approx(by["mase"].p_value)


def test_forecasts_that_are_not_finite_are_not_tested():
    actual = np.arange(1.0, 40.0)
    broken = forecasts(np.where(actual == 5, np.inf, actual), actual)
    found = compare_forecasts(broken, forecasts(0 * actual, actual), measure=MASE, margin=MARGIN, overlap=1)
    assert math.isnan(found.p_value)
    assert judge(found, margin=MARGIN, challengers=1) == "level"


def test_the_same_forecasts_are_not_worse_and_too_few_are_not_tested():
    actual = np.arange(1.0, 40.0)
    same = compare_forecasts(
        forecasts(0 * actual, actual), forecasts(0 * actual, actual), measure=MASE, margin=MARGIN, overlap=1
    )
    assert (same.error, same.p_value) == (same.other, 1.0)
    assert judge(same, margin=MARGIN, challengers=1) == "not worse"
    single = compare_forecasts(forecasts([1.0], [1.5]), forecasts([0.0], [1.5]), measure=MASE, margin=MARGIN, overlap=1)
    assert single.error < single.other
    assert math.isnan(single.p_value)
    assert judge(single, margin=MARGIN, challengers=1) == "level"
    with pytest.raises(ValueError, match="no window in common"):
        compare_forecasts(
            forecasts([1.0], [1.0]), forecasts([1.0], [1.0], start=5), measure=MASE, margin=MARGIN, overlap=1
        )


def by_hand(one, other, actual):
    """The comparison of two forecasts (n,) of a series of scale 1, from arrays: tables take twenty times as long."""
    losses, others = np.abs(one - actual), np.abs(other - actual)
    test = diebold_mariano(losses, others)
    p_not_worse = test.estimate.p_below(MARGIN * others.mean())
    return PairedComparison(
        MASE.title, losses.mean(), others.mean(), f"{len(actual)} origins", test.p_value, p_not_worse
    )


def from_tables(one, other, actual):
    tables = [forecasts(values, actual, scale=1.0) for values in (one, other)]
    return compare_forecasts(*tables, measure=MASE, margin=MARGIN, overlap=1)


def replaced(random, effect, compare=by_hand, steps=100):
    """Whether one of four challengers replaces the first of five networks; they forecast white noise about as well."""
    actual = random.normal(size=steps)

    def network(error):
        return (1 - error) * actual * (error < 1) + 0.15 * random.normal(size=steps)

    champion = network(1.0)
    for challengers in range(1, 5):
        found = compare(network(1.0 - effect), champion, actual)
        if judge(found, margin=MARGIN, challengers=challengers) == "better":
            return True
    return False


def test_comparisons_by_hand_are_those_of_tables():
    random = np.random.default_rng(1)
    for effect in (0.0, 0.02, 0.1):
        actual = random.normal(size=100)
        one, other = (factor * actual + 0.15 * random.normal(size=100) for factor in (effect, 0.0))
        tables, arrays = (vars(compare(one, other, actual)) for compare in (from_tables, by_hand))
        assert tables.keys() == arrays.keys()
        for name, value in tables.items():
            assert arrays[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9))
        assert replaced(np.random.default_rng(2), effect, from_tables) == replaced(np.random.default_rng(2), effect)


def test_five_networks_on_white_noise_leave_the_first_champion_and_a_better_one_replaces_it():
    random = np.random.default_rng(0)
    # At most 0.025 * (1 + 1 / 2 + 1 / 3 + 1 / 4) = 0.052, and less for the margin; three standard errors more.
    assert np.mean([replaced(random, 0.0) for _ in range(400)]) <= 0.052 + 3 * 0.011
    assert np.mean([replaced(random, 0.1) for _ in range(100)]) >= 0.8


def detections(scores, labels):
    times = pd.date_range("2024-01-01", periods=len(labels), freq="h")
    return pd.DataFrame({"time": times, "score": scores, "labelled": labels})


def plant(random, events, strength):
    """Labels of `events` events of five steps, and scores that rise by `strength` there."""
    labels = np.zeros(60 * events, bool)
    for event in range(events):
        labels[60 * event + 30 : 60 * event + 35] = True
    return labels, random.normal(size=len(labels)) + strength * labels


def test_detectors_are_compared_event_by_event():
    random = np.random.default_rng(0)
    labels, good = plant(random, 8, 3.0)
    bad = random.normal(size=len(labels))
    good[:4] = np.nan
    found = compare_detections(detections(good, labels), detections(bad, labels), margin=MARGIN, time="time")
    assert found.error == pytest.approx(1 - auc_pr(good[4:], labels[4:]))
    assert found.other == pytest.approx(1 - auc_pr(bad[4:], labels[4:]))
    assert found.units == "8 labelled events"
    assert judge(found, margin=MARGIN, challengers=1) == "better"
    few = compare_detections(
        detections(good[:120], labels[:120]), detections(bad[:120], labels[:120]), margin=MARGIN, time="time"
    )
    assert (few.units, judge(few, margin=MARGIN, challengers=1)) == ("2 labelled events", "level")


def test_detectors_that_are_equally_good_are_seldom_told_apart():
    random = np.random.default_rng(0)
    told_apart = 0
    for _ in range(100):
        labels, one = plant(random, 6, 1.5)
        other = random.normal(size=len(labels)) + 1.5 * labels
        found = compare_detections(detections(one, labels), detections(other, labels), margin=MARGIN, time="time")
        told_apart += judge(found, margin=MARGIN, challengers=1) in ("better", "worse")
    assert told_apart <= 0.08 * 100


@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_detectors_are_tested_by_leaving_out_one_event_at_a_time(strength):
    random = np.random.default_rng(3)
    # The steps from 35 on lie between events that end at 35 and begin at 90: those from 63 on are nearer to the next.
    event_of = np.searchsorted([63, 123, 183, 243], np.arange(300), side="right")
    labels, one = plant(random, 5, strength)
    other = random.normal(size=len(labels)) + 1.5 * labels
    found = compare_detections(detections(one, labels), detections(other, labels), margin=0.1, time="time")

    def gap(kept, factor):
        return 1 - auc_pr(one[kept], labels[kept]) - factor * (1 - auc_pr(other[kept], labels[kept]))

    def statistic(factor):
        parts = [gap(event_of != event, factor) for event in range(5)]
        return gap(event_of >= 0, factor) / math.sqrt(4 / 5 * np.sum((parts - np.mean(parts)) ** 2))

    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(statistic(1.0)), 4))
    assert found.p_not_worse == pytest.approx(stats.t.cdf(statistic(1.1), 4))


def test_detectors_that_score_the_same_differ_in_nothing():
    labels, one = plant(np.random.default_rng(0), 3, 1.0)
    found = compare_detections(detections(one, labels), detections(one, labels), margin=MARGIN, time="time")
    assert (found.units, found.p_value) == ("3 labelled events", 1.0)
    assert found.p_not_worse < 0.01


def test_a_detector_that_is_always_better_by_as_much_is_better_for_sure():
    labels = np.isin(np.arange(240) % 60, range(28, 32))  # each event and the steps nearest to it are alike
    perfect, blind = detections(labels.astype(float), labels), detections(np.zeros(240), labels)
    found = compare_detections(perfect, blind, margin=0.0, time="time")
    assert (found.error, found.other) == (0.0, pytest.approx(1 - 4 / 60))
    assert (found.p_value, found.p_not_worse) == (0.0, 0.0)
    back = compare_detections(blind, perfect, margin=0.0, time="time")
    assert (back.p_value, back.p_not_worse) == (0.0, 1.0)


def test_only_steps_that_both_score_are_compared_and_without_any_it_is_an_error():
    labels, one = plant(np.random.default_rng(0), 1, 1.0)
    blind = np.full(60, math.nan)
    found = compare_detections(detections(one, labels), detections(one, labels), margin=MARGIN, time="time")
    assert found.units == "1 labelled event"
    for pair in ((blind, one), (one, blind)):
        with pytest.raises(ValueError, match="no step in common"):
            compare_detections(*(detections(own, labels) for own in pair), margin=MARGIN, time="time")
    none = compare_detections(
        detections(one, labels & False), detections(one, labels & False), margin=MARGIN, time="time"
    )
    assert none.units == "0 labelled events"
    assert math.isnan(none.p_value)


def test_forecasts_are_not_worse_within_the_margin_of_the_other_s_error():
    random = np.random.default_rng(2)
    actual = random.normal(size=80)
    one = forecasts(actual + random.normal(1.0, 0.2, 80), actual, scale=0.5)
    other = forecasts(actual + random.normal(1.0, 0.2, 80), actual, scale=0.5)
    found = compare_forecasts(one, other, measure=MASE, margin=0.05, overlap=2)
    losses, others = (2 * np.abs(table["forecast"] - table["actual"]) for table in (one, other))
    test = diebold_mariano(losses, others, 2)
    assert found.p_value == pytest.approx(test.p_value)
    assert found.p_not_worse == pytest.approx(test.estimate.p_below(0.05 * others.mean()))


def test_quantiles_that_the_other_lacks_are_not_compared():
    actual = np.arange(1.0, 41.0)
    full = forecasts(actual + 1, actual).assign(**{"q0.1": actual, "q0.9": actual + 2})
    part = full.drop(columns="q0.9")
    more = full.assign(**{"q0.5": actual + 1})
    by = [compare_forecasts(full, other, measure=WQL, margin=MARGIN, overlap=1).measure for other in (full, part, more)]
    assert by == ["quantile loss (WQL)", "MASE", "quantile loss (WQL)"]
