"""Honest baselines, against numbers by hand and against the libraries they rest on."""

import sys
import warnings
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from gridcast.data import series_statistics
from gridcast.evaluation import metrics
from gridcast.models.baselines import NAIVE_BASELINES, SEASONAL_BASELINES
from gridcast.models.baselines.applicable import SLOW_BASELINES, applicable_baselines, record_key_suffix
from gridcast.runtime import baselines, scaling, windows
from gridcast.runtime.baselines import arima, each_series
from gridcast.runtime.baselines.task import BaselineTask
from gridcast.runtime.baselines.theta import smoothing_constant
from gridcast.runtime.errors import ConfigError, GridcastError

N = np.nan
TRAIN, STEPS, LOOKBACK = 60, 90, 7
LEVELS = (0.1, 0.5, 0.9)
WITH_PROPHET = pytest.mark.skipif(find_spec("prophet") is None, reason="needs the extra gridcast[prophet]")


def task(target, index, horizon=1, period=None, train=None, lookback=3, observed=None, levels=()):
    """A task on `target` (series, steps); the channel is the target itself, unscaled."""
    target = np.asarray(target, float)
    observed = np.isfinite(target) if observed is None else np.asarray(observed, bool)
    train = target.shape[1] if train is None else train
    return BaselineTask(
        target=target,
        observed=observed,
        channels=target[:, :, None],
        times=pd.date_range("2023-01-02", periods=target.shape[1]),
        train=train,
        lookback=lookback,
        horizon=horizon,
        period=period,
        training_index=windows.origins(np.isfinite(target), windows.WindowShape(lookback, horizon), (0, train)),
        index=np.array(index),
        inverse=scaling.fit(target[:, :train], "none").inverse,
        first_known_ahead=1,
        categories=np.zeros((len(target), 0), int),
        codes=np.arange(len(target)),
        levels=levels,
    )


def weekly(horizon=1, period=7):
    """Two noisy weekly series, the second one with a trend, and every window of the test span."""
    steps = np.arange(STEPS)
    noise = np.random.default_rng(0).normal(size=(2, STEPS))
    target = np.stack([20 + 5 * np.sin(2 * np.pi * steps / 7), 10 + steps / 5 + 3 * (steps % 7 == 0)]) + noise
    index = windows.origins(np.ones((2, STEPS), bool), windows.WindowShape(LOOKBACK, horizon), (TRAIN, STEPS))
    return task(target, index, horizon, period, TRAIN, LOOKBACK)


def test_last_value_by_hand():
    found = baselines.last_value(task([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]], [[0, 3], [1, 2]], horizon=2)).point
    assert found.tolist() == [[3, 3], [8, 8]]


def test_seasonal_naive_by_hand():
    steps = [[10, 20, 30, 11, 21, 31, 12, 22, 32]]
    assert baselines.seasonal_naive(task(steps, [[0, 6], [0, 7]], 2, 3)).point.tolist() == [[11, 21], [21, 31]]
    # Beyond one period the last whole one is known, and no more.
    assert baselines.seasonal_naive(task(steps, [[0, 5]], 4, 3)).point.tolist() == [[30, 11, 21, 30]]


@pytest.mark.parametrize("steps", [[N, N, 30, 11, 21, 31], [30, 11, 21, 31]])
def test_seasonal_naive_takes_the_last_value_where_the_season_is_not_known(steps):
    origin = len(steps) - 2
    assert baselines.seasonal_naive(task([steps], [[0, origin]], 2, 3)).point.tolist() == [[11, 30]]


def test_training_mean_and_median_by_hand():
    given = task([[N, 1, 2, 9, 100, 100], [5, 5, 5, 8, 0, 0]], [[1, 4], [0, 5]], horizon=2, train=4)
    assert baselines.training_mean(given).point.tolist() == [[5.75, 5.75], [4, 4]]
    assert baselines.training_median(given).point.tolist() == [[5, 5], [2, 2]]


