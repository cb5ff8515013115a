"""ETS: the form by AICc, against statsmodels and against its recursions; long seasons as fixed waves."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import metrics
from gridcast.runtime import baselines, scaling, windows
from gridcast.runtime.baselines import automatic_ets
from gridcast.runtime.baselines.exponential_smoothing import TRENDS, Form, best_fit, fit
from gridcast.runtime.baselines.task import BaselineTask

PERIOD = 7
FORMS = [Form(trend, period) for period in (1, PERIOD) for trend in TRENDS]


def task(target, train, horizon=6, period=None, levels=()):
    """Every window of the steps after `train`."""
    index = windows.origins(np.ones(target.shape, bool), windows.WindowShape(3, horizon), (train, target.shape[1]))
    return BaselineTask(
        target=target,
        observed=np.isfinite(target),
        channels=target[:, :, None],
        times=pd.date_range("2023-01-02", periods=target.shape[1], freq="h"),
        train=train,
        lookback=3,
        horizon=horizon,
        period=period,
        training_index=index[:0],
        index=index,
        inverse=scaling.fit(target[:, :train], "none").inverse,
        first_known_ahead=1,
        categories=np.zeros((len(target), 0), int),
        codes=np.arange(len(target)),
        levels=levels,
    )


def mase(given, point):
    actual = windows.future(given.target, given.index, given.horizon)
    return metrics.mae(actual, point) / np.abs(np.diff(given.target[:, : given.train], axis=1)).mean()


def series_of(name, steps=100, seed=1):
    random, position = np.random.default_rng(seed), np.arange(steps)
    season = 4 * np.sin(2 * np.pi * position / PERIOD)
    return {
        "line": 10 + 0.5 * position,
        "walk": np.cumsum(random.normal(size=steps)),
        "fading": 20 * (1 - 0.97**position),
        "season": 20 + season + np.cumsum(0.3 * random.normal(size=steps)),
        "line and season": 10 + 0.2 * position + season,
    }[name] + random.normal(size=steps)


def by_recursion(fitted, values, horizon):
    """Forecasts (steps, horizon) from before each step, by the equations of Hyndman et al., one step after another."""
    form, (level_share, slope_share, season_share, damping) = fitted.form, fitted.smoothing
    start = list(fitted.start)
    level, slope = start.pop(0), start.pop(0) if form.trend != "none" else 0.0
    season = np.array([*start, 0.0])
    forecasts = []
    for step, value in enumerate(values):
        ahead = [
            level + slope * sum(damping ** (1 + k) for k in range(h + 1)) + season[(step + h) % form.period]
            for h in range(horizon)
        ]
        forecasts.append(ahead)
        error = value - ahead[0]
        level += damping * slope + level_share * error
        slope = damping * slope + slope_share * error
        season[step % form.period] += season_share * error
    return np.array(forecasts)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_forecasts_are_those_of_the_recursions(form):
    values = series_of("line and season")
    fitted = fit(values[:80], form)
    found = fitted.forecast(values, np.arange(1, 100), 9)
    np.testing.assert_allclose(found, by_recursion(fitted, values, 9)[1:], rtol=1e-6)


@pytest.mark.parametrize("name", ["line", "walk", "fading", "season", "line and season"])
def test_the_form_is_that_of_a_search_by_statsmodels(name):
    """The lowest AICc of its fits of all forms; they start from a heuristic, so ours may be better, never worse."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    values, theirs = series_of(name), {}
    for form in FORMS:
        model = ETSModel(
            values,
            trend=None if form.trend == "none" else "add",
            damped_trend=form.trend == "damped",
            seasonal="add" if form.period > 1 else None,
            seasonal_periods=form.period,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence is seen in the error
            fitted = model.fit(disp=False, maxiter=2000)
        ours = fit(values, form)
        count = len(form.constants) + form.states + 1
        squared = ours.variance * (len(values) - count + 1)
        assert squared < 1.04 * fitted.sse, form.name
        theirs[form] = (
            len(values) * np.log(fitted.sse) + 2 * count + 2 * count * (count + 1) / (len(values) - count - 1)
        )
    assert best_fit(values, FORMS).form == min(theirs, key=theirs.get)


def test_lines_are_continued():
    """On linear trends the former ETS, which had none, was worse than the last value; AutoETS had half its error."""
    random = np.random.default_rng(0)
    slopes = random.uniform(0.2, 0.6, size=(8, 1))
    target = 50 + slopes * np.arange(150) + random.normal(size=(8, 150))
    given = task(target, 100, horizon=12)
    found = baselines.ets(given)
    assert mase(given, found.point) < 0.85
    assert mase(given, baselines.last_value(given).point) > 1.5
    assert found.notes == ("the forms with the lowest AICc, by number of series: ETS(A,A,N) for 8",)


def test_noise_gets_neither_trend_nor_season():
    values = np.random.default_rng(3).normal(size=(20, 84))
    chosen = [best_fit(row, FORMS).form for row in values]
    assert sum(form == Form() for form in chosen) >= 16


def test_a_long_season_is_a_sum_of_waves_in_little_memory():
    """600 training steps of period 168 took 1.6 GiB; a state for each step of the season is 168 times as many."""
    steps, random = np.arange(800), np.random.default_rng(0)
    target = (20 + 5 * np.sin(2 * np.pi * steps / 24) + 3 * np.sin(2 * np.pi * steps / 168) + random.normal(size=800))[
        None
    ]
    given = task(target, 600, horizon=24, period=168)
    tracemalloc.start()
    found = baselines.ets(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6
    assert any("168 steps is too long to be smoothed" in note for note in found.notes)
    actual = windows.future(target, given.index, 24)
    assert metrics.mae(actual, found.point) < 1.1 * np.sqrt(2 / np.pi)  # that of the noise alone is the second factor


def test_waves_that_chance_makes_are_not_taken():
    """The strongest of 83 waves fits noise too: each costs the logarithm of their number."""
    values = np.random.default_rng(1).normal(size=(10, 600))
    chosen = [best_fit(row, automatic_ets.candidate_forms(row, 168)).form for row in values]
    assert sum(bool(form.waves) for form in chosen) <= 1


def test_the_strongest_waves_are_found():
    steps = np.arange(504)
    values = 3 * np.sin(2 * np.pi * steps / 24) + np.cos(2 * np.pi * steps / 12) + 0.01 * steps
    assert automatic_ets.strongest_waves(values, 168, 2) == pytest.approx((1 / 24, 1 / 12))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_deviations_are_those_of_simulated_errors(form):
    fitted = fit(series_of("line and season"), form)
    shocks = np.random.default_rng(0).normal(scale=np.sqrt(fitted.variance), size=(2000, 9))
    level_share, slope_share, season_share, damping = fitted.smoothing
    level, slope, season = np.zeros(2000), np.zeros(2000), np.zeros((2000, form.period))
    errors = []
    for step, shock in enumerate(shocks.T):
        errors.append(level + damping * slope + season[:, step % form.period] + shock)
        level = level + damping * slope + level_share * shock
        slope = damping * slope + slope_share * shock
        if form.period > 1:
            season[:, step % form.period] += season_share * shock
    np.testing.assert_allclose(fitted.deviations(9), np.std(errors, axis=1), rtol=0.08)


def test_a_series_too_short_for_any_form_takes_the_last_value_and_says_so():
    given = task(np.array([[1.0, 2, 4, 3, 5, 6, 8, 7]]), 4, horizon=2)
    found = baselines.ets(given)
    assert found.point.tolist() == baselines.last_value(given).point.tolist()
    assert found.notes == ("1 of 1 series could not be fitted and take the last value: 4 steps are too few",)


def test_a_constant_series_stays_constant():
    given = task(np.full((1, 40), 3.0), 30, levels=(0.1, 0.9))
    found = baselines.ets(given)
    np.testing.assert_allclose(found.point, 3.0)
    np.testing.assert_allclose(found.quantiles, 3.0, atol=1e-5)


def test_old_steps_are_not_fitted(monkeypatch):
    """The time of a fit does not grow with the history beyond a limit."""
    monkeypatch.setattr(automatic_ets, "MAX_STEPS_FITTED", 60)
    values = series_of("line", 120)[None]
    other = np.concatenate([np.full((1, 40), 1e3), values[:, 40:]], axis=1)
    np.testing.assert_array_equal(baselines.ets(task(values, 100)).point, baselines.ets(task(other, 100)).point)
