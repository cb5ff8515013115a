"""Seasonal ARIMA of each series, with orders chosen by a stepwise search; needs the extra `gridcast[arima]`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from ..errors import GridcastError
from .each_series import forecast_each_series, state_space_forecast
from .task import BaselineForecast, BaselineTask

MAX_ORDER = 3
"""Highest order of p and q; the seasonal ones go up to 1, the sum of all up to 5."""
START_ORDERS = ((2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))
"""p, q and their seasonal counterparts of the models that the search starts from."""
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))
"""Changes of p and q to neighbouring orders."""
STRONG_SEASON = 0.64
"""Strength of a season above which it is differenced."""
MAX_FITS = 25
"""Models that are fitted at most for one series."""
MAX_PERIOD = 24
"""Longest period of a seasonal part: the state has a number for each step of it, and a longer one takes minutes."""
MAX_HISTORY = 1000
"""Training steps, the last ones, that orders and parameters are fitted on."""


class Orders(NamedTuple):
    """Orders (autoregressive, differences, moving average), plain and seasonal, and whether there is a constant.

    A `period` of 1 means no season.
    """

    p: int
    d: int
    q: int
    seasonal_p: int
    seasonal_d: int
    seasonal_q: int
    period: int
    constant: bool


def auto_arima(task: BaselineTask) -> BaselineForecast:
    """Forecast by seasonal ARIMA of each series, with orders from `choose_orders`.

    Fitted once on the training span, then filtered through the later steps with fixed parameters. Quantiles follow from
    the variance of the state. Raises GridcastError if statsmodels is not installed.
    """
    if find_spec("statsmodels") is None:
        raise GridcastError("AutoARIMA: statsmodels is not installed; run: pip install 'gridcast[arima]'")
    target = task.observed_target

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = target[series]
        start = int(np.argmax(np.isfinite(values)))
        train = values[max(start, task.train - MAX_HISTORY) : task.train]
        unit = np.nanstd(train) or 1.0
        orders = choose_orders(train / unit, task.period)
        parameters = _fitted_model(train / unit, orders, quick=False).params
        point, quantiles = state_space_forecast(
            _unfitted_model(values[start:] / unit, orders).filter(parameters), origins - start, task
        )
        return point * unit, quantiles * unit

    return forecast_each_series(task, fit)


def choose_orders(train: np.ndarray, period: int | None) -> Orders:
    """Return the orders for the series `train` (steps,), NaN where there are gaps.

    Source: Hyndman and Khandakar (2008), "Automatic time series forecasting: the forecast package for R". KPSS tests
    choose the number of differences, the strength of the season (Wang, Smith and Hyndman 2006) the seasonal difference,
    and a search by AICc, from four models to ever better neighbours, the other orders. Departures: orders are at most
    `MAX_ORDER`, periods at most `MAX_PERIOD`, and the search ends after `MAX_FITS` models.
    """
    if not period or period > MAX_PERIOD or len(train) < 3 * period:
        period = 1
    filled = _interpolated(train)
    seasonal_d = int(period > 1 and _seasonal_strength(filled, period) > STRONG_SEASON)
    d = _difference_count(filled, period, seasonal_d)
    scores: dict[Orders, float] = {}

    def score(orders: Orders) -> float:
        if orders not in scores:
            scores[orders] = _aicc(train, orders)
        return scores[orders]

    is_seasonal, constant = int(period > 1), d + seasonal_d < 2
    starts = (
        Orders(p, d, q, is_seasonal * P, seasonal_d, is_seasonal * Q, period, constant) for p, q, P, Q in START_ORDERS
    )
    best = min(starts, key=score)
    better: Orders | None = best
    while better is not None:
        best = better
        better = next(
            (near for near in _neighbours(best) if len(scores) < MAX_FITS and score(near) < scores[best]), None
        )
    return best


def _neighbours(orders: Orders) -> list[Orders]:
    """Orders one step away: p, q or both changed, likewise the seasonal ones, or the constant."""
    neighbours = [orders._replace(p=orders.p + ar, q=orders.q + ma) for ar, ma in NEIGHBOURS]
    if orders.period > 1:
        seasonal_p, seasonal_q = orders.seasonal_p, orders.seasonal_q
        neighbours += [orders._replace(seasonal_p=seasonal_p + ar, seasonal_q=seasonal_q + ma) for ar, ma in NEIGHBOURS]
    if orders.d + orders.seasonal_d < 2:
        neighbours.append(orders._replace(constant=not orders.constant))
    return [neighbour for neighbour in neighbours if _is_allowed(neighbour)]


def _is_allowed(orders: Orders) -> bool:
    plain, seasonal = (orders.p, orders.q), (orders.seasonal_p, orders.seasonal_q)
    return min(plain + seasonal) >= 0 and max(plain) <= MAX_ORDER and max(seasonal) <= 1 and sum(plain + seasonal) <= 5


def _interpolated(train: np.ndarray) -> np.ndarray:
    """`train` with gaps closed by straight lines, for tests that do not allow gaps."""
    is_finite = np.isfinite(train)
    return np.interp(np.arange(len(train)), np.flatnonzero(is_finite), train[is_finite])


def _seasonal_strength(train: np.ndarray, period: int) -> float:
    """Strength of the season, 0 to 1: one minus the variance of the remainder over that of remainder and season."""
    from statsmodels.tsa.seasonal import STL

    parts = STL(train, period=period, robust=False).fit()
    total = np.var(parts.resid + parts.seasonal)
    return max(0.0, 1 - np.var(parts.resid) / total) if total > 0 else 0.0


def _difference_count(train: np.ndarray, period: int, seasonal_d: int) -> int:
    """Differences, at most 2, or 1 after a seasonal one, until KPSS no longer finds a unit root (5 %)."""
    from statsmodels.tsa.stattools import kpss

    values = train[period:] - train[:-period] if seasonal_d else train
    for d in range(2 - seasonal_d):
        if np.ptp(values) == 0 or kpss(values, nlags="auto")[1] >= 0.05:
            return d
        values = np.diff(values)
    return 2 - seasonal_d


def _aicc(train: np.ndarray, orders: Orders) -> float:
    """Akaike's criterion for small samples; infinite if the model cannot be fitted."""
    try:
        score = float(_fitted_model(train, orders, quick=True).aicc)
    except (ValueError, np.linalg.LinAlgError):
        return np.inf
    return score if np.isfinite(score) else np.inf


def _fitted_model(train: np.ndarray, orders: Orders, *, quick: bool) -> Any:
    """The fitted model; a `quick` fit differences the series first, which keeps the state small."""
    model = _unfitted_model(train, orders, simple_differencing=quick)
    return model.fit(disp=False, maxiter=30 if quick else 100, low_memory=True, cov_type="none")


def _unfitted_model(values: np.ndarray, orders: Orders, **options: bool) -> Any:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    return SARIMAX(
        values,
        order=orders[:3],
        seasonal_order=(*orders[3:6], orders.period if orders.period > 1 else 0),
        trend="c" if orders.constant else None,
        **options,
    )