@pytest.mark.parametrize("name", ["training mean", "training median", "ETS"])
def test_nothing_is_fitted_on_filled_values(name):
    """One at the end of training may have been interpolated from a value of the test span."""
    given = weekly()
    observed = np.ones((2, STEPS), bool)
    observed[:, [20, 21, TRAIN - 2, TRAIN - 1, TRAIN]] = False
    first = replace(given, observed=observed, target=np.where(observed, given.target, 15.0))
    second = replace(first, target=np.where(observed, given.target, 1e3))
    before, after = (baselines.BASELINES[name](asked).point for asked in (first, second))
    np.testing.assert_array_equal(after, before)
    filled = replace(first, observed=np.ones((2, STEPS), bool))
    assert not np.allclose(before, baselines.BASELINES[name](filled).point)


ALL = [pytest.param(name, marks=WITH_PROPHET if name == "Prophet" else ()) for name in baselines.BASELINES]


@pytest.mark.parametrize("name", ALL)
def test_no_baseline_reads_at_or_after_its_origin(name):
    given, now = replace(weekly(horizon=2), levels=LEVELS), 75
    if name in SLOW_BASELINES:
        given = replace(given, period=None, index=np.array([[0, now], [0, now + 3]]))
    later = replace(given, target=given.target.copy(), channels=given.channels.copy())
    later.target[:, now:] = later.channels[:, now:] = 1e3
    before, after = (baselines.BASELINES[name](asked) for asked in (given, later))
    known = given.index[:, 1] <= now
    assert before.point.shape == (len(given.index), 2)
    assert before.quantiles.shape == (len(given.index), 2, 3)
    assert not any("could not be fitted" in note for note in before.notes)
    assert np.all(np.diff(before.quantiles, axis=2) >= 0)
    np.testing.assert_array_equal(after.point[known], before.point[known])
    np.testing.assert_array_equal(after.quantiles[known], before.quantiles[known])
    if not name.startswith("training"):
        assert not np.allclose(after.point[~known], before.point[~known])
        assert not np.allclose(after.quantiles[~known], before.quantiles[~known])


@pytest.mark.parametrize("name", [name for name in baselines.BASELINES if name != "Prophet"])
def test_nothing_is_fitted_beyond_the_training_span(name):
    given = replace(weekly(), levels=LEVELS)
    if name in SLOW_BASELINES:
        given = replace(given, period=None, index=np.array([[0, TRAIN], [0, TRAIN + 9]]))
    first = given.index[:, 1] == TRAIN
    later = replace(given, target=given.target.copy(), channels=given.channels.copy())
    later.target[:, TRAIN:] = later.channels[:, TRAIN:] = 1e3
    before, after = (baselines.BASELINES[name](asked) for asked in (given, later))
    np.testing.assert_array_equal(after.point[first], before.point[first])
    np.testing.assert_array_equal(after.quantiles[first], before.quantiles[first])


OCCASIONAL = {"Croston", "TSB", "AutoARIMA", "Prophet"}


@pytest.mark.parametrize(
    ("series", "period", "zeros", "without"),
    [
        (3, 7, 0.0, OCCASIONAL),
        (3, None, 0.0, OCCASIONAL | {"seasonal naive"}),
        (3, 7, 0.4, {"AutoARIMA", "Prophet"}),
        (2001, 7, 0.0, OCCASIONAL | {"ETS", "Theta"}),
    ],
)
def test_baselines_that_make_no_sense_are_left_out(series, period, zeros, without):
    expected = [name for name in baselines.BASELINES if name not in without]
    assert applicable_baselines(series, period, zero_share=zeros) == expected


def test_baselines_are_chosen_by_name_beside_the_naive_ones():
    assert applicable_baselines(3000, 7, requested=["ETS", "Prophet"]) == [
        *NAIVE_BASELINES,
        "ETS",
        "Prophet",
    ]
    with_all = applicable_baselines(3, 7, requested=["auto", "AutoARIMA"])
    assert with_all == [*applicable_baselines(3, 7), "AutoARIMA"]
    with pytest.raises(
        ConfigError, match=r"baselines.1.: unknown name 'Prophte'; did you mean 'Prophet'. .allowed: auto, "
    ):
        applicable_baselines(3, 7, requested=["auto", "Prophte"])


