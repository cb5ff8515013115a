"""The theta method for each series, fitted on the training span and then updated through the later steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .each_series import forecast_each_series, from_first_value, season_of
from .residuals import with_residual_quantiles
from .task import BaselineForecast, BaselineTask

CRITICAL_VALUE = 1.645**2
"""Of a chi-squared variable, exceeded with a probability of 10 %."""
ALPHAS = (1e-4, *np.linspace(0.05, 0.95, 19).tolist(), 0.9999)
"""Smoothing constants among which the search begins, from the smallest to the largest that are allowed."""


def theta(task: BaselineTask) -> BaselineForecast:
    """Forecast by the theta method: exponential smoothing plus half the slope of a line, after removing the season.

    The season (if its test finds one), slope and smoothing constant are fitted on the training span and fixed; the
    level is smoothed up to each origin. Sources: Assimakopoulos and Nikolopoulos (2000), in the form of Hyndman and
    Billah (2003), "Unmasking the Theta method".
    """
    target = task.observed_target
    methods: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
    notes: dict[str, None] = {}

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if series not in methods:
            methods[series] = _theta_method(task, target[series])
        return methods[series](origins), np.empty((len(origins), task.horizon, 0))

    def forecast(index: np.ndarray) -> np.ndarray:
        forecasts = forecast_each_series(replace(task, index=index, levels=()), fit)
        notes.update(dict.fromkeys(forecasts.notes))
        return forecasts.point

    return replace(with_residual_quantiles(task, forecast), notes=tuple(notes))


def _theta_method(task: BaselineTask, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function from origins (n,) of one series (steps,) to its forecasts (n, horizon)."""
    from scipy.signal import lfilter

    values, start, train = from_first_value(task, target)
    season = fit_season(train, season_of(task, train))
    slope = float(np.polyfit(np.arange(len(train)), season.removed_from(train), 1)[0])
    adjusted = season.removed_from(values)
    alpha = smoothing_constant(adjusted[: len(train)])
    level, _ = lfilter([alpha], [1, alpha - 1], adjusted, zi=[(1 - alpha) * adjusted[0]])

    def forecast(origins: np.ndarray) -> np.ndarray:
        position, steps = (origins - start)[:, None], np.arange(task.horizon)
        lag = (1 - (1 - alpha) ** position) / alpha
        return season.added_to(level[position - 1] + slope / 2 * (steps + lag), position + steps)

    return forecast


@dataclass(frozen=True)
class Season:
    """A season: each step of a period adds its number in `cycle` (period,) to the level, or multiplies it by it."""

    cycle: np.ndarray
    is_multiplicative: bool = False

    def removed_from(self, values: np.ndarray) -> np.ndarray:
        """Return `values` (steps,) without the season."""
        cycle = self.cycle[np.arange(len(values)) % len(self.cycle)]
        return values / cycle if self.is_multiplicative else values - cycle

    def added_to(self, values: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return `values` with the season of the steps `position`, of the same shape."""
        cycle = self.cycle[position % len(self.cycle)]
        return values * cycle if self.is_multiplicative else values + cycle


def fit_season(train: np.ndarray, period: int | None) -> Season:
    """Return the season of `train` (steps,) by classical decomposition; a season of nothing if a test finds none.

    It multiplies where all values are positive. The test (10 %) is that of Assimakopoulos and Nikolopoulos (2000): the
    autocorrelation at the period against those before it.
    """
    none = Season(np.zeros(1))
    if period is None or np.ptp(train) == 0:
        return none
    centred = train - train.mean()
    lags = range(period + 1)
    correlation = np.array([centred[: len(train) - lag] @ centred[lag:] for lag in lags]) / (centred @ centred)
    if len(train) * correlation[-1] ** 2 / np.sum(correlation[:-1] ** 2) <= CRITICAL_VALUE:
        return none
    weights = np.ones(period + 1 - period % 2)
    weights[[0, -1]] = 1.0 if period % 2 else 0.5
    trend, half = np.convolve(train, weights / period, "valid"), len(weights) // 2
    inner = train[half : len(train) - half]
    phase = np.arange(half, half + len(inner)) % period

    def mean_by_phase(detrended: np.ndarray) -> np.ndarray:
        return np.bincount(phase, detrended, period) / np.bincount(phase, minlength=period)

    if train.min() > 0:
        factors = mean_by_phase(inner / trend)
        if factors.min() > 0:
            return Season(factors / factors.mean(), is_multiplicative=True)
    summands = mean_by_phase(inner - trend)
    return Season(summands - summands.mean())


def smoothing_constant(values: np.ndarray) -> float:
    """Return the constant of simple exponential smoothing with the smallest squared errors on `values` (steps,).

    The level starts at the first value.
    """
    from scipy.optimize import minimize_scalar
    from scipy.signal import lfilter

    def squared_error(alpha: float) -> float:
        return float(np.sum(lfilter([1.0], [1.0, alpha - 1], np.diff(values)) ** 2))

    best = int(np.argmin([squared_error(alpha) for alpha in ALPHAS]))
    around = ALPHAS[max(0, best - 1)], ALPHAS[min(len(ALPHAS) - 1, best + 1)]
    return float(minimize_scalar(squared_error, bounds=around, method="bounded", options={"xatol": 1e-6}).x)
