"""Honest baselines, against numbers by hand and against the libraries they rest on."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from gridcast.data import scaling, windows
from gridcast.models import baselines

N = np.nan
TRAIN, STEPS, LOOKBACK = 60, 90, 7


def task(target, index, horizon=1, period=None, train=None, lookback=3, observed=None):
    """A task on `target` (series, steps); the channel is the target itself, unscaled."""
    target = np.asarray(target, float)
    observed = np.isfinite(target) if observed is None else np.asarray(observed, bool)
    train = target.shape[1] if train is None else train
    return baselines.Task(
        target=target,
        observed=observed,
        channels=target[:, :, None],
        train=train,
        lookback=lookback,
        horizon=horizon,
        period=period,
        training_index=windows.origins(np.isfinite(target), lookback, horizon, 1, 0, train),
        index=np.array(index),
        inverse=scaling.fit(target[:, :train], "none").inverse,
    )


def weekly(horizon=1, period=7):
    """Two noisy weekly series, the second one with a trend, and every window of the test span."""
    steps = np.arange(STEPS)
    noise = np.random.default_rng(0).normal(size=(2, STEPS))
    target = np.stack([20 + 5 * np.sin(2 * np.pi * steps / 7), 10 + steps / 5 + 3 * (steps % 7 == 0)]) + noise
    index = windows.origins(np.ones((2, STEPS), bool), LOOKBACK, horizon, 1, TRAIN, STEPS)
    return task(target, index, horizon, period, TRAIN, LOOKBACK)


def test_last_value_by_hand():
    found = baselines.last_value(task([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]], [[0, 3], [1, 2]], horizon=2))
    assert found.tolist() == [[3, 3], [8, 8]]


def test_seasonal_naive_by_hand():
    steps = [[10, 20, 30, 11, 21, 31, 12, 22, 32]]
    assert baselines.seasonal_naive(task(steps, [[0, 6], [0, 7]], 2, 3)).tolist() == [[11, 21], [21, 31]]
    # Beyond one period the last whole one is known, and no more.
    assert baselines.seasonal_naive(task(steps, [[0, 5]], 4, 3)).tolist() == [[30, 11, 21, 30]]


@pytest.mark.parametrize("steps", [[N, N, 30, 11, 21, 31], [30, 11, 21, 31]])
def test_seasonal_naive_takes_the_last_value_where_the_season_is_not_known(steps):
    origin = len(steps) - 2
    assert baselines.seasonal_naive(task([steps], [[0, origin]], 2, 3)).tolist() == [[11, 30]]


def test_training_mean_and_median_by_hand():
    given = task([[N, 1, 2, 9, 100, 100], [5, 5, 5, 8, 0, 0]], [[1, 4], [0, 5]], horizon=2, train=4)
    assert baselines.training_mean(given).tolist() == [[5.75, 5.75], [4, 4]]
    assert baselines.training_median(given).tolist() == [[5, 5], [2, 2]]


@pytest.mark.parametrize("name", ["training mean", "training median", "ETS"])
def test_what_is_fitted_knows_no_filled_value(name):
    """One at the end of training may have been interpolated from a value of the test span."""
    given = weekly()
    observed = np.ones((2, STEPS), bool)
    observed[:, [20, 21, TRAIN - 2, TRAIN - 1, TRAIN]] = False
    first = replace(given, observed=observed, target=np.where(observed, given.target, 15.0))
    second = replace(first, target=np.where(observed, given.target, 1e3))
    before, after = (baselines.BASELINES[name](asked) for asked in (first, second))
    np.testing.assert_array_equal(after, before)
    assert not np.allclose(before, baselines.BASELINES[name](replace(first, observed=np.ones((2, STEPS), bool))))


def test_ridge_solves_its_normal_equations_and_answers_in_data_units():
    given = weekly(horizon=2)
    given = replace(given, inverse=lambda scaled, series: scaled * 10 + series[:, None])
    past = windows.inputs(given.channels, given.training_index, LOOKBACK)[:, :, 0]
    ahead = windows.ahead(given.target, given.training_index, 2)
    centred, level = past - past.mean(axis=0), ahead.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + np.eye(LOOKBACK), centred.T @ (ahead - level))
    asked = windows.inputs(given.channels, given.index, LOOKBACK)[:, :, 0]
    expected = (asked - past.mean(axis=0)) @ weights + level
    np.testing.assert_allclose(baselines.ridge(given), expected * 10 + given.index[:, :1])


@pytest.mark.parametrize(("horizon", "period"), [(1, None), (3, 7)])
def test_ets_agrees_with_the_forecasts_of_statsmodels(horizon, period):
    from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

    given = weekly(horizon, period)
    given.target[0, :5] = N  # a series that begins late
    found = baselines.ets(given)
    for series, start in ((0, 5), (1, 0)):
        values = given.target[series, start:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence is not the question
            fitted = ExponentialSmoothing(values[: TRAIN - start], seasonal=period).fit(disp=False)
        for origin in (TRAIN, TRAIN + 11, STEPS - horizon):
            row = np.flatnonzero((given.index == (series, origin)).all(axis=1))[0]
            expected = fitted.apply(values[: origin - start]).forecast(horizon)
            np.testing.assert_allclose(found[row], expected, rtol=1e-6)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_no_baseline_reads_at_or_after_its_origin(name):
    given, now = weekly(horizon=2), 75
    later = replace(given, target=given.target.copy(), channels=given.channels.copy())
    later.target[:, now:] = later.channels[:, now:] = 1e3
    before, after = (baselines.BASELINES[name](asked) for asked in (given, later))
    known = given.index[:, 1] <= now
    assert before.shape == (len(given.index), 2)
    np.testing.assert_array_equal(after[known], before[known])
    if not name.startswith("training"):
        assert not np.allclose(after[~known], before[~known])


@pytest.mark.parametrize("name", ["training mean", "training median", "ridge", "ETS"])
def test_nothing_is_fitted_beyond_the_training_span(name):
    given = weekly()
    first = given.index[:, 1] == TRAIN
    later = replace(given, target=given.target.copy(), channels=given.channels.copy())
    later.target[:, TRAIN:] = later.channels[:, TRAIN:] = 1e3
    np.testing.assert_array_equal(baselines.BASELINES[name](later)[first], baselines.BASELINES[name](given)[first])


@pytest.mark.parametrize(
    ("series", "period", "without"),
    [(3, 7, set()), (3, None, {"seasonal naive"}), (501, 7, {"ETS"}), (501, None, {"ETS", "seasonal naive"})],
)
def test_baselines_that_make_no_sense_are_left_out(series, period, without):
    assert baselines.possible(series, period) == [name for name in baselines.BASELINES if name not in without]


def repeating(period, steps=200, seed=0):
    random = np.random.default_rng(seed)
    pattern = random.normal(size=period)
    return pattern[np.arange(steps) % period] + random.normal(scale=0.3, size=(2, steps))


@pytest.mark.parametrize(
    ("period", "frequency"), [(7, "D"), (6, "D"), (5, "D"), (5, "B"), (24, "h"), (12, "M"), (12, "MS"), (4, "Q")]
)
def test_the_period_is_the_one_at_which_the_series_repeat(period, frequency):
    assert baselines.find_period(repeating(period), frequency) == period


def test_missing_values_and_flat_series_do_not_hide_the_period():
    training = np.concatenate([repeating(7), np.full((1, 200), 3.0)])
    training[0, :30] = N
    assert baselines.find_period(training, "D") == 7


@pytest.mark.parametrize(
    "training",
    [
        np.random.default_rng(0).normal(size=(5, 300)),
        np.arange(300.0)[None],
        np.full((1, 300), 2.0),
        repeating(7, steps=14),
    ],
)
def test_no_period_is_found_where_there_is_none(training):
    assert baselines.find_period(training, "D") is None


def test_a_series_without_two_neighbouring_values_has_no_say_in_the_period():
    training = np.concatenate([repeating(7), np.full((1, 200), 3.0)])
    training[2, ::2] = N
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert baselines.find_period(training, "D") == 7


def test_a_frequency_without_a_usual_period_has_none():
    assert baselines.find_period(repeating(7), "7min") is None