def test_key_suffixes_change_only_for_baselines_whose_results_change():
    names = list(baselines.BASELINES)

    def changed(period=7, levels=()):
        return {
            name
            for name in names
            if record_key_suffix(name, period=period, levels=levels) != record_key_suffix(name, period=7, levels=())
        }

    assert changed(period=5) == set(SEASONAL_BASELINES)
    assert changed(levels=LEVELS) == set(names)


def test_results_of_former_versions_of_a_baseline_are_not_taken_for_new_ones():
    """Without a version the suffix of a seasonal baseline is its period, of any other nothing."""
    former = {name: "/7" if name in SEASONAL_BASELINES else "" for name in baselines.BASELINES}
    changed = {name for name, suffix in former.items() if record_key_suffix(name, period=7, levels=()) != suffix}
    assert changed == {"ETS", "Theta", "ridge", "trees"}


def repeating(period, steps=200, seed=0):
    random = np.random.default_rng(seed)
    pattern = random.normal(size=period)
    return pattern[np.arange(steps) % period] + random.normal(scale=0.3, size=(2, steps))


@pytest.mark.parametrize(
    ("period", "frequency"), [(7, "D"), (6, "D"), (5, "D"), (5, "B"), (24, "h"), (12, "M"), (12, "MS"), (4, "Q")]
)
def test_the_period_is_the_one_at_which_the_series_repeat(period, frequency):
    assert series_statistics.find_period(repeating(period), frequency) == period


def test_missing_values_and_flat_series_do_not_hide_the_period():
    training = np.concatenate([repeating(7), np.full((1, 200), 3.0)])
    training[0, :30] = N
    assert series_statistics.find_period(training, "D") == 7


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
    assert series_statistics.find_period(training, "D") is None


def test_a_series_without_two_neighbouring_values_has_no_say_in_the_period():
    training = np.concatenate([repeating(7), np.full((1, 200), 3.0)])
    training[2, ::2] = N
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert series_statistics.find_period(training, "D") == 7


def test_a_frequency_without_a_usual_period_has_none():
    assert series_statistics.find_period(repeating(7), "7min") is None


def ar(phi, steps, seed=0):
    """One autoregressive series of mean 20 and unit shocks."""
    shocks, found = np.random.default_rng(seed).normal(size=steps), [0.0]
    for shock in shocks:
        found.append(phi * found[-1] + shock)
    return 20 + np.array(found[1:])


@pytest.mark.parametrize("name", ALL)
def test_intervals_cover_about_their_nominal_share(name):
    slow = name in SLOW_BASELINES
    target = 20 + np.random.default_rng(1).normal(size=(1 if slow else 6, 320))
    index = windows.origins(np.ones(target.shape, bool), windows.WindowShape(5, 2), (200, 320))
    given = task(target, index, horizon=2, period=7, train=200, lookback=5, levels=LEVELS)
    if slow:  # few fits, and long forecasts of each
        given = replace(given, period=None, horizon=60, index=np.array([[0, 200], [0, 260]]))
    found, actual = baselines.BASELINES[name](given), windows.future(target, given.index, given.horizon)
    assert 0.7 < metrics.coverage(actual, found.quantiles[..., 0], found.quantiles[..., 2]) < 0.9
    assert np.mean(actual < found.quantiles[..., 1]) == pytest.approx(0.5, abs=0.12)


def test_quantiles_of_the_last_value_widen_with_the_step_by_hand():
    """On a line that goes up by 1 the last value is short by 1, then by 2, always."""
    given = task([np.arange(40.0)], [[0, 30]], horizon=2, train=30, levels=(0.1, 0.9))
    assert baselines.last_value(given).quantiles.tolist() == [[[30, 30], [31, 31]]]


def test_errors_of_a_short_series_are_those_of_all_in_units_of_its_own():
    """The errors, 1 to 9 steps' worth, lie evenly, and a tenth of new ones is to fall below the lowest quantile."""
    steps = np.cumsum([[0, 1, 2, 3, 4], [0, 60, 70, 80, 90]], axis=1)
    given = task(steps, [[0, 4], [1, 4]], train=5, lookback=1, levels=(0.5,))
    # Steps 1, 2, 3, 4 have the mean 2.5, steps 60 to 90 the mean 75: relative 0.4 ... 1.6 and 0.8 ... 1.2.
    relative = np.median([0.4, 0.8, 1.2, 1.6, 0.8, 70 / 75, 80 / 75, 1.2])
    np.testing.assert_allclose(
        baselines.last_value(given).quantiles[:, 0, 0], [6 + 2.5 * relative, 210 + 75 * relative]
    )


