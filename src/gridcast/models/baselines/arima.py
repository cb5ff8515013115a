"""Seasonal ARIMA of each series, its orders found by a stepwise search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gridcast.models.baselines.per_series import forecast_each_series, state_space_forecast
from gridcast.models.baselines.task import BaselineForecast, BaselineTask

MAX_ORDER = 3
"""Highest order of p and q; the seasonal ones go up to 1, the sum of all up to 5."""
START_ORDERS = ((2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))
"""p, q and the seasonal two of the models that the walk starts from."""
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))
"""To neighbouring orders p and q."""
STRONG_SEASON = 0.64
"""Strength of a season from which it is differenced."""
MAX_FITS = 25
"""Models that are tried at most for one series."""
MAX_PERIOD = 24
"""Longest period of a seasonal part: the state has a number for each of its steps, and a fit minutes."""
MAX_HISTORY = 1000
"""Last training steps that the orders and parameters are fitted on."""


class Orders(NamedTuple):
    """Orders (autoregressive, differences, moving average), plain and seasonal; and whether there is a constant.

    A `period` of 1 is none.
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
    """Seasonal ARIMA of each series, orders by `choose`, quantiles from the variance of the state.

    Fitted once on the training span, then filtered through the rest with fixed parameters.
    """
    known = task.observed_target

    def fit(series: int, origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = known[series]
        start = int(np.argmax(np.isfinite(values)))
        train = values[max(start, task.train - MAX_HISTORY) : task.train]
        unit = np.nanstd(train) or 1.0
        orders = choose_orders(train / unit, task.period)
        parameters = _fitted(train / unit, orders, quick=False).params
        point, quantiles = state_space_forecast(
            _model(values[start:] / unit, orders).filter(parameters), origins - start, task
        )
        return point * unit, quantiles * unit

    return forecast_each_series(task, fit)


def choose_orders(train: np.ndarray, period: int | None) -> Orders:
    """The orders for the series `train` (steps,), NaN where there are gaps, as a stepwise search finds them.

    Hyndman and Khandakar (2008), "Automatic time series forecasting: the forecast package for R": KPSS
    tests choose the differences, the strength of the season (Wang, Smith and Hyndman 2006) the seasonal
    one, and a walk by AICc, from four models to ever better neighbours, the rest. Here orders go less far
    (`MOST`), periods too (`SEASON`), and the walk ends after `FITS` models.
    """
    if not period or period > MAX_PERIOD or len(train) < 3 * period:
        period = 1
    whole = _whole(train)
    seasonal_d = int(period > 1 and _strength(whole, period) > STRONG_SEASON)
    d = _differences(whole, period, seasonal_d)
    scores: dict[Orders, float] = {}

    def score(orders: Orders) -> float:
        if orders not in scores:
            scores[orders] = _aicc(train, orders)
        return scores[orders]

    season, free = int(period > 1), d + seasonal_d < 2
    starts = (Orders(p, d, q, season * P, seasonal_d, season * Q, period, free) for p, q, P, Q in START_ORDERS)
    best = min(starts, key=score)
    better: Orders | None = best
    while better is not None:
        best = better
        better = next(
            (near for near in _neighbours(best) if len(scores) < MAX_FITS and score(near) < scores[best]), None
        )
    return best


def _neighbours(orders: Orders) -> list[Orders]:
    """Orders one step away: one of them, both of a kind together, or the constant."""
    found = [orders._replace(p=orders.p + ar, q=orders.q + ma) for ar, ma in NEIGHBOURS]
    if orders.period > 1:
        seasonal_p, seasonal_q = orders.seasonal_p, orders.seasonal_q
        found += [orders._replace(seasonal_p=seasonal_p + ar, seasonal_q=seasonal_q + ma) for ar, ma in NEIGHBOURS]
    if orders.d + orders.seasonal_d < 2:
        found.append(orders._replace(constant=not orders.constant))
    return [one for one in found if _allowed(one)]


def _allowed(orders: Orders) -> bool:
    plain, seasonal = (orders.p, orders.q), (orders.seasonal_p, orders.seasonal_q)
    return min(plain + seasonal) >= 0 and max(plain) <= MAX_ORDER and max(seasonal) <= 1 and sum(plain + seasonal) <= 5


def _whole(train: np.ndarray) -> np.ndarray:
    """Gaps closed by straight lines: for tests that know no gaps."""
    known = np.isfinite(train)
    return np.interp(np.arange(len(train)), np.flatnonzero(known), train[known])


def _strength(train: np.ndarray, period: int) -> float:
    """Strength of the season, 0 to 1: how much less the remainder varies than the remainder and season together."""
    from statsmodels.tsa.seasonal import STL

    parts = STL(train, period=period, robust=False).fit()
    varies = np.var(parts.resid + parts.seasonal)
    return max(0.0, 1 - np.var(parts.resid) / varies) if varies > 0 else 0.0


def _differences(train: np.ndarray, period: int, seasonal_d: int) -> int:
    """Differences, at most 2, after which KPSS no longer finds a unit root (5 %); one less with a seasonal one."""
    from statsmodels.tsa.stattools import kpss

    rest = train[period:] - train[:-period] if seasonal_d else train
    for d in range(2 - seasonal_d):
        if np.ptp(rest) == 0 or kpss(rest, nlags="auto")[1] >= 0.05:
            return d
        rest = np.diff(rest)
    return 2 - seasonal_d


def _aicc(train: np.ndarray, orders: Orders) -> float:
    """Akaike's criterion for small samples, infinite where the model cannot be fitted."""
    try:
        score = float(_fitted(train, orders, quick=True).aicc)
    except (ValueError, np.linalg.LinAlgError):
        return np.inf
    return score if np.isfinite(score) else np.inf


def _fitted(train: np.ndarray, orders: Orders, *, quick: bool) -> Any:
    """The fitted model; a `quick` one is differenced beforehand, which leaves it a small state."""
    model = _model(train, orders, simple_differencing=quick)
    return model.fit(disp=False, maxiter=30 if quick else 100, low_memory=True, cov_type="none")


def _model(values: np.ndarray, orders: Orders, **how: bool) -> Any:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    return SARIMAX(
        values,
        order=orders[:3],
        seasonal_order=(*orders[3:6], orders.period if orders.period > 1 else 0),
        trend="c" if orders.constant else None,
        **how,
    )