def test_seasonal_errors_are_counted_from_where_a_whole_period_is_known():
    target = np.tile([0.0, 5.0, 10.0], 20)[None]
    given = task(target, [[0, 50]], horizon=1, period=3, train=50, lookback=1, levels=(0.1, 0.9))
    assert np.ptp(baselines.seasonal_naive(given).quantiles) == 0


@pytest.mark.parametrize("period", [None, 7])
@pytest.mark.parametrize("level", [0.0, 20.0])  # around 0 seasons add, above they multiply
def test_theta_agrees_with_statsmodels(period, level):
    from statsmodels.tsa.forecasting.theta import ThetaModel

    given = weekly(3, period)
    given = replace(given, target=given.target + level - 20)
    found = baselines.theta(given).point
    for series in (0, 1):
        fitted = ThetaModel(given.target[series, :TRAIN], period=period, deseasonalize=period is not None).fit()
        slope, alpha = fitted.params
        if alpha < 0.001:  # its search ended in the worse of two minima, see the next test
            continue
        row = np.flatnonzero((given.index == (series, TRAIN)).all(axis=1))[0]
        np.testing.assert_allclose(found[row], fitted.forecast(3), rtol=1e-4)
        if period is None:  # a later origin, by hand
            smooth = given.target[series, 0]
            for value in given.target[series, : TRAIN + 11]:
                smooth += alpha * (value - smooth)
            lag = (1 - (1 - alpha) ** (TRAIN + 11)) / alpha
            np.testing.assert_allclose(found[row + 11], smooth + slope / 2 * (np.arange(3) + lag), rtol=1e-4)


def test_theta_smooths_with_the_best_constant_of_all():
    """A wave is best followed, second best ignored, and badly smoothed: a search from 0.1 would end at 0."""
    values = np.sin(2 * np.pi * np.arange(60) / 7)

    def squared_error(alpha):
        level, error = values[0], 0.0
        for value in values[1:]:
            error += (value - level) ** 2
            level += alpha * (value - level)
        return error

    assert squared_error(0.9999) < squared_error(1e-4) < squared_error(0.1)
    assert smoothing_constant(values) == pytest.approx(0.9999, abs=1e-4)


def test_theta_follows_a_line_by_half_of_its_slope():
    """Without errors the level is the last value, from which the forecast rises by half the slope."""
    given = task(2.0 * np.arange(40)[None], [[0, 40]], horizon=3, train=40, lookback=1)
    np.testing.assert_allclose(baselines.theta(given).point, [[79, 80, 81]], atol=0.01)


CROSTON = [0.0, 0, 4, 0, 2, N, 0, 1]
"""First demand after three steps; the next after two; one step is not known; then another after two."""


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        # Size over interval: 4 / 3, then 3.8 / 2.9, then 3.52 / 2.81, each times 0.95.
        (
            "Croston",
            {2: 0, 3: 0.95 * 4 / 3, 4: 0.95 * 4 / 3, 5: 0.95 * 3.8 / 2.9, 7: 0.95 * 3.8 / 2.9, 8: 0.95 * 3.52 / 2.81},
        ),
        # Size times probability: 4 / 3, 0.3, then 0.37, as it is over the unknown step, 0.333, 0.3997.
        ("TSB", {2: 0, 3: 4 / 3, 4: 4 * 0.3, 5: 3.8 * 0.37, 6: 3.8 * 0.37, 7: 3.8 * 0.333, 8: 3.52 * 0.3997}),
    ],
)
def test_intermittent_demand_by_hand(name, levels):
    given = task([CROSTON], [[0, origin] for origin in levels], horizon=2)
    expected = np.repeat(list(levels.values()), 2).reshape(-1, 2)
    np.testing.assert_allclose(baselines.BASELINES[name](given).point, expected)


def test_trees_learn_more_than_a_line_and_forecast_in_data_units():
    random = np.random.default_rng(0)
    target = np.zeros((4, 300))
    for step in range(1, 300):
        target[:, step] = np.where(np.abs(target[:, step - 1]) > 1, 0, 3) + random.normal(scale=0.2, size=4)
    index = windows.origins(np.ones(target.shape, bool), windows.WindowShape(2, 1), (240, 300))
    given = replace(task(target, index, train=240, lookback=2), inverse=lambda scaled, series: scaled + series[:, None])
    actual = windows.future(target, index, 1) + index[:, :1]
    assert metrics.mae(actual, baselines.trees(given).point) < 0.25


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("order", "seasonal", "trend"), [((1, 1, 1), (0, 0, 0, 0), "c"), ((1, 0, 0), (0, 1, 1, 4), None)]
)
def test_states_forecast_the_same_as_statsmodels(order, seasonal, trend):
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    values = ar(0.7, 80)
    values[40] = N
    fitted = SARIMAX(values, order=order, seasonal_order=seasonal, trend=trend).fit(disp=False)
    given = task([values], [[0, 80]], horizon=3, levels=LEVELS)
    point, quantiles = each_series.state_space_forecast(fitted, np.array([80]), given)
    expected = fitted.get_forecast(3)
    np.testing.assert_allclose(point[0], expected.predicted_mean, rtol=1e-6)
    np.testing.assert_allclose(quantiles[0, :, ::2], expected.conf_int(alpha=0.2), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("series", "period", "differences"),
    [
        (ar(0.5, 150), None, (0, 0)),
        (np.cumsum(ar(0.0, 150) - 20), None, (1, 0)),
        (10 * np.sin(np.arange(72) * np.pi / 2) + ar(0.0, 72), 4, (0, 1)),
        (ar(0.0, 72), 4, (0, 0)),
    ],
)
def test_arima_differences_series_that_need_it(series, period, differences, monkeypatch):
    monkeypatch.setattr(arima, "MAX_FITS", 4)  # the orders are not the question
    found = arima.choose_orders(series, period)
    assert (found.d, found.seasonal_d) == differences


@pytest.mark.filterwarnings("ignore")
def test_arima_finds_orders_at_least_as_good_as_those_that_made_the_series():
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    series = ar(0.8, 200)
    found = arima.choose_orders(series, None)
    fitted = SARIMAX(series, order=found[:3], trend="c" if found.constant else None).fit(disp=False)
    assert fitted.aicc <= SARIMAX(series, order=(1, 0, 0), trend="c").fit(disp=False).aicc + 1e-3


@WITH_PROPHET
def test_prophet_goes_on_with_a_line_and_is_the_same_each_time():
    line = 3.0 * np.arange(60) + np.random.default_rng(0).normal(size=60)
    given = task([line], [[0, 55]], horizon=2, train=40, levels=LEVELS)
    first, second = baselines.prophet(given), baselines.prophet(given)
    np.testing.assert_allclose(first.point, [[165, 168]], atol=3)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("AutoARIMA", "statsmodels", "arima"), ("Prophet", "prophet", "prophet")]
)
def test_a_baseline_without_its_package_says_what_to_install(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(GridcastError, match=rf"is not installed; run: pip install 'gridcast\[{extra}\]'"):
        baselines.BASELINES[name](weekly())


def test_a_series_that_cannot_be_fitted_takes_the_last_value_and_a_note_tells():
    def fit(series, origins):
        if series == 0:
            raise ValueError("too short")
        return np.full((len(origins), 1), 7.0), np.full((len(origins), 1, 3), 7.0)

    given = task([ar(0.5, 40), ar(0.5, 40)], [[0, 30], [1, 30], [0, 33]], train=30, levels=LEVELS)
    found, naive = each_series.forecast_each_series(given, fit), baselines.last_value(given)
    assert found.notes == ("1 of 2 series could not be fitted and take the last value: too short",)
    np.testing.assert_array_equal(found.point, [naive.point[0], [7.0], naive.point[2]])
    np.testing.assert_array_equal(found.quantiles[[0, 2]], naive.quantiles[[0, 2]])
